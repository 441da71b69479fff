"""What is known of the scores, and of the sums over them, where the two positions are a given distance apart.

The distance of an element is its position along the columns less that along the rows.  A mask by a comparison of
positions hides the elements on one side of a distance, or on two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...ir import DType, Graph, Node, Size
from ...ir import operations as ops
from ...ir.scalar import Argument, Call, Scalar, sum_of_multiples
from .element_values import FILL, Expression, Kind, Position, Value, is_finite, product_of
from .scores import Scores
from .spaces import Labels, space_of

_MOST_DEEP = 40  # operations between a sum and what reads it


@dataclass(frozen=True)
class Distances:
    """The elements from ``low`` to ``high`` apart, both included; None where there is no such end."""

    low: int | None
    high: int | None


@dataclass(frozen=True)
class Region:
    """The scores with the graph around them; ``made`` is what follows from positions or from sums of scores."""

    graph: Graph
    scores: Scores
    rows: Size
    columns: Size

    @cached_property
    def order(self) -> Sequence[Node]:
        """Operands first."""
        return self.graph.nodes()

    @cached_property
    def made(self) -> dict[Node, int]:
        """With the number of operations since."""
        found: dict[Node, int] = {}
        for node in self.order:
            if node in self.scores.exits or isinstance(node.op, ops.Iota):
                found[node] = 0
            elif any(x in found or x in self.scores.members for x in node.operands):
                found[node] = 1 + max((found.get(x, 0) for x in node.operands), default=0)
        return found


class Mask:
    """The hypothesis that the elements ``visible`` are all that count: what sums are then."""

    def __init__(self, region: Region, visible: Distances) -> None:
        self.region, self.visible = region, visible
        self.hidden = [Distances(None, visible.low - 1)] if visible.low is not None else []
        self.hidden += [Distances(visible.high + 1, None)] if visible.high is not None else []
        self._elements = {each: Elements(self, each) for each in (visible, *self.hidden)}
        self._exits: dict[Node, Value] = {}

    def is_neutral(self, node: Node) -> bool:
        """Whether the hidden elements change nothing in an exit."""
        return all(self._leave(node, self._elements[each]) for each in self.hidden)

    def _leave(self, node: Node, elements: Elements) -> bool:
        values = elements.operands(node)
        if isinstance(node.op, ops.Einsum):
            return product_of(values) == 0
        if not isinstance(node.op, ops.Reduce) or node.op.kind not in ("shift", "max"):
            return False
        (value,) = values
        return value == -math.inf or (isinstance(value, float) and value <= FILL and self.has_largest(node))

    def has_largest(self, node: Node) -> bool:
        """Whether every maximum of a reduction is that of finite scores: each has an element that is visible."""
        (value,) = self._elements[self.visible].operands(node)
        return is_finite(value) and value is not Kind.READ and self._is_seen(node)

    def _is_seen(self, node: Node) -> bool:
        """Whether each position that an exit keeps sees one of those that it sums, whatever the sizes if symbolic."""
        scores, low, high = self.region.scores, self.visible.low, self.visible.high
        sizes = self.region.rows, self.region.columns
        if scores.rows not in scores.exits[node]:  # distances count from the index that is kept
            low, high = (None if high is None else -high), (None if low is None else -low)
            sizes = sizes[1], sizes[0]
        least, most = (-math.inf if low is None else low), (math.inf if high is None else high)
        if least == -math.inf and most >= 0:
            return True  # the first one
        if sizes[0] == sizes[1] and least <= 0 <= most:
            return True  # the one at the same place
        known = [x for x in sizes if isinstance(x, int)]
        return len(known) == 2 and least <= most and most >= 0 and known[0] - 1 + least <= known[1] - 1

    def of_exit(self, node: Node) -> Value:
        """What is known of a sum or a maximum of scores."""
        if node not in self._exits:
            self._exits[node] = self._computed(node)
        return self._exits[node]

    def _computed(self, node: Node) -> Value:
        if isinstance(node.op, ops.Reduce) and node.op.kind == "shift":
            return Kind.FINITE  # 0 where the maximum is not
        if self._is_sum_of_exponentials(node):
            return Kind.POSITIVE  # one of them is 1
        found = [product_of(x.operands(node)) for x in self._elements.values()]
        return Kind.FINITE if all(map(is_finite, found)) else None

    def _is_sum_of_exponentials(self, node: Node) -> bool:
        """Whether an exit is a sum of ``exp(score - maximum)``, the maximum being over what is summed."""
        if not isinstance(node.op, ops.Einsum) or len(node.operands) != 1:
            return False
        term = _stored(node.operands[0])
        match term.op:
            case ops.Map(expression=Call(function="exp", arguments=(Call(function="sub", arguments=(left, right)),))):
                maximum, exits = self.maximum(term, left, right), self.region.scores.exits
                if maximum is not None and set(exits[maximum]) == set(exits[node]):
                    return self.has_largest(maximum)
        return False

    def maximum(self, node: Node, left: Scalar, right: Scalar) -> Node | None:
        """The maximum of a node's operand ``left`` that is its operand ``right``, if it is."""
        if not (isinstance(left, Argument) and isinstance(right, Argument)):
            return None
        value, largest = node.operands[left.position], node.operands[right.position]
        if value not in self.region.scores.members or largest not in self.region.scores.exits:
            return None
        if not isinstance(largest.op, ops.Reduce) or largest.op.kind != "shift":
            return None
        return largest if _stored(largest.operands[0]) is _stored(value) else None


class Elements:
    """The values of nodes at the elements of some distances."""

    def __init__(self, mask: Mask, distances: Distances) -> None:
        self.mask, self.distances = mask, distances
        self.scores = mask.region.scores
        self.thresholds: set[int] = set()  # distances between which and the next one a comparison changes
        self.known: dict[tuple[Node, Labels], Value] = {}
        self.is_begun = False

    def operands(self, node: Node) -> list[Value]:
        """Those of a member or an exit."""
        if not self.is_begun:
            self.is_begun = True
            for member in self.mask.region.order:
                if member in self.scores.members:
                    self._of(member, self.scores.members[member])  # in order, so that no call is nested deeply
        return [self._of(x, its) for x, its in zip(node.operands, self.scores.operands[node], strict=True)]

    def _of(self, node: Node, labels: Labels) -> Value:
        key = node, labels
        if key not in self.known:
            self.known[key] = self._found(node, labels)
        return self.known[key]

    def _found(self, node: Node, labels: Labels) -> Value:
        if node in self.scores.members:
            return self._applied(node, self.operands(node))
        if node in self.scores.exits:
            return self.mask.of_exit(node)
        if isinstance(node.op, ops.Iota) and _counts_exactly(node.op.dtype):
            return Position(float(labels[0] == self.scores.rows), float(labels[0] == self.scores.columns), 0.0)
        if isinstance(node.op, ops.Constant):
            return _constant(node.op)
        space = space_of(node)
        if node in self.mask.region.made and not isinstance(node.op, ops.Iota):
            if space is None or self.mask.region.made[node] > _MOST_DEEP:
                return None
            names = dict(zip(space.output, labels, strict=True))
            places = [tuple(names.get(x, -1) for x in inner) for inner in space.inputs]
            return self._applied(node, [self._of(x, its) for x, its in zip(node.operands, places, strict=True)])
        return Kind.READ if {self.scores.rows, self.scores.columns} & set(labels) else Kind.FINITE

    def _applied(self, node: Node, values: Sequence[Value]) -> Value:
        """An operation of these values."""
        match node.op:
            case ops.Map(expression=expression):
                return self._mapped(node, expression, values)
            case ops.LinearCombination(coefficients=coefficients):
                return self._mapped(node, sum_of_multiples(coefficients), values)
            case ops.Broadcast():
                return values[0]
            case ops.Cast(dtype=dtype):
                return _cast(values[0], dtype)
            case ops.Einsum():
                total = product_of(values)
                return Kind.FINITE if total != 0 and _is_summed(node) and is_finite(total) else _only(node, total)
            case ops.Reduce():
                return Kind.FINITE if is_finite(values[0]) and node.op.kind in ("max", "min", "shift") else None
        return None

    def _mapped(self, node: Node, expression: Scalar, values: Sequence[Value]) -> Value:
        differences = {}
        for part in _differences(expression):
            left, right = part.arguments
            maximum = self.mask.maximum(node, left, right)
            if maximum is not None and isinstance(left, Argument) and isinstance(right, Argument):
                differences[left.position, right.position] = self._relative(values[left.position], maximum)
        return Expression(values, differences, self._compare).value(expression)

    def _relative(self, value: Value, maximum: Node) -> Value:
        """A score less the maximum of its row."""
        if isinstance(value, float) and value <= FILL:
            return value if value == -math.inf else (Kind.FAR if self.mask.has_largest(maximum) else None)
        return Kind.LOW if is_finite(value) else None

    def _compare(self, function: str, difference: Position) -> Value:
        """Whether a difference of positions is less than 0, or otherwise as ``function`` says."""
        slope = difference.column
        if difference.row + slope or abs(slope) != 1:
            return Kind.FINITE
        low, high = self.distances.low, self.distances.high
        ends = (-math.inf if low is None else low, math.inf if high is None else high)
        least, most = sorted(slope * each + difference.offset for each in ends)
        always, never = _ALWAYS[function](least, most), _ALWAYS[_OPPOSITE[function]](least, most)
        if always or never:
            return float(always)
        zero = -difference.offset * slope  # the distance where it is 0
        self.thresholds |= {math.ceil(zero) - 1, math.floor(zero)}
        return Kind.FINITE


_ALWAYS: dict[str, Callable[[float, float], bool]] = {  # of numbers from least to most
    "lt": lambda least, most: most < 0,
    "le": lambda least, most: most <= 0,
    "gt": lambda least, most: least > 0,
    "ge": lambda least, most: least >= 0,
    "eq": lambda least, most: least == most == 0,
    "ne": lambda least, most: least > 0 or most < 0,
}
_OPPOSITE = {"lt": "ge", "ge": "lt", "le": "gt", "gt": "le", "eq": "ne", "ne": "eq"}


def _differences(expression: Scalar) -> list[Call]:
    """The differences of two operands in an expression."""
    found, stack = [], [expression]
    while stack:
        part = stack.pop()
        if isinstance(part, Call):
            stack += part.arguments
            if part.function == "sub" and all(isinstance(x, Argument) for x in part.arguments):
                found.append(part)
    return found


def _stored(node: Node) -> Node:
    """The node of which this one is a permutation."""
    while isinstance(node.op, ops.Einsum) and len(node.operands) == 1 and not _is_summed(node):
        node = node.operands[0]
    return node


def _is_summed(node: Node) -> bool:
    space = space_of(node)
    return space is None or space.reduction is not None


def _only(node: Node, total: Value) -> Value:
    """A product; of a sum of products only whether it is 0 is known."""
    return total if total == 0 or not _is_summed(node) else None


def _constant(op: ops.Constant) -> Value:
    array = op.array
    if array.dtype.kind == "c":
        return None
    if array.size == 1:
        return float(array.flat[0])
    return Kind.FINITE if np.isfinite(array).all() and is_finite(float(np.abs(array).max(initial=0))) else None


def _counts_exactly(dtype: DType) -> bool:
    """Whether positions, and differences of them, are what they are in this dtype."""
    return dtype is DType.float64 or (dtype.kind == "int" and dtype.bits >= 32)


def _cast(value: Value, dtype: DType) -> Value:
    if isinstance(value, Position):
        return value if _counts_exactly(dtype) else Kind.FINITE
    if dtype.kind == "float":
        return value
    if dtype is DType.bool and isinstance(value, float):
        return float(value != 0)
    return value if value in (0.0, 1.0) else (Kind.FINITE if is_finite(value) else None)
