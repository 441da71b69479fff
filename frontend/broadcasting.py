"""NumPy's broadcasting and promotion, at the level of nodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir import DType, DTypeError, Node, ShapeError, Size, build, promote
from ..ir.scalar import Number, Scalar, argument, call, literal
from ..ir.types import shape_text
from .expression import Expression, as_node

Operand = Node | Number


def operand(value: object) -> Operand:
    """A node, or a Python number that keeps its weak type."""
    if isinstance(value, (bool, int, float, complex)) and type(value) in (bool, int, float, complex):
        return value
    return as_node(value)


def result_dtype(operands: Sequence[Operand]) -> DType:
    """The promoted dtype of operands; Python numbers are weak."""
    return promote(*(x.type.dtype if isinstance(x, Node) else x for x in operands))


def as_nodes(operands: Sequence[Operand], dtype: DType | None = None) -> list[Node]:
    """Operands as nodes of one dtype (the promoted one by default)."""
    dtype = dtype or result_dtype(operands)
    return [
        build.cast(x, dtype) if isinstance(x, Node) else build.constant(checked_number(x, dtype), dtype)
        for x in operands
    ]


def checked_number(number: Number, dtype: DType) -> Number:
    """``number``; raises ``DTypeError`` where it is an integer that ``dtype`` cannot hold, as NumPy 2 does."""
    if dtype.kind in ("int", "uint") and isinstance(number, int):
        limits = np.iinfo(dtype.value)
        if not limits.min <= number <= limits.max:
            raise DTypeError(
                f"the number {number} is outside {dtype}, which holds {limits.min} to {limits.max}; "
                "cast the tensor to a wider dtype first"
            )
    return number


def broadcast_shapes(shapes: Sequence[tuple[Size, ...]]) -> tuple[Size, ...]:
    """The common shape of operands, right-aligned; only a literal 1 stretches.

    Raises ``ShapeError`` naming both shapes, the axis and the sizes where they do not fit.
    """
    rank = max((len(shape) for shape in shapes), default=0)
    result: list[Size] = [1] * rank
    for shape in shapes:
        for axis, size in enumerate(shape, rank - len(shape)):
            if result[axis] == 1:
                result[axis] = size
            elif size != 1 and size != result[axis]:
                listed = " and ".join(shape_text(x) for x in shapes)
                raise ShapeError(
                    f"shapes {listed} do not broadcast: axis {axis - rank} has sizes {result[axis]} and "
                    f"{size}; equal sizes or a 1 are needed"
                )
    return tuple(result)


def align(nodes: Sequence[Node]) -> tuple[list[Node], list[list[int]], tuple[Size, ...]]:
    """Operands without their stretched axes, the result axis of each axis left, the result's shape."""
    shape = broadcast_shapes([x.type.shape for x in nodes])
    aligned, labels = [], []
    for x in nodes:
        offset = len(shape) - x.ndim
        kept = [k for k, size in enumerate(x.type.shape) if size == shape[k + offset]]
        aligned.append(build.reshape(x, [x.type.shape[k] for k in kept]))
        labels.append([k + offset for k in kept])
    return aligned, labels, shape


def map_broadcast(expression: Scalar, nodes: Sequence[Node]) -> Expression:
    """Apply a scalar expression over broadcast operands."""
    aligned, labels, shape = align(nodes)
    return Expression.of(build.map_node(expression, aligned, labels, len(shape)))


def elementwise(function: str, *values: object) -> Expression:
    """Apply a scalar function over broadcast operands; Python numbers become literals."""
    operands = [operand(value) for value in values]
    if not any(isinstance(x, Node) for x in operands):
        operands = [build.constant(x) if not isinstance(x, Node) else x for x in operands]
    nodes = [x for x in operands if isinstance(x, Node)]
    positions = iter(range(len(nodes)))
    arguments = [argument(next(positions)) if isinstance(x, Node) else literal(x) for x in operands]
    return map_broadcast(call(function, *arguments), nodes)
