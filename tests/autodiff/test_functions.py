"""Derivatives of every function, at the rows of ``function_cases``: finite differences and JAX.

The scalar under test is ``sum(w · f(x, y, …))`` with fixed random weights ``w``, so that no two
elements of the result are exchangeable.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from evaluation import assert_close, run
from function_cases import CASES, JAX, NUMPY, OTUS, UNARY, Case, draw, representatives
from oracles import jax

import otus
from otus.runtime.differences import Estimate, numerical_gradient, numerical_jacobian
from otus.structures import flatten

SMOOTH = [each for each in CASES if each.smooth and each.operands]
FEW_SHAPES = ((), (3, 1, 2), (0,), (3, 5))  # those at which JAX judges elementwise functions
COMPARED = [each for each in SMOOTH if each.oracle and (each.name not in UNARY or each.operands[0].shape in FEW_SHAPES)]
JUDGED = representatives(COMPARED)
# Explicit second derivatives are compared where they are small.
SMALL = [each for each in SMOOTH if sum(int(np.prod(x.shape)) for x in each.operands if x.is_real) <= 12]


@dataclass
class Problem:
    """A row with data: its operands by name, the real ones among them, weights, and the same in JAX."""

    data: dict[str, np.ndarray]
    points: list[str]
    weights: np.ndarray
    y: otus.Expression
    tensors: dict[str, otus.Expression]
    jax_y: Callable[..., Any]

    @property
    def x(self) -> list[otus.Expression]:
        return [self.tensors[name] for name in self.points]

    @property
    def values(self) -> list[np.ndarray]:
        return [self.data[name] for name in self.points]

    @property
    def loss(self) -> otus.Expression:
        return (self.y * self.weights).sum()

    def jax_loss(self, *points: Any) -> Any:
        return (self.jax_y(*points) * self.weights).sum()

    def numpy_function(self, each: Case, name: str) -> Callable[[np.ndarray], np.ndarray]:
        """``y`` as a function of one operand."""

        def function(value: np.ndarray) -> np.ndarray:
            return np.asarray(each.call(NUMPY, *{**self.data, name: each.in_domain(name, value)}.values()))

        return function

    def tangents(self) -> list[np.ndarray]:
        rng = np.random.default_rng(5)
        return [rng.standard_normal(x.shape) for x in self.values]


def problem(each: Case) -> Problem:
    rng = np.random.default_rng(zlib.crc32(str(each).encode()))
    data = {f"x{k}": draw(x, rng) for k, x in enumerate(each.operands)}
    tensors = {name: otus.tensor(name, x.shape, str(x.dtype)) for name, x in data.items()}
    points = [f"x{k}" for k, x in enumerate(each.operands) if x.is_real]
    y = each.call(OTUS, *tensors.values())

    def jax_y(*values: Any) -> Any:
        given = {**data, **dict(zip(points, values, strict=True))}
        return each.call(JAX, *(jax.numpy.asarray(given[name]) for name in data))

    return Problem(data, points, rng.uniform(0.5, 1.5, y.shape), y, tensors, jax_y)


def assert_within(actual: np.ndarray, estimate: Estimate, floor: float = 1e-8) -> None:
    """Equal to a finite difference, within ten times its error estimate."""
    allowed = 10 * estimate.error + floor * (1 + np.abs(estimate.value))
    assert actual.shape == estimate.value.shape
    assert np.all(np.abs(actual - estimate.value) <= allowed), f"{actual} is not {estimate.value} ± {estimate.error}"


def gradients(given: Problem) -> list[np.ndarray]:
    return run(otus.grad(given.loss, given.x), given.data)


@pytest.mark.parametrize("each", COMPARED, ids=str)
def test_gradient_is_jaxs(each: Case) -> None:
    given = problem(each)
    expected = jax.jit(jax.grad(given.jax_loss, argnums=tuple(range(len(given.points)))))(*given.values)
    for actual, wanted in zip(gradients(given), expected, strict=True):
        assert_close(actual, wanted)


@pytest.mark.parametrize("each", SMOOTH, ids=str)
def test_gradient_is_that_of_finite_differences(each: Case) -> None:
    given = problem(each)
    for actual, name in zip(gradients(given), given.points, strict=True):
        function = given.numpy_function(each, name)
        assert_within(
            actual, numerical_gradient(lambda value, f=function: (f(value) * given.weights).sum(), given.data[name])
        )


@pytest.mark.parametrize("each", SMALL, ids=str)
def test_jacobian_and_its_products(each: Case) -> None:
    """The explicit Jacobian against finite differences; jvp, vjp and jtjvp against the Jacobian."""
    given = problem(each)
    v, u = given.tangents(), given.weights
    found = run(
        {
            "jacobian": otus.jacobian(given.y, given.x),
            "jvp": otus.jvp(given.y, given.x, v),
            "vjp": otus.vjp(given.y, given.x, [u]),
            "jtjvp": otus.jtjvp(given.y, given.x, v),
        },
        given.data,
    )
    pushed = np.zeros(u.shape)
    for position, (jacobian, name) in enumerate(zip(found["jacobian"], given.points, strict=True)):
        estimate = numerical_jacobian(given.numpy_function(each, name), given.data[name])
        assert_within(jacobian, estimate)
        pushed = pushed + np.tensordot(jacobian, v[position], v[position].ndim)
    assert_close(found["jvp"], pushed, what="jvp")
    for position, jacobian in enumerate(found["jacobian"]):
        assert_close(found["vjp"][position], np.tensordot(u, jacobian, u.ndim), what="vjp")
        assert_close(found["jtjvp"][position], np.tensordot(pushed, jacobian, u.ndim), what="jtjvp")


@pytest.mark.parametrize("each", SMALL, ids=str)
def test_hessian_and_its_product(each: Case) -> None:
    """Blocks against finite differences of the gradient; they are symmetric, and hvp multiplies by them."""
    given = problem(each)
    v = given.tangents()
    found = run({"hessian": otus.hessian(given.loss, given.x), "hvp": otus.hvp(given.loss, given.x, v)}, given.data)
    gradient = otus.compile(otus.grad(given.loss, given.x))
    for row in range(len(given.points)):
        product = np.zeros(given.values[row].shape)
        for column, name in enumerate(given.points):
            block = found["hessian"][row][column]

            def one(value: np.ndarray, name: str = name, row: int = row) -> np.ndarray:
                return gradient(**{**given.data, name: each.in_domain(name, value)})[row]

            assert_within(block, numerical_jacobian(one, given.data[name]), floor=1e-7)
            mirrored = found["hessian"][column][row]
            ranks = given.values[column].ndim, given.values[row].ndim
            assert_close(block, np.moveaxis(mirrored, range(ranks[0]), range(-ranks[0], 0)), what="symmetry")
            product = product + np.tensordot(block, v[column], v[column].ndim)
        assert_close(found["hvp"][row], product, what="hvp")


@pytest.mark.parametrize("each", JUDGED, ids=str)
def test_second_derivatives_are_jaxs(each: Case) -> None:
    """The Jacobian of every representative row, its Hessian where it is small, and hvp."""
    given = problem(each)
    v = given.tangents()
    places = tuple(range(len(given.points)))
    gradient = jax.grad(given.jax_loss, places)

    def expected(*x: Any) -> dict[str, Any]:
        found = {"jacobian": jax.jacrev(given.jax_y, places)(*x), "hvp": jax.jvp(gradient, x, tuple(v))[1]}
        return {**found, "hessian": jax.jacrev(gradient, places)(*x)} if each in SMALL else found

    outputs = {"jacobian": otus.jacobian(given.y, given.x), "hvp": otus.hvp(given.loss, given.x, v)}
    if each in SMALL:
        outputs["hessian"] = otus.hessian(given.loss, given.x)
    actual = run(outputs, given.data)
    for name, wanted in jax.jit(expected)(*given.values).items():
        for got, want in zip(flatten(actual[name], is_array), jax.tree.leaves(wanted), strict=True):
            assert_close(got, want, what=name)


def is_array(value: object) -> bool:
    return not isinstance(value, list)
