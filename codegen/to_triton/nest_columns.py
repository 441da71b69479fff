"""The loop over columns of a nest: accumulators, what is the same for all columns, and the loop's body."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ...ir import Size
from ...ir.loop_steps import NoForm, Step, steps_of
from ...ir.operations import maximum_of
from ...ir.scalar import sum_of_multiples
from ..names import docstring_text
from ..source import moved
from ..typed_scalars import within
from .nest_steps import NestSteps
from .nest_strips import Strips
from .nest_values import TileValue, spread
from .reductions import REDUCTIONS
from .scalars import TRITON_DTYPES, computed_dtype


class Columns:
    """Prints the loop of one kernel."""

    def __init__(self, kernel: NestSteps) -> None:
        self.kernel, self.loop = kernel, kernel.loops.columns
        self.body = self.loop.body
        self.steps = steps_of(self.body)
        self.join = dict(zip(self.body.outputs, self.loop.join, strict=True))
        self.types = {name: each.type for name, each in self.body.buffer_map().items()}
        self.strips = Strips(kernel)
        self.accumulators: dict[str, str] = {}
        self.sum_of = self._sums()
        self.read = {operand.buffer for step in self.steps for operand in step.operands} - self.sum_of.keys()

    def run(self) -> None:
        """Accumulators, what is the same for all columns, the loop, and the names of what it gave."""
        kernel, fixed = self.kernel, self._fixed()
        for step in self.steps:
            if step.buffer in self.join:
                self._accumulate(step)
        if missing := [x for x in self.body.outputs if x not in self.accumulators]:
            raise NoForm(f"a result {missing[0]} that is an operand")
        for step in self.strips.others:
            if step.buffer in fixed:
                kernel.step(step, self.body)
            else:
                self._load_fixed(step)
        first, end = self._visited()
        kernel.line(f"for start in range({first}, {end}, {kernel.indices.columns.constant}):")
        kernel.depth += 1
        outside, known = dict(kernel.loaded), dict(kernel.known)
        kernel.define_columns()
        self.strips.run()
        for step in self.strips.others:
            if step.buffer not in fixed:
                self._step(step)
        kernel.depth -= 1
        kernel.loaded, kernel.known = outside, known
        results = zip(self.body.outputs, kernel.loops.calls[-1].outputs, strict=True)
        finished = {outer: self._finished(inner) for inner, outer in results}
        kernel.values = finished

    def _sums(self) -> dict[str, str]:
        """The results that are sums of several reductions, by each of these: all are added to one accumulator."""
        by_name = {step.buffer: step for step in self.steps}
        readers = Counter(operand.buffer for step in self.steps for operand in step.operands)
        found: dict[str, str] = {}
        for step in self.steps:
            names = [operand.buffer for operand in step.operands]
            reduced = [x for x in names if x in by_name and by_name[x].reduction == "sum" and readers[x] == 1]
            is_sum = step.expression == sum_of_multiples([1] * len(names)) and len(reduced) == len(names) > 1
            if self.join.get(step.buffer) == "sum" and step.reduction is None and is_sum:
                found |= dict.fromkeys(names, step.buffer)
        return found

    def _visited(self) -> tuple[str, str]:
        """Where the first block of columns begins that is visited, and where the last one ends."""
        rows, columns = self.kernel.indices.rows, self.kernel.indices.columns
        size = self.kernel.size(columns.count)
        if self.loop.window is None:
            return "0", size
        around, low, high = self.loop.window
        if around != self.kernel.loops.rows.symbol:
            raise NoForm(f"a window around blocks of {around}")
        first, end = "0", size
        if low is not None:
            least = moved(self.kernel.first_row, low)
            least = f"tl.maximum({least}, 0)" if low < 0 else within(least)
            first = f"{least} // {columns.constant} * {columns.constant}"
        if high is not None:
            end = f"tl.minimum({moved(f'{self.kernel.first_row} + {rows.constant}', high)}, {size})"
        return first, end

    def _has_columns(self, sizes: Sequence[Size]) -> bool:
        return any(self.kernel.indices.of(size) is self.kernel.indices.columns for size in sizes)

    def _fixed(self) -> set[str]:
        """The steps that are the same for all columns."""
        found: set[str] = set()
        made = {step.buffer for step in self.steps}
        for step in self.steps:
            inside = [x.buffer for x in step.operands if x.buffer in made]
            if step.buffer not in self.join and not self._has_columns(step.sizes) and set(inside) <= found:
                found.add(step.buffer)
        return found

    def _load_fixed(self, step: Step) -> None:
        for operand in step.operands:
            is_input = operand.buffer in self.body.inputs
            if is_input and not self._has_columns(self.types[operand.buffer].shape):
                self.kernel.load(operand.buffer, self.body)

    def _accumulate(self, step: Step) -> None:
        rule = REDUCTIONS.get("max" if self.join[step.buffer] == "max" else str(self.join[step.buffer]))
        if maximum_of(self.join[step.buffer]) is not None:
            rule = REDUCTIONS["sum"]
        if rule is None or (step.reduction is None and step.buffer not in self.sum_of.values()):
            raise NoForm(f"results joined by {self.join[step.buffer]}")
        dtype = computed_dtype(self.types[step.buffer].dtype)
        kept = [each for axis, each in self.kernel.indices.tile(step.sizes) if axis in step.result]
        name = self.kernel.names.identifier({"max": "largest"}.get(str(self.join[step.buffer]), "total"))
        extents = ", ".join(each.constant for each in kept)
        self.kernel.line(f"{name} = tl.full([{extents}], {rule.neutral(dtype)}, {TRITON_DTYPES[dtype]})")
        self.accumulators[step.buffer] = name

    def _step(self, step: Step) -> None:
        if step.buffer in self.sum_of.values():
            return
        result = self.sum_of.get(step.buffer, step.buffer)
        join = self.join.get(result)
        if join is None:
            self.kernel.step(step, self.body)
        elif self._is_running(result):
            self._running_maximum(step)
        else:
            self._gathered(step, join, self.accumulators[result])

    def _is_running(self, buffer: str) -> bool:
        """Whether other results are relative to this maximum."""
        position = self.body.outputs.index(buffer)
        return any(maximum_of(join) == position for join in self.join.values())

    def _running_maximum(self, step: Step) -> None:
        """The maximum so far, and the factor by which what was relative to the one before is scaled."""
        kernel, before = self.kernel, self.accumulators[step.buffer]
        dtype = self.types[step.buffer].dtype
        kernel.step(step, self.body)
        own = kernel.values[step.buffer]
        rule = REDUCTIONS["max"]
        now, scale = kernel.names.identifier("now"), kernel.names.identifier("scale")
        kernel.helpers.add("_finite")
        kernel.line(f"{now} = {rule.joined(before, own.code, dtype, kernel.helpers)}")
        kernel.line(f"{scale} = tl.exp({before} - _finite({now}))")
        kernel.line(f"{before} = {now}")
        kernel.values[step.buffer] = replace(own, code=now)
        for buffer, join in self.join.items():
            if maximum_of(join) == self.body.outputs.index(step.buffer):
                name = self.accumulators[buffer]
                rank = len(kernel.indices.tile(self.types[buffer].shape))
                kernel.line(f"{name} *= {spread(scale, [True] * len(own.axes) + [False] * (rank - len(own.axes)))}")

    def _gathered(self, step: Step, join: int | str, name: str) -> None:
        """A step whose values are added up, or combined otherwise, over all columns."""
        kernel = self.kernel
        if step.buffer in self.read:
            raise NoForm("a result that is read within the loop")
        kernel.line(f"# {docstring_text(step.text)}")
        dtype = self.types[step.buffer].dtype
        product = kernel.product(step, self.body, name) if join == "sum" or maximum_of(join) is not None else None
        if product is not None:
            kernel.line(f"{name} = {product}")
            return
        space = kernel.indices.tile(step.sizes)
        value = kernel.reduced(step, self.body, kernel.elementwise(step, self.body, space), space)
        rule = REDUCTIONS["sum" if maximum_of(join) is not None else str(join)]
        kernel.line(f"{name} = {rule.joined(name, value, dtype, kernel.helpers)}")

    def _finished(self, buffer: str) -> TileValue:
        type = self.types[buffer]
        tile = self.kernel.indices.tile(type.shape)
        axes = tuple(axis for axis, _ in tile)
        return TileValue(self.accumulators[buffer], type.dtype, axes, tuple(each for _, each in tile))
