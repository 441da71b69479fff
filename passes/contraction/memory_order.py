"""The order of a tensor's axes in memory, and the one that NumPy gives to elementwise results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Labels = tuple[int, ...]


@dataclass(frozen=True)
class Operand:
    """The labels of an operand's axes, and the same labels from the largest stride to the smallest."""

    labels: Labels
    memory: Labels

    def volume(self, sizes: Mapping[int, int]) -> int:
        """The number of elements."""
        return math.prod(max(sizes[x], 1) for x in self.labels)


def elementwise_memory(operands: Sequence[Operand], output: Labels, sizes: Mapping[int, int]) -> Labels:
    """The indices of an elementwise result from the largest stride to the smallest.

    This is NumPy's order "K": neighbouring axes change places where that suits the strides of the
    operands, and C order wins where they disagree.
    """
    strides = [_strides(operand, sizes) for operand in operands]
    order = list(reversed(output))
    for start in range(1, len(order)):
        place = start
        for earlier in range(start - 1, -1, -1):
            verdict = _before(order[start], order[earlier], strides)
            if verdict is False:
                break
            if verdict:
                place = earlier
        order.insert(place, order.pop(start))
    return tuple(reversed(order))


def _strides(operand: Operand, sizes: Mapping[int, int]) -> dict[int, int]:
    found, stride = {}, 1
    for label in reversed(operand.memory):
        found[label] = stride if sizes[label] != 1 else 0
        stride *= max(sizes[label], 1)
    return found


def _before(label: int, other: int, strides: Sequence[Mapping[int, int]]) -> bool | None:
    """Whether ``label`` has the smaller strides; None where no operand has both."""
    verdict: bool | None = None
    for operand in strides:
        ours, theirs = operand.get(label, 0), operand.get(other, 0)
        if ours and theirs:
            if theirs <= ours:
                verdict = False
            elif verdict is None:
                verdict = True
    return verdict
