"""How a pairwise contraction is carried out: as which matrix products, with which copies.

A matrix product reads an operand without copying it where, in memory, its summed indices are
neighbours, its free indices are neighbours, and the fastest index is one of them.  Free indices that
are not neighbours are looped over (they join the batch axes) where the matrices that remain are
worth a call; otherwise the operand is packed: copied so that its groups merge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...ir.kernels import Contraction

Labels = tuple[int, ...]

# A matrix product of fewer operations than this costs less than the call that starts it.
_WORTHWHILE_FLOPS = 20_000


@dataclass(frozen=True)
class Operand:
    """The labels of an operand's axes, and the same labels from the largest stride to the smallest."""

    labels: Labels
    memory: Labels

    def volume(self, sizes: Mapping[int, int]) -> int:
        """The number of elements."""
        return math.prod(max(sizes[x], 1) for x in self.labels)


@dataclass(frozen=True)
class Layout:
    """A kernel, whether its operands are exchanged, and the result's labels in memory order."""

    kernel: Contraction
    exchanged: bool
    memory: Labels


def plan_contraction(left: Operand, right: Operand, output: Labels, sizes: Mapping[int, int]) -> Layout:
    """The kernel for one pairwise contraction; the operand with the last output index stands right."""
    exchanged = _stands_right(left, right, output)
    if exchanged:
        left, right = right, left
    kernel, memory = _Planner(left, right, output, sizes).choose()
    return Layout(kernel, exchanged, memory)


def _stands_right(left: Operand, right: Operand, output: Labels) -> bool:
    """Whether a matrix product with the operands exchanged has the result's last index last."""
    rows = [x for x in left.labels if x not in right.labels]
    columns = [x for x in right.labels if x not in left.labels]
    summed = any(x not in output for x in left.labels)
    return summed and bool(columns) and output[-1:] != () and output[-1] in rows


def elementwise_memory(operands: Sequence[Operand], output: Labels, sizes: Mapping[int, int]) -> Labels:
    """The indices of an elementwise result from the largest stride to the smallest.

    This is NumPy's order "K": neighbouring axes change places where that suits the strides of the
    operands, and C order wins where they disagree.
    """
    strides = [_strides(operand, sizes) for operand in operands]
    order = list(reversed(output))
    for start in range(1, len(order)):
        place = start
        for earlier in range(start - 1, -1, -1):
            verdict = _before(order[start], order[earlier], strides)
            if verdict is False:
                break
            if verdict:
                place = earlier
        order.insert(place, order.pop(start))
    return tuple(reversed(order))


def _strides(operand: Operand, sizes: Mapping[int, int]) -> dict[int, int]:
    found, stride = {}, 1
    for label in reversed(operand.memory):
        found[label] = stride if sizes[label] != 1 else 0
        stride *= max(sizes[label], 1)
    return found


def _before(label: int, other: int, strides: Sequence[Mapping[int, int]]) -> bool | None:
    """Whether ``label`` has the smaller strides; None where no operand has both."""
    verdict: bool | None = None
    for operand in strides:
        ours, theirs = operand.get(label, 0), operand.get(other, 0)
        if ours and theirs:
            if theirs <= ours:
                verdict = False
            elif verdict is None:
                verdict = True
    return verdict


@dataclass(frozen=True)
class _Side:
    """How a matrix product would read one operand."""

    looped: Labels
    merged: Labels
    packed: bool


class _Planner:
    def __init__(self, left: Operand, right: Operand, output: Labels, sizes: Mapping[int, int]) -> None:
        self.left, self.right, self.output, self.sizes = left, right, output, sizes
        larger, smaller = sorted((left, right), key=lambda x: -x.volume(sizes))
        shared = [x for x in larger.memory if x in smaller.labels]
        self.batch = tuple(x for x in shared if x in output)
        self.inner = tuple(x for x in shared if x not in output)
        self.rows = tuple(x for x in left.memory if x not in right.labels)
        self.columns = tuple(x for x in right.memory if x not in left.labels)

    def choose(self) -> tuple[Contraction, Labels]:
        """The kernel, and the result's labels in memory order."""
        if not self.inner:
            return self._kernel("product"), elementwise_memory((self.left, self.right), self.output, self.sizes)
        if not self.batch and not (self.rows and self.columns):
            return self._vector()
        if self.rows and self.columns:
            return self._matrix()
        return self._kernel("sum"), self.output

    def _kernel(self, method: str, looped: Labels = (), packed: tuple[int, ...] = ()) -> Contraction:
        return Contraction(
            self.left.labels, self.right.labels, self.output, self.batch, self.rows, self.columns, self.inner,
            method, looped, packed,
        )  # fmt: skip

    def _vector(self) -> tuple[Contraction, Labels]:
        """A matrix (or vector) times a vector; where the matrix would need a copy, run over the indices."""
        matrix, free = (self.left, self.rows) if self.rows else (self.right, self.columns)
        vector = self.right if self.rows else self.left
        side = self._read(matrix, free)
        same_order = self._significant(vector.memory) == self._significant(self.inner)
        if side.packed or (not free and not same_order):
            return self._kernel("sum"), self.output
        packed = () if same_order else (1 if self.rows else 0,)
        return self._kernel("matrix", side.looped, packed), side.looped + side.merged

    def _matrix(self) -> tuple[Contraction, Labels]:
        left, right = self._read(self.left, self.rows), self._read(self.right, self.columns)
        if left.looped and right.looped:
            if self.left.volume(self.sizes) >= self.right.volume(self.sizes):
                right = _packed(self.columns)
            else:
                left = _packed(self.rows)
        left, right = self._worthwhile(left, right)
        looped = left.looped + right.looped
        packed = tuple(k for k, side in enumerate((left, right)) if side.packed)
        memory = self.batch + looped + left.merged + right.merged
        return self._kernel("matrix", looped, packed), memory

    def _worthwhile(self, left: _Side, right: _Side) -> tuple[_Side, _Side]:
        """Pack instead of looping where the matrices are too small to be worth a call each."""
        points = (*left.merged, *right.merged, *self.inner)
        if 2 * math.prod(self.sizes[x] for x in points) >= _WORTHWHILE_FLOPS:
            return left, right
        if left.looped:
            left = _packed(self.rows)
        if right.looped:
            right = _packed(self.columns)
        return left, right

    def _read(self, operand: Operand, free: Labels) -> _Side:
        memory = self._significant(operand.memory)
        inner = self._significant(self.inner)
        if memory and memory[-1] in self.batch:
            return _packed(free)
        if inner and not _is_run(inner, memory):
            return _packed(free)
        runs = _runs(memory, set(free))
        if len(runs) < 2:
            return _Side((), free, False)
        kept = runs[-1]
        if memory[-1] not in kept:
            kept = max(runs, key=lambda run: math.prod(self.sizes[x] for x in run))
        looped = tuple(x for x in free if x not in kept)
        return _Side(looped, tuple(x for x in free if x in kept), False)

    def _significant(self, labels: Sequence[int]) -> Labels:
        """Axes of size one lie anywhere."""
        return tuple(x for x in labels if self.sizes[x] != 1)


def _packed(free: Labels) -> _Side:
    return _Side((), free, True)


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
