"""Sums of scores in the form that kernels take: one long index summed, and nothing in them that the sum does not need.

A factor without the summed index moves out of the sum.  So the product with the values of attention does not wait for
the sum that its weights are divided by::

    %1: f64[q,k] = map "a / b" "qk,q->qk" %e, %l              %1: f64[q,v] = einsum "qk,kv->qv" %e, %V
    %2: f64[q,v] = einsum "qk,kv->qv" %1, %V        becomes   %2: f64[q,v] = map "a / b" "qv,q->qv" %1, %l

Where there may be nothing to sum at some sizes, the quotient is 0 then.  Batch indices that are summed as well, and the
second of two long ones, are kept and summed outside.  A logarithm of a sum of exponentials becomes the steps that it is
made of.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from ...ir import DType, Graph, Node, Size, build
from ...ir import operations as ops
from ...ir.scalar import Argument, Call, Literal, Number, Scalar, argument, call, substitute_arguments, used_arguments
from ...ir.traverse import rebuild
from .scores import NotTiled, Scores
from .spaces import Labels, renumbered, space_of

# How a reduction is finished where a part of its indices is reduced outside.
_SEPARABLE = ("max", "min", "prod", "any", "all")


@dataclass(frozen=True)
class Factor:
    """One of a product: a tensor with its labels, or its reciprocal; or a number."""

    value: Node | Number
    labels: Labels = ()
    is_divisor: bool = False


def with_plain_exits(graph: Graph, scores: Scores) -> Graph:
    """An equal graph whose sums of these scores are in that form; raises ``NotTiled`` where one has none."""

    def change(node: Node, operands: Sequence[Node]) -> Node:
        new = rebuild(node, operands)
        return _plain(new, node, scores) if node in scores.exits else new

    return graph.transform(change)


def _plain(node: Node, old: Node, scores: Scores) -> Node:
    space = space_of(old)
    assert space is not None
    names = dict(pair for labels, inner in zip(scores.operands[old], space.inputs, strict=True)
                 for pair in zip(inner, labels, strict=True))  # fmt: skip
    kept = [label for label, index in names.items() if index in scores.batch]
    long = [label for label, index in names.items() if index in (scores.rows, scores.columns)]
    if {names[x] for x in kept} != set(scores.batch):
        raise NotTiled(f"{old.op.name} lacks an index that the scores have")
    if not any(label in space.output for label in long):
        kept += [label for label in long if names[label] == scores.rows]
    wanted = tuple(space.output) + tuple(label for label in kept if label not in space.output)
    match node.op:
        case ops.Einsum(inputs=inputs) if node.op == old.op:
            members = [operand in scores.members for operand in old.operands]
            whole = _Sum(node, inputs, wanted, members, scores).value()
            return build.einsum([whole], [wanted], space.output)
        case ops.Reduce():
            return _reduced(node, node.op, wanted)
    raise NotTiled(f"{node.op.name} of scores has no form as a kernel")


def _reduced(node: Node, op: ops.Reduce, kept: Labels) -> Node:
    (operand,) = node.operands
    first = [axis for axis in op.axes if axis not in kept]
    rest = [axis for axis in op.axes if axis in kept]
    if op.kind in _SEPARABLE:
        inner = build.reduce_node(op.kind, operand, first)
        left = [axis for axis in range(operand.ndim) if axis not in first]
        return build.reduce_node(op.kind, inner, [left.index(axis) for axis in rest]) if rest else inner
    if rest or len(first) > 1:
        raise NotTiled(f"{op.kind} over several indices of the scores")
    if op.kind == "logsumexp":
        shift = build.reduce_node("shift", operand, first)
        every, rows = range(operand.ndim), [axis for axis in range(operand.ndim) if axis not in first]
        terms = build.map_node(
            call("exp", call("sub", argument(0), argument(1))), [operand, shift], [every, rows], operand.ndim
        )
        total = build.sum_axes(terms, first)
        return build.map_node(call("add", call("log", argument(0)), argument(1)), [total, shift])
    return node


class _Sum:
    """One sum over a product of scores and of tensors that are small."""

    def __init__(
        self, node: Node, inputs: Sequence[Labels], wanted: Labels, members: Sequence[bool], scores: Scores
    ) -> None:
        self.node, self.inputs, self.wanted, self.members = node, inputs, wanted, members
        self.summed = {label for labels in inputs for label in labels} - set(wanted)

    def value(self) -> Node:
        """The sum with ``wanted`` indices, what need not be within it multiplied afterwards."""
        inside: list[Factor] = []
        outside: list[Factor] = []
        for operand, labels, is_score in zip(self.node.operands, self.inputs, self.members, strict=True):
            whole = Factor(operand, labels)
            parts = factors_of(operand, labels) if is_score else [whole]
            moved = [x for x in parts if self._may_leave(x)]
            stay = [x for x in parts if not self._may_leave(x)]
            if any(x.is_divisor for x in stay) or not stay or not moved:
                inside.append(whole)
            else:
                inside += stay
                outside += moved
        there = {label for factor in inside for label in factor.labels}
        labels = tuple(label for label in self.wanted if label in there)
        result = multiplied(self._summed(inside, labels), labels, outside, self.wanted)
        if not any(x.is_divisor for x in outside):
            return result
        return unless_empty(result, sizes_of(self.node.operands, self.inputs, self.summed))

    def _may_leave(self, factor: Factor) -> bool:
        return not self.summed & set(factor.labels)

    def _summed(self, factors: Sequence[Factor], wanted: Labels) -> Node:
        operands = [x.value for x in factors if isinstance(x.value, Node)]
        labels = [x.labels for x in factors]
        if len(operands) > 2:
            # The factors that are scores are one operand, and what they meet the other.
            large = [k for k, x in enumerate(labels) if len(self.summed & set(x)) and self._is_score(x)]
            small = [k for k in range(len(operands)) if k not in large]
            if len(small) > 1:
                raise NotTiled("a product of several small tensors with scores")
            every = tuple(dict.fromkeys(label for k in large for label in labels[k]))
            product = build.einsum([operands[k] for k in large], [labels[k] for k in large], every)
            operands, labels = [product, *(operands[k] for k in small)], [every, *(labels[k] for k in small)]
        return build.einsum(operands, labels, wanted)

    def _is_score(self, labels: Labels) -> bool:
        """Whether a factor has all the indices that some score of this sum has and no other operand does."""
        scores = [set(x) for x, is_score in zip(self.inputs, self.members, strict=True) if is_score]
        return any(set(labels) <= each for each in scores)


def sizes_of(operands: Sequence[Node], inputs: Sequence[Labels], labels: Collection[int]) -> list[Size]:
    """The sizes that some labels have."""
    found = {label: size for operand, its in zip(operands, inputs, strict=True)
             for label, size in zip(its, operand.type.shape, strict=True) if label in labels}  # fmt: skip
    return list(found.values())


def unless_empty(whole: Node, summed: Sequence[Size]) -> Node:
    """0 where there is nothing to sum, as there may be at some sizes: what a sum is divided by is 0 then too.

    Where a size is the value's too, the value has no elements then.
    """
    every = tuple(range(whole.ndim))
    for size in dict.fromkeys(x for x in summed if not isinstance(x, int) and x not in whole.type.shape):
        count = build.extent(size, DType.int64)
        chosen = call("where", call("eq", argument(0), 0), 0.0, argument(1))
        whole = build.map_node(chosen, [count, whole], [(), every], whole.ndim)
    return whole


def multiplied(total: Node, labels: Labels, factors: Sequence[Factor], wanted: Labels) -> Node:
    """The sum, whose indices are ``labels``, times the factors that were moved out of it."""
    number: Number = 1
    expression: Scalar = argument(0)
    operands, inputs = [total], [labels]
    for factor in factors:
        if not isinstance(factor.value, Node):
            number = number / factor.value if factor.is_divisor else number * factor.value
            continue
        expression = call("div" if factor.is_divisor else "mul", expression, argument(len(operands)))
        operands.append(factor.value)
        inputs.append(factor.labels)
    if len(operands) == 1:
        return build.scale(number, total) if number != 1 else total
    expression = expression if number == 1 else call("mul", number, expression)
    return build.map_node(expression, operands, *renumbered(inputs, wanted))


# --- factors of an elementwise product ---------------------------------------------------------


def factors_of(
    node: Node, labels: Labels, is_opened: Callable[[Sequence[Factor]], bool] = lambda parts: True
) -> list[Factor]:
    """What an elementwise product is made of; the node itself where it is none, or where it is not to be opened."""
    parts: list[Factor] = []
    match node.op:
        case ops.Einsum(inputs=inputs, output=output) if (space := space_of(node)) and space.reduction is None:
            places = [tuple(labels[output.index(x)] for x in inner) for inner in inputs]
            pairs = zip(node.operands, places, strict=True)
            parts = [x for operand, inner in pairs for x in factors_of(operand, inner, is_opened)]
        case ops.LinearCombination(coefficients=(coefficient,), inputs=(inner,)):
            operand = tuple(labels[axis] for axis in inner)
            parts = [Factor(coefficient), *factors_of(node.operands[0], operand, is_opened)]
        case ops.Map(expression=expression, inputs=inputs) if node.type.dtype.kind == "float":
            places = [tuple(labels[axis] for axis in inner) for inner in inputs]
            parts = _of_expression(expression, node.operands, places, False, is_opened)
    return parts if parts and is_opened(parts) else [Factor(node, labels)]


def _of_expression(
    expression: Scalar,
    operands: Sequence[Node],
    inputs: Sequence[Labels],
    is_divisor: bool,
    is_opened: Callable[[Sequence[Factor]], bool],
) -> list[Factor]:
    match expression:
        case Call(function="mul", arguments=(left, right)):
            sides = [(left, is_divisor), (right, is_divisor)]
        case Call(function="div", arguments=(left, right)):
            sides = [(left, is_divisor), (right, not is_divisor)]
        case Literal(value=value):
            return [Factor(value, (), is_divisor)]
        case Argument(position=position) if not is_divisor and operands[position].type.dtype.kind == "float":
            return factors_of(operands[position], inputs[position], is_opened)
        case _:
            return [_part(expression, operands, inputs, is_divisor)]
    return [x for side, divides in sides for x in _of_expression(side, operands, inputs, divides, is_opened)]


def _part(expression: Scalar, operands: Sequence[Node], inputs: Sequence[Labels], is_divisor: bool) -> Factor:
    """A part of a map's expression as a tensor with the indices of what it reads."""
    read = used_arguments(expression)
    labels = tuple(dict.fromkeys(label for k in read for label in inputs[k]))
    values: list[Scalar] = [argument(0)] * len(operands)
    for place, k in enumerate(read):
        values[k] = argument(place)
    places, rank = renumbered([inputs[k] for k in read], labels)
    part = build.map_node(substitute_arguments(expression, values), [operands[k] for k in read], places, rank)
    return Factor(part, labels, is_divisor)
