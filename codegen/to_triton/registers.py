"""How many registers the values of a tile take, from when each is there and when it is last read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...ir import DType
from .axes import Axes, Index, PlacedStep
from .scalars import computed_dtype

Value = tuple[str, tuple[Index | None, ...] | None]  # what a step made; or an operand along these indices


@dataclass(frozen=True)
class Registers:
    """What a kernel holds at once: of its steps in their order, on tiles with all positions of their inner indices."""

    axes: Axes
    dtypes: Mapping[str, DType]

    @property
    def item_bytes(self) -> int:
        """The bytes of an element of those values that have the most indices."""
        found = [(len(set(indices) - {None}), self._bytes(name)) for name, indices in self._indices()]
        most = max((count for count, _ in found), default=0)
        return max((size for count, size in found if count == most), default=4)

    def held(self, lengths: Sequence[int], gathers: bool) -> int:
        """The most bytes at once for one position of the outer indices.

        ``lengths`` are those of the inner dimensions.  A program that ``gathers`` has a sum for each part, as large
        as what it takes in.  What is loaded for one step alone goes through few registers, as does what is made for
        one step that reduces it.
        """
        first, last = self._first_and_last_readers()
        reducing = [bool(self.axes.inner_of(tuple(x.reduced))) for x in self.axes.steps]
        kept = sum(self._size(x.step.buffer, x.indices, lengths) for x in self.axes.steps
                   if gathers and x.step.buffer in self.axes.parts)  # fmt: skip
        held: dict[Value, int] = {}
        most = kept
        for number, placed in enumerate(self.axes.steps):
            for value in self._read(placed):
                if value[1] is not None and first[value] < last[value]:
                    held[value] = self._size(*value, lengths)
            most = max(most, kept + sum(held.values()))
            held = {value: size for value, size in held.items() if last[value] > number}
            made: Value = (placed.step.buffer, None)
            if made in last and not (first[made] == last[made] and reducing[last[made]]):
                held[made] = self._size(placed.step.buffer, placed.result, lengths)
            most = max(most, kept + sum(held.values()), self._size(placed.step.buffer, placed.indices, lengths))
        return most

    def _first_and_last_readers(self) -> tuple[dict[Value, int], dict[Value, int]]:
        """The numbers of the first and the last step that read each value."""
        first: dict[Value, int] = {}
        last: dict[Value, int] = {}
        for number, placed in enumerate(self.axes.steps):
            for value in self._read(placed):
                first.setdefault(value, number)
                last[value] = number
        return first, last

    def _read(self, placed: PlacedStep) -> Iterator[Value]:
        made = {x.step.buffer for x in self.axes.steps}
        for position, operand in enumerate(placed.step.operands):
            yield operand.buffer, None if operand.buffer in made else placed.operand(position)

    def _indices(self) -> Iterator[tuple[str, tuple[Index | None, ...]]]:
        for placed in self.axes.steps:
            yield placed.step.buffer, placed.indices
            for position, operand in enumerate(placed.step.operands):
                yield operand.buffer, placed.operand(position)

    def _size(self, buffer: str, indices: Sequence[Index | None] | None, lengths: Sequence[int]) -> int:
        return self._bytes(buffer) * math.prod(lengths[k] for k in self.axes.inner_of(indices or ()))

    def _bytes(self, buffer: str) -> int:
        return max(computed_dtype(self.dtypes[buffer]).bits // 8, 4)  # a register has four
