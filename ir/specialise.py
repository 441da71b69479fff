"""Replacing symbolic sizes by other sizes throughout a graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from .dims import Dim, Size, substitute, symbols
from .errors import ShapeError
from .node import Node, make
from .operations import Blockwise, Operation
from .traverse import topological
from .types import TensorType


class UnfitSizeError(ShapeError):
    """Sizes do not fit an operation: ``node``, as it was before they were put in."""

    node: Node | None = None


def specialise(outputs: Sequence[Node], sizes: Mapping[str, Size]) -> dict[Node, Node]:
    """Every node that ``outputs`` need, with the dims of ``sizes`` replaced.

    Types are inferred anew, so a size that does not fit (a slice outside its axis, a negative
    size) raises ``UnfitSizeError``.
    """
    new: dict[Node, Node] = {}
    for node in topological(outputs):
        op = specialise_operation(node.op, sizes)
        try:
            new[node] = make(op, *(new[operand] for operand in node.operands))
        except ShapeError as error:
            unfit = UnfitSizeError(str(error))
            unfit.node = node
            raise unfit from error
    return new


def specialise_operation(op: Operation, sizes: Mapping[str, Size]) -> Operation:
    """The operation with the dims of ``sizes`` replaced in its parameters, a loop's body among them."""
    changed: dict[str, Any] = {}
    if isinstance(op, Blockwise):
        outer = {name: size for name, size in sizes.items() if name != op.symbol}
        new = specialise(op.body, outer)
        changed["body"] = tuple(new[node] for node in op.body)
    for field in dataclasses.fields(op):
        old = getattr(op, field.name)
        value = _specialise_value(old, sizes)
        if value is not old:
            changed[field.name] = value
    return dataclasses.replace(op, **changed) if changed else op


def _specialise_value(value: Any, sizes: Mapping[str, Size]) -> Any:
    if isinstance(value, Dim):
        return substitute(value, sizes)
    if isinstance(value, tuple):
        items = tuple(_specialise_value(item, sizes) for item in value)
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    if isinstance(value, TensorType):
        shape = _specialise_value(value.shape, sizes)
        return value if shape is value.shape else dataclasses.replace(value, shape=shape)
    return value


def free_symbols(outputs: Iterable[Node]) -> frozenset[str]:
    """The names of the symbolic dims in the types and parameters of every node."""
    return frozenset().union(*map(node_symbols, topological(outputs)))


def node_symbols(node: Node) -> frozenset[str]:
    """The names of the symbolic dims in the type and the parameters of one node."""
    found: set[str] = set()
    _collect_symbols(node.type.shape, found)
    for name in field_names(node.op):
        _collect_symbols(getattr(node.op, name), found)
    if isinstance(node.op, Blockwise):
        found |= _loop_symbols(node, node.op)
    return frozenset(found)


_of_loops: WeakKeyDictionary[Node, frozenset[str]] = WeakKeyDictionary()


def _loop_symbols(node: Node, op: Blockwise) -> frozenset[str]:
    """Those of a loop's body.  They are kept, since every result of a loop has the body, and bodies have loops."""
    found = _of_loops.get(node)
    if found is None:
        found = _of_loops[node] = free_symbols(op.body) - {op.symbol}
    return found


_fields: dict[type[Operation], tuple[str, ...]] = {}


def field_names(op: Operation) -> tuple[str, ...]:
    """The names of an operation's parameters."""
    kind = type(op)
    if kind not in _fields:
        _fields[kind] = tuple(field.name for field in dataclasses.fields(kind))
    return _fields[kind]


def _collect_symbols(value: Any, found: set[str]) -> None:
    if isinstance(value, Dim):
        found |= symbols(value)
    elif isinstance(value, tuple):
        for item in value:
            if type(item) is not int:
                _collect_symbols(item, found)
