"""The tiles of a product on a GPU, and what it takes, planned: from counts of operations, bytes and programs.

The figures are those of an H100: data sheet and usual efficiency, not measured by us.  Only their ratios matter to
the choice, and ``OTUS_AUTOTUNE=1`` measures it instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ...ir import DType
from ...ir.kernels import ProductTile
from ...ir.loop_steps import MOST_WHOLE

LAUNCH_SECONDS = 4e-6
# What starting a program takes, and at least a step along its sum.
_START_SECONDS, _STEP_SECONDS = 0.5e-6, 0.25e-6
BYTES_A_SECOND = 2.8e12
_CACHED_BYTES_A_SECOND = 8e12
_PROCESSORS = 132
# Operations a second of the library's products, and the part of that which a kernel of ours reaches.  Without
# tensor cores (float32 in full precision) both are smaller.
_RATES = {DType.float16: 650e12, DType.bfloat16: 650e12, DType.float32: 330e12, DType.float64: 55e12}
_FLOAT32_RATE = 50e12
_PART, _PART_WITHOUT_CORES = 0.75, 0.6
_SCALAR_RATE = 25e12
# A kernel of ours must save at least this part of the time.
WORTHWHILE = 0.95
# Bytes of shared memory that tiles may take: less than sm_80 has, since work on operands takes some too.
_SHARED = 128 * 1024
# As many cheap functions as one that takes a series, or several, counts for.
SERIES, LONG_SERIES = 12, 40
_SMALLEST = 16
# From how many tiles for each processor on a program may make one after another.
_MANY_ROUNDS = 3
_MOST_SPLITS = 32


@dataclass(frozen=True)
class ProductSize:
    """``batch`` products of ``rows`` × ``inner`` and ``inner`` × ``columns``.

    ``before`` are the functions applied to each element of the left and the right operand, ``after`` those to each
    of the result; ``moved`` are the bytes read and written once.  ``cores`` says that tensor cores multiply.
    ``whole`` are the groups that one tile has all of, and ``parts`` the results that programs give parts of.
    Numbers are multiplied in ``dtype``, and read with so many bits as ``stored`` says of each side (0: as many).
    """

    batch: int
    rows: int
    columns: int
    inner: int
    dtype: DType
    moved: int
    cores: bool = True
    before: tuple[int, int] = (0, 0)
    after: int = 0
    whole: frozenset[str] = frozenset()
    parts: int = 0
    stored: tuple[int, int] = (0, 0)

    def rate(self, library: bool) -> float:
        """Operations a second of the library's kernels, or of ours."""
        rate = _RATES[self.dtype] if self.cores else _FLOAT32_RATE
        return rate * (1.0 if library else _PART if self.cores else _PART_WITHOUT_CORES)

    @property
    def functions_seconds(self) -> float:
        """The functions before and after, each once for each element."""
        operands = self.rows * self.before[0] + self.columns * self.before[1]
        return self.batch * (self.inner * operands + self.rows * self.columns * self.after) / _SCALAR_RATE

    @property
    def library_seconds(self) -> float:
        """The product alone, by the library, which has tiles of all shapes, and reads what it shares only once."""
        alone = replace(self, before=(0, 0), after=0, whole=frozenset(), parts=0)
        tiles = (each for each in candidates(alone, True) if not each.persistent)
        return min(seconds_of(alone, tile, library=True) for tile in tiles)


def best_tiles(size: ProductSize, may_split: bool, most: int) -> tuple[tuple[ProductTile, float], ...]:
    """The tiles of the least planned time, with that time; none where what must be whole is too large for any."""
    found = [(tile, seconds_of(size, tile)) for tile in candidates(size, may_split)]
    return tuple(sorted(found, key=lambda each: each[1])[:most])


def candidates(size: ProductSize, may_split: bool) -> Iterator[ProductTile]:
    """The tiles worth a try: also with split sums where sums are long and programs few, and one after another where
    they are many and each takes a processor.
    """
    for tile in _shapes(size):
        yield tile
        if _programs(size, tile) >= _MANY_ROUNDS * _at_once(tile) and tile.rows * tile.columns >= 128 * 128:
            yield replace(tile, persistent=True)
        splits = 2
        while may_split and splits <= _MOST_SPLITS and _programs(size, tile) * splits <= 2 * _PROCESSORS:
            if size.inner >= splits * 4 * tile.inner:
                yield replace(tile, splits=splits)
            splits *= 2


def seconds_of(size: ProductSize, tile: ProductTile, library: bool = False) -> float:
    """The planned time of a product by a kernel with these tiles: one of the library's, or ours."""
    flops = 2.0 * size.batch * size.rows * size.columns * size.inner
    computing = flops / size.rate(library) * _waves(size, tile, library)
    across, down = -(-size.columns // tile.columns), -(-size.rows // tile.rows)
    left, right = ((bits or size.dtype.bits) / 8 for bits in size.stored)
    operands = size.batch * size.inner * (size.rows * across * left + size.columns * down * right)
    functions = size.batch * size.inner * (size.rows * across * size.before[0] + size.columns * down * size.before[1])
    functions += size.batch * size.rows * size.columns * size.after
    rounds = math.ceil(_programs(size, tile) / _at_once(tile))
    started = 1 if tile.persistent else rounds
    steps = -(-size.inner // (tile.inner * tile.splits))
    computing = max(computing + functions / _SCALAR_RATE, rounds * steps * _STEP_SECONDS)
    moving = size.moved / BYTES_A_SECOND
    if tile.splits > 1:
        written = 2 * tile.splits * size.batch * size.rows * size.columns * max(size.dtype.bits // 8, 4)
        moving += LAUNCH_SECONDS + written / _CACHED_BYTES_A_SECOND
    reading = operands / (_CACHED_BYTES_A_SECOND * (2 if library else 1))
    # They go on at the same time, but not quite.
    return (
        LAUNCH_SECONDS
        + started * _START_SECONDS
        + max(computing, moving, reading)
        + 0.1 * (computing + moving + reading)
    )


def _programs(size: ProductSize, tile: ProductTile) -> int:
    return size.batch * tile.splits * -(-size.rows // tile.rows) * -(-size.columns // tile.columns)


def _at_once(tile: ProductTile) -> int:
    """How many programs run at the same time: several share a processor where their tiles are small."""
    return _PROCESSORS * min(max(128 * 128 // (tile.rows * tile.columns), 1), 8)


def _waves(size: ProductSize, tile: ProductTile, library: bool) -> float:
    """How much longer than on busy processors, since tiles overhang and the last of them leave processors idle."""
    programs = _programs(size, tile)
    done = programs * tile.rows * tile.columns / tile.splits
    wanted = size.batch * size.rows * size.columns
    # Small tiles read an operand for each few operations, and so keep a processor waiting.
    slow = 1.0 if library else 1 + 16 / tile.rows + 16 / tile.columns
    idle = math.ceil(programs / _PROCESSORS) * _PROCESSORS / programs if programs < _at_once(tile) else 1.0
    return done / max(wanted, 1) * slow * idle


def _shapes(size: ProductSize) -> Iterator[ProductTile]:
    """Tiles that fit into registers and shared memory, without splits."""
    item = size.dtype.bits // 8
    # What follows the product needs registers for itself; without tensor cores so does the product.
    busy = size.after >= SERIES or bool(size.whole) or not size.cores
    most = (16 if size.after >= LONG_SERIES else 32 if busy else 128 if item == 2 else 64) * 4 // max(item, 4)
    for rows in _lengths(size.rows, "rows" in size.whole, 128):
        for columns in _lengths(size.columns, "columns" in size.whole, 256):
            inner = min(max(_power(size.inner), _SMALLEST), 64 if item == 2 else 32 if item == 4 else 16)
            for warps in (4, 8):
                if rows * columns <= most * 32 * warps and (warps == 4 or rows * columns >= 32 * 64):
                    stages = max(2, min(4, _SHARED // ((rows + columns) * inner * item)))
                    yield ProductTile(rows, columns, inner, warps, stages)
                    break


def _lengths(count: int, whole: bool, largest: int) -> list[int]:
    """Powers of two that a side of a tile may have."""
    least = max(_power(count), _SMALLEST)
    if whole:
        return [least] if least <= MOST_WHOLE else []
    return [each for each in (16, 32, 64, 128, 256) if each <= min(least, largest)]


def _power(count: int) -> int:
    """The next power of two."""
    return 1 << max(count - 1, 0).bit_length()
