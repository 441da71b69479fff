"""Checking that data have the facts that their tensor declares (``OTUS_CHECK=1``).

Equalities hold to within eps^(2/3) of the dtype, relative to the largest element where the fact
has no scale of its own: about 4e-11 in float64 and 2e-5 in float32.  That forgives the rounding of
sums of many thousand terms and nothing that a person would call a mistake.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ..ir import Facts, OtusError

Array = npt.NDArray[Any]


class FactError(OtusError):
    """Data do not have a fact that their tensor declares."""


def tolerance(dtype: np.dtype[Any]) -> float:
    """The deviation that rounding in ``dtype`` may explain; 0 for integers and booleans."""
    return float(np.finfo(dtype).eps) ** (2 / 3) if dtype.kind in "fc" else 0.0


def check_facts(array: Array, facts: Facts, name: str) -> None:
    """Raise ``FactError`` for the first fact of ``facts`` that ``array`` does not have.

    The message names the tensor, the fact, the worst deviation and where it is, and what is
    accepted.  Matrices are the last two axes, batched over the others.
    """
    values = array.astype(np.int64) if array.dtype == np.bool_ else array
    for group in facts.symmetric:
        _check_symmetric(values, group, name)
    if facts.orthonormal:
        _check_orthonormal(values, name)
    if facts.positive_definite:
        _check_positive_definite(values, name)
    if facts.diagonal:
        error = np.where(np.eye(values.shape[-1], dtype=bool), 0, np.abs(values))
        _check_deviation(error, _allowed(values), name, "diagonal")
    if facts.nonnegative:
        _check_deviation(_negativity(values), 0.0, name, "nonnegative")
    if facts.sums_to_one:
        error = np.abs(np.sum(values, axis=-1) - 1)
        _check_deviation(error, tolerance(values.dtype), name, "sums_to_one")


def satisfies(array: Array, facts: Facts) -> bool:
    """Whether ``array`` has every fact of ``facts``."""
    try:
        check_facts(array, facts, "tensor")
    except FactError:
        return False
    return True


def _allowed(values: Array) -> float:
    """The tolerance for ``values``, in their own units; infinities set no scale."""
    largest = np.max(np.abs(values), initial=0, where=np.isfinite(values))
    return tolerance(values.dtype) * float(largest)


def _check_symmetric(values: Array, group: tuple[int, ...], name: str) -> None:
    """Swaps of neighbours generate every permutation of the group."""
    for first, second in pairwise(group):
        swapped = np.swapaxes(values, first, second)
        equal = values == swapped  # infinities equal to their mirror image deviate by 0, not by nan
        with np.errstate(invalid="ignore"):
            error = np.where(equal, 0, np.abs(np.subtract(values, swapped, dtype=_wide(values))))
        _check_deviation(error, _allowed(values), name, f"symmetric in axes {group}")


def _wide(values: Array) -> np.dtype[Any]:
    """A dtype in which differences of ``values`` do not wrap around."""
    return np.dtype(np.float64) if values.dtype.kind in "iu" else values.dtype


def _check_orthonormal(values: Array, name: str) -> None:
    product = np.matmul(np.conj(np.swapaxes(values, -1, -2)), values)
    identity = np.eye(values.shape[-1], dtype=product.dtype)
    error = np.abs(np.subtract(product, identity, dtype=_wide(product)))
    _check_deviation(error, tolerance(values.dtype), name, "orthonormal (XᵀX is the identity)")


def _check_positive_definite(values: Array, name: str) -> None:
    if values.size == 0:
        return
    if not np.all(np.isfinite(values)):
        raise FactError(f"tensor {name!r} is declared positive_definite, but has elements that are not finite")
    wide = np.result_type(values, np.float64 if values.dtype.kind in "iu" else np.float32)
    smallest = np.linalg.eigvalsh(values.astype(wide)).min(axis=-1)
    if np.any(smallest <= 0):
        raise FactError(
            f"tensor {name!r} is declared positive_definite, but its smallest eigenvalue is "
            f"{smallest.min():.3g}{_where(smallest, int(np.argmin(smallest)))}; "
            "eigenvalues above 0 are accepted"
        )


def _negativity(values: Array) -> Array:
    """How far below zero, or off the real line, each element lies."""
    below = np.where(values.real < 0, -values.real.astype(np.float64), 0)
    below = np.where(np.isnan(values), np.nan, below)
    return np.maximum(below, np.abs(values.imag)) if np.iscomplexobj(values) else below


def _check_deviation(error: Array, allowed: float, name: str, fact: str) -> None:
    wrong = ~(error <= allowed)  # nan is wrong as well
    if not np.any(wrong):
        return
    place = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
    raise FactError(
        f"tensor {name!r} is declared {fact}, but deviates by {error.flat[place]:.3g}"
        f"{_where(error, place)}; deviations up to {allowed:.3g} are accepted"
    )


def _where(values: Array, place: int) -> str:
    index = np.unravel_index(place, values.shape)
    return f" at index ({', '.join(str(int(k)) for k in index)})" if index else ""
