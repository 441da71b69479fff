"""How operations carry an index: along which axes of the operands one axis of the result runs.

An index can be cut into blocks where a block of the result, or a part of a sum or maximum, needs only
the corresponding blocks of the operands.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from ...ir import Node, Operation, Size
from ...ir import operations as ops
from ...ir.dims import product


@dataclass(frozen=True)
class Index:
    """An index of one operation.

    ``result`` is the axis of the result that it runs along, or how the result is combined over it
    (``"sum"``, ``"max"``, …).  ``places`` are the operands that have it, with their axes.
    """

    result: int | str
    places: tuple[tuple[int, int], ...]

    def axis(self, position: int) -> int | None:
        """The axis of operand ``position`` that the index runs along."""
        return dict(self.places).get(position)


def indices_of(node: Node) -> list[Index]:
    """The indices of an operation that can be cut into blocks."""
    op, operands = node.op, node.operands
    match op:
        case ops.Einsum():
            return _einsum(op, operands)
        case ops.Map(inputs=inputs, rank=rank) | ops.LinearCombination(inputs=inputs, rank=rank):
            return [_aligned(inputs, axis) for axis in range(rank)]
        case ops.Reduce(kind=kind, axes=axes):
            combined = [] if kind == "shift" else [Index(kind, ((0, axis),)) for axis in axes]
            return combined + _kept(operands[0].ndim, axes)
        case ops.Broadcast(axes=axes, shape=shape):
            return [_aligned((axes,), axis) for axis in range(len(shape))]
        case ops.Cast():
            return _kept(node.ndim, ())
        case ops.CumulativeSum(axis=axis):
            return _same(node.ndim, {axis})
        case ops.Reshape():
            return _reshape(operands[0].type.shape, node.type.shape)
        case ops.Slice() | ops.Pad():
            return _same(node.ndim, _moved(node))
        case ops.Concatenate(axis=axis):
            every = range(len(operands))
            return [Index(k, tuple((place, k) for place in every)) for k in range(node.ndim) if k != axis]
        case ops.Take(axis=axis):
            return _take(axis, operands)
        case ops.Inverse() | ops.Cholesky() | ops.Determinant():
            return _same(operands[0].ndim - 2, set())
    return []


def cut_operation(op: Operation, axis: int | str, block: Size) -> Operation:
    """The operation on blocks: where it states its result's shape, ``axis`` has ``block`` positions."""
    name = {ops.Broadcast: "shape", ops.Reshape: "shape", ops.Pad: "shape", ops.Slice: "sizes"}.get(type(op))
    if name is None or isinstance(axis, str):
        return op
    sizes = getattr(op, name)
    return dataclasses.replace(op, **{name: (*sizes[:axis], block, *sizes[axis + 1 :])})


def _einsum(op: ops.Einsum, operands: Sequence[Node]) -> list[Index]:
    """Every index but those of diagonals, whether taken or embedded."""
    tied = {label for x, labels in zip(operands, op.inputs, strict=True) if isinstance(x.op, ops.Delta)
            for label in labels}  # fmt: skip
    tied |= {label for labels in op.inputs for label in labels if labels.count(label) > 1}
    found = []
    for label in dict.fromkeys(label for labels in op.inputs for label in labels):
        if label not in tied:
            places = tuple((k, labels.index(label)) for k, labels in enumerate(op.inputs) if label in labels)
            found.append(Index(op.output.index(label) if label in op.output else "sum", places))
    return found


def _aligned(inputs: Sequence[tuple[int, ...]], axis: int) -> Index:
    return Index(axis, tuple((k, labels.index(axis)) for k, labels in enumerate(inputs) if axis in labels))


def _same(rank: int, but: set[int]) -> list[Index]:
    return [Index(axis, ((0, axis),)) for axis in range(rank) if axis not in but]


def _kept(rank: int, gone: Sequence[int]) -> list[Index]:
    kept = [axis for axis in range(rank) if axis not in gone]
    return [Index(place, ((0, axis),)) for place, axis in enumerate(kept)]


def _moved(node: Node) -> set[int]:
    """The axes of a slice or padding along which positions change."""
    assert isinstance(node.op, (ops.Slice, ops.Pad))
    starts, steps, operand = node.op.starts, node.op.steps, node.operands[0].type.shape
    whole = [start == 0 and step == 1 and size == extent
             for start, step, size, extent in zip(starts, steps, node.type.shape, operand, strict=True)]  # fmt: skip
    return {axis for axis, untouched in enumerate(whole) if not untouched}


def _reshape(old: Sequence[Size], new: Sequence[Size]) -> list[Index]:
    """The axes with the same size and as many elements before them."""
    found = []
    for axis, size in enumerate(new):
        for place, other in enumerate(old):
            if size == other and size != 1 and product(new[:axis]) == product(old[:place]):
                found.append(Index(axis, ((0, place),)))
                break
    return found


def _take(axis: int, operands: Sequence[Node]) -> list[Index]:
    x, places = operands
    found = [Index(axis + k, ((1, k),)) for k in range(places.ndim)]
    for k in range(x.ndim):
        if k != axis:
            found.append(Index(k if k < axis else k - 1 + places.ndim, ((0, k),)))
    return found


def result_index(node: Node, axis: int) -> Index | None:
    """The index along ``axis`` of the result; None where it cannot be cut there."""
    return next((index for index in indices_of(node) if index.result == axis), None)


def operand_index(node: Node, position: int, axis: int) -> Index | None:
    """The index along ``axis`` of operand ``position``; None where it cannot be cut there."""
    return next((index for index in indices_of(node) if (position, axis) in index.places), None)
