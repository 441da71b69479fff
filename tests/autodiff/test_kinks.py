"""Conventions where a function has no derivative, or has one only by care: JAX's, row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from against_jax import expressions, same_gradient, same_hessian, same_jacobian, values_of
from evaluation import assert_close, run

import otus

INF, NAN = np.inf, np.nan

# what: (function, operands)
FIRST: dict[str, tuple[Any, ...]] = {
    "abs at 0": (lambda xp, x: abs(x).sum(), [-1.0, 0.0, 2.0]),
    "relu at 0": (lambda xp, x: xp.relu(x).sum(), [-1.0, 0.0, 2.0]),
    "sign at 0": (lambda xp, x: (xp.sign(x) * x).sum(), [-1.0, 0.0, 2.0]),
    "maximum at ties": (lambda xp, x, y: (xp.maximum(x, y) ** 2).sum(), [1.0, 2.0, -1.0], [1.0, 3.0, -1.0]),
    "minimum at ties": (lambda xp, x, y: (xp.minimum(x, y) ** 2).sum(), [1.0, 2.0, -1.0], [1.0, 3.0, -1.0]),
    "maximum beside NaN": (lambda xp, x, y: xp.maximum(x, y).sum(), [1.0, NAN, NAN, INF], [NAN, 1.0, NAN, 2.0]),
    "minimum beside NaN": (lambda xp, x, y: xp.minimum(x, y).sum(), [1.0, NAN, NAN, INF], [NAN, 1.0, NAN, 2.0]),
    "maximum of infinities": (lambda xp, x, y: xp.maximum(x, y).sum(), [INF, -INF, -INF], [INF, -INF, INF]),
    "maximum with itself": (lambda xp, x: xp.maximum(x, x).sum(), [1.0, -2.0]),
    "maximum with a number": (lambda xp, x: xp.maximum(x, 0).sum(), [1.0, 0.0, -2.0]),
    "max with ties": (lambda xp, x: (xp.max(x, axis=1) ** 2).sum(), [[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]),
    "min with ties": (lambda xp, x: xp.min(x), [[1.0, 3.0, 1.0], [2.0, 2.0, 1.0]]),
    "max over all": (lambda xp, x: xp.max(x, axis=(0, 1), keepdims=True).sum(), [[1.0, 3.0], [3.0, 3.0]]),
    "sqrt at 0": (lambda xp, x: xp.sqrt(x).sum(), [0.0, 4.0]),
    "norm at 0": (lambda xp, x: xp.norm(x), [0.0, 0.0]),
    "norm of rows, one of them 0": (lambda xp, x: xp.norm(x, axis=1).sum(), [[0.0, 0.0], [3.0, 4.0]]),
    "maximum norm with ties": (lambda xp, x: xp.norm(x, ord=INF), [2.0, -2.0, 1.0]),
    "one-norm at 0": (lambda xp, x: xp.norm(x, ord=1), [0.0, -2.0, 1.0]),
    "prod with one zero": (lambda xp, x: xp.prod(x), [2.0, 0.0, 3.0]),
    "prod with two zeros": (lambda xp, x: xp.prod(x), [2.0, 0.0, 0.0]),
    "prod over rows with zeros": (lambda xp, x: (xp.prod(x, axis=1) * 2).sum(), [[2.0, 0.0], [3.0, 5.0]]),
    "square at 0": (lambda xp, x: (x**2).sum(), [0.0, -1.0]),
    "cube at 0": (lambda xp, x: (x**3).sum(), [0.0, -2.0]),
    "power 1 at 0": (lambda xp, x: (x**1).sum(), [0.0, -2.0]),
    "power 0 at 0": (lambda xp, x: (x**0).sum(), [0.0, -2.0]),
    "power 1.5 at 0": (lambda xp, x: (x**1.5).sum(), [0.0, 2.0]),
    "power ½ at 0": (lambda xp, x: (x**0.5).sum(), [0.0, 2.0]),
    "power -1 of negatives": (lambda xp, x: (x**-1).sum(), [-3.0, 2.0]),
    "power with tensors": (lambda xp, x, y: xp.power(x, y).sum(), [0.0, 0.0, 2.0, 3.0], [2.0, 1.0, 0.0, -1.0]),
    "power of a negative base": (lambda xp, x: xp.power(x, np.array([2.0, 3.0])).sum(), [-2.0, -1.0]),
    "number to a power": (lambda xp, x: (0.0**x).sum(), [2.0, 1.0]),
    "where keeps out infinities": (lambda xp, x: xp.where(x > 0, xp.exp(x), 1.0).sum(), [-1.0, 800.0, 2.0]),
    "where with log, made safe": (lambda xp, x: xp.where(x > 0, xp.log(xp.where(x > 0, x, 1.0)), 0.0).sum(),
                                  [-1.0, 0.0, 2.0]),
    "where with log, not made safe": (lambda xp, x: xp.where(x > 0, xp.log(x), 0.0).sum(), [-1.0, 0.0, 2.0]),
    "where with sqrt, made safe": (lambda xp, x: xp.where(x > 0, xp.sqrt(xp.where(x > 0, x, 1.0)), 0.0).sum(),
                                   [-1.0, 0.0, 2.0]),
    "exp of a chosen value": (lambda xp, x: xp.exp(xp.where(x < 5, x, 0.0)).sum(), [1.0, 900.0]),
    "arctan2 on the axes": (lambda xp, y, x: xp.arctan2(y, x).sum(), [0.0, 1.0, 0.0], [1.0, 0.0, -1.0]),
    "logsumexp with -inf": (lambda xp, x: xp.logsumexp(x), [-INF, 1.0, 2.0]),
    "softmax with -inf": (lambda xp, x: xp.softmax(x)[1], [-INF, 1.0, 2.0]),
    "logsumexp of large values": (lambda xp, x: xp.logsumexp(x), [1e4, 1e4 - 1, -1e4]),
    "softplus far out": (lambda xp, x: xp.softplus(x).sum(), [-1e4, 0.0, 1e4]),
    "sigmoid far out": (lambda xp, x: xp.sigmoid(x).sum(), [-1e4, 0.0, 1e4]),
    "log_softmax far out": (lambda xp, x: xp.log_softmax(x)[0], [1e4, 0.0, -1e4]),
    "tanh far out": (lambda xp, x: xp.tanh(x).sum(), [-400.0, 0.0, 400.0]),
    "logaddexp of equals": (lambda xp, x, y: xp.logaddexp(x, y).sum(), [1.0, 1e4], [1.0, -1e4]),
    "floor": (lambda xp, x: (xp.floor(x) * x).sum(), [1.5, 2.0]),
    "cumsum": (lambda xp, x: (xp.cumsum(x) ** 2).sum(), [1.0, 2.0, 3.0]),
    "take with repeats": (lambda xp, x: (xp.take(x, np.array([0, 0, -1, 1])) ** 2).sum(), [1.0, 2.0, 3.0]),
    "scatter_add with repeats": (
        lambda xp, x, y: (xp.scatter_add(x, np.array([1, 1, -1]), y) ** 2).sum(), [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]
    ),
    "a tensor used three times": (lambda xp, x: (x * xp.sin(x) + x @ x).sum(), [1.0, 2.0, 3.0]),
    "a difference of the same": (lambda xp, x: ((x - x) * 3 + x).sum(), [1.0, 2.0]),
    "abs of a zero difference": (lambda xp, x: abs(x - xp.flip(x)).sum(), [1.0, 2.0, 1.0]),
    "through a cast": (lambda xp, x: (xp.cast(xp.cast(x, "float32"), "float64") ** 2).sum(), [1.0, 2.0]),
    "through an integer cast": (lambda xp, x: (xp.cast(xp.cast(x, "int64"), "float64") * x).sum(), [1.5, 2.5]),
    "through a comparison": (lambda xp, x: (xp.cast(x > 1.7, "float64") * x).sum(), [1.5, 2.5]),
    "masked by multiplication": (lambda xp, x: (xp.where(x > 0, 1.0, 0.0) * xp.exp(x)).sum(), [-1.0, 2.0]),
    "gelu at 0": (lambda xp, x: xp.gelu(x).sum(), [0.0, 1.0]),
    "trace of a product": (lambda xp, x: xp.trace(x @ x), [[1.0, 2.0], [3.0, 4.0]]),
    "diagonal of outer": (lambda xp, x: xp.diag(xp.outer(x, x)).sum(), [1.0, 2.0]),
    "norm of what cholesky leaves 0": (
        lambda xp, x: xp.norm(xp.cholesky(x), axis=0).sum(), [[[2.0, 0.5], [0.5, 3.0]], [[1.0, -0.5], [-0.5, 2.0]]]
    ),
    "reciprocal": (lambda xp, x: xp.reciprocal(x).sum(), [0.5, -2.0]),
    "division by a number": (lambda xp, x: (x / 7).sum(), [0.5, -2.0]),
    "var": (lambda xp, x: xp.var(x), [1.0, 2.0, 4.0]),
}  # fmt: skip


@pytest.mark.parametrize("what", FIRST)
def test_gradient_where_care_is_needed(what: str) -> None:
    function, *operands = FIRST[what]
    same_gradient(function, *map(np.array, operands))


SECOND = (
    "prod with one zero", "prod with two zeros", "square at 0", "cube at 0", "power 0 at 0", "power 1 at 0",
    "power -1 of negatives", "a tensor used three times", "logsumexp of large values", "softplus far out",
    "sigmoid far out", "where with log, made safe", "take with repeats", "scatter_add with repeats", "var",
    "maximum with a number", "abs at 0", "relu at 0", "max with ties", "maximum at ties", "prod over rows with zeros",
    "log_softmax far out", "tanh far out", "exp of a chosen value", "logaddexp of equals",
    "masked by multiplication", "through a comparison",
)  # fmt: skip


@pytest.mark.parametrize("what", SECOND)
def test_hessian_where_care_is_needed(what: str) -> None:
    function, *operands = FIRST[what]
    same_hessian(function, *map(np.array, operands))


def test_prod_of_symbolic_size_has_the_same_derivatives() -> None:
    x = otus.tensor("x", ("n",))
    y = otus.prod(x)
    data = {"x": np.array([2.0, 0.0, 3.0, 0.5])}
    found = values_of({"gradient": otus.grad(y, x), "hessian": otus.hessian(y, x)}, data)
    np.testing.assert_allclose(found["gradient"], [0.0, 3.0, 0.0, 0.0])
    expected = np.zeros((4, 4))
    expected[1] = expected[:, 1] = [1.5, 0.0, 1.0, 6.0]
    np.testing.assert_allclose(found["hessian"], expected)


def test_where_keeps_an_infinite_jacobian_out() -> None:
    """The derivative of the chosen side alone, in explicit Jacobians too."""
    same_jacobian(lambda xp, x: xp.exp(xp.where(x < 5, x, 0.0)), np.array([1.0, 900.0, -2.0]))
    same_jacobian(lambda xp, x: xp.where(x > 0, xp.log(xp.where(x > 0, x, 1.0)), 0.0), np.array([1.0, 0.0, -2.0]))


def test_off_the_diagonal_nothing_depends_on_infinities() -> None:
    """JAX multiplies structural zeros by the infinity and has NaN in the whole column."""
    data, (x,) = expressions((np.array([1.0, 900.0, -2.0]),))
    found = run(otus.jacobian(otus.where(x < 5, otus.exp(x), 3.0), x), data)
    assert_close(found, np.diag([np.exp(1.0), np.nan, np.exp(-2.0)]))


def test_complex_signs_have_the_derivative_of_a_quotient() -> None:
    """z/|z| turns as z does; JAX has 0.  JAX's convention: ∂f/∂Re(z) − i·∂f/∂Im(z)."""
    points, weight, step = np.array([1 + 2j, -3 + 0.5j, 0.3j, 2.0 + 0j]), 1 + 2j, 1e-6
    data, (x,) = expressions((points,))
    found = run(otus.grad(otus.real(weight * otus.sign(x)).sum(), x), data)

    def slope(direction: complex) -> np.ndarray:
        above, below = points + step * direction, points - step * direction
        return np.real(weight * (above / abs(above) - below / abs(below))) / (2 * step)

    np.testing.assert_allclose(found, slope(1.0) - 1j * slope(1j), rtol=1e-7, atol=1e-7)


def test_logaddexp_at_infinities() -> None:
    """The larger one alone counts; JAX has ``e`` for the 1 beside an infinity, and 1 twice for two of one sign."""
    data, (x, y) = expressions((np.array([1.0, INF, -INF, INF]), np.array([INF, 1.0, 1.0, INF])))
    by_x, by_y = values_of(otus.grad(otus.logaddexp(x, y).sum(), [x, y]), data)
    np.testing.assert_array_equal(by_x, [0.0, 1.0, 0.0, NAN])
    np.testing.assert_array_equal(by_y, [1.0, 0.0, 1.0, NAN])


def test_power_0_of_0_has_derivative_0() -> None:
    """x⁰ is 1 everywhere; JAX has NaN where the exponent is a floating 0."""
    data, (x, y) = expressions((np.array([0.0, 2.0]), np.array([0.0, 0.0])))
    by_x, by_y = run(otus.grad(otus.power(x, y).sum(), [x, y]), data)
    assert_close(by_x, [0.0, 0.0])
    assert_close(by_y, [0.0, np.log(2.0)])
    assert_close(run(otus.grad((x**x).sum(), x), data), [0.0, 4 * (np.log(2.0) + 1)])
