"""One factorisation of a matrix for all that is solved with it: which solves join, and how good they stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import otus
from otus.ir import topological
from otus.ir.operations import Einsum, Inverse, SignedLogDeterminant, Solve

A, K = otus.tensor("A", ("n", "n")), otus.tensor("K", (5, 5), positive_definite=True)
b, c = otus.tensor("b", ("n",)), otus.tensor("c", ("n", 3))


def joined(*outputs: otus.Expression) -> list[Any]:
    found = otus.optimize(list(outputs), pipeline="simplify,solves")
    return [x.node for x in topological_nodes(found)]


def topological_nodes(outputs: list[otus.Expression]) -> list[otus.Expression]:
    return [otus.Expression.of(x) for x in topological([x.node for x in outputs])]


def count(nodes: list[Any], kind: type) -> int:
    return sum(isinstance(x.op, kind) for x in nodes)


def by_numpy(outputs: list[otus.Expression], n: int = 4, dtype: str = "float64") -> None:
    data = {"A": np.random.default_rng(0).normal(size=(n, n)), "b": np.arange(1.0, n + 1)}
    data["c"] = np.random.default_rng(1).normal(size=(n, 3))
    function = otus.compile(outputs)
    results = function(**{name: data[name] for name in function.inputs})
    expected = otus.compile(outputs, backend="reference")(**{name: data[name] for name in function.inputs})
    for value, other in zip(results, expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-9, atol=1e-11)


def test_two_solves_and_an_inverse_are_one_solve() -> None:
    outputs = [otus.solve(A, b), otus.solve(A, c), otus.inv(A)]
    nodes = joined(*outputs)
    assert count(nodes, Solve) == 1
    assert count(nodes, Inverse) == 0
    for n in (0, 1, 4):
        by_numpy(outputs, n)


def test_a_solution_that_another_right_hand_side_needs_stays_apart() -> None:
    first = otus.solve(A, b)
    outputs = [otus.solve(A, first * first), first, otus.solve(A, c)]
    assert count(joined(*outputs), Solve) == 2
    by_numpy(outputs)


def test_solves_that_wait_for_each_other_across_matrices() -> None:
    other = A + otus.delta(A.shape[0])
    u, v = otus.solve(A, b), otus.solve(other, b + 1)
    outputs = [u, v, otus.solve(A, v * v), otus.solve(other, u * u)]
    assert count(joined(*outputs), Solve) == 3
    by_numpy(outputs)


def test_many_columns_are_not_copied_beside_few_rows() -> None:
    M, wide = otus.tensor("M", (3, 3)), otus.tensor("W", (3, 1000))
    assert count(joined(otus.solve(M, wide), otus.inv(M)), Solve) == 1
    assert count(joined(otus.solve(M, wide), otus.inv(M)), Inverse) == 1


def test_a_solve_with_the_transposed_matrix_reads_the_inverse() -> None:
    outputs = [otus.solve(A.T, b), otus.inv(A), otus.inv(A.T)]
    nodes = joined(*outputs)
    assert count(nodes, Solve) == 0
    assert count(nodes, Inverse) == 1
    by_numpy(outputs)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_batches_and_dtypes(dtype: str) -> None:
    P, q = otus.tensor("P", (2, 3, 3), dtype=dtype), otus.tensor("q", (2, 3, 2), dtype=dtype)
    outputs = [otus.solve(P, q), otus.inv(P), otus.solve(P.transpose(0, 2, 1), q)]
    nodes = joined(*outputs)
    assert count(nodes, Solve) == 1
    generator = np.random.default_rng(2)
    p = (generator.normal(size=(2, 3, 3)) + 2 * np.eye(3)).astype(dtype)
    values = otus.compile(outputs)(P=p, q=generator.normal(size=(2, 3, 2)).astype(dtype))
    expected = otus.compile(outputs, backend="reference")(P=p, q=generator.normal(size=(2, 3, 2)).astype(dtype))
    assert values[1].dtype == dtype
    single = dtype in ("float32", "complex64")
    np.testing.assert_allclose(values[1], expected[1], rtol=1e-3 if single else 1e-11)


def _hard(n: int, seed: int) -> np.ndarray:
    """Condition 1e10, singular vectors at random."""
    generator = np.random.default_rng(seed)
    u, v = (np.linalg.qr(generator.normal(size=(n, n)))[0] for _ in range(2))
    return u * np.logspace(0, -10, n) @ v


@pytest.mark.parametrize("seed", range(5))
def test_a_joined_solution_is_as_good_as_alone(seed: int) -> None:
    n = 40
    a, x = _hard(n, seed), np.random.default_rng(seed).normal(size=n)
    _, _, solution = otus.compile([otus.inv(A), otus.solve(A, c), otus.solve(A, b)])(A=a, b=a @ x, c=np.ones((n, 3)))
    residual = np.abs(a @ solution - a @ x).max() / (np.abs(a).sum(1).max() * np.abs(solution).max())
    assert residual < 1e-15


@pytest.mark.parametrize("seed", range(5))
def test_a_transposed_solution_by_the_inverse_has_the_forward_error_of_a_solve(seed: int) -> None:
    """Also where the solution is small: the right-hand side lies along large singular vectors."""
    n = 40
    a, x = _hard(n, seed), np.random.default_rng(seed).normal(size=n)
    _, solution = otus.compile([otus.inv(A), otus.solve(A.T, b)])(A=a, b=a.T @ x)
    bound = np.finfo(float).eps * np.abs(np.linalg.inv(a.T)) @ np.abs(a.T) @ np.abs(x)
    assert np.all(np.abs(solution - x) <= 20 * bound)


def test_the_gradient_of_a_log_determinant_needs_no_determinant() -> None:
    gradient = otus.optimize(otus.grad(otus.logdet(A), A))
    nodes = [x.node for x in topological_nodes([gradient])]
    assert not count(nodes, SignedLogDeterminant)
    matrix = np.diag([1.0, 2.0, -4.0])
    value, found = otus.compile([otus.logdet(A), otus.grad(otus.logdet(A), A)])(A=matrix)
    assert np.isnan(value)
    np.testing.assert_allclose(found, np.linalg.inv(matrix).T)


def test_a_solve_that_is_one_product_is_not_an_einsum_of_inverses() -> None:
    assert count(joined(otus.solve(A, b)), Einsum) == 0
