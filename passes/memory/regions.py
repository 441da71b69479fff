"""Regions of a graph that can run in blocks of one index, and the graph with loops in their place."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from ...ir import Graph, Node
from ...ir.traverse import rebuild
from .indices import Index, operand_index, result_index
from .loop_bodies import Region, loops_for, unused_dim


def slice_index(graph: Graph, seed: Node, axis: int, is_large: Callable[[Node], bool]) -> Graph | None:
    """The graph with everything around ``seed`` computed one position of its ``axis`` at a time.

    The region is what is connected to ``seed`` through large tensors that have the index.  Where a
    value is needed whole before the region can go on (a sum over the index), there is one loop
    before and one after, and large tensors that both need are computed in both.  None where the index
    cannot be cut at ``seed``.
    """
    index = result_index(seed, axis)
    if index is None or seed.type.shape[axis] == 1:
        return None
    order = graph.nodes()
    region = Region(seed.type.shape[axis], _members(order, seed, index, is_large))
    return _Rewriting(graph, order, region, is_large).graph_with_loops()


def _members(order: Sequence[Node], seed: Node, index: Index, is_large: Callable[[Node], bool]) -> dict[Node, Index]:
    """``seed`` and what is reached from it; a small tensor is passed through only on the way to a large one."""
    users: dict[Node, list[tuple[Node, int]]] = {node: [] for node in order}
    for node in order:
        for position, operand in enumerate(node.operands):
            users[operand].append((node, position))
    members = {seed: index}
    while True:
        between = _between(order, [node for node in members if node is seed or is_large(node)])
        found = _flood(members, users, lambda node: node is seed or is_large(node), between)
        if len(found) == len(members):
            return found
        members = found


def _flood(
    members: Mapping[Node, Index],
    users: Mapping[Node, Sequence[tuple[Node, int]]],
    is_large: Callable[[Node], bool],
    between: set[Node],
) -> dict[Node, Index]:
    found = dict(members)
    queue = deque(members)
    while queue:
        node = queue.popleft()
        index = found[node]
        near = [(node.operands[place], result_index(node.operands[place], axis), False) for place, axis in index.places]
        if isinstance(index.result, int):
            near += [(user, operand_index(user, place, index.result), True) for user, place in users[node]]
        for other, its, above in near:
            wanted = is_large(other) or other in between or (above and is_large(node))
            if its is not None and other not in found and other.operands and wanted:
                found[other] = its
                queue.append(other)
    return found


def _between(order: Sequence[Node], chosen: Sequence[Node]) -> set[Node]:
    """The nodes on paths from a node of ``chosen`` to another."""
    below, above = set(chosen), set(chosen)
    for node in order:
        if any(operand in below for operand in node.operands):
            below.add(node)
    for node in reversed(order):
        if node in above:
            above.update(node.operands)
    return below & above


class _Rewriting:
    """The loops of one region, one after another, and the nodes between them."""

    def __init__(self, graph: Graph, order: Sequence[Node], region: Region, is_large: Callable[[Node], bool]) -> None:
        self.graph, self.order, self.region, self.is_large = graph, order, region, is_large
        self.symbol = unused_dim(graph)
        self.stage: dict[Node, int] = {}
        self.ready: dict[Node, int] = {}
        self._set_stages()
        self.stored = self._stored()
        self.new: dict[Node, Node] = {}

    def _set_stages(self) -> None:
        """For each node, how many loops must have ended before it: for members, before their own begins."""
        for node in self.order:
            stage = 0
            index = self.region.members.get(node)
            for position, operand in enumerate(node.operands):
                inside = index is not None and self.region.carries(operand, index.axis(position))
                stage = max(stage, self.stage[operand] if inside else self.ready[operand])
            self.stage[node] = stage
            self.ready[node] = stage + (index is not None)

    def _stored(self) -> set[Node]:
        """The members whose whole value is needed: outside, or by a later loop where they are small."""
        members = self.region.members
        stored = {node for node in self.graph.outputs if node in members}
        stored |= {node for node, index in members.items() if isinstance(index.result, str)}
        for node in self.order:
            index = members.get(node)
            for position, operand in enumerate(node.operands):
                if operand not in members:
                    continue
                inside = index is not None and self.region.carries(operand, index.axis(position))
                later = self.stage[node] > self.stage[operand]
                if not inside or (later and not self.is_large(operand)):
                    stored.add(operand)
        return stored

    def graph_with_loops(self) -> Graph:
        """Level by level: a loop, then what can be computed once it has ended."""
        for level in range(max(self.ready.values()) + 1):
            if level:
                self._loop(level - 1)
            for node in self.order:
                if node not in self.region.members and self.ready[node] == level:
                    self.new[node] = rebuild(node, [self.new[x] for x in node.operands])
        return self.graph.replaced(self.new)

    def _loop(self, stage: int) -> None:
        results = [node for node in self.order if node in self.stored and self.stage[node] == stage]
        if results:
            ready = {node for node in self.stored if self.stage[node] < stage}
            self.new |= loops_for(results, self.region, self.order, self.new, self.symbol, ready)
