"""Which values are stored as tensors, and which are computed inside the loops that read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .scalar_values import Form, Place, Value, ValueGraph
from .scalar_weights import ARRAY_WEIGHT, scalar_weight

# Where one expression written out as a tree would be longer or deeper than this, a tensor is kept within.
LARGEST_TREE = 120
DEEPEST_TREE = 40

# The calls of an expression written out as a tree, and how deep they nest.
Extent = tuple[int, int]
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

    def _parents(self) -> dict[Value, list[Place]]:
        """The calls that read each value, and along which of their axes."""
        found: dict[Value, list[Place]] = {value: [] for value in self.graph.values}
        for value in self.graph.values:
            for child, labels in value.arguments:
                if child.is_call:
                    found[child].append((value, labels))
        return found

    def _assign(self, parents: Mapping[Value, list[Place]], heavy: set[Value], forced: set[Value]) -> None:
        """One sweep.  ``smaller`` values have fewer axes than their homes; ``guarded`` ones only choices read."""
        stored: set[Value] = set()
        homes: _Sets = {}
        smaller: set[Value] = set()
        guarded: set[Value] = set()
        for value in reversed(self.graph.values):
            if value in self.required or value in forced:
                homes[value] = _itself(value)
                stored.add(value)
                continue
            readers = parents[value]
            found = _homes_of_readers(readers, homes)
            whole = all(parent not in smaller and parent.spans(labels) for parent, labels in readers)
            is_guarded = all(parent in guarded or _is_only_chosen(parent, value) for parent, _ in readers)
            free = _is_node(value, readers) or (self.split and not is_guarded)
            if self._is_stored(value, len(found), whole or not free, value in heavy and free):
                homes[value] = _itself(value)
                stored.add(value)
                continue
            homes[value] = found
            if not whole:
                smaller.add(value)
            if is_guarded and not value.node_valued:
                guarded.add(value)
        self.stored, self.homes = stored, homes

    def _is_stored(self, value: Value, times: int, whole: bool, heavy: bool) -> bool:
        if value.is_constant or scalar_weight(value.function) == 0:
            return False
        if value.is_weak:
            if self.split and times > value.times_computed:
                raise WeakValueRepeated
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
            weights[value] = min(weight, 2 * ARRAY_WEIGHT)
            if weight > ARRAY_WEIGHT and not value.is_weak:
                heavy.add(value)
        return heavy

    def _cuts(self) -> set[Value]:
        """The whole nodes to store besides, so that no expression is too long or too deep."""
        extents: dict[Value, Extent] = {}
        cuts: set[Value] = set()
        for form in self.graph.forms.values():
            inside = {
                k: extents[value]
                for k, (value, _) in enumerate(form.operands)
                if value in extents and value not in self.stored and value not in cuts
            }
            while (worst := _worst(form, inside)) is not None:
                cut = form.operands[worst][0]
                cuts.add(cut)
                inside = {k: extent for k, extent in inside.items() if form.operands[k][0] is not cut}
            extents[self.graph.places[form.node][0]] = _extent(form, inside)
        return cuts


def _itself(value: Value) -> frozenset[Place]:
    return frozenset([(value, tuple(range(len(value.shape))))])


def _is_node(value: Value, readers: Sequence[Place]) -> bool:
    """Whether a value is all of a node, but for a sign."""
    return value.node_valued or any(x.node_valued and scalar_weight(x.function) == 0 for x, _ in readers)


def _homes_of_readers(readers: Sequence[Place], homes: _Sets) -> frozenset[Place]:
    return frozenset(
        (home, tuple(axes[axis] for axis in labels)) for parent, labels in readers for home, axes in homes[parent]
    )


def _extent(form: Form, inside: Mapping[int, Extent]) -> Extent:
    """The size and depth of a node's tree with those of its operands that are computed inside it."""
    size = form.size + sum(form.occurrences[k] * extent[0] for k, extent in inside.items())
    return size, max([*form.depths, *(form.depths[k] + extent[1] for k, extent in inside.items())], default=0)


def _worst(form: Form, inside: Mapping[int, Extent]) -> int | None:
    """The operand that makes the tree too large or too deep, or None where it is neither."""
    size, depth = _extent(form, inside)
    if not inside or (size <= LARGEST_TREE and depth <= DEEPEST_TREE):
        return None
    if size > LARGEST_TREE:
        return max(inside, key=lambda k: form.occurrences[k] * inside[k][0])
    return max(inside, key=lambda k: form.depths[k] + inside[k][1])


def _is_only_chosen(parent: Value, value: Value) -> bool:
    """Whether ``parent`` is a choice that reads ``value`` as what may be chosen, not as the condition."""
    return parent.function == "where" and parent.arguments[0][0] is not value


def is_inside(groups: Groups, parts: Iterable[Place]) -> bool:
    """Whether any of these values is computed within the loop that reads it."""
    return any(value.is_call and value not in groups.stored for value, _ in parts)
