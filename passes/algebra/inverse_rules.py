"""Rules about inverses: of an identity, and in products, where a solve takes less work and loses fewer digits."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...ir import Node, build, make
from ...ir.dims import product
from ...ir.node import label_sizes
from ...ir.operations import Delta, Einsum, Inverse, LinearCombination, SignedLogDeterminant, Solve
from ..planned_sizes import UNKNOWN_SIZE
from ..rewrite import Context, Rule, Status, rule
from .symmetry import is_symmetric

Labels = tuple[int, ...]


@rule(Inverse, Solve, status=Status.REASSOCIATES)
def identity_inverse(node: Node, context: Context) -> Node | None:
    """inv(I) -> I, solve(I, b) -> b, and solve(a, a) -> I."""
    matrix = node.operands[0]
    if isinstance(matrix.op, Delta):
        return node.operands[-1]
    if isinstance(node.op, Solve) and node.operands[1] is matrix and matrix.ndim == 2:
        return build.delta(matrix.type.shape[0], matrix.type.dtype)
    return None


@rule(Inverse, Solve, SignedLogDeterminant, status=Status.REASSOCIATES)
def symmetric_transpose(node: Node, context: Context) -> Node | None:
    """solve(kᵀ, b) -> solve(k, b), and the like, where k is found to be symmetric, as adjoints of solves have it."""
    matrix = untransposed(node.operands[0])
    if matrix is None or not is_symmetric(matrix):
        return None
    return make(node.op, matrix, *node.operands[1:])


def untransposed(matrix: Node) -> Node | None:
    """The matrix, or batch of matrices, of which ``matrix`` is the transposition; None where it is none."""
    order = list(range(matrix.ndim))
    order[-2:] = reversed(order[-2:])
    (inner,) = matrix.operands if len(matrix.operands) == 1 else (matrix,)
    return inner if inner.ndim == matrix.ndim and build.transpose(inner, order) is matrix else None


@rule(Einsum, status=Status.REASSOCIATES)
def inverse_product(node: Node, context: Context) -> Node | None:
    """einsum("ij,jk->ik", inv(a), b) -> solve(a, b), where nothing else reads the inverse.

    What multiplies the inverse on one side must not meet what multiplies it on the other: the trace of
    ``inv(a)·b`` takes less work as it stands.  Of ``inv(a)·b·c`` it is ``solve(a, b)·c`` or ``solve(a, b·c)``,
    whichever right-hand side has fewer columns: both are as exact.
    """
    assert isinstance(node.op, Einsum)
    for position, operand in enumerate(node.operands):
        if not isinstance(operand.op, Inverse) or operand.ndim != 2 or context.is_shared(operand):
            continue
        if len(set(node.op.inputs[position])) < 2 or node.operands.count(operand) > 1:
            continue
        sides = [_side(node, position, axis) for axis in (0, 1)]
        if set(sides[0]) & set(sides[1]):
            continue
        chosen = [(axis, sides[axis]) for axis in (1, 0) if sides[axis]]
        chosen += [(axis, _adjacent(node, position, axis, side)) for axis, side in chosen]
        if chosen:
            return _solved(node, position, *min(chosen, key=lambda side: _preference(node, position, *side)))
    return None


def _side(node: Node, position: int, axis: int) -> list[int]:
    """The operands connected with an inverse through its summed ``axis``; none where it is not summed."""
    assert isinstance(node.op, Einsum)
    start = node.op.inputs[position][axis]
    if start in node.op.output:
        return []
    across = node.op.inputs[position][1 - axis]
    reached, found = {start}, list[int]()
    while True:
        new = [
            k
            for k, labels in enumerate(node.op.inputs)
            if k != position and k not in found and reached & set(labels)
        ]  # fmt: skip
        if not new:
            return sorted(found)
        found += new
        reached |= {label for k in new for label in node.op.inputs[k] if label not in node.op.output}
        reached -= {across}


def _adjacent(node: Node, position: int, axis: int, side: Sequence[int]) -> list[int]:
    """The operands of a side that have the summed index themselves."""
    assert isinstance(node.op, Einsum)
    summed = node.op.inputs[position][axis]
    return [k for k in side if summed in node.op.inputs[k]]


def _preference(node: Node, position: int, axis: int, side: Sequence[int]) -> tuple[int, bool]:
    """The columns to solve for; among equally many a sum by itself, from which multiples of the matrix cancel."""
    is_sum = len(side) == 1 and isinstance(node.operands[side[0]].op, LinearCombination)
    return _column_count(node, _columns(node, position, axis, side)), not is_sum


def _columns(node: Node, position: int, axis: int, side: Sequence[int]) -> Labels:
    """The labels that the product of one side keeps beside the one that the inverse sums."""
    assert isinstance(node.op, Einsum)
    outside = set(node.op.output).union(*(x for k, x in enumerate(node.op.inputs) if k not in (*side, position)))
    own = dict.fromkeys(label for k in side for label in node.op.inputs[k])
    return tuple(x for x in own if x in outside and x != node.op.inputs[position][axis])


def _column_count(node: Node, labels: Labels) -> int:
    """How many columns that is; a size that is not known counts as a large one."""
    assert isinstance(node.op, Einsum)
    sizes = label_sizes(node.operands, node.op.inputs)
    known = [sizes[x] for x in labels]
    return math.prod(size if isinstance(size, int) else UNKNOWN_SIZE for size in known)


def _solved(node: Node, position: int, axis: int, side: Sequence[int]) -> Node | None:
    assert isinstance(node.op, Einsum)
    summed, kept = node.op.inputs[position][axis], node.op.inputs[position][1 - axis]
    columns = _columns(node, position, axis, side)
    if kept in columns:
        return None
    (matrix,) = node.operands[position].operands
    if axis == 0:
        matrix = build.transpose(matrix, (1, 0))
    right = build.einsum([node.operands[k] for k in side], [node.op.inputs[k] for k in side], (summed, *columns))
    flat = build.reshape(right, (right.type.shape[0], product(right.type.shape[1:])))
    solution = build.reshape(make(Solve(), matrix, flat), right.type.shape)
    rest = [k for k in range(len(node.operands)) if k not in side and k != position]
    operands = [solution, *(node.operands[k] for k in rest)]
    return build.einsum(operands, [(kept, *columns), *(node.op.inputs[k] for k in rest)], node.op.output)


IDENTITY_RULES: tuple[Rule, ...] = (identity_inverse, symmetric_transpose)
# For whole products: these fire once nested einsums are merged.
PRODUCT_RULES: tuple[Rule, ...] = (inverse_product,)
