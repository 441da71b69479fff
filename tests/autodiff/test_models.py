"""Derivatives of whole models, of the kind users bring, against JAX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import otus

jax = pytest.importorskip("jax")
jnp = jax.numpy
jax.config.update("jax_enable_x64", True)

GENERATOR = np.random.default_rng(7)
X = GENERATOR.standard_normal((6, 2))
Y = GENERATOR.standard_normal(6)


@dataclass(frozen=True)
class Model:
    """A function written once, over a namespace ``m`` that is otus or jax.numpy, of one point."""

    build: Callable[[Any, Any], Any]
    point: np.ndarray[Any, Any]


def _kernel(m: Any, theta: Any) -> Any:
    squared = ((X[:, None, :] - X[None, :, :]) ** 2).sum(-1)
    return m.exp(squared * (-0.5 * m.exp(theta[0]))) * m.exp(theta[1]) + np.eye(6) * 0.1


def _logdet(m: Any, matrix: Any) -> Any:
    return m.logdet(matrix) if m is otus else m.linalg.slogdet(matrix)[1]


def _linalg(m: Any) -> Any:
    return m if m is otus else m.linalg


def _marginal_likelihood(m: Any, theta: Any) -> Any:
    covariance = _kernel(m, theta)
    weights = _linalg(m).solve(covariance, m.asarray(Y) if m is jnp else otus.constant(Y))
    return 0.5 * (weights * Y).sum() + 0.5 * _logdet(m, covariance)


def _network(m: Any, first: Any) -> Any:
    weights = np.random.default_rng(3)
    second, third = weights.standard_normal((5, 4)), weights.standard_normal((3, 5))
    relu = m.relu if m is otus else jax.nn.relu
    inputs = weights.standard_normal((2, 7))
    hidden = relu(m.einsum("ho,no->nh", second, relu(m.einsum("hi,ni->nh", first, weights.standard_normal((7, 3))))))
    logits = m.einsum("ch,nh->nc", third, hidden) + inputs.sum()
    return (m.log(m.exp(logits).sum(-1)) - logits[:, 0]).sum()


def _decomposed_convolution(m: Any, factor: Any) -> Any:
    """A convolution whose kernel is a CP decomposition, squared: a Gauss-Newton block has rank-one terms."""
    weights = np.random.default_rng(5)
    b, c, signal = weights.standard_normal((3, 2)), weights.standard_normal((3, 2)), weights.standard_normal((8, 3))
    kernel = m.einsum("or,tr,ir->oti", factor, b, c)
    windows = np.stack([signal[k : k + 3] for k in range(6)])
    return m.einsum("nti,oti->no", windows, kernel)


def _spectral_function(m: Any, x: Any) -> Any:
    values, vectors = _linalg(m).eigh(x @ x.T)
    return m.einsum("ij,j,kj->ik", vectors, m.exp(values), vectors)


MODELS = {
    "sum of an inverse": Model(lambda m, x: _linalg(m).inv(x).sum(), GENERATOR.standard_normal((3, 3)) + 3 * np.eye(3)),
    "log-determinant of a kernel": Model(lambda m, theta: _logdet(m, _kernel(m, theta)), np.array([0.3, -0.2])),
    "marginal likelihood": Model(_marginal_likelihood, np.array([0.3, -0.2])),
    "eigenvalues of a kernel": Model(lambda m, theta: _linalg(m).eigh(_kernel(m, theta))[0], np.array([0.3, -0.2])),
    "spectral function": Model(_spectral_function, GENERATOR.standard_normal((3, 3))),
    "three-layer network": Model(_network, GENERATOR.standard_normal((4, 3))),
    "decomposed convolution": Model(_decomposed_convolution, GENERATOR.standard_normal((4, 2))),
}


@pytest.mark.parametrize("name", MODELS)
def test_value_gradient_and_hessian(name: str) -> None:
    model = MODELS[name]
    x = otus.tensor("x", model.point.shape)
    y = model.build(otus, x)
    wanted = [y, otus.jacobian(y, x), otus.jacobian(otus.jacobian(y, x), x)]

    def function(point: Any) -> Any:
        return model.build(jnp, point)

    expected = [
        function(model.point),
        jax.jacobian(function)(model.point),
        jax.jacobian(jax.jacobian(function))(model.point),
    ]
    for value, reference in zip(otus.compile(wanted)(x=model.point), expected, strict=True):
        scale = max(float(np.max(np.abs(reference))), 1e-12)
        np.testing.assert_allclose(value / scale, np.asarray(reference) / scale, rtol=0, atol=1e-8)


def test_gauss_newton_product_of_a_decomposed_convolution() -> None:
    model = MODELS["decomposed convolution"]
    x, v = otus.tensor("x", model.point.shape), otus.tensor("v", model.point.shape)
    (product,) = otus.jtjvp(model.build(otus, x), [x], [v])
    vector = np.random.default_rng(1).standard_normal(model.point.shape)
    jacobian = jax.jacobian(lambda point: model.build(jnp, point))(model.point)
    flat = np.asarray(jacobian).reshape(-1, vector.size)
    function = otus.compile(product)
    data = {"x": model.point, "v": vector}
    value = function(**{name: data[name] for name in function.inputs})
    np.testing.assert_allclose(value.ravel(), flat.T @ flat @ vector.ravel(), rtol=1e-9)


def test_third_derivative_of_a_cubic_form() -> None:
    tensor = np.random.default_rng(2).standard_normal((3, 3, 3))
    x = otus.tensor("x", (3,))
    third = otus.compile(otus.derivative(otus.einsum("ijk,i,j,k->", tensor, x, x, x), x, 3))
    expected = sum(
        np.transpose(tensor, axes) for axes in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    )
    np.testing.assert_allclose(third(x=np.ones(3)), expected, rtol=1e-12)
    assert third.inputs in ((), ("x",))
