"""Blocks that a mask hides: between which positions a pass has something to sum.

Where scores are masked by a comparison of their two positions, what is on one side of some distance contributes
nothing: the term of every sum is exactly 0, and that of every maximum minus infinity.  The loop of a pass then visits
only the blocks that are not hidden whole.  So it is for causal masks and for windows of neighbours, from ``where`` with
minus infinity, with 0 or with a large negative number, and for products with brackets.

The sums are as without the window under these conditions, all of which are checked but the first and the last:

- What the region reads from memory is finite, and so are sums and products of that.  A factor that meets nothing but
  hidden elements in a block is not read there, and a row hands nothing to what it does not see: a NaN or an infinity
  reaches fewer results than by 0 · NaN.  The scores that ``where`` hides may be anything.
- A quotient is 0 only where its divisor is a sum of ``exp(score - maximum)`` in which every position has a visible
  score made of products, so that it is 1 at least; where rows may be hidden whole, sums of quotients have no window.
- A number in the place of hidden scores is -1e30 or less, and every position has such a visible score.
- That score is larger than the number by more than 1100, so that its exponential is 0 in every dtype.
"""

from __future__ import annotations

import itertools

from ...ir import operations as ops
from .elements import Distances, Elements, Mask, Region
from .sweeps import Sweep

_MOST_THRESHOLDS = 4


class Windows:
    """The windows of a region's passes."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.masks = _masks(region)

    def of(self, sweep: Sweep) -> tuple[int | None, int | None] | None:
        """How far before and beyond a position of its outer index a pass has something to sum; None where anywhere."""
        for mask in self.masks:
            if all(mask.is_neutral(node) for node in sweep.exits):
                low, high = mask.visible.low, mask.visible.high
                if sweep.outer == self.region.scores.rows:
                    return low, high
                return (None if high is None else -high), (None if low is None else -low)
        return None


def _masks(region: Region) -> list[Mask]:
    """What masks may leave visible, the narrowest first."""
    if not any(isinstance(node.op, ops.Iota) for node in region.order):
        return []
    thresholds = _thresholds(region)[:_MOST_THRESHOLDS]
    lows, highs = [*(x + 1 for x in thresholds), None], [*thresholds, None]
    found = [Distances(low, high) for low, high in itertools.product(lows, highs)
             if (low, high) != (None, None) and (low is None or high is None or low <= high)]  # fmt: skip
    return [Mask(region, x) for x in sorted(found, key=_width)]


def _thresholds(region: Region) -> list[int]:
    """The distances beyond which some comparison of positions has another outcome."""
    everything = Elements(Mask(region, Distances(None, None)), Distances(None, None))
    for node in region.scores.exits:
        everything.operands(node)
    return sorted(everything.thresholds, key=lambda x: (abs(x), x))


def _width(visible: Distances) -> tuple[int, int]:
    ends = (visible.low, visible.high)
    return ends.count(None), (visible.high or 0) - (visible.low or 0)
