"""Softmax and its derivatives take each exponential once, and lose no digits by it."""

from __future__ import annotations

import numpy as np
import pytest

import otus
from otus.ir import topological
from otus.ir.operations import Map
from otus.ir.scalar import Call, postorder

X, C, Y = (otus.tensor(name, ("n", "m")) for name in "XCY")
x = otus.tensor("x", ("n",))


def exponentials(*outputs: otus.Expression) -> int:
    """How many exponentials of tensors, not of scalars, a program takes."""
    found = [each.node for each in otus.optimize(list(outputs))]
    return sum(
        sum(isinstance(part, Call) and part.function == "exp" for part in postorder(node.op.expression))
        for node in topological(found)
        if isinstance(node.op, Map) and node.ndim
    )


def test_one_exponential_each() -> None:
    softmax = otus.softmax(X, axis=1)
    assert exponentials(softmax) == 1
    assert exponentials(*otus.grad((C * softmax).sum(), [X, C])) == 1
    assert exponentials(otus.grad(otus.logsumexp(X, axis=1).sum(), X)) == 1
    assert exponentials(otus.hessian(otus.logsumexp(x), x)) == 1
    assert exponentials(otus.grad(-(Y * otus.log_softmax(X, axis=1)).sum(), X)) == 1
    assert exponentials(otus.softmax(3 * X, axis=0), otus.log_softmax(3 * X, axis=0)) == 1


def test_other_exponentials_stay() -> None:
    assert exponentials(otus.exp(C - otus.logsumexp(X, axis=1)[:, None])) == 1
    value = otus.compile(otus.exp(C - otus.logsumexp(X, axis=1)[:, None]))
    c, data = np.random.default_rng(0).normal(size=(2, 4, 5))
    np.testing.assert_allclose(value(C=c, X=data), np.exp(c) / np.exp(data).sum(1)[:, None])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("axis", [0, 1, (0, 1)])
def test_every_element_is_right_to_the_last_places(dtype: str, axis: int | tuple[int, int]) -> None:
    """Also those in the tails, but for the rounding of the difference from the largest."""
    t = otus.tensor("T", (40, 30), dtype=dtype)
    shifted = t - otus.logsumexp(t, axis=axis, keepdims=True)
    data = (np.random.default_rng(1).normal(size=(40, 30)) * (2 if dtype == "float16" else 20)).astype(dtype)
    wide = data.astype(np.longdouble)
    exact = np.exp(wide - wide.max(axis=axis, keepdims=True))
    exact /= exact.sum(axis=axis, keepdims=True)
    result = otus.compile(otus.exp(shifted))(T=data)
    normal = exact > np.finfo(dtype).tiny
    error = np.abs(result.astype(np.longdouble) - exact)[normal] / exact[normal]
    distance = (wide.max(axis=axis, keepdims=True) - wide)[normal]
    assert np.all(error <= float(np.finfo(dtype).eps) * (4 + 0.5 * distance))


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4, 1e300])
def test_large_and_infinite_arguments(scale: float) -> None:
    rows = np.array([[0.0, 1, -1], [5, 5, 5], [-np.inf, 0, 1], [-np.inf, -np.inf, 0]])
    with np.errstate(invalid="ignore"):
        data = np.where(np.isfinite(rows), rows * scale, rows)
    result = otus.compile(otus.softmax(X, axis=1))(X=data)
    shifted = np.exp(data - data.max(1, keepdims=True))
    np.testing.assert_allclose(result, shifted / shifted.sum(1, keepdims=True), rtol=1e-15)
