"""Multiplying out, taking factors out, and splitting weights: where they pay, where they must not happen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from evaluation import run
from hypothesis import given, settings
from hypothesis import strategies as st

import otus
from otus.ir import Graph, build, topological
from otus.ir.operations import Einsum, Input
from otus.ir.scalar import Scalar, argument, call
from otus.passes import parse_pipeline
from otus.passes.algebra.value_range import is_nonnegative, value_range
from otus.passes.distribute import Distribute, may_be_multiplied_out
from otus.runtime.reference import evaluate

X = otus.tensor("X", (30, 30))
U, V = otus.tensor("U", (30, 3)), otus.tensor("V", (30, 3))


def through(pipeline: str, *outputs: otus.Expression) -> Graph:
    return parse_pipeline(pipeline).run(Graph.of([x.node for x in outputs]))[0]


def fired(pipeline: str, *outputs: otus.Expression) -> Mapping[str, int]:
    report = parse_pipeline(pipeline).run(Graph.of([x.node for x in outputs]))[1]
    return report[-1].rules


def agrees(outputs: Sequence[otus.Expression], data: Mapping[str, Any], tolerance: float = 1e-11) -> None:
    for got, want in zip(run(list(outputs), data), run(list(outputs), data, "reference"), strict=True):
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * np.max(np.abs(want), initial=0))


def random_data(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def test_a_residual_is_multiplied_out() -> None:
    gradient = (X - U @ V.T) @ V
    assert fired("simplify,distribute", gradient) == {"distribute_sum": 1}
    agrees([gradient], random_data(X=(30, 30), U=(30, 3), V=(30, 3)))


def test_a_sum_that_is_read_elsewhere_is_kept_where_it_has_to_be_made() -> None:
    residual = X - U @ V.T
    assert not fired("simplify,distribute", residual, residual @ V)


def test_a_difference_of_tensors_is_never_multiplied_out() -> None:
    """(x − m)·w is exact where x and m are close; x·w − m·w is not."""
    x, m, w = otus.tensor("x", (400, 300)), otus.tensor("m", (300,)), otus.tensor("w", (300,))
    centred = (x - m) @ w
    assert not fired("simplify,distribute", centred)
    data = {"x": 1e8 + np.random.default_rng(0).standard_normal((400, 300)), "m": np.full(300, 1e8), "w": np.ones(300)}
    np.testing.assert_allclose(run([centred], data)[0], (data["x"] - data["m"]) @ data["w"], rtol=1e-12, atol=1e-12)


def test_a_mean_is_not_a_product() -> None:
    mean = X.mean(axis=0)
    assert not may_be_multiplied_out(otus.simplify(X - mean).node)


def test_nine_sums_stay_nine_sums() -> None:
    pairs = [(otus.tensor(f"a{k}", (8, 3)) @ otus.tensor(f"b{k}", (3, 8))) for k in range(10)]
    product = pairs[0]
    for left, right in pairwise(pairs):
        product = product @ (left + right)
    graph = through("simplify,distribute,contract,factor", product)
    assert len(graph.nodes()) < 120


def test_a_small_loss_keeps_its_digits() -> None:
    data = random_data(U=(30, 3), V=(30, 3))
    data["X"] = data["U"] @ data["V"].T + 1e-9
    (value,) = run([otus.sum((X - U @ V.T) ** 2)], data)
    np.testing.assert_allclose(value, 900 * 1e-18, rtol=1e-5)


def test_shared_products_are_taken_apart_only_where_that_pays() -> None:
    a, b = otus.tensor("a", (30, 30)), otus.tensor("b", (30, 30))
    v, w = otus.tensor("v", (30,)), otus.tensor("w", (30,))
    product = a @ b
    assert fired("simplify,distribute", product @ v, product @ w)
    assert not fired("simplify,distribute", product @ v, product @ w, product)
    assert not fired("simplify,distribute", product @ a, product @ b)


def test_common_factors_are_taken_out() -> None:
    a, k, m = otus.tensor("a", (9, 4)), otus.tensor("k", (4, 5)), otus.tensor("m", (5, 4))
    total = a @ k - 2 * (a @ m.T)
    graph = through("simplify,contract,factor", total)
    assert sum(isinstance(x.op, Einsum) and len(x.operands) == 2 for x in graph.nodes()) == 1
    agrees([total], random_data(a=(9, 4), k=(4, 5), m=(5, 4)))


def test_products_that_are_read_elsewhere_keep_their_factors() -> None:
    a, k, m = otus.tensor("a", (9, 4)), otus.tensor("k", (4, 5)), otus.tensor("m", (4, 5))
    assert not fired("simplify,contract,factor", a @ k + a @ m, a @ k)


def test_factors_that_the_cheapest_order_hides_are_taken_out() -> None:
    a, d = otus.tensor("a", (40, 40)), otus.tensor("d", (40, 40))
    b, c = otus.tensor("b", (40, 4)), otus.tensor("c", (4, 40))
    total = a @ b @ c - 3 * (a @ d)
    assert fired("simplify,distribute", total) == {"collect_factor": 1}
    assert not fired("simplify,distribute", total, a @ d @ b)
    once = through("simplify,distribute", total)
    assert Distribute().run_counting(once)[1].total() == 0
    agrees([total], random_data(a=(40, 40), b=(40, 4), c=(4, 40), d=(40, 40)))


SPECS = ["ij,jk,kl->il", "ij,jk,lk->li", "ij,jk,kl->li", "ij,ik,kl->jl", "ij,kj,kl->il", "ij,jl->il", "ij,jk,jl,kl->il"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(SPECS), st.lists(st.integers(0, 2), min_size=4, max_size=4)), min_size=2, max_size=4
    ),
    st.sampled_from([(7, 7, 7), (9, 1, 9), (0, 3, 3), (24, 3, 24)]),
    st.sampled_from(["float64", "complex128", "float32"]),
)
def test_sums_of_random_products_keep_their_values(
    terms: list[tuple[str, list[int]]], sizes: tuple[int, int, int], dtype: str
) -> None:
    """Square and thin matrices in products of every shape, wherever factors are taken out of them."""
    size, thin, _ = sizes
    pool = {"wide": [otus.tensor(f"a{k}", (size, size), dtype=dtype) for k in range(3)],
            "tall": [otus.tensor(f"b{k}", (size, thin), dtype=dtype) for k in range(3)]}  # fmt: skip
    total: otus.Expression | None = None
    for position, (spec, chosen) in enumerate(terms):
        operands = []
        for labels, k in zip(spec.split("->")[0].split(","), chosen, strict=False):
            tensor = pool["tall" if "k" in labels else "wide"][k]
            operands.append(tensor.T if labels[0] == "k" else tensor)
        term = (position + 1) * otus.einsum(spec, *operands)
        total = term if total is None else total + term
    assert total is not None
    rng = np.random.default_rng(0)
    shapes = {
        x.op.label: tuple(map(int, map(str, x.type.shape)))
        for x in topological([total.node])
        if isinstance(x.op, Input)
    }
    data = {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
    graph = through("simplify,distribute,contract,factor", total)
    (want,), (got,) = evaluate([total.node], data), evaluate(graph.outputs, data)
    tolerance = 1e-3 if dtype == "float32" else 1e-10
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * np.max(np.abs(want), initial=1))


# --- symmetric products ------------------------------------------------------------------------


def weighted(weights: otus.Expression) -> otus.Expression:
    return otus.einsum("ni,n,nj->ij", otus.tensor("x", (20, 4)), weights, otus.tensor("x", (20, 4)))


def test_weights_that_cannot_be_negative_are_split() -> None:
    v = otus.tensor("v", (20,))
    data = random_data(x=(20, 4), v=(20,))
    for weights in (otus.exp(v), v**2, otus.sigmoid(v) * (1 - otus.sigmoid(v)), otus.abs(v) + 1):
        assert fired("expand,simplify,contract,symmetric", weighted(weights)) == {"split_weights": 1}
        agrees([weighted(weights)], data)
        (value,) = run([weighted(weights)], data)
        assert np.array_equal(value, value.T)


def test_weights_of_either_sign_are_not_split() -> None:
    v = otus.tensor("v", (20,))
    for weights in (v, v**3, 1 - otus.exp(v), otus.tanh(v)):
        assert not fired("expand,simplify,contract,symmetric", weighted(weights))
    negative = {"x": np.ones((20, 4)), "v": -np.ones(20)}
    agrees([weighted(v)], negative)


def test_declared_weights_are_split() -> None:
    v = otus.tensor("v", (20,), nonnegative=True)
    assert fired("expand,simplify,contract,symmetric", weighted(v))


UNARY = ["exp", "square", "abs", "sqrt", "neg", "sigmoid", "tanh", "relu", "softplus", "reciprocal", "cosh", "sin"]
BINARY = ["add", "sub", "mul", "div", "maximum", "minimum"]


@st.composite
def scalars(draw: Any, depth: int = 4) -> Scalar:
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        shifted = call("add", argument(0), -0.7)
        return draw(st.sampled_from([argument(0), argument(1), call("mul", argument(0), 0.3), shifted]))
    if draw(st.booleans()):
        return call(draw(st.sampled_from(UNARY)), draw(scalars(depth - 1)))
    return call(draw(st.sampled_from(BINARY)), draw(scalars(depth - 1)), draw(scalars(depth - 1)))


@settings(max_examples=300, deadline=None)
@given(scalars(), st.integers(0, 10**6))
def test_bounds_hold(expression: Scalar, seed: int) -> None:
    a, b = otus.tensor("a", (50,)), otus.tensor("b", (50,), nonnegative=True)
    node = build.map_node(expression, [a.node, b.node], [(0,), (0,)], 1)
    low, high = value_range(node)
    rng = np.random.default_rng(seed)
    data = {"a": rng.standard_normal(50) * rng.choice([1e-8, 1, 30]), "b": np.abs(rng.standard_normal(50)) * 3}
    values = np.asarray(run([otus.Expression.of(node)], data)[0])
    known = values[~np.isnan(values)]
    assert not known.size or (low <= known.min() and known.max() <= high)


def test_bounds_of_sums_and_products() -> None:
    v = otus.tensor("v", (6,))
    assert is_nonnegative(otus.simplify(v @ v).node)
    assert is_nonnegative(otus.simplify(otus.sum(otus.exp(v))).node)
    assert not is_nonnegative(otus.simplify(otus.sum(v)).node)
    assert not is_nonnegative(otus.tensor("n", (3,), dtype="int64").node)
    assert not is_nonnegative((otus.tensor("n", (3,), dtype="int64") ** 2).node), "integers wrap around"


# --- facts and inverses ------------------------------------------------------------------------


def names(expression: otus.Expression) -> set[str]:
    return {x.op.name for x in topological([otus.simplify(expression).node])}


def test_orthonormal_columns() -> None:
    q = otus.tensor("q", (7, 3), orthonormal=True)
    assert otus.simplify(q.T @ q) is otus.simplify(otus.eye(3))
    assert names(q @ q.T) == {"input", "einsum"}
    square = otus.tensor("p", (4, 4), orthonormal=True)
    a = otus.tensor("a", (4, 4))
    assert otus.simplify(square @ (square.T @ a)) is a
    assert names(otus.inv(square) @ a) == {"input", "einsum"}
    assert names(otus.solve(square, a)) == {"input", "einsum"}


def test_orthonormal_columns_of_complex_matrices_need_the_conjugate() -> None:
    q = otus.tensor("q", (7, 3), dtype="complex128", orthonormal=True)
    assert names(otus.conj(q).T @ q) == {"delta"}
    assert names(q.T @ q) == {"input", "einsum"}


def test_declared_diagonals() -> None:
    d, a = otus.tensor("d", (4, 4), diagonal=True), otus.tensor("a", (4, 5))
    assert otus.cost(otus.simplify(d @ a))().flops == 4 * 5
    assert "inv" not in names(otus.inv(d))
    assert "solve" not in names(otus.solve(d, a))
    rng = np.random.default_rng(0)
    data = {"d": np.diag(rng.uniform(1, 2, 4)), "a": rng.standard_normal((4, 5))}
    agrees([d @ a, otus.solve(d, a), otus.inv(d) @ a, d @ d], data)


A, B = otus.tensor("A", (5, 5)), otus.tensor("B", (5, 5))
C, W = otus.tensor("C", (5, 7)), otus.tensor("w", (5,))


@pytest.mark.parametrize(
    ("expression", "kinds"),
    [
        (otus.inv(A @ B) @ A @ B, {"delta"}),
        (otus.inv(A) @ A, {"delta"}),
        (A @ otus.inv(A), {"delta"}),
        (otus.inv(otus.eye(4)), {"delta"}),
        (otus.inv(A) @ C, {"input", "solve"}),
        (otus.inv(A) @ B @ W, {"input", "einsum", "reshape", "solve"}),
        (otus.trace(otus.inv(A) @ B), {"input", "inv", "einsum"}),
    ],
)
def test_inverses_in_products(expression: otus.Expression, kinds: set[str]) -> None:
    assert names(expression) == kinds


def test_products_with_inverses_keep_their_values() -> None:
    rng = np.random.default_rng(1)
    data = {"A": rng.standard_normal((5, 5)), "B": rng.standard_normal((5, 5)), "C": rng.standard_normal((5, 7)),
            "w": rng.standard_normal(5)}  # fmt: skip
    inverse = otus.inv(A)
    expressions = [
        otus.inv(A) @ C, C.T @ otus.inv(A), otus.inv(A) @ otus.inv(B) @ W, W @ otus.inv(A) @ W,
        otus.trace(inverse @ B), otus.einsum("ij,jk,kl->il", B, otus.inv(B @ A), C),
        otus.einsum("ij,j->ij", otus.inv(A), W), otus.einsum("ij,jk,jl->ikl", otus.inv(A), C, B),
    ]  # fmt: skip
    for expression in expressions:
        agrees([expression], data, 1e-9)
