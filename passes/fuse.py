"""The pass that makes one loop of neighbouring elementwise operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..ir import DType, Graph, Node, build
from ..ir.scalar import Scalar, argument, call
from ..ir.traverse import rebuild
from .fusion.groups import Groups, WeakValueRepeated, is_inside
from .fusion.scalar_values import Form, Labels, Operands, Place, Value, ValueGraph
from .manager import Pass


@dataclass(frozen=True)
class Fuse(Pass):
    """Graph in; equal graph out, with fewer passes over memory and no more arithmetic.

    Maps, linear combinations and products without a sum are taken apart into scalar values.  A value that one
    loop alone reads is computed inside that loop; one that several loops read is stored, and so is one that is
    constant along an axis of its reader, which is thus computed once instead of at every point.  Equal values
    of several loops are stored too where they cost more than writing and reading an array.  No scalar operation
    is carried out at more points than before, and each is carried out on the same numbers as before, so results
    keep every bit (sums over them may run in another order, where they lie in memory in another).  What
    decreases is flops, then the number of tensors.  ::

        %1: f64[b,n] = linear_combination "bn,b->bn" {coefficients=(1.0, (-1.0))} %x, %m
        %2: f64[b,n] = map "exp(a)" "bn->bn" %1
        %3: f64[b,n] = map "a / sqrt(b)" "bn,b->bn" %2, %s

    becomes ::

        %1: f64[b] = map "sqrt(a)" "b->b" %s
        %2: f64[b,n] = map "exp(a - b) / c" "bn,b,b->bn" %x, %m, %1
    """

    name: ClassVar[str] = "fuse"

    def run(self, graph: Graph) -> Graph:
        """Fuse, split and share over the whole graph."""
        return self.run_counting(graph)[0]

    def run_counting(self, graph: Graph) -> tuple[Graph, Counter[str]]:
        """The graph, how many nodes went into their readers, and how many parts of nodes became nodes.

        Where long expressions were cut, the pass goes over the graph again for as long as nodes vanish.
        """
        fused, groups = _fused(graph)
        fired = _counted(groups)
        while groups is not None and groups.cut:
            again, groups = _fused(fused)
            if len(again.nodes()) >= len(fused.nodes()):
                break
            fused = again
            fired += _counted(groups)
        return fused, fired


def _fused(graph: Graph) -> tuple[Graph, Groups | None]:
    """The graph fused once, and what was chosen; None where nothing is elementwise."""
    order = graph.nodes()
    values = ValueGraph()
    for node in order:
        values.add(node)
    if not values.values:
        return graph, None
    required = frozenset(_required(graph, order, values))
    try:
        groups = Groups(values, required)
        groups.choose()
    except WeakValueRepeated:
        groups = Groups(values, required, split=False)
        groups.choose()
    return graph.replaced(_Emission(groups).nodes(order)), groups


def _counted(groups: Groups | None) -> Counter[str]:
    if groups is None:
        return Counter()
    absorbed = sum(groups.graph.places[node][0] not in groups.stored for node in groups.graph.forms)
    parts = sum(not value.node_valued for value in groups.stored)
    return +Counter(fuse_into_reader=absorbed, compute_once=parts)


def _required(graph: Graph, order: Sequence[Node], values: ValueGraph) -> set[Value]:
    """The values that outputs are, or that something reads which is not elementwise."""
    read = list(graph.outputs)
    for node in order:
        if node not in values.places:
            read.extend(node.operands)
    return {values.places[node][0] for node in read if node in values.places}


class _Emission:
    """Nodes for the stored values."""

    def __init__(self, groups: Groups) -> None:
        self.groups, self.values = groups, groups.graph
        self.new: dict[Node, Node] = {}
        # The node of each stored value, and the node's axis along which each axis of the value runs.
        self.stored: dict[Value, tuple[Node, Labels]] = {}

    def nodes(self, order: Sequence[Node]) -> Mapping[Node, Node]:
        """What each node becomes; nodes that are only computed within others are left out."""
        for node in order:
            form = self.values.forms.get(node)
            if form is not None:
                for value, _ in form.calls[:-1]:
                    self._store(value)
                self._store_node(node, form)
            if node in self.values.places:
                found = self._view(node)
                if found is not None:
                    self.new[node] = found
            else:
                self.new[node] = rebuild(node, [self.new[x] for x in node.operands])
        return self.new

    def _view(self, node: Node) -> Node | None:
        """A node whose value is stored, with the axes as the node has them."""
        value, labels = self.values.places[node]
        if value not in self.stored:
            return None
        source, axes = self.stored[value]
        place = _through(axes, labels)
        if place == tuple(range(node.ndim)):
            return source
        covered = sorted(place)
        if node.type.dtype is DType.bool:
            moved = build.map_node(argument(0), [source], [[covered.index(axis) for axis in place]], len(covered))
        else:
            moved = build.einsum([source], [place], covered)
        return build.broadcast(moved, covered, node.type.shape)

    def _store(self, value: Value) -> None:
        """Make the node of a value that is stored, unless there is one."""
        if value in self.groups.stored and value not in self.stored:
            axes = tuple(range(len(value.shape)))
            self.stored[value] = self._fused(value, axes), axes

    def _store_node(self, node: Node, form: Form) -> None:
        """The same for all of a node: it stays what it is where nothing fuses with it or leaves it."""
        value, labels = self.values.places[node]
        if value not in self.groups.stored or value in self.stored:
            return
        if len(labels) < node.ndim:
            self._store(value)
            return
        parts = form.calls[:-1]
        inner = {part for part, _ in parts}
        alone = not any(part in self.groups.stored for part in inner) and not is_inside(
            self.groups, [place for place in form.operands if place[0] not in inner]
        )
        if alone and all(x in self.new for x in node.operands):
            self.stored[value] = rebuild(node, [self.new[x] for x in node.operands]), labels
        else:
            self.stored[value] = self._fused(value, labels), labels

    def _fused(self, root: Value, axes: Labels) -> Node:
        """One map for ``root`` and all that is computed within it; ``axes`` are its own, in the map's order."""
        operands: Operands = []
        parts: dict[Place, Scalar] = {}
        stack: list[tuple[Place, bool]] = [((root, axes), False)]
        while stack:
            place, ready = stack.pop()
            value = place[0]
            if place in parts:
                continue
            if value.number is not None:
                parts[place] = value.number
            elif not value.is_call or (value in self.groups.stored and value is not root):
                parts[place] = argument(len(operands))
                operands.append(self._read(place))
            elif not ready:
                stack.append((place, True))
                stack.extend((self._inner(place, x), False) for x in reversed(value.arguments))
            else:
                parts[place] = call(value.function, *(parts[self._inner(place, x)] for x in value.arguments))
        inputs = [labels for _, labels in operands]
        return build.map_node(parts[root, axes], [x for x, _ in operands], inputs, len(axes))

    @staticmethod
    def _inner(place: Place, argument_place: Place) -> Place:
        value, labels = argument_place
        return value, tuple(place[1][axis] for axis in labels)

    def _read(self, place: Place) -> tuple[Node, Labels]:
        """The tensor of a value, and the axes along which its own axes run."""
        value, labels = place
        if value.node is not None:
            return self.new[value.node], labels
        node, axes = self.stored[value]
        return node, _through(axes, labels)


def _through(axes: Labels, labels: Labels) -> Labels:
    """For each axis of a node, the reader's axis: ``axes`` and ``labels`` are the value's in node and reader."""
    return tuple(labels[axes.index(axis)] for axis in range(len(axes)))
