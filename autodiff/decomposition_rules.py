"""Derivative rules of factorisations: Cholesky, the Hermitian eigenproblem, QR, singular values.

Sources: Murray, arXiv 1602.07527, equation 10, for Cholesky; Seeger et al., arXiv 1710.08717, for the
eigenproblem; Roberts and Roberts, arXiv 2009.14071, for QR, of complex and of wide matrices; Townsend,
"Differentiating the singular value decomposition" (2016), and Wan and Zhang, arXiv 1909.02659, for
its phases.  The rules are written in the literature's ``Ā``, ``df = Re tr(Āᴴ dA)``.

The gradient of a function of a Hermitian matrix (Cholesky, eigh) is Hermitian, as in JAX and
PyTorch.  Vectors are determined up to a phase, and where values coincide up to a rotation; the rules
are right for every function that does not depend on that choice (:mod:`.degenerate_spectra`).
"""

from __future__ import annotations

from ..ir import Node, Size, UnsupportedError, build, make
from ..ir.dims import minimum
from ..ir.operations import QR, SVD, Concatenate, HermitianEigen, Inverse
from .batched_matrices import (
    Batched,
    adjoint,
    by_adjoints,
    half_lower,
    hermitian_part,
    masked,
    part,
    twice_skew_part,
    vanishes_beyond,
)
from .degenerate_spectra import Spectrum


@by_adjoints
def cholesky(node: Node, position: int, g: Node, extra: int) -> Node:
    """``Ā = herm(L⁻ᴴ Φ(Lᴴ L̄) L⁻¹)`` with Φ the lower triangle, its diagonal halved.

    What arrives above the diagonal, where L is 0 whatever A is, may be infinite and does not count.
    """
    over = Batched(extra, node.ndim - 2)
    inner = half_lower(over.product("Eij", (build.conjugate(node), "ki"), (masked(g, "ge"), "Ekj")))
    inverse = make(Inverse(), node)
    spread = over.product("Epq", (build.conjugate(inverse), "ip"), (inner, "Eij"), (inverse, "jq"))
    return hermitian_part(spread)


@by_adjoints
def hermitian_eigen(node: Node, position: int, g: Node, extra: int) -> Node:
    """``Ā = V (diag(w̄) + F∘(VᴴV̄ − V̄ᴴV)/2) Vᴴ`` with ``F_ij = 1/(w_j − w_i)``."""
    assert isinstance(node.op, HermitianEigen)
    (a,) = node.operands
    over = Batched(extra, a.ndim - 2)
    vectors = make(HermitianEigen("eigenvectors", node.op.uplo), a)
    conjugates = build.conjugate(vectors)
    if node.op.result == "eigenvalues":
        return over.product("Epq", (vectors, "pi"), (g, "Ei"), (conjugates, "qi"))
    values = make(HermitianEigen("eigenvalues", node.op.uplo), a)
    turn = twice_skew_part(over.product("Eij", (conjugates, "ki"), (g, "Ekj")))
    coupling = Spectrum(values, [values], extra).over_gaps(turn)
    return build.scale(0.5, over.product("Epq", (vectors, "pi"), (coupling, "Eij"), (conjugates, "qj")))


# --- QR ----------------------------------------------------------------------------------------


def qr(node: Node, position: int, g: Node, extra: int) -> Node | None:
    """By the shape: tall and square matrices by the formula, wide ones through their first square."""
    assert isinstance(node.op, QR)
    (a,) = node.operands
    rows, columns = a.type.shape[-2:]
    smaller = minimum(rows, columns)
    if smaller == columns:
        return _tall_qr(node, position, g, extra)
    if smaller == rows:
        from .reverse import cotangents

        return cotangents(_wide_qr(node), [a], g, extra)[a]
    raise UnsupportedError(
        f"the derivative of qr of {a.type} depends on whether it has more rows ({rows}) than columns ({columns}), "
        "which is not known; give both sizes as numbers, or one symbol"
    )


def _wide_qr(node: Node) -> Node:
    """``[X | Y] = Q [R | QᴴY]`` with square X (Roberts and Roberts, section 3.3)."""
    assert isinstance(node.op, QR)
    (a,) = node.operands
    rows, columns = a.type.shape[-2:]
    square = part(a, a.ndim - 1, 0, rows)
    q = make(QR("q"), square)
    if node.op.result == "q":
        return q
    beyond = part(a, a.ndim - 1, rows, columns - rows)
    product = Batched(0, a.ndim - 2).product("ij", (build.conjugate(q), "ki"), (beyond, "kj"))
    return make(Concatenate(a.ndim - 1), make(QR("r"), square), product)


@by_adjoints
def _tall_qr(node: Node, position: int, g: Node, extra: int) -> Node:
    """``Ā = (Q̄ − Q W_Q + Q Φ(W − Wᴴ) + Q R̄ Rᴴ) R⁻ᴴ`` with ``W_Q = QᴴQ̄`` and ``W = W_Q − R̄Rᴴ``.

    Φ is the lower triangle, its diagonal halved.  What arrives below R's diagonal does not count.
    """
    assert isinstance(node.op, QR)
    (a,) = node.operands
    rows, columns = a.type.shape[-2:]
    over = Batched(extra, a.ndim - 2)
    if node.op.complete and rows != columns:
        g = _reduced_cotangent(node, g, columns)
    q, r = make(QR("q"), a), make(QR("r"), a)
    inverse = build.conjugate(make(Inverse(), r))
    if node.op.result == "r":
        product = over.product("Eij", (masked(g, "le"), "Eik"), (build.conjugate(r), "jk"))
        inner = build.linear_combination([-1, 1], [half_lower(twice_skew_part(product)), product])
        return over.product("Epq", (q, "pi"), (inner, "Eij"), (inverse, "qj"))
    product = over.product("Eij", (build.conjugate(q), "ki"), (g, "Ekj"))
    inner = build.linear_combination([1, -1], [half_lower(twice_skew_part(product)), product])
    whole = build.add(g, over.product("Epj", (q, "pi"), (inner, "Eij")))
    return over.product("Epq", (whole, "Epj"), (inverse, "qj"))


def _reduced_cotangent(node: Node, g: Node, columns: Size) -> Node:
    """Of mode 'complete': that of R without its rows of zeros, of Q without the columns that nothing reads."""
    assert isinstance(node.op, QR)
    if node.op.result == "r":
        return part(g, g.ndim - 2, 0, columns)
    if vanishes_beyond(g, g.ndim - 1, columns):
        return part(g, g.ndim - 1, 0, columns)
    raise UnsupportedError(
        f"the derivative of the q of a complete qr of {node.operands[0].type} does not exist: q[..., {columns}:] is "
        f"arbitrary; use mode='reduced', or only q[..., :{columns}]"
    )


# --- singular values ---------------------------------------------------------------------------


@by_adjoints
def svd(node: Node, position: int, g: Node, extra: int) -> Node:
    """``Ā = U diag(s̄) Vᴴ``, and what the vectors' turning adds."""
    assert isinstance(node.op, SVD)
    (a,) = node.operands
    if node.op.result != "s":
        return _singular_vectors(node, g, extra)
    u, vh = make(SVD("u", False), a), make(SVD("vh", False), a)
    return Batched(extra, a.ndim - 2).product("Epq", (u, "pi"), (g, "Ei"), (vh, "iq"))


def _singular_vectors(node: Node, g: Node, extra: int) -> Node:
    """``U Z Vᴴ`` with ``Z_ij = T_ij (1/(s_j − s_i) ± 1/(s_j + s_i))/2``, and the part outside the vectors' span.

    T is ``UᴴŪ − ŪᴴU`` and the sign plus for U; ``VᴴV̄ − V̄ᴴV`` and minus for V.  It is Townsend's
    ``1/(s_j² − s_i²)`` in partial fractions; the diagonal, of complex matrices, is the phases'.
    """
    assert isinstance(node.op, SVD)
    (a,) = node.operands
    rows, columns = a.type.shape[-2:]
    u, vh = _reduced_vectors(node)
    s = make(SVD("s", node.op.full_matrices), a)
    spectrum = Spectrum(s, [make(SVD("s", True), a), make(SVD("s", False), a)], extra)
    over = Batched(extra, a.ndim - 2)
    left = node.op.result == "u"
    g = _without_arbitrary(node, g)
    vectors, cotangent = (u, g) if left else (adjoint(vh), adjoint(g))
    inner = over.product("Eij", (build.conjugate(vectors), "ki"), (cotangent, "Ekj"))
    turn = twice_skew_part(inner)
    halves = [spectrum.over_gaps(turn), spectrum.over_sums(turn)]
    coupling = build.linear_combination([0.5, 0.5 if left else -0.5], halves)
    result = over.product("Epq", (u, "pi"), (coupling, "Eij"), (vh, "jq"))
    if rows == columns or _spans(rows, columns, left):
        return result
    outside = build.linear_combination([1, -1], [cotangent, over.product("Epj", (vectors, "pi"), (inner, "Eij"))])
    stretched = spectrum.over_columns(outside)
    if left:
        return build.add(result, over.product("Epq", (stretched, "Epj"), (vh, "jq")))
    return build.add(result, over.product("Epq", (u, "pj"), (build.conjugate(stretched), "Eqj")))


def _spans(rows: Size, columns: Size, left: bool) -> bool:
    """Whether the vectors of that side are known to span their space."""
    return minimum(rows, columns) == (rows if left else columns)


def _reduced_vectors(node: Node) -> tuple[Node, Node]:
    """U and Vᴴ of one call of the factorisation, without the arbitrary vectors of ``full_matrices``."""
    assert isinstance(node.op, SVD)
    (a,) = node.operands
    rows, columns = a.type.shape[-2:]
    full = node.op.full_matrices
    u, vh = make(SVD("u", full), a), make(SVD("vh", full), a)
    if not full or rows == columns:
        return u, vh
    small = minimum(rows, columns)
    return part(u, u.ndim - 1, 0, small), part(vh, vh.ndim - 2, 0, small)


def _without_arbitrary(node: Node, g: Node) -> Node:
    """The cotangent without the vectors that ``full_matrices`` adds, where nothing reads them."""
    assert isinstance(node.op, SVD)
    (a,) = node.operands
    rows, columns = a.type.shape[-2:]
    left = node.op.result == "u"
    if not node.op.full_matrices or _spans(rows, columns, left):
        return g
    small, axis = minimum(rows, columns), g.ndim - (1 if left else 2)
    if vanishes_beyond(g, axis, small):
        return part(g, axis, 0, small)
    beyond, kept = (
        (f"u[..., {small}:]", f"u[..., :{small}]") if left else (f"vh[..., {small}:, :]", f"vh[..., :{small}, :]")
    )
    raise UnsupportedError(
        f"the derivative of the {node.op.result} of a full svd of {a.type} does not exist: {beyond} is arbitrary; "
        f"use full_matrices=False, or only {kept}"
    )
