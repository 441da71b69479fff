"""The body of a kernel that goes through an index in chunks, since a tile has no room for all of its positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...ir import DType
from .axes import Index, PlacedStep
from .moments import Deviation, RunningDeviation, deviations
from .online import running_sums
from .reductions import REDUCTIONS
from .scalars import TRITON_DTYPES, computed_dtype
from .tiles import Dimension

if TYPE_CHECKING:
    from .loops import TritonKernel


class ChunkedBody:
    """Stage after stage: a loop over chunks for what can be reduced, then what follows from it.

    Values along the chunked index are computed anew in each loop; what they are computed from is read again.  Sums
    relative to a maximum run along with it, in one loop, and distances from the mean, squared or weighted, along with
    its sum.
    """

    def __init__(self, kernel: TritonKernel, chunk: Dimension) -> None:
        self.kernel, self.chunk = kernel, chunk
        self.index = chunk.indices[0]  # where it goes the others go
        self.steps = kernel.axes.steps
        stages = _stages(self.steps, self.index, {}, {})
        self.running = running_sums(self.steps, self.index, stages, kernel.results | set(kernel.axes.parts))
        self.deviations = deviations(kernel, self.index, {*self.running, *kernel.axes.parts}, stages)
        self.stages = _stages(self.steps, self.index, self.running, self.deviations)
        self.squares: dict[str, RunningDeviation] = {}

    def write(self) -> None:
        """The kernel's lines."""
        for stage in range(max(self.stages.values(), default=0) + 1):
            for placed in self.steps:
                if self.stages[placed.step.buffer] != stage:
                    continue
                if placed.step.buffer in self.squares:
                    self.squares[placed.step.buffer].end()
                elif self.index not in placed.space:
                    self.kernel.step(placed)
            self._loop(stage)

    def _loop(self, stage: int) -> None:
        """What is reduced over the index, or written along it, at this stage."""
        along = [x for x in self.steps if self.index in x.space and x.step.buffer not in self.deviations]
        goals = [x for x in along if self._is_goal(x, stage)]
        ended = [x for x in goals if self.index in x.reduced]
        together = {self.running.get(x.step.buffer) for x in ended}
        inside = [x for x in along if self._is_ready(x, stage, ended, together)]
        weights = [x.weight for x in self.deviations.values() if x.weight is not None and x.total in ended]
        wanted = _needed([*goals, *weights], inside)
        if not wanted:
            return
        kernel = self.kernel
        for placed in ended:
            if placed.step.buffer in together:
                self._begin_maximum(placed)
            else:
                kernel.accumulate(placed)
                self._begin_squares(placed)
        taken: dict[str, str] = {}
        outside, loaded, results = dict(kernel.values), dict(kernel.loaded), kernel.results
        kernel.results = results & {x.step.buffer for x in goals}
        start = kernel.names.identifier("start")
        kernel.line(f"for {start} in range(0, {kernel.count(self.chunk)}, {self.chunk.constant}):")
        kernel.depth += 1
        kernel.define(self.chunk, f"{start} + ")
        for placed in inside:
            if placed.step.buffer in wanted:
                if placed.step.buffer in together and placed in ended:
                    self._move_maximum(placed)
                elif any(x.total is placed for x in self.deviations.values()):
                    taken[placed.step.buffer] = self._move_total(placed)
                else:
                    kernel.step(placed)
        for each in self.squares.values():
            if (total := each.deviation.total.step.buffer) in taken:
                each.take(taken[total])
        kernel.depth -= 1
        kernel.values, kernel.loaded, kernel.results = outside, loaded, results
        for placed in ended:
            if placed.step.buffer in together:
                self._end_maximum(placed)
            else:
                kernel.finish(placed)

    def _is_goal(self, placed: PlacedStep, stage: int) -> bool:
        name = placed.step.buffer
        return self.stages[name] == stage and (self.index in placed.reduced or name in self.kernel.results)

    def _is_ready(self, placed: PlacedStep, stage: int, ended: Sequence[PlacedStep], together: set[str | None]) -> bool:
        """Whether a step can run in the loop of a stage: one of it, or between a maximum and a sum that are."""
        if self.index in placed.reduced:
            return placed in ended
        following = any(name is not None for name in together)
        return self.stages[placed.step.buffer] <= stage + following

    # --- a maximum, and the sums that run along with it ------------------------------------------

    def _begin_maximum(self, placed: PlacedStep) -> None:
        kernel, name = self.kernel, placed.step.buffer
        dims = kernel.dims(tuple(placed.kept))
        maximum = kernel.names.identifier(f"{kernel.hint(name)}_max")
        kernel.accumulators[name] = maximum, dims
        extents, dtype = ", ".join(kernel.extents(dims)), TRITON_DTYPES[computed_dtype(self._dtype(placed))]
        kernel.line(f'{maximum} = tl.full([{extents}], float("-inf"), {dtype})')

    def _move_maximum(self, placed: PlacedStep) -> None:
        """The maximum with this chunk, and the sums so far relative to it."""
        kernel, name = self.kernel, placed.step.buffer
        rule = REDUCTIONS["max"]
        maximum, dims = kernel.accumulators[name]
        value, _ = kernel.reducible(placed, REDUCTIONS["shift"])
        gone = sorted(kernel.dims(tuple(placed.reduced)))
        largest = kernel.names.identifier(f"{maximum}_new")
        reduced = rule.reduced(value, gone, self._dtype(placed), kernel.helpers)
        kernel.line(f"{largest} = {rule.joined(maximum, reduced, self._dtype(placed), kernel.helpers)}")
        kernel.helpers |= {"_finite", "_rescaling"}
        factor = kernel.names.identifier(f"{maximum}_factor")
        kernel.line(f"{factor} = _rescaling({maximum}, {largest})")
        for total, its in self.running.items():
            if its == name and total in kernel.accumulators:
                kernel.line(f"{kernel.accumulators[total][0]} *= {factor}")
        kernel.line(f"{maximum} = {largest}")
        kernel.values[name] = kernel.named(name, f"_finite({maximum})"), dims

    def _end_maximum(self, placed: PlacedStep) -> None:
        kernel, name = self.kernel, placed.step.buffer
        maximum, dims = kernel.accumulators.pop(name)
        kernel.values[name] = kernel.named(name, f"_finite({maximum})"), dims
        kernel.write(placed)

    # --- a sum, and the squares of the distances from its mean -----------------------------------

    def _begin_squares(self, total: PlacedStep) -> None:
        count: str | None = None
        for name, each in self.deviations.items():
            if each.total is total:
                self.squares[name] = RunningDeviation(self.kernel, each, count)
                self.squares[name].begin()
                count = self.squares[name].count

    def _move_total(self, placed: PlacedStep) -> str:
        """The total with this chunk; what it took in."""
        kernel = self.kernel
        value, _ = kernel.reducible(placed, REDUCTIONS["sum"])
        total, _ = kernel.accumulators[placed.step.buffer]
        kernel.line(f"{total} = {REDUCTIONS['sum'].joined(total, value, self._dtype(placed), kernel.helpers)}")
        return value

    def _dtype(self, placed: PlacedStep) -> DType:
        return self.kernel.dtypes[placed.step.buffer]


def _stages(
    steps: Sequence[PlacedStep], index: Index, running: Mapping[str, str], squares: Mapping[str, Deviation]
) -> dict[str, int]:
    """For each step, how many loops over the index must be done before it.

    ``running`` sums and ``squares`` need none of their own: these come after the loop of their total.
    """
    found: dict[str, int] = {}
    reducing = {x.step.buffer for x in steps if index in x.reduced and x.step.buffer not in squares}
    for placed in steps:
        name = placed.step.buffer
        if name in running:
            found[name] = found[running[name]]
        elif name in squares:
            found[name] = found[squares[name].total.step.buffer] + 1
        else:
            before = [found[x.buffer] + (x.buffer in reducing) for x in placed.step.operands if x.buffer in found]
            found[name] = max(before, default=0)
    return found


def _needed(goals: Sequence[PlacedStep], inside: Sequence[PlacedStep]) -> set[str]:
    """The steps of a loop that these need, themselves among them."""
    by_name = {x.step.buffer: x for x in inside}
    wanted: set[str] = set()
    stack = list(goals)
    while stack:
        placed = stack.pop()
        if placed.step.buffer not in wanted:
            wanted.add(placed.step.buffer)
            stack += [by_name[x.buffer] for x in placed.step.operands if x.buffer in by_name]
    return wanted
