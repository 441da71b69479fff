"""Derivatives of Python functions with respect to several arguments: JAX's structures and values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from oracles import jax

import otus

X, Y, Z = np.array([1.0, 2.0]), np.array([0.5, 3.0]), np.array(2.0)
NESTED = {"a": X, "b": [Y, X]}


def scalar(module: Any) -> Callable[..., Any]:
    return lambda a, b, c: (module.sin(a) * b * b * c).sum() + (a * a * a).sum()


def of_structure(module: Any) -> Callable[..., Any]:
    return lambda p: (module.exp(p["a"]) * p["b"][0]).sum() + (p["b"][1] ** 3).sum()


def several(module: Any) -> Callable[..., Any]:
    return lambda a, b: {"product": a * b, "rest": (module.sin(a).sum(), b)}


def assert_same(result: Any, expected: Any) -> None:
    leaves, structure = jax.tree_util.tree_flatten(result)
    wanted, wanted_structure = jax.tree_util.tree_flatten(expected)
    assert structure == wanted_structure
    for leaf, want in zip(leaves, wanted, strict=True):
        assert leaf.shape == want.shape
        np.testing.assert_allclose(leaf, want, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("argnums", [0, 1, -1, (0, 1), (0,), (2, 0), [1, 2], (0, 1, 2)], ids=str)
@pytest.mark.parametrize("name", ["grad", "jacobian", "hessian"])
def test_several_arguments(name: str, argnums: Any) -> None:
    result = getattr(otus, name)(scalar(otus), argnums=argnums)(X, Y, Z)
    assert_same(result, getattr(jax, name)(scalar(jax.numpy), argnums=argnums)(X, Y, Z))


@pytest.mark.parametrize("name", ["grad", "jacobian", "hessian"])
def test_structures_of_arguments(name: str) -> None:
    result = getattr(otus, name)(of_structure(otus))(NESTED)
    assert_same(result, getattr(jax, name)(of_structure(jax.numpy))(NESTED))


@pytest.mark.parametrize("argnums", [0, (0, 1)], ids=str)
def test_jacobians_of_several_results(argnums: Any) -> None:
    result = otus.jacobian(several(otus), argnums=argnums)(X, Y)
    assert_same(result, jax.jacobian(several(jax.numpy), argnums=argnums)(X, Y))


def test_refusals() -> None:
    for argnums in ("x", (), 1.5):
        with pytest.raises(otus.OtusError, match="is not a position, nor a sequence of positions"):
            otus.grad(scalar(otus), argnums=argnums)(X, Y, Z)  # type: ignore[arg-type]
    with pytest.raises(otus.OtusError, match="argnums=3, but the function is called with 3 arguments"):
        otus.grad(scalar(otus), argnums=3)(X, Y, Z)
    with pytest.raises(otus.OtusError, match="hessian takes a function of one scalar result, not a dict"):
        otus.hessian(several(otus))(X, Y)
