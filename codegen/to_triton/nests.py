"""Nests of loops as Triton kernels: tiles of scores that are made, used and forgotten, with ``tl.dot`` for products.

A program has a block of rows, and goes through the columns block by block.  What the loop gives is gathered in
accumulators; sums relative to a running maximum are scaled when it grows.  After the loop comes what follows from the
accumulators, and the results are written.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...ir import DType, Size
from ...ir.dims import dim, product
from ...ir.kernels import BlockLoop
from ...ir.operations import maximum_of
from ...ir.program import Buffer, Program
from ...ir.scalar import Argument, Call
from ..loop_steps import NoForm, Operand, Step, steps_of
from ..names import Names, docstring_text
from ..source import Source
from ..typed_scalars import TypedValue, within
from .nest_indices import LEAST_SIDE, Batch, Dimension, NestIndices, loops_of_nest
from .nest_values import TilePrinter, TileValue, is_small, spread
from .reductions import REDUCTIONS
from .scalars import HALVES, TRITON_DTYPES, computed_dtype

_INDENT = "    "
_LINE = 110
WIDE = 2**30  # elements from which on positions take 64 bits


class NestKernel:
    """The kernel of one nest: its lines, and what it is called with."""

    def __init__(
        self, loop: BlockLoop, name: str, operands: Mapping[str, str], source: Source, sizes: Mapping[str, int]
    ) -> None:
        self.loop, self.name, self.operands = loop, name, operands
        self.loops = loops_of_nest(loop)
        self.indices = NestIndices(self.loops, sizes)
        self.roots = _roots(loop, self.loops.calls)
        self.body = self.loops.columns.body
        self.names = Names(["tl", "triton", "program", "start", "WIDE"])
        self.helpers: set[str] = set()
        dims = {symbol: self.names.identifier(symbol) for symbol in source.dims}
        self.source = replace(source, dims=dims, used_dims=set())
        self.buffers = loop.body.buffer_map()
        self.parameters = {
            each: self.names.identifier(f"{operands.get(each, each)}_ptr")
            for each in dict.fromkeys((*loop.body.inputs, *loop.body.outputs))
        }
        for each in (self.indices.rows, self.indices.columns):
            self.names.identifier(each.name)
        last = zip(self.loops.rows.body.outputs, self._results(), strict=True)
        self.results = {inner: outer for inner, outer in last}
        rows = self.loops.rows.body.buffer_map()
        self.innermost = {root: rows[inner].type.shape for inner, root in (self.roots_of_rows | self.results).items()}
        self.hints = {inner: operands[outer] for inner, outer in self.results.items()}
        self.is_wide = self._needs_wide()
        self.lines: list[str] = []
        self.depth = 1
        self.values: dict[str, TileValue] = {}
        self.loaded: dict[tuple[str, tuple[str, ...]], TileValue] = {}
        self.known: dict[str, str] = {}  # the name of each value by its source: equal ones are computed once

    # --- the function --------------------------------------------------------------------------

    def function(self) -> list[str]:
        """The kernel's source."""
        inside = _Columns(self)
        inside.run()
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

    @property
    def dimensions(self) -> list[Dimension]:
        """All dimensions of tiles."""
        return [self.indices.rows, self.indices.columns, *self.indices.inner.values()]

    @property
    def used(self) -> dict[str, str]:
        """The dims whose sizes the kernel reads, by their names in it."""
        return {self.source.dims[symbol]: symbol for symbol in sorted(self.source.used_dims)}

    def _described(self) -> list[str]:
        """Comments that say what a program has of each index."""
        words = {"rows": "a block in each program", "columns": "block by block in a loop", "inner": "whole in the tile"}
        found = [f"{x.name}: {x.count} positions, one in each program" for x in self.indices.batch]
        found += [f"{x.name}: {x.count} positions, {words[x.part]}" for x in self.dimensions]
        return [f"{_INDENT}# {docstring_text(text)}" for text in found]

    def _needs_wide(self) -> bool | None:
        """Whether positions take 64 bits; None where that is known at the call only."""
        totals = [product(self.whole_shape(each)) for each in self.parameters]
        if any(not isinstance(x, int) for x in totals):
            return None
        return any(isinstance(x, int) and x >= WIDE for x in totals)

    def _widened(self, code: str) -> str:
        if self.is_wide is None:
            return f"{code}.to(tl.int64 if WIDE else tl.int32)"
        return f"{code}.to(tl.int64)" if self.is_wide else code

    def whole_shape(self, buffer: str) -> list[Size]:
        """The shape of a tensor of which the outermost body sees one position."""
        return [self.loop.size if size == dim(self.loop.symbol) else size for size in self.buffers[buffer].type.shape]

    def line(self, text: str) -> None:
        """Add a line."""
        self.lines.append(_INDENT * self.depth + text)

    def size(self, size: Size) -> str:
        """A size as source; the dims in it become parameters."""
        return self.source.factor(size) if size != 0 else "0"

    @property
    def warps(self) -> int:
        """Warps of a program: a thread has 32 elements of a tile of scores at most."""
        return 4 if self.indices.rows.block * self.indices.columns.block <= 4096 else 8

    @property
    def stages(self) -> int:
        """How many blocks of columns are in shared memory at once: of full precision there is room for one."""
        return 2 if any(self.buffers[each].type.dtype in HALVES for each in self.parameters) else 1

    # --- positions -----------------------------------------------------------------------------

    def _positions(self) -> None:
        """The program's position along each batch index, its rows, and all positions of what is whole."""
        rows = self.indices.rows
        self.line(f"program = {self._widened('tl.program_id(0)')}")
        blocks = f"tl.cdiv({self.size(rows.count)}, {rows.constant})"
        self.line(f"{rows.name} = program % {blocks} * {rows.constant} + tl.arange(0, {rows.constant})"
                  if self.indices.batch else
                  f"{rows.name} = program * {rows.constant} + tl.arange(0, {rows.constant})")  # fmt: skip
        self._mask(rows)
        rest = f"program // {blocks}"
        for position, each in enumerate(reversed(self.indices.batch)):
            last = position == len(self.indices.batch) - 1
            self.line(f"{each.name} = {rest}" if last else f"{each.name} = {rest} % {self.size(each.count)}")
            rest = f"{rest} // {self.size(each.count)}"
        for root in self.parameters:
            if offset := self._offset(root):
                self.line(f"{self.parameters[root]} += {offset}")
        for each in self.indices.inner.values():
            self.line(f"{each.name} = tl.arange(0, {each.constant})")
            self._mask(each)

    def _mask(self, each: Dimension) -> None:
        if each.is_partial:
            self.line(f"{each.name}_mask = {each.name} < {self.size(each.count)}")

    def define_columns(self) -> None:
        """The positions of the block of columns that begins at ``start``."""
        each = self.indices.columns
        self.line(f"{each.name} = start + {self._widened(f'tl.arange(0, {each.constant})')}")
        self._mask(each)

    def mask(self, dimensions: Sequence[Dimension], wanted: Sequence[Dimension] | None = None) -> str:
        """Where a tile has elements, along those of its dimensions that are wanted; empty where that is everywhere."""
        terms = []
        for each in dimensions:
            if each.is_partial and (wanted is None or each in wanted):
                terms.append(spread(f"{each.name}_mask", [x is each for x in dimensions]))
        return " & ".join(terms)

    # --- memory --------------------------------------------------------------------------------

    def address(self, root: str, sizes: Sequence[Size]) -> tuple[str, list[tuple[int, Dimension]]]:
        """The elements of a tensor whose axes run along the indices of these sizes, and the axes of the tile."""
        buffer = self.buffers[root]
        tile = self.indices.tile(sizes)
        dimensions = [each for _, each in tile]
        terms = []
        stride: Size = 1
        for axis in reversed(_layout(buffer)):
            index = self.indices.of(sizes[axis])
            if isinstance(index, Dimension) and index.count != 1:
                place = next(k for k, (its, _) in enumerate(tile) if its == axis)
                name = spread(index.name, [k == place for k in range(len(tile))])
                terms.append(name if stride == 1 else f"{name} * {self.size(stride)}")
            stride = stride * self.whole_shape(root)[axis]
        if len(set(dimensions)) < len(dimensions) and any(x.part != "inner" for x in dimensions):
            raise NoForm("one index along two axes")
        return " + ".join([self.parameters[root], *reversed(terms)]), tile

    def _offset(self, root: str) -> str:
        """Where a tensor's part for the program's position along the batch indices begins."""
        terms = []
        stride: Size = 1
        for axis in reversed(_layout(self.buffers[root])):
            index = self.indices.batch_of(self.innermost[root][axis])
            if index is not None:
                terms.append(index.name if stride == 1 else f"{index.name} * {self.size(stride)}")
            stride = stride * self.whole_shape(root)[axis]
        return " + ".join(reversed(terms))

    def load(self, buffer: str, types: Program) -> TileValue:
        """The tile of an operand, loaded once."""
        sizes = types.buffer_map()[buffer].type.shape
        root = self.roots[buffer] if types is self.body else self.roots_of_rows[buffer]
        address, tile = self.address(root, sizes)
        key = (root, tuple(each.name for _, each in tile))
        if key not in self.loaded:
            dimensions = tuple(each for _, each in tile)
            name = self.names.identifier(self.operands.get(root, root))
            mask = self.mask(dimensions)
            self.line(f"{name} = tl.load({address}{f', mask={mask}, other=0' if mask else ''})")
            dtype = self.buffers[root].type.dtype
            axes = tuple(axis for axis, _ in tile)
            self.loaded[key] = TileValue(name, dtype, axes, dimensions, is_padded=True)
        return self.loaded[key]

    @property
    def roots_of_rows(self) -> dict[str, str]:
        """The tensor of each operand of the body of the loop over rows."""
        found: dict[str, str] = {each: each for each in self.loop.body.inputs}
        for call in self.loops.calls[:-1]:
            assert isinstance(call.kernel, BlockLoop)
            found = {inner: found[outer] for inner, outer in zip(call.kernel.body.inputs, call.inputs, strict=True)}
        return found

    # --- steps ---------------------------------------------------------------------------------

    def operand(self, buffer: str, types: Program) -> TileValue:
        """The tile of a step's operand."""
        known = self.values.get(buffer)
        return known if known is not None else self.load(buffer, types)

    def elementwise(self, step: Step, types: Program, axes: Sequence[tuple[int, Dimension]]) -> str:
        """A step's values before any reduction, on a tile with these axes of its space."""
        order = [axis for axis, _ in axes]
        if not is_small([each for _, each in axes]):
            raise NoForm("a tile with three dimensions that are long")
        operands = []
        for operand in step.operands:
            value = self.operand(operand.buffer, types)
            places = [order.index(operand.axes[axis]) for axis in value.axes]
            if places != sorted(places):
                raise NoForm("a tile whose axes are turned")
            code = spread(value.computed, [k in places for k in range(len(order))])
            operands.append(TypedValue(code, computed_dtype(value.dtype)))
        statements: list[str] = []
        dtype = types.buffer_map()[step.buffer].type.dtype
        printer = TilePrinter(statements, self.names.identifier, self.helpers, len(order))
        code = printer.print(step.expression, operands, computed_dtype(dtype))
        for text in statements:
            self.line(text)
        return code

    def step(self, step: Step, types: Program) -> None:
        """Compute a step that gathers nothing."""
        self.line(f"# {docstring_text(step.text)}")
        dtype = types.buffer_map()[step.buffer].type.dtype
        space = self.indices.tile(step.sizes)
        if (converted := self._conversion(step, types, dtype)) is not None:
            self.values[step.buffer] = converted
            return
        kept = [(axis, each) for axis, each in space if axis in step.result]
        code = self.product(step, types)
        if code is None:
            code = self.elementwise(step, types, space)
            if step.reduction is not None:
                code = self.reduced(step, types, code, space)
        name = code if code.isidentifier() else self.known.get(code, "")
        if not name:
            name = self.known[code] = self._name(step, types)
            self.line(f"{name} = {code}")
        axes = tuple(step.result.index(axis) for axis, _ in kept)
        self.values[step.buffer] = TileValue(name, dtype, axes, tuple(each for _, each in kept))

    def _name(self, step: Step, types: Program) -> str:
        """A new name for a step's value: that of the result that it is, or its number."""
        hint = self.hints.get(step.buffer) if types is self.loops.rows.body else None
        hint = hint or f"v{''.join(x for x in step.buffer if x.isdecimal())}"
        return self.names.identifier(hint)

    def _conversion(self, step: Step, types: Program, dtype: DType) -> TileValue | None:
        """To and from half precision: the numbers are kept in it, since products take them so."""
        if not isinstance(step.expression, Argument) or step.reduction is not None:
            return None
        (operand,) = step.operands
        value = self.operand(operand.buffer, types)
        if operand.axes != step.result:
            return None
        if value.dtype in HALVES and dtype is DType.float32:
            return replace(value, code=f"{value.code}.to(tl.float32)", dtype=dtype, half=value.code, half_dtype=value.dtype)
        if dtype in HALVES and value.dtype is not dtype:
            name = self._name(step, types)
            self.line(f"{name} = {within(value.computed)}.to({TRITON_DTYPES[dtype]})")
            return TileValue(name, dtype, value.axes, value.dimensions)
        return None

    def reduced(self, step: Step, types: Program, code: str, space: Sequence[tuple[int, Dimension]]) -> str:
        """A tile reduced along the axes that the result lacks."""
        dtype = types.buffer_map()[step.buffer].type.dtype
        rule = REDUCTIONS.get(step.reduction or "")
        if rule is None or step.reduction == "shift":
            raise NoForm(f"reduction {step.reduction}")
        gone = [k for k, (axis, _) in enumerate(space) if axis not in step.result]
        if any(isinstance(self.indices.of(step.sizes[axis]), Batch) for axis in step.reduced):
            raise NoForm("a reduction over an index of the programs")
        mask = self.mask([each for _, each in space], [space[k][1] for k in gone])
        value = rule.ready(code, mask, dtype)
        return rule.reduced(value, gone, dtype, self.helpers, keep=False)

    def product(self, step: Step, types: Program, total: str = "") -> str | None:
        """A step as a product of matrices, added to ``total``; None where it is none."""
        multiplied = step.expression
        is_product = isinstance(multiplied, Call) and multiplied.function == "mul" and len(step.operands) == 2
        if step.reduction != "sum" or not is_product:
            return None
        space = self.indices.tile(step.sizes)
        gone = [axis for axis, _ in space if axis not in step.result]
        sides = [{axis for axis, _ in space if axis in operand.axes} for operand in step.operands]
        if len(gone) != 1 or len(space) != 3 or not all(len(x) == 2 and gone[0] in x for x in sides):
            return None
        if sides[0] == sides[1] or any(each.block < LEAST_SIDE for _, each in space):
            return None
        first, second = (axis for axis, _ in space if axis in step.result)
        left, right = step.operands if first in step.operands[0].axes else reversed(step.operands)
        return self._dot(step, types, (left, [first, gone[0]]), (right, [gone[0], second]), total)

    def _dot(
        self, step: Step, types: Program, left: tuple[Operand, list[int]], right: tuple[Operand, list[int]], total: str
    ) -> str:
        values = [self.operand(operand.buffer, types) for operand, _ in (left, right)]
        are_halves = values[0].half is not None and values[1].half is not None
        are_halves = are_halves and values[0].half_dtype is values[1].half_dtype
        gone = [each for axis, each in self.indices.tile(step.sizes) if axis not in step.result]
        codes = []
        for value, (operand, wanted) in zip(values, (left, right), strict=True):
            code = value.half if are_halves and value.half is not None else value.computed
            if not value.is_padded and (mask := self.mask(value.dimensions, gone)):
                code = f"tl.where({mask}, {code}, 0.0)"  # beyond the end there may be anything, infinities too
            order = [operand.axes[axis] for axis in value.axes]
            codes.append(code if order == wanted else f"tl.trans({code})")
        dtype = types.buffer_map()[step.buffer].type.dtype
        precision = ', input_precision="tf32x3"' if computed_dtype(dtype) is DType.float32 and not are_halves else ""
        wide = ", out_dtype=tl.float64" if dtype is DType.float64 else ""
        if dtype not in (DType.float64, DType.float32):
            raise NoForm(f"products of {dtype}")
        return f"tl.dot({', '.join(codes)}{f', {total}' if total else ''}{precision}{wide})"

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
            if tuple(axis for axis, _ in tile) != value.axes:
                raise NoForm("a result whose axes are turned")
            mask = self.mask([each for _, each in tile])
            self.line(f"tl.store({address}, {value.code}{f', mask={mask}' if mask else ''})")

    def _results(self) -> list[str]:
        """The outermost result that each result of the body over rows is written to."""
        found = list(self.loop.body.outputs)
        current = self.loop.body
        for call in self.loops.calls[:-1]:
            assert isinstance(call.kernel, BlockLoop)
            place = {name: k for k, name in enumerate(current.outputs)}
            found = [found[place[name]] for name in call.outputs]
            current = call.kernel.body
        return found


class _Columns:
    """The loop over columns."""

    def __init__(self, kernel: NestKernel) -> None:
        self.kernel, self.loop = kernel, kernel.loops.columns
        self.body = self.loop.body
        self.steps = steps_of(self.body)
        self.join = dict(zip(self.body.outputs, self.loop.join, strict=True))
        self.types = {name: each.type for name, each in self.body.buffer_map().items()}
        self.accumulators: dict[str, str] = {}
        self.read = {operand.buffer for step in self.steps for operand in step.operands}

    def run(self) -> None:
        """Accumulators, what is the same for all columns, the loop, and the names of what it gave."""
        kernel = self.kernel
        fixed = self._fixed()
        for step in self.steps:
            if step.buffer in self.join:
                self._accumulate(step)
        if missing := [x for x in self.body.outputs if x not in self.accumulators]:
            raise NoForm(f"a result {missing[0]} that is an operand")
        for step in self.steps:
            if step.buffer in fixed:
                kernel.step(step, self.body)
            else:
                self._load_fixed(step)
        columns = kernel.indices.columns
        kernel.line(f"for start in range(0, {kernel.size(columns.count)}, {columns.constant}):")
        kernel.depth += 1
        outside, known = dict(kernel.loaded), dict(kernel.known)
        kernel.define_columns()
        for step in self.steps:
            if step.buffer not in fixed:
                self._step(step)
        kernel.depth -= 1
        kernel.loaded, kernel.known = outside, known
        results = zip(self.body.outputs, kernel.loops.calls[-1].outputs, strict=True)
        finished = {outer: self._finished(inner) for inner, outer in results}
        kernel.values = finished

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
        if rule is None or step.reduction is None:
            raise NoForm(f"results joined by {self.join[step.buffer]}")
        dtype = computed_dtype(self.types[step.buffer].dtype)
        kept = [each for axis, each in self.kernel.indices.tile(step.sizes) if axis in step.result]
        name = self.kernel.names.identifier({"max": "largest"}.get(str(self.join[step.buffer]), "total"))
        extents = ", ".join(each.constant for each in kept)
        self.kernel.line(f"{name} = tl.full([{extents}], {rule.neutral(dtype)}, {TRITON_DTYPES[dtype]})")
        self.accumulators[step.buffer] = name

    def _step(self, step: Step) -> None:
        join = self.join.get(step.buffer)
        if join is None:
            self.kernel.step(step, self.body)
        elif self._is_running(step.buffer):
            self._running_maximum(step)
        else:
            self._gathered(step, join)

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
                rank = len([x for x in kernel.indices.tile(self.types[buffer].shape)])
                kernel.line(f"{name} *= {spread(scale, [True] * len(own.axes) + [False] * (rank - len(own.axes)))}")

    def _gathered(self, step: Step, join: int | str) -> None:
        """A step whose values are added up, or combined otherwise, over all columns."""
        kernel, name = self.kernel, self.accumulators[step.buffer]
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


def _roots(loop: BlockLoop, calls: Sequence[object]) -> dict[str, str]:
    """The tensor of the outermost body that each operand of the innermost one is."""
    found = {each: each for each in loop.body.inputs}
    for call in calls:
        kernel, inputs = call.kernel, call.inputs  # type: ignore[attr-defined]
        if missing := [x for x in inputs if x not in found]:
            raise NoForm(f"an operand {missing[0]} that is computed before the loop")
        found = {inner: found[outer] for inner, outer in zip(kernel.body.inputs, inputs, strict=True)}
    return found


def _layout(buffer: Buffer) -> Sequence[int]:
    rank = len(buffer.type.shape)
    return buffer.layout if len(buffer.layout) == rank else range(rank)
