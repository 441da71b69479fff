"""The cheapest order of a few tensors, exactly: dynamic programming over all their subsets.

Every binary tree is considered, outer and elementwise products among them, so indices on three or more
tensors are planned exactly.  With T(S) the volume of the indices that touch the subset S, and C(S) that
of the indices that lie wholly inside it and are summed there (log2 both), the result of S has volume
T(S) - C(S), and multiplying up S from its halves A and B runs over T(S) - C(A) - C(B).  So n tensors cost
3ⁿ/2 evaluations of one formula, done by NumPy a level (subsets of one size) at a time.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .measure import Measure, Volumes, powers
from .network import Merges, Network, bits

# The largest number of tensors: 14 take 2.4 million evaluations, about 0.1 s.
EXACT_TERMS = 14

Indices = npt.NDArray[np.intp]

# Two costs closer than this are equal: the earlier split wins, on every machine.
_EQUAL = 1 + 1e-12


@dataclass(frozen=True)
class Level:
    """The subsets of one size, and their halves: ``left[k, s]`` and ``right[k, s]`` make up ``subsets[k]``."""

    subsets: Indices
    left: Indices
    right: Indices


@functools.lru_cache(maxsize=EXACT_TERMS + 1)
def _levels(count: int) -> tuple[Level, ...]:
    found = []
    for size in range(2, count + 1):
        members = np.array(list(itertools.combinations(range(count), size)), dtype=np.intp)
        values = np.left_shift(1, members)
        choices = np.arange(2 ** (size - 1) - 1, dtype=np.intp)
        chosen = (choices[:, None] >> np.arange(size - 1)) & 1
        subsets = values.sum(axis=1)
        left = values[:, :1] + values[:, 1:] @ chosen.T
        found.append(Level(subsets, left, subsets[:, None] - left))
    return tuple(found)


def cheapest_merges(
    network: Network,
    terms: Sequence[int],
    output: int,
    measure: Measure,
    shift: float | None = None,
) -> Merges:
    """The cheapest tree over ``terms`` (masks of the network's indices), of which ``output`` remains.

    Costs are added up in units of 2**shift, by default the largest tensor's volume.
    """
    count = len(terms)
    if count < 3:
        return [(0, 1)] * (count - 1)
    if shift is None:
        shift = max(map(network.volume, terms))
    touched, closed = _volumes(network, terms, output)
    kept = touched - closed
    results = powers(kept - shift) * measure.element
    best = np.zeros(1 << count)
    choice = np.zeros(1 << count, dtype=np.intp)
    for level in _levels(count):
        costs = _split_costs(level, touched, closed, kept, measure, shift)
        costs += best[level.left]
        costs += best[level.right]
        least = costs.min(axis=1)
        first = (costs <= least[:, None] * _EQUAL).argmax(axis=1)
        best[level.subsets] = least + results[level.subsets]
        choice[level.subsets] = level.left[np.arange(len(first)), first]
    return _merges(choice, count)


def _split_costs(
    level: Level, touched: Volumes, closed: Volumes, kept: Volumes, measure: Measure, shift: float
) -> Volumes:
    joined = touched[level.subsets][:, None] - (closed[level.left] + closed[level.right])
    sides = (kept[level.left], kept[level.right]) if measure.shaped else None
    return measure.steps(joined, kept[level.subsets][:, None], sides, shift)


def _volumes(network: Network, terms: Sequence[int], output: int) -> tuple[Volumes, Volumes]:
    """T and C of every subset, by sums over subsets (a zeta transform)."""
    count = len(terms)
    owners: dict[int, int] = {}
    for position, mask in enumerate(terms):
        for bit in bits(mask):
            owners[bit] = owners.get(bit, 0) | 1 << position
    table = np.zeros((2, 1 << count))
    for bit, mask in owners.items():
        table[0, mask] += network.weights[bit]
        if not output >> bit & 1:
            table[1, mask] += network.weights[bit]
    for position in range(count):
        halves = table.reshape(2, -1, 2, 1 << position)
        halves[:, :, 1] += halves[:, :, 0]
    inside, closed = table
    return inside[-1] - inside[::-1], closed


def _merges(choice: Indices, count: int) -> Merges:
    """The tree of the chosen halves, children first."""
    merges: Merges = []

    def build(subset: int) -> int:
        if subset.bit_count() == 1:
            return subset.bit_length() - 1
        left = int(choice[subset])
        pair = build(left), build(subset - left)
        merges.append(pair)
        return count + len(merges) - 1

    build((1 << count) - 1)
    return merges
