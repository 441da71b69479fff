"""Fused products as Triton kernels: tiles of a matrix product, with the work before and after it.

A program makes one tile of the result.  It goes along the sum in steps, computes what is before the product on the
tiles of the operands that it has read, multiplies them with ``tl.dot``, and computes what is after on the total.
Where a sum is split, a second kernel adds up the parts in their order and does what is after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...ir import DType
from ...ir.dtypes import EIGHTS, HALVES, NARROW
from ...ir.kernels import FusedProduct
from ...ir.loop_steps import NoForm
from ...ir.product_form import Axes, ProductStep
from ...ir.scalar import Argument
from ..source import Source
from ..typed_scalars import TypedValue
from .narrow import as_half, rounded, widened, written, zero
from .product_places import INDENT, LINE, PLACES, Dims, ProductPlaces
from .reductions import REDUCTIONS, expanded
from .scalars import TritonPrinter, computed_dtype


class ProductKernel(ProductPlaces):
    """The source of a kernel of one fused product, and what it is called with.

    ``summing`` is for the second kernel of a split sum.  Raises ``NoForm`` where Triton lacks a dtype or a function.
    """

    def __init__(
        self, kernel: FusedProduct, name: str, operands: Mapping[str, str], source: Source, summing: bool = False
    ) -> None:
        super().__init__(kernel, name, operands, source, summing)
        self.after, self.dtypes = self._expanded()
        for dtype in self.dtypes.values():
            computed_dtype(dtype)
        self.helpers: set[str] = set()
        self.values: dict[str, tuple[str, Dims]] = {}
        self.loaded: dict[tuple[str, Axes, str], tuple[str, Dims]] = {}

    def _expanded(self) -> tuple[list[ProductStep], dict[str, DType]]:
        """The steps after the product, each logsumexp as the steps that it is made of."""
        steps: list[ProductStep] = []
        dtypes = dict(self.form.dtypes)
        for each in self.form.after:
            several, dtypes = expanded([each.step], dtypes)
            for step in several:
                indices = each.indices if len(step.sizes) == len(each.indices) else each.result
                steps.append(ProductStep(step, indices, each.over if step.reduction else frozenset()))
        return steps, dtypes

    # --- the function --------------------------------------------------------------------------

    def function(self) -> list[str]:
        """The kernel's source."""
        self._place()
        if self.summing:
            self._sum_parts()
        else:
            self._multiply()
        if self._is_split and not self.summing:
            self._store_part()
        else:
            self._finish()
        head = listed(f"def {self.name}(", self._parameters(), "):", LINE)
        return ["@triton.jit", *head, *self._described(), *self.lines]

    # --- values --------------------------------------------------------------------------------

    def _load(self, buffer: str, indices: Axes, side: str) -> tuple[str, Dims]:
        known = self.loaded.get((buffer, indices, side))
        if known is None:
            dims = self._dims(indices, side)
            mask = self._mask(side, dims)
            name = self.names.identifier(self.hints[buffer])
            place = self._short(buffer, self._address(buffer, indices, side), f"{name} = tl.load(, other=0){mask}")
            code = f"tl.load({place}{f', mask={mask}, other={zero(self.dtypes[buffer])}' if mask else ''})"
            if not dims:  # as a tile, since the interpreter compares no scalars with tiles
                code = f"tl.broadcast_to({code}, [1, 1])"
            self._line(f"{name} = {code}")
            known = self.loaded[buffer, indices, side] = name, dims
        return known

    def _operand(self, buffer: str, indices: Axes, side: str) -> tuple[TypedValue, Dims]:
        """A value that a step reads: of a step before it, or from memory, what is stored in fewer bits made float32."""
        if buffer in self.values:
            code, dims = self.values[buffer]
            return TypedValue(code, self.dtypes[buffer]), dims
        code, dims = self._load(buffer, indices, side)
        return TypedValue(widened(code, self.dtypes[buffer], self.helpers), self.dtypes[buffer]), dims

    def _computed(self, each: ProductStep, side: str) -> tuple[str, Dims]:
        """A step's values before its reduction."""
        self._comment(each.step.text)
        operands, dims = [], frozenset[int]()
        for position, operand in enumerate(each.step.operands):
            value, its = self._operand(operand.buffer, each.operand(position), side)
            operands.append(value)
            dims |= its
        statements: list[str] = []
        dtype = self.dtypes[each.step.buffer]
        code = TritonPrinter(statements, self.names.identifier, self.helpers, 2).print(
            each.step.expression, operands, dtype
        )
        if isinstance(each.step.expression, Argument) and dtype in NARROW and operands[0].dtype is not dtype:
            code = rounded(code, dtype, self.helpers)
        for text in statements:
            self._line(text)
        return code, dims

    def _named(self, buffer: str, code: str) -> str:
        if code.isidentifier():
            return code
        name = self.names.identifier(self.hints.get(buffer, f"v_{buffer}"))
        self._line(f"{name} = {code}")
        return name

    # --- the product ---------------------------------------------------------------------------

    @property
    def _total_dtype(self) -> str:
        return "tl.float64" if self.form.dtypes[self.form.product] is DType.float64 else "tl.float32"

    def _multiply(self) -> None:
        """The loop along the sum."""
        count = self.count("inner")
        self._line(f"total = tl.zeros([BLOCK_M, BLOCK_N], {self._total_dtype})")
        if self._is_split:
            self._line(f"span = tl.cdiv(tl.cdiv({count}, SPLITS), BLOCK_K) * BLOCK_K")
            self._line(f"for start in range(split * span, min(split * span + span, {count}), BLOCK_K):")
        else:
            self._line(f"for start in range(0, {count}, BLOCK_K):")
        self.depth += 1
        self._line(f"k = {self._widened('(start + tl.arange(0, BLOCK_K))')}")
        for side, view in (("left", "[None, :]"), ("right", "[:, None]")):
            self._line(f"k_{side} = k{view}")
            if self._is_partial("inner"):
                self._line(f"k_{side}_mask = k_{side} < {count}")
            self._divided("inner", side)
        left = self._side("left", *self.form.left)
        right = self._side("right", *self.form.right)
        options = {"tl.float64": ", out_dtype=tl.float64"}.get(self._total_dtype, "")
        options += ", input_precision=PRECISION" if self.takes_precision else ""
        self._line(f"total = tl.dot({left}, {right}, total{options})")
        self.depth -= 1
        self.loaded.clear()
        self.values = {self.form.product: ("total", frozenset((0, 1)))}

    def _side(self, side: str, buffer: str, indices: Axes) -> str:
        """A tile of an operand: as it was read, or as the steps before the product make it."""
        made = {each.step.buffer for each in self.form.before}
        if buffer not in made:
            name, dims = self._load(buffer, indices, side)
            return self._whole_tile(self._factor(name, self.dtypes[buffer]), dims, side)
        dims = frozenset[int]()
        for each in self._makers(buffer):
            code, dims = self._computed(each, side)
            self.values[each.step.buffer] = self._named(each.step.buffer, code), dims
        code, dtype = self.values[buffer][0], self.dtypes[buffer]
        if self._is_partial("inner"):
            code = f"tl.where(k_{side}_mask, {code}, 0.0)"
            dims |= {PLACES[side]["inner"]}
        if dtype in EIGHTS:
            code = written(code, dtype, self.helpers)
        return self._whole_tile(self._factor(code, dtype if dtype in EIGHTS else computed_dtype(dtype)), dims, side)

    def _factor(self, code: str, dtype: DType) -> str:
        """A tile of ``dtype`` as it is multiplied."""
        factors = self.form.numbers.factors
        return as_half(code, dtype, self.helpers, factors) if factors in HALVES else code

    def _whole_tile(self, code: str, dims: Dims, side: str) -> str:
        """The value as a matrix: repeated along what it has not, where an axis has one position."""
        if len(dims) == 2:
            return code
        extents = {"left": "[BLOCK_M, BLOCK_K]", "right": "[BLOCK_K, BLOCK_N]"}[side]
        return f"tl.broadcast_to({code}, {extents})"

    def _makers(self, buffer: str) -> list[ProductStep]:
        """The steps before the product that make an operand, in order."""
        made = {each.step.buffer: each for each in self.form.before}
        wanted, stack = set[str](), [buffer]
        while stack:
            name = stack.pop()
            if name in made and name not in wanted:
                wanted.add(name)
                stack += [x.buffer for x in made[name].step.operands]
        return [each for each in self.form.before if each.step.buffer in wanted]

    # --- split sums ----------------------------------------------------------------------------

    def _part(self, split: str) -> str:
        """The place of a part of the sums: one split after another, in each one product after another."""
        first = f"({split} * {self.count('batch')} + batch)" if self._has_batch else split
        return f"parts_ptr + ({first} * {self.count('rows')} + m) * {self.count('columns')} + n"

    def _store_part(self) -> None:
        mask = self._mask("after", frozenset((0, 1)))
        self._line(f"tl.store({self._part('split')}, total{f', mask={mask}' if mask else ''})")

    def _sum_parts(self) -> None:
        mask = self._mask("after", frozenset((0, 1)))
        self._line(f"total = tl.zeros([BLOCK_M, BLOCK_N], {self._total_dtype})")
        self._comment("Always in this order.")
        self._line("for split in range(SPLITS):")
        self.depth += 1
        self._line(f"part = {self._part('split')}")
        self._line(f"total += tl.load(part{f', mask={mask}, other=0' if mask else ''})")
        self.depth -= 1
        self.values = {self.form.product: ("total", frozenset((0, 1)))}

    # --- after the product ---------------------------------------------------------------------

    def _finish(self) -> None:
        """What is done to the total, and what is written."""
        self._write(self.form.product, self.form.result, frozenset())
        for each in self.after:
            self._after(each)

    def _after(self, each: ProductStep) -> None:
        step = each.step
        code, dims = self._computed(each, "after")
        if step.reduction is not None:
            code, dims = self._reduced(each, code, dims)
        self.values[step.buffer] = self._named(step.buffer, code), dims
        self._write(step.buffer, each.result, self.form.parts.get(step.buffer, ("", frozenset()))[1])

    def _reduced(self, each: ProductStep, code: str, dims: Dims) -> tuple[str, Dims]:
        """A step's values reduced along dimensions of the tile."""
        step, dtype = each.step, self.dtypes[each.step.buffer]
        rule = REDUCTIONS.get(step.reduction or "")
        if rule is None:
            raise NoForm(f"reduction {step.reduction}")
        gone = frozenset(PLACES["after"][group] for group in each.over)
        value = rule.ready(self._named(step.buffer, code), self._mask("after", gone), dtype)
        if gone - dims:
            extents = [f"BLOCK_{'MN'[k]}" if k in dims | gone else "1" for k in (0, 1)]
            value = f"tl.broadcast_to({value}, [{', '.join(extents)}])"
        return rule.reduced(value, sorted(gone), dtype, self.helpers), (dims | gone) - gone

    def _write(self, buffer: str, indices: Axes, parts: frozenset[str]) -> None:
        """Write a result: to its place, or to the program's part of what is reduced over programs."""
        if buffer not in self.results:
            return
        places = {"rows": "m_block", "columns": "n_block"}
        first = "(m_block * n_blocks + n_block)" if len(parts) == 2 else "".join(places[each] for each in parts)
        address = self._address(buffer, indices, "after", self._widened(first) if first else "")
        dims = self._dims(indices, "after")
        value, its = self.values[buffer]
        if not dims:
            address = f"{address} + tl.zeros([1, 1], tl.int32)"
        elif dims - its:
            extents = [f"BLOCK_{'MN'[k]}" if k in dims else "1" for k in (0, 1)]
            value = f"tl.broadcast_to({value}, [{', '.join(extents)}])"
        value = value if parts else written(value, self.dtypes[buffer], self.helpers, self.pointer(buffer))
        mask = self._mask("after", dims)
        place = self._short(buffer, address, f"tl.store(, {value}){mask}")
        self._line(f"tl.store({place}, {value}{f', mask={mask}' if mask else ''})")


def listed(head: str, items: Sequence[str], tail: str, length: int) -> list[str]:
    """``head``, the items with commas, ``tail``: on one line, or on several none of which breaks an item."""
    whole = f"{head}{', '.join(items)}{tail}"
    if len(whole) <= length:
        return [whole]
    lines = [INDENT]
    for item in items:
        if len(lines[-1]) + len(item) > length and lines[-1].strip():
            lines.append(INDENT)
        lines[-1] += f"{item}, "
    return [head, *(line.rstrip() for line in lines[:-1]), lines[-1].removesuffix(", "), tail]
