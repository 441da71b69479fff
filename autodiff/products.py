"""Products over axes, in forms whose derivatives hold where factors are zero."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir import Node, Size, build, make
from ..ir.dims import product
from ..ir.operations import Concatenate, Reduce
from ..ir.scalar import argument, call


def _flattened(node: Node) -> tuple[Node, Sequence[int], Size]:
    """The operand with the reduced axes last, as one; the order of its axes; the number of factors."""
    assert isinstance(node.op, Reduce)
    (x,) = node.operands
    order = [*(axis for axis in range(x.ndim) if axis not in node.op.axes), *node.op.axes]
    count = product(x.type.shape[axis] for axis in node.op.axes)
    return build.reshape(build.transpose(x, order), (*node.type.shape, count)), order, count


def halved_product(node: Node) -> Node | None:
    """The product as pairwise products of halves, n − 1 in all; None where its size is symbolic."""
    flat, _, count = _flattened(node)
    if not isinstance(count, int):
        return None
    lead = node.type.shape
    if count == 0:
        return build.full(lead, 1, node.type.dtype)
    while count > 1:
        half = count // 2
        joined = build.multiply(_part(flat, 0, half), _part(flat, half, half))
        if count % 2:
            joined = make(Concatenate(len(lead)), joined, _part(flat, count - 1, 1))
        flat, count = joined, half + count % 2
    return build.reshape(flat, lead)


def _part(flat: Node, start: int, size: int) -> Node:
    lead = flat.ndim - 1
    return build.slice_node(flat, [0] * lead + [start], (*flat.type.shape[:-1], size), [1] * flat.ndim)


def cofactors(node: Node) -> Node:
    """For each element the product of the others, in the operand's shape.

    Each row of an n × n table holds the factors with one replaced by 1, so nothing is divided by
    a factor; it takes n² elements and serves symbolic sizes.
    """
    flat, order, count = _flattened(node)
    rank, position = flat.ndim, build.iota(count)
    table = build.map_node(
        call("where", call("eq", argument(1), argument(2)), 1.0, argument(0)),
        [flat, position, position],
        [[*range(rank - 1), rank], [rank - 1], [rank]],
        rank + 1,
    )
    rows = make(Reduce("prod", (rank,)), build.cast(table, flat.type.dtype))
    shape = node.operands[0].type.shape
    moved = build.reshape(rows, [shape[axis] for axis in order])
    return build.transpose(moved, [order.index(axis) for axis in range(len(order))])
