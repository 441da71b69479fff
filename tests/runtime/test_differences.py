"""Finite differences against derivatives known in closed form, and their own error estimates."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from otus.runtime.differences import (
    DifferenceError,
    Estimate,
    complex_step_derivative,
    directional_derivative,
    numerical_gradient,
    numerical_jacobian,
)

RNG = np.random.default_rng(5)
CASES: list[tuple[Any, Any, Any]] = [
    (np.exp, np.exp, RNG.standard_normal(5)),
    (np.sin, np.cos, 1e3 * RNG.standard_normal(3)),
    (np.log, lambda x: 1 / x, np.array([0.05, 0.5, 3.0])),
    (np.sqrt, lambda x: 0.5 / np.sqrt(x), np.array([1e-2, 1.0])),
    (lambda x: x**7, lambda x: 7 * x**6, np.array([0.0, -2.0, 1e-3])),
    (np.tanh, lambda x: 1 / np.cosh(x) ** 2, np.zeros((2, 0))),
    (
        lambda x: 1 / (1 + 25 * x * x),
        lambda x: -50 * x / (1 + 25 * x * x) ** 2,
        np.linspace(-1, 1, 9),
    ),
]


def agrees(estimate: Estimate, wanted: Any, tolerance: float = 1e-9) -> None:
    np.testing.assert_allclose(estimate.value, wanted, rtol=tolerance, atol=tolerance)
    assert estimate.error.shape == estimate.value.shape


@pytest.mark.parametrize(("function", "derivative", "x"), CASES)
def test_elementwise_derivatives_and_their_error_estimates(function: Any, derivative: Any, x: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimate = directional_derivative(function, x, np.ones_like(x))
    wanted = derivative(x)
    agrees(estimate, wanted, 1e-7)
    slack = 1e-11 * (1 + np.abs(wanted))
    assert np.all(np.abs(estimate.value - wanted) <= 10 * estimate.error + slack)
    assert np.all(estimate.error <= 1e-6 * (1 + np.abs(wanted)))


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_the_length_of_the_direction_does_not_matter(scale: float) -> None:
    x, v = RNG.standard_normal((2, 3)), RNG.standard_normal((2, 3))
    estimate = directional_derivative(lambda y: np.sum(y**3), x, scale * v)
    agrees(Estimate(estimate.value / scale, estimate.error / scale), np.sum(3 * x**2 * v))


def test_a_zero_direction_gives_zero() -> None:
    estimate = directional_derivative(lambda x: 1 / x, [1.0, 2.0], [0.0, 0.0])
    assert np.array_equal(estimate.value, [0, 0])
    assert np.array_equal(estimate.error, [0, 0])


def test_where_the_function_is_undefined_the_error_is_infinite() -> None:
    undefined = directional_derivative(lambda x: np.log(x), -1.0, 1.0)
    assert np.isinf(undefined.error)


def test_steps_stay_on_one_side_of_a_kink_that_is_far_enough() -> None:
    agrees(directional_derivative(lambda x: np.maximum(x, 0) + np.cos(x), 1e-3, 1.0), 1 - np.sin(1e-3))
    agrees(directional_derivative(np.abs, -0.5, 1.0, step=4.0), -1)


def test_complex_points() -> None:
    z, w = np.array([1 + 2j, -0.5j]), np.array([0.3 - 1j, 2.0])
    agrees(directional_derivative(lambda x: x**3, z, w), 3 * z**2 * w)
    gradient = numerical_gradient(lambda x: np.sum(np.abs(x) ** 2), z)
    agrees(gradient, 2 * np.conj(z))
    agrees(numerical_jacobian(np.exp, z), np.diag(np.exp(z)))


def test_the_complex_gradient_is_jaxs() -> None:
    jax = pytest.importorskip("jax")
    z = np.array([1 + 2j, -0.5j])

    def loss(x: Any) -> Any:
        return (x[0] * x[1] * x[1].conj() + x[0] ** 2).real

    with jax.enable_x64():
        wanted = np.asarray(jax.grad(loss)(jax.numpy.asarray(z)))
    agrees(numerical_gradient(loss, z), wanted)


def test_gradient_and_jacobian() -> None:
    a = RNG.standard_normal((3, 4))
    x = RNG.standard_normal(4)
    agrees(numerical_gradient(lambda y: y @ a.T @ a @ y, x), 2 * a.T @ a @ x)
    agrees(numerical_jacobian(lambda y: a @ y, x), a)
    jacobian = numerical_jacobian(lambda m: m @ m, a[:, :3])
    eye = np.eye(3)
    wanted = np.einsum("ik,lj->ijkl", eye, a[:, :3]) + np.einsum("ik,lj->ijkl", a[:, :3], eye)
    agrees(jacobian, wanted)
    agrees(numerical_gradient(lambda s: float(s) ** 2, 3.0), 6)
    agrees(numerical_gradient(lambda s: np.sum(s**2), [1, 2]), [2, 4])


def test_empty_points() -> None:
    assert numerical_gradient(np.sum, np.zeros((0, 2))).value.shape == (0, 2)
    assert numerical_jacobian(lambda x: np.ones(3), np.zeros((2, 0))).value.shape == (3, 2, 0)
    assert numerical_jacobian(lambda x: x[:0], np.ones(2)).value.shape == (0, 2)


def test_complex_step_is_right_to_rounding() -> None:
    x, v = RNG.uniform(0.5, 2, (2, 3)), RNG.standard_normal((2, 3))
    got = complex_step_derivative(lambda y: np.exp(y) / np.sqrt(np.sin(y) ** 3 + np.cos(y) ** 3 + 9), x, v)
    assert got.dtype == np.float64
    estimate = directional_derivative(lambda y: np.exp(y) / np.sqrt(np.sin(y) ** 3 + np.cos(y) ** 3 + 9), x, v)
    np.testing.assert_allclose(got, estimate.value, rtol=1e-9)
    np.testing.assert_allclose(complex_step_derivative(np.exp, x, v), np.exp(x) * v, rtol=1e-15)


def test_refusals() -> None:
    with pytest.raises(DifferenceError, match=r"direction has shape \(3,\); the point's shape \(2,\)"):
        directional_derivative(np.sum, [1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(DifferenceError, match=r"value has shape \(2,\) and dtype float64"):
        numerical_gradient(np.exp, [1.0, 2.0])
    with pytest.raises(DifferenceError, match="real scalar"):
        numerical_gradient(np.sum, [1j])
    with pytest.raises(DifferenceError, match="real point and direction, not complex128"):
        complex_step_derivative(np.exp, [1j], [1.0])
