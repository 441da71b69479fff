"""Rules that use what is declared of a tensor: orthonormal columns, a diagonal, positive definiteness."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir import Node, build, make
from ...ir.operations import Cholesky, Einsum, Inverse, Map, SignedLogDeterminant, Solve
from ...ir.scalar import argument, call
from ..rewrite import Context, Rule, Status, rule


def _conjugate_of(node: Node) -> Node:
    """The tensor that ``node`` is the complex conjugate of; a real tensor itself."""
    if node.type.dtype.kind != "complex":
        return node
    if isinstance(node.op, Map) and node.op.expression is call("conj", argument(0)):
        return node.operands[0]
    return build.conjugate(node)


def _is_orthonormal(node: Node) -> bool:
    return node.ndim == 2 and node.type.facts.orthonormal


def _is_orthogonal(node: Node) -> bool:
    """Whether the inverse is the conjugate transpose."""
    return _is_orthonormal(node) and node.type.shape[0] == node.type.shape[1]


@rule(Einsum, status=Status.REASSOCIATES)
def orthonormal_columns(node: Node, context: Context) -> Node | None:
    """einsum("ia,ib->ab", q, q) -> delta, where q is declared orthonormal (conjugated on one side)."""
    assert isinstance(node.op, Einsum)
    for position, operand in enumerate(node.operands):
        if not _is_orthonormal(operand):
            continue
        partner = _conjugate_of(operand)
        axes = (0, 1) if _is_orthogonal(operand) else (0,)
        for axis in axes:
            for other in _partners(node, position, partner, axis):
                return _with_delta(node, position, other, 1 - axis)
    return None


def _partners(node: Node, position: int, partner: Node, axis: int) -> list[int]:
    """The operands that are ``partner`` and share just the summed ``axis`` with operand ``position``."""
    assert isinstance(node.op, Einsum)
    labels = node.op.inputs[position]
    summed = labels[axis]
    places = [k for k, names in enumerate(node.op.inputs) if summed in names]
    if summed in node.op.output or len(places) != 2 or labels.count(summed) != 1:
        return []
    (other,) = (k for k in places if k != position)
    names = node.op.inputs[other]
    matches = node.operands[other] is partner and names[axis] == summed and names.count(summed) == 1
    return [other] if matches else []


def _with_delta(node: Node, position: int, other: int, axis: int) -> Node:
    assert isinstance(node.op, Einsum)
    pair = (node.op.inputs[position][axis], node.op.inputs[other][axis])
    kept = [k for k in range(len(node.operands)) if k not in (position, other)]
    delta = build.delta(node.operands[position].type.shape[axis], node.type.dtype)
    operands: Sequence[Node] = [*(node.operands[k] for k in kept), delta]
    return build.contract(operands, [*(node.op.inputs[k] for k in kept), pair], node.op.output)


@rule(Inverse, Solve, status=Status.REASSOCIATES)
def orthogonal_inverse(node: Node, context: Context) -> Node | None:
    """inv(q) -> qᵀ and solve(q, b) -> qᵀ·b, where the square q is declared orthonormal."""
    matrix = node.operands[0]
    if not _is_orthogonal(matrix):
        return None
    inverse = build.transpose(build.conjugate(matrix), (1, 0))
    if isinstance(node.op, Inverse):
        return inverse
    return build.einsum([inverse, node.operands[1]], [(0, 1), (1, 2)], (0, 2))


@rule(Einsum)
def declared_diagonal(node: Node, context: Context) -> Node | None:
    """einsum("ij,jk->ik", d, a) -> einsum("i,ik->ik", diagonal(d), a), where d is declared diagonal."""
    assert isinstance(node.op, Einsum)
    for position, operand in enumerate(node.operands):
        labels = node.op.inputs[position]
        if operand.ndim != 2 or not operand.type.facts.diagonal or labels[0] == labels[1]:
            continue
        if len(node.operands) == 1 and set(labels) == set(node.op.output):
            continue
        diagonal = build.einsum([operand], [(0, 0)], (0,))
        delta = build.delta(operand.type.shape[0], operand.type.dtype)
        operands, inputs = list(node.operands), list(node.op.inputs)
        operands[position : position + 1] = [diagonal, delta]
        inputs[position : position + 1] = [labels[:1], labels]
        return build.einsum(operands, inputs, node.op.output)
    return None


@rule(Inverse, Solve, status=Status.REASSOCIATES)
def diagonal_inverse(node: Node, context: Context) -> Node | None:
    """solve(d, b) -> b / diagonal(d), and inv(d) -> 1/diagonal(d) embedded, where d is declared diagonal."""
    matrix = node.operands[0]
    if matrix.ndim != 2 or not matrix.type.facts.diagonal:
        return None
    reciprocal = build.apply("reciprocal", build.einsum([matrix], [(0, 0)], (0,)))
    if isinstance(node.op, Solve):
        return build.einsum([reciprocal, node.operands[1]], [(0,), (0, 1)], (0, 1))
    delta = build.delta(matrix.type.shape[0], matrix.type.dtype)
    return build.einsum([reciprocal, delta], [(0,), (0, 1)], (0, 1))


@rule(SignedLogDeterminant, status=Status.REASSOCIATES)
def definite_determinant(node: Node, context: Context) -> Node | None:
    """logabsdet(s) -> 2·sum(log(diagonal(cholesky(s)))), and sign(s) -> 1, where s is declared positive definite.

    Half the operations.  Where the data breaks that promise, the factorisation says so and raises; symmetry alone,
    or a Gram matrix, is no such promise, since rounding may make it indefinite.
    """
    assert isinstance(node.op, SignedLogDeterminant)
    (matrix,) = node.operands
    if not matrix.type.facts.positive_definite:
        return None
    if node.op.result == "sign":
        return build.full(node.type.shape, 1, node.type.dtype)
    batch = tuple(range(matrix.ndim - 2))
    row = len(batch)
    diagonal = build.einsum([make(Cholesky(), matrix)], [(*batch, row, row)], (*batch, row))
    real = build.apply("real", diagonal) if diagonal.type.dtype.kind == "complex" else diagonal
    return build.scale(2, build.sum_axes(build.apply("log", real), [row]))


FACT_RULES: tuple[Rule, ...] = (
    orthonormal_columns,
    orthogonal_inverse,
    declared_diagonal,
    diagonal_inverse,
    definite_determinant,
)
