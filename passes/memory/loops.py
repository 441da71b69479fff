"""Changing loops that stand in a graph: their bodies, the length of their blocks, and whether they are loops."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from ...ir import Graph, Node, make, specialise
from ...ir import operations as ops
from ...ir.cost import loop_family
from ...ir.dims import evaluate
from ...ir.traverse import rebuild, substitute

Fits = Callable[[Graph], bool]
Path = tuple[int, ...]


def loop_operation(loop: Node) -> ops.Blockwise:
    """The operation of a node that is a loop."""
    assert isinstance(loop.op, ops.Blockwise)
    return loop.op


def loops_of(graph: Graph) -> list[Node]:
    """The loops of a graph, one node for each, in order; not those inside of their bodies, nor nests."""
    order = graph.nodes()
    found = [x for x in order if isinstance(x.op, ops.Blockwise) and not x.op.is_nest]
    return [x for x in found if loop_family(x, order)[0] is x]


def body_of(loop: Node) -> Graph:
    """The body of a loop as a graph."""
    return Graph.of(loop_operation(loop).body)


def with_loop(graph: Graph, loop: Node, body: Sequence[Node] | None = None, block: int | None = None) -> Graph:
    """The graph with another body, or other blocks, for one of its loops."""
    family = set(loop_family(loop, graph.nodes()))

    def change(node: Node, operands: Sequence[Node]) -> Node:
        if node not in family:
            return rebuild(node, operands)
        op = loop_operation(node)
        return make(dataclasses.replace(op, body=tuple(body or op.body), block=block or op.block), *operands)

    return graph.transform(change)


def grown(graph: Graph, fits: Fits, sizes: Mapping[str, int]) -> Graph:
    """The graph with long blocks for which ``fits`` holds, as it does for blocks of one position.

    All loops, inner and outer, double their blocks in turn; then each takes what is left.  Blocks are
    evened out, so that the last one is not short.
    """
    lengths = {path: (1, size) for path, size in _paths(graph, sizes)}
    growing = list(lengths)
    while growing:
        for path in list(growing):
            block, size = lengths[path]
            wanted = min(2 * block, size)
            if wanted > block and fits(longer := _with_block(graph, path, wanted)):
                graph, lengths[path] = longer, (wanted, size)
            else:
                growing.remove(path)
    for path, (block, size) in lengths.items():
        graph = _with_block(graph, path, _longest(graph, path, fits, block, size))
    return graph


def _longest(graph: Graph, path: Path, fits: Fits, block: int, size: int) -> int:
    """The longest blocks that fit, between ``block`` and twice as many positions."""
    low, high = block, min(2 * block, size + 1)
    while high - low > 1:
        middle = (low + high) // 2
        if fits(_with_block(graph, path, middle)):
            low = middle
        else:
            high = middle
    return -(-size // -(-size // low)) if size else 1


def _paths(graph: Graph, sizes: Mapping[str, int]) -> list[tuple[Path, int]]:
    """Every loop with the positions of its index; a path is the loop's number, then those within bodies."""
    found: list[tuple[Path, int]] = []
    for number, loop in enumerate(loops_of(graph)):
        op = loop_operation(loop)
        found.append(((number,), evaluate(op.size, sizes)))
        inner = {**sizes, op.symbol: op.block}
        found += [((number, *path), size) for path, size in _paths(body_of(loop), inner)]
    return found


def _with_block(graph: Graph, path: Path, block: int) -> Graph:
    loop = loops_of(graph)[path[0]]
    if len(path) == 1:
        return with_loop(graph, loop, block=block)
    return with_loop(graph, loop, _with_block(body_of(loop), path[1:], block).outputs)


def in_one_block(graph: Graph, sizes: Mapping[str, int]) -> Graph:
    """The graph with every loop of a single block replaced by its body."""
    while True:
        single = [x for x in loops_of(graph) if _is_single(x, sizes)]
        if not single:
            break
        graph = _without_loop(graph, single[0])
    for loop in loops_of(graph):
        op = loop_operation(loop)
        body = in_one_block(body_of(loop), {**sizes, op.symbol: op.block})
        graph = with_loop(graph, loop, body.outputs)
    return graph


def _without_loop(graph: Graph, loop: Node) -> Graph:
    family = set(loop_family(loop, graph.nodes()))

    def change(node: Node, operands: Sequence[Node]) -> Node:
        return _inlined(node, operands) if node in family else rebuild(node, operands)

    return graph.transform(change)


def _is_single(loop: Node, sizes: Mapping[str, int]) -> bool:
    op = loop_operation(loop)
    return op.block >= evaluate(op.size, sizes)


def _inlined(node: Node, operands: Sequence[Node]) -> Node:
    """The result of a loop as its body computes it for the whole index."""
    op = loop_operation(node)
    value = specialise([op.body[op.result]], {op.symbol: op.size})[op.body[op.result]]
    given = {ops.placeholder_label(k): x for k, x in enumerate(operands)}
    inputs = {x: given[x.op.label] for x in Graph.of([value]).inputs if isinstance(x.op, ops.Input)}
    return substitute([value], inputs)[0]
