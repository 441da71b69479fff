"""A product of many tensors as bit masks, and the trees in which it can be multiplied up.

An index is one bit.  Indices that stand on the very same tensors are merged into one, whose size is
their product: no order of multiplication tells them apart.  Volumes are kept as base-2 logarithms,
so that sizes of any magnitude are welcome; exact integers are for the costs that are reported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

Labels = tuple[int, ...]
Path = tuple[tuple[int, int], ...]
Merges = list[tuple[int, int]]

# What an index of size one weighs: nothing, yet more than rounding, since summing over it is a
# multiply-add like any other.
UNIT_WEIGHT = 2.0**-34


@dataclass(frozen=True)
class Network:
    """Tensors as masks of their indices; bit ``k`` is an index of weight ``weights[k]`` (log2 of its size)."""

    terms: tuple[int, ...]
    output: int
    weights: tuple[float, ...]
    owners: tuple[int, ...]

    @staticmethod
    def of(inputs: Sequence[Labels], output: Labels, sizes: Mapping[int, int]) -> Network:
        """The network of one einsum; what a single tensor alone has and the result has not is left out."""
        owners: dict[int, int] = {}
        for position, labels in enumerate(inputs):
            for label in labels:
                owners[label] = owners.get(label, 0) | 1 << position
        kept = set(output)
        merged: dict[tuple[int, bool], float] = {}
        for label, mask in owners.items():
            if label in kept or mask.bit_count() > 1:
                key = (mask, label in kept)
                merged[key] = merged.get(key, 0.0) + index_weight(sizes[label])
        terms = [0] * len(inputs)
        for bit, (mask, _) in enumerate(merged):
            for position in bits(mask):
                terms[position] |= 1 << bit
        result = sum(1 << bit for bit, (_, is_kept) in enumerate(merged) if is_kept)
        return Network(tuple(terms), result, tuple(merged.values()), tuple(mask for mask, _ in merged))

    @cached_property
    def shared(self) -> int:
        """The indices on three or more tensors."""
        return sum(1 << bit for bit, mask in enumerate(self.owners) if mask.bit_count() > 2)

    @cached_property
    def weights_known(self) -> dict[int, float]:
        """Volumes found so far."""
        return {0: 0.0}

    def volume(self, mask: int) -> float:
        """log2 of the number of elements that the indices of ``mask`` span."""
        found = self.weights_known.get(mask)
        if found is None:
            weights = self.weights
            found = math.fsum(weights[bit] for bit in bits(mask))
            self.weights_known[mask] = found
        return found

    def product(self, left: int, right: int, leaves: int) -> int:
        """The indices left on the product of two tensors, which has multiplied up ``leaves`` (a mask of tensors)."""
        common = left & right
        kept = (left ^ right) | (common & self.output)
        for bit in bits(common & self.shared & ~self.output):
            if self.owners[bit] & ~leaves:
                kept |= 1 << bit
        return kept


def index_weight(size: int) -> float:
    """log2 of a size; an empty axis counts as one element."""
    return math.log2(size) if size > 1 else UNIT_WEIGHT


def bits(mask: int) -> list[int]:
    """The positions of the bits that are set, from the lowest."""
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found


def path_of(merges: Merges, count: int) -> Path:
    """The tree's products, children first, as pairs of positions; a result takes its first factor's place."""
    children = {count + step: pair for step, pair in enumerate(merges)}
    place = list(range(count)) + [0] * len(merges)
    for node in _children_first(children, count + len(merges) - 1):
        first, second = children[node]
        place[node] = min(place[first], place[second])
    present = list(range(count))
    path = []
    for node in _children_first(children, count + len(merges) - 1):
        first, second = sorted(place[child] for child in children[node])
        path.append((present.index(first), present.index(second)))
        present.remove(second)
    return tuple(path)


def merges_of(path: Path, count: int) -> Merges:
    """The tree of a path: result number ``t`` is node ``count + t``."""
    present = list(range(count))
    merges = []
    for step, (first, second) in enumerate(path):
        merges.append((present[first], present[second]))
        present[first] = count + step
        del present[second]
    return merges


def _children_first(children: Mapping[int, tuple[int, int]], root: int) -> list[int]:
    """The inner nodes below ``root``, each after its children, those on the left first."""
    order, stack = [], [root]
    while stack:
        node = stack.pop()
        if node in children:
            order.append(node)
            stack += children[node]
    return order[::-1]
