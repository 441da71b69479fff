"""One function over both libraries: every kind of derivative of it, Otus's beside JAX's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from evaluation import BACKENDS, assert_close, run
from function_cases import JAX, OTUS
from oracles import jax

import otus

Function = Callable[..., Any]  # (namespace, *tensors) -> tensor


def expressions(arrays: tuple[np.ndarray, ...]) -> tuple[dict[str, np.ndarray], list[otus.Expression]]:
    data = {f"x{k}": np.asarray(x) for k, x in enumerate(arrays)}
    return data, [otus.tensor(name, x.shape, str(x.dtype)) for name, x in data.items()]


def values_of(outputs: Any, data: dict[str, np.ndarray]) -> Any:
    """The compiled values, which the reference interpreter must share."""
    found = [run(outputs, data, backend) for backend in BACKENDS]
    for first, second in zip(*map(jax.tree.leaves, found), strict=True):
        assert_close(first, second, max(1e-9, 30 * _rounding(first)), what="compiled against reference")
    return found[0]


def _rounding(values: Any) -> float:
    """The relative rounding of the values' dtype; 0 where they are exact."""
    dtype = np.asarray(values).dtype
    return float(np.finfo(dtype).eps) if dtype.kind in "fc" else 0.0


def same(actual: Any, expected: Any, rtol: float = 1e-9) -> None:
    for got, want in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert_close(got, want, rtol)


def same_gradient(function: Function, *arrays: np.ndarray) -> list[np.ndarray]:
    """Assert that the gradients of a scalar function agree; they come back."""
    data, x = expressions(arrays)
    found = values_of(otus.grad(function(OTUS, *x), x), data)
    places = tuple(range(len(arrays)))
    same(found, jax.jit(jax.grad(lambda *xs: function(JAX, *xs), places))(*arrays))
    return found


def same_jacobian(function: Function, *arrays: np.ndarray, holomorphic: bool = False) -> list[np.ndarray]:
    data, x = expressions(arrays)
    found = values_of(otus.jacobian(function(OTUS, *x), x), data)
    places = tuple(range(len(arrays)))
    same(found, jax.jit(jax.jacrev(lambda *xs: function(JAX, *xs), places, holomorphic=holomorphic))(*arrays))
    return found


def same_hessian(function: Function, *arrays: np.ndarray) -> list[list[np.ndarray]]:
    data, x = expressions(arrays)
    found = values_of(otus.hessian(function(OTUS, *x), x), data)
    places = tuple(range(len(arrays)))
    same(found, jax.jit(jax.hessian(lambda *xs: function(JAX, *xs), places))(*arrays))
    return found
