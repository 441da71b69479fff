"""Matrix operations, batched over leading axes.  Each node is one tensor of a factorisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..dims import Size, minimum
from ..errors import DTypeError, ShapeError
from ..types import TensorType, shape_text
from .base import Operation


def _matrix(what: str, x: TensorType) -> tuple[tuple[Size, ...], Size, Size]:
    if x.ndim < 2:
        raise ShapeError(f"{what} needs a matrix, not shape {shape_text(x.shape)}")
    if not x.dtype.is_inexact or x.dtype.bits < 32:
        raise DTypeError(f"{what} needs float32, float64 or complex values, not {x.dtype}")
    return x.shape[:-2], x.shape[-2], x.shape[-1]


def _square(what: str, x: TensorType) -> tuple[tuple[Size, ...], Size]:
    batch, rows, columns = _matrix(what, x)
    if rows != columns:
        raise ShapeError(f"{what} needs a square matrix, not shape {shape_text(x.shape)}")
    return batch, rows


def _choose(what: str, result: str, known: tuple[str, ...]) -> None:
    if result not in known:
        raise ShapeError(f"{what} has results {', '.join(known)}, not {result!r}")


@dataclass(frozen=True)
class Inverse(Operation):
    """The inverse of a square matrix."""

    name: ClassVar[str] = "inv"

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """The operand's shape."""
        _square("inv", operands[0])
        return operands[0].plain()


@dataclass(frozen=True)
class Solve(Operation):
    """``x`` with ``a @ x = b``; ``b`` is a matrix, batched as ``a`` is."""

    name: ClassVar[str] = "solve"
    arity: ClassVar[int | None] = 2
    linear_in: ClassVar[tuple[int, ...] | None] = (1,)

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """The type of ``b``."""
        a, b = operands
        batch, rows = _square("solve", a)
        if b.ndim != a.ndim or b.shape[:-2] != batch or b.shape[-2] != rows or a.dtype != b.dtype:
            raise ShapeError(f"solve: a is {a}, b is {b}; b needs {rows} rows, and a's batch axes and dtype")
        return b.plain()


@dataclass(frozen=True)
class Cholesky(Operation):
    """The lower-triangular ``L`` with ``L @ Lᴴ = a``; reads the lower triangle of ``a``."""

    name: ClassVar[str] = "cholesky"

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """The operand's shape."""
        _square("cholesky", operands[0])
        return operands[0].plain()


@dataclass(frozen=True)
class Determinant(Operation):
    """The determinant of a square matrix."""

    name: ClassVar[str] = "det"

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """The batch axes."""
        batch, _ = _square("det", operands[0])
        return TensorType(batch, operands[0].dtype)


@dataclass(frozen=True)
class SignedLogDeterminant(Operation):
    """``"sign"`` of the determinant, or the ``"logabsdet"`` of its absolute value."""

    name: ClassVar[str] = "slogdet"
    result: str

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """The batch axes; the logarithm is real."""
        _choose("slogdet", self.result, ("sign", "logabsdet"))
        batch, _ = _square("slogdet", operands[0])
        dtype = operands[0].dtype
        return TensorType(batch, dtype if self.result == "sign" else dtype.real)


@dataclass(frozen=True)
class HermitianEigen(Operation):
    """Ascending ``"eigenvalues"`` or column ``"eigenvectors"`` of a Hermitian matrix's ``uplo`` triangle."""

    name: ClassVar[str] = "eigh"
    result: str
    uplo: str = "L"

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """A vector of real values, or a matrix of columns."""
        _choose("eigh", self.result, ("eigenvalues", "eigenvectors"))
        batch, n = _square("eigh", operands[0])
        dtype = operands[0].dtype
        if self.result == "eigenvalues":
            return TensorType((*batch, n), dtype.real)
        return TensorType((*batch, n, n), dtype)


@dataclass(frozen=True)
class QR(Operation):
    """``"q"`` with orthonormal columns or upper-triangular ``"r"``, reduced or ``complete``."""

    name: ClassVar[str] = "qr"
    result: str
    complete: bool = False

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """``q`` is rows × k and ``r`` is k × columns, with k the smaller size, or rows if complete."""
        _choose("qr", self.result, ("q", "r"))
        batch, rows, columns = _matrix("qr", operands[0])
        inner = rows if self.complete else minimum(rows, columns)
        shape = (rows, inner) if self.result == "q" else (inner, columns)
        return TensorType((*batch, *shape), operands[0].dtype)


@dataclass(frozen=True)
class SVD(Operation):
    """``"u"``, descending ``"s"`` or ``"vh"`` of the singular value decomposition."""

    name: ClassVar[str] = "svd"
    result: str
    full_matrices: bool = True

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """``u`` is rows × k, ``s`` has the smaller size, ``vh`` is k × columns."""
        _choose("svd", self.result, ("u", "s", "vh"))
        batch, rows, columns = _matrix("svd", operands[0])
        dtype, small = operands[0].dtype, minimum(rows, columns)
        if self.result == "s":
            return TensorType((*batch, small), dtype.real)
        if self.result == "u":
            return TensorType((*batch, rows, rows if self.full_matrices else small), dtype)
        return TensorType((*batch, columns if self.full_matrices else small, columns), dtype)


@dataclass(frozen=True)
class PseudoInverse(Operation):
    """The Moore-Penrose inverse; singular values up to ``rcond`` times the largest count as zero."""

    name: ClassVar[str] = "pinv"
    rcond: float | None = None

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """Rows and columns exchanged."""
        batch, rows, columns = _matrix("pinv", operands[0])
        return TensorType((*batch, columns, rows), operands[0].dtype)


@dataclass(frozen=True)
class LeastSquares(Operation):
    """The ``x`` of least norm that minimises ``|a @ x − b|``; ``b`` is a matrix."""

    name: ClassVar[str] = "lstsq"
    arity: ClassVar[int | None] = 2
    linear_in: ClassVar[tuple[int, ...] | None] = (1,)
    rcond: float | None = None

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """The columns of ``a`` by the columns of ``b``."""
        a, b = operands
        batch, rows, columns = _matrix("lstsq", a)
        if batch or b.ndim != 2 or b.shape[0] != rows or a.dtype != b.dtype:
            raise ShapeError(f"lstsq: a is {a}, b is {b}; both are matrices of one dtype with equal rows")
        return TensorType((columns, b.shape[1]), a.dtype)
