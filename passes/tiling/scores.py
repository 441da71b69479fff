"""Scores: what carries two long indices in a graph, from the product that makes it to the sums that end it.

The scores ``Q Kᵀ`` of attention are the name-giver.  All that is connected to them and has both of their indices is
one region; what enters and leaves it has one of the two at most, and is small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...ir import Graph, Node
from .spaces import Labels, Space, space_of


class NotTiled(Exception):
    """Why a region cannot run tile by tile."""


@dataclass(frozen=True)
class Scores:
    """A region.

    ``members`` are its nodes and ``exits`` the reductions and products that leave it, with the index of each axis;
    ``rows`` and ``columns`` are the two long indices, ``batch`` the others that all of it has.  ``operands`` gives the
    index of each axis of the operands of members and exits.
    """

    members: Mapping[Node, Labels]
    exits: Mapping[Node, Labels]
    operands: Mapping[Node, tuple[Labels, ...]]
    rows: int
    columns: int
    batch: Labels

    def carries(self, labels: Labels) -> bool:
        """Whether a tensor with these indices is as large as the scores."""
        return self.rows in labels and self.columns in labels


@dataclass(frozen=True)
class Seed:
    """A node whose operands have one or the other of two of its axes, and none has both."""

    node: Node
    row: int
    column: int


def seeds(graph: Graph, elements: Mapping[Node, int], sizes: Mapping[Node, Sequence[int]]) -> list[Seed]:
    """Where regions may begin, the largest first; ``elements`` and ``sizes`` of each node are the planned ones."""
    found = []
    for node in graph.nodes():
        space = space_of(node)
        if space is None or node.ndim < 2 or node.type.dtype.kind != "float":
            continue
        by_operands = [frozenset(k for k, labels in enumerate(space.inputs) if label in labels)
                       for label in space.output]  # fmt: skip
        pairs = [
            (i, j) for i in range(node.ndim) for j in range(i + 1, node.ndim) if not by_operands[i] & by_operands[j]
        ]
        if pairs:
            row, column = max(pairs, key=lambda pair: sizes[node][pair[0]] * sizes[node][pair[1]])
            found.append(Seed(node, row, column))
    return sorted(found, key=lambda seed: -elements[seed.node])


Users = Mapping[Node, Sequence[Node]]


def users_of(graph: Graph) -> Users:
    """The nodes that read each node."""
    users: dict[Node, list[Node]] = {}
    for node in graph.nodes():
        for operand in dict.fromkeys(node.operands):
            users.setdefault(operand, []).append(node)
    return users


def scores_around(graph: Graph, users: Users, seed: Seed) -> Scores:
    """The region of a seed; raises ``NotTiled`` where a score would be needed whole."""
    return _Flood(graph, users, seed).scores()


class _Flood:
    """Indices as numbers that are found to be one; a node belongs to the region once it has both long ones."""

    def __init__(self, graph: Graph, users: Users, seed: Seed) -> None:
        self.graph, self.users, self.seed = graph, users, seed
        self.parents: list[int] = []
        self.members: dict[Node, Labels] = {}
        self.exits: dict[Node, Labels] = {}
        self.spaces: dict[Node, dict[int, int]] = {}
        self.rows = self.columns = -1

    def scores(self) -> Scores:
        """Flood, then check."""
        first = self.seed.node
        labels = tuple(self._new() for _ in range(first.ndim))
        self.rows, self.columns = labels[self.seed.row], labels[self.seed.column]
        self.members[first] = labels
        queue = [first]
        while queue:
            node = queue.pop()
            queue += self._down(node)
            queue += self._up(node)
        return self._checked(labels)

    def _new(self) -> int:
        self.parents.append(len(self.parents))
        return self.parents[-1]

    def _root(self, label: int) -> int:
        parents = self.parents
        while (parent := parents[label]) != label:
            label = parents[label] = parents[parent]
        return label

    def _join(self, first: Labels, second: Labels) -> None:
        for one, other in zip(first, second, strict=True):
            low, high = self._root(one), self._root(other)
            if low != high:
                self.parents[max(low, high)] = min(low, high)

    def _of(self, node: Node, space: Space) -> dict[int, int]:
        """The index of every label of a node's space."""
        if node not in self.spaces:
            every = dict.fromkeys(label for labels in (*space.inputs, space.output) for label in labels)
            self.spaces[node] = {label: self._new() for label in every}
        return self.spaces[node]

    def _is_score(self, labels: Labels) -> bool:
        roots = {self._root(x) for x in labels}
        return {self._root(self.rows), self._root(self.columns)} <= roots

    def _down(self, node: Node) -> list[Node]:
        """The operands that are scores too."""
        space = space_of(node)
        assert space is not None
        known = self._of(node, space)
        self._join(tuple(known[x] for x in space.output), self.members[node])
        found = []
        for operand, inner in zip(node.operands, space.inputs, strict=True):
            labels = tuple(known[x] for x in inner)
            if operand in self.members:
                self._join(labels, self.members[operand])
            elif self._is_score(labels) and space_of(operand) is not None:
                self.members[operand] = labels
                found.append(operand)
        return found

    def _up(self, node: Node) -> list[Node]:
        """The users that are scores too; the others leave the region."""
        found = []
        for user in self.users.get(node, ()):
            space = space_of(user)
            if space is None:
                raise NotTiled(f"{user.op.name} needs the scores whole")
            known = self._of(user, space)
            for operand, inner in zip(user.operands, space.inputs, strict=True):
                if operand in self.members:
                    self._join(tuple(known[x] for x in inner), self.members[operand])
            labels = tuple(known[x] for x in space.output)
            if user in self.members:
                self._join(labels, self.members[user])
            elif self._is_score(labels):
                self.members[user] = labels
                found.append(user)
            else:
                self.exits[user] = labels
        return found

    def _checked(self, seed: Labels) -> Scores:
        rows, columns = self._root(self.rows), self._root(self.columns)
        if rows == columns:
            raise NotTiled("the two long indices are one")
        members = {node: self._roots(labels) for node, labels in self.members.items()}
        exits = {node: self._roots(labels) for node, labels in self.exits.items() if node not in members}
        operands = {}
        for node in (*members, *exits):
            space = space_of(node)
            assert space is not None
            known = self.spaces[node]
            operands[node] = tuple(self._roots(tuple(known[x] for x in labels)) for labels in space.inputs)
        for labels in (*members.values(), *exits.values(), *(x for each in operands.values() for x in each)):
            if len(set(labels)) < len(labels):
                raise NotTiled("one index along two axes")
        if whole := [x for x in self.graph.outputs if x in members]:
            raise NotTiled(f"{whole[0].op.name} of the scores is a result")
        if not exits:
            raise NotTiled("nothing is summed")
        ended = {x for node, labels in members.items() for its in operands[node] for x in its if x not in labels}
        batch = tuple(x for x in self._roots(seed) if x not in (rows, columns) and x not in ended)
        return Scores(members, exits, operands, rows, columns, batch)

    def _roots(self, labels: Labels) -> Labels:
        return tuple(self._root(x) for x in labels)
