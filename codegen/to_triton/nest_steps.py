"""Steps of a nest's bodies on tiles: elementwise work, reductions, products of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...ir import DType
from ...ir.dtypes import HALVES, NARROW, factor_dtype
from ...ir.loop_steps import NoForm, Operand, Step
from ...ir.program import Program
from ...ir.scalar import Argument, Call
from ..names import docstring_text
from ..typed_scalars import TypedValue, within
from .narrow import as_half, written
from .nest_indices import LEAST_SIDE, Batch, Dimension
from .nest_memory import NestMemory
from .nest_values import TilePrinter, TileValue, is_small, spread, turned
from .reductions import REDUCTIONS
from .scalars import TRITON_DTYPES, computed_dtype


class NestSteps(NestMemory):
    """Prints steps; ``values`` are those computed so far."""

    def operand(self, buffer: str, types: Program) -> TileValue:
        """The tile of a step's operand."""
        known = self.values.get(buffer)
        return known if known is not None else self.load(buffer, types)

    def elementwise(self, step: Step, types: Program, axes: Sequence[tuple[int, Dimension]]) -> str:
        """A step's values before any reduction, on a tile with these axes of its space."""
        order = [axis for axis, _ in axes]
        if not is_small([each for _, each in axes]):
            raise NoForm("a tile with three dimensions that are long")
        operands, covered = [], set[int]()
        for operand in step.operands:
            value = self.operand(operand.buffer, types)
            places = [order.index(operand.axes[axis]) for axis in value.axes]
            code = spread(turned(value.computed(self.helpers), places), [k in places for k in range(len(order))])
            operands.append(TypedValue(code, computed_dtype(value.dtype)))
            covered.update(places)
        statements: list[str] = []
        dtype = types.buffer_map()[step.buffer].type.dtype
        printer = TilePrinter(statements, self.names.identifier, self.helpers, len(order))
        code = printer.print(step.expression, operands, computed_dtype(dtype))
        for text in statements:
            self.line(text)
        if len(covered) == len(axes):
            return code
        return f"tl.broadcast_to({code}, [{', '.join(each.constant for _, each in axes)}])"

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
        code = written(code, dtype, self.helpers)
        name = code if code.isidentifier() else self.known.get(code, "")
        if not name:
            name = self.known[code] = self.name_of(step, types)
            self.line(f"{name} = {code}")
        axes = tuple(step.result.index(axis) for axis, _ in kept)
        self.values[step.buffer] = TileValue(name, dtype, axes, tuple(each for _, each in kept))

    def name_of(self, step: Step, types: Program) -> str:
        """A new name for a step's value: that of the result that it is, or its number."""
        hint = self.hints.get(step.buffer) if types is self.loops.rows.body else None
        hint = hint or f"v{''.join(x for x in step.buffer if x.isdecimal())}"
        return self.names.identifier(hint)

    def _conversion(self, step: Step, types: Program, dtype: DType) -> TileValue | None:
        """To and from what is stored in fewer bits: the numbers are kept so, since products take them."""
        if not isinstance(step.expression, Argument) or step.reduction is not None:
            return None
        (operand,) = step.operands
        value = self.operand(operand.buffer, types)
        if operand.axes != step.result:
            return None
        if value.dtype in NARROW and dtype is DType.float32:
            return replace(value, code=value.computed(self.helpers), dtype=dtype, stored=(value.code, value.dtype))
        if dtype in NARROW and value.dtype is not dtype:
            name, code = self.name_of(step, types), value.computed(self.helpers)
            self.line(f"{name} = {self._narrowed(code, dtype)}")
            return TileValue(name, dtype, value.axes, value.dimensions)
        return None

    def _narrowed(self, code: str, dtype: DType) -> str:
        """Values of float32 as they are stored."""
        if dtype in HALVES:
            return f"{within(code)}.to({TRITON_DTYPES[dtype]})"
        return written(code, dtype, self.helpers)

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
        factors = _factor_dtype(*values)
        gone = [each for axis, each in self.indices.tile(step.sizes) if axis not in step.result]
        codes = []
        for value, (operand, wanted) in zip(values, (left, right), strict=True):
            code = value.computed(self.helpers)
            if factors in HALVES and value.stored is not None:
                code = as_half(*value.stored, self.helpers, factors)
            if not value.is_padded and (mask := self.mask(value.dimensions, gone)):
                code = f"tl.where({mask}, {code}, 0.0)"  # beyond the end there may be anything, infinities too
            order = [operand.axes[axis] for axis in value.axes]
            codes.append(code if order == wanted else f"tl.trans({code})")
        dtype = types.buffer_map()[step.buffer].type.dtype
        precision = ', input_precision="tf32x3"' if factors is DType.float32 else ""
        wide = ", out_dtype=tl.float64" if dtype is DType.float64 else ""
        if dtype not in (DType.float64, DType.float32):
            raise NoForm(f"products of {dtype}")
        return f"tl.dot({', '.join(codes)}{f', {total}' if total else ''}{precision}{wide})"


def _factor_dtype(left: TileValue, right: TileValue) -> DType:
    """What tiles are multiplied in: a half that has the stored numbers of both, where they are conversions of such."""
    if left.dtype is not DType.float32 or left.stored is None or right.stored is None:
        return computed_dtype(left.dtype)
    return factor_dtype(left.stored[1], right.stored[1], DType.float32)
