"""The order of a few tensors that suits how they lie in memory.

Orders with the same operations can differ in time by a factor of three: one contracts the first or last
index of a tensor, which is a matrix product as it stands, another one in the middle, for which all of the
tensor is copied.  Here every order of a few tensors is planned with the matrix products, the copies and
the memory order of results that lowering would choose (`contraction/layout`), and the one that takes the
least time stands in for the order found by counting, if it takes clearly less.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .layout import layouts
from .memory_order import Labels, Operand
from .network import Merges, Path, merges_of, path_of

# Six tensors have 301 products of two parts.
ARRANGED_UP_TO = 6
# An order that was found by counting gives way to one that takes less than this part of its time,
_BETTER = 0.9
# and has at most so many operations, in thousandths.
_THOUSANDTHS = 1010
# So many orders of a result's axes in memory, the fastest, are pursued.
_MEMORIES = 2


@dataclass(frozen=True)
class _Way:
    """A way to multiply up some tensors: planned seconds, operations, the largest result, and the products."""

    seconds: float
    flops: int
    largest: int
    result: Operand
    tree: int | tuple[object, object]


def arranged(path: Path, inputs: Sequence[Labels], output: Labels, sizes: Mapping[int, int]) -> Path:
    """The path, or one that takes less time where the inputs lie row-major.

    It has hardly more operations than ``path``, and no larger result.
    """
    count = len(inputs)
    if not 2 < count <= ARRANGED_UP_TO:
        return path
    search = _Search(inputs, output, sizes)
    given = min(search.along(path), key=lambda way: way.seconds)
    found = search.all(given.flops * _THOUSANDTHS // 1000, given.largest)
    best = min(found, key=lambda way: way.seconds, default=given)
    return path_of(_merges(best.tree, count), count) if best.seconds < _BETTER * given.seconds else path


class _Search:
    def __init__(self, inputs: Sequence[Labels], output: Labels, sizes: Mapping[int, int]) -> None:
        owners = Counter(x for labels in inputs for x in labels)
        self.output, self.sizes = set(output), sizes
        # What one tensor alone has is summed out of it before.
        self.inputs = [tuple(x for x in labels if owners[x] > 1 or x in self.output) for labels in inputs]
        self.leaves = [[_Way(0.0, 0, 0, Operand(x, x), k)] for k, x in enumerate(self.inputs)]

    def along(self, path: Path) -> list[_Way]:
        """The ways to follow a path."""
        found = [*self.leaves]
        masks = [1 << k for k in range(len(found))]
        for first, second in merges_of(path, len(found)):
            masks.append(masks[first] | masks[second])
            found.append(_fastest(self._products(found[first], found[second], masks[-1], math.inf, math.inf)))
        return found[-1]

    def all(self, flops: float, largest: float) -> list[_Way]:
        """The fastest ways within bounds on operations and on elements of results."""
        count = len(self.inputs)
        ways = {1 << k: leaf for k, leaf in enumerate(self.leaves)}
        for size in range(2, count + 1):
            for members in itertools.combinations(range(count), size):
                whole = sum(1 << k for k in members)
                halves = [(part, whole - part) for part in _parts(members)]
                found = [way for a, b in halves for way in self._products(ways[a], ways[b], whole, flops, largest)]
                ways[whole] = _fastest(found)
        return ways[(1 << count) - 1]

    def _products(
        self, left: Sequence[_Way], right: Sequence[_Way], whole: int, flops: float, largest: float
    ) -> Iterator[_Way]:
        for a, b in itertools.product(left, right):
            joined = dict.fromkeys((*a.result.labels, *b.result.labels))
            kept = self._kept(joined, whole)
            volume = self._volume(kept)
            operations = a.flops + b.flops + self._volume(joined) * (1 + (len(kept) < len(joined)))
            if operations > flops or volume > largest:
                continue
            largest_here = max(a.largest, b.largest, volume)
            for layout in layouts(a.result, b.result, kept, self.sizes):
                seconds = a.seconds + b.seconds + layout.seconds
                yield _Way(seconds, operations, largest_here, Operand(kept, layout.memory), (a.tree, b.tree))

    def _kept(self, joined: Mapping[int, None], whole: int) -> Labels:
        outside = {x for k, labels in enumerate(self.inputs) if not whole >> k & 1 for x in labels}
        return tuple(x for x in joined if x in outside or x in self.output)

    def _volume(self, labels: Mapping[int, None] | Labels) -> int:
        return math.prod(max(self.sizes[x], 1) for x in labels)


def _parts(members: Sequence[int]) -> Iterator[int]:
    """The parts with the first member, short of all."""
    first, *rest = members
    for chosen in range(2 ** len(rest) - 1):
        yield (1 << first) + sum(1 << k for place, k in enumerate(rest) if chosen >> place & 1)


def _fastest(ways: Iterator[_Way] | Sequence[_Way]) -> list[_Way]:
    """The fastest way for each order of the result in memory; of these the fastest few."""
    best: dict[Operand, _Way] = {}
    for way in sorted(ways, key=lambda way: way.seconds):
        best.setdefault(way.result, way)
    return list(best.values())[:_MEMORIES]


def _merges(tree: object, count: int) -> Merges:
    """The products of a tree, children first."""
    merges: Merges = []

    def place(node: object) -> int:
        if isinstance(node, int):
            return node
        assert isinstance(node, tuple)
        left, right = node
        merges.append((place(left), place(right)))
        return count + len(merges) - 1

    place(tree)
    return merges
