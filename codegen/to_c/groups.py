"""Which steps share a loop nest: those over one index space, none of which needs another one finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...ir import Size
from ...ir.loop_steps import Step


@dataclass
class Placed:
    """A step in a loop nest: ``loops[k]`` is the loop that its axis ``k`` runs along, None for the loop over rows."""

    step: Step
    loops: tuple[int | None, ...]

    def loop(self, axis: int) -> int | None:
        """The loop along which an axis of the step's space runs."""
        return self.loops[axis]

    @property
    def kept(self) -> tuple[int, ...]:
        """The loops that the result has, in the order of its axes."""
        return tuple(loop for axis in self.step.result if (loop := self.loops[axis]) is not None)

    @property
    def summed(self) -> tuple[int, ...]:
        """The loops that are reduced."""
        return tuple(loop for axis in self.step.reduced if (loop := self.loops[axis]) is not None)

    @property
    def sums_rows(self) -> bool:
        """Whether the result is combined over the rows."""
        return any(self.loops[axis] is None for axis in self.step.reduced)


@dataclass
class Group:
    """A loop nest: the sizes of its loops, and its steps in order."""

    sizes: tuple[Size, ...]
    steps: list[Placed] = field(default_factory=list)


def group_steps(steps: Sequence[Step], row: Size | None) -> list[Group]:
    """The steps in loop nests, in order; axes of size ``row`` belong to a loop around all of them."""
    groups: list[Group] = []
    made: dict[str, tuple[int, Placed]] = {}
    for step in steps:
        number, placed = _place(step, groups, made, row)
        if number == len(groups):
            groups.append(Group(tuple(size for size in step.sizes if size != row)))
        groups[number].steps.append(placed)
        made[step.buffer] = number, placed
    return groups


def _place(
    step: Step, groups: Sequence[Group], made: Mapping[str, tuple[int, Placed]], row: Size | None
) -> tuple[int, Placed]:
    """The group that a step goes into (a new one past the last), with its loops there."""
    before = [made[operand.buffer][0] for operand in step.operands if operand.buffer in made]
    lowest = max(before, default=-1)
    if lowest >= 0:
        loops = _aligned(step, lowest, groups[lowest], made, row)
        if loops is not None:
            return lowest, Placed(step, loops)
    plain = _in_order(step, row)
    sizes = tuple(size for size in step.sizes if size != row)
    for number in range(lowest + 1, len(groups)):
        if groups[number].sizes == sizes:
            return number, Placed(step, plain)
    return len(groups), Placed(step, plain)


def _in_order(step: Step, row: Size | None) -> tuple[int | None, ...]:
    numbers = iter(range(len(step.sizes)))
    return tuple(None if size == row else next(numbers) for size in step.sizes)


def _aligned(
    step: Step, number: int, group: Group, made: Mapping[str, tuple[int, Placed]], row: Size | None
) -> tuple[int | None, ...] | None:
    """The loops of the group that the step's axes run along, given what it reads there; None where it cannot."""
    loops: dict[int, int | None] = {axis: None for axis, size in enumerate(step.sizes) if size == row}
    for operand in step.operands:
        found = made.get(operand.buffer)
        if found is None or found[0] != number:
            continue
        producer = found[1]
        if producer.step.reduction is not None:
            return None
        for mine, its in zip(operand.axes, producer.step.result, strict=True):
            loop = producer.loop(its)
            if loops.setdefault(mine, loop) != loop:
                return None
    if len(loops) < len(step.sizes):
        return None
    used = [loop for loop in loops.values() if loop is not None]
    if sorted(used) != list(range(len(group.sizes))):
        return None
    return tuple(loops[axis] for axis in range(len(step.sizes)))
