"""What a contraction takes, planned: from counts of operations, bytes and calls, never from a clock.

The figures are those of NumPy with OpenBLAS in float64 on one core of an x86-64 server, less what two
threads reverse; `python -m benchmarks.contraction_rates` measures them.  Only their ratios matter, and those
are much the same elsewhere: a copy of a tensor costs as much as tens of operations on each of its elements,
a tall result with few columns is slower than a wide one with few rows, and a call costs as much as a small
product.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Labels = tuple[int, ...]

_CALL = 0.8e-6
_VIEW = 0.2e-6
# Operations a second, and elements a second that come from memory or from a cache.
_PEAK = 45e9
_MEMORY = 2e9
_CACHE = 9e9
# Tensors of more elements than this come from memory.
_CACHED_ELEMENTS = 1 << 20
# Within a batch, what starting one product of matrices, of a matrix and a vector, of two vectors takes.
_BATCHED = {"matrix": 0.05e-6, "vector": 0.04e-6, "dot": 0.01e-6}
# Up to so many multiply-adds OpenBLAS has kernels of their own, slow where both operands end in the summed index
# and the result has many elements.
_SMALL = 10**6
_MANY_RESULTS = 2000
_SMALL_BOTH_SUMMED = 1.5
# Beyond, tall results (rows no fewer than summed) of fewer columns than this are slower; where the left operand
# comes from memory and is transposed, more so.  Where the sum is longer than the result is tall, the form with
# few rows is hardly faster on one thread, and up to twice as slow on two.  A thin product both of whose operands
# end in the summed index is slower, too.
_FEW = 64
_FEW_COLUMNS = 1.4
_FEW_COLUMNS_TRANSPOSED = 1.9
_THIN_BOTH_SUMMED = 1.15
# Copying takes this for each element and each innermost loop, if the copied index is contiguous or not;
# and for each element that comes from memory.
_COPY = {True: (0.1e-9, 6e-9), False: (0.3e-9, 4e-9)}
_COPY_MEMORY = {True: 1.0e-9, False: 2.5e-9}
_MOST = 1 << 200
# An einsum that adds up takes this for each point of its indices, and for each innermost loop: more where there
# are more than two loops around it.
_EINSUM_CALL = 2.5e-6
_EINSUM_POINT = 0.35e-9
_EINSUM_LOOP = (4e-9, 12e-9)
# Seconds for each element of an elementwise product.
_PRODUCT = {False: 0.3e-9, True: 1.5e-9}


@dataclass(frozen=True)
class MatrixShape:
    """Matrices of ``rows`` × ``summed`` times ``summed`` × ``columns``, ``batch`` of them.

    ``transposed`` says of each operand whether its columns, and not its rows, are contiguous.
    """

    batch: int
    rows: int
    summed: int
    columns: int
    transposed: tuple[bool, bool]

    @property
    def seconds(self) -> float:
        """The time of one call."""
        flops = 2 * self.rows * self.summed * self.columns
        work = (flops / _PEAK + self._moved) * self._shape_factor
        if self.batch == 1:
            return _CALL + work
        return _CALL + self.batch * (_BATCHED[self._kind] + work)

    @property
    def _kind(self) -> str:
        if self.rows == self.columns == 1:
            return "dot"
        return "vector" if 1 in (self.rows, self.columns) else "matrix"

    @property
    def _moved(self) -> float:
        elements = self.rows * self.summed + self.summed * self.columns + self.rows * self.columns
        return _moved(elements, self.batch * elements)

    @property
    def _shape_factor(self) -> float:
        if self._kind != "matrix":
            return 1.0
        left, right = self.transposed
        both_summed = right and not left
        if self.rows * self.summed * self.columns <= _SMALL:
            slow = both_summed and self.rows * self.columns >= _MANY_RESULTS
            return _SMALL_BOTH_SUMMED if slow else 1.0
        if self.columns < min(_FEW, self.rows) and self.rows >= self.summed:
            return _FEW_COLUMNS_TRANSPOSED if left and self.rows * self.summed > _CACHED_ELEMENTS else _FEW_COLUMNS
        return _THIN_BOTH_SUMMED if both_summed and self.rows < _FEW else 1.0


def copy_seconds(memory: Labels, order: Labels, sizes: Mapping[int, int]) -> float:
    """Copying a tensor that lies in the order ``memory`` so that it lies in ``order``."""
    elements = count(memory, sizes)
    significant = [[x for x in labels if sizes[x] != 1] for labels in (memory, order)]
    loop, contiguous = 1, significant[0][-1:] == significant[1][-1:]
    place = len(memory)
    for label in reversed(significant[1]):
        here = significant[0].index(label)
        if loop > 1 and here != place - 1:
            break
        loop, place = loop * max(sizes[label], 1), here
    element, start = _COPY[contiguous]
    moved = _COPY_MEMORY[contiguous] if elements > _CACHED_ELEMENTS else 0.0
    return _CALL + _VIEW + elements * (element + start / loop + moved)


def views_seconds(number: int) -> float:
    """Reshapes and transpositions without a copy."""
    return number * _VIEW


def sum_seconds(loops: Sequence[int], elements: int) -> float:
    """A sum in nested loops of these lengths, outermost first, that reads and writes so many elements."""
    outer = min(math.prod(max(length, 1) for length in loops[:-1]), _MOST)
    points = outer * max(loops[-1] if loops else 1, 1)
    started = outer * _EINSUM_LOOP[len(loops) > 3]
    return _EINSUM_CALL + max(points * _EINSUM_POINT + started, _moved(elements, elements))


def product_seconds(elements: int) -> float:
    """An elementwise product with so many elements."""
    return _CALL + elements * _PRODUCT[elements > _CACHED_ELEMENTS]


def _moved(elements: int, among: int) -> float:
    """Reading or writing elements, ``among`` so many that one call does."""
    return elements / (_MEMORY if among > _CACHED_ELEMENTS else _CACHE)


def count(labels: Iterable[int], sizes: Mapping[int, int]) -> int:
    """The points that indices span; an empty axis counts as one, and what no float can hold as very many."""
    return min(math.prod(max(sizes[x], 1) for x in labels), _MOST)
