"""Derivative rules of determinants, which are polynomials and so have derivatives at singular matrices too.

``∂ det A / ∂A`` is the matrix of cofactors.  ``det(A) A⁻ᵀ`` is that matrix only where A is far from
singular.  Otherwise it is read off the singular values (G. W. Stewart, "On the adjugate matrix",
Linear Algebra Appl. 283 (1998), section 2): no factor is divided by, and nothing cancels.  Which it is
depends on the data, so both are computed, the one that is not wanted of a harmless matrix.
"""

from __future__ import annotations

import itertools

import numpy as np

from ..ir import Node, build, make
from ..ir.dtypes import to_numpy_dtype
from ..ir.operations import SVD, Inverse, Reduce, SignedLogDeterminant
from ..ir.scalar import argument, call
from .batched_matrices import Batched
from .products import cofactors as products_of_others

_EXPLICIT = 3  # up to this size cofactors are written out
_CHOICE = call("where", argument(0), argument(1), argument(2))


def determinant(node: Node, position: int, g: Node, extra: int) -> Node:
    """``d det A = Σ cofactor · dA``."""
    return Batched(extra, node.ndim).product("Eij", (g, "E"), (_cofactors(node), "ij"))


def signed_log_determinant(node: Node, position: int, g: Node, extra: int) -> Node | None:
    """``d log|det A| = Re tr(A⁻¹ dA)`` and ``d sign = i·sign·Im tr(A⁻¹ dA)``.

    The sign of a real determinant is locally constant.
    """
    assert isinstance(node.op, SignedLogDeterminant)
    (a,) = node.operands
    seed = build.cast(g, a.type.dtype)
    over = Batched(extra, node.ndim)
    if node.op.result == "sign":
        if a.type.dtype.kind != "complex":
            return None
        turn = build.apply("imag", over.product("E", (g, "E"), (node, "")))
        seed = build.scale(1j, build.cast(turn, a.type.dtype))
    return over.product("Eij", (seed, "E"), (make(Inverse(), a), "ji"))


def _cofactors(node: Node) -> Node:
    """The cofactors of the operand of a determinant."""
    (a,) = node.operands
    size = a.type.shape[-1]
    if isinstance(size, int) and size <= _EXPLICIT:
        return _explicit_cofactors(a, size)
    near = _near_singular(make(SVD("s", False), a))
    batch, entries = list(range(node.ndim)), list(range(a.ndim))
    choices = [near, _spectral_cofactors(_chosen(near, a, _ramp(a))), _scaled_inverse(node, near)]
    return build.map_node(_CHOICE, choices, [batch, entries, entries], a.ndim)


def _chosen(near: Node, first: Node, second: Node) -> Node:
    """Matrices of ``first`` where they are near singular, else of ``second``; a single matrix stands for all."""
    rank, batch = near.ndim + 2, list(range(near.ndim))
    labels = [list(range(rank - x.ndim, rank)) for x in (first, second)]
    return build.map_node(_CHOICE, [near, first, second], [batch, *labels], rank)


def _ramp(a: Node) -> Node:
    """``diag(1/2, 2/3, 3/4, …)``: no two values coincide, and their product is 1 over their number and 1."""
    position = build.cast(build.iota(a.type.shape[-1]), a.type.dtype)
    values = build.map_node(call("div", call("add", argument(0), 1.0), call("add", argument(0), 2.0)), [position])
    return build.contract([values], [[0]], [0, 0])


def _explicit_cofactors(a: Node, size: int) -> Node:
    """``cof_il = Σ ε_ijk ε_lmn a_jm a_kn / 2`` with the Levi-Civita symbol ε, and its like for other sizes."""
    if size < 2:
        return build.full(a.type.shape, 1, a.type.dtype)
    batch = list(range(a.ndim - 2))
    rows, columns = [100 + k for k in range(size)], [200 + k for k in range(size)]
    symbol = build.constant(_levi_civita(size), a.type.dtype)
    operands = [symbol, symbol, *[a] * (size - 1)]
    labels = [rows, columns, *([*batch, i, j] for i, j in zip(rows[1:], columns[1:], strict=True))]
    ways = 1.0 if size == 2 else 0.5
    return build.scale(ways, build.einsum(operands, labels, [*batch, rows[0], columns[0]]))


def _levi_civita(size: int) -> np.ndarray:
    symbol = np.zeros((size,) * size)
    for order in itertools.permutations(range(size)):
        symbol[order] = round(np.linalg.det(np.eye(size)[list(order)]))
    return symbol


def _near_singular(s: Node) -> Node:
    """Whether the least singular value is so small that the inverse would spoil second derivatives.

    Theirs is an error of ε·cond², which this bounds by √ε.
    """
    axis = s.ndim - 1
    limit = float(np.finfo(to_numpy_dtype(s.type.dtype)).eps ** 0.25)
    smaller = call("le", argument(0), call("mul", argument(1), limit))
    ends = [build.reduce_node(kind, s, [axis]) for kind in ("min", "max")]
    return build.map_node(smaller, ends)


def _spectral_cofactors(a: Node) -> Node:
    """``det(U Vᴴ) conj(U) diag(p) conj(Vᴴ)``, with ``p_i`` the product of the singular values but the i-th."""
    u, s, vh = (make(SVD(result, False), a) for result in ("u", "s", "vh"))
    others = products_of_others(make(Reduce("prod", (s.ndim - 1,)), s))
    phases = [make(SignedLogDeterminant("sign"), x) for x in (u, vh)]
    return Batched(0, s.ndim - 1).product(
        "pq", (phases[0], ""), (phases[1], ""), (build.conjugate(u), "pi"), (others, "i"), (build.conjugate(vh), "iq")
    )


def _scaled_inverse(node: Node, near: Node) -> Node:
    """``det(A) A⁻ᵀ``, where A is near singular for the identity in its place."""
    (a,) = node.operands
    safe = _chosen(near, build.delta(a.type.shape[-1], a.type.dtype), a)
    return Batched(0, node.ndim).product("ij", (node, ""), (make(Inverse(), safe), "ji"))
