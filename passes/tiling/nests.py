"""A pass over scores as loops over blocks: batch indices one position at a time, then the two long indices.

Half precision and less is what is stored: within the loops values are float32, and products round their factors to
what is stored, so that they are products of halves added up in float32.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...ir import DType, Node, Size, build, make
from ...ir import operations as ops
from ...ir.dims import dim
from ...ir.dtypes import NARROW
from ...ir.scalar import Number, argument, call
from ...ir.traverse import rebuild
from ...ir.types import TensorType
from .levels import Levels
from .scores import Scores
from .spaces import Labels, space_of
from .sweeps import Sweep
from .traffic import is_matrix_product


@dataclass(frozen=True)
class Cut:
    """An index that is cut: how many positions it has, how many are in a block, and the dim of a block."""

    index: int
    size: Size
    block: int
    symbol: str


@dataclass
class Nest:
    """The loops of one pass.

    ``new`` are the new nodes of what is computed before; ``wide`` are those that earlier passes of the region have in
    more digits than they are stored with.  ``window`` is how far before and beyond a position of the outer long index
    there is something to sum, where that is not everywhere, and ``strip`` how many positions of a short index the
    products that make scores sum at a time, where that is not all.
    """

    sweep: Sweep
    scores: Scores
    levels: Levels
    cuts: Sequence[Cut]
    new: Mapping[Node, Node]
    wide: Mapping[Node, Node]
    window: tuple[int | None, int | None] | None = None
    strip: int | None = None
    operands: list[Node] = field(default_factory=list)
    places: list[Labels] = field(default_factory=list)

    def nodes(self, wanted: Sequence[Node], types: Sequence[DType]) -> list[Node]:
        """The nodes for ``wanted`` values in these dtypes, computed by one nest of loops."""
        inner = _Tile(self, len(self.cuts))
        gathered = self.sweep.gathered
        parts = [inner.gathered(node) for node in gathered]
        after = _Tile(self, len(self.cuts) - 1)
        after.collect(wanted)
        joins = tuple(self._join(node, gathered) for node in gathered)
        cut = self.cuts[-1]
        given = self._placeholders(len(self.cuts) - 1)
        where = self._axes(cut)
        window = (self.cuts[-2].symbol, *self.window) if self.window is not None else None
        for k, node in enumerate(gathered):
            loop = ops.Blockwise(
                tuple(parts), cut.size, cut.block, where, joins, k, cut.symbol, window=window, strip=self.strip
            )
            total = build.transpose(make(loop, *given), _inverse(self.axes_order(node)))
            after.values[node] = _finished(node, total)
        values = tuple(build.cast(after.value(node), dtype) for node, dtype in zip(wanted, types, strict=True))
        return self._outer_loops(wanted, values)

    def _outer_loops(self, wanted: Sequence[Node], values: tuple[Node, ...]) -> list[Node]:
        for depth in range(len(self.cuts) - 2, -1, -1):
            cut = self.cuts[depth]
            joins = tuple(self.sweep.values[node].index(cut.index) for node in wanted)
            given = self._placeholders(depth) if depth else self.operands
            loop = ops.Blockwise(values, cut.size, cut.block, self._axes(cut), joins, 0, cut.symbol, True)
            values = tuple(make(dataclasses.replace(loop, result=k), *given) for k in range(len(wanted)))
        return list(values)

    def axes_order(self, node: Node) -> list[int]:
        """The axes of what is gathered: those that are cut come first, so that a maximum's are its sums' first."""
        labels = self.sweep.values[node]
        first = [labels.index(cut.index) for cut in self.cuts[:-1]]
        return first + [axis for axis in range(node.ndim) if axis not in first]

    def _join(self, node: Node, gathered: Sequence[Node]) -> str:
        if isinstance(node.op, ops.Reduce):
            return "max" if node.op.kind == "shift" else node.op.kind
        maximum = self.levels.relative.get(node)
        return "sum" if maximum is None else ops.relative_to(gathered.index(maximum))

    def _axes(self, cut: Cut) -> tuple[int | None, ...]:
        return tuple(labels.index(cut.index) if cut.index in labels else None for labels in self.places)

    def _placeholders(self, depth: int) -> list[Node]:
        return [self.placeholder(k, depth) for k in range(len(self.operands))]

    def place(self, node: Node, labels: Labels) -> int:
        """The number of the operand for a tensor from outside, whose axes run along these indices."""
        cut = {x.index for x in self.cuts}
        shown = tuple(label if label in cut else -1 for label in labels)
        for k, (operand, its) in enumerate(zip(self.operands, self.places, strict=True)):
            if operand is node and its == shown:
                return k
        self.operands.append(node)
        self.places.append(shown)
        return len(self.operands) - 1

    def placeholder(self, k: int, depth: int) -> Node:
        """What the body of loop ``depth - 1`` sees of an operand."""
        operand, labels = self.operands[k], self.places[k]
        sizes = {cut.index: dim(cut.symbol) for cut in self.cuts[:depth]}
        shape = tuple(sizes.get(label, size) for label, size in zip(labels, operand.type.shape, strict=True))
        return build.input_node(ops.placeholder_label(k), TensorType(shape, operand.type.dtype))


def _inverse(order: Sequence[int]) -> list[int]:
    return [order.index(axis) for axis in range(len(order))]


def _finished(node: Node, total: Node) -> Node:
    """A maximum as what exponentials are taken relative to: 0 where it is not finite."""
    return _finite(total) if isinstance(node.op, ops.Reduce) and node.op.kind == "shift" else total


def _finite(node: Node) -> Node:
    return build.map_node(call("where", call("isfinite", argument(0)), argument(0), 0.0), [node])


class _Tile:
    """The values of one body, of tiles of the first ``depth`` indices that are cut."""

    def __init__(self, nest: Nest, depth: int) -> None:
        self.nest, self.depth = nest, depth
        self.sizes: dict[int, Size] = {cut.index: dim(cut.symbol) for cut in nest.cuts[:depth]}
        self.values: dict[Node, Node] = {}

    def gathered(self, node: Node) -> Node:
        """What one tile gives to an exit, or to a sum of exits."""
        return build.add(*(self.part(x) for x in (node.operands if node in self.nest.sweep.joint else [node])))

    def part(self, node: Node) -> Node:
        """What one tile gives to an exit."""
        labels = self.nest.scores.operands[node]
        maximum = self.nest.levels.relative.get(node)
        if maximum is not None and maximum not in self.values:
            own = build.transpose(self.part(maximum), _inverse(self.nest.axes_order(maximum)))
            self.values[maximum] = _finite(own)
        operands = [self.value(x, its) for x, its in zip(node.operands, labels, strict=True)]
        if isinstance(node.op, ops.Reduce) and node.op.kind == "shift":
            value = build.reduce_node("max", operands[0], node.op.axes)
        else:
            value = self._applied(node, operands, self.nest.sweep.exits[node])
        return self._arranged(value, self.nest.axes_order(node))

    @staticmethod
    def _arranged(value: Node, order: Sequence[int]) -> Node:
        """The value with its axes in this order; a product gives it so itself."""
        if isinstance(value.op, ops.Einsum):
            return build.einsum(value.operands, value.op.inputs, [value.op.output[axis] for axis in order])
        return build.transpose(value, order)

    def value(self, node: Node, labels: Labels = ()) -> Node:
        """The value of a node on a tile: computed where it is of the region, read where it is not."""
        if node in self.values:
            return self.values[node]
        inside = self._operands_inside(node)
        if inside is None:
            return self._read(node, labels)
        stack = [node]
        while stack:
            current = stack[-1]
            its = self._operands_inside(current)
            assert its is not None
            pending = [x for x in current.operands if x not in self.values and self._operands_inside(x) is not None]
            if pending:
                stack += pending
                continue
            stack.pop()
            operands = [self.value(x, each) for x, each in zip(current.operands, its, strict=True)]
            self.values[current] = self._applied(current, operands, self._labels(current))
        return self.values[node]

    def collect(self, wanted: Sequence[Node]) -> None:
        """Make the operands known that only this body reads."""
        for node in self.nest.sweep.after:
            for operand, labels in zip(node.operands, self.nest.sweep.operands[node], strict=True):
                if operand not in self.nest.sweep.values:
                    self._read(operand, labels)

    def _operands_inside(self, node: Node) -> tuple[Labels, ...] | None:
        """The indices of the operands of a node that this body computes; None for one that it reads."""
        if self.depth == len(self.nest.cuts):
            return self.nest.scores.operands[node] if node in self.nest.scores.members else None
        return self.nest.sweep.operands.get(node)

    def _read(self, node: Node, labels: Labels) -> Node:
        """A tensor from outside; what is no more than a scale, a cast or a repetition of one is computed from it."""
        space = space_of(node)
        light = isinstance(node.op, (ops.Cast, ops.Broadcast)) or (
            isinstance(node.op, ops.LinearCombination) and len(node.operands) == 1
        )
        if light and node not in self.nest.wide and space is not None:
            names = dict(zip(space.output, labels, strict=True))
            inner = tuple(names[x] for x in space.inputs[0])
            return self._applied(node, [self._read(node.operands[0], inner)], labels)
        known = self.nest.wide.get(node) or self.nest.new[node]
        return _widened(self.nest.placeholder(self.nest.place(known, labels), self.depth))

    def _applied(self, node: Node, operands: Sequence[Node], labels: Labels) -> Node:
        """The node's operation on these operands; ``labels`` are the indices of its result."""
        op, space = node.op, space_of(node)
        assert space is not None
        if isinstance(op, ops.Broadcast):
            shape = [self.sizes.get(label, size) for label, size in zip(labels, op.shape, strict=True)]
            return build.broadcast(operands[0], op.axes, shape)
        factor: Number = 1
        if is_matrix_product(node):
            if node in self.nest.scores.members:
                factor, operands = _unscaled(operands)
            if node.type.dtype in NARROW:
                operands = [_rounded(x, node.type.dtype) for x in operands]
        return build.scale(factor, _widened(rebuild(node, operands)))

    def _labels(self, node: Node) -> Labels:
        if self.depth == len(self.nest.cuts):
            return self.nest.scores.members[node]
        return self.nest.sweep.values[node]


def _unscaled(operands: Sequence[Node]) -> tuple[Number, list[Node]]:
    """The factors of a score without the numbers that they are multiples by, and the product of these.

    A tensor that occurs with and without a number is so read once.
    """
    number: Number = 1
    plain = []
    for operand in operands:
        if isinstance(operand.op, ops.LinearCombination) and len(operand.operands) == 1:
            (coefficient,), (inner,) = operand.op.coefficients, operand.operands
            if operand.op.inputs == (tuple(range(operand.ndim)),) and inner.type.dtype is operand.type.dtype:
                number, operand = number * coefficient, inner
        plain.append(operand)
    return number, plain


def _widened(node: Node) -> Node:
    return build.cast(node, DType.float32) if node.type.dtype in NARROW else node


def _rounded(node: Node, dtype: DType) -> Node:
    """The factor of a product as it is stored, in float32; one that comes from memory is so already."""
    is_stored = isinstance(node.op, ops.Cast) and node.operands[0].type.dtype is dtype
    return node if is_stored else build.cast(build.cast(node, dtype), DType.float32)
