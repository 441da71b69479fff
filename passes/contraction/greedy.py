"""A first order for many tensors: again and again the pair whose product shrinks the network most.

The score of a pair is the size of its product less the sizes of its factors, as in opt_einsum's greedy
search; ``factor`` weighs the factors, and ``noise`` perturbs the scores (Gumbel noise on a logarithmic
scale), so that trials differ.  After Gray and Kourtis, Hyper-optimized tensor network contraction (2021).
"""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass, field

from .network import Merges, Network, bits

# Through an index on more tensors than this, pairs are not looked for: they are too many.
_HUB = 16


@dataclass(frozen=True)
class Greed:
    """How one trial scores a pair."""

    factor: float = 1.0
    noise: float = 0.0
    seed: int = 0


def greedy_merges(network: Network, greed: Greed = Greed()) -> Merges:
    """A tree over all tensors of ``network``."""
    return _Greedy(network, greed).run()


@dataclass
class _Greedy:
    network: Network
    greed: Greed
    merges: Merges = field(default_factory=list)
    masks: dict[int, int] = field(default_factory=dict)
    leaves: dict[int, int] = field(default_factory=dict)
    owners: dict[int, set[int]] = field(default_factory=dict)
    queue: list[tuple[float, int, int]] = field(default_factory=list)

    def run(self) -> Merges:
        self.chooser = random.Random(self.greed.seed)
        self.bias = math.log2(self.greed.factor)
        for node, mask in enumerate(self.network.terms):
            self._add(node, mask, 1 << node)
        while len(self.masks) > 1:
            self._merge(*self._next())
        return self.merges

    def _add(self, node: int, mask: int, leaves: int) -> None:
        neighbours: set[int] = set()
        for bit in bits(mask):
            owners = self.owners.setdefault(bit, set())
            if len(owners) <= _HUB:
                neighbours |= owners
            owners.add(node)
        self.masks[node] = mask
        self.leaves[node] = leaves
        for other in sorted(neighbours):
            heapq.heappush(self.queue, (self._score(other, node), other, node))

    def _score(self, first: int, second: int) -> float:
        network = self.network
        left, right = self.masks[first], self.masks[second]
        result = network.volume(network.product(left, right, self.leaves[first] | self.leaves[second]))
        a, b = network.volume(left), network.volume(right)
        factors = max(a, b) + math.log2(1 + 2.0 ** -abs(a - b)) + self.bias
        gap = abs(result - factors)
        size = max(result, factors) + math.log2(1 - 2.0**-gap) if gap > 1e-9 else 0.0
        score = math.copysign(max(size, 0.0), result - factors)
        if self.greed.noise:
            score += self.greed.noise * math.log2(-math.log(1 - self.chooser.random() * (1 - 1e-12)) + 1e-300)
        return score

    def _next(self) -> tuple[int, int]:
        """The pair of the best score; where no pair shares an index, the two smallest tensors."""
        while self.queue:
            _, first, second = heapq.heappop(self.queue)
            if first in self.masks and second in self.masks:
                return first, second
        first, second = heapq.nsmallest(2, self.masks, key=lambda node: (self.network.volume(self.masks[node]), node))
        return first, second

    def _merge(self, first: int, second: int) -> None:
        self.merges.append((first, second))
        leaves = self.leaves.pop(first) | self.leaves.pop(second)
        left, right = self.masks.pop(first), self.masks.pop(second)
        for node, mask in ((first, left), (second, right)):
            for bit in bits(mask):
                self.owners[bit].discard(node)
        kept = self.network.product(left, right, leaves)
        self._add(len(self.network.terms) + len(self.merges) - 1, kept, leaves)
