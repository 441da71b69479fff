"""Derivative rules of matrix operations, batched, as einsums over factors.

Sources: Giles, "Collected matrix derivative results for forward and reverse mode algorithmic
differentiation" (2008) for inverse and solve; Golub and Pereyra, SIAM J. Numer. Anal. 10 (1973),
equation 4.12, for the pseudo-inverse.  Factorisations: ``decomposition_rules.py``; determinants:
``determinant_rules.py``.
"""

from __future__ import annotations

from ..ir import Node, Operation, build, make
from ..ir.dims import product
from ..ir.operations import (
    QR,
    SVD,
    Cholesky,
    Determinant,
    HermitianEigen,
    Inverse,
    LeastSquares,
    PseudoInverse,
    SignedLogDeterminant,
    Solve,
)
from .batched_matrices import Batched, MatrixRule, adjoint, by_adjoints, transposed
from .decomposition_rules import cholesky, hermitian_eigen, qr, svd
from .determinant_rules import determinant, signed_log_determinant


def _inverse(node: Node, position: int, g: Node, extra: int) -> Node:
    """``dY = −Y dA Y``."""
    over = Batched(extra, node.ndim - 2)
    return build.scale(-1, over.product("Epq", (node, "ip"), (g, "Eij"), (node, "qj")))


def _solve(node: Node, position: int, g: Node, extra: int) -> Node:
    """``B̄ = A⁻ᵀ X̄`` and ``Ā = −B̄ Xᵀ``."""
    a, _ = node.operands
    over = Batched(extra, node.ndim - 2)
    right = _solve_transposed(over, a, g)
    return right if position == 1 else build.scale(-1, over.product("Eij", (right, "Eic"), (node, "jc")))


def _solve_transposed(over: Batched, a: Node, g: Node) -> Node:
    """``A⁻ᵀ`` applied to the last-but-one axis of ``g``, whose extra axes become columns."""
    extra, batch = len(over.extra), len(over.batch)
    order = [*range(extra, extra + batch + 1), *range(extra), extra + batch + 1]
    moved = build.transpose(g, order)
    lead = moved.type.shape[: batch + 1]
    flat = build.reshape(moved, (*lead, product(moved.type.shape[batch + 1 :])))
    solved = build.reshape(make(Solve(), transposed(a), flat), moved.type.shape)
    return build.transpose(solved, [order.index(k) for k in range(g.ndim)])


@by_adjoints
def _pseudo_inverse(node: Node, position: int, g: Node, extra: int) -> Node:
    """``dP = −P dA P + P Pᴴ dAᴴ (I − A P) + (I − P A) dAᴴ Pᴴ P``, for matrices of constant rank."""
    return _through_pseudo_inverse(node, node.operands[0], g, extra)


def _through_pseudo_inverse(p: Node, a: Node, g: Node, extra: int) -> Node:
    """``Ā = −Pᴴ P̄ Pᴴ + (I − A P) P̄ᴴ P Pᴴ + Pᴴ P P̄ᴴ (I − P A)``."""
    over = Batched(extra, a.ndim - 2)
    reverse, back = adjoint(p), adjoint(g)
    first = over.product("Epq", (reverse, "pi"), (g, "Eij"), (reverse, "jq"))
    columns = over.product("Epq", (back, "Epi"), (p, "ij"), (reverse, "jq"))
    within = over.product("Epq", (a, "pi"), (p, "ij"), (columns, "Ejq"))
    rows = over.product("Epq", (reverse, "pi"), (p, "ij"), (back, "Ejq"))
    beyond = over.product("Epq", (rows, "Epi"), (p, "ij"), (a, "jq"))
    return build.linear_combination([-1, 1, -1, 1, -1], [first, columns, within, rows, beyond])


@by_adjoints
def _least_squares(node: Node, position: int, g: Node, extra: int) -> Node:
    """``x = A⁺ b``."""
    assert isinstance(node.op, LeastSquares)
    a, b = node.operands
    inverse = make(PseudoInverse(node.op.rcond), a)
    over = Batched(extra, 0)
    if position == 1:
        return over.product("Eqc", (build.conjugate(inverse), "pq"), (g, "Epc"))
    return _through_pseudo_inverse(inverse, a, over.product("Epq", (g, "Epc"), (build.conjugate(b), "qc")), extra)


MATRIX_RULES: dict[type[Operation], MatrixRule] = {
    Inverse: _inverse,
    Solve: _solve,
    Determinant: determinant,
    SignedLogDeterminant: signed_log_determinant,
    Cholesky: cholesky,
    HermitianEigen: hermitian_eigen,
    QR: qr,
    SVD: svd,
    PseudoInverse: _pseudo_inverse,
    LeastSquares: _least_squares,
}
