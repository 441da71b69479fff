"""How large the tiles of a kernel are, and how many programs work on them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...ir import Size
from ...ir.dims import evaluate, product
from ...ir.loop_steps import NoForm
from .axes import Axes, Index


@dataclass(frozen=True)
class Tiling:
    """What tiles are to be like.

    ``preferred`` is how many bytes of one value a tile has where it may choose, and ``most`` the most that it may
    have in registers; an inner index that would need more runs in a loop over chunks.  ``programs`` is the most that
    share a reduction; each takes several tiles where there are more.
    """

    preferred: int = 8192
    most: int = 32768
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


def tile_of(axes: Axes, item_bytes: int, sizes: Mapping[str, int], tiling: Tiling) -> Tile:
    """The tile for these sizes, which is right for all; raises ``NoForm`` where none is small enough."""
    counts = [product(axes.sizes[x] for x in group) for group in axes.inner]
    lengths = [_power(evaluate(count, sizes)) for count in counts]
    chunk = _chunked(lengths, tiling.most // item_bytes)
    inner = math.prod(length for number, length in enumerate(lengths) if number != chunk)
    dimensions = []
    left = max(tiling.preferred // item_bytes // inner, 1)
    if inner * (1 if chunk is None else 2) > tiling.most // item_bytes:
        raise NoForm(f"a tile of {inner} elements")
    chunk_block = min(lengths[chunk], left) if chunk is not None else 1
    left = max(left // chunk_block, 1)
    spread = (("p", "parallel", axes.parallel), ("q", "across", axes.across), ("c", "combined", axes.combined))
    for name, part, indices in spread:
        if indices:
            count = product(axes.sizes[x] for x in indices)
            most = min(left, 128) if part == "parallel" and axes.combined else left
            if part == "parallel" and axes.across:
                most = _square_side(left)
            block = min(_power(evaluate(count, sizes)), most)
            left = max(left // block, 1)
            dimensions.append(Dimension(name, part, indices, count, block, block))
    for number, group in enumerate(axes.inner):
        if number == chunk:
            dimensions.append(Dimension(f"i{number}", "chunk", group, counts[number], chunk_block, chunk_block))
        else:
            most = _power_below(tiling.most // item_bytes // (inner * chunk_block // lengths[number]))
            dimensions.append(Dimension(f"i{number}", "inner", group, counts[number], None, lengths[number], most))
    iterations = 1 if chunk is not None else _iterations(axes, dimensions, sizes, tiling)
    total = math.prod(each.planned for each in dimensions)
    warps = max(1, min(4, total // 32), min(16, total * item_bytes // 2048))
    return Tile(tuple(dimensions), iterations, warps)


def _chunked(lengths: Sequence[int], most: int) -> int | None:
    """The inner dimension to run over in chunks, the longest, where all of them are too much for a tile."""
    return lengths.index(max(lengths)) if math.prod(lengths) > most else None


def _iterations(axes: Axes, dimensions: list[Dimension], sizes: Mapping[str, int], tiling: Tiling) -> int:
    """Tiles of one program, so that few enough share a reduction."""
    blocks = {each.part: -(-evaluate(each.count, sizes) // each.planned) for each in dimensions}
    if "combined" not in blocks or not axes.parts_are_sums:
        return 1
    most = max(tiling.programs // blocks.get("parallel", 1), 1)
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
