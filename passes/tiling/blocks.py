"""How long the blocks of the two long indices are: what a program of a GPU has registers and shared memory for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ...ir import Node
from ...ir.dims import evaluate
from .room import fits, held_by
from .scores import Scores
from .sweeps import Sweep
from .traffic import LEAST, inner_sizes, is_matrix_product, needed_members, padded, power_of_two

# Rows and columns of a block, by the bytes that a sweep's products read for each of them: as many as fit into a
# program's registers, by what the assembler reports for attention and its derivatives.
_BLOCKS = ((256, (128, 64)), (640, (64, 64)), (1280, (64, 32)), (2560, (32, 32)), (3072, (16, 32)), (4096, (16, 64)))
_MOST_BYTES = 256  # along an inner index, of a column in blocks of 64 beside few rows
_MOST_ELEMENTS = 16384  # of a tile with three dimensions


class Blocks(NamedTuple):
    """Positions of a block of the index that programs have blocks of, and of the one that they go through.

    ``strip`` is how many positions of a short index the products that make scores sum at a time, where it is not all.
    """

    outer: int
    through: int
    strip: int | None = None


# By the bytes of a number, those blocks first that move the least for each pair of positions.
_LARGE = (Blocks(128, 64), Blocks(64, 64), Blocks(64, 32))
_PREFERRED = {
    2: (*_LARGE, Blocks(64, 32, 64), Blocks(64, 32, 32)),
    4: (
        *_LARGE,
        Blocks(64, 32, 32),
        Blocks(64, 32, 16),
        Blocks(32, 64, 32),
        Blocks(64, 16, 32),
        Blocks(16, 64, 32),
        Blocks(16, 32, 16),
    ),
}


def block_sizes(sweep: Sweep, scores: Scores, lengths: Sequence[int], sizes: Mapping[str, int]) -> Blocks:
    """The blocks of a pass."""
    nodes = [*needed_members(sweep, scores), *sweep.exits]
    item_bytes = max(x.type.dtype.bits // 8 for x in nodes)
    preferred = _PREFERRED.get(item_bytes, ()) if third_dimension(sweep, scores, sizes) == 1 else ()
    held = held_by(sweep, scores, sizes)
    fitting = (x for x in preferred if fits(held, *x))
    outer, through, strip = next(fitting, None) or _by_bytes(nodes, sweep, scores, sizes)
    return Blocks(_clipped(outer, lengths[0]), _clipped(through, lengths[1]), strip)


def _by_bytes(nodes: Sequence[Node], sweep: Sweep, scores: Scores, sizes: Mapping[str, int]) -> Blocks:
    products = sum(map(is_matrix_product, nodes))
    inner = power_of_two(max(inner_sizes(scores, [sweep], sizes), default=1))
    item_bytes = max(x.type.dtype.bits // 8 for x in nodes)
    weight = products * inner * (item_bytes if item_bytes < 4 else 2 * item_bytes)  # in full precision twice: in parts
    outer, through = next((blocks for most, blocks in _BLOCKS if weight <= most), (LEAST, LEAST))
    if outer == LEAST and inner * item_bytes > _MOST_BYTES:
        through = min(through, 2 * LEAST)  # shared memory holds a few blocks of columns
    while outer * through * third_dimension(sweep, scores, sizes) > _MOST_ELEMENTS and outer * through > LEAST**2:
        outer, through = max(outer // 2, LEAST), max(through // 2, LEAST)
    return Blocks(outer, through)


def third_dimension(sweep: Sweep, scores: Scores, sizes: Mapping[str, int]) -> int:
    """Positions that a sweep's tiles have of indices beside the two long ones, where these are no matrix products."""
    cut = {scores.rows, scores.columns, *scores.batch}
    most = 1
    for node in [*needed_members(sweep, scores), *sweep.exits]:
        labels = scores.operands[node]
        if is_matrix_product(node) and all(len(set(each) - set(scores.batch)) == 2 for each in labels):
            continue
        inner = {label: padded(evaluate(size, sizes)) for operand, its in zip(node.operands, labels, strict=True)
                 for label, size in zip(its, operand.type.shape, strict=True) if label not in cut}  # fmt: skip
        most = max(most, math.prod(inner.values()))
    return most


def fit_tiles(sweep: Sweep, scores: Scores, sizes: Mapping[str, int]) -> bool:
    """Whether the shortest blocks are short enough."""
    return LEAST * LEAST * third_dimension(sweep, scores, sizes) <= _MOST_ELEMENTS


def _clipped(block: int, length: int) -> int:
    """No longer than the index, as a power of two."""
    return max(min(block, power_of_two(length)), LEAST)
