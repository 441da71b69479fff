"""Sums of one product over different indices: the coarser ones are taken from the finer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...ir import Graph, Node, Size, build
from ...ir.cost import flops
from ...ir.operations import Delta, Einsum
from ...ir.traverse import rebuild

Labels = tuple[int, ...]
PlannedSize = Callable[[Size], int]


@dataclass(frozen=True)
class _Sum:
    """An einsum, and its output with the labels of its product, under which equal products have equal indices."""

    node: Node
    output: Labels


def from_finer_sums(graph: Graph, size: PlannedSize) -> Graph:
    """Each einsum of one or two tensors that sums, from another of the same product that sums less of it.

    Where two have the same indices in another order, the second is a transpose of the first.  It is done where
    that takes fewer operations; nothing larger than before is made.  ::

        %1: f64[i] = einsum "ij,ij->i" %A, %B
        %2: f64[] = einsum "ij,ij->" %A, %B

    has ``%2`` become ``einsum "i->" %1``.
    """
    sources = _sources(graph, size)
    new: dict[Node, Node] = {}

    def renewed(node: Node) -> Node:
        if node not in new:
            if node in sources:
                finer, own = sources[node]
                new[node] = build.einsum([renewed(finer.node)], [finer.output], own.output)
            else:
                new[node] = rebuild(node, [new[x] for x in node.operands])
        return new[node]

    for node in graph.nodes() if sources else ():
        renewed(node)
    return graph.replaced(new) if sources else graph


def _sources(graph: Graph, size: PlannedSize) -> dict[Node, tuple[_Sum, _Sum]]:
    """For the einsums to be changed, the one that each is taken from, and itself."""
    found: dict[Node, tuple[_Sum, _Sum]] = {}
    for group in _groups(graph):
        for position, own in enumerate(group):
            work = size(flops(own.node)) if len(group) > 1 else 0
            finer = [x for k, x in enumerate(group) if _is_finer(x, own, k < position)]
            source = min(finer, key=lambda x: _work(x, own, size), default=None)
            if source is not None and _work(source, own, size) < work:
                found[own.node] = source, own
    return found


def _groups(graph: Graph) -> list[list[_Sum]]:
    """The einsums of one or two tensors, grouped by what they multiply."""
    places = {node: place for place, node in enumerate(graph.nodes())}
    groups: dict[object, list[_Sum]] = {}
    for node in places:
        if (
            isinstance(node.op, Einsum)
            and len(node.operands) <= 2
            and not any(isinstance(x.op, Delta) for x in node.operands)
        ):
            pairs = [(places[x], labels) for x, labels in zip(node.operands, node.op.inputs, strict=True)]
            key, output = min(_renamed(order, node.op.output) for order in (pairs, pairs[::-1]))
            groups.setdefault(key, []).append(_Sum(node, output))
    return list(groups.values())


def _renamed(factors: Sequence[tuple[int, Labels]], output: Labels) -> tuple[tuple[tuple[int, Labels], ...], Labels]:
    """Factors with their labels numbered by appearance, and the output with the same labels."""
    names: dict[int, int] = {}
    key = tuple((place, tuple(names.setdefault(x, len(names)) for x in labels)) for place, labels in factors)
    return key, tuple(names[x] for x in output)


def _is_finer(other: _Sum, own: _Sum, is_earlier: bool) -> bool:
    """Whether ``own`` can be taken from ``other``; of two with the same indices, the later from the earlier."""
    if len(other.output) == len(own.output):
        return is_earlier and set(other.output) == set(own.output)
    return set(other.output) > set(own.output)


def _work(source: _Sum, own: _Sum, size: PlannedSize) -> int:
    """The operations of summing ``source`` to ``own``."""
    if len(source.output) == len(own.output):
        return 0
    return math.prod(max(size(x), 1) for x in source.node.type.shape)
