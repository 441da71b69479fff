"""How long the blocks of the two long indices are: what a program of a GPU has registers and shared memory for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ...ir.dims import evaluate
from .scores import Scores
from .sweeps import Sweep
from .traffic import inner_sizes, is_contraction, is_matrix_product, needed_members

_LEAST = 16  # what matrix units multiply
# Rows and columns of a block, by the bytes that a sweep's products read for each of them: as many as fit into a
# program's registers, by what the assembler reports for attention and its derivatives.
_BLOCKS = ((256, (128, 64)), (640, (64, 64)), (1024, (64, 32)), (2560, (32, 32)), (3072, (16, 32)), (4096, (16, 64)))
_MOST_BYTES = 256  # along an inner index, of a column in blocks of 64 beside few rows
_MOST_ELEMENTS = 16384  # of a tile with three dimensions


def block_sizes(sweep: Sweep, scores: Scores, lengths: Sequence[int], sizes: Mapping[str, int]) -> tuple[int, int]:
    """The blocks of the index that programs have blocks of, and of the one that they go through."""
    nodes = [*needed_members(sweep, scores), *sweep.exits]
    products = sum(map(is_contraction, nodes))
    inner = _power(max(inner_sizes(scores, [sweep], sizes), default=1))
    item_bytes = max(x.type.dtype.bits // 8 for x in nodes)
    weight = products * inner * (item_bytes if item_bytes < 4 else 2 * item_bytes)  # in full precision twice: in parts
    outer, through = next((blocks for most, blocks in _BLOCKS if weight <= most), (_LEAST, _LEAST))
    if outer == _LEAST and inner * item_bytes > _MOST_BYTES:
        through = min(through, 2 * _LEAST)  # shared memory holds a few blocks of columns
    while outer * through * third_dimension(sweep, scores, sizes) > _MOST_ELEMENTS and outer * through > _LEAST**2:
        outer, through = max(outer // 2, _LEAST), max(through // 2, _LEAST)
    return _clipped(outer, lengths[0]), _clipped(through, lengths[1])


def third_dimension(sweep: Sweep, scores: Scores, sizes: Mapping[str, int]) -> int:
    """Positions that a sweep's tiles have of indices beside the two long ones, where these are no matrix products."""
    cut = {scores.rows, scores.columns, *scores.batch}
    most = 1
    for node in [*needed_members(sweep, scores), *sweep.exits]:
        labels = scores.operands[node]
        if is_matrix_product(node) and all(len(set(each) - set(scores.batch)) == 2 for each in labels):
            continue
        inner = {label: _padded(evaluate(size, sizes)) for operand, its in zip(node.operands, labels, strict=True)
                 for label, size in zip(its, operand.type.shape, strict=True) if label not in cut}  # fmt: skip
        most = max(most, math.prod(inner.values()))
    return most


def fit_tiles(sweep: Sweep, scores: Scores, sizes: Mapping[str, int]) -> bool:
    """Whether the shortest blocks are short enough."""
    return _LEAST * _LEAST * third_dimension(sweep, scores, sizes) <= _MOST_ELEMENTS


def _clipped(block: int, length: int) -> int:
    """No longer than the index, as a power of two."""
    return max(min(block, _power(length)), _LEAST)


def _padded(count: int) -> int:
    """The positions that a tile has of an index that is whole in it."""
    return 1 if count == 1 else max(_power(count), _LEAST)


def _power(count: int) -> int:
    return 1 << max(count - 1, 0).bit_length()
