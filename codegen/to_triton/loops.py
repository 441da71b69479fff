"""Loops over blocks as Triton kernels: one kernel computes all steps of a loop on tiles.

A value of a step is a tile with one dimension for each of the kernel's, of size 1 where the step has no such index,
so that tiles meet by broadcasting.  Reductions run along dimensions of the tile.  Results that are combined
over blocks are written once for each program, and reduced by torch, always in one order.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ...ir import Size
from ...ir.dtypes import EIGHTS, NARROW
from ...ir.kernels import BlockLoop
from ...ir.loop_steps import NoForm, steps_of
from ...ir.scalar import Argument
from ..names import Names, docstring_text
from ..source import Source
from ..typed_scalars import TypedValue, within
from .axes import Axes, Index, PlacedStep, axes_of
from .chunks import ChunkedBody
from .loop_memory import LoopMemory
from .narrow import rounded, widened, written, zero
from .reductions import REDUCTIONS, Reduction, expanded, reductions_first
from .registers import Registers
from .scalars import TRITON_DTYPES, TritonPrinter, computed_dtype
from .tiles import Dimension, Tile, Tiling, tile_of

_INDENT = "    "
_LINE = 110


class TritonKernel:
    """The kernel of one loop: its lines, and what it is called with.  Operands that may lie ``anywhere`` are
    read by their strides (:class:`LoopMemory`).
    """

    def __init__(
        self,
        loop: BlockLoop,
        name: str,
        operands: Mapping[str, str],
        source: Source,
        sizes: Mapping[str, int],
        tiling: Tiling,
        anywhere: Collection[str] = (),
    ) -> None:
        self.loop, self.name = loop, name
        self.buffers = loop.body.buffer_map()
        self.results = set(loop.body.outputs)
        steps, self.dtypes = expanded(steps_of(loop.body), {k: x.type.dtype for k, x in self.buffers.items()})
        self.axes: Axes = axes_of(loop, reductions_first(steps), sizes)
        if missing := [each for each in loop.body.outputs if each not in {x.buffer for x in steps}]:
            raise NoForm(f"a result {missing[0]} that is an operand")
        self.tile: Tile = tile_of(self.axes, Registers(self.axes, self.dtypes), sizes, tiling)
        # What positions are called comes first: a dim may have any name, p and c among them.
        self.names = Names(["tl", "triton", "program", "iteration", "WIDE", *self.tile.names])
        self.helpers: set[str] = set()
        dims = {symbol: self.names.identifier(symbol) for symbol in source.dims}
        self.source = replace(source, dims=dims, used_dims=set())
        self.memory = LoopMemory(loop, self.axes, self.tile, self.names, operands, anywhere, self.size)
        self.hints = {buffer: operands.get(buffer, buffer) for buffer in loop.body.outputs}
        self.lines: list[str] = []
        self.depth = 1
        self.values: dict[str, tuple[str, frozenset[int]]] = {}
        self.stored: dict[str, str] = {}
        self.loaded: dict[tuple[str, tuple[Index | None, ...]], str] = {}
        self.accumulators: dict[str, tuple[str, frozenset[int]]] = {}
        self.divided: dict[str, set[str]] = {}  # the dims that only reading an operand by its strides needs

    # --- the function --------------------------------------------------------------------------

    def function(self) -> list[str]:
        """The kernel's source."""
        self._positions()
        chunk = self.tile.part("chunk")
        if chunk is not None:
            ChunkedBody(self, chunk).write()
        else:
            self._body()
        body = [text for text in self.lines if text.strip()]
        parameters = ", ".join([*self.memory.parameters.values(), *self._counts(), *self._constants()])
        head = f"def {self.name}({parameters}):"
        if len(head) > _LINE:
            wrapped = textwrap.wrap(parameters, _LINE, initial_indent=_INDENT, subsequent_indent=_INDENT)
            return ["@triton.jit", f"def {self.name}(", *wrapped, "):", *self._described(), *body]
        return ["@triton.jit", head, *self._described(), *body]

    def _described(self) -> list[str]:
        """A comment that says what a program has in its tile."""
        spread = "spread over the programs"
        words = {"parallel": spread, "across": spread, "combined": "combined over the programs",
                 "inner": "whole in the tile", "chunk": "in chunks"}  # fmt: skip
        return [
            f"{_INDENT}# {x.name}: {docstring_text(str(x.count))} positions, {words[x.part]}"
            for x in self.tile.dimensions
        ]

    def _counts(self) -> list[str]:
        return [f"{each.name}_count" for each in self.tile.dimensions if each.is_counted]

    def _constants(self) -> list[str]:
        named = (*self.memory.strides.values(), self.memory.flat.values(), self.used)
        sizes = [f"{name}: tl.constexpr" for names in named for name in names]
        wide = ["WIDE: tl.constexpr"] if self.memory.is_wide is None else []
        return [*sizes, *wide, *(f"{each.constant}: tl.constexpr" for each in self.tile.dimensions)]

    @property
    def used(self) -> dict[str, str]:
        """The dims whose sizes the kernel reads, by their names in it."""
        divided = set[str]().union(*self.divided.values())
        return {self.source.dims[symbol]: symbol for symbol in sorted(self.source.used_dims | divided)}

    def needs(self, symbol: str) -> bool:
        """Whether the kernel reads the size of a dim whatever the strides of operands are."""
        return symbol in self.source.used_dims

    def line(self, text: str) -> None:
        """A line of the body, as deep as the loops that it is in."""
        self.lines.append(_INDENT * self.depth + text)

    def comment(self, text: str) -> None:
        """A comment, whatever the text is."""
        self.line(f"# {docstring_text(text)}")

    # --- positions -----------------------------------------------------------------------------

    def _positions(self) -> None:
        """The tile's first position along each dimension, from the number of the program."""
        outer = [x for x in self.tile.dimensions if x.part in ("parallel", "across", "combined")]
        self.line(f"program = {self._widened('tl.program_id(0)')}")
        if len(outer) == 2:
            blocks = f"tl.cdiv({self.count(outer[0])}, {outer[0].constant})"
            self.line(f"{outer[0].name}_program = program % {blocks}")
            self.line(f"{outer[1].name}_program = program // {blocks}")
        for each in self.tile.dimensions:
            if each.part in ("parallel", "across"):
                start = f"{each.name}_program" if len(outer) == 2 else "program"
                self.define(each, f"{start} * {each.constant} + ")
            elif each.part == "inner":
                self.define(each, "")
            elif each.part == "combined" and self.tile.iterations == 1:
                self.define(each, f"{self._combined_program()} * {each.constant} + ")

    def _combined_program(self) -> str:
        return "c_program" if self.tile.part("parallel") else "program"

    def define(self, each: Dimension, start: str) -> None:
        """The positions of a dimension, as a tile that is long in it alone."""
        steps = f"tl.arange(0, {each.constant})"
        view = [":" if x is each else "None" for x in self.tile.dimensions]
        index = f"[{', '.join(view)}]" if len(view) > 1 else ""
        code = f"{start}{self._widened(steps)}"
        self.line(f"{each.name} = {within(code) if index else code}{index}")
        if self._is_partial(each):
            self.line(f"{each.name}_mask = {each.name} < {self.count(each)}")

    def _widened(self, code: str) -> str:
        if self.memory.is_wide is None:
            return f"{code}.to(tl.int64 if WIDE else tl.int32)"
        return f"{code}.to(tl.int64)" if self.memory.is_wide else code

    def _is_partial(self, each: Dimension) -> bool:
        """Whether the last tile may overhang; of no positions every tile does."""
        if not isinstance(each.count, int) or each.count == 0 or each.count % each.planned:
            return True
        return each.part == "combined" and each.count % (each.planned * self.tile.iterations) != 0

    def count(self, each: Dimension) -> str:
        """The number of positions along a dimension."""
        return f"{each.name}_count" if each.is_counted else self.size(each.count)

    def size(self, size: Size) -> str:
        """A size as source; the dims in it become parameters."""
        return self.source.factor(size) if size != 0 else "0"

    def mask(self, dims: frozenset[int]) -> str:
        """Where a tile with these dimensions has elements; empty where that is everywhere."""
        each = [self.tile.dimensions[k] for k in sorted(dims)]
        return " & ".join(f"{x.name}_mask" for x in each if self._is_partial(x))

    # --- one step ------------------------------------------------------------------------------

    def dims(self, indices: Sequence[Index | None]) -> frozenset[int]:
        """The dimensions of the tile that these indices are on."""
        return frozenset(self.memory.place[x] for x in indices if x is not None)

    def _load(self, buffer: str, indices: tuple[Index | None, ...]) -> str:
        known = self.loaded.get((buffer, indices))
        if known is None:
            known = self.names.identifier(self.memory.parameters[buffer].removesuffix("_ptr"))
            mask = self.mask(self.dims(indices))
            given = f", mask={mask}, other={zero(self.dtypes[buffer])}" if mask else ""
            address = self.memory.address(buffer, indices)
            if buffer in self.memory.flat:
                place = self.names.identifier(f"{known}_place")
                by_strides = self._by_strides(buffer, indices)
                self.line(f"{place} = {address} if {self.memory.flat[buffer]} else {by_strides}")
                address = place
            code = f"tl.load({address}{given})"
            if not self.dims(indices):  # as a tile, since the interpreter compares no scalars with tiles
                code = f"tl.broadcast_to({code}, [{', '.join(self.extents(frozenset()))}])"
            self.line(f"{known} = {code}")
            if self.dtypes[buffer] in NARROW:
                self.line(f"{known} = {widened(known, self.dtypes[buffer], self.helpers)}")
            self.loaded[buffer, indices] = known
        return known

    def _by_strides(self, buffer: str, indices: tuple[Index | None, ...]) -> str:
        """The elements of an operand by its strides, and by the dims that divisions take then."""
        known = set(self.source.used_dims)
        address = self.memory.strided_address(buffer, indices)
        self.divided.setdefault(buffer, set()).update(self.source.used_dims - known)
        self.source.used_dims.intersection_update(known)
        return address

    def computed(self, placed: PlacedStep) -> tuple[str, frozenset[int]]:
        """A step's values before its reduction, and the dimensions that they have."""
        step, operands, dims = placed.step, [], frozenset[int]()
        for k, operand in enumerate(step.operands):
            kind = self.dtypes[operand.buffer]
            if operand.buffer in self.values:
                code, its = self.values[operand.buffer]
            else:
                code, its = self._load(operand.buffer, placed.operand(k)), self.dims(placed.operand(k))
            operands.append(TypedValue(code, kind))
            dims |= its
        statements: list[str] = []
        dtype = self.dtypes[step.buffer]
        printer = TritonPrinter(statements, self.names.identifier, self.helpers, len(self.tile.dimensions))
        code = printer.print(step.expression, operands, dtype)
        if isinstance(step.expression, Argument) and dtype in NARROW and operands[0].dtype is not dtype:
            if step.buffer in self.results and dtype in EIGHTS:
                code = self._stored(step.buffer, code)
            else:
                code = rounded(code, dtype, self.helpers)
        for text in statements:
            self.line(text)
        return code, dims

    def _stored(self, buffer: str, code: str) -> str:
        """A result of 8 bits, which is written as it is then, as float32."""
        dtype, name = self.dtypes[buffer], self.names.identifier(f"{self.hint(buffer)}_stored")
        self.line(f"{name} = {written(code, dtype, self.helpers, self.memory.parameters[buffer])}")
        self.stored[buffer] = name
        return widened(name, dtype, self.helpers)

    def hint(self, buffer: str) -> str:
        """What a value is to be called."""
        return self.hints.get(buffer, f"v{buffer.removeprefix('t')}")

    def named(self, buffer: str, code: str) -> str:
        """A name for the value of an expression."""
        if code.isidentifier():
            return code
        name = self.names.identifier(self.hint(buffer))
        self.line(f"{name} = {code}")
        return name

    def step(self, placed: PlacedStep) -> None:
        """Compute a step; a reduction that a loop runs over goes into its accumulator."""
        step = placed.step
        if step.reduction is None:
            self.comment(step.text)
            code, dims = self.computed(placed)
        else:
            rule = self._rule(placed)
            value, dims = self.reducible(placed, rule)
            dtype, gone = self.dtypes[step.buffer], self.dims(tuple(placed.reduced))
            if step.buffer in self.accumulators:
                name, _ = self.accumulators[step.buffer]
                self.line(f"{name} = {rule.joined(name, value, dtype, self.helpers)}")
                return
            code = rule.reduced(value, sorted(gone), dtype, self.helpers)
            dims -= gone
        self.values[step.buffer] = self.named(step.buffer, code), dims
        self.write(placed)

    @staticmethod
    def _rule(placed: PlacedStep) -> Reduction:
        rule = REDUCTIONS.get(placed.step.reduction or "")
        if rule is None:
            raise NoForm(f"reduction {placed.step.reduction}")
        return rule

    def reducible(self, placed: PlacedStep, rule: Reduction) -> tuple[str, frozenset[int]]:
        """A step's values before its reduction, with what combines to nothing where the tile overhangs; their dims."""
        step, gone = placed.step, self.dims(tuple(placed.reduced))
        self.comment(step.text)
        code, dims = self.computed(placed)
        value = rule.ready(self.named(step.buffer, code), self.mask(gone), self.dtypes[step.buffer])
        return self._spread(value, dims, gone), dims | gone

    def _spread(self, value: str, dims: frozenset[int], gone: frozenset[int]) -> str:
        """The value repeated along dimensions that are reduced and that it has not."""
        missing = [k for k in gone - dims if not self._is_partial(self.tile.dimensions[k])]
        if not missing:
            return value
        return f"tl.broadcast_to({value}, [{', '.join(self.extents(dims | gone))}])"

    def extents(self, dims: frozenset[int]) -> list[str]:
        """How long a tile with these dimensions is along each."""
        return [x.constant if k in dims else "1" for k, x in enumerate(self.tile.dimensions)]

    def write(self, placed: PlacedStep) -> None:
        """Write a result: to its place, or to the program's part of what is combined."""
        buffer = placed.step.buffer
        if buffer not in self.results:
            return
        dims = self.dims(placed.result)
        is_part = buffer in self.axes.parts
        address = (
            self.memory.part_address(placed, self._combined_program())
            if is_part
            else self.memory.address(buffer, placed.result)
        )
        value = self.values[buffer][0]
        if not is_part:
            pointer = self.memory.parameters[buffer]
            value = self.stored.get(buffer) or written(value, self.dtypes[buffer], self.helpers, pointer)
        mask = self.mask(dims)
        self.line(f"tl.store({address}, {value}{f', mask={mask}' if mask else ''})")

    # --- a tile with all of the inner indices --------------------------------------------------

    def _body(self) -> None:
        combined = self.tile.part("combined")
        if combined is None or self.tile.iterations == 1:
            for placed in self.axes.steps:
                self.step(placed)
            return
        gathered = [x for x in self.axes.steps if x.step.buffer in self.axes.parts]
        for placed in gathered:
            self.accumulate(placed)
        self.line(f"for iteration in range({self.tile.iterations}):")
        self.depth += 1
        start = f"({self._combined_program()} * {self.tile.iterations} + iteration) * {combined.constant} + "
        self.define(combined, start)
        for placed in self.axes.steps:
            self.step(placed)
        self.depth -= 1
        for placed in gathered:
            self.finish(placed)

    def accumulate(self, placed: PlacedStep) -> None:
        """An accumulator with as many elements as what it takes in."""
        step, dtype = placed.step, self.dtypes[placed.step.buffer]
        rule = self._rule(placed)
        dims = self.dims(tuple(placed.space))
        name = self.names.identifier(f"{self.hint(step.buffer)}_{step.reduction}")
        self.accumulators[step.buffer] = name, dims
        extents = ", ".join(self.extents(dims))
        self.line(f"{name} = tl.full([{extents}], {rule.neutral(dtype)}, {TRITON_DTYPES[computed_dtype(dtype)]})")

    def finish(self, placed: PlacedStep) -> None:
        """What an accumulator has taken in becomes the value of its step."""
        step, dtype = placed.step, self.dtypes[placed.step.buffer]
        name, dims = self.accumulators.pop(step.buffer)
        gone = self.dims(tuple(placed.reduced))
        code = REDUCTIONS[step.reduction or ""].reduced(name, sorted(gone), dtype, self.helpers)
        self.values[step.buffer] = self.named(step.buffer, code), dims - gone
        self.write(placed)
