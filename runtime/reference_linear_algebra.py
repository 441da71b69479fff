"""The linear-algebra rows of the reference interpreter: ``numpy.linalg``, batched as the graph is.

NumPy's ``LinAlgError`` (a singular matrix, a matrix that is not positive definite) passes through:
it is the error that a NumPy user expects from these functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..ir import Operation
from ..ir import operations as ops

Array = npt.NDArray[Any]


def _inverse(op: ops.Inverse, operands: Sequence[Array], context: object) -> Any:
    return np.linalg.inv(operands[0])


def _solve(op: ops.Solve, operands: Sequence[Array], context: object) -> Any:
    return np.linalg.solve(operands[0], operands[1])


def _cholesky(op: ops.Cholesky, operands: Sequence[Array], context: object) -> Any:
    return np.linalg.cholesky(operands[0])


def _determinant(op: ops.Determinant, operands: Sequence[Array], context: object) -> Any:
    return np.linalg.det(operands[0])


def _signed_log_determinant(op: ops.SignedLogDeterminant, operands: Sequence[Array], context: object) -> Any:
    sign, logarithm = np.linalg.slogdet(operands[0])
    return {"sign": sign, "logabsdet": logarithm}[op.result]


def _hermitian_eigen(op: ops.HermitianEigen, operands: Sequence[Array], context: object) -> Any:
    values, vectors = np.linalg.eigh(operands[0], "U" if op.uplo == "U" else "L")
    return {"eigenvalues": values, "eigenvectors": vectors}[op.result]


def _qr(op: ops.QR, operands: Sequence[Array], context: object) -> Any:
    q, r = np.linalg.qr(operands[0], "complete" if op.complete else "reduced")
    return {"q": q, "r": r}[op.result]


def _svd(op: ops.SVD, operands: Sequence[Array], context: object) -> Any:
    u, s, vh = np.linalg.svd(operands[0], full_matrices=op.full_matrices)
    return {"u": u, "s": s, "vh": vh}[op.result]


def _pseudo_inverse(op: ops.PseudoInverse, operands: Sequence[Array], context: object) -> Any:
    """``rcond=None`` is NumPy's own default."""
    if op.rcond is None:
        return np.linalg.pinv(operands[0])
    return np.linalg.pinv(operands[0], op.rcond)


def _least_squares(op: ops.LeastSquares, operands: Sequence[Array], context: object) -> Any:
    solution, *_ = np.linalg.lstsq(operands[0], operands[1], rcond=op.rcond)
    return solution


LINEAR_ALGEBRA_REFERENCE: dict[type[Operation], Callable[[Any, Sequence[Array], Any], Any]] = {
    ops.Inverse: _inverse,
    ops.Solve: _solve,
    ops.Cholesky: _cholesky,
    ops.Determinant: _determinant,
    ops.SignedLogDeterminant: _signed_log_determinant,
    ops.HermitianEigen: _hermitian_eigen,
    ops.QR: _qr,
    ops.SVD: _svd,
    ops.PseudoInverse: _pseudo_inverse,
    ops.LeastSquares: _least_squares,
}
