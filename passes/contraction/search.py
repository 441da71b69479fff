"""The search for an order of many tensors: several first trees, improved in rounds, the worse half dropped.

First trees come from the top (cuts of the network) and from below (greedy), each with other seeds; they
are improved by planning random pieces exactly (`contraction/tree`), which takes orders of magnitude out
of a greedy order of hundreds of tensors.  Everything is seeded and counted, never timed: the same
network has the same order in every process, and planning time grows with the number of tensors.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .exact import cheapest_merges
from .greedy import Greed, greedy_merges
from .measure import Measure
from .network import Merges, Network
from .partition import Cutting, partition_merges
from .tree import Tree

# Up to so many tensors, the exact answer (12 take 5 ms).
EXACT_UP_TO = 12


_FEW = 40


@dataclass(frozen=True)
class Effort:
    """How much is tried: first trees, sweeps over each before the worse half goes, sweeps over the last."""

    starts: int = 8
    sweeps: int = 3
    final: int = 16
    piece: int = 8
    final_piece: int = 9

    @staticmethod
    def of(count: int) -> Effort:
        """What suffices for so many tensors: 30 take 0.1 s, 300 two or three seconds."""
        return Effort(starts=4, sweeps=2, final=8) if count <= _FEW else Effort()


def search(network: Network, measure: Measure, effort: Effort | None = None) -> Merges:
    """The best tree found, by ``measure``."""
    effort = effort or Effort.of(len(network.terms))
    trees = [Tree(network, merges, measure) for merges in _starts(network, measure, effort.starts)]
    chooser = random.Random(len(network.terms))
    while len(trees) > 1:
        for tree in trees:
            _improve(tree, effort.sweeps, effort.piece, chooser)
        trees.sort(key=Tree.magnitude)
        del trees[(len(trees) + 1) // 2 :]
    _improve(trees[0], effort.final, effort.final_piece, chooser)
    return trees[0].merges()


def exact(network: Network, measure: Measure) -> Merges:
    """The cheapest tree of all, for at most `EXACT_TERMS` tensors."""
    return cheapest_merges(network, network.terms, network.output, measure)


def refine(network: Network, merges: Merges, measure: Measure) -> Merges:
    """A tree near ``merges`` that is cheaper by ``measure``."""
    effort = Effort.of(len(network.terms))
    tree = Tree(network, merges, measure)
    _improve(tree, effort.final, effort.piece, random.Random(len(merges)))
    return tree.merges()


def _improve(tree: Tree, sweeps: int, piece: int, chooser: random.Random) -> None:
    """Sweep until two sweeps in a row change nothing, or ``sweeps`` are done."""
    idle = 0
    for _ in range(sweeps):
        idle = 0 if tree.sweep(piece, chooser) else idle + 1
        if idle == 2:
            return


def _starts(network: Network, measure: Measure, count: int) -> Iterator[Merges]:
    """First trees: by turns greedy and cut."""
    for k in range(count):
        yield _makers(k)(network, measure)


def _makers(k: int) -> Callable[[Network, Measure], Merges]:
    chooser = random.Random(k)
    if k % 2 == 0:
        greed = Greed() if k == 0 else Greed(chooser.choice((0.5, 1.0, 2.0)), chooser.uniform(0.1, 1.0), k)
        return lambda network, _: greedy_merges(network, greed)
    cutting = Cutting(chooser.uniform(0.2, 0.45), k)
    return lambda network, measure: partition_merges(network, measure, cutting)
