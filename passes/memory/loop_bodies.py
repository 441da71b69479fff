"""Loops over an index made from the nodes that carry it: their body, on blocks, over placeholders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from ...ir import Graph, Node, Size, build, make
from ...ir import operations as ops
from ...ir.dims import dim
from ...ir.specialise import free_symbols
from ...ir.traverse import topological
from ...ir.types import TensorType
from .indices import Index, cut_operation


@dataclass
class Region:
    """The nodes that carry the index, each with the index as it names it, and the size of the whole."""

    size: Size
    members: dict[Node, Index]

    def carries(self, node: Node, axis: int | None) -> bool:
        """Whether the loop has blocks of ``node`` along this axis."""
        return axis is not None and node in self.members and self.members[node].result == axis


def loops_for(
    results: Sequence[Node],
    region: Region,
    order: Sequence[Node],
    new: Mapping[Node, Node],
    symbol: str,
    ready: Set[Node] = frozenset(),
    block: int = 1,
    concurrent: bool = False,
) -> dict[Node, Node]:
    """For each of ``results``, members of the region, the loop that computes it; it is one loop for all.

    ``order`` has operands first.  ``new`` are the new nodes of what is computed before, and ``ready`` those
    members that are read from there instead of being computed in the loop.
    """
    body = _Body(region, order, new, symbol, ready)
    values = tuple(body.value(node) for node in results)
    joins = tuple(region.members[node].result for node in results)
    cut = tuple(body.cut)
    return {
        node: make(ops.Blockwise(values, region.size, block, cut, joins, k, symbol, concurrent), *body.operands)
        for k, node in enumerate(results)
    }


@dataclass
class _Body:
    """The body of a loop: members on blocks, everything else through placeholders."""

    region: Region
    order: Sequence[Node]
    new: Mapping[Node, Node]
    symbol: str
    ready: Set[Node]
    operands: list[Node] = field(default_factory=list)
    cut: list[int | None] = field(default_factory=list)
    known: dict[Node, Node] = field(default_factory=dict)
    placeholders: dict[tuple[Node, int | None], Node] = field(default_factory=dict)

    def value(self, wanted: Node) -> Node:
        """What the body computes for a member, with all that it needs."""
        for node in self._needed(wanted):
            if node not in self.known:
                self.known[node] = self._computed(node)
        return self.known[wanted]

    def _inside(self, node: Node, position: int) -> bool:
        """Whether an operand is computed in this body rather than read."""
        operand = node.operands[position]
        axis = self.region.members[node].axis(position)
        return operand not in self.ready and self.region.carries(operand, axis)

    def _needed(self, wanted: Node) -> list[Node]:
        """The members to compute, operands first."""
        found, stack = {wanted}, [wanted]
        while stack:
            node = stack.pop()
            for position, operand in enumerate(node.operands):
                if self._inside(node, position) and operand not in found:
                    found.add(operand)
                    stack.append(operand)
        return [node for node in self.order if node in found]

    def _computed(self, node: Node) -> Node:
        index = self.region.members[node]
        operands = [
            self.known[operand] if self._inside(node, position) else self._read(operand, index.axis(position))
            for position, operand in enumerate(node.operands)
        ]
        return make(cut_operation(node.op, index.result, dim(self.symbol)), *operands)

    def _read(self, operand: Node, axis: int | None) -> Node:
        """The placeholder for a tensor from outside, or for its block along ``axis``."""
        new = self.new[operand]
        if (new, axis) not in self.placeholders:
            shape = list(new.type.shape)
            if axis is not None:
                shape[axis] = dim(self.symbol)
            label = ops.placeholder_label(len(self.operands))
            self.placeholders[new, axis] = build.input_node(label, TensorType(tuple(shape), new.type.dtype))
            self.operands.append(new)
            self.cut.append(axis)
        return self.placeholders[new, axis]


def unused_dim(graph: Graph) -> str:
    """A name for the size of a block that no size in the graph has, those of loops included."""
    taken = set(free_symbols(graph.outputs))
    bodies, seen = [graph.outputs], set()
    while bodies:
        for node in topological(bodies.pop()):
            # Every result of a loop has the whole body.
            if isinstance(node.op, ops.Blockwise) and node.op.body not in seen:
                taken.add(node.op.symbol)
                seen.add(node.op.body)
                bodies.append(node.op.body)
    name, number = "block", 1
    while name in taken:
        number += 1
        name = f"block{number}"
    return name
