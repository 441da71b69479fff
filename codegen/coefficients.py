"""Coefficients of sums as source has them: a sign, and a factor that wraps as its dtype does."""

from __future__ import annotations

import numpy as np

from ..ir import DType
from ..ir.dtypes import to_numpy_dtype
from ..ir.scalar import Number


def signed_coefficient(coefficient: Number, dtype: DType) -> tuple[bool, Number]:
    """Whether the term is subtracted, and the factor that is left; integers wrap as their dtype does."""
    if isinstance(coefficient, complex) and coefficient.imag == 0:
        coefficient = coefficient.real
    if isinstance(coefficient, complex) or coefficient != coefficient or coefficient >= 0:
        return False, wrapped(coefficient, dtype)
    return True, wrapped(-coefficient, dtype)


def wrapped(factor: Number, dtype: DType) -> Number:
    """A number as its dtype holds it; integers wrap."""
    if dtype.kind not in ("int", "uint"):
        return factor
    info = np.iinfo(to_numpy_dtype(dtype))
    span = int(info.max) - int(info.min) + 1
    return (int(factor.real) - int(info.min)) % span + int(info.min)
