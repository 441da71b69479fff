"""Tiles: what becomes a pass over scores, what is left as it is and why, and that values stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attention import Attention
from evaluation import assert_close, assert_round_trip

import otus
from otus.codegen import emit_numpy
from otus.ir import Graph, Node, UnsupportedError, dump, parse_ir, verify
from otus.ir import operations as ops
from otus.ir.kernels import BlockLoop
from otus.passes import Tile, parse_pipeline
from otus.passes.lower import lower
from otus.passes.memory.loops import loop_operation
from otus.runtime.reference import evaluate

FUSED = parse_pipeline("stabilise,expand,simplify,sharpen,distribute,solves,contract,factor,symmetric,fuse")


def tiled(outputs: list[Any], options: Tile | None = None) -> tuple[Graph, int]:
    """The graph in tiles and the number of passes over scores; its values, and its text, are what they were."""
    before, _ = FUSED.run(Graph.of([x.node for x in outputs]))
    step = options or Tile()
    after, counted = step.run_counting(before)
    verify(after)
    assert_round_trip(after.outputs)
    assert step.run(after).outputs == after.outputs, "twice is not once"
    rng = np.random.default_rng(0)
    data = {x.op.label: rng.standard_normal([int(n) for n in x.type.shape]) for x in before.inputs}
    for value, wanted in zip(evaluate(after.outputs, data), evaluate(before.outputs, data), strict=True):
        assert_close(value, wanted, 1e-11, 1e-11, dump(list(after.outputs)))
    return after, counted["sweep"]


def nests(graph: Graph) -> list[Node]:
    return [x for x in graph.nodes() if isinstance(x.op, ops.Blockwise) and x.op.is_nest]


def inner_loop(node: Node) -> ops.Blockwise:
    """The operation of the loop over columns."""
    while True:
        found = [x for x in Graph.of(loop_operation(node).body).nodes() if isinstance(x.op, ops.Blockwise)]
        if not loop_operation(node).concurrent:
            return loop_operation(node)
        node = found[0]


@pytest.mark.parametrize(
    ("what", "mask", "sweeps"),
    [("value", "", 1), ("gradients", "added", 3), ("products", "causal", 4)],
)
def test_attention(what: str, mask: str, sweeps: int) -> None:
    case = Attention(5, 37 if mask != "causal" else 5, (2,), 3, 2, mask)
    graph, count = tiled(case.expressions(what))
    assert count == sweeps
    whole = [x for x in graph.nodes() if x.ndim > 2 and 5 in x.type.shape and case.columns in x.type.shape]
    assert not [x for x in whole if x.type.shape[-2:] == (5, 37)]


def test_a_softmax_takes_one_pass() -> None:
    """Its sum, and its product with the values, are relative to the maximum so far; the quotient comes after."""
    graph, _ = tiled(Attention(5, 37, (), 3, 2).expressions("value"))
    (nest,) = nests(graph)
    assert inner_loop(nest).join == ("max", "relative 0", "relative 0")
    assert [x.op.name for x in loop_operation(nest).body] == ["map"]


def test_what_nothing_waits_for_runs_late() -> None:
    """The gradients of keys and values are one pass, though that of the values could be computed sooner."""
    graph, _ = tiled(Attention(5, 37, (), 3, 2).expressions("gradients"))
    assert sorted(len(loop_operation(x).body) for x in nests(graph) if loop_operation(x).result == 0) == [1, 2, 4]


def test_sums_that_are_added_are_one() -> None:
    """Each tangent of a gradient's queries and keys has two products with scores, and one place to gather them."""
    graph, _ = tiled(Attention(5, 37, (2,), 3, 2, "causal").expressions("products"))
    assert sorted(len(inner_loop(x).body) for x in nests(graph) if loop_operation(x).result == 0) == [1, 1, 2, 4]
    q, k, v = (otus.tensor(name, (n, 4)) for name, n in (("q", 40), ("k", 37), ("v", 37)))
    scores = q @ k.T
    first, second = otus.exp(scores) @ v, otus.sin(scores) @ k
    for total, places in ((first + second, 1), (first * 2 + second * 2, 1), (first - second, 2), (first + q, 1)):
        graph, _ = tiled([total])
        assert [len(inner_loop(x).body) for x in nests(graph)] == [places]
    graph, _ = tiled([first + second, first])  # which is a result too
    assert len(inner_loop(nests(graph)[0]).body) == 2
    graph, _ = tiled([(first + second) * first])
    assert [len(inner_loop(x).body) for x in nests(graph)] == [2]


@pytest.mark.parametrize(
    ("what", "dtype", "width", "blocks"),
    [
        ("value", "float32", 64, [(64, 32, None)]),
        ("value", "bfloat16", 128, [(128, 64, None)]),
        ("gradients", "float32", 128, [(64, 32, 32), (64, 32, 32), (32, 64, 32)]),
        ("products", "float32", 128, [(64, 32, 16), (64, 32, 16), (32, 64, 32), (32, 64, 32)]),
        ("products", "bfloat16", 64, [(128, 64, None), (128, 64, None), (64, 32, None), (64, 32, None)]),
        ("value", "float64", 64, [(32, 32, None)]),
    ],
)
def test_blocks_are_what_there_is_room_for(what: str, dtype: str, width: int, blocks: list[Any]) -> None:
    case = Attention(4096, 4096, (2, 16), width, width, "causal", dtype)
    graph, _ = FUSED.run(Graph.of([x.node for x in case.expressions(what)]))
    tiles = Tile().run(graph)
    assert_round_trip(tiles.outputs)
    found = [_blocks(x) for x in nests(tiles) if loop_operation(x).result == 0]
    assert sorted(found, key=str) == sorted(blocks, key=str)


def _blocks(node: Node) -> tuple[int, int, int | None]:
    """Of rows and of columns, and the strips."""
    while True:
        rows = loop_operation(node)
        node = next(x for x in Graph.of(rows.body).nodes() if isinstance(x.op, ops.Blockwise))
        if not (columns := loop_operation(node)).concurrent:
            return rows.block, columns.block, columns.strip


def test_a_factor_with_and_without_a_number_is_read_once() -> None:
    """The number is applied to the scores."""
    graph, _ = tiled(Attention(5, 37, (), 3, 2).expressions("value"))
    products = [x for x in Graph.of(inner_loop(nests(graph)[0]).body).nodes() if x.op.name == "einsum"]
    assert all(isinstance(x.op, ops.Input) for x in products[0].operands)


def test_a_sum_follows_from_the_output() -> None:
    """With the output at hand, the gradient's sum over each row needs no products of scores: one less in that pass."""
    case = Attention(5, 37, (), 3, 2)
    both, alone = case.expressions("gradients"), case.expressions("gradients")[1:]
    counts = []
    for outputs in (both, alone):
        first = min(nests(tiled(outputs)[0]), key=lambda x: len(x.operands))
        body = Graph.of(inner_loop(first).body).nodes()
        counts.append(sum(isinstance(x.op, ops.Einsum) and len(x.operands) == 2 for x in body))
    assert counts == [2, 3]


def test_programs_say_it() -> None:
    graph, _ = tiled(Attention(5, 37, (2,), 3, 2).expressions("value"))
    (call,) = lower(graph).calls
    assert isinstance(call.kernel, BlockLoop)
    assert call.kernel.is_nest
    with pytest.raises(UnsupportedError, match="use backend='triton', or a pipeline without the pass 'tile'"):
        emit_numpy(lower(graph))


def untiled(*outputs: Any, options: Tile | None = None) -> None:
    graph, count = tiled(list(outputs), options)
    assert not count
    assert not nests(graph)


def test_what_is_left_as_it_is() -> None:
    q, k, v = (otus.tensor(name, (n, 4)) for name, n in (("q", 6), ("k", 7), ("v", 7)))
    weights = otus.softmax(q @ k.T, axis=1)
    untiled(weights @ v, weights)  # a score is a result
    untiled(otus.cumsum(otus.exp(q @ k.T), axis=1) @ v)  # a score is needed whole
    square = q @ k[:6].T
    untiled(otus.exp(square + square.T) @ v[:6])  # both of its indices are one
    wide, tall = otus.tensor("w", (6, 300)), otus.tensor("t", (300, 7))
    untiled(otus.exp(wide @ tall) @ v)  # a long inner index
    untiled(otus.grad((weights @ v).sum(), q), options=Tile(flops_per_byte=0))  # products would be computed again
    untiled(otus.exp(q) * 2)
    n = otus.tensor("n", ("n", 4))
    graph, _ = FUSED.run(Graph.of([(otus.softmax(n @ k.T, axis=1) @ v).node]))
    assert Tile().run(graph) is graph  # sizes are not known


def test_scores_are_not_compared_with_what_is_made_of_them() -> None:
    """A maximum's derivative goes to the elements that equal it, which scores computed anew may not."""
    x, w = otus.tensor("x", (40, 33)), otus.tensor("w", (33, 50))
    largest = otus.max(x @ w, axis=1)
    untiled(*otus.grad(largest.sum(), [x, w]))
    untiled(*otus.grad((largest * largest).sum() + otus.sin(x @ w).sum(), [x, w]))
    untiled(otus.where(x @ w - largest[:, None] >= 0, x @ w, 0).sum(axis=0))
    assert tiled([otus.relu(x @ w).sum(axis=1)])[1]  # a comparison with a number is as exact as the scores


def test_few_programs_do_not_go_through_much() -> None:
    """Two programs would go through 4096 rows each."""
    x, w, u = otus.tensor("x", (8192, 32)), otus.tensor("w", (32, 64)), otus.tensor("u", (8192, 32))
    y = otus.tanh(x @ w)
    graph, _ = FUSED.run(Graph.of([otus.einsum("nf,nd->fd", y, u).node]))
    assert Tile().run(graph).outputs == graph.outputs


def test_relative_joins_name_a_maximum() -> None:
    graph, _ = tiled(Attention(5, 37, (), 3, 2).expressions("value"))
    text = dump(list(graph.outputs))
    assert parse_ir(text) == list(graph.outputs)
    with pytest.raises(otus.OtusError, match="a value is joined 'relative 2', and result 2 is no maximum"):
        parse_ir(text.replace('"relative 0", "relative 0"', '"relative 2", "sum"'))
    with pytest.raises(otus.OtusError, match="strips of 0 positions; 1 or more are accepted"):
        parse_ir(text.replace('symbol="columns"', 'symbol="columns", strip=0'))
