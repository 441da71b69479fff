"""The pass that takes common factors out of sums of products."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..ir import Graph, Node, build
from ..ir.operations import Einsum, LinearCombination
from ..ir.scalar import Number
from .algebra.diagonal_rules import DIAGONAL_RULES
from .algebra.number_rules import NUMBER_RULES
from .algebra.sum_rules import SUM_RULES
from .manager import Pass
from .rewrite import Context, Rewriter, Rule, Status, rule

Labels = tuple[int, ...]


@dataclass(frozen=True)
class Factor(Pass):
    """Graph of pairwise products in; equal graph out, in which sums of them share no factor.

    Runs once products are ordered, when the factor that is multiplied last is at the top.  Every sum
    that it fires on loses a product and gains additions of something no larger than the product's
    points, so the number of operations decreases.  ::

        %1: f64[i,r] = einsum "is,sr->ir" %A, %K
        %2: f64[i,r] = einsum "is,sr->ir" %A, %L
        %3: f64[i,r] = linear_combination {1, 1} %1, %2

    becomes ``einsum "is,sr->ir" %A, %M`` with ``%M = %K + %L``.  Numbers go where they multiply the
    fewest elements, terms of a sum that have fewer axes than it are added to each other first, and
    diagonals are added last, to the sum of all that is dense.
    """

    name: ClassVar[str] = "factor"

    def run(self, graph: Graph) -> Graph:
        """Take factors out until no sum shares one."""
        return self.run_counting(graph)[0]

    def run_counting(self, graph: Graph) -> tuple[Graph, Counter[str]]:
        """The graph, and how often each rule fired."""
        rewriter = Rewriter(FACTOR_RULES)
        return rewriter.run(graph), rewriter.fired


@dataclass(frozen=True)
class _Factored:
    """A product as a factor in its place in the result, and the rest, whose axes carry the names ``axes``.

    A name is the axis of the result that an index is, or the axis of the factor that it is summed over.
    """

    factor: Node
    places: tuple[tuple[str, int], ...]
    rest: Node
    axes: tuple[tuple[str, int], ...]


@rule(LinearCombination, status=Status.REASSOCIATES)
def common_factor(node: Node, context: Context) -> Node | None:
    """a·b + a·c -> a·(b + c), where nothing else reads the products."""
    assert isinstance(node.op, LinearCombination)
    whole = tuple(range(node.ndim))
    ways: dict[object, list[tuple[int, _Factored]]] = {}
    for position, (term, labels) in enumerate(zip(node.operands, node.op.inputs, strict=True)):
        if labels != whole or not isinstance(term.op, Einsum) or context.is_shared(term):
            continue
        for way in _ways(term):
            found = ways.setdefault((way.factor, way.places, frozenset(way.axes)), [])
            if all(known != position for known, _ in found):
                found.append((position, way))
    best = max(ways.values(), key=len, default=[])
    return _with_factor_out(node, best) if len(best) > 1 else None


def _ways(term: Node) -> list[_Factored]:
    """A pairwise product with either operand as the factor."""
    assert isinstance(term.op, Einsum)
    if len(term.operands) != 2 or any(len(set(x)) != len(x) for x in term.op.inputs):
        return []
    found = []
    for first, second in ((0, 1), (1, 0)):
        labels, others = term.op.inputs[first], term.op.inputs[second]
        names = {label: ("sum", axis) for axis, label in enumerate(labels)}
        names |= {label: ("result", axis) for axis, label in enumerate(term.op.output)}
        if all(label in names for label in others):
            places = tuple(names[x] for x in labels)
            rest = tuple(names[x] for x in others)
            found.append(_Factored(term.operands[first], places, term.operands[second], rest))
    return found


def _with_factor_out(node: Node, terms: Sequence[tuple[int, _Factored]]) -> Node:
    assert isinstance(node.op, LinearCombination)
    inside = [position for position, _ in terms]
    first = terms[0][1]
    coefficients: list[Number] = [node.op.coefficients[k] for k in inside]
    rests = [build.transpose(way.rest, [way.axes.index(name) for name in first.axes]) for _, way in terms]
    total = build.linear_combination(coefficients, rests)
    names = {name: k for k, name in enumerate(dict.fromkeys((*first.places, *first.axes)))}
    output = [names["result", axis] for axis in range(node.ndim)]
    product = build.einsum(
        [first.factor, total], [[names[x] for x in first.places], [names[x] for x in first.axes]], output
    )
    others = [k for k in range(len(node.operands)) if k not in inside]
    return build.linear_combination(
        [1, *(node.op.coefficients[k] for k in others)],
        [product, *(node.operands[k] for k in others)],
        [range(node.ndim), *(node.op.inputs[k] for k in others)],
        node.ndim,
    )


FACTOR_RULES: tuple[Rule, ...] = (common_factor, *NUMBER_RULES, *SUM_RULES, *DIAGONAL_RULES)
