"""Changing loops that stand in a graph: their bodies, the length of their blocks, and whether they are loops."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from ..ir import Graph, Node, make, specialise
from ..ir import operations as ops
from ..ir.cost import loop_family
from ..ir.dims import evaluate
from ..ir.traverse import rebuild, substitute

Fits = Callable[[Graph], bool]


def loops_of(graph: Graph) -> list[Node]:
    """The loops of a graph, one node for each, in order; not those inside of their bodies."""
    order = graph.nodes()
    return [x for x in order if isinstance(x.op, ops.Blockwise) and loop_family(x, order)[0] is x]


def body_of(loop: Node) -> Graph:
    """The body of a loop as a graph."""
    assert isinstance(loop.op, ops.Blockwise)
    return Graph.of(loop.op.body)


def with_loop(graph: Graph, loop: Node, body: Sequence[Node] | None = None, block: int | None = None) -> Graph:
    """The graph with another body, or other blocks, for one of its loops."""
    family = set(loop_family(loop, graph.nodes()))

    def change(node: Node, operands: Sequence[Node]) -> Node:
        if node not in family:
            return rebuild(node, operands)
        assert isinstance(node.op, ops.Blockwise)
        new = dataclasses.replace(node.op, body=tuple(body or node.op.body), block=block or node.op.block)
        return make(new, *operands)

    return graph.transform(change)


def grown(graph: Graph, fits: Fits, sizes: Mapping[str, int]) -> Graph:
    """The graph with the longest blocks for which ``fits`` holds: inner loops first, then outer ones.

    ``fits`` holds for blocks of one position.  Blocks are evened out, so that the last one is not short.
    """
    for number in range(len(loops_of(graph))):
        loop = loops_of(graph)[number]
        assert isinstance(loop.op, ops.Blockwise)

        def fits_inside(body: Graph, whole: Graph = graph, loop: Node = loop) -> bool:
            return fits(with_loop(whole, loop, body.outputs))

        body = grown(body_of(loop), fits_inside, {**sizes, loop.op.symbol: loop.op.block})
        graph = with_loop(graph, loop, body.outputs)
        loop = loops_of(graph)[number]
        assert isinstance(loop.op, ops.Blockwise)
        graph = with_loop(graph, loop, block=_longest(graph, loop, fits, evaluate(loop.op.size, sizes)))
    return graph


def _longest(graph: Graph, loop: Node, fits: Fits, size: int) -> int:
    low, high = 1, max(size, 1)
    if fits(with_loop(graph, loop, block=high)):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if fits(with_loop(graph, loop, block=middle)):
            low = middle
        else:
            high = middle
    return -(-size // -(-size // low))


def in_one_block(graph: Graph, sizes: Mapping[str, int]) -> Graph:
    """The graph with every loop of a single block replaced by its body."""
    while True:
        single = [x for x in loops_of(graph) if _is_single(x, sizes)]
        if not single:
            break
        graph = _without_loop(graph, single[0])
    for loop in loops_of(graph):
        assert isinstance(loop.op, ops.Blockwise)
        body = in_one_block(body_of(loop), {**sizes, loop.op.symbol: loop.op.block})
        graph = with_loop(graph, loop, body.outputs)
    return graph


def _without_loop(graph: Graph, loop: Node) -> Graph:
    family = set(loop_family(loop, graph.nodes()))

    def change(node: Node, operands: Sequence[Node]) -> Node:
        return _inlined(node, operands) if node in family else rebuild(node, operands)

    return graph.transform(change)


def _is_single(loop: Node, sizes: Mapping[str, int]) -> bool:
    assert isinstance(loop.op, ops.Blockwise)
    return loop.op.block >= evaluate(loop.op.size, sizes)


def _inlined(node: Node, operands: Sequence[Node]) -> Node:
    """The result of a loop as its body computes it for the whole index."""
    op = node.op
    assert isinstance(op, ops.Blockwise)
    value = specialise([op.body[op.result]], {op.symbol: op.size})[op.body[op.result]]
    given = {ops.placeholder_label(k): x for k, x in enumerate(operands)}
    inputs = {x: given[x.op.label] for x in Graph.of([value]).inputs if isinstance(x.op, ops.Input)}
    return substitute([value], inputs)[0]
