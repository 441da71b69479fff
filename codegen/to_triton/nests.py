"""Nests of loops as Triton kernels: tiles of scores that are made, used and forgotten, with ``tl.dot`` for products.

A program has a block of rows, and goes through the columns block by block.  What the loop gives is gathered in
accumulators; sums relative to a running maximum are scaled when it grows.  After the loop comes what follows from the
accumulators, and the results are written.
"""

from __future__ import annotations

import textwrap
from dataclasses import replace

from ...ir.kernels import BlockLoop, warps_of_nest
from ...ir.loop_steps import NoForm, steps_of
from ..names import docstring_text
from .nest_columns import Columns
from .nest_steps import NestSteps
from .nest_values import turned
from .scalars import HALVES

_INDENT = "    "
_LINE = 110


class NestKernel(NestSteps):
    """The kernel of one nest: its lines, and what it is called with."""

    def function(self) -> list[str]:
        """The kernel's source."""
        Columns(self).run()
        self._after()
        positions = self.lines
        self.lines = []
        self._positions()
        body = [*self.lines, *positions]
        wide = ["WIDE"] if self.is_wide is None else []
        constants = [f"{x}: tl.constexpr" for x in (*self.used, *wide, *(x.constant for x in self.dimensions))]
        parameters = ", ".join([*self.parameters.values(), *constants])
        head = [f"def {self.name}({parameters}):"]
        if len(head[0]) > _LINE:
            wrapped = textwrap.wrap(parameters, _LINE, initial_indent=_INDENT, subsequent_indent=_INDENT)
            head = [f"def {self.name}(", *wrapped, "):"]
        return ["@triton.jit", *head, *self._described(), *body]

    def _described(self) -> list[str]:
        """Comments that say what a program has of each index."""
        words = {"rows": "a block in each program", "columns": "block by block in a loop", "inner": "whole in the tile",
                 "strips": "strip by strip while products sum them"}  # fmt: skip
        found = [f"{x.name}: {x.count} positions, one in each program" for x in self.indices.batch]
        found += [f"{x.name}: {x.count} positions, {words[x.part]}" for x in self.dimensions]
        return [f"{_INDENT}# {docstring_text(text)}" for text in found]

    @property
    def warps(self) -> int:
        """Warps of a program."""
        return warps_of_nest(self.indices.rows.block, self.indices.columns.block)

    @property
    def stages(self) -> int:
        """How many blocks of columns, or strips, are in shared memory at once; of full precision only strips fit."""
        halves = any(self.buffers[each].type.dtype in HALVES for each in self.parameters)
        return 2 if halves or self.loops.columns.strip is not None else 1

    # --- after the loop ------------------------------------------------------------------------

    def _after(self) -> None:
        """What follows from the accumulators, and the results."""
        body = self.loops.rows.body
        calls = tuple(call for call in body.calls if not isinstance(call.kernel, BlockLoop))
        self.depth = 1
        for step in steps_of(replace(body, calls=calls)):
            if step.reduction is not None:
                raise NoForm("a reduction after the loop")
            self.step(step, body)
        for result, outer in self.results.items():
            if result not in self.values:
                raise NoForm(f"a result {result} that is an operand")
            value, sizes = self.values[result], body.buffer_map()[result].type.shape
            address, tile = self.address(outer, sizes)
            order = [axis for axis, _ in tile]
            code = turned(value.code, [order.index(axis) for axis in value.axes])
            mask = self.mask([each for _, each in tile])
            self.line(f"tl.store({address}, {code}{f', mask={mask}' if mask else ''})")
