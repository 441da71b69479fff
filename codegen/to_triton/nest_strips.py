"""Scores whose inner index comes strip by strip: a loop within the loop over columns, for all products along one index.

A product of float32 has both of its operands in registers, and each of them twice, as the parts that tensor-float32
takes.  Strips are what fits there.  Rows are read again for each block of columns, from the cache of the processor.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from ...ir import Size
from ...ir.loop_steps import Step, steps_of
from ...ir.scalar import Call
from ..names import docstring_text
from .nest_steps import NestSteps
from .nest_values import TileValue
from .scalars import TRITON_DTYPES, computed_dtype


class Strips:
    """Prints the loops over strips of one kernel; ``others`` are the steps that are left to do after them."""

    def __init__(self, kernel: NestSteps) -> None:
        self.kernel, self.body, self.strip = kernel, kernel.body, kernel.loops.columns.strip
        self.types = self.body.buffer_map()
        self.steps = {step.buffer: step for step in steps_of(self.body)}
        self.products: dict[Size, list[Step]] = {}
        for step in self.steps.values():
            if (size := self._index_of(step)) is not None:
                self.products.setdefault(size, []).append(step)
        made = {step.buffer for steps in self.products.values() for step in steps}
        needed = self._needed(self.body.outputs, made)
        self.others = [step for name, step in self.steps.items() if name in needed and name not in made]

    def run(self) -> None:
        """The loops, and in ``values`` of the kernel what they make."""
        for size, products in self.products.items():
            self._loop(size, products)

    def _index_of(self, step: Step) -> Size | None:
        """The index that a product sums strip by strip: it is longer than a strip, and both operands are in memory."""
        multiplied = isinstance(step.expression, Call) and step.expression.function == "mul" and len(step.operands) == 2
        if self.strip is None or step.reduction != "sum" or not multiplied or len(step.reduced) != 1:
            return None
        indices, (summed,) = self.kernel.indices, step.reduced
        sides = [{axis for axis in operand.axes if indices.batch_of(step.sizes[axis]) is None}
                 for operand in step.operands]  # fmt: skip
        if any(len(side) != 2 or summed not in side for side in sides) or not indices.is_longer(
            step.sizes[summed], self.strip
        ):
            return None
        kept = {indices.long_of(step.sizes[axis]) for side in sides for axis in side if axis != summed}
        are_scores = kept == {indices.rows, indices.columns}
        return step.sizes[summed] if are_scores and all(self._is_read(x.buffer) for x in step.operands) else None

    def _is_read(self, buffer: str) -> bool:
        """Whether a value is one in memory, or made from such element by element."""
        step = self.steps.get(buffer)
        return step is None or (step.reduction is None and all(self._is_read(x.buffer) for x in step.operands))

    def _needed(self, wanted: Iterable[str], given: Container[str] = ()) -> set[str]:
        """The steps that lead to ``wanted`` ones, which are among them, from those that are ``given``."""
        found: set[str] = set()
        stack = list(wanted)
        while stack:
            step = self.steps.get(stack.pop())
            if step is not None and step.buffer not in found:
                found.add(step.buffer)
                if step.buffer not in given:
                    stack += [operand.buffer for operand in step.operands]
        return found

    def _loop(self, size: Size, products: list[Step]) -> None:
        kernel = self.kernel
        assert self.strip is not None
        made = {step.buffer: self._start(step) for step in products}
        outside = kernel.values, dict(kernel.loaded), dict(kernel.known)
        kernel.values = {}
        with kernel.indices.in_strips(size, self.strip) as dimension:
            kernel.line(f"for strip in range(0, {kernel.size(size)}, {dimension.constant}):")
            kernel.depth += 1
            kernel.define_strip(dimension)
            needed = self._needed(made)
            for name in (name for name in self.steps if name in needed):
                self._step(self.steps[name], made)
            kernel.depth -= 1
        kernel.values, kernel.loaded, kernel.known = outside
        kernel.values |= made

    def _start(self, step: Step) -> TileValue:
        """The accumulator of a product."""
        kernel, dtype = self.kernel, self.types[step.buffer].type.dtype
        tile = kernel.indices.tile([step.sizes[axis] for axis in step.result])
        name = kernel.name_of(step, self.body)
        extents = ", ".join(each.constant for _, each in tile)
        kernel.line(f"{name} = tl.zeros([{extents}], {TRITON_DTYPES[computed_dtype(dtype)]})")
        return TileValue(name, dtype, tuple(axis for axis, _ in tile), tuple(each for _, each in tile))

    def _step(self, step: Step, made: Mapping[str, TileValue]) -> None:
        if step.buffer not in made:
            self.kernel.step(step, self.body)
            return
        self.kernel.line(f"# {docstring_text(step.text)}")
        name = made[step.buffer].code
        code = self.kernel.product(step, self.body, name)
        assert code is not None
        self.kernel.line(f"{name} = {code}")
