"""Where a nest's tensors lie, and the tiles of them that a program reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ...ir import Size
from ...ir.dims import dim, product
from ...ir.kernels import BlockLoop
from ...ir.loop_steps import NoForm
from ...ir.program import Buffer, KernelCall, Program
from ..names import Names
from ..source import Source
from .copied_helpers import HELPER_NAMES
from .narrow import zero
from .nest_indices import Dimension, NestIndices, loops_of_nest
from .nest_values import TileValue, spread

_INDENT = "    "
WIDE = 2**30  # elements from which on positions take 64 bits

# What a kernel calls its own indices, and their masks.
_OWN = ("row", "column", *(f"{kind}{k}" for kind in ("b", "i", "s") for k in range(16)))
_RESERVED = (
    "tl",
    "triton",
    "program",
    "start",
    "strip",
    "first_row",
    "WIDE",
    *_OWN,
    *(f"{name}_mask" for name in _OWN),
)


class NestMemory:
    """The names, positions and places in memory of one kernel; ``lines`` is its source so far.

    Operands that may lie ``anywhere`` are read by their strides.
    """

    first_row = "first_row"  # what the kernel calls the position of its first row

    def __init__(
        self,
        loop: BlockLoop,
        name: str,
        operands: Mapping[str, str],
        source: Source,
        sizes: Mapping[str, int],
        anywhere: Collection[str] = (),
    ) -> None:
        self.loop, self.name, self.operands = loop, name, operands
        self.loops = loops_of_nest(loop)
        self.indices = NestIndices(self.loops, sizes)
        self.roots = _roots(loop, self.loops.calls)
        self.body = self.loops.columns.body
        self.names = Names([*_RESERVED, *HELPER_NAMES])
        self.helpers: set[str] = set()
        dims = {symbol: self.names.identifier(symbol) for symbol in source.dims}
        self.source = replace(source, dims=dims, used_dims=set())
        self.buffers = loop.body.buffer_map()
        self.parameters = {
            each: self.names.identifier(f"{operands.get(each, each)}_ptr")
            for each in dict.fromkeys((*loop.body.inputs, *loop.body.outputs))
        }
        self.strides = {
            each: [self.names.identifier(f"{operands.get(each, each)}_stride{axis}") for axis in range(rank)]
            for each in anywhere
            if (rank := len(self.buffers[each].type.shape))
        }
        last = zip(self.loops.rows.body.outputs, self._results(), strict=True)
        self.results = dict(last)
        rows = self.loops.rows.body.buffer_map()
        self.innermost = {root: rows[inner].type.shape for inner, root in (self.roots_of_rows | self.results).items()}
        self.hints = {inner: operands[outer] for inner, outer in self.results.items()}
        self.is_wide = self._needs_wide()
        self.lines: list[str] = []
        self.depth = 1
        self.values: dict[str, TileValue] = {}
        self.loaded: dict[tuple[str, tuple[str, ...]], TileValue] = {}
        self.known: dict[str, str] = {}  # the name of each value by its source: equal ones are computed once

    @property
    def dimensions(self) -> list[Dimension]:
        """All dimensions of tiles."""
        own = self.indices
        return [own.rows, own.columns, *own.inner.values(), *own.strips.values()]

    @property
    def used(self) -> dict[str, str]:
        """The dims whose sizes the kernel reads, by their names in it."""
        return {self.source.dims[symbol]: symbol for symbol in sorted(self.source.used_dims)}

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

    # --- positions -----------------------------------------------------------------------------

    def _positions(self) -> None:
        """The program's position along each batch index, its rows, and all positions of what is whole."""
        rows = self.indices.rows
        self.line(f"program = {self._widened('tl.program_id(0)')}")
        blocks = f"tl.cdiv({self.size(rows.count)}, {rows.constant})"
        block = f"program % {blocks}" if self.indices.batch else "program"
        if self._sees_more():
            self.line("# the last rows first, which go through most columns")
            block = f"({blocks} - 1 - {block})"
        begin = f"{block} * {rows.constant}"
        if self.loops.columns.window is not None:
            self.line(f"{self.first_row} = {begin}")
            begin = self.first_row
        self.line(f"{rows.name} = {begin} + tl.arange(0, {rows.constant})")
        self._mask(rows)
        rest = f"program // {blocks}"
        for position, each in enumerate(reversed(self.indices.batch)):
            last = position == len(self.indices.batch) - 1
            self.line(f"{each.name} = {rest}" if last else f"{each.name} = {rest} % {self.size(each.count)}")
            rest = f"{rest} // {self.size(each.count)}"
        for root in self.parameters:
            if offset := self._offset(root):
                self.line(f"{self.parameters[root]} += {offset}")
        for inner in self.indices.inner.values():
            self.line(f"{inner.name} = tl.arange(0, {inner.constant})")
            self._mask(inner)

    def _sees_more(self) -> bool:
        """Whether later rows go through more columns, as in causal attention."""
        window = self.loops.columns.window
        return window is not None and window[1] is None and window[2] is not None

    def _mask(self, each: Dimension) -> None:
        if each.is_partial:
            self.line(f"{each.name}_mask = {each.name} < {self.size(each.count)}")

    def define_columns(self) -> None:
        """The positions of the block of columns that begins at ``start``."""
        each = self.indices.columns
        self.line(f"{each.name} = start + {self._widened(f'tl.arange(0, {each.constant})')}")
        self._mask(each)

    def define_strip(self, each: Dimension) -> None:
        """The positions of the strip that begins at ``strip``."""
        self.line(f"{each.name} = strip + tl.arange(0, {each.constant})")
        self._mask(each)

    def mask(self, dimensions: Sequence[Dimension], wanted: Sequence[Dimension] | None = None) -> str:
        """Where a tile has elements, along those of its dimensions that are wanted; empty where that is everywhere."""
        terms = []
        for place, each in enumerate(dimensions):
            if each.is_partial and (wanted is None or each in wanted):
                terms.append(spread(f"{each.name}_mask", [k == place for k in range(len(dimensions))]))
        return " & ".join(terms)

    # --- memory --------------------------------------------------------------------------------

    def address(self, root: str, sizes: Sequence[Size]) -> tuple[str, list[tuple[int, Dimension]]]:
        """The elements of a tensor whose axes run along the indices of these sizes, and the axes of the tile."""
        buffer = self.buffers[root]
        tile = self.indices.tile(sizes)
        dimensions = [each for _, each in tile]
        terms = []
        for axis in _layout(buffer):
            index = self.indices.of(sizes[axis])
            if isinstance(index, Dimension):
                place = next(k for k, (its, _) in enumerate(tile) if its == axis)
                name = spread(index.name, [k == place for k in range(len(tile))])
                terms.append(self._strided(name, root, axis))
        if any(dimensions.count(x) > 1 for x in (self.indices.rows, self.indices.columns)):
            raise NoForm("one index along two axes")
        return " + ".join([self.parameters[root], *terms]), tile

    def _strided(self, position: str, root: str, axis: int) -> str:
        """How far a position along an axis of a tensor is from the first."""
        if root in self.strides:
            return f"{position} * {self.strides[root][axis]}"
        layout, shape = _layout(self.buffers[root]), self.whole_shape(root)
        stride = product(shape[each] for each in layout[list(layout).index(axis) + 1 :])
        return position if stride == 1 else f"{position} * {self.size(stride)}"

    def near_axes(self, root: str) -> list[int]:
        """The axes of an operand of which one should have near neighbours in memory: those of its tiles, if any."""
        shape = self.innermost[root]
        found = [axis for axis, size in enumerate(shape) if self.indices.batch_of(size) is None]
        return found or list(range(len(shape)))

    def _offset(self, root: str) -> str:
        """Where a tensor's part for the program's position along the batch indices begins."""
        batch = [(axis, self.indices.batch_of(self.innermost[root][axis])) for axis in _layout(self.buffers[root])]
        return " + ".join(self._strided(index.name, root, axis) for axis, index in batch if index is not None)

    def load(self, buffer: str, types: Program) -> TileValue:
        """The tile of an operand, loaded once."""
        sizes = types.buffer_map()[buffer].type.shape
        root = self.roots[buffer] if types is self.body else self.roots_of_rows[buffer]
        address, tile = self.address(root, sizes)
        key = (root, tuple(each.name for _, each in tile))
        if key not in self.loaded:
            dimensions = tuple(each for _, each in tile)
            name = self.names.identifier(self.operands.get(root, root))
            mask, dtype = self.mask(dimensions), self.buffers[root].type.dtype
            self.line(f"{name} = tl.load({address}{f', mask={mask}, other={zero(dtype)}' if mask else ''})")
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


def _roots(loop: BlockLoop, calls: Sequence[KernelCall]) -> dict[str, str]:
    """The tensor of the outermost body that each operand of the innermost one is."""
    found = {each: each for each in loop.body.inputs}
    for call in calls:
        assert isinstance(call.kernel, BlockLoop)
        if missing := [x for x in call.inputs if x not in found]:
            raise NoForm(f"an operand {missing[0]} that is computed before the loop")
        found = {inner: found[outer] for inner, outer in zip(call.kernel.body.inputs, call.inputs, strict=True)}
    return found


def _layout(buffer: Buffer) -> Sequence[int]:
    rank = len(buffer.type.shape)
    return buffer.layout if len(buffer.layout) == rank else range(rank)
