"""Groups along a summed axis, taken apart in products."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation import assert_close
from programs import leaf

from otus.ir import Graph, Node, build, dump
from otus.ir.dtypes import DType
from otus.passes import parse_pipeline
from otus.runtime.reference import evaluate

RNG = np.random.default_rng(13)
X, W, S = leaf("x", 5, 24), leaf("w", 24, 7, dtype="int8"), leaf("s", 4, 7)


def scaled(w: Node = W) -> Node:
    """Rows in groups, each with a scale for every column, as a matrix again."""
    groups = build.reshape(build.cast(w, DType.float64), (4, 6, 7))
    return build.reshape(build.einsum([groups, S], [(0, 1, 2), (0, 2)], (0, 1, 2)), (24, 7))


def run(*outputs: Node) -> Graph:
    """The graph after the pass, whose values are as they were; which a second time changes nothing."""
    graph, _ = parse_pipeline("grouped").run(Graph.of(outputs))
    values = {
        node.op.label: RNG.integers(-9, 9, node.type.shape).astype(node.type.dtype.value)  # type: ignore[attr-defined]
        for node in Graph.of(outputs).inputs
    }
    for found, wanted in zip(evaluate(graph.outputs, values), evaluate(outputs, values), strict=True):
        assert_close(found, wanted, 1e-12, 1e-12, dump(graph.outputs))
    again, _ = parse_pipeline("grouped").run(graph)
    assert again.outputs == graph.outputs
    return graph


TEXT = """\
%x: f64[5,24] = input "x"
%0: f64[5,4,6] = reshape {shape=(5, 4, 6)} %x
%w: i8[24,7] = input "w"
%1: i8[4,6,7] = reshape {shape=(4, 6, 7)} %w
%2: f64[4,6,7] = cast {dtype="float64"} %1
%s: f64[4,7] = input "s"
%3: f64[4,6,7] = einsum "abc,ac->abc" %2, %s
%4: f64[5,7] = einsum "abc,bcd->ad" %0, %3
return [%4]
"""


def test_text() -> None:
    assert dump(run(build.einsum([X, scaled()], [(0, 1), (1, 2)], (0, 2))).outputs) == TEXT


@pytest.mark.parametrize("turned", [False, True])
def test_either_operand_in_any_order(turned: bool) -> None:
    x = build.transpose(X, (1, 0)) if turned else X
    pairs = [(x, (1, 0) if turned else (0, 1)), (scaled(), (1, 2))]
    for (a, i), (b, j) in (pairs, pairs[::-1]):
        for output in ((0, 2), (2, 0)):
            graph = run(build.einsum([a, b], [i, j], output))
            assert not any(node.op.name == "reshape" and node.type.shape == (24, 7) for node in graph.nodes())


def test_a_cast_alone_comes_after_the_reshape() -> None:
    w = leaf("w", 4, 6, 7, dtype="int8")
    y = build.einsum([X, build.reshape(build.cast(w, DType.float64), (24, 7))], [(0, 1), (1, 2)], (0, 2))
    names = [node.op.name for node in run(y).nodes()]
    assert names.index("reshape") < names.index("cast")


def unchanged(*outputs: Node) -> bool:
    return run(*outputs).outputs == Graph.of(outputs).outputs


def test_what_stays() -> None:
    """Groups of columns; what something else reads too; work on both sides; inputs."""
    w = leaf("v", 4, 6, 7)
    groups = build.einsum([w, S], [(0, 1, 2), (0, 2)], (0, 1, 2))
    matrix = build.reshape(groups, (24, 7))
    assert unchanged(build.einsum([leaf("y", 7, 3), matrix], [(0, 1), (2, 0)], (2, 1)))
    product = build.einsum([X, matrix], [(0, 1), (1, 2)], (0, 2))
    assert unchanged(product, matrix)
    assert unchanged(product, groups)
    assert unchanged(build.einsum([build.apply("exp", X), matrix], [(0, 1), (1, 2)], (0, 2)))
    assert unchanged(build.einsum([X, build.reshape(w, (24, 7))], [(0, 1), (1, 2)], (0, 2)))
