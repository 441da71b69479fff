"""Linear algebra with NumPy's names and arguments, batched over leading axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..ir import DType, Node, ShapeError, build, make
from ..ir.dims import product
from ..ir.operations import (
    QR,
    SVD,
    Cholesky,
    Determinant,
    HermitianEigen,
    Inverse,
    LeastSquares,
    Operation,
    PseudoInverse,
    SignedLogDeterminant,
    Solve,
)
from ..ir.scalar import parse_scalar
from ..ir.types import shape_text
from .axes import normalise_axes
from .broadcasting import as_nodes, broadcast_shapes
from .expression import Expression, TensorLike, as_node

# Added rather than chosen, so that derivatives of the logarithm need no sign.
_LOGARITHM = parse_scalar("b + where(a < 0, nan, 0.0)")


class EighResult(NamedTuple):
    """Ascending eigenvalues, and eigenvectors as columns."""

    eigenvalues: Expression
    eigenvectors: Expression


class QRResult(NamedTuple):
    """Orthonormal columns, and an upper triangle."""

    Q: Expression
    R: Expression


class SVDResult(NamedTuple):
    """Left vectors as columns, descending values, right vectors as rows."""

    U: Expression
    S: Expression
    Vh: Expression


class SlogdetResult(NamedTuple):
    """The sign of a determinant and the logarithm of its absolute value."""

    sign: Expression
    logabsdet: Expression


def _operand(x: TensorLike) -> Node:
    """Integers become float64, as LAPACK knows only floating values."""
    node = as_node(x)
    return node if node.type.dtype.is_inexact else build.cast(node, DType.float64)


def _apply(op: Operation, x: TensorLike) -> Expression:
    return Expression.of(make(op, _operand(x)))


def inv(x: TensorLike) -> Expression:
    """The inverse of a square matrix; a singular one raises when the function runs."""
    return _apply(Inverse(), x)


def solve(a: TensorLike, b: TensorLike) -> Expression:
    """The ``x`` with ``a @ x = b``; ``b`` is a vector where it has one axis, else a matrix."""
    left, right = as_nodes([_operand(a), _operand(b)])
    vector = right.ndim == 1
    if vector:
        right = build.reshape(right, (*right.type.shape, 1))
    if left.ndim < 2:
        raise ShapeError(f"solve needs a square matrix, not shape {shape_text(left.type.shape)}")
    batch = broadcast_shapes([left.type.shape[:-2], right.type.shape[:-2]])
    solution = make(Solve(), _broadcast_batch(left, batch), _broadcast_batch(right, batch))
    return Expression.of(build.reshape(solution, solution.type.shape[:-1]) if vector else solution)


def _broadcast_batch(node: Node, batch: Sequence[object]) -> Node:
    from .shaping import broadcast_to

    return broadcast_to(Expression.of(node), (*batch, *node.type.shape[-2:])).node


def tensorinv(a: TensorLike, ind: int = 2) -> Expression:
    """The inverse of ``a`` as a map from its last axes to its first ``ind``, as in NumPy."""
    node = _operand(a)
    if not 0 < ind < node.ndim:
        raise ShapeError(f"tensorinv: ind={ind} must leave axes on both sides of shape {shape_text(node.type.shape)}")
    rows, columns = node.type.shape[:ind], node.type.shape[ind:]
    matrix = build.reshape(node, (product(rows), product(columns)))
    return Expression.of(build.reshape(make(Inverse(), matrix), columns + rows))


def tensorsolve(a: TensorLike, b: TensorLike, axes: Sequence[int] | None = None) -> Expression:
    """The ``x`` with ``tensordot(a, x, x.ndim) = b``, as in NumPy."""
    left, right = as_nodes([_operand(a), _operand(b)])
    if axes is not None:
        moved = normalise_axes(tuple(axes), left.ndim)
        left = build.transpose(left, [k for k in range(left.ndim) if k not in moved] + list(moved))
    rows, columns = left.type.shape[: right.ndim], left.type.shape[right.ndim :]
    if rows != right.type.shape or product(rows) != product(columns):
        raise ShapeError(
            f"tensorsolve: a of shape {shape_text(left.type.shape)} does not map onto b of shape "
            f"{shape_text(right.type.shape)}; the first axes of a are those of b, and the others hold as many"
        )
    matrix = build.reshape(left, (product(rows), product(columns)))
    vector = build.reshape(right, (product(rows), 1))
    return Expression.of(build.reshape(make(Solve(), matrix, vector), columns))


def cholesky(x: TensorLike) -> Expression:
    """The lower-triangular ``L`` with ``L @ Lᴴ = x``; reads the lower triangle of ``x``."""
    return _apply(Cholesky(), x)


def det(x: TensorLike) -> Expression:
    """The determinant."""
    return _apply(Determinant(), x)


def slogdet(x: TensorLike) -> SlogdetResult:
    """The sign of the determinant and the logarithm of its absolute value."""
    return SlogdetResult(_apply(SignedLogDeterminant("sign"), x), _apply(SignedLogDeterminant("logabsdet"), x))


def logdet(x: TensorLike) -> Expression:
    """The logarithm of the determinant of a real matrix; NaN where the determinant is negative.

    Its gradient is the inverse, transposed, whatever the sign: as that of ``log`` is the reciprocal.
    """
    sign, logabsdet = slogdet(x)
    return Expression.of(build.map_node(_LOGARITHM, [sign.node, logabsdet.node]))


def pinv(x: TensorLike, rcond: float | None = None) -> Expression:
    """The Moore-Penrose inverse; singular values up to ``rcond`` times the largest count as 0."""
    return _apply(PseudoInverse(rcond), x)


def eigh(x: TensorLike, UPLO: str = "L") -> EighResult:
    """Ascending eigenvalues and column eigenvectors of a Hermitian matrix; reads one triangle."""
    if UPLO not in ("L", "U"):
        raise ShapeError(f"eigh: UPLO={UPLO!r} is unknown; use 'L' or 'U'")
    return EighResult(_apply(HermitianEigen("eigenvalues", UPLO), x), _apply(HermitianEigen("eigenvectors", UPLO), x))


def qr(x: TensorLike, mode: str = "reduced") -> QRResult | Expression:
    """The QR factorisation: ``"reduced"`` or ``"complete"`` give Q and R, ``"r"`` gives R."""
    if mode not in ("reduced", "complete", "r"):
        raise ShapeError(f"qr: mode={mode!r} is unknown; use 'reduced', 'complete' or 'r'")
    complete = mode == "complete"
    triangle = _apply(QR("r", complete), x)
    return triangle if mode == "r" else QRResult(_apply(QR("q", complete), x), triangle)


def svd(x: TensorLike, full_matrices: bool = True, compute_uv: bool = True) -> SVDResult | Expression:
    """The singular value decomposition; the values alone where ``compute_uv`` is false."""
    values = _apply(SVD("s", full_matrices), x)
    if not compute_uv:
        return values
    return SVDResult(_apply(SVD("u", full_matrices), x), values, _apply(SVD("vh", full_matrices), x))


def lstsq(a: TensorLike, b: TensorLike, rcond: float | None = None) -> Expression:
    """The ``x`` of least norm that minimises ``|a @ x - b|``; ``b`` is a vector or a matrix."""
    left, right = as_nodes([_operand(a), _operand(b)])
    vector = right.ndim == 1
    if vector:
        right = build.reshape(right, (*right.type.shape, 1))
    solution = make(LeastSquares(rcond), left, right)
    return Expression.of(build.reshape(solution, solution.type.shape[:-1]) if vector else solution)
