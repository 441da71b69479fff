"""A contraction tree that is improved piece by piece.

Any node and the next few nodes below it are a small network of their own: its tensors are what hangs
below, its result is the node's.  Planning it exactly never makes the tree dearer, and leaves everything
outside as it was.  Sweeping over the tree so ("subtree reconfiguration", Gray and Kourtis 2021) takes
most of the excess out of an order that was found greedily.
"""

from __future__ import annotations

import math
import random

from .exact import cheapest_merges
from .measure import Measure
from .network import Merges, Network

# An improvement below this is rounding.
_BETTER = 1 - 1e-9
# Volumes stay below 2**_SPAN: what is so much cheaper than the rest cannot matter.
_SPAN = 500.0


class Tree:
    """Nodes are numbers: first the tensors, then the products; the last is the root."""

    def __init__(self, network: Network, merges: Merges, measure: Measure) -> None:
        self.network, self.measure = network, measure
        self.count = len(network.terms)
        self.masks = [*network.terms, *(0 for _ in merges)]
        self.children: dict[int, tuple[int, int]] = {}
        self.costs = [0.0] * len(self.masks)
        self.root = len(self.masks) - 1
        self.settled: set[tuple[int, ...]] = set()
        leaves = [1 << node for node in range(self.count)] + [0] * len(merges)
        for node, pair in enumerate(merges, self.count):
            first, second = pair
            leaves[node] = leaves[first] | leaves[second]
            self.masks[node] = network.product(self.masks[first], self.masks[second], leaves[node])
            self.children[node] = pair
        widest = max((self._joined(node) for node in self.children), default=0.0)
        self.shift = max(0.0, widest - _SPAN)
        for node in self.children:
            self.costs[node] = self._cost(node)

    @property
    def cost(self) -> float:
        """The sum over all products, in units of 2**shift."""
        return math.fsum(self.costs)

    def magnitude(self) -> float:
        """log2 of the cost, whatever the unit."""
        return math.log2(self.cost) + self.shift

    def merges(self) -> Merges:
        """The products in an order that may be carried out."""
        merges: Merges = []
        place = {node: node for node in range(self.count)}
        for node in reversed(self._below(self.root)):
            first, second = self.children[node]
            merges.append((place[first], place[second]))
            place[node] = self.count + len(merges) - 1
        return merges

    def sweep(self, size: int, chooser: random.Random | None = None) -> bool:
        """Plan the pieces of ``size`` tensors below every node anew, the dearest first; whether that helped.

        Pieces reach down along the dearest products, or at random where a ``chooser`` is given.
        """
        helped = False
        for node in sorted(self.children, key=lambda node: (-self.costs[node], node)):
            frontier, inner = self._piece(node, size, chooser)
            key = (self.masks[node], *sorted(self.masks[x] for x in frontier))
            if len(inner) > 1 and key not in self.settled:
                helped |= self._replan(node, frontier, inner)
                self.settled.add(key)
        return helped

    def _piece(self, node: int, size: int, chooser: random.Random | None) -> tuple[list[int], list[int]]:
        """What hangs below a piece, and its products, those on top first."""
        below, inner = list(self.children[node]), [node]
        while len(below) < size:
            products = [x for x in below if x in self.children]
            if not products:
                break
            chosen = chooser.choice(products) if chooser else max(products, key=self.costs.__getitem__)
            below.remove(chosen)
            below += self.children[chosen]
            inner.append(chosen)
        return sorted(below), inner

    def _replan(self, node: int, frontier: list[int], inner: list[int]) -> bool:
        terms = [self.masks[x] for x in frontier]
        merges = cheapest_merges(self.network, terms, self.masks[node], self.measure, self.shift)
        before = math.fsum(self.costs[x] for x in inner)
        old = [(self.children[x], self.masks[x], self.costs[x]) for x in inner]
        self._install(frontier, inner, merges)
        if math.fsum(self.costs[x] for x in inner) < before * _BETTER:
            return True
        for x, (pair, mask, cost) in zip(inner, old, strict=True):
            self.children[x], self.masks[x], self.costs[x] = pair, mask, cost
        return False

    def _install(self, frontier: list[int], inner: list[int], merges: Merges) -> None:
        """Give the products ``inner`` of a piece the tree ``merges`` over its ``frontier``."""
        nodes = frontier + inner[::-1]
        inside = [1 << k for k in range(len(nodes))]
        for step, (first, second) in enumerate(merges):
            place = len(frontier) + step
            inside[place] = inside[first] | inside[second]
            outside = self.masks[inner[0]]
            for k, x in enumerate(frontier):
                if not inside[place] >> k & 1:
                    outside |= self.masks[x]
            node = nodes[place]
            self.children[node] = nodes[first], nodes[second]
            if node != inner[0]:
                self.masks[node] = (self.masks[nodes[first]] | self.masks[nodes[second]]) & outside
            self.costs[node] = self._cost(node)

    def _joined(self, node: int) -> float:
        first, second = self.children[node]
        return self.network.volume(self.masks[first] | self.masks[second])

    def _cost(self, node: int) -> float:
        first, second = self.children[node]
        volume = self.network.volume
        left, right, kept = volume(self.masks[first]), volume(self.masks[second]), volume(self.masks[node])
        return self.measure.step(self._joined(node), left, right, kept, self.shift)

    def _below(self, node: int) -> list[int]:
        """The products from ``node`` down, each before its children."""
        order, stack = [], [node]
        while stack:
            current = stack.pop()
            if current in self.children:
                order.append(current)
                stack += self.children[current]
        return order
