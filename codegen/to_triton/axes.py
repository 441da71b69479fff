"""Which axes of a loop's steps are one index, and what each index is to a kernel.

Steps share an index where one reads what another made, and where an operand or a size is the same.  Every index
has one of three parts in a kernel:

* ``parallel``: every step and every result has it, and nothing is reduced over it.  Its positions are spread
  over the programs; several such indices are one, flattened.  Where a tensor is read or written with its axes turned,
  they are two (the second is called ``across``), so that a tile has neighbours in memory of this and of the others.
* ``combined``: results are combined over it.  Programs take parts of it, and a second reduction combines
  what they give.  An index that only results are reduced over becomes one where programs would be too few,
  or would read memory across its rows, with it inside of their tiles.
* ``inner``: the others; a program has all of their positions in its tile.  Those that every step has, and reduces,
  together are one, flattened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...ir import Size
from ...ir.dims import dim, evaluate
from ...ir.kernels import BlockLoop
from ...ir.loop_steps import NoForm, Step
from ...ir.program import Buffer

Index = int
_SIDE = 16  # positions from which on two sides of a tile are better than one
_FEW, _LONG = 2048, 2048  # positions that are too few for a GPU, and those that are many for one program


@dataclass(frozen=True)
class PlacedStep:
    """A step, and the index that each axis of its space runs along; None for an axis of size 1."""

    step: Step
    indices: tuple[Index | None, ...]

    @property
    def space(self) -> frozenset[Index]:
        """The indices of the step's space."""
        return frozenset(x for x in self.indices if x is not None)

    @property
    def kept(self) -> frozenset[Index]:
        """The indices of its result."""
        return frozenset(x for axis in self.step.result if (x := self.indices[axis]) is not None)

    @property
    def reduced(self) -> frozenset[Index]:
        """The indices that it reduces."""
        return self.space - self.kept

    def operand(self, position: int) -> tuple[Index | None, ...]:
        """The indices of the axes of an operand."""
        return tuple(self.indices[axis] for axis in self.step.operands[position].axes)

    @property
    def result(self) -> tuple[Index | None, ...]:
        """The indices of the axes of the result."""
        return tuple(self.indices[axis] for axis in self.step.result)


@dataclass(frozen=True)
class Axes:
    """The steps of a loop with their indices, the size of each index, and the part that it has."""

    steps: tuple[PlacedStep, ...]
    sizes: dict[Index, Size]
    parallel: tuple[Index, ...]
    across: tuple[Index, ...]
    combined: tuple[Index, ...]
    inner: tuple[tuple[Index, ...], ...]
    parts: Mapping[str, str]
    runs_parallel: bool = False  # whether neighbours in memory are along a parallel index, not along an inner one

    def inner_of(self, indices: Sequence[Index | None]) -> tuple[int, ...]:
        """The inner dimensions that some indices are on, by their numbers."""
        return tuple(number for number, group in enumerate(self.inner) if set(group) & set(indices))

    @property
    def parts_are_sums(self) -> bool:
        """Whether every part is one reduction, so that a program can gather that of several tiles.

        The logarithm of a sum of exponentials is several steps, one of which reads a maximum over its tile.
        """
        return all(x.step.reduction is not None for x in self.steps if x.step.buffer in self.parts)


def axes_of(loop: BlockLoop, steps: Sequence[Step], sizes: Mapping[str, int]) -> Axes:
    """The indices of a loop, for these sizes; raises ``NoForm`` where a step has one index twice.

    ``parts`` of it are the results of which each program gives a part, with the reductions that combine them.
    """
    ties = _Ties(loop, steps)
    placed = ties.placed()
    extent = {index: size for each in placed for index, size in zip(each.indices, each.step.sizes, strict=True)
              if index is not None}  # fmt: skip
    row = ties.row
    if row is not None:
        extent[row] = loop.size
    join = dict(zip(loop.body.outputs, loop.join, strict=True))
    results = [each for each in placed if each.step.buffer in join]
    parallel = [
        index
        for index in extent
        if all(index in each.space and index not in each.reduced for each in placed)
        and all(index in each.kept for each in results)
    ]
    order, innermost = _memory_order(loop, placed)
    positions = {index: evaluate(size, sizes) for index, size in extent.items()}
    first = _to_combine(placed, results, parallel, row, order, positions)
    combined = [] if first is None else [first]
    combined += [x for x in extent if x not in (*parallel, *combined) and combined and _goes_along(x, first, placed)]
    inner = sorted((x for x in extent if x not in parallel and x not in combined), key=order.__getitem__)
    groups: dict[Index, list[Index]] = {}
    for index in inner:
        groups.setdefault(next((x for x in groups if _goes_along(index, x, placed)), index), []).append(index)
    spread, shared = (tuple(sorted(part, key=order.__getitem__)) for part in (parallel, combined))
    parts = {x.step.buffer: x.step.reduction or str(join[x.step.buffer]) for x in results if set(combined) - x.kept}
    split = _turned(loop, placed, spread, positions) if not combined and not inner else len(spread)
    whole = tuple(map(tuple, groups.values()))
    return Axes(tuple(placed), extent, spread[:split], spread[split:], shared, whole, parts, innermost in parallel)


def _turned(
    loop: BlockLoop, placed: Sequence[PlacedStep], spread: Sequence[Index], positions: Mapping[Index, int]
) -> int:
    """After how many indices to split those that are spread over programs, so that tiles have two dimensions.

    That is after one that is innermost in a tensor that has the last one too, of which reading along that would jump:
    of several, the one of most elements.  All of them, where no tensor is like that or rows of it are short.
    """
    elements: dict[Index, int] = {}
    for buffer, indices in _tensors(loop, placed):
        memory = [index for axis in _layout(buffer, len(indices)) if (index := indices[axis]) is not None]
        if memory and memory[-1] in spread and spread[-1] in memory[:-1]:
            size = math.prod(positions[index] for index in memory)
            elements[memory[-1]] = elements.get(memory[-1], 0) + size
    long = [x for x in elements if min(positions[x], positions[spread[-1]]) >= _SIDE]
    return spread.index(max(long, key=elements.__getitem__)) + 1 if long else len(spread)


def _to_combine(
    placed: Sequence[PlacedStep],
    results: Sequence[PlacedStep],
    parallel: Sequence[Index],
    row: Index | None,
    order: Mapping[Index, int],
    positions: Mapping[Index, int],
) -> Index | None:
    """The index to combine results over, where there is to be one: of those that can be, the outermost in memory.

    It can be one that every step has, and that only results are reduced over which no step reads.
    """
    read = {operand.buffer for each in placed for operand in each.step.operands}
    last = [x for x in results if x.step.buffer not in read and x.step.reduction != "shift"]
    found = [
        index
        for index in sorted(set(order) - set(parallel), key=order.__getitem__)
        if positions[index] > 1
        and all(index in x.space and (index not in x.reduced or x in last) for x in placed)
        and (index == row or any(index in x.reduced for x in results))
    ]
    if row is not None and row not in parallel:
        return min([row, *found], key=order.__getitem__)
    spread = math.prod(positions[index] for index in parallel)
    across = max((order[x] for x in parallel), default=-1)
    worthwhile = (x for x in found if across > order[x] or (positions[x] >= _LONG and spread < _FEW))
    return next(worthwhile, None)


def _goes_along(index: Index, other: Index | None, placed: Sequence[PlacedStep]) -> bool:
    """Whether every step has one index where it has the other, and reduces both or neither."""
    return all(
        (index in x.space) == (other in x.space) and (index in x.reduced) == (other in x.reduced) for x in placed
    )


class _Ties:
    """Axes that are one index, found by joining: first what must be, then what may be."""

    def __init__(self, loop: BlockLoop, steps: Sequence[Step]) -> None:
        self.steps, self.parents = steps, list(range(sum(len(step.sizes) for step in steps)))
        self.first = [sum(len(step.sizes) for step in steps[:k]) for k in range(len(steps))]
        block = dim(loop.symbol)
        rows = [self.first[k] + axis for k, step in enumerate(steps) for axis, size in enumerate(step.sizes)
                if size == block]  # fmt: skip
        for place in rows:
            self._join(rows[0], place)
        self._follow_values()
        self._check()
        self._share_operands(set(loop.body.inputs))
        self._share_sizes()
        self.row = self._root(rows[0]) if rows else None

    def placed(self) -> list[PlacedStep]:
        """The steps with their indices."""
        return [
            PlacedStep(step, tuple(None if size == 1 else self._root(self.first[k] + axis)
                                   for axis, size in enumerate(step.sizes)))
            for k, step in enumerate(self.steps)
        ]  # fmt: skip

    def _root(self, place: int) -> int:
        while self.parents[place] != place:
            place = self.parents[place]
        return place

    def _join(self, first: int, second: int) -> None:
        one, other = sorted((self._root(first), self._root(second)))
        self.parents[other] = one

    def _follow_values(self) -> None:
        made: dict[str, int] = {}
        for number, step in enumerate(self.steps):
            for operand in step.operands:
                if (maker := made.get(operand.buffer)) is not None:
                    for mine, its in zip(operand.axes, self.steps[maker].result, strict=True):
                        self._join(self.first[number] + mine, self.first[maker] + its)
            made[step.buffer] = number

    def _check(self) -> None:
        for number, step in enumerate(self.steps):
            if not self._is_plain(number):
                raise NoForm(f"one index along two axes, in {step.text}")

    def _is_plain(self, number: int) -> bool:
        step = self.steps[number]
        roots = [self._root(self.first[number] + axis) for axis, size in enumerate(step.sizes) if size != 1]
        return len(set(roots)) == len(roots)

    def _may_join(self, first: int, second: int) -> None:
        """Make two places one index unless a step would then have it twice."""
        if self._root(first) == self._root(second):
            return
        before = list(self.parents)
        self._join(first, second)
        if not all(self._is_plain(number) for number in range(len(self.steps))):
            self.parents = before

    def _share_operands(self, inputs: set[str]) -> None:
        known: dict[tuple[str, int], int] = {}
        for number, step in enumerate(self.steps):
            for operand in step.operands:
                if operand.buffer in inputs:
                    for axis, mine in enumerate(operand.axes):
                        place = self.first[number] + mine
                        self._may_join(known.setdefault((operand.buffer, axis), place), place)

    def _share_sizes(self) -> None:
        known: dict[Size, list[int]] = {}
        for number, step in enumerate(self.steps):
            for axis, size in enumerate(step.sizes):
                place = self.first[number] + axis
                for other in known.setdefault(size, []):
                    self._may_join(other, place)
                known[size].append(place)


def _memory_order(loop: BlockLoop, placed: Sequence[PlacedStep]) -> tuple[dict[Index, int], Index | None]:
    """The place of each index in memory, by the largest of the tensors that are whole, and the last one of that."""
    order: dict[Index, int] = {}
    largest = sorted(_tensors(loop, placed), key=lambda x: -len(set(x[1]) - {None}))
    for buffer, indices in largest:
        for axis in _layout(buffer, len(indices)):
            index = indices[axis]
            if index is not None:
                order.setdefault(index, len(order))
    for each in placed:
        for index in each.space:
            order.setdefault(index, len(order))
    named = [x for buffer, indices in largest[:1] for axis in _layout(buffer, len(indices))
             if (x := indices[axis]) is not None]  # fmt: skip
    return order, named[-1] if named else None


def _tensors(loop: BlockLoop, placed: Sequence[PlacedStep]) -> list[tuple[Buffer, tuple[Index | None, ...]]]:
    """The results and operands of a loop, with the indices of their axes."""
    buffers = loop.body.buffer_map()
    results = [(buffers[x.step.buffer], x.result) for x in placed if x.step.buffer in loop.body.outputs]
    operands = [
        (buffers[operand.buffer], each.operand(k))
        for each in placed
        for k, operand in enumerate(each.step.operands)
        if operand.buffer in loop.body.inputs
    ]
    return [*results, *operands]


def _layout(buffer: Buffer, rank: int) -> Sequence[int]:
    return buffer.layout if len(buffer.layout) == rank else range(rank)
