"""How the tensors of a fused product are addressed: each index by a stride, or several neighbouring ones by one.

Indices of a group that lie side by side on every tensor that has either are one axis, since such a tensor
is reshaped so at the call, which is a view unless its strides forbid it.  The others are found from the position
within the group by division.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...ir import Size
from ...ir.dims import product
from ...ir.product_form import GROUPS, Axes, Index, ProductForm
from ...ir.program import Program

Run = tuple[Index, ...]


@dataclass(frozen=True)
class MergedAxes:
    """For each group, the runs of indices that are one axis, outermost first."""

    runs: Mapping[str, tuple[Run, ...]]
    sizes: Mapping[Index, Size]

    @property
    def group_of(self) -> dict[Index, str]:
        """The group of each index."""
        return {index: name for name, runs in self.runs.items() for run in runs for index in run}

    def size(self, run: Run) -> Size:
        """The positions along a run."""
        return product(self.sizes[index] for index in run)

    def count(self, group: str) -> Size:
        """The positions of a group."""
        return product(self.size(run) for run in self.runs[group])

    def run_of(self, index: Index) -> Run:
        """The run that an index is in."""
        return next(run for runs in self.runs.values() for run in runs if index in run)

    def parts(self, indices: Axes) -> list[tuple[Run | None, list[int]]]:
        """A tensor's axes grouped: each run with the axes that it takes, and None for an axis of size 1."""
        found: list[tuple[Run | None, list[int]]] = []
        axis = 0
        while axis < len(indices):
            index = indices[axis]
            run = None if index is None else self.run_of(index)
            length = 1 if run is None else len(run)
            found.append((run, list(range(axis, axis + length))))
            axis += length
        return found


def merged_axes(form: ProductForm, body: Program) -> MergedAxes:
    """The runs of a product's indices."""
    tensors: list[tuple[Axes, tuple[int, ...]]] = []
    accesses = form.accesses(body)
    several = {name for k, (name, _) in enumerate(accesses) if name in [x for x, _ in accesses[:k]]}
    for name, indices in accesses:
        if name in several:  # one reshape cannot serve both
            tensors += [((index,), (0,)) for index in indices]
            continue
        layout = body.buffer_map()[name].layout
        order = layout if name in body.outputs and len(layout) == len(indices) else tuple(range(len(indices)))
        tensors.append((indices, order))
    runs = {name: _runs(form.groups[name], tensors) for name in GROUPS}
    return MergedAxes(runs, form.sizes)


def _runs(indices: Sequence[Index], tensors: Sequence[tuple[Axes, tuple[int, ...]]]) -> tuple[Run, ...]:
    found: list[list[Index]] = []
    for index in indices:
        if found and all(_are_neighbours(found[-1][-1], index, *tensor) for tensor in tensors):
            found[-1].append(index)
        else:
            found.append([index])
    return tuple(map(tuple, found))


def _are_neighbours(first: Index, second: Index, indices: Axes, order: tuple[int, ...]) -> bool:
    """Whether a tensor has both indices side by side, in its axes and in memory, or neither."""
    if first not in indices and second not in indices:
        return True
    if indices.count(first) != 1 or indices.count(second) != 1:
        return False
    one, other = indices.index(first), indices.index(second)
    return other == one + 1 and order.index(other) == order.index(one) + 1
