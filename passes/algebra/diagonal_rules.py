"""Sums with an embedded diagonal, so that it is added in place and never made as a tensor of its own."""

from __future__ import annotations

from ...ir import Node, build
from ...ir.operations import Delta, Einsum, LinearCombination
from ..contraction.einsum_parts import is_embedding
from ..rewrite import Context, Rule, Status, rule


def is_diagonal(node: Node) -> bool:
    """Whether a tensor is zero but for what deltas embed in it: a delta, or an embedding of one tensor."""
    return isinstance(node.op, Delta) or (isinstance(node.op, Einsum) and is_embedding(node.op, node.operands))


def diagonal_terms(node: Node) -> tuple[int, tuple[int, ...]] | None:
    """The one dense operand of ``dense + c·diagonal + …``, and its diagonals; None where a node is no such sum."""
    if not isinstance(node.op, LinearCombination) or len(node.operands) < 2:
        return None
    diagonals = tuple(k for k, x in enumerate(node.operands) if is_diagonal(x) and x.ndim == node.ndim)
    dense = [k for k in range(len(node.operands)) if k not in diagonals]
    if len(dense) != 1 or node.op.coefficients[dense[0]] != 1:
        return None
    return (dense[0], diagonals) if node.op.inputs[dense[0]] == tuple(range(node.ndim)) else None


@rule(LinearCombination, status=Status.REASSOCIATES)
def diagonal_apart(node: Node, context: Context) -> Node | None:
    """diag(v) - a + b -> (b - a) + diag(v): what is dense is summed first, and a diagonal added to that in place."""
    assert isinstance(node.op, LinearCombination)
    if diagonal_terms(node) is not None:
        return None
    op = node.op
    diagonals = [k for k, x in enumerate(node.operands) if is_diagonal(x) and x.ndim == node.ndim]
    dense = [k for k in range(len(node.operands)) if k not in diagonals]
    if not diagonals or {axis for k in dense for axis in op.inputs[k]} != set(range(node.ndim)):
        return None
    total = build.linear_combination(
        [op.coefficients[k] for k in dense], [node.operands[k] for k in dense], [op.inputs[k] for k in dense], op.rank
    )
    return build.linear_combination(
        [1, *(op.coefficients[k] for k in diagonals)],
        [_signed_product(total, context), *(node.operands[k] for k in diagonals)],
        [range(op.rank), *(op.inputs[k] for k in diagonals)],
        op.rank,
    )


def _signed_product(total: Node, context: Context) -> Node:
    """-(a·b) as (-a)·b, for an outer product that is made for this sum alone: one pass over it less."""
    if not isinstance(total.op, LinearCombination) or len(total.operands) != 1 or not total.type.dtype.is_inexact:
        return total
    (product,) = total.operands
    if not isinstance(product.op, Einsum) or len(product.operands) != 2 or context.is_shared(product):
        return total
    whole = total.op.inputs[0] == tuple(range(total.ndim))
    outer = set(product.op.output) == {label for labels in product.op.inputs for label in labels}
    smaller = product.operands[0].ndim < product.ndim
    if not (whole and outer and smaller):
        return total
    first = build.scale(total.op.coefficients[0], product.operands[0])
    return build.einsum([first, product.operands[1]], product.op.inputs, product.op.output)


DIAGONAL_RULES: tuple[Rule, ...] = (diagonal_apart,)
