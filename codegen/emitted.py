"""What an emitter returns: a module's source, and where each statement comes from."""

from __future__ import annotations

from dataclasses import dataclass

from ..ir import Node


@dataclass(frozen=True)
class Statement:
    """Lines ``first`` to ``last`` (from 1) of the source, and the node they compute."""

    first: int
    last: int
    text: str
    ir: str
    node: Node


@dataclass(frozen=True)
class Emitted:
    """A stand-alone module: its source, its function's name, its parameters in order."""

    source: str
    function: str
    parameters: tuple[str, ...]
    statements: tuple[Statement, ...]
