"""Variances in two stages: the same values, one pass over the array, and no digits lost."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation import assert_close
from programs import leaf

from otus.ir import Graph, Node, build, dump
from otus.ir.scalar import parse_scalar
from otus.passes import parse_pipeline
from otus.passes.moments import Moments
from otus.runtime.reference import evaluate

RNG = np.random.default_rng(12)
SPLIT = Moments(large=1)


def variance(x: Node, axes: tuple[int, ...], text: str = "square(a - {} * b)") -> list[Node]:
    """The sum over axes, and the squares of distances from the mean."""
    kept = tuple(k for k in range(x.ndim) if k not in axes)
    total = build.sum_axes(x, axes)
    number = 1 / np.prod([int(x.type.shape[k]) for k in axes])  # type: ignore[call-overload]
    distances = build.map_node(
        parse_scalar(text.replace("{}", repr(float(number)))), [x, total], [tuple(range(x.ndim)), kept], x.ndim
    )
    return [total, build.sum_axes(distances, axes)]


def split(outputs: list[Node]) -> tuple[Graph, int]:
    graph, fired = SPLIT.run_counting(Graph.of(outputs))
    return graph, fired["variance"]


CASES = {
    "whole": ((300, 200), (0, 1)),
    "one axis": ((40000,), (0,)),
    "first axis": ((30000, 5), (0,)),
    "channels": ((16, 3, 40, 30), (0, 2, 3)),
    "channels last": ((16, 64, 64, 3), (0, 1, 2)),
    "last axis": ((2, 3, 70000), (2,)),
}


@pytest.mark.parametrize("name", CASES)
def test_values(name: str) -> None:
    shape, axes = CASES[name]
    x = leaf("x", *shape)
    outputs = variance(x, axes)
    values = {"x": RNG.standard_normal(shape) + 1e4}
    graph, count = split(outputs)
    assert count == 1
    expected = [values["x"].sum(axes), ((values["x"] - values["x"].mean(axes, keepdims=True)) ** 2).sum(axes)]
    for found, wanted in zip(evaluate(graph.outputs, values), expected, strict=True):
        assert_close(found, wanted, 1e-10, 0, dump(graph.outputs))
    assert SPLIT.run_counting(graph)[1] == {}


def test_in_float32_the_digits_of_a_small_variance_stay() -> None:
    x = leaf("x", 64, 1024, dtype="float32")
    values = {"x": (1e4 + 0.1 * RNG.standard_normal((64, 1024))).astype("float32")}
    graph, _ = split(variance(x, (0, 1)))
    exact = values["x"].astype(float)
    assert_close(evaluate(graph.outputs, values)[1], ((exact - exact.mean()) ** 2).sum(), 1e-3, 0, "")


TEXT = """\
%x: f64[1024,1024] = input "x"
%0: f64[512,2,1024] = reshape {shape=(512, 2, 1024)} %x
%1: f64[512] = einsum "abc->a" %0
%2: f64[512,2,1024] = map "square(a - (0.00048828125 * b))" "abc,a->abc" %0, %1
%3: f64[512] = einsum "abc->a" %2
%4: f64[1,512] = reshape {shape=(1, 512)} %3
%5: f64[] = einsum "ab->" %4
%6: f64[1,512] = reshape {shape=(1, 512)} %1
%7: f64[] = einsum "ab->" %6
%8: f64[1,512] = map "square((0.00048828125 * a) - (9.5367431640625e-07 * b))" "ab,->ab" %6, %7
%9: f64[] = einsum "ab->" %8
%10: f64[] = linear_combination ",->" {coefficients=(1.0, 2048.0)} %5, %9
return [%10]
"""


def test_text() -> None:
    """512 rows of 2048; a reshape keeps the rows' loop from going on."""
    x = leaf("x", 1024, 1024)
    graph, _ = parse_pipeline("moments{large=1000}").run(Graph.of(variance(x, (0, 1))[1:]))
    assert dump(graph.outputs) == TEXT


def test_several_variances_each_of_what_has_one_within() -> None:
    """The second normalises the first's results."""
    x = leaf("x", 200, 300)
    total, first = variance(x, (0, 1))
    y = build.map_node(parse_scalar("(a - b / 60000) / sqrt(c)"), [x, total, first], [(0, 1), (), ()], 2)
    z = build.apply("exp", y)
    outputs = [first, *variance(z, (0, 1))]
    graph, count = split(outputs)
    assert count == 2
    values = {"x": RNG.standard_normal((200, 300)) + 3}
    for found, wanted in zip(evaluate(graph.outputs, values), evaluate(outputs, values), strict=True):
        assert_close(found, wanted, 1e-11, 0, dump(graph.outputs))


@pytest.mark.parametrize(
    "text", ["square(a - {} * b)", "square({} * b - a)", "(a - {} * b) * (a - {} * b)", "square(a - b / 4)"]
)
def test_forms(text: str) -> None:
    """A mean that is another multiple of the sum is as good."""
    x = leaf("x", 200, 300)
    outputs = variance(x, (0, 1), text)
    graph, count = split(outputs)
    assert count == 1
    values = {"x": RNG.standard_normal((200, 300)) + 3}
    assert_close(evaluate(graph.outputs, values)[1], evaluate(outputs, values)[1], 1e-11, 0, dump(graph.outputs))


@pytest.mark.parametrize("text", ["square(a + {} * b)", "square(a - sqrt(b))", "abs(a - {} * b)", "square(a * {} - b)"])
def test_what_is_no_variance_stays(text: str) -> None:
    outputs = variance(leaf("x", 200, 300), (0, 1), text)
    assert split(outputs) == (Graph.of(outputs), 0)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((60013, 1), (0, 1)), ((2000, 50), (1,)), ((20, 30), (0, 1)), (("i", 500), (0, 1))],
    ids=["a prime", "many rows", "short rows", "unknown sizes"],
)
def test_where_nothing_is_gained_nothing_changes(shape: tuple[int | str, ...], axes: tuple[int, ...]) -> None:
    x = leaf("x", *shape)
    total = build.sum_axes(x, axes)
    kept = tuple(k for k in range(2) if k not in axes)
    distances = build.map_node(parse_scalar("square(a - 0.1 * b)"), [x, total], [(0, 1), kept], 2)
    outputs = [build.sum_axes(distances, axes)]
    assert split(outputs) == (Graph.of(outputs), 0)


def test_small_arrays_stay() -> None:
    outputs = variance(leaf("x", 200, 300), (0, 1))
    assert Moments().run(Graph.of(outputs)) == Graph.of(outputs)
