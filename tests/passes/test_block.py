"""The pass ``block``: what goes into one loop, what stays outside, and what does not change at all."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import numpy as np
import pytest

import otus
from otus.ir import Graph, Node, build, dim, make, topological
from otus.ir.operations import Blockwise, Einsum
from otus.ir.specialise import free_symbols
from otus.ir.types import make_type
from otus.passes import Block, parse_pipeline
from otus.passes.memory import loop_bodies
from otus.passes.memory.loops import body_of, loops_of

BEFORE = otus.pipeline().removesuffix(",block")
N, M = 2000, 700


def blocked(*outputs: otus.Expression, large: int = 1000, elements: int = 5000, alone: int = 0) -> Graph:
    graph = Graph.of([each.node for each in outputs])
    graph, _ = parse_pipeline(BEFORE).run(graph)
    return Block(large=large, elements=elements, alone=alone).run(graph)


def outside(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes() if not isinstance(node.op, Blockwise) and node.operands]


X, Y, v = otus.tensor("X", (N, M)), otus.tensor("Y", (N, M)), otus.tensor("v", (M,))


def test_everything_around_a_row_is_one_loop() -> None:
    graph = blocked(otus.softmax(X, axis=1) * Y, (otus.softmax(X, axis=1) * Y).sum(axis=0), otus.exp(X).sum())
    (loop,) = loops_of(graph)
    assert isinstance(loop.op, Blockwise)
    assert (loop.op.cut, loop.op.block, loop.op.concurrent) == ((0, 0), 5000 // M, True)
    assert sorted(map(str, loop.op.join)) == ["0", "sum", "sum"]
    assert not outside(graph)


def test_what_is_needed_whole_ends_a_loop() -> None:
    """Scaled by a norm over everything, there is one loop for the norm and one after it."""
    squares = otus.exp(X) * X
    graph = blocked(squares / otus.sqrt((squares * squares).sum() + 1) + Y)
    first, second = loops_of(graph)
    assert first in second.operands or any(first in each.operands for each in second.operands)
    assert all(len(node.type.shape) == 0 for node in outside(graph))


def test_matrix_products_stay_whole() -> None:
    W = otus.tensor("W", (M, 300))
    graph = blocked(otus.tanh(otus.exp(X) * X @ W) * 2 - 1)
    assert len(loops_of(graph)) == 2
    assert [type(node.op) for node in outside(graph)] == [Einsum]


def test_products_with_vectors_are_in_the_loop() -> None:
    """The gradient of a logistic loss reads the data once."""
    loss = otus.softplus(X @ v).sum()
    graph = blocked(otus.grad(loss, v))
    (loop,) = loops_of(graph)
    assert loop.op.join == ("sum",)  # type: ignore[attr-defined]
    assert not outside(graph)


def test_the_index_is_one_that_needs_nothing_whole() -> None:
    graph = blocked(otus.softmax(X, axis=0) * Y)
    (loop,) = loops_of(graph)
    assert loop.op.cut == (1, 1)  # type: ignore[attr-defined]


def test_no_node_is_computed_twice() -> None:
    graph = blocked(otus.softmax(otus.tanh(X) * Y, axis=1), otus.grad((otus.softmax(X * Y, axis=1) * X).sum(), X))
    seen: set[str] = set()
    for loop in loops_of(graph):
        for node in body_of(loop).nodes():
            if node.operands and "exp" in otus.ir.dump([node]).splitlines()[-2]:
                text = otus.ir.dump([node])
                assert text not in seen
                seen.add(text)
    assert seen


def test_small_tensors_and_unknown_sizes_are_left_alone() -> None:
    small = otus.tensor("s", (30, 30))
    graph = Graph.of([otus.softmax(small, axis=1).node])
    assert Block().run(graph) is graph
    symbolic = Graph.of([otus.softmax(otus.tensor("s", ("n", "m")), axis=1).node])
    assert Block(large=1).run(symbolic) is symbolic


def test_one_step_is_a_reason_for_a_loop_where_tensors_are_very_large() -> None:
    """And where all of them are read in their order: a transposed one is no faster in blocks of rows."""
    count = 2000 * 700
    assert not loops_of(blocked(otus.exp(X)))
    assert not loops_of(blocked(otus.exp(X), alone=count + 1))
    assert loops_of(blocked(otus.exp(otus.exp(X))))
    assert loops_of(blocked(otus.exp(X), alone=count))
    assert not loops_of(blocked(otus.einsum("ij,ji->ij", X, otus.tensor("Y", (700, 2000))), alone=count))


def test_sizes_with_the_same_blocks_share_a_plan() -> None:
    x = otus.tensor("x", ("n",))
    f = otus.compile(otus.exp(x) * x, pipeline=BEFORE + ",block{large=100,elements=64}")
    for n in (1000, 1001, 5000):
        data = np.linspace(0, 1, n)
        np.testing.assert_allclose(f(x=data), np.exp(data) * data)
    planner = f._plans.planner
    assert planner.plan({"n": 1000}) is planner.plan({"n": 5000})


def nested(depth: int, width: int = 4) -> list[Node]:
    """The results of a loop over ``i``, whose body is a loop with as many results, and so on."""
    symbols = ["i", *(f"b{k}" for k in range(depth))]
    values = [build.apply("exp", build.input_node("x0", make_type((symbols[-1],)))) for _ in range(width)]
    for symbol, size in zip(symbols[:0:-1], symbols[-2::-1], strict=True):
        over = build.input_node("x0", make_type((size,)))
        body = tuple(values)
        values = [make(Blockwise(body, dim(size), 8, (0,), (0,) * width, k, symbol), over) for k in range(width)]
    return values


def test_a_loop_of_many_results_is_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each result has the whole body: to look through it for each, at every depth, would take ``width ** depth``."""
    walks: list[int] = []

    def counted(outputs: Iterable[Node]) -> list[Node]:
        walks.append(1)
        return topological(outputs)

    for module in (sys.modules["otus.ir.specialise"], loop_bodies):
        monkeypatch.setattr(module, "topological", counted)
    graph = Graph.of(nested(depth=5))
    assert free_symbols(graph.outputs) == {"i"}
    assert loop_bodies.unused_dim(graph) == "block"
    assert len(walks) <= 4 * 5 + 5 + 3
