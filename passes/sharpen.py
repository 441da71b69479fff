"""The pass that keeps ``x − logsumexp(x)`` exact where both are large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..ir import Graph, Node, build
from ..ir.operations import LinearCombination, Map, Reduce
from ..ir.scalar import Argument, Call, Number, Scalar, argument, call, postorder, replace_parts
from ..ir.traverse import rebuild
from .manager import Pass


@dataclass(frozen=True)
class Sharpen(Pass):
    """Graph in; equal graph out, in which a logsumexp is never subtracted from its own operand.

    With ``m`` the maximum, ``logsumexp(x) = m + l`` and ``x − logsumexp(x) = (x − m) − l``: both
    differences are then exact to the last place, which matters for softmax in float32.  Runs once, after
    the algebra, which knows the short form.  ::

        %1: f64[] = reduce {kind="logsumexp", axes=(0,)} %x
        %2: f64[n] = map "exp(a - b)" "n,->n" %x, %1

    becomes ``map "exp(a - b)" %d, %l`` with ``%d = x − max(x)`` and ``%l = log(sum(exp(d)))``.
    """

    name: ClassVar[str] = "sharpen"

    def run(self, graph: Graph) -> Graph:
        """Rewrite the sums and maps that subtract a logsumexp from its operand."""
        return graph.transform(_sharpened)


def _sharpened(node: Node, operands: Sequence[Node]) -> Node:
    node = rebuild(node, operands)
    if isinstance(node.op, LinearCombination):
        return _sharpened_sum(node)
    return _sharpened_map(node) if isinstance(node.op, Map) else node


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
