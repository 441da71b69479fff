"""A first order for many tensors, from the top: the last product joins two halves that share little.

The network is cut in two so that the indices across the cut are few and small, each half likewise, and
pieces of a few tensors are planned exactly.  A cut starts from values that a random walk has smoothed
(what is left of them approaches the Fiedler vector: far ends of the network have opposite signs) and is
improved by moving one tensor at a time (Fiduccia and Mattheyses 1982).
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass

import numpy as np

from .exact import cheapest_merges
from .measure import Measure
from .network import Merges, Network, bits

_PASSES = 4
# Moves in a row that do not better a cut, after which a pass gives up.
_PATIENCE = 40
# Steps of the walk: enough to smooth over a few hundred tensors, few enough that walks differ.
_STEPS = 100


@dataclass(frozen=True)
class Cutting:
    """How one trial cuts: the least share of the smaller half, and the seed of the walks."""

    share: float = 0.4
    seed: int = 0
    leaf: int = 8


def partition_merges(network: Network, measure: Measure, cutting: Cutting = Cutting()) -> Merges:
    """A tree over all tensors of ``network``."""
    return _Partition(network, measure, cutting).run()


class _Partition:
    def __init__(self, network: Network, measure: Measure, cutting: Cutting) -> None:
        self.network, self.measure, self.cutting = network, measure, cutting
        self.chooser = random.Random(cutting.seed)
        self.merges: Merges = []

    def run(self) -> Merges:
        self._tree(list(range(len(self.network.terms))))
        return self.merges

    def _tree(self, members: list[int]) -> int:
        """The node that multiplies up ``members``."""
        if len(members) == 1:
            return members[0]
        if len(members) <= self.cutting.leaf:
            return self._exactly(members)
        left, right = self._halves(members)
        self.merges.append((self._tree(left), self._tree(right)))
        return len(self.network.terms) + len(self.merges) - 1

    def _exactly(self, members: list[int]) -> int:
        network = self.network
        leaves = sum(1 << k for k in members)
        terms = [network.terms[k] for k in members]
        inside = 0
        for mask in terms:
            inside |= mask
        output = sum(1 << bit for bit in bits(inside) if network.owners[bit] & ~leaves) | (inside & network.output)
        nodes = list(members)
        for first, second in cheapest_merges(network, terms, output, self.measure):
            self.merges.append((nodes[first], nodes[second]))
            nodes.append(len(network.terms) + len(self.merges) - 1)
        return nodes[-1]

    def _halves(self, members: list[int]) -> tuple[list[int], list[int]]:
        cut = _Cut(self.network, members)
        cut.start(cut.order(self.chooser))
        fewest = max(1, int(self.cutting.share * len(members)))
        for _ in range(_PASSES):
            if not cut.improve(fewest):
                break
        return cut.half(0), cut.half(1)


class _Cut:
    """Two sides of some tensors, and what an index across them weighs."""

    def __init__(self, network: Network, members: list[int]) -> None:
        self.members = members
        number: dict[int, list[int]] = {}
        for vertex, tensor in enumerate(members):
            for bit in bits(network.terms[tensor]):
                number.setdefault(bit, []).append(vertex)
        self.edges = [vertices for vertices in number.values() if len(vertices) > 1]
        self.weights = [network.weights[bit] for bit, vertices in number.items() if len(vertices) > 1]
        self.incident: list[list[int]] = [[] for _ in members]
        for edge, vertices in enumerate(self.edges):
            for vertex in vertices:
                self.incident[vertex].append(edge)
        self.side = [0] * len(members)
        self.across = [[0, 0] for _ in self.edges]

    def order(self, chooser: random.Random) -> list[int]:
        """The vertices from one end of the network to the other."""
        vertex = np.array([v for vertices in self.edges for v in vertices], dtype=np.intp)
        edge = np.array([e for e, vertices in enumerate(self.edges) for _ in vertices], dtype=np.intp)
        strength = np.array(self.weights) / [max(len(vertices) - 1, 1) for vertices in self.edges]
        degree = np.bincount(vertex, strength[edge], len(self.members)) + 1e-9
        values = np.array([chooser.uniform(-1, 1) for _ in self.members])
        for _ in range(_STEPS):
            values -= (values * degree).sum() / degree.sum()
            values /= np.abs(values).max() + 1e-300
            means = np.bincount(edge, values[vertex], len(self.edges)) * strength
            values = (values + np.bincount(vertex, means[edge], len(self.members)) / degree) / 2
        return [int(k) for k in np.argsort(np.round(values, 9), kind="stable")]

    def start(self, order: list[int]) -> None:
        """Cut an order of the vertices in the middle."""
        for vertex in order[len(order) // 2 :]:
            self.side[vertex] = 1
        for edge, vertices in enumerate(self.edges):
            right = sum(self.side[vertex] for vertex in vertices)
            self.across[edge] = [len(vertices) - right, right]

    def half(self, side: int) -> list[int]:
        """The tensors of one side."""
        return [tensor for tensor, here in zip(self.members, self.side, strict=True) if here == side]

    def improve(self, fewest: int) -> bool:
        """One pass: move every vertex at most once, the best first, and keep the best state on the way."""
        counts = [self.side.count(0), self.side.count(1)]
        gains = [self._gain(vertex) for vertex in range(len(self.members))]
        queue = [(-gain, vertex) for vertex, gain in enumerate(gains)]
        heapq.heapify(queue)
        moved: list[int] = []
        locked = [False] * len(self.members)
        total, best, kept = 0.0, 1e-9, 0
        while queue and len(moved) - kept < _PATIENCE:
            gain, vertex = heapq.heappop(queue)
            if locked[vertex] or -gain != gains[vertex] or counts[self.side[vertex]] <= fewest:
                continue
            locked[vertex] = True
            counts[self.side[vertex]] -= 1
            counts[1 - self.side[vertex]] += 1
            total += gains[vertex]
            moved.append(vertex)
            for other in self._move(vertex):
                if not locked[other]:
                    gains[other] = self._gain(other)
                    heapq.heappush(queue, (-gains[other], other))
            if total > best:
                best, kept = total, len(moved)
        for vertex in moved[kept:]:
            self._move(vertex)
        return kept > 0

    def _gain(self, vertex: int) -> float:
        """How much lighter the cut gets by moving the vertex to the other side."""
        here, gain = self.side[vertex], 0.0
        for edge in self.incident[vertex]:
            inside, outside = self.across[edge][here], self.across[edge][1 - here]
            if inside == 1:
                gain += self.weights[edge]
            if outside == 0:
                gain -= self.weights[edge]
        return gain

    def _move(self, vertex: int) -> list[int]:
        """Move it, and say whose gains that may change."""
        here = self.side[vertex]
        touched: set[int] = set()
        for edge in self.incident[vertex]:
            sides = self.across[edge]
            if sides[here] <= 2 or sides[1 - here] <= 1:
                touched.update(self.edges[edge])
            sides[here] -= 1
            sides[1 - here] += 1
        self.side[vertex] = 1 - here
        return sorted(touched)
