"""Sums of distances from the mean, squared or weighted, in the same pass as the sum that the mean is computed from.

Of a row that does not fit into a tile, ``mean(x)`` and ``sum((x - mean(x))²)`` would take a pass each.  Here every
place of the tile keeps the count, the total and the squares of distances from the mean of what it has seen, updated by
one number at a time; at the end the places are combined by the pairwise formula (T. F. Chan, G. H. Golub and R. J.
LeVeque, The American Statistician 37 (1983) 242-247; the update is that of E. A. Youngs and E. M. Cramer, cited there).
No term is negative: nothing cancels, as it would in ``sum(x²) - sum(x)²/n``.

With weights, ``sum(w·(x - mean(x)))`` as in the gradient of a normalisation, the places keep the products of the
distances of both from their means, and the weights' total (E. Schubert and M. Gertz, SSDBM 2018, eq. 5 and 14).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...ir.deviation import mean_in_product, mean_in_square
from ...ir.loop_steps import Operand, Step
from ...ir.scalar import Argument, Scalar, argument, postorder, substitute_arguments
from .axes import Index, PlacedStep
from .reductions import REDUCTIONS
from .scalars import TRITON_DTYPES, computed_dtype

if TYPE_CHECKING:
    from .loops import TritonKernel


@dataclass(frozen=True)
class Deviation:
    """A sum ``sum((x - mean)²)`` or ``sum(weight·(x - mean))``, the step ``total`` that sums ``x``, and those that give
    the mean and the weight.
    """

    squares: PlacedStep
    total: PlacedStep
    mean: PlacedStep
    weight: PlacedStep | None = None


def deviations(
    kernel: TritonKernel, index: Index, excluded: set[str], stages: Mapping[str, int]
) -> dict[str, Deviation]:
    """The sums over an index that can run along with the sum that their mean is made of, by their names.

    ``stages`` says for each step how many reductions over the index come before it.
    """
    known = {name: stage + any(x.step.buffer == name and index in x.reduced for x in kernel.axes.steps)
             for name, stage in stages.items()}  # fmt: skip
    values = _Values(kernel)
    sums = [
        x
        for x in kernel.axes.steps
        if x.step.reduction == "sum" and index in x.reduced and x.step.buffer not in excluded
        and kernel.dtypes[x.step.buffer].is_inexact
    ]  # fmt: skip
    found: dict[str, Deviation] = {}
    for squares in sums:
        for total in sums[: sums.index(squares)]:
            alike = (squares.reduced, squares.kept) == (total.reduced, total.kept)
            alike &= kernel.dtypes[squares.step.buffer] is kernel.dtypes[total.step.buffer]
            later = {name for name, stage in known.items() if stage > stages[total.step.buffer]}
            if alike and (deviation := values.deviation(squares, total, later)) is not None:
                found[squares.step.buffer] = deviation
    return found


class RunningDeviation:
    """The lines that keep the squares of a deviation along with its total, and with the ``count`` of another."""

    def __init__(self, kernel: TritonKernel, deviation: Deviation, count: str | None) -> None:
        self.kernel, self.deviation = kernel, deviation
        name = deviation.squares.step.buffer
        self.gone = kernel.dims(tuple(deviation.squares.reduced))
        self.dims = kernel.dims(tuple(deviation.squares.space))
        self.mask = kernel.mask(self.gone)
        self.squares = kernel.names.identifier(f"{kernel.hint(name)}_squares")
        self.weights = kernel.names.identifier(f"{kernel.hint(name)}_weights") if deviation.weight else None
        self.counts = count is None
        self.count = count or kernel.names.identifier(f"{kernel.hint(name)}_count")
        self.total, _ = kernel.accumulators[deviation.total.step.buffer]

    def begin(self) -> None:
        """Nothing has been seen; counts have the dimensions whose tiles overhang."""
        kernel = self.kernel
        dtype = TRITON_DTYPES[computed_dtype(kernel.dtypes[self.deviation.squares.step.buffer])]
        made = [(self.squares, self.dims)]
        if self.weights is not None:
            made.append((self.weights, self.dims))
        if self.counts:
            made.append((self.count, self.gone if self.mask else frozenset[int]()))
        for name, dims in made:
            kernel.line(f"{name} = tl.full([{', '.join(kernel.extents(dims))}], 0.0, {dtype})")

    def take(self, value: str) -> None:
        """Numbers that the total has taken in already."""
        kernel = self.kernel
        rule, weight = REDUCTIONS["sum"], self.deviation.weight
        dtype = kernel.dtypes[self.deviation.squares.step.buffer]
        if self.counts:
            kernel.line(f"{self.count} = {self.count} + {rule.ready('1.0', self.mask, dtype)}")
        if weight is None:
            kernel.helpers.add("_deviation")
            code = f"_deviation({value}, {self.total}, {self.count})"
        else:
            kernel.helpers.add("_codeviation")
            known = kernel.values.get(weight.step.buffer) or kernel.computed(weight)
            name = kernel.named(weight.step.buffer, known[0])
            kernel.line(f"{self.weights} = {self.weights} + {rule.ready(name, self.mask, dtype)}")
            code = f"_codeviation({value}, {self.total}, {name}, {self.weights}, {self.count})"
        kernel.line(f"{self.squares} = {self.squares} + {rule.ready(code, self.mask, dtype)}")

    def end(self) -> None:
        """The squares of the distances from the mean, which is known by now."""
        kernel, placed = self.kernel, self.deviation.squares
        kernel.comment(placed.step.text)
        name, dtype = placed.step.buffer, kernel.dtypes[placed.step.buffer]
        its = self.deviation.mean
        mean, _ = kernel.values.get(its.step.buffer) or kernel.computed(its)
        helper = "_about" if self.weights is None else "_weighted_about"
        kernel.helpers.add(helper)
        kept = [self.squares] if self.weights is None else [self.squares, self.weights]
        code = f"{helper}({', '.join([*kept, self.count, self.total, mean])})"
        reduced = REDUCTIONS["sum"].reduced(code, sorted(self.gone), dtype, kernel.helpers)
        kernel.values[name] = kernel.named(name, reduced), self.dims - self.gone
        kernel.write(placed)


class _Values:
    """What each step computes, as an expression of what is loaded, reduced, or has another dtype."""

    def __init__(self, kernel: TritonKernel) -> None:
        self.kernel = kernel
        self.leaves: dict[tuple[str, tuple[Index | None, ...]], Argument] = {}
        self.whole: dict[str, Scalar] = {}  # of steps that reduce nothing
        self.terms: dict[str, Scalar] = {}
        for placed in kernel.axes.steps:
            name = placed.step.buffer
            self.terms[name] = value = substitute_arguments(placed.step.expression, self._operands(placed))
            if placed.step.reduction is None and not self._casts(placed):
                self.whole[name] = value

    def _operands(self, placed: PlacedStep) -> list[Scalar]:
        read = enumerate(placed.step.operands)
        return [self.whole.get(x.buffer) or self._leaf(x.buffer, placed.operand(k)) for k, x in read]

    def _leaf(self, buffer: str, indices: tuple[Index | None, ...]) -> Argument:
        return self.leaves.setdefault((buffer, indices), argument(len(self.leaves)))

    def _casts(self, placed: PlacedStep) -> bool:
        dtypes = self.kernel.dtypes
        return any(dtypes[x.buffer] is not dtypes[placed.step.buffer] for x in placed.step.operands)

    def deviation(self, squares: PlacedStep, total: PlacedStep, later: set[str]) -> Deviation | None:
        """The deviation that a sum is, where what it sums is the square or the weighted distance from ``c·total``.

        Weights are of what is there when the total is summed, which what comes ``later`` is not.
        """
        value, point = self.terms[squares.step.buffer], self.terms[total.step.buffer]
        leaf = self._leaf(total.step.buffer, total.result)
        mean = mean_in_square(value, point, leaf, self._is_shared)
        if mean is not None:
            return Deviation(squares, total, self._step(mean, squares, "mean"))
        found = mean_in_product(value, point, leaf, self._is_shared)
        if found is None or any(buffer in later for buffer in self._read(found[1])):
            return None
        mean, weight = found
        return Deviation(squares, total, self._step(mean, squares, "mean"), self._step(weight, squares, "weight"))

    def _read(self, value: Scalar) -> set[str]:
        """What the leaves of a value are."""
        parts = set(postorder(value))
        return {buffer for (buffer, _), leaf in self.leaves.items() if leaf in parts}

    def _is_shared(self, value: Scalar) -> bool:
        """Whether all positions share a leaf."""
        return any(leaf is value and not any(x is not None for x in its) for (_, its), leaf in self.leaves.items())

    def _step(self, value: Scalar, squares: PlacedStep, what: str) -> PlacedStep:
        """The step that computes a value; where there is none by itself, a new one, from the leaves."""
        for placed in self.kernel.axes.steps:
            if self.whole.get(placed.step.buffer) is value:
                return placed
        read = [(key, leaf) for key, leaf in self.leaves.items() if leaf in set(postorder(value))]
        indices = [x for (_, its), _ in read for x in its]
        sizes = tuple(1 if x is None else self.kernel.axes.sizes[x] for x in indices)
        operands, first = [], 0
        for (buffer, its), _ in read:
            operands.append(Operand(buffer, tuple(range(first, first + len(its)))))
            first += len(its)
        own: list[Scalar] = [argument(0)] * len(self.leaves)
        for position, (_, leaf) in enumerate(read):
            own[leaf.position] = argument(position)
        name, every = f"{squares.step.buffer}_{what}", tuple(range(len(sizes)))
        self.kernel.dtypes[name] = self.kernel.dtypes[squares.step.buffer]
        return PlacedStep(Step(name, sizes, tuple(operands), substitute_arguments(value, own), every), tuple(indices))
