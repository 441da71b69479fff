"""How a pairwise contraction is carried out: as which matrix products, with which copies.

A matrix product reads an operand without copying it where, in memory, its summed indices are
neighbours, its free indices are neighbours, and the fastest index is one of them.  Free indices that
are not neighbours can be looped over (they join the batch axes); otherwise the operand is packed: copied
so that its groups merge.  Either operand may stand left, and the summed indices may come in the order of
either.  Of these ways the one with the least planned time (`contraction/timing`) is taken, what it
leaves for those that read the result counted in.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ...ir.kernels import Contraction
from .memory_order import Labels, Operand, elementwise_memory
from .timing import MatrixShape, copy_seconds, count, product_seconds, sum_seconds, views_seconds

__all__ = ["Labels", "Layout", "Operand", "layouts", "plan_contraction"]

# Another way than the plainest is taken where it needs less than this part of the time.
_BETTER = 0.95
_CACHED = 4096

Aftermath = Callable[[Labels], float]


@dataclass(frozen=True)
class Layout:
    """A kernel, whether its operands are exchanged, the result's labels in memory order, and planned seconds."""

    kernel: Contraction
    exchanged: bool
    memory: Labels
    seconds: float


def plan_contraction(
    left: Operand, right: Operand, output: Labels, sizes: Mapping[int, int], after: Aftermath = lambda memory: 0.0
) -> Layout:
    """The kernel for one pairwise contraction; where little else decides, the last output index is a column.

    ``after`` says what a result with its labels in an order of memory costs those that read it, in seconds.
    """
    found = layouts(left, right, output, sizes)
    known: dict[Labels, float] = {}
    for each in found:
        if each.memory not in known:
            known[each.memory] = after(each.memory)
    best = min(found, key=lambda each: each.seconds + known[each.memory])
    plain = found[0]
    better = best.seconds + known[best.memory] < _BETTER * (plain.seconds + known[plain.memory])
    return best if better else plain


def layouts(left: Operand, right: Operand, output: Labels, sizes: Mapping[int, int]) -> Sequence[Layout]:
    """The ways to carry out a contraction, the plainest first."""
    labels = sorted({*left.labels, *right.labels})
    return _layouts(left, right, output, tuple((x, sizes[x]) for x in labels))


@functools.lru_cache(maxsize=_CACHED)
def _layouts(left: Operand, right: Operand, output: Labels, known: tuple[tuple[int, int], ...]) -> Sequence[Layout]:
    sizes = dict(known)
    first = _stands_right(left, right, output)
    found: list[Layout] = []
    for exchanged in (first, not first):
        sides = (right, left) if exchanged else (left, right)
        for ways in _all_ways(sides, output, sizes):
            for kernel, memory, seconds in ways.found():
                found.append(Layout(replace(kernel, seconds=seconds), exchanged, memory, seconds))
    return tuple(found)


def _all_ways(sides: tuple[Operand, Operand], output: Labels, sizes: Mapping[int, int]) -> Iterator[_Ways]:
    larger, smaller = sorted(sides, key=lambda x: -x.volume(sizes))
    orders = dict.fromkeys(tuple(x for x in each.memory if x in other.labels)
                           for each, other in ((larger, smaller), (smaller, larger)))  # fmt: skip
    for shared in orders:
        yield _Ways(*sides, output, sizes, shared)
    for split in _splits(larger, smaller, output, sizes):
        yield _Ways(*sides, output, sizes, next(iter(orders)), split)


def _splits(larger: Operand, smaller: Operand, output: Labels, sizes: Mapping[int, int]) -> list[Labels]:
    """Summed indices to stand among the batch axes, so that the others are neighbours in the larger operand."""
    inner = {x for x in larger.labels if x in smaller.labels and x not in output}
    runs = _runs(tuple(x for x in larger.memory if sizes[x] != 1), inner)
    if len(runs) < 2:
        return []
    split = tuple(x for x in larger.memory if x in inner and x not in runs[-1])
    result = count(output, sizes) * count(split, sizes)
    return [split] if result <= larger.volume(sizes) else []


def _stands_right(left: Operand, right: Operand, output: Labels) -> bool:
    """Whether a matrix product with the operands exchanged has the result's last index last."""
    rows = [x for x in left.labels if x not in right.labels]
    columns = [x for x in right.labels if x not in left.labels]
    summed = any(x not in output for x in left.labels)
    return summed and bool(columns) and output[-1:] != () and output[-1] in rows


@dataclass(frozen=True)
class _Side:
    """How a matrix product reads one operand.

    ``transposed``: the contiguous index is a row of the left operand, or a summed index of the right one.
    """

    looped: Labels
    merged: Labels
    transposed: bool
    packed: bool = False
    seconds: float = 0.0


class _Ways:
    """The ways with the operands as they stand, ``shared`` indices in that order, and those of ``split`` batched."""

    def __init__(
        self, left: Operand, right: Operand, output: Labels, sizes: Mapping[int, int], shared: Labels,
        split: Labels = (),
    ) -> None:  # fmt: skip
        self.left, self.right, self.output, self.sizes, self.split = left, right, output, sizes, split
        self.batch = tuple(x for x in shared if x in output)
        self.summed = tuple(x for x in shared if x not in output)
        self.inner = tuple(x for x in self.summed if x not in split)
        self.rows = tuple(x for x in left.memory if x not in right.labels)
        self.columns = tuple(x for x in right.memory if x not in left.labels)

    def found(self) -> Iterator[tuple[Contraction, Labels, float]]:
        """Kernels, their results' labels in memory order, and planned seconds."""
        if not self.summed:
            memory = elementwise_memory((self.left, self.right), self.output, self.sizes)
            yield self._kernel("product"), memory, product_seconds(count(self.output, self.sizes))
            return
        if self.split:
            yield from self._matrices()
            return
        # NumPy's einsum runs over all indices in an order that suits the operands, and lays its result out so.
        order = elementwise_memory((self.left, self.right), (*self.output, *self.summed), self.sizes)
        memory = tuple(x for x in order if x in self.output)
        summing = self._kernel("sum"), memory, self._sum_seconds(order)
        plain = not (self.batch or (self.rows and self.columns))
        if not plain and not (self.rows and self.columns):
            yield summing
        yield from self._matrices()
        if plain:
            yield summing

    def _kernel(self, method: str, left: _Side | None = None, right: _Side | None = None) -> Contraction:
        sides = [side for side in (left, right) if side is not None]
        looped = tuple(x for side in sides for x in side.looped)
        packed = tuple(k for k, side in enumerate(sides) if side.packed)
        turned = tuple(k for k in packed if sides[k].transposed)
        return Contraction(
            self.left.labels, self.right.labels, self.output, self.batch, self.rows, self.columns, self.summed,
            method, looped, packed, turned, self.split,
        )  # fmt: skip

    def _sum_seconds(self, order: Labels) -> float:
        """What einsum takes that runs over the indices in this order."""
        kept = tuple(x for x in order if x in self.output)
        loops = _loops(order, (self.left.memory, self.right.memory, kept), self.sizes)
        read = count(self.left.labels, self.sizes) + count(self.right.labels, self.sizes)
        return sum_seconds(loops, read + count(self.output, self.sizes))

    # --- matrix products -----------------------------------------------------------------------

    def _matrices(self) -> Iterator[tuple[Contraction, Labels, float]]:
        for left in self._reads(self.left, self.rows, 0):
            for right in self._reads(self.right, self.columns, 1):
                if not (left.looped and right.looped):
                    memory = self._leading_memory(left, right) + left.merged + right.merged
                    yield self._kernel("matrix", left, right), memory, self._matrix_seconds(left, right)

    def _leading_memory(self, left: _Side, right: _Side) -> Labels:
        """The batch axes of the result: NumPy's matmul orders them as it does those of elementwise results."""
        leading = self.batch + self.split + left.looped + right.looped
        operands = []
        for side, operand in ((left, self.left), (right, self.right)):
            memory = self.batch + self.split if side.packed else operand.memory
            present = tuple(x for x in memory if x in leading)
            operands.append(Operand(present, present))
        return tuple(x for x in elementwise_memory(operands, leading, self.sizes) if x not in self.split)

    def _matrix_seconds(self, left: _Side, right: _Side) -> float:
        leading = (*self.batch, *self.split, *left.looped, *right.looped)
        batch, rows, summed, columns = (
            count(labels, self.sizes) for labels in (leading, left.merged, self.inner, right.merged)
        )
        shape = MatrixShape(batch, rows, summed, columns, (left.transposed, right.transposed))
        merged = [len(x) != 1 for x in (left.merged, self.inner, right.merged)]
        moved = (*leading, *left.merged, *right.merged) != self.output
        views = (merged[0] or merged[1]) + (merged[1] or merged[2]) + (merged[0] or merged[2]) + moved
        seconds = shape.seconds + left.seconds + right.seconds + views_seconds(views)
        if not self.split:
            return seconds
        made = count((*leading, *left.merged, *right.merged), self.sizes)
        return seconds + sum_seconds([made], made)

    def _reads(self, operand: Operand, free: Labels, position: int) -> Iterator[_Side]:
        """The operand as it stands, if a matrix product can read it so, and packed."""
        direct = self._direct(operand, free, position)
        if direct is not None:
            yield direct
        if direct is None or direct.looped:
            yield from self._packed(operand, free, position)

    def _direct(self, operand: Operand, free: Labels, position: int) -> _Side | None:
        memory = self._significant(operand.memory)
        inner = self._significant(self.inner)
        if memory and memory[-1] in (*self.batch, *self.split):
            return None
        if inner and not _is_run(inner, memory):
            return None
        runs = _runs(memory, set(free))
        in_free = bool(memory) and memory[-1] in free
        transposed = in_free == (position == 0)
        if len(runs) < 2:
            return _Side((), free, transposed)
        kept = runs[-1] if in_free else max(runs, key=lambda run: count(run, self.sizes))
        looped = tuple(x for x in free if x not in kept)
        return _Side(looped, tuple(x for x in free if x in kept), transposed)

    def _packed(self, operand: Operand, free: Labels, position: int) -> Iterator[_Side]:
        """Copied, with the summed indices last or first."""
        for turned in (False, True):
            summed_last = turned == (position == 1)
            groups = free + self.inner if summed_last else self.inner + free
            seconds = copy_seconds(operand.memory, self.batch + self.split + groups, self.sizes)
            yield _Side((), free, turned, True, seconds)

    def _significant(self, labels: Sequence[int]) -> Labels:
        """Axes of size one lie anywhere."""
        return tuple(x for x in labels if self.sizes[x] != 1)


def _loops(order: Labels, memories: Sequence[Labels], sizes: Mapping[int, int]) -> list[int]:
    """The lengths of nested loops over indices, outermost first; indices that are neighbours everywhere are one."""
    loops: list[int] = []
    previous: int | None = None
    for label in order:
        if sizes[label] == 1:
            continue
        if previous is not None and all(_are_neighbours(previous, label, memory) for memory in memories):
            loops[-1] *= sizes[label]
        else:
            loops.append(sizes[label])
        previous = label
    return loops


def _are_neighbours(first: int, second: int, memory: Labels) -> bool:
    """Whether a tensor has both indices side by side, or neither."""
    if first not in memory or second not in memory:
        return first not in memory and second not in memory
    return memory.index(second) == memory.index(first) + 1


def _is_run(labels: Labels, memory: Labels) -> bool:
    start = memory.index(labels[0])
    return memory[start : start + len(labels)] == labels


def _runs(memory: Labels, chosen: set[int]) -> list[Labels]:
    """The maximal runs of neighbours in ``memory`` that are in ``chosen``."""
    runs: list[list[int]] = []
    previous = False
    for label in memory:
        if label in chosen:
            if not previous:
                runs.append([])
            runs[-1].append(label)
        previous = label in chosen
    return [tuple(run) for run in runs]
