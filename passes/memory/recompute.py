"""Rematerialisation: loops that compute for themselves what they would otherwise read whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from ...ir import Graph, Node, Size, build, make
from ...ir import operations as ops
from ...ir.cost import loop_family
from ...ir.dims import dim
from ...ir.traverse import rebuild, substitute
from ...ir.types import TensorType
from .indices import cut_operation, result_index
from .loops import body_of, loop_operation, loops_of, with_loop
from .regions import slice_index


def _is_cheap(node: Node) -> bool:
    """Whether a node takes no more than an operation or so for each of its elements."""
    if isinstance(node.op, ops.Einsum):
        return {label for labels in node.op.inputs for label in labels} == set(node.op.output)
    return isinstance(node.op, (ops.Map, ops.LinearCombination, ops.Cast, ops.Broadcast))


def recomputed(graph: Graph, is_large: Callable[[Node], bool]) -> Iterator[Graph]:
    """The graph with loops that compute the large operands which they read, those read whole in blocks.

    Only what is cheap is computed again: elementwise operations and outer products, with all that they need
    that is cheap and large too.
    """
    for number, loop in enumerate(loops_of(graph)):
        again = _computed_again(loop.operands, is_large)
        if any(x in again and axis is None for x, axis in zip(loop.operands, loop_operation(loop).cut, strict=True)):
            yield from _in_blocks(_inside(graph, loop, again), number, is_large)


def _in_blocks(graph: Graph, number: int, is_large: Callable[[Node], bool]) -> Iterator[Graph]:
    """The graph whose loop has what is large in its body cut once more."""
    loop = loops_of(graph)[number]
    body, block = body_of(loop), dim(loop_operation(loop).symbol)

    def is_whole(node: Node) -> bool:
        return block not in node.type.shape and is_large(node)

    for seed in body.nodes():
        for axis in range(seed.ndim if is_whole(seed) else 0):
            inner = slice_index(body, seed, axis, is_whole)
            if inner is not None:
                yield with_loop(graph, loop, inner.outputs)


def _computed_again(operands: Sequence[Node], is_large: Callable[[Node], bool]) -> set[Node]:
    """The nodes to compute again: cheap and large operands, and what they read that is so too."""
    found: set[Node] = set()
    stack = list(operands)
    while stack:
        node = stack.pop()
        if node not in found and node.operands and is_large(node) and _is_cheap(node):
            found.add(node)
            stack.extend(node.operands)
    return found


def _inside(graph: Graph, loop: Node, again: set[Node]) -> Graph:
    """The graph with what the loop reads of ``again``, whole or in blocks, computed in its body."""
    old = loop_operation(loop)
    inner = _Inner(again, dim(old.symbol))
    changes: dict[Node, Node] = {}
    for placeholder in body_of(loop).inputs:
        assert isinstance(placeholder.op, ops.Input)
        position = int(placeholder.op.label.removeprefix("x"))
        changes[placeholder] = inner.value(loop.operands[position], old.cut[position])
    return _replaced(graph, loop, tuple(substitute(old.body, changes)), list(inner.places))


class _Inner:
    """Values within a body: of nodes that are computed again, and of what is read from outside."""

    def __init__(self, again: set[Node], block: Size) -> None:
        self.again, self.block = again, block
        self.places: dict[tuple[Node, int | None], Node] = {}

    def value(self, node: Node, axis: int | None) -> Node:
        """The whole value, or the block of it along ``axis``."""
        index = None if axis is None else result_index(node, axis)
        if node not in self.again or (axis is not None and index is None):
            return self._read(node, axis)
        axes = [None if index is None else index.axis(position) for position in range(len(node.operands))]
        operands = [self.value(x, along) for x, along in zip(node.operands, axes, strict=True)]
        return make(node.op if axis is None else cut_operation(node.op, axis, self.block), *operands)

    def _read(self, node: Node, axis: int | None) -> Node:
        if (node, axis) not in self.places:
            shape = [self.block if k == axis else size for k, size in enumerate(node.type.shape)]
            label = ops.placeholder_label(len(self.places))
            self.places[node, axis] = build.input_node(label, TensorType(tuple(shape), node.type.dtype))
        return self.places[node, axis]


def _replaced(graph: Graph, loop: Node, body: tuple[Node, ...], places: Sequence[tuple[Node, int | None]]) -> Graph:
    family = set(loop_family(loop, graph.nodes()))
    cut = tuple(axis for _, axis in places)
    transformed: dict[Node, Node] = {}

    def change(node: Node, operands: Sequence[Node]) -> Node:
        new = rebuild(node, operands)
        if node in family:
            op = dataclasses.replace(loop_operation(node), body=body, cut=cut)
            new = make(op, *(transformed.get(x, x) for x, _ in places))
        transformed[node] = new
        return new

    return graph.transform(change)
