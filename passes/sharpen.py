"""The pass that keeps ``x − logsumexp(x)`` exact where both are large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..ir import Graph, Node, build
from ..ir.operations import Einsum, LinearCombination, Map, Reduce
from ..ir.scalar import Argument, Call, Number, Scalar, argument, call, postorder, replace_parts
from ..ir.traverse import rebuild
from .manager import Pass

Place = tuple[Node, tuple[int, ...]]


@dataclass(frozen=True)
class Sharpen(Pass):
    """Graph in; equal graph out, in which a logsumexp is never subtracted from its own operand.

    With ``m`` the maximum, ``logsumexp(x) = m + l`` and ``x − logsumexp(x) = (x − m) − l``: both
    differences are then exact to the last place, which matters for softmax in float32.  The exponential of
    such a difference is ``e/s`` with ``e = exp(x − m)`` and ``s = sum(e)``, which takes no second exponential
    and loses less: the error of an exponential grows with its argument, that of a division does not.  Runs
    once, after the algebra, which knows the short form.  ::

        %1: f64[] = reduce {kind="logsumexp", axes=(0,)} %x
        %2: f64[n] = map "exp(a - b)" "n,->n" %x, %1

    becomes ``map "a / b" %e, %s`` with ``%e = exp(x − max(x))`` and ``%s = sum(e)``.
    """

    name: ClassVar[str] = "sharpen"

    def run(self, graph: Graph) -> Graph:
        """Rewrite the sums and maps that subtract a logsumexp from its operand."""
        return graph.transform(_sharpened)


def _sharpened(node: Node, operands: Sequence[Node]) -> Node:
    node = rebuild(node, operands)
    if isinstance(node.op, LinearCombination):
        return _sharpened_sum(node)
    return _sharpened_map(_without_exponentials(node)) if isinstance(node.op, Map) else node


def _without_exponentials(node: Node) -> Node:
    """Each ``exp(x − logsumexp(x))`` in a map as ``exp(x − m)`` over its sum, where the difference is sharpened."""
    assert isinstance(node.op, Map)
    operands, inputs = list(node.operands), list(node.op.inputs)
    replaced: dict[Scalar, Scalar] = {}
    for part in postorder(node.op.expression):
        found = _exponential(part, node)
        if found is not None:
            (shifted, labels), (total, places) = found
            replaced[part] = call("div", argument(len(operands)), argument(len(operands) + 1))
            operands += [build.apply("exp", shifted), total]
            inputs += [labels, places]
    if not replaced:
        return node
    return build.map_node(replace_parts(node.op.expression, replaced), operands, inputs, node.op.rank)


def _exponential(part: Scalar, node: Node) -> tuple[Place, Place] | None:
    """The shifted operand and the sum of its exponentials, where a part is the exponential of their difference."""
    assert isinstance(node.op, Map)
    if not isinstance(part, Call) or part.function != "exp":
        return None
    (inner,) = part.arguments
    if isinstance(inner, Argument):
        x, labels = node.operands[inner.position], node.op.inputs[inner.position]
        return _sharpened_difference(x, labels)
    pair = _difference(inner)
    if pair is None:
        return None
    (x, labels), (total, places) = ((node.operands[k], node.op.inputs[k]) for k in pair)
    if not _is_own(x, labels, total, places):
        return None
    shifted, rest = _split(total)
    return (shifted, labels), (rest.operands[0], places)


def _sharpened_difference(x: Node, labels: Sequence[int]) -> tuple[Place, Place] | None:
    """The two parts of ``d − log(sum(exp(d)))``, as this pass makes it of a linear combination."""
    op = x.op
    if not (isinstance(op, LinearCombination) and op.coefficients == (1, -1)):
        return None
    shifted, rest = x.operands
    if not (isinstance(rest.op, Map) and rest.op.expression is call("log", argument(0))):
        return None
    (total,) = rest.operands
    if not (isinstance(total.op, Einsum) and total.operands == (build.apply("exp", shifted),)):
        return None
    kept = [label for label in total.op.inputs[0] if label in total.op.output]
    own = [op.inputs[0][axis] for axis, label in enumerate(total.op.inputs[0]) if label in kept]
    if kept != list(total.op.output) or own != list(op.inputs[1]) or op.inputs[0] != tuple(range(x.ndim)):
        return None
    return (shifted, tuple(labels)), (total, tuple(labels[axis] for axis in op.inputs[1]))


def _split(total: Node) -> tuple[Node, Node]:
    """``x − m`` and ``l`` for a logsumexp."""
    assert isinstance(total.op, Reduce)
    (x,) = total.operands
    kept = [axis for axis in range(x.ndim) if axis not in total.op.axes]
    largest = build.reduce_node("shift", x, total.op.axes)
    shifted = build.linear_combination([1, -1], [x, largest], [range(x.ndim), kept], x.ndim)
    return shifted, build.apply("log", build.sum_axes(build.apply("exp", shifted), total.op.axes))


def _is_own(x: Node, labels: Sequence[int], total: Node, places: Sequence[int]) -> bool:
    """Whether ``total`` is the logsumexp of ``x``, aligned with it."""
    if not (isinstance(total.op, Reduce) and total.op.kind == "logsumexp" and total.operands[0] is x):
        return False
    return [labels[axis] for axis in range(x.ndim) if axis not in total.op.axes] == list(places)


def _unscaled(total: Node, x: Node) -> tuple[Number, Node]:
    """The operand of a logsumexp where it is a multiple of ``x``, and the multiple: sums absorb such a factor."""
    if isinstance(total.op, Reduce) and isinstance(total.operands[0].op, LinearCombination):
        (whole,) = total.operands
        assert isinstance(whole.op, LinearCombination)
        if whole.operands == (x,) and whole.op.inputs == (tuple(range(x.ndim)),):
            return whole.op.coefficients[0], whole
    return 1, x


def _sharpened_sum(node: Node) -> Node:
    assert isinstance(node.op, LinearCombination)
    terms: list[tuple[Number, Node, tuple[int, ...]]] = list(
        zip(node.op.coefficients, node.operands, node.op.inputs, strict=True)
    )
    for i, (c, x, labels) in enumerate(terms):
        for j, (d, total, places) in enumerate(terms):
            scale, whole = _unscaled(total, x)
            if c == -d * scale and _is_own(whole, labels, total, places):
                shifted, rest = _split(total)
                terms[i], terms[j] = (-d, shifted, labels), (d, rest, places)
                coefficients, operands, inputs = zip(*terms, strict=True)
                return build.linear_combination(coefficients, operands, inputs, node.op.rank)
    return node


def _sharpened_map(node: Node) -> Node:
    assert isinstance(node.op, Map)
    operands, inputs = list(node.operands), list(node.op.inputs)
    replaced: dict[Scalar, Scalar] = {}
    for part in postorder(node.op.expression):
        pair = _difference(part)
        if pair is None:
            continue
        (x, labels), (total, places) = ((node.operands[k], node.op.inputs[k]) for k in pair)
        if _is_own(x, labels, total, places):
            shifted, rest = _split(total)
            replaced[part] = call("sub", argument(len(operands)), argument(len(operands) + 1))
            operands += [shifted, rest]
            inputs += [labels, places]
    if not replaced:
        return node
    return build.map_node(replace_parts(node.op.expression, replaced), operands, inputs, node.op.rank)


def _difference(part: Scalar) -> tuple[int, int] | None:
    if isinstance(part, Call) and part.function == "sub":
        first, second = part.arguments
        if isinstance(first, Argument) and isinstance(second, Argument):
            return first.position, second.position
    return None
