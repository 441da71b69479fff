"""Finite differences: derivatives of black boxes, with an error estimate, as an oracle.

Central differences in shrinking steps are extrapolated to step 0 by Ridders' tableau (C. J. F.
Ridders, Accurate computation of F'(x) and F'(x)F''(x), Advances in Engineering Software 4(2),
1982, 75-76; Press et al., Numerical Recipes, section 5.7).  Where a function is analytic and takes
complex arrays, the complex step has no cancellation at all (W. Squire and G. Trapp, SIAM Review
40(1), 1998, 110-112).  Plain NumPy callables in, float64 or complex128 arrays out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..ir import OtusError

Array = npt.NDArray[Any]
Function = Callable[[Any], Any]

_ROWS = 10  # steps tried
_SHRINK = 2.0  # each step is this much smaller than the one before
_GIVE_UP = 2.0  # stop once a new order is this much worse than the best error so far
_LEAST_ROWS = 5  # steps tried in any case
_FIRST_STEP = 2.0**-4
_COMPLEX_STEP = 1e-100


class DifferenceError(OtusError):
    """A finite difference was asked for where it has no meaning."""


@dataclass(frozen=True)
class Estimate:
    """A derivative and an estimate of its absolute error, elementwise and of one shape."""

    value: Array
    error: Array


def directional_derivative(
    function: Function, point: npt.ArrayLike, direction: npt.ArrayLike, step: float | None = None
) -> Estimate:
    """d/dt of ``function(point + t·direction)`` at t = 0, of the shape of the function's value.

    ``t`` is real; point and direction have one shape and may be complex.  ``step`` is the largest
    change of any element of the point (when None, 1/16 at points of size 1); smaller ones are tried
    down to ``step``/512.  The error is infinite where no difference was finite.  A kink closer than
    the steps goes unseen: the value is then a mean of the slopes on its two sides.

    Raises ``DifferenceError`` where the shapes of point and direction differ.
    """
    x, v = _floating(point), _floating(direction)
    if x.shape != v.shape:
        raise DifferenceError(f"direction has shape {v.shape}; the point's shape {x.shape} is needed")
    length = float(np.max(np.abs(v), initial=0.0))
    if length == 0:
        zero = np.zeros_like(_value(function, x))
        return Estimate(zero, np.zeros(zero.shape))
    largest = _first_step(x) if step is None else float(step)

    def central(size: float) -> Array:
        t = size / length
        return np.asarray((_value(function, x + t * v) - _value(function, x - t * v)) / (2 * t))

    return ridders(central, largest)


def ridders(central: Callable[[float], Array], step: float) -> Estimate:
    """Extrapolate central differences at ``step``, ``step``/2, … to 0, elementwise.

    ``central(h)`` has an error series in h², which the tableau removes term by term.
    """
    with np.errstate(all="ignore"):
        previous = [central(step)]
        best = Estimate(previous[0], np.full(previous[0].shape, np.inf))
        for count in range(2, _ROWS + 1):
            step /= _SHRINK
            row = [central(step)]
            for order, coarser in enumerate(previous, start=1):
                factor = _SHRINK ** (2 * order)
                row.append(np.asarray((factor * row[-1] - coarser) / (factor - 1)))
                error = np.maximum(np.abs(row[-1] - row[-2]), np.abs(row[-1] - coarser))
                best = _better(best, Estimate(row[-1], error))
            worse = np.abs(row[-1] - previous[-1]) >= _GIVE_UP * best.error
            if count >= _LEAST_ROWS and np.all(worse):
                break
            previous = row
    return best


def complex_step_derivative(function: Function, point: npt.ArrayLike, direction: npt.ArrayLike) -> Array:
    """d/dt of ``function(point + t·direction)`` at t = 0, to rounding error, by one complex call.

    The function must be analytic and real on real arrays: no ``abs``, ``conj``, ``max`` or
    comparison on the way.  Raises ``DifferenceError`` where point or direction is complex.
    """
    x, v = _floating(point), _floating(direction)
    if np.iscomplexobj(x) or np.iscomplexobj(v):
        raise DifferenceError(
            f"the complex step needs a real point and direction, not {x.dtype} and {v.dtype}; "
            "use directional_derivative"
        )
    return np.asarray(np.imag(np.asarray(function(x + 1j * _COMPLEX_STEP * v))) / _COMPLEX_STEP)


def numerical_gradient(function: Function, x: npt.ArrayLike, step: float | None = None) -> Estimate:
    """The gradient of a real scalar function, of the shape of ``x``.

    At a complex ``x = a + ib`` it is ``∂f/∂a - i·∂f/∂b``, as in JAX.  Raises ``DifferenceError``
    where the function's value is not one real number.
    """
    point = _floating(x)
    value = _value(function, point)
    if value.shape or np.iscomplexobj(value):
        raise DifferenceError(
            f"a gradient needs a real scalar, but the function's value has shape {value.shape} and "
            f"dtype {value.dtype}; use numerical_jacobian"
        )
    gradient = numerical_jacobian(function, point, step)
    if not np.iscomplexobj(point):
        return gradient
    sideways = _along_axes(function, point, 1j, step, value.shape)
    return Estimate(gradient.value - 1j * sideways.value, np.hypot(gradient.error, sideways.error))


def numerical_jacobian(function: Function, x: npt.ArrayLike, step: float | None = None) -> Estimate:
    """The Jacobian, of shape ``function(x).shape + x.shape``.

    At a complex ``x`` the derivatives are those along the real axis, so that the function should
    be analytic there.
    """
    point = _floating(x)
    return _along_axes(function, point, 1.0, step, _value(function, point).shape)


def _along_axes(
    function: Function, point: Array, unit: complex, step: float | None, shape: tuple[int, ...]
) -> Estimate:
    """Directional derivatives along ``unit`` times every element of ``point``, on the last axes."""
    columns = [directional_derivative(function, point, v, step) for v in _unit_vectors(point, unit)]
    full = shape + point.shape
    if not columns:
        return Estimate(np.zeros(full), np.zeros(full))
    value = np.stack([column.value for column in columns], axis=-1).reshape(full)
    return Estimate(value, np.stack([column.error for column in columns], axis=-1).reshape(full))


def _unit_vectors(point: Array, unit: complex) -> Iterator[Array]:
    for place in range(point.size):
        vector = np.zeros(point.size, np.result_type(point, type(unit)))
        vector[place] = unit
        yield vector.reshape(point.shape)


def _floating(x: npt.ArrayLike) -> Array:
    array = np.asarray(x)
    return array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)


def _value(function: Function, x: Array) -> Array:
    return _floating(function(x))


def _first_step(x: Array) -> float:
    """In proportion to small points, so as to stay off poles at 0; slower than large ones."""
    largest = float(np.max(np.abs(x), initial=0.0)) or 1.0
    return _FIRST_STEP * (largest if largest < 1 else largest**0.5)


def _better(best: Estimate, other: Estimate) -> Estimate:
    """Elementwise the estimate of less error; a nan is never better."""
    take = other.error < best.error
    value = np.where(take, other.value, best.value)
    return Estimate(value, np.where(take, other.error, best.error))
