"""Elementwise nodes as one graph of scalar values, in which equal work is the same object.

Maps, linear combinations and products without a sum all become calls of scalar functions.  A
:class:`Value` has axes of its own, numbered in the order in which its arguments name them, so that
work on a tensor and on its transpose is the same work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...ir import DType, Node, Size, build
from ...ir.operations import Broadcast, Constant, Delta, Einsum, LinearCombination, Map
from ...ir.scalar import (
    SCALAR_FUNCTIONS,
    Argument,
    Call,
    Literal,
    Number,
    Scalar,
    argument,
    call,
    literal,
    postorder,
)
from ..algebra.diagonal_rules import diagonal_terms

# An expression deeper than this is left as it is: brackets nest as deep, and Python reads about 200 of them.
DEEPEST_FORM = 80

Labels = tuple[int, ...]
Operands = list[tuple[Node, Labels]]


@dataclass(eq=False, slots=True)
class Value:
    """One number at each point of an index space: a tensor's element, a literal, or a call.

    ``kind`` is its dtype, or a Python number where the value is weak: such a value takes the dtype of what it
    meets, and can therefore not be stored.  ``reads`` says that a call depends on a tensor, ``node_valued`` that
    the value is all of some node, and ``times_computed`` in how many places nodes compute it.
    """

    kind: DType | Number
    shape: tuple[Size, ...]
    node: Node | None = None
    number: Literal | None = None
    function: str = ""
    arguments: tuple[Place, ...] = ()
    reads: bool = False
    node_valued: bool = False
    times_computed: int = 0

    @property
    def is_call(self) -> bool:
        """Whether there is something to compute."""
        return self.function != ""

    @property
    def is_constant(self) -> bool:
        """Whether no tensor is read: literals, and calls of literals."""
        return self.node is None and not self.reads

    @property
    def is_weak(self) -> bool:
        """Whether the dtype depends on what reads the value."""
        return not isinstance(self.kind, DType)

    def spans(self, labels: Labels) -> bool:
        """Whether these of the value's axes are all along which it has more than one element."""
        return all(axis in labels or size == 1 for axis, size in enumerate(self.shape))


# A value, and for each of its axes the axis of a reader along which it runs.
Place = tuple[Value, Labels]


@dataclass(frozen=True)
class Form:
    """What a node computes: its distinct calls, operands first, and how its text depends on its operands.

    Written out as a tree the expression has ``size`` calls; operand ``k`` occurs ``occurrences[k]`` times in it,
    at most ``depths[k]`` calls deep.
    """

    node: Node
    calls: tuple[Place, ...]
    operands: tuple[Place, ...]
    size: int
    occurrences: tuple[int, ...]
    depths: tuple[int, ...]


@dataclass
class ValueGraph:
    """The values of the elementwise nodes added so far.

    ``values`` are the calls, operands first.  ``places`` has, for every elementwise node and every view of
    one, its value and the node's axis along which each axis of the value runs.
    """

    values: list[Value] = field(default_factory=list)
    forms: dict[Node, Form] = field(default_factory=dict)
    places: dict[Node, Place] = field(default_factory=dict)
    _known: dict[object, Value] = field(default_factory=dict)

    def add(self, node: Node) -> None:
        """Add a node, after its operands; what is not elementwise stays a tensor to read."""
        view = view_of(node)
        if view is not None:
            operand, axes = view
            if operand in self.places:
                value, labels = self.places[operand]
                self.places[node] = value, tuple(axes[axis] for axis in labels)
            return
        found = scalar_form(node) if diagonal_terms(node) is None else None  # a diagonal is added in place
        if found is not None:
            self._add_form(node, *found)

    def place(self, node: Node) -> Place:
        """The value that a node is, seen through views."""
        labels = tuple(range(node.ndim))
        while node not in self.places:
            view = view_of(node)
            if view is None:
                return self._tensor(node), labels
            node, axes = view
            labels = tuple(labels[axis] for axis in axes)
        value, inner = self.places[node]
        return value, tuple(labels[axis] for axis in inner)

    def _tensor(self, node: Node) -> Value:
        found = self._known.get(node)
        if found is None:
            found = self._known[node] = Value(node.type.dtype, node.type.shape, node=node)
        return found

    def _add_form(self, node: Node, expression: Scalar, operands: Operands) -> None:
        order = postorder(expression)
        size, occurrences, depths = _extent(order, len(operands))
        if max(depths, default=0) > DEEPEST_FORM:
            return
        sources = []
        for operand, labels in operands:
            value, inner = self.place(operand)
            sources.append((value, tuple(labels[axis] for axis in inner)))
        parts: dict[Scalar, Place] = {}
        for part in order:
            if isinstance(part, Argument):
                parts[part] = sources[part.position]
            elif isinstance(part, Literal):
                parts[part] = self._number(part), ()
            elif isinstance(part, Call):
                parts[part] = self._call(part.function, [parts[x] for x in part.arguments])
        root = parts[expression]
        if root[0].is_weak or not root[0].is_call:
            return
        calls = tuple(dict.fromkeys(parts[part] for part in order if isinstance(part, Call)))
        for value, _ in calls:
            value.times_computed += 1
        root[0].node_valued = True
        self.places[node] = root
        self.forms[node] = Form(node, calls, tuple(sources), size, occurrences, depths)

    def _number(self, part: Literal) -> Value:
        found = self._known.get(part)
        if found is None:
            found = self._known[part] = Value(part.value, (), number=part)
        return found

    def _call(self, function: str, arguments: Sequence[Place]) -> Place:
        sizes: dict[int, Size] = {}
        for value, labels in arguments:
            sizes.update({axis: size for axis, size in zip(labels, value.shape, strict=True) if axis not in sizes})
        axes = list(sizes)
        own = tuple((value, tuple(axes.index(axis) for axis in labels)) for value, labels in arguments)
        key = (function, own)
        found = self._known.get(key)
        if found is None:
            kind = SCALAR_FUNCTIONS[function].dtype([value.kind for value, _ in arguments])
            reads = any(not value.is_constant for value, _ in arguments)
            found = Value(kind, tuple(sizes.values()), function=function, arguments=own, reads=reads)
            self._known[key] = found
            self.values.append(found)
        return found, tuple(axes)


def _extent(order: Sequence[Scalar], count: int) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """The calls of an expression written out as a tree, and how often and how deep its operands stand in it."""
    times = dict.fromkeys(order, 0)
    depth = dict.fromkeys(order, 0)
    times[order[-1]] = 1
    for part in reversed(order):
        if isinstance(part, Call):
            for operand in part.arguments:
                times[operand] += times[part]
                depth[operand] = max(depth[operand], depth[part] + 1)
    operands = [argument(k) for k in range(count)]
    size = sum(times[part] for part in order if isinstance(part, Call))
    return size, tuple(times.get(x, 0) for x in operands), tuple(depth.get(x, 0) for x in operands)


# --- nodes as scalar expressions ---------------------------------------------------------------


def view_of(node: Node) -> tuple[Node, Labels] | None:
    """The operand that a transposition or broadcast looks at, and the axis that each of its axes becomes."""
    match node.op:
        case Broadcast(axes=axes):
            return node.operands[0], axes
        case Einsum(inputs=(labels,), output=output) if set(labels) == set(output) and len(labels) == len(output):
            return node.operands[0], tuple(output.index(label) for label in labels)
        case LinearCombination(coefficients=(1,), inputs=(labels,)) | Map(expression=Argument(), inputs=(labels,)):
            return node.operands[0], labels
    return None


def scalar_form(node: Node) -> tuple[Scalar, Operands] | None:
    """The scalar expression that a node applies to aligned operands; None where it is not elementwise.

    The expression does what emitters do for the node, in the same order, so that no bit of the result changes.
    """
    match node.op:
        case Map(expression=expression, inputs=inputs):
            return expression, list(zip(node.operands, inputs, strict=True))
        case LinearCombination() if node.type.dtype.is_inexact:
            return _sum_form(node)
        case Einsum(inputs=(_, _) as inputs, output=output) if _is_product(node):
            places = [tuple(output.index(label) for label in labels) for labels in inputs]
            return call("mul", argument(0), argument(1)), list(zip(node.operands, places, strict=True))
    return None


def _is_product(node: Node) -> bool:
    assert isinstance(node.op, Einsum)
    if any(isinstance(x.op, Delta) for x in node.operands):
        return False
    inputs, output = node.op.inputs, node.op.output
    return all(len(set(labels)) == len(labels) and set(labels) <= set(output) for labels in inputs)


def _sum_form(node: Node) -> tuple[Scalar, Operands]:
    assert isinstance(node.op, LinearCombination)
    terms = [(*_signed(c), k) for k, c in enumerate(node.op.coefficients)]
    if len(terms) > 1 and terms[0][0] and not terms[1][0]:
        terms[:2] = terms[1], terms[0]
    number = _number_term(node)
    total: Scalar | None = None
    for negative, factor, k in terms:
        place: Scalar = argument(k)
        if number is not None and number[0] == k:
            place = literal(-number[1] if negative and total is None else number[1])
            negative = negative and total is not None
        if total is None:
            total = _first_term(negative, factor, place)
        else:
            term = place if factor == 1 else call("mul", factor, place)
            total = call("sub" if negative else "add", total, term)
    assert total is not None
    return total, list(zip(node.operands, node.op.inputs, strict=True))


def _first_term(negative: bool, factor: Number, place: Scalar) -> Scalar:
    if factor == 1:
        return call("neg", place) if negative else place
    return call("mul", -factor if negative else factor, place)


def _number_term(node: Node) -> tuple[int, Number] | None:
    """The one operand that is a number, if its coefficient is 1 or -1: it is written as a literal then."""
    assert isinstance(node.op, LinearCombination)
    scalars = [k for k, x in enumerate(node.operands) if isinstance(x.op, Constant) and x.ndim == 0]
    if len(scalars) != 1 or len(node.operands) < 2 or abs(node.op.coefficients[scalars[0]]) != 1:
        return None
    value = build.constant_value(node.operands[scalars[0]])
    return None if value is None or isinstance(value, complex) else (scalars[0], value)


def _signed(coefficient: Number) -> tuple[bool, Number]:
    """Whether a term is subtracted, and the factor that is left."""
    if isinstance(coefficient, complex):
        if coefficient.imag != 0:
            return False, coefficient
        coefficient = coefficient.real
    return (True, -coefficient) if coefficient < 0 else (False, coefficient)
