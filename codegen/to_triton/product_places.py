"""Where a fused product's programs are, in their tiles and in memory: positions, masks, addresses, parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...ir import DType, Size
from ...ir.dims import product
from ...ir.kernels import FusedProduct, ProductTile
from ...ir.product_form import Axes, ProductForm, product_form
from ..names import Names, docstring_text
from ..source import Source
from ..typed_scalars import within
from .product_axes import MergedAxes, Run, merged_axes

INDENT = "    "
LINE = 110
_LETTERS = {"rows": "m", "columns": "n", "inner": "k", "batch": "batch"}
# The dimension of a tile that each group is, in what is read for the left and the right operand, and afterwards.
PLACES = {
    "left": {"rows": 0, "inner": 1},
    "right": {"inner": 0, "columns": 1},
    "after": {"rows": 0, "columns": 1},
}
# What kernels call things of their own, beside the positions along parts of a group.
_NAMES = (
    "tl", "triton", "program", "tile", "batch", "split", "start", "span", "first", "height", "total", "part",
    "parts_ptr", "m", "n", "k", "k_left", "k_right", "m_mask", "n_mask", "k_left_mask", "k_right_mask", "m_block",
    "n_block", "m_blocks", "n_blocks", "m_count", "n_count", "k_count", "batch_count", "WIDE", "PRECISION", "BLOCK_M",
    "BLOCK_N", "BLOCK_K", "GROUP", "SPLITS",
)  # fmt: skip
Dims = frozenset[int]


class ProductPlaces:
    """The places of one kernel; ``summing`` is for the second kernel of a split sum."""

    def __init__(
        self, kernel: FusedProduct, name: str, operands: Mapping[str, str], source: Source, summing: bool
    ) -> None:
        self.kernel, self.name, self.summing = kernel, name, summing
        self.form: ProductForm = product_form(kernel.body, kernel.product)
        # What adds parts up takes fewer rows, so that there are enough programs.
        few = summing and "rows" not in self.form.whole
        self.tile: ProductTile = replace(kernel.tile, rows=16) if few else kernel.tile
        self.axes: MergedAxes = merged_axes(self.form, kernel.body)
        self.results = set(kernel.body.outputs)
        divided = [
            f"{self._letter(group, side)}{number}"
            for group, runs in self.axes.runs.items()
            for side in ("left", "right")
            for number in range(len(runs))
        ]
        self.names = Names([*_NAMES, *divided])
        dims = {symbol: self.names.identifier(symbol) for symbol in source.dims}
        self.source = replace(source, dims=dims, used_dims=set())
        self.hints = {buffer: operands.get(buffer, buffer) for buffer in (*kernel.body.inputs, *kernel.body.outputs)}
        self.pointers: dict[str, str] = {}
        self.strides: dict[tuple[str, str], str] = {}
        self.lines: list[str] = []
        self.depth = 1

    # --- parameters ----------------------------------------------------------------------------

    @property
    def _is_split(self) -> bool:
        return self.tile.splits > 1

    @property
    def is_persistent(self) -> bool:
        """Whether a program makes several tiles; not of parts of sums."""
        return self.tile.persistent and not self._is_split

    def _described(self) -> list[str]:
        """A comment that says what the indices are."""
        groups = {"rows": "rows", "columns": "columns", "inner": "summed"}
        listed = ", ".join(
            f"{_LETTERS[group]}: {docstring_text(str(self.axes.count(group)))} {word}" for group, word in groups.items()
        )
        lines = [f"{INDENT}# {listed}"]
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
        return not self.summing and self.form.numbers.factors is DType.float32

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
            return group  # as many as the call has: the launch knows
        return str(planned)

    @property
    def used(self) -> dict[str, str]:
        """The dims whose sizes the kernel reads, by their names in it."""
        return {self.source.dims[symbol]: symbol for symbol in sorted(self.source.used_dims)}

    def _line(self, text: str) -> None:
        self.lines.append(INDENT * self.depth + text)

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
        if not self.is_persistent:
            self._line("program = tl.program_id(0)")
        self._line(f"m_blocks = tl.cdiv({self.count('rows')}, BLOCK_M)")
        self._line(f"n_blocks = tl.cdiv({self.count('columns')}, BLOCK_N)")
        if self.is_persistent:
            self._comment("Each program makes one tile after another, as many apart as there are programs.")
            tiles = " * ".join(["m_blocks * n_blocks", *([self.count("batch")] if self._has_batch else [])])
            self._line(f"for program in range(tl.program_id(0), {tiles}, tl.num_programs(0)):")
            self.depth += 1
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
        places = {place: group for group, place in PLACES[side].items() if self._is_partial(group)}
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
        if len(INDENT) * self.depth + len(address) + len(around) <= LINE:
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
        places = PLACES[side]
        groups = {self.axes.group_of[x] for x in indices if x is not None}
        return frozenset(places[group] for group in groups if group in places)
