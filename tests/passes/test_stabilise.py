"""Stable forms: finite and right where the naive evaluation overflows, in derivatives too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.special

import otus

Build = Callable[[otus.Expression], otus.Expression]
exp, log = otus.exp, otus.log

FORMS: dict[str, tuple[Build, Callable[[np.ndarray], np.ndarray]]] = {
    "softmax": (lambda x: exp(x) / exp(x).sum(), scipy.special.softmax),
    "logsumexp": (lambda x: log(exp(x).sum()), scipy.special.logsumexp),
    "log-softmax": (lambda x: x - log(exp(x).sum()), scipy.special.log_softmax),
    "log of softmax": (lambda x: log(exp(x) / exp(x).sum()), scipy.special.log_softmax),
    "softplus": (lambda x: log(1 + exp(x)), lambda x: np.logaddexp(x, 0)),
    "softplus by log1p": (lambda x: otus.log1p(exp(x)), lambda x: np.logaddexp(x, 0)),
    "sigmoid": (lambda x: 1 / (1 + exp(-x)), scipy.special.expit),
    "sigmoid by quotient": (lambda x: exp(x) / (1 + exp(x)), scipy.special.expit),
    "log-sigmoid": (lambda x: log(1 / (1 + exp(-x))), scipy.special.log_expit),
    "product with a reciprocal": (lambda x: exp(x) * (1 / exp(x).sum()), scipy.special.softmax),
    "one entry of log-softmax": (lambda x: log(exp(x[1]) / exp(x).sum()), lambda x: scipy.special.log_softmax(x)[1]),
    "log of a mean": (lambda x: log(exp(x).mean()), lambda x: scipy.special.logsumexp(x) - np.log(x.size)),
    "log of one and a sum": (lambda x: log(1 + exp(x).sum()), lambda x: np.logaddexp(0, scipy.special.logsumexp(x))),
    "log of two exponentials": (lambda x: log(exp(x[0]) + exp(x[1])), lambda x: np.logaddexp(x[0], x[1])),
    "log of the rest": (lambda x: log(1 - otus.sigmoid(x)), lambda x: -np.logaddexp(x, 0)),
    "scaled softmax": (lambda x: exp(3 * x - 1) / exp(3 * x - 1).sum(), lambda x: scipy.special.softmax(3 * x - 1)),
}
LARGE = {"float64": 1e4, "float32": 200.0}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", LARGE)
@pytest.mark.parametrize("name", FORMS)
def test_value_at_large_arguments(name: str, dtype: str) -> None:
    build, expected = FORMS[name]
    x = otus.tensor("x", ("n",), dtype=dtype)
    data = np.array([LARGE[dtype], -LARGE[dtype], 0.0, LARGE[dtype] - 1], dtype)
    value = otus.compile(build(x))(x=data)
    assert value.dtype == dtype
    # Values below the smallest normal number of the dtype are 0, as they would be for the exact result.
    tiny = float(np.finfo(dtype).tiny)
    np.testing.assert_allclose(value, expected(data.astype(float)), rtol=8 * np.finfo(dtype).eps, atol=tiny)


@pytest.mark.parametrize("name", FORMS)
def test_derivatives_at_large_arguments_are_those_of_the_stable_function(name: str) -> None:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    stable = {
        "softmax": jax.nn.softmax,
        "logsumexp": jax.nn.logsumexp,
        "log-softmax": jax.nn.log_softmax,
        "log of softmax": jax.nn.log_softmax,
        "softplus": jax.nn.softplus,
        "softplus by log1p": jax.nn.softplus,
        "sigmoid": jax.nn.sigmoid,
        "sigmoid by quotient": jax.nn.sigmoid,
        "log-sigmoid": jax.nn.log_sigmoid,
        "scaled softmax": lambda x: jax.nn.softmax(3 * x - 1),
        "product with a reciprocal": jax.nn.softmax,
        "one entry of log-softmax": lambda x: jax.nn.log_softmax(x)[1],
        "log of a mean": lambda x: jax.nn.logsumexp(x) - np.log(4),
        "log of one and a sum": lambda x: jax.nn.softplus(jax.nn.logsumexp(x)),
        "log of two exponentials": lambda x: jax.numpy.logaddexp(x[0], x[1]),
        "log of the rest": lambda x: -jax.nn.softplus(x),
    }[name]
    x = otus.tensor("x", (4,))
    loss = (FORMS[name][0](x) * np.array([1.0, 2.0, 3.0, 4.0])).sum()

    def jax_loss(values: object) -> object:
        return (stable(values) * np.array([1.0, 2.0, 3.0, 4.0])).sum()

    data = np.array([1e4, -1e4, 0.0, 9999.0])
    gradient, hessian = otus.compile([otus.grad(loss, x), otus.hessian(loss, x)])(x=data)
    np.testing.assert_allclose(gradient, jax.grad(jax_loss)(data), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(hessian, jax.hessian(jax_loss)(data), rtol=1e-10, atol=1e-12)


def test_a_batch_is_recognised_through_keepdims() -> None:
    x = otus.tensor("x", ("b", "n"))
    simplified = otus.simplify(exp(x) / exp(x).sum(-1, keepdims=True))
    operations = [data["text"].split(" = ")[1] for _, data in otus.to_networkx(simplified).nodes(data=True)]
    assert [text.split()[0] for text in operations] == ["input", "reduce", "map"]


def test_points_of_derivatives_are_left_alone() -> None:
    x = otus.tensor("x", (3,))
    inner = exp(x)
    gradient = otus.compile(otus.grad(log(inner.sum()), inner))(x=np.array([0.0, 1.0, 2.0]))
    np.testing.assert_allclose(gradient, np.full(3, 1 / np.exp([0.0, 1.0, 2.0]).sum()), rtol=1e-12)


def test_a_quotient_by_another_sum_is_not_a_softmax() -> None:
    x, y = otus.tensor("x", (3,)), otus.tensor("y", (3,))
    data = {"x": np.array([0.1, 0.2, 0.3]), "y": np.array([1.0, 2.0, 3.0])}
    value = otus.compile(exp(x) / exp(y).sum())(**data)
    np.testing.assert_allclose(value, np.exp(data["x"]) / np.exp(data["y"]).sum(), rtol=1e-12)
