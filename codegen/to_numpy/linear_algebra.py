"""Linear algebra as NumPy source: ``numpy.linalg``, one call for all results of a factorisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...ir.kernels import Factorisation
from ...ir.operations import QR, SVD, HermitianEigen, LeastSquares, PseudoInverse, SignedLogDeterminant

_RESULTS: dict[type, tuple[str, ...]] = {
    HermitianEigen: ("eigenvalues", "eigenvectors"),
    QR: ("q", "r"),
    SVD: ("u", "s", "vh"),
    SignedLogDeterminant: ("sign", "logabsdet"),
}


def factorisation_lines(kernel: Factorisation, operand: str, targets: Sequence[str]) -> list[str]:
    """The statement that computes the wanted results of one factorisation."""
    op = kernel.operation
    if len(targets) == 1 and (alone := _ALONE.get((type(op), kernel.results[0]))) is not None:
        return [f"{targets[0]} = {alone(op, operand)}"]
    chosen = dict(zip(kernel.results, targets, strict=True))
    if len(chosen) == 1:
        position = _RESULTS[type(op)].index(kernel.results[0])
        return [f"{targets[0]} = {_whole(op, operand)}[{position}]"]
    listed = ", ".join(chosen.get(name, "_") for name in _RESULTS[type(op)])
    return [f"{listed} = {_whole(op, operand)}"]


def _whole(op: Any, operand: str) -> str:
    match op:
        case HermitianEigen(uplo=uplo):
            return f"np.linalg.eigh({operand}{_triangle(uplo)})"
        case QR(complete=complete):
            return f"""np.linalg.qr({operand}{', mode="complete"' if complete else ""})"""
        case SVD(full_matrices=full):
            return f"np.linalg.svd({operand}{'' if full else ', full_matrices=False'})"
    return f"np.linalg.slogdet({operand})"


def _triangle(uplo: str) -> str:
    return ', UPLO="U"' if uplo == "U" else ""


# Results that NumPy computes for less when no other is wanted.
_ALONE: dict[tuple[type, str], Callable[[Any, str], str]] = {
    (HermitianEigen, "eigenvalues"): lambda op, x: f"np.linalg.eigvalsh({x}{_triangle(op.uplo)})",
    (SVD, "s"): lambda op, x: f"np.linalg.svd({x}, compute_uv=False)",
}


def least_squares(op: LeastSquares, operands: Sequence[str]) -> str:
    """The solution alone."""
    return f"np.linalg.lstsq({operands[0]}, {operands[1]}, rcond={op.rcond!r})[0]"


def pseudo_inverse(op: PseudoInverse, operands: Sequence[str]) -> str:
    """NumPy's own cutoff unless one is given."""
    return f"np.linalg.pinv({operands[0]}{'' if op.rcond is None else f', rcond={op.rcond!r}'})"
