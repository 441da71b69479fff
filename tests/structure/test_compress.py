"""Compressed derivatives: every method equals its dense counterpart, and stores what the algebra says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import otus

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    """An operator with axes x then x', its data, and what it should look like."""

    expression: otus.Expression
    data: dict[str, Array]
    deltas: tuple[tuple[int, int], ...]
    stored: list[tuple[int, ...]]
    singular: bool = False


def _data(seed: int = 0, **shapes: tuple[int, ...]) -> dict[str, Array]:
    generator = np.random.default_rng(seed)
    return {name: generator.standard_normal(shape) for name, shape in shapes.items()}


def _tensors(**shapes: tuple[int, ...]) -> list[otus.Expression]:
    return [otus.tensor(name, shape) for name, shape in shapes.items()]


def _cubic() -> Case:
    (x,) = _tensors(x=(6,))
    return Case(otus.hessian((x**3).sum(), x), _data(x=(6,)), ((0, 1),), [(6,)])


def _factorisation() -> Case:
    shapes = {"T": (6, 4), "U": (6, 3), "V": (4, 3)}
    t, u, v = _tensors(**shapes)
    return Case(otus.hessian(((t - u @ v.T) ** 2).sum(), u), _data(**shapes), ((0, 2),), [(3, 3)])


def _decomposition() -> Case:
    shapes = {"A": (3, 2), "B": (4, 2), "C": (5, 2), "X": (3, 4, 5)}
    a, b, c, x = _tensors(**shapes)
    loss = 0.5 * ((otus.einsum("ir,jr,kr->ijk", a, b, c) - x) ** 2).sum()
    return Case(otus.hessian(loss, a), _data(**shapes), ((0, 2),), [(2, 2), (2, 2)])


def _kronecker() -> Case:
    p, q = _tensors(P=(3, 3), Q=(4, 4))
    return Case(3 * otus.einsum("ij,kl->ikjl", p, q), _data(P=(3, 3), Q=(4, 4)), (), [(3, 3), (4, 4)])


def _cross_entropy(ridge: bool) -> Case:
    (z,) = _tensors(Z=(5, 3))
    probabilities = otus.exp(z) / otus.exp(z).sum(-1, keepdims=True)
    loss = -otus.log(probabilities).sum() + ((z**2).sum() if ridge else 0)
    return Case(otus.hessian(loss, z), _data(Z=(5, 3)), ((0, 2),), [(5, 3)], singular=not ridge)


def _low_rank() -> Case:
    shapes = {"q": (7,), "u": (7, 2)}
    q, u = _tensors(**shapes)
    loss = otus.exp(q).sum() + 0.5 * ((u.T @ q) ** 2).sum()
    return Case(otus.hessian(loss, q), _data(**shapes), (), [(7,), (7, 2)])


def _dense() -> Case:
    shapes = {"D": (9, 4), "w": (4,)}
    d, w = _tensors(**shapes)
    return Case(otus.hessian(otus.softplus(d @ w).sum(), w), _data(**shapes), (), [(4, 4)])


CASES = {
    "diagonal": _cubic(),
    "matrix factorisation": _factorisation(),
    "cp block": _decomposition(),
    "kronecker": _kronecker(),
    "cross-entropy": _cross_entropy(ridge=False),
    "cross-entropy with ridge": _cross_entropy(ridge=True),
    "diagonal plus low rank": _low_rank(),
    "dense": _dense(),
}


@pytest.fixture(params=CASES, ids=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def _evaluate(expression: otus.Expression, data: dict[str, Array]) -> Array:
    return np.asarray(otus.compile(expression)(**{k: v for k, v in data.items() if _reads(expression, k)}))


def _reads(expression: otus.Expression, name: str) -> bool:
    return name in otus.compile(expression).inputs


def _matrix(case: Case) -> Array:
    dense = np.asarray(otus.compile(case.expression, backend="reference")(**case.data))
    size = int(np.sqrt(dense.size))
    return dense.reshape(size, size)


def _vector(case: Case) -> tuple[otus.Expression, Array]:
    shape = tuple(int(size) for size in case.expression.shape[: case.expression.ndim // 2])
    return otus.tensor("vector", shape), np.random.default_rng(1).standard_normal(shape)


def test_structure_is_what_the_algebra_says(case: Case) -> None:
    compressed = otus.compress(case.expression)
    assert compressed.deltas == case.deltas
    assert [part.shape for part in compressed.parts] == case.stored


def test_dense_form(case: Case) -> None:
    dense = _evaluate(otus.compress(case.expression).to_dense(), case.data)
    np.testing.assert_allclose(dense.reshape(_matrix(case).shape), _matrix(case), rtol=1e-10, atol=1e-12)


def test_product_diagonal_and_trace(case: Case) -> None:
    compressed, matrix = otus.compress(case.expression), _matrix(case)
    slot, vector = _vector(case)
    product = _evaluate(compressed.matvec(slot), {**case.data, "vector": vector})
    np.testing.assert_allclose(product.ravel(), matrix @ vector.ravel(), rtol=1e-10, atol=1e-12)
    diagonal = _evaluate(compressed.diagonal(), case.data)
    assert diagonal.shape == vector.shape
    np.testing.assert_allclose(diagonal.ravel(), np.diag(matrix), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(_evaluate(compressed.trace(), case.data), np.trace(matrix), rtol=1e-10)


def test_solve_and_determinant(case: Case) -> None:
    compressed, matrix = otus.compress(case.expression), _matrix(case)
    if case.singular:
        # Each row of softmax sums to one, so each block of its Hessian has the ones vector as kernel.
        assert abs(np.linalg.det(matrix)) < 1e-12
        return
    slot, vector = _vector(case)
    solution = _evaluate(compressed.solve(slot), {**case.data, "vector": vector})
    np.testing.assert_allclose(solution.ravel(), np.linalg.solve(matrix, vector.ravel()), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(_evaluate(compressed.logdet(), case.data), np.linalg.slogdet(matrix)[1], rtol=1e-8)


def test_core_holds_the_entries(case: Case) -> None:
    compressed = otus.compress(case.expression)
    core = _evaluate(compressed.core, case.data)
    dense = _matrix(case).reshape([int(size) for size in case.expression.shape])
    position = [0] * dense.ndim
    for place in np.ndindex(core.shape):
        for axis, index in zip(compressed.core_axes, place, strict=True):
            position[axis] = index
        for first, second in compressed.deltas:
            position[second] = position[first]
        np.testing.assert_allclose(core[place], dense[tuple(position)], rtol=1e-10, atol=1e-12)


def test_a_compiled_function_returns_the_small_object() -> None:
    t, u, v = (otus.tensor(name, shape) for name, shape in (("T", ("n", "m")), ("U", ("n", "k")), ("V", ("m", "k"))))
    compressed = otus.compress(otus.hessian(((t - u @ v.T) ** 2).sum(), u))
    data = _data(T=(128, 64), U=(128, 5), V=(64, 5))
    value = otus.compile({"H": compressed, "g": otus.grad(((t - u @ v.T) ** 2).sum(), u)})(**data)
    hessian = value["H"]
    assert hessian.nbytes < 1024
    assert hessian.deltas == ((0, 2),)
    dense = hessian.to_dense()
    assert dense.shape == (128, 5, 128, 5)
    expected = 2 * np.einsum("ac,bd->abcd", np.eye(128), data["V"].T @ data["V"])
    np.testing.assert_allclose(dense, expected, rtol=1e-12, atol=1e-12)
    step = hessian.solve(value["g"])
    np.testing.assert_allclose(hessian.matvec(step), value["g"], rtol=1e-9, atol=1e-9)


def test_a_vector_of_the_wrong_shape_is_named() -> None:
    with pytest.raises(otus.ShapeError, match=r"shape \(5,\) was given; the operator takes \(6,\)"):
        otus.compress(CASES["diagonal"].expression).matvec(otus.tensor("v", (5,)))
