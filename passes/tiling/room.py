"""What a pass over scores needs of registers and of shared memory: what decides how long blocks may be.

So Triton's kernels have it: where a block has as many rows as columns or more, the warps share its rows, else its
columns, and what they do not share, each of them has.  A product of float32 has each factor in registers twice, as the
two parts of tensor-float32 that make it up.  This was compared with what the assembler reports for attention and its
derivatives up to the second, for inner indices of 64, 128 and 256 positions: where it is no more than 256,
a thread writes 300 bytes or fewer to memory for want of registers, and mostly none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from ...ir import Node
from ...ir.dims import evaluate
from ...ir.kernels import warps_of_nest
from .scores import Scores
from .spaces import Labels, is_elementwise
from .sweeps import Sweep
from .traffic import is_matrix_product, needed_members, padded

_AVAILABLE = 256
_SHARED_BYTES = 160 * 1024
_THREADS = 32  # of a warp


@dataclass(frozen=True)
class Held:
    """What a pass has in registers: how many ``products`` make scores, of how many tensors with rows and with columns,
    along an ``inner`` index of so many positions; and for each row the positions of what it gathers, the ``widest``
    tensor of which and ``gathered`` in all.  ``is_half`` says that factors are of half precision."""

    products: int
    row_tensors: int
    column_tensors: int
    inner: int
    widest: int
    gathered: int
    is_half: bool


def held_by(sweep: Sweep, scores: Scores, sizes: Mapping[str, int]) -> Held:
    """What a pass has in registers."""
    cut = {scores.rows, scores.columns, *scores.batch}
    products = [node for node in needed_members(sweep, scores) if is_matrix_product(node)]
    read = [pair for node in products for pair in zip(node.operands, scores.operands[node], strict=True)]
    rows = {_tensor(operand) for operand, labels in read if sweep.outer in labels}
    columns = {_tensor(operand) for operand, labels in read if sweep.inner in labels}
    inner = [_positions(operand, labels, cut, sizes) for operand, labels in read]
    gathered = [_positions(node, sweep.values[node], cut, sizes) for node in sweep.gathered]
    wide = [count for count in gathered if count > 1]
    is_half = all(node.type.dtype.bits == 16 for node in products)
    return Held(len(products), len(rows), len(columns), max(inner, default=1), max(wide, default=0), sum(wide), is_half)


def fits(held: Held, rows: int, columns: int, strip: int | None) -> bool:
    """Whether a pass with such blocks has room."""
    return registers(held, rows, columns, strip) <= _AVAILABLE and _shared(held, rows, columns, strip) <= _SHARED_BYTES


def _shared(held: Held, rows: int, columns: int, strip: int | None) -> int:
    """Bytes of shared memory: halves of the next columns are on their way while products take others."""
    inner = held.inner if strip is None else min(strip, held.inner)
    number, blocks = (2, 3) if held.is_half else (8, 1)
    return inner * number * (rows * held.row_tensors + blocks * columns * held.column_tensors)


def registers(held: Held, rows: int, columns: int, strip: int | None) -> float:
    """Registers of a thread, at the moment at which it needs most."""
    warps = warps_of_nest(rows, columns)
    rows_are_shared = rows >= columns
    its_rows = max(rows // warps, 16) if rows_are_shared else rows
    its_columns = columns if rows_are_shared else max(columns // warps, 8)
    its_part = 1 if rows_are_shared else 1 / warps
    score = its_rows * its_columns / _THREADS
    total = its_rows * held.gathered * its_part / _THREADS
    factor = 0.5 if held.is_half else 2
    kept = 0.0
    if strip is None or strip >= held.inner:  # what has rows stays for all columns, halves mostly in shared memory
        kept = factor * its_rows * held.inner * (1 if held.is_half else held.row_tensors) / _THREADS
        factors = kept + factor * its_columns * held.inner / _THREADS
    else:
        factors = factor * (its_rows + its_columns) * strip / _THREADS
        if not held.is_half:  # on their way to shared memory; halves are copied there
            factors += (rows * held.row_tensors + columns * held.column_tensors) * strip / (_THREADS * warps)
    made = total + held.products * score * (1 if held.is_half else 1.5) + factors
    if not held.gathered:
        return made
    # The second factor of what is gathered comes from shared memory piece by piece; of scores there are some more.
    summed = factor * (0.9 * its_rows * columns + columns * held.widest * its_part / 2) / _THREADS
    return max(made, total + kept + summed + 2.1 * (held.products - 1) * score)


def _tensor(node: Node) -> Node:
    """What is read from memory for a factor."""
    while is_elementwise(node) and len(node.operands) == 1:
        (node,) = node.operands
    return node


def _positions(node: Node, labels: Labels, cut: Iterable[int], sizes: Mapping[str, int]) -> int:
    """Those that a tile has of the indices that are not cut."""
    counts = zip(labels, node.type.shape, strict=True)
    return prod(padded(evaluate(size, sizes)) for label, size in counts if label not in cut)
