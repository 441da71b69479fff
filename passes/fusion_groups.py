"""Which values are stored as tensors, and which are computed inside the loops that read them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .scalar_values import Place, Value, ValueGraph
from .scalar_weights import ARRAY_WEIGHT, scalar_weight

# Where one expression written out as a tree would be longer or deeper than this, a tensor is kept within.
# (Text form and source nest brackets as deep as the tree; Python reads about 200 of them.)
LARGEST_TREE = 120
DEEPEST_TREE = 40

_Sets = dict[Value, frozenset[Place]]


class WeakValueRepeated(Exception):
    """A value that cannot be stored would be computed more often than before."""


@dataclass
class Groups:
    """``stored`` are the values that are tensors; every other value is computed where ``homes`` says.

    A home is a stored value whose loop computes this one, and the axes of it along which this one runs.  ``cut``
    says that something is stored only because an expression would have been too long.
    """

    graph: ValueGraph
    required: frozenset[Value]
    split: bool = True
    stored: set[Value] = field(default_factory=set)
    homes: _Sets = field(default_factory=dict)
    cut: bool = False

    def choose(self) -> None:
        """Choose what is stored, so that nothing is computed more often than the nodes do, or at more points.

        Users come first.  A value is stored where a reader that is not elementwise needs it, where it has fewer
        axes than what reads it, where it would be computed more often than before, and where it was computed
        several times and is worth an array.  What only a choice reads stays within the choice, unless it was a
        node: outside, the elements that are not chosen would give warnings.

        Raises ``WeakValueRepeated`` where a weak value would be computed more often than before, which cannot
        happen where ``split`` is off: then no part of a node is stored if it need not be.
        """
        heavy = self._heavy() if self.split else set[Value]()
        parents = self._parents()
        forced: set[Value] = set()
        while True:
            self._assign(parents, heavy, forced)
            cuts = self._cuts()
            if not cuts:
                return
            forced |= cuts
            self.cut = True

    def _parents(self) -> dict[Value, list[tuple[Value, Place]]]:
        found: dict[Value, list[tuple[Value, Place]]] = {value: [] for value in self.graph.values}
        for value in self.graph.values:
            for place in value.arguments:
                if place[0].is_call:
                    found[place[0]].append((value, place))
        return found

    def _assign(self, parents: dict[Value, list[tuple[Value, Place]]], heavy: set[Value], forced: set[Value]) -> None:
        stored: set[Value] = set()
        homes: _Sets = {}
        smaller: set[Value] = set()
        guarded: set[Value] = set()
        for value in reversed(self.graph.values):
            if value in self.required or value in forced:
                homes[value] = _itself(value)
                stored.add(value)
                continue
            found = set()
            whole = True
            if all(parent in guarded or _is_only_chosen(parent, value) for parent, _ in parents[value]):
                guarded.add(value)
            for parent, (_, labels) in parents[value]:
                whole = whole and parent not in smaller and parent.spans(labels)
                for home, axes in homes[parent]:
                    found.add((home, tuple(axes[axis] for axis in labels)))
            free = value.node_valued or (self.split and value not in guarded)
            if self._is_stored(value, len(found), whole or not free, value in heavy and free):
                homes[value] = _itself(value)
                stored.add(value)
                guarded.discard(value)
            else:
                homes[value] = frozenset(found)
                if not whole:
                    smaller.add(value)
        self.stored, self.homes = stored, homes

    def _is_stored(self, value: Value, times: int, whole: bool, heavy: bool) -> bool:
        if value.is_weak:
            if self.split and times > value.times_computed:
                raise WeakValueRepeated
            return False
        if scalar_weight(value.function) == 0:
            return False
        if times > value.times_computed:
            return True
        return not whole or (times > 1 and heavy)

    def _heavy(self) -> set[Value]:
        """The values that are worth an array, given that the heavy ones with several readers are stored below them."""
        readers: dict[Value, int] = {}
        for value in self.graph.values:
            for child in {child for child, _ in value.arguments}:
                readers[child] = readers.get(child, 0) + 1
        weights: dict[Value, int] = {}
        heavy: set[Value] = set()
        for value in self.graph.values:
            weight = scalar_weight(value.function)
            for child in {child for child, _ in value.arguments if child.is_call}:
                if not (child in self.required or (child in heavy and readers[child] > 1)):
                    weight += weights[child]
            weights[value] = weight
            if weight > ARRAY_WEIGHT and not value.is_weak:
                heavy.add(value)
        return heavy

    def _cuts(self) -> set[Value]:
        """The whole nodes to store besides, so that no expression is too long or too deep."""
        extents: dict[Value, tuple[int, int]] = {}
        cuts: set[Value] = set()
        for form in self.graph.forms.values():
            inside = {
                k: extents[value]
                for k, (value, _) in enumerate(form.operands)
                if value in extents and value not in self.stored and value not in cuts
            }
            while inside:
                size = form.size + sum(form.occurrences[k] * extent[0] for k, extent in inside.items())
                depth = max(form.depths[k] + extent[1] for k, extent in inside.items())
                if size <= LARGEST_TREE and depth <= DEEPEST_TREE:
                    break
                worst = max(inside, key=lambda k: (form.occurrences[k] * inside[k][0], inside[k][1]))
                if size <= LARGEST_TREE:
                    worst = max(inside, key=lambda k: form.depths[k] + inside[k][1])
                cut = form.operands[worst][0]
                cuts.add(cut)
                inside = {k: extent for k, extent in inside.items() if form.operands[k][0] is not cut}
            value = self.graph.places[form.node][0]
            own = max(form.depths, default=0)
            extents[value] = (
                form.size + sum(form.occurrences[k] * extent[0] for k, extent in inside.items()),
                max([own, *(form.depths[k] + extent[1] for k, extent in inside.items())]),
            )
        return {value for value in cuts if not value.is_weak}


def _itself(value: Value) -> frozenset[Place]:
    return frozenset([(value, tuple(range(len(value.shape))))])


def _is_only_chosen(parent: Value, value: Value) -> bool:
    """Whether ``parent`` is a choice that reads ``value`` as what may be chosen, not as the condition."""
    return parent.function == "where" and parent.arguments[0][0] is not value


def is_inside(groups: Groups, parts: Iterable[Place]) -> bool:
    """Whether any of these values is computed within the loop that reads it."""
    return any(value.is_call and value not in groups.stored for value, _ in parts)
