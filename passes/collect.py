"""Factors that sums of products of many tensors share, taken out before the products are ordered.

`factor` takes out what is multiplied last, once products are in order.  The order that is cheapest for each
product alone may hide a factor: of ``A·B·C + A·D`` with thin B and C, ``(A·B)·C`` never shows that it is a
multiple of A.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from ..ir import Graph, Node, Size, build
from ..ir.operations import Delta, Einsum, LinearCombination
from ..ir.traverse import rebuild
from .contraction.plan import planned_flops

PlannedSize = Callable[[Size], int]
# A name of an axis: that of the result that it is, or that of the factor that it is summed with.
Name = tuple[str, int]

_MOST_TERMS = 8
_MOST_FACTORS = 6
# So many factors are tried, those of most terms first.
_CANDIDATES = 6
# So many einsums that read the same tensors are planned along, as they may share work with the terms.
_MOST_NEIGHBOURS = 4
# What saves less than this share of the work is left as it is.
_WORTHWHILE = 0.05


@dataclass(frozen=True)
class _Way:
    """A term of a sum as a factor, and the product of the rest, whose axes carry the names ``axes``.

    The rest is new where it is no single operand of the term.
    """

    position: int
    factor: Node
    places: tuple[Name, ...]
    rest: Node
    axes: tuple[Name, ...]
    is_new: bool


@dataclass(frozen=True)
class _Collected:
    """A sum with a factor out: the node, and its einsums that are new."""

    node: Node
    einsums: tuple[Node, ...]
    additions: int


def collect_factors(
    graph: Graph, readers: Mapping[Node, Sequence[Node]], size: PlannedSize, known: dict[object, int]
) -> tuple[Graph, int]:
    """The graph with common factors taken out of sums where that takes fewer operations, and out of how many."""
    chosen: dict[Node, Node] = {}
    touched: set[Node] = set()
    for total in graph.nodes():
        terms = _terms(total, readers, graph)
        if not any(len(term.operands) > 2 for term in terms.values()) or touched & {*terms.values()}:
            continue
        best = _best(total, terms, readers, size, known)
        if best is not None:
            chosen[total] = best
            touched |= {total, *terms.values()}
    if not chosen:
        return graph, 0

    def change(node: Node, operands: Sequence[Node]) -> Node:
        # Sums whose terms were rewritten themselves wait for the next round.
        same = all(x is y for x, y in zip(operands, node.operands, strict=True))
        return chosen[node] if node in chosen and same else rebuild(node, operands)

    return graph.transform(change), len(chosen)


def _terms(total: Node, readers: Mapping[Node, Sequence[Node]], graph: Graph) -> dict[int, Node]:
    """The products in a sum that nothing else reads, by position."""
    if not isinstance(total.op, LinearCombination) or not total.type.dtype.is_inexact:
        return {}
    if not 2 <= len(total.operands) <= _MOST_TERMS:
        return {}
    whole = tuple(range(total.ndim))
    return {
        position: term
        for position, (term, labels) in enumerate(zip(total.operands, total.op.inputs, strict=True))
        if labels == whole and total.operands.count(term) == 1 and _is_product(term)
        and readers[term] == [total] and term not in graph.outputs
    }  # fmt: skip


def _is_product(term: Node) -> bool:
    if not isinstance(term.op, Einsum) or not 2 <= len(term.operands) <= _MOST_FACTORS:
        return False
    if any(isinstance(x.op, Delta) or x.ndim == 0 for x in term.operands):
        return False
    labels = (*term.op.inputs, term.op.output)
    return all(len(set(names)) == len(names) for names in labels)


def _best(
    total: Node, terms: Mapping[int, Node], readers: Mapping[Node, Sequence[Node]], size: PlannedSize,
    known: dict[object, int],
) -> Node | None:  # fmt: skip
    """The form of a sum with the factor out that saves most, given what its terms share with other einsums."""

    def work(*einsums: Node) -> int:
        return planned_flops(einsums, size, "auto", known)

    additions = _volume(total, size) * (len(total.operands) - 1)
    apart = additions + sum(work(term) for term in terms.values())
    best, most, hidden = None, _WORTHWHILE * apart, False
    for group in _groups(terms):
        found = _collected(total, group, size)
        product, *rests = found.einsums
        before = [work(terms[way.position]) for way in group]
        # Where the factors come last anyhow, `factor` finds them.
        last = [work(product) + sum(work(x) for x in rests if x is way.rest) for way in group]
        saved = additions - found.additions + sum(before) - work(product) - sum(map(work, rests))
        hidden = hidden or any(now < then for now, then in zip(before, last, strict=True))
        # A larger sum inside than the result has more additions, and numbers multiply more of it.
        if saved > most and found.additions <= additions:
            best, most = (found, group), saved
    if best is None or not hidden:
        return None
    found, group = best
    inside = {way.position for way in group}
    own = list(terms.values())
    new = [*found.einsums, *(term for position, term in terms.items() if position not in inside)]
    near = {x: None for term in own for operand in term.operands for x in readers[operand] if x not in own}
    others = [x for x in near if isinstance(x.op, Einsum)]
    if len(others) > _MOST_NEIGHBOURS or any(len(x.operands) > _MOST_FACTORS for x in others):
        return None
    # What the terms share with each other, and then with other einsums, may be worth more.
    for shared in ([], others):
        if work(*shared, *own) + additions - work(*shared, *new) - found.additions <= _WORTHWHILE * apart:
            return None
    return found.node


def _groups(terms: Mapping[int, Node]) -> list[list[_Way]]:
    """The terms that have a factor in common, in the same place; groups of most terms first."""
    count = Counter(x for term in terms.values() for x in dict.fromkeys(term.operands))
    ways: dict[object, list[_Way]] = {}
    for position, term in terms.items():
        for way in _ways(position, term, {x for x in term.operands if count[x] > 1}):
            group = ways.setdefault((way.factor, way.places, frozenset(way.axes)), [])
            if all(other.position != position for other in group):
                group.append(way)
    return sorted((x for x in ways.values() if len(x) > 1), key=len, reverse=True)[:_CANDIDATES]


def _ways(position: int, term: Node, factors: Collection[Node]) -> list[_Way]:
    """A product with each of its operands that is one of ``factors`` taken out."""
    assert isinstance(term.op, Einsum)
    names: dict[int, Name] = {label: ("result", axis) for axis, label in enumerate(term.op.output)}
    found = []
    for k, (factor, labels) in enumerate(zip(term.operands, term.op.inputs, strict=True)):
        if factor not in factors:
            continue
        own = {label: ("sum", axis) for axis, label in enumerate(labels)} | names
        operands = [x for j, x in enumerate(term.operands) if j != k]
        inputs = [x for j, x in enumerate(term.op.inputs) if j != k]
        kept = [label for label in dict.fromkeys(x for y in inputs for x in y) if label in own]
        rest = operands[0] if inputs == [tuple(kept)] else build.einsum(operands, inputs, kept)
        places = tuple(own[label] for label in labels)
        found.append(_Way(position, factor, places, rest, tuple(own[label] for label in kept), len(inputs) > 1))
    return found


def _collected(total: Node, group: Sequence[_Way], size: PlannedSize) -> _Collected:
    assert isinstance(total.op, LinearCombination)
    first = group[0]
    rests = [build.transpose(way.rest, [way.axes.index(name) for name in first.axes]) for way in group]
    inner = build.linear_combination([total.op.coefficients[way.position] for way in group], rests)
    product = _multiplied(first, inner, total)
    inside = {way.position for way in group}
    others = [k for k in range(len(total.operands)) if k not in inside]
    node = build.linear_combination(
        [1, *(total.op.coefficients[k] for k in others)],
        [product, *(total.operands[k] for k in others)],
        [range(total.ndim), *(total.op.inputs[k] for k in others)],
        total.ndim,
    )
    additions = (len(group) - 1) * _volume(inner, size) + len(others) * _volume(total, size)
    return _Collected(node, (product, *(way.rest for way in group if way.is_new)), additions)


def _multiplied(way: _Way, rest: Node, total: Node) -> Node:
    """The factor of ``way`` times ``rest``, with the axes of ``total``."""
    names = {name: k for k, name in enumerate(dict.fromkeys((*way.places, *way.axes)))}
    output = [names["result", axis] for axis in range(total.ndim)]
    return build.einsum([way.factor, rest], [[names[x] for x in way.places], [names[x] for x in way.axes]], output)


def _volume(node: Node, size: PlannedSize) -> int:
    return math.prod(max(size(x), 1) for x in node.type.shape)
