"""How large the tiles of a kernel are, and how many programs work on them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ...ir import Size
from ...ir.dims import evaluate, product
from ...ir.loop_steps import NoForm
from .axes import Axes, Index
from .registers import Registers

_RUNS = (128, 64, 32)  # bytes of neighbours in memory that are read together, the best first
_BUSY = 128  # programs that have most of a GPU at work
_LONG_ROW = 1024  # elements
_FEW_SUMS = 3
_BYTES_OF_WARP = 8192  # of one value, where the threads of a warp have 64 numbers each


@dataclass(frozen=True)
class Tiling:
    """What tiles are to be like.

    ``preferred`` is how many bytes of one value a tile has where it may choose, and ``most`` how many bytes of all
    values together a program may hold in registers at once; an inner index that would need more runs in a loop over
    chunks.  ``programs`` is the most that share a reduction; each takes several tiles where there are more.
    """

    preferred: int = 8192
    most: int = 229376
    programs: int = 1024


@dataclass(frozen=True)
class Dimension:
    """A dimension of the tile: ``part`` of the indices, which are flattened, ``count`` positions in all.

    ``block`` is how many of them the tile has; None for all, rounded up to a power of two, of which ``most`` fit into
    registers.  ``planned`` is what it is for the sizes at hand.
    """

    name: str
    part: str
    indices: tuple[Index, ...]
    count: Size
    block: int | None
    planned: int
    most: int = 0

    @property
    def is_counted(self) -> bool:
        """Whether the kernel is told how many positions there are: those of a tile are constants to it."""
        return self.part in ("parallel", "across", "combined") and not isinstance(self.count, int)

    @property
    def constant(self) -> str:
        """The name of the kernel's parameter that says how many positions the tile has."""
        return f"BLOCK_{self.name.upper()}"


@dataclass(frozen=True)
class Tile:
    """The dimensions of a tile; ``iterations`` are the tiles of one program along the combined index."""

    dimensions: tuple[Dimension, ...]
    iterations: int
    warps: int

    @property
    def names(self) -> list[str]:
        """The names that a kernel has for the dimensions."""
        derived = [f"{x.name}{end}" for x in self.dimensions for end in ("", "_mask", "_count", "_program")]
        return derived + [x.constant for x in self.dimensions]

    def part(self, part: str) -> Dimension | None:
        """The dimension of this part, where the tile has one: of the inner ones, the first."""
        return next((each for each in self.dimensions if each.part == part), None)


def tile_of(axes: Axes, registers: Registers, sizes: Mapping[str, int], tiling: Tiling) -> Tile:
    """The tile for these sizes, which is right for all; raises ``NoForm`` where none is small enough."""
    return _Fitting(axes, registers, sizes, tiling).tile()


class _Fitting:
    """The search for one tile; sizes of blocks are in elements."""

    def __init__(self, axes: Axes, registers: Registers, sizes: Mapping[str, int], tiling: Tiling) -> None:
        self.axes, self.registers, self.sizes, self.tiling = axes, registers, sizes, tiling
        self.item = registers.item_bytes
        self.room = tiling.most if self.item <= 4 else tiling.most // 2  # functions of doubles need many themselves
        self.counts = [product(axes.sizes[x] for x in group) for group in axes.inner]
        self.lengths = [_power(evaluate(count, sizes)) for count in self.counts]
        self.inner = math.prod(self.lengths)
        kept = {x for each in axes.steps if each.step.buffer in axes.parts for x in axes.inner_of(each.result)}
        # Parts that are a number for each long row are little beside the row: nothing need gather them.
        self.gathers = axes.parts_are_sums and (bool(kept) or self.inner < _LONG_ROW)

    def tile(self) -> Tile:
        """The tile: with the inner indices whole where registers have room, else with the longest in chunks."""
        chunk, side = None, self._side_of_whole()
        if side is None:
            chunk, side = self._chunk(), self._side_of_chunks()
        inner = self.inner if chunk is None else self.inner // self.lengths[chunk]
        preferred = self.tiling.preferred * (1 if chunk is None else self._larger(chunk))
        left = max(preferred // self.item // inner, 1)
        block = min(self.lengths[chunk], max(left // side, 1)) if chunk is not None else 1
        dimensions = self._outer(max(left // block, 1), side)
        for number, group in enumerate(self.axes.inner):
            count = self.counts[number]
            if number == chunk:
                dimensions.append(Dimension(f"i{number}", "chunk", group, count, block, block))
            else:
                dimensions.append(Dimension(f"i{number}", "inner", group, count, None, self.lengths[number]))
        iterations = 1 if chunk is not None or not self.gathers else self._iterations(dimensions)
        total = math.prod(each.planned for each in dimensions)
        warps = max(1, min(4, total // 32), min(16, total * self.item // 2048))
        spare = _power_below(warps * _BYTES_OF_WARP // (total * self.item))
        return Tile(tuple(replace(x, most=x.planned * spare) for x in dimensions), iterations, warps)

    def _side(self, run: int) -> int:
        """How many positions of the parallel indices a tile has at least, where these are neighbours in memory."""
        if not self.axes.runs_parallel or not self.lengths:
            return 1
        count = _power(evaluate(product(self.axes.sizes[x] for x in self.axes.parallel), self.sizes))
        most = max(self.tiling.preferred // self.item // 2, 1)
        return max(min(run // self.item, count, most), 1)

    def _side_of_chunks(self) -> int:
        """The same for a tile with some inner positions: fewer where these would be too few programs."""
        positions = evaluate(product(self.axes.sizes[x] for x in self.axes.parallel), self.sizes)
        for run in _RUNS:
            if positions // self._side(run) >= _BUSY:
                return self._side(run)
        return self._side(_RUNS[-1])

    def _side_of_whole(self) -> int | None:
        """The same for a tile with all inner positions; None where registers have no room for it."""
        held = self.registers.held(self.lengths, self.gathers)
        for run in _RUNS:
            if held * self._side(run) <= self.room or not self.lengths:
                return self._side(run)
        return None

    def _chunk(self) -> int:
        """The inner dimension to run over in chunks: the longest."""
        chunk = self.lengths.index(max(self.lengths))
        least = [2 if number == chunk else length for number, length in enumerate(self.lengths)]
        if self.registers.held(least, self.gathers) > self.room:
            raise NoForm(f"a tile of {math.prod(least)} elements")
        return chunk

    def _larger(self, chunk: int) -> int:
        """How many times as large as other tiles chunks are.

        The fewer rows are at work, the more of them the next pass finds in the cache.  A thread of more warps has fewer
        registers, which are too few for doubles, and for many running sums.
        """
        group = set(self.axes.inner[chunk])
        sums = sum(bool(group & x.reduced) for x in self.axes.steps)
        return 1 if self.item > 4 else 2 if sums > _FEW_SUMS else 4

    def _outer(self, left: int, side: int) -> list[Dimension]:
        """The dimensions of the outer indices, for as many elements as are ``left``."""
        found = []
        axes = self.axes
        spread = (("p", "parallel", axes.parallel), ("q", "across", axes.across), ("c", "combined", axes.combined))
        for name, part, indices in spread:
            if indices:
                count = product(axes.sizes[x] for x in indices)
                most = min(left, 128) if part == "parallel" and axes.combined else left
                if part == "parallel" and axes.across:
                    most = _square_side(left)
                block = min(_power(evaluate(count, self.sizes)), max(most, side if part == "parallel" else 1))
                left = max(left // block, 1)
                found.append(Dimension(name, part, indices, count, block, block))
        return found

    def _iterations(self, dimensions: Sequence[Dimension]) -> int:
        """Tiles of one program, so that few enough share a reduction."""
        blocks = {each.part: -(-evaluate(each.count, self.sizes) // each.planned) for each in dimensions}
        if "combined" not in blocks:
            return 1
        most = max(self.tiling.programs // blocks.get("parallel", 1), 1)
        return -(-blocks["combined"] // most)


def _power_below(count: int) -> int:
    """The largest power of two that is no larger."""
    return 1 << max(count.bit_length() - 1, 0)


def _square_side(elements: int) -> int:
    """The rows of a tile with a power of two of elements, and as many columns or twice as many."""
    return 1 << (elements.bit_length() - 1) // 2


def _power(count: int) -> int:
    """The next power of two."""
    return 1 << max(count - 1, 0).bit_length()
