"""Derivative rules of matrix operations, batched, as einsums over factors.

Sources: Giles, "Collected matrix derivative results for forward and reverse mode algorithmic
differentiation" (2008) for inverse, solve and determinant; Murray, arXiv 1602.07527, equation 10, for
Cholesky; Seeger et al., arXiv 1710.08717, for QR and the symmetric eigenproblem; Townsend,
"Differentiating the singular value decomposition" (2016); Golub and Pereyra, SIAM J. Numer. Anal. 10
(1973), equation 4.12, for the pseudo-inverse.

The gradient of a function of a symmetric matrix (Cholesky, eigh) is symmetric, as in JAX and
PyTorch.  Where eigenvalues or singular values coincide, the rules for vectors count the pair's
coupling as 0: right for every function whose value does not depend on the choice of basis.
"""

from __future__ import annotations

from collections.abc import Callable

from ..ir import Node, Operation, UnsupportedError, build, make
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
from ..ir.scalar import Scalar, argument, call

Factor = tuple[Node, str]


class Batched:
    """Products of matrices that share batch axes, some of which carry the caller's extra axes.

    A factor is ``(node, roles)``: roles is two letters for rows and columns (one for a vector), and
    an upper-case ``E`` in front where the node has the extra axes.
    """

    def __init__(self, extra: int, batch: int) -> None:
        self.extra = [("extra", k) for k in range(extra)]
        self.batch = [("batch", k) for k in range(batch)]

    def product(self, output: str, *factors: Factor) -> Node:
        """The einsum of the factors, with the extra and batch axes in front of ``output``'s letters."""
        names: dict[object, int] = {}
        inputs = [self._number(roles, names) for _, roles in factors]
        return build.contract([node for node, _ in factors], inputs, self._number(output, names))

    def _number(self, roles: str, names: dict[object, int]) -> list[int]:
        lead = [*self.extra, *self.batch] if roles.startswith("E") else list(self.batch)
        return [names.setdefault(label, len(names)) for label in [*lead, *roles.removeprefix("E")]]

    def transposed(self, node: Node) -> Node:
        """The last two axes exchanged."""
        order = [*range(node.ndim - 2), node.ndim - 1, node.ndim - 2]
        return build.transpose(node, order)


def _real(node: Node) -> None:
    if node.operands[0].type.dtype.kind == "complex":
        raise UnsupportedError(f"the derivative of {node.op.name} of a complex matrix is not supported")


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
    solved = build.reshape(make(Solve(), over.transposed(a), flat), moved.type.shape)
    return build.transpose(solved, [order.index(k) for k in range(g.ndim)])


def _determinant(node: Node, position: int, g: Node, extra: int) -> Node:
    """``d det A = det(A) tr(A⁻¹ dA)``; a singular matrix raises when it runs."""
    inverse = make(Inverse(), node.operands[0])
    return Batched(extra, node.ndim).product("Eij", (g, "E"), (node, ""), (inverse, "ji"))


def _signed_log_determinant(node: Node, position: int, g: Node, extra: int) -> Node | None:
    """``d log|det A| = Re tr(A⁻¹ dA)``; the sign of a real determinant is locally constant."""
    assert isinstance(node.op, SignedLogDeterminant)
    if node.op.result == "sign":
        _real(node)
        return None
    inverse = make(Inverse(), node.operands[0])
    seed = build.cast(g, inverse.type.dtype)
    return Batched(extra, node.ndim).product("Eij", (seed, "E"), (inverse, "ji"))


def _masked(node: Node, keep: str, scale: float = 1.0) -> Node:
    """Entries where row and column compare as ``keep`` (``"ge"`` is the lower triangle), halved diagonals apart."""
    rank = node.ndim
    rows, columns = build.iota(node.type.shape[-2]), build.iota(node.type.shape[-1])
    expression: Scalar = call("where", call(keep, argument(1), argument(2)), argument(0), 0.0)
    masked = build.map_node(expression, [node, rows, columns], [range(rank), [rank - 2], [rank - 1]], rank)
    return build.scale(scale, build.cast(masked, node.type.dtype))


def _half_lower(node: Node) -> Node:
    """The lower triangle with its diagonal halved."""
    return build.add(_masked(node, "gt"), _masked(node, "eq", 0.5))


def _symmetric_part(over: Batched, node: Node) -> Node:
    return build.linear_combination([0.5, 0.5], [node, over.transposed(node)])


def _cholesky(node: Node, position: int, g: Node, extra: int) -> Node:
    """``Ā = sym(L⁻ᵀ Φ(Lᵀ L̄) L⁻¹)`` with Φ the lower triangle, its diagonal halved.

    What arrives above the diagonal, where L is 0 whatever A is, may be infinite and does not count.
    """
    _real(node)
    over = Batched(extra, node.ndim - 2)
    inner = _half_lower(over.product("Eij", (node, "ki"), (_masked(g, "ge"), "Ekj")))
    inverse = make(Inverse(), node)
    return _symmetric_part(over, over.product("Epq", (inverse, "ip"), (inner, "Eij"), (inverse, "jq")))


def _eigen(node: Node, position: int, g: Node, extra: int) -> Node:
    """``Ā = V (diag(w̄) + F∘VᵀV̄) Vᵀ`` with ``F_ij = 1/(w_j − w_i)``."""
    assert isinstance(node.op, HermitianEigen)
    _real(node)
    (a,) = node.operands
    over = Batched(extra, a.ndim - 2)
    vectors = make(HermitianEigen("eigenvectors", node.op.uplo), a)
    if node.op.result == "eigenvalues":
        return over.product("Epq", (vectors, "pi"), (g, "Ei"), (vectors, "qi"))
    values = make(HermitianEigen("eigenvalues", node.op.uplo), a)
    gaps = _inverse_gaps(values)
    spread = over.product("Epq", (vectors, "pi"), (gaps, "ij"), (vectors, "ki"), (g, "Ekj"), (vectors, "qj"))
    return _symmetric_part(over, spread)


def _inverse_gaps(values: Node) -> Node:
    """``1/(v_j − v_i)``, and 0 where the values are equal."""
    rank = values.ndim
    gap = call("sub", argument(1), argument(0))
    expression = call("where", call("eq", gap, 0), 0.0, call("reciprocal", call("where", call("eq", gap, 0), 1.0, gap)))
    lead = list(range(rank - 1))
    return build.map_node(expression, [values, values], [[*lead, rank - 1], [*lead, rank]], rank + 1)


def _qr(node: Node, position: int, g: Node, extra: int) -> Node:
    """``Ā = (Q̄ + Q copyltu(M)) R⁻ᵀ`` with ``M = R R̄ᵀ − Q̄ᵀ Q``, for at least as many rows as columns."""
    assert isinstance(node.op, QR)
    _real(node)
    (a,) = node.operands
    rows, columns = a.type.shape[-2:]
    if not (isinstance(rows, int) and isinstance(columns, int) and rows >= columns) and rows is not columns:
        raise UnsupportedError(f"the derivative of qr needs at least as many rows as columns, not {a.type}")
    if node.op.complete and rows != columns:
        raise UnsupportedError("the derivative of qr in complete mode needs a square matrix; use mode='reduced'")
    over = Batched(extra, a.ndim - 2)
    q, r = make(QR("q", node.op.complete), a), make(QR("r", node.op.complete), a)
    inverse = make(Inverse(), r)
    if node.op.result == "r":
        inner = over.product("Eij", (r, "ik"), (g, "Ejk"))
    else:
        inner = build.scale(-1, over.product("Eij", (g, "Eki"), (q, "kj")))
    lower = _masked(inner, "ge")
    copied = build.add(lower, over.transposed(_masked(inner, "gt")))
    result = over.product("Epq", (q, "pi"), (copied, "Eij"), (inverse, "qj"))
    return result if node.op.result == "r" else build.add(result, over.product("Epq", (g, "Epj"), (inverse, "qj")))


def _svd(node: Node, position: int, g: Node, extra: int) -> Node:
    """Townsend's formula, one term a factor, with ``F_ij = 1/(s_j² − s_i²)``."""
    assert isinstance(node.op, SVD)
    _real(node)
    (a,) = node.operands
    over = Batched(extra, a.ndim - 2)
    u, s, vh = (make(SVD(result, False), a) for result in ("u", "s", "vh"))
    if node.op.result == "s":
        return over.product("Epq", (u, "pi"), (g, "Ei"), (vh, "iq"))
    if node.op.full_matrices and a.type.shape[-1] != a.type.shape[-2]:
        raise UnsupportedError("the derivative of svd needs full_matrices=False, since the extra vectors are arbitrary")
    gaps = _inverse_gaps(build.apply("square", s))
    reciprocal = build.apply("reciprocal", s)
    if node.op.result == "u":
        inner = over.product("Eij", (gaps, "ij"), (u, "ki"), (g, "Ekj"))
        both = build.add(inner, over.transposed(inner))
        turned = over.product("Epq", (u, "pi"), (both, "Eij"), (s, "j"), (vh, "jq"))
        inside = over.product("Epj", (u, "pi"), (u, "ki"), (g, "Ekj"))
        outside = build.linear_combination([1, -1], [g, inside])
        return build.add(turned, over.product("Epq", (outside, "Epj"), (reciprocal, "j"), (vh, "jq")))
    inner = over.product("Eij", (gaps, "ij"), (vh, "ik"), (g, "Ejk"))
    both = build.add(inner, over.transposed(inner))
    turned = over.product("Epq", (u, "pi"), (s, "i"), (both, "Eij"), (vh, "jq"))
    outside = build.linear_combination([1, -1], [g, over.product("Ejq", (g, "Ejk"), (vh, "ik"), (vh, "iq"))])
    return build.add(turned, over.product("Epq", (u, "pj"), (reciprocal, "j"), (outside, "Ejq")))


def _pseudo_inverse(node: Node, position: int, g: Node, extra: int) -> Node:
    _real(node)
    return _through_pseudo_inverse(node, node.operands[0], g, extra)


def _through_pseudo_inverse(p: Node, a: Node, g: Node, extra: int) -> Node:
    """``dP = −P dA P + P Pᵀ dAᵀ (I − A P) + (I − P A) dAᵀ Pᵀ P``, for matrices of constant rank."""
    over = Batched(extra, a.ndim - 2)
    first = over.product("Esr", (p, "ps"), (g, "Epq"), (p, "rq"))
    columns = over.product("Esr", (g, "Eps"), (p, "pk"), (p, "rk"))
    within = over.product("Esr", (a, "sk"), (p, "kt"), (columns, "Etr"))
    rows = over.product("Esr", (p, "ks"), (p, "kq"), (g, "Erq"))
    beyond = over.product("Esr", (rows, "Est"), (p, "tk"), (a, "kr"))
    return build.linear_combination([-1, 1, -1, 1, -1], [first, columns, within, rows, beyond])


def _least_squares(node: Node, position: int, g: Node, extra: int) -> Node:
    """``x = A⁺ b``."""
    assert isinstance(node.op, LeastSquares)
    _real(node)
    a, b = node.operands
    inverse = make(PseudoInverse(node.op.rcond), a)
    over = Batched(extra, 0)
    if position == 1:
        return over.product("Eqc", (inverse, "pq"), (g, "Epc"))
    return _through_pseudo_inverse(inverse, a, over.product("Epq", (g, "Epc"), (b, "qc")), extra)


MATRIX_RULES: dict[type[Operation], Callable[[Node, int, Node, int], Node | None]] = {
    Inverse: _inverse,
    Solve: _solve,
    Determinant: _determinant,
    SignedLogDeterminant: _signed_log_determinant,
    Cholesky: _cholesky,
    HermitianEigen: _eigen,
    QR: _qr,
    SVD: _svd,
    PseudoInverse: _pseudo_inverse,
    LeastSquares: _least_squares,
}
