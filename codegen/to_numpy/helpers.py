"""Functions that NumPy lacks; their source is copied into the modules that use them.

They are ordinary functions, tested as such, that need ``np`` and one another and nothing else.  The
error functions are W. J. Cody's rational approximations (Math. Comp. 23 (1969), 631-637; coefficients as
in his CALERF), good to a few units in the last place.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def _sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)); where that exponential overflows 0, as what it should be is below the normal numbers."""
    return _sigmoid_of_negative(np.negative(x))


def _sigmoid_of_negative(x: Any) -> Any:
    """1 / (1 + exp(x)), to the last places also where it is small."""
    with np.errstate(over="ignore"):
        total = np.exp(x)
    total += 1.0
    return np.reciprocal(total)


def _half_sigmoid(x: Any) -> Any:
    """The same of float16, whose own exponential overflows at 11."""
    return _sigmoid(x.astype(np.float32)).astype(np.float16)


def _softplus(x: Any) -> Any:
    """log(1 + exp(x)), without overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _shift(x: Any, axis: Any) -> Any:
    """The largest element over axes where that is finite, else 0."""
    largest = np.max(x, axis=axis, initial=-np.inf)
    return np.where(np.isfinite(largest), largest, 0).astype(x.dtype)


def _logsumexp(x: Any, axis: Any) -> Any:
    """log(sum(exp(x))) over axes, without overflow; -inf where there is nothing to add."""
    largest = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(largest), largest, 0).astype(x.dtype)
    terms = np.subtract(x, shift)
    with np.errstate(over="ignore", divide="ignore"):
        terms = np.exp(terms, out=terms) if terms.ndim else np.exp(terms)
        return np.log(np.sum(terms, axis=axis)) + np.squeeze(shift, axis=axis)


def _polynomial(x: Any, coefficients: Any) -> Any:
    """A polynomial by Horner's rule, highest power first."""
    total = coefficients[0] * x + coefficients[1]
    for coefficient in coefficients[2:]:
        total *= x
        total += coefficient
    return total


# fmt: off
def _erf_near_zero(x: Any) -> Any:
    """The error function for abs(x) <= 0.46875 (Cody, Math. Comp. 23 (1969), 631)."""
    square = np.minimum(x * x, 0.25)
    above = _polynomial(square, (
        1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
        3.20937758913846947e3,
    ))
    below = _polynomial(square, (
        1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3,
    ))
    return x * above / below


def _erfc_middle(y: Any) -> Any:
    """exp(y*y) * erfc(y) for 0.46875 <= y <= 4 (Cody 1969)."""
    above = _polynomial(y, (
        2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
        2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
        1.23033935479799725e3,
    ))
    below = _polynomial(y, (
        1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
        3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3,
    ))
    return above / below


def _erfc_tail(y: Any) -> Any:
    """exp(y*y) * erfc(y) for y >= 4 (Cody 1969)."""
    inverse = 1 / (y * y)
    above = _polynomial(inverse, (
        1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
        1.60837851487422766e-2, 6.58749161529837803e-4,
    ))
    below = _polynomial(inverse, (
        1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1, 6.05183413124413191e-2,
        2.33520497626869185e-3,
    ))
    return (5.6418958354775628695e-1 - inverse * above / below) / y


# fmt: on
def _erfc_beyond(y: Any) -> Any:
    """erfc for y >= 0.46875.  The leading bits of y are squared exactly, so that exp(-y*y) is good."""
    y = np.minimum(y, 30)
    scaled = np.empty_like(y)
    far = y > 4
    scaled[far] = _erfc_tail(y[far])
    scaled[~far] = _erfc_middle(y[~far])
    head = np.trunc(y * 16) / 16
    return np.exp(-head * head) * np.exp((head - y) * (head + y)) * scaled


def _erf(x: Any) -> Any:
    """The error function."""
    x = np.asarray(x)
    wide = x.astype(np.float32) if x.dtype == np.float16 else x
    result = np.empty_like(wide)
    near = np.abs(wide) <= 0.46875
    result[near] = _erf_near_zero(wide[near])
    rest = wide[~near]
    result[~near] = np.copysign(1 - _erfc_beyond(np.abs(rest)), rest)
    return result.astype(x.dtype, copy=False)


def _erfc(x: Any) -> Any:
    """1 - erf(x), accurate where erf(x) is nearly 1."""
    x = np.asarray(x)
    wide = x.astype(np.float32) if x.dtype == np.float16 else x
    result = np.empty_like(wide)
    near = np.abs(wide) <= 0.46875
    result[near] = 1 - _erf_near_zero(wide[near])
    rest = wide[~near]
    tail = _erfc_beyond(np.abs(rest))
    result[~near] = np.where(rest < 0, 2 - tail, tail)
    return result.astype(x.dtype, copy=False)
