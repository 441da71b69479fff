"""Derivatives with respect to any expression that a function is built from, not only to inputs.

What is built from a point reads that very point: builders do not look through their operands, and no
pass rewrites past a point before derivatives are expanded.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from evaluation import run

import otus

VALUE = np.arange(1.0, 7.0).reshape(2, 3) / 3
x = otus.tensor("x", (2, 3))
OneArgument = Callable[[otus.Expression], otus.Expression]
Gradient = Callable[[np.ndarray], np.ndarray]

# The point made from x, a function of it, and the gradient where the point has a value.
CASES: dict[str, tuple[OneArgument, OneArgument, Gradient]] = {
    "reshape": (lambda x: x.reshape(6), lambda z: (z.reshape(3, 2) ** 2).sum(), lambda z: 2 * z),
    "reshape of a gradient": (
        lambda x: otus.grad((x**3).sum(), x).reshape(6), lambda z: (z.reshape(3, 2) ** 2).sum(), lambda z: 2 * z,
    ),
    "new axis": (lambda x: x[None], lambda z: (z[0] ** 2).sum(), lambda z: 2 * z),
    "squeezed axis": (lambda x: otus.expand_dims(x, 0), lambda z: (otus.squeeze(z, 0) ** 2).sum(), lambda z: 2 * z),
    "broadcast": (
        lambda x: otus.broadcast_to(x, (4, 2, 3)),
        lambda z: (otus.broadcast_to(z, (5, 4, 2, 3)) ** 2).sum(),
        lambda z: 10 * z,
    ),
    "cast": (
        lambda x: otus.broadcast_to(x, (4, 2, 3)),
        lambda z: otus.sum(otus.cast(otus.cast(z, "float32"), "float64")),
        np.ones_like,
    ),
    "transpose": (lambda x: x.T, lambda z: (z.T**2).sum(), lambda z: 2 * z),
    "scale": (lambda x: 2 * x, lambda z: ((3 * z) ** 2).sum(), lambda z: 18 * z),
    "shift": (lambda x: x + 1, lambda z: ((z - 1) ** 2).sum(), lambda z: 2 * (z - 1)),
    "negative": (lambda x: -x, lambda z: ((-z) ** 3).sum(), lambda z: -3 * z**2),
    "flip": (lambda x: otus.flip(x, 0), lambda z: (otus.flip(z, 0) ** 2).sum(), lambda z: 2 * z),
    "exponential, in its logarithm": (otus.exp, lambda z: otus.log(z).sum(), lambda z: 1 / z),
    "exponential, in a logsumexp": (otus.exp, lambda z: otus.log(z.sum()), lambda z: np.ones_like(z) / z.sum()),
    "exponential, in a softplus": (otus.exp, lambda z: otus.log(1 + z).sum(), lambda z: 1 / (1 + z)),
    "square root": (otus.sqrt, lambda z: (z**2).sum(), lambda z: 2 * z),
    "a product over what was reshaped": (
        lambda x: x.reshape(6, 1), lambda z: otus.prod(z.reshape(1, 6)), lambda z: np.prod(z) / z,
    ),
    "inverse": (
        lambda x: otus.inv(x @ x.T + otus.eye(2)),
        lambda z: otus.inv(z).sum(),
        lambda z: -np.linalg.inv(z).T @ np.ones((2, 2)) @ np.linalg.inv(z).T,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_gradient_with_respect_to_an_expression(name: str) -> None:
    make_point, function, gradient = CASES[name]
    point = make_point(x)
    (value,) = run([point], {"x": VALUE})
    (got,) = run([otus.grad(function(point), point)], {"x": VALUE})
    np.testing.assert_allclose(got, np.broadcast_to(gradient(value), value.shape), rtol=1e-10)


@pytest.mark.parametrize("shape", [(3,), (5, 2), (1, 5, 2), (2, 3)])
def test_gradient_of_a_product_of_reshaped_factors(shape: tuple[int, ...]) -> None:
    factors = otus.tensor("f", shape)
    value = np.random.default_rng(0).standard_normal(shape)
    for product in (
        otus.prod(otus.expand_dims(factors, 1)),
        otus.sum(otus.prod(factors.reshape(1, -1), keepdims=True)),
    ):
        (got,) = run([otus.grad(product, factors)], {"f": value})
        np.testing.assert_allclose(got, np.prod(value) / value, rtol=1e-12)
