"""How many registers a thread of a pass over scores of float32 needs: what decides how long blocks may be.

The figures are those of Triton's kernels.  A product of float32 has each operand in registers twice, as the two parts
of tensor-float32 that make it up.  Where a block has as many rows as columns or more, the warps share its rows, else its
columns; what they do not share, each of them has.  What the assembler reports for attention and its derivatives up to
the second, for inner indices of 64, 128 and 256 positions, was compared with this: where it is no more than
``AVAILABLE``, 450 bytes or fewer are written to memory for want of registers, and mostly none.
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

AVAILABLE = 256
_THREADS = 32  # of a warp
_PARTS = 2  # of a factor


@dataclass(frozen=True)
class Held:
    """What a pass has in registers: how many ``products`` make scores, of how many tensors with rows and with columns,
    along an ``inner`` index of so many positions; and for each row the positions of what it gathers, the ``widest``
    tensor of which and ``gathered`` in all."""

    products: int
    row_tensors: int
    column_tensors: int
    inner: int
    widest: int
    gathered: int


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
    return Held(len(products), len(rows), len(columns), max(inner, default=1), max(wide, default=0), sum(wide))


def registers(held: Held, rows: int, columns: int, strip: int | None) -> float:
    """Registers of a thread, at the moment at which it needs most."""
    warps = warps_of_nest(rows, columns)
    rows_are_shared = rows >= columns
    its_rows = max(rows // warps, 16) if rows_are_shared else rows
    its_columns = columns if rows_are_shared else max(columns // warps, 8)
    its_part = 1 if rows_are_shared else 1 / warps
    score = its_rows * its_columns / _THREADS
    total = its_rows * held.gathered * its_part / _THREADS
    if strip is None or strip >= held.inner:
        factors = _PARTS * (its_rows * held.row_tensors + its_columns) * held.inner / _THREADS
    else:
        factors = _PARTS * (its_rows + its_columns) * strip / _THREADS
        factors += (rows * held.row_tensors + columns * held.column_tensors) * strip / (_THREADS * warps)
    made = total + held.products * score + factors
    if not held.gathered:
        return made
    # The second factor of what is gathered comes from shared memory piece by piece; of scores there are some more.
    summed = (_PARTS * its_rows * columns + columns * held.widest * its_part) / _THREADS
    return max(made, total + summed + 2 * (held.products - 1) * score)


def _tensor(node: Node) -> Node:
    """What is read from memory for a factor."""
    while is_elementwise(node) and len(node.operands) == 1:
        (node,) = node.operands
    return node


def _positions(node: Node, labels: Labels, cut: Iterable[int], sizes: Mapping[str, int]) -> int:
    """Those that a tile has of the indices that are not cut."""
    counts = zip(labels, node.type.shape, strict=True)
    return prod(padded(evaluate(size, sizes)) for label, size in counts if label not in cut)
