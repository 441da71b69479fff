"""Sums that do not wait for their factors: equal values, fewer sums one after another."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation import assert_close
from programs import leaf

from otus.ir import Graph, Node, build, dump
from otus.ir.scalar import parse_scalar
from otus.passes import parse_pipeline
from otus.passes.outside import Outside
from otus.runtime.reference import evaluate

RNG = np.random.default_rng(22)


def taken_out(outputs: list[Node]) -> tuple[Graph, int]:
    graph, fired = Outside().run_counting(Graph.of(outputs))
    return graph, fired["factor"]


def quotient(x: Node, text: str = "a / b") -> Node:
    """A map of an array and the sum of each row."""
    return build.map_node(parse_scalar(text), [x, build.sum_axes(x, [1])], [(0, 1), (0,)], 2)


TEXT = """\
%x: f64[5,7] = input "x"
%u: f64[5,7] = input "u"
%0: f64[5] = einsum "ab,ab->a" %x, %u
%1: f64[5] = einsum "ab->a" %x
%2: f64[5] = map "a / b" "a,a->a" %0, %1
return [%2]
"""


def test_text() -> None:
    x, u = leaf("x", 5, 7), leaf("u", 5, 7)
    graph, _ = parse_pipeline("outside").run(Graph.of([build.einsum([quotient(x), u], [(0, 1), (0, 1)], (0,))]))
    assert dump(graph.outputs) == TEXT


@pytest.mark.parametrize("text", ["a / b", "a * b", "(2 * a) / b", "exp(a) * (b / 3)", "b / exp(a)", "(1 / a) * b"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_values(text: str, dtype: str) -> None:
    """Products with another array, and alone; of the whole array the sums of rows stay inside."""
    x, u = leaf("x", 5, 7, dtype=dtype), leaf("u", 5, 7, dtype=dtype)
    y = quotient(x, text)
    outputs = [y, build.einsum([y, u], [(0, 1), (0, 1)], (0,)), build.sum_axes(y, [1]), build.sum_axes(y, [0, 1])]
    graph, count = taken_out(outputs)
    assert count == (1 if text in ("b / exp(a)", "(1 / a) * b") else 2)  # a divisor alone has nothing to divide
    values = {"x": RNG.uniform(1, 2, (5, 7)).astype(dtype), "u": RNG.standard_normal((5, 7)).astype(dtype)}
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    for found, wanted in zip(evaluate(graph.outputs, values), evaluate(outputs, values), strict=True):
        assert_close(found, wanted, tolerance, tolerance, dump(graph.outputs))
    again, count = taken_out(list(graph.outputs))
    assert (again.outputs, count) == (graph.outputs, 0)


def test_a_factor_deep_inside() -> None:
    """Of products of products only those are opened that have one."""
    x, u, w = leaf("x", 5, 7), leaf("u", 5, 7), leaf("w", 7)
    weighted = build.einsum([u, w], [(0, 1), (1,)], (0, 1))
    inner = build.scale(3.0, build.einsum([quotient(x), weighted], [(0, 1), (0, 1)], (0, 1)))
    outputs = [build.sum_axes(inner, [1])]
    graph, count = taken_out(outputs)
    assert count == 1
    assert weighted in graph.nodes()
    values = {"x": RNG.uniform(1, 2, (5, 7)), "u": RNG.standard_normal((5, 7)), "w": RNG.standard_normal(7)}
    assert_close(evaluate(graph.outputs, values)[0], evaluate(outputs, values)[0], 1e-12, 1e-12, "")


@pytest.mark.parametrize("columns", [0, 4])
def test_of_nothing_the_sum_is_0(columns: int) -> None:
    """Where sizes come with a call, and the divisor is a sum over the same index."""
    x = leaf("x", 3, "j")
    outputs = [build.sum_axes(quotient(x), [1])]
    graph, count = taken_out(outputs)
    assert count == 1
    values = {"x": np.ones((3, columns))}
    np.testing.assert_array_equal(evaluate(graph.outputs, values)[0], evaluate(outputs, values)[0])


def matrix_product() -> Node:
    return build.einsum([quotient(leaf("x", 5, 7)), leaf("v", 7, 3)], [(0, 1), (1, 2)], (0, 2))


def factor_that_is_read() -> Node:
    return build.sum_axes(build.einsum([leaf("x", 5, 7), leaf("r", 5)], [(0, 1), (0,)], (0, 1)), [1])


def half_precision() -> Node:
    return build.sum_axes(quotient(leaf("x", 5, 7, dtype="float16")), [1])


def along_the_index() -> Node:
    x = leaf("x", 5, 7)
    columns = build.map_node(parse_scalar("a / b"), [x, build.sum_axes(x, [0])], [(0, 1), (1,)], 2)
    return build.sum_axes(columns, [1])


def no_rows() -> Node:
    return build.sum_axes(quotient(leaf("x", 5, 0)), [1])


@pytest.mark.parametrize(
    "program", [matrix_product, factor_that_is_read, half_precision, along_the_index, no_rows], ids=lambda x: x.__name__
)
def test_what_stays(program: object) -> None:
    outputs = [program()]  # type: ignore[operator]
    assert taken_out(outputs) == (Graph.of(outputs), 0)
