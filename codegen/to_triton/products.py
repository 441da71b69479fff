"""Fused products as Triton kernels: tiles of a matrix product, with the work before and after it.

A program makes one tile of the result.  It goes along the sum in steps, computes what is before the product on the
tiles of the operands that it has read, multiplies them with ``tl.dot``, and computes what is after on the total.
Where a sum is split, a second kernel adds up the parts in their order and does what is after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...ir import DType, Size
from ...ir.dims import product
from ...ir.kernels import FusedProduct, ProductTile
from ...ir.loop_steps import NoForm
from ...ir.product_form import Axes, ProductForm, ProductStep, product_form
from ...ir.scalar import Argument
from ..names import Names, docstring_text
from ..source import Source
from ..typed_scalars import TypedValue, within
from .product_axes import MergedAxes, Run, merged_axes
from .reductions import REDUCTIONS, expanded
from .scalars import HALVES, TRITON_DTYPES, TritonPrinter, computed_dtype

_INDENT = "    "
_LINE = 110
_LETTERS = {"rows": "m", "columns": "n", "inner": "k", "batch": "batch"}
# The dimension of a tile that each group is, in what is read for the left and the right operand, and afterwards.
_PLACES = {
    "left": {"rows": 0, "inner": 1},
    "right": {"inner": 0, "columns": 1},
    "after": {"rows": 0, "columns": 1},
}
Dims = frozenset[int]


class ProductKernel:
    """The source of the kernels of one fused product, and what they are called with.

    ``summing`` is for the second kernel of a split sum.
    """

    def __init__(
        self, kernel: FusedProduct, name: str, operands: Mapping[str, str], source: Source, summing: bool = False
    ) -> None:
        self.kernel, self.name, self.summing = kernel, name, summing
        self.tile: ProductTile = replace(kernel.tile, rows=16) if self._is_small(kernel, summing) else kernel.tile
        self.form: ProductForm = product_form(kernel.body, kernel.product)
        self.axes: MergedAxes = merged_axes(self.form, kernel.body)
        self.after, self.dtypes = self._expanded()
        for dtype in self.dtypes.values():
            computed_dtype(dtype)
        self.results = set(kernel.body.outputs)
        self.shapes = {name: buffer.type.shape for name, buffer in kernel.body.buffer_map().items()}
        self.names = Names([
            "tl", "triton", "program", "batch", "split", "start", "first", "height", "total", "tile", "part", "span",
            "m_block", "n_block", "m_blocks", "n_blocks", "parts_ptr", *("m", "n", "k", "k_left", "k_right"),
        ])  # fmt: skip
        for group, runs in self.axes.runs.items():
            for side in ("left", "right"):
                for number in range(len(runs)):
                    self.names.identifier(f"{self._letter(group, side)}{number}")
        self.helpers: set[str] = set()
        dims = {symbol: self.names.identifier(symbol) for symbol in source.dims}
        self.source = replace(source, dims=dims, used_dims=set())
        self.hints = {buffer: operands.get(buffer, buffer) for buffer in (*kernel.body.inputs, *kernel.body.outputs)}
        self.pointers: dict[str, str] = {}
        self.strides: dict[tuple[str, str], str] = {}
        self.lines: list[str] = []
        self.depth = 1
        self.values: dict[str, tuple[str, Dims]] = {}
        self.loaded: dict[tuple[str, Axes, str], tuple[str, Dims]] = {}

    @staticmethod
    def _is_small(kernel: FusedProduct, summing: bool) -> bool:
        """Whether the kernel that adds parts up takes fewer rows, so that there are enough programs."""
        return summing and "rows" not in product_form(kernel.body, kernel.product).whole

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
        head = listed(f"def {self.name}(", self._parameters(), "):", _LINE)
        return ["@triton.jit", *head, *self._described(), *self.lines]

    @property
    def _is_split(self) -> bool:
        return self.tile.splits > 1

    def _described(self) -> list[str]:
        """A comment that says what the indices are."""
        groups = {"rows": "rows", "columns": "columns", "inner": "summed"}
        listed = ", ".join(
            f"{_LETTERS[group]}: {docstring_text(str(self.axes.count(group)))} {word}" for group, word in groups.items()
        )
        lines = [f"{_INDENT}# {listed}"]
        if self.axes.runs["batch"]:
            lines[0] += f"; {docstring_text(str(self.axes.count('batch')))} products"
        return lines

    def _parameters(self) -> list[str]:
        pointers = [*self.pointers.values(), *(["parts_ptr"] if self._is_split else [])]
        return [*pointers, *self.strides.values(), *self.counts.values(), *self._constants()]

    @property
    def counts(self) -> dict[str, str]:
        """The parameters that say how many positions a group has, where that is not known."""
        used = ("rows", "columns", "batch") if self.summing else ("rows", "columns", "inner", "batch")
        return {g: f"{_LETTERS[g]}_count" for g in used if not isinstance(self.axes.count(g), int)}

    def _constants(self) -> list[str]:
        names = [*self.used, "WIDE"]
        names += ["PRECISION"] if self.takes_precision else []
        return [f"{name}: tl.constexpr" for name in (*names, *self.constants())]

    @property
    def takes_precision(self) -> bool:
        """Whether operands may be rounded as torch's setting says."""
        return not self.summing and self.form.dtypes[self.form.product] is DType.float32

    def constants(self) -> dict[str, str]:
        """The numbers of the tile, by the names of the kernel's parameters."""
        found = {"BLOCK_M": self._block("rows"), "BLOCK_N": self._block("columns")}
        if not self.summing:
            found["BLOCK_K"] = str(self.tile.inner)
            if self._is_grouped:
                found["GROUP"] = str(self.tile.group)
        if self._is_split:
            found["SPLITS"] = str(self.tile.splits)
        return found

    def _block(self, group: str) -> str:
        """The length of a side of the tile: that of the plan, unless all of a group must be in it."""
        planned = self.tile.rows if group == "rows" else self.tile.columns
        size = self.axes.count(group)
        if group in self.form.whole and not isinstance(size, int):
            return f"triton.next_power_of_2(max({{{group}}}, 16))"
        return str(planned)

    @property
    def used(self) -> dict[str, str]:
        """The dims whose sizes the kernel reads, by their names in it."""
        return {self.source.dims[symbol]: symbol for symbol in sorted(self.source.used_dims)}

    def _line(self, text: str) -> None:
        self.lines.append(_INDENT * self.depth + text)

    def _comment(self, text: str) -> None:
        self._line(f"# {docstring_text(text)}")

    # --- which tile ----------------------------------------------------------------------------

    def count(self, group: str) -> str:
        """The positions of a group."""
        size = self.axes.count(group)
        return str(size) if isinstance(size, int) else f"{_LETTERS[group]}_count"

    def blocks(self, group: str) -> int | None:
        """The blocks of a group, where that is known."""
        size = self.axes.count(group)
        planned = self.tile.rows if group == "rows" else self.tile.columns
        return -(-size // planned) if isinstance(size, int) else 1 if group in self.form.whole else None

    @property
    def _is_grouped(self) -> bool:
        return not self.summing and self.blocks("rows") != 1 and self.blocks("columns") != 1

    def _place(self) -> None:
        """The tile, the split and the product of a program, and the positions of the tile's rows and columns."""
        self._line("program = tl.program_id(0)")
        self._line(f"m_blocks = tl.cdiv({self.count('rows')}, BLOCK_M)")
        self._line(f"n_blocks = tl.cdiv({self.count('columns')}, BLOCK_N)")
        self._line("tile = program % (m_blocks * n_blocks)")
        splits = "SPLITS" if self._is_split and not self.summing else ""
        if splits:
            self._line("split = program // (m_blocks * n_blocks) % SPLITS")
        if self._has_batch:
            whole = f"(m_blocks * n_blocks{f' * {splits}' if splits else ''})"
            self._line(f"batch = {self._widened(f'(program // {whole})')}")
            self._divided("batch")
        if self._is_grouped:
            self._comment("GROUP blocks of rows run side by side: what they read is in the cache for one another.")
            self._line("first = tile // (GROUP * n_blocks) * GROUP")
            self._line("height = min(m_blocks - first, GROUP)")
            self._line("m_block = first + tile % (GROUP * n_blocks) % height")
            self._line("n_block = tile % (GROUP * n_blocks) // height")
        else:
            self._line("m_block = tile // n_blocks")
            self._line("n_block = tile % n_blocks")
        self._positions("rows", "m_block", "[:, None]")
        self._positions("columns", "n_block", "[None, :]")

    @property
    def _has_batch(self) -> bool:
        return bool(self.axes.runs["batch"])

    @staticmethod
    def _widened(code: str) -> str:
        return f"{code}.to(tl.int64 if WIDE else tl.int32)"

    def _positions(self, group: str, block: str, view: str) -> None:
        letter = _LETTERS[group]
        capital = f"BLOCK_{letter.upper()}"
        self._line(f"{letter} = ({self._widened(block)} * {capital} + tl.arange(0, {capital})){view}")
        if self._is_partial(group):
            self._line(f"{letter}_mask = {letter} < {self.count(group)}")
        self._divided(group)

    def _is_partial(self, group: str) -> bool:
        """Whether tiles may overhang a group."""
        size = self.axes.count(group)
        block = {"rows": self.tile.rows, "columns": self.tile.columns, "inner": self.tile.inner}[group]
        return not isinstance(size, int) or size % block != 0

    def _mask(self, side: str, dims: Dims) -> str:
        """Where a tile with these dimensions has elements; empty where that is everywhere."""
        places = {place: group for group, place in _PLACES[side].items() if self._is_partial(group)}
        names = {"inner": f"k_{side}_mask", "rows": "m_mask", "columns": "n_mask"}
        return " & ".join(names[places[k]] for k in sorted(dims) if k in places)

    # --- places in memory ----------------------------------------------------------------------

    def pointer(self, buffer: str) -> str:
        """The parameter that says where a tensor is."""
        if buffer not in self.pointers:
            self.pointers[buffer] = self.names.identifier(f"{self.hints[buffer]}_ptr")
        return self.pointers[buffer]

    def _short(self, buffer: str, address: str, around: str) -> str:
        """The address, or a name for it where a line would be too long with what is around it."""
        if len(_INDENT) * self.depth + len(address) + len(around) <= _LINE:
            return address
        name = self.names.identifier(f"{self.hints[buffer]}_place")
        self._line(f"{name} = {address}")
        return name

    def _stride(self, buffer: str, expression: str, hint: str) -> str:
        """The parameter for a stride, which the call computes by ``expression``, over ``{tensor}``."""
        key = (buffer, expression)
        if key not in self.strides:
            self.strides[key] = self.names.identifier(f"{self.hints[buffer]}_{hint}")
        return self.strides[key]

    def _address(self, buffer: str, indices: Axes, side: str, first: str = "") -> str:
        """The elements of a tensor on a tile, where a parameter has the stride of each of its axes."""
        terms = [self.pointer(buffer)]
        shift = 1 if first else 0
        if first:
            terms.append(f"{first} * {self._stride(buffer, '{tensor}.stride(0)', 'part_stride')}")
        for number, (run, axes) in enumerate(self.axes.parts(indices)):
            if run is not None:
                # An operand is reshaped to merged axes; a result that is made here lies as they do.
                place = axes[-1] if buffer in self.results else number
                hint = self._stride_hint(run)
                stride = self._stride(buffer, f"{{tensor}}.stride({place + shift})", hint)
                terms.append(f"{self._position(run, side)} * {stride}")
        return " + ".join(terms)

    def _stride_hint(self, run: Run) -> str:
        group = self.axes.group_of[run[0]]
        several = self.axes.runs[group]
        return f"{_LETTERS[group]}{several.index(run) if len(several) > 1 else ''}_stride"

    def _position(self, run: Run, side: str) -> str:
        """The name of the position along a run."""
        group = self.axes.group_of[run[0]]
        runs = self.axes.runs[group]
        return f"{self._letter(group, side)}{runs.index(run) if len(runs) > 1 else ''}"

    @staticmethod
    def _letter(group: str, side: str) -> str:
        return f"k_{side}" if group == "inner" else _LETTERS[group]

    def _divided(self, group: str, side: str = "after") -> None:
        """Define the positions along the runs of a group from that within the group."""
        runs = self.axes.runs[group]
        letter = self._letter(group, side)
        for number, run in enumerate(runs if len(runs) > 1 else ()):
            text = letter
            if number < len(runs) - 1:
                text = f"{text} // {self._size(product(self.axes.size(x) for x in runs[number + 1 :]))}"
            if number > 0:
                text = f"{within(text)} % {self._size(self.axes.size(run))}"
            self._line(f"{letter}{number} = {text}")

    def _size(self, size: Size) -> str:
        return self.source.factor(size)

    def _dims(self, indices: Axes, side: str) -> Dims:
        places = _PLACES[side]
        groups = {self.axes.group_of[x] for x in indices if x is not None}
        return frozenset(places[group] for group in groups if group in places)

    # --- values --------------------------------------------------------------------------------

    def _load(self, buffer: str, indices: Axes, side: str) -> tuple[str, Dims]:
        known = self.loaded.get((buffer, indices, side))
        if known is None:
            dims = self._dims(indices, side)
            mask = self._mask(side, dims)
            name = self.names.identifier(self.hints[buffer])
            place = self._short(buffer, self._address(buffer, indices, side), f"{name} = tl.load(, other=0){mask}")
            code = f"tl.load({place}{f', mask={mask}, other=0' if mask else ''})"
            if not dims:  # as a tile, since the interpreter compares no scalars with tiles
                code = f"tl.broadcast_to({code}, [1, 1])"
            self._line(f"{name} = {code}")
            known = self.loaded[buffer, indices, side] = name, dims
        return known

    def _operand(self, buffer: str, indices: Axes, side: str) -> tuple[TypedValue, Dims]:
        """A value that a step reads: of a step before it, or from memory, half precision made float32."""
        if buffer in self.values:
            code, dims = self.values[buffer]
            return TypedValue(code, self.dtypes[buffer]), dims
        code, dims = self._load(buffer, indices, side)
        if self.dtypes[buffer] in HALVES:
            code = f"{code}.to(tl.float32)"
        return TypedValue(code, self.dtypes[buffer]), dims

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
        if isinstance(each.step.expression, Argument) and dtype in HALVES and operands[0].dtype is not dtype:
            code = f"{within(code)}.to({TRITON_DTYPES[dtype]}).to(tl.float32)"
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
            return self._whole_tile(name, dims, side)
        dims = frozenset[int]()
        for each in self._makers(buffer):
            code, dims = self._computed(each, side)
            self.values[each.step.buffer] = self._named(each.step.buffer, code), dims
        dtype = self.dtypes[buffer]
        name = self.values[buffer][0]
        if self._is_partial("inner"):
            name = f"tl.where(k_{side}_mask, {name}, 0.0)"
            dims |= {_PLACES[side]["inner"]}
        if dtype in HALVES:
            name = f"{within(name)}.to({TRITON_DTYPES[dtype]})"
        return self._whole_tile(name, dims, side)

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
        self._write(step.buffer, each.result, self.form.parts_over(each))

    def _reduced(self, each: ProductStep, code: str, dims: Dims) -> tuple[str, Dims]:
        """A step's values reduced along dimensions of the tile."""
        step, dtype = each.step, self.dtypes[each.step.buffer]
        rule = REDUCTIONS.get(step.reduction or "")
        if rule is None:
            raise NoForm(f"reduction {step.reduction}")
        gone = frozenset(_PLACES["after"][group] for group in each.over)
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
        mask = self._mask("after", dims)
        place = self._short(buffer, address, f"tl.store(, {value}){mask}")
        self._line(f"tl.store({place}, {value}{f', mask={mask}' if mask else ''})")

    # --- for the call --------------------------------------------------------------------------

    def parts_of(self, buffer: str) -> tuple[str, frozenset[str]] | None:
        """How a result is reduced of the programs' parts, and over which groups; None where it is not."""
        for each in self.after:
            if each.step.buffer == buffer and each.step.reduction and self.form.parts_over(each):
                return each.step.reduction, self.form.parts_over(each)
        return None


def listed(head: str, items: Sequence[str], tail: str, length: int) -> list[str]:
    """``head``, the items with commas, ``tail``: on one line, or on several none of which breaks an item."""
    whole = f"{head}{', '.join(items)}{tail}"
    if len(whole) <= length:
        return [whole]
    lines = [_INDENT]
    for item in items:
        if len(lines[-1]) + len(item) > length and lines[-1].strip():
            lines.append(_INDENT)
        lines[-1] += f"{item}, "
    return [head, *(line.rstrip() for line in lines[:-1]), lines[-1].removesuffix(", "), tail]
