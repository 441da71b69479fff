"""Rules that solve with, invert and take determinants of structured operators by their small factors."""

from __future__ import annotations

from ...ir import Node, build
from ...ir.operations import Delta, Einsum, Inverse, LinearCombination, Reshape, SignedLogDeterminant, Solve
from ..rewrite import Context, Rule, Status, rule
from .operators import Operator, with_columns
from .terms import structure_of


def _operator(matrix: Node) -> Operator | None:
    """The structured operator that a square matrix is a reshape of, if it is one."""
    tensor = matrix.operands[0] if isinstance(matrix.op, Reshape) else matrix
    half = tensor.ndim // 2
    if tensor.ndim % 2 or tensor.type.shape[:half] != tensor.type.shape[half:]:
        return None
    if matrix.ndim != 2 or not isinstance(tensor.op, (Einsum, LinearCombination, Delta)):
        return None
    return Operator(structure_of(tensor))


@rule(Solve, status=Status.REASSOCIATES)
def solve_by_parts(node: Node, context: Context) -> Node | None:
    """solve(δ ⊗ A, b) -> δ ⊗ solve(A, b): each batch index, and each Kronecker factor, apart."""
    matrix, right = node.operands
    operator = _operator(matrix)
    if operator is None or not (operator.is_structured or operator.invertible_low_rank()):
        return None
    columns = right.type.shape[-1]
    lifted = Operator(with_columns(operator.structure, columns))
    solution = lifted.solve(build.reshape(right, (*operator.shape, columns)))
    return build.reshape(solution, right.type.shape)


@rule(Inverse, status=Status.REASSOCIATES)
def invert_by_parts(node: Node, context: Context) -> Node | None:
    """inv(s·A ⊗ B) -> inv(A) ⊗ inv(B) / s."""
    operator = _operator(node.operands[0])
    if operator is None or not operator.is_structured:
        return None
    return build.reshape(operator.inverse(), node.type.shape)


@rule(SignedLogDeterminant, status=Status.REASSOCIATES)
def determinant_by_parts(node: Node, context: Context) -> Node | None:
    """logabsdet(A ⊗ B) -> n·logabsdet(A) + m·logabsdet(B), for A of size m and B of size n."""
    assert isinstance(node.op, SignedLogDeterminant)
    operator = _operator(node.operands[0])
    if operator is None or not operator.is_structured or node.type.dtype.kind == "complex":
        return None
    return operator.log_determinant() if node.op.result == "logabsdet" else operator.sign()


STRUCTURE_RULES: tuple[Rule, ...] = (solve_by_parts, invert_by_parts, determinant_by_parts)
