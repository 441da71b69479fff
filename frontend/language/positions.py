"""Where the nodes of programs stand in their texts, for errors and provenance of what is compiled from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

from ...ir import Node
from .diagnostics import Span

_known: WeakKeyDictionary[Node, Span] = WeakKeyDictionary()


def remember_positions(positions: Mapping[Node, Span]) -> None:
    """Note where the nodes of a program stand; a program read later has the last word on nodes of both."""
    _known.update(positions)


def known_positions(outputs: Sequence[Node]) -> Mapping[Node, Span]:
    """Where nodes stand, if all of ``outputs`` are values of programs; else nothing."""
    return _known if all(node in _known for node in outputs) else {}
