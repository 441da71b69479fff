"""The plan of all contractions of a graph, and the nodes that carry it out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...ir import Graph, Node, Size, build
from ...ir.operations import Delta, Einsum
from ...ir.traverse import rebuild
from .einsum_parts import Factor, Parts, is_embedding, is_pairwise, parts_of
from .family import Contraction, plan_family
from .products import Labels, ProductTable, Term

PlannedSize = Callable[[Size], int]


@dataclass(frozen=True)
class EinsumPlan:
    """The numbers of an einsum's factors and the term that is their product.

    ``scaled`` is the position of the factor that takes the scalar factors; None stands for the result.
    """

    factors: tuple[int, ...]
    scaled: int | None
    value: Term


class GraphPlan:
    """Plans of the einsums of one graph, and the nodes built so far for their products."""

    def __init__(self, table: ProductTable, plans: Mapping[Node, EinsumPlan], outputs: Mapping[Node, Labels]) -> None:
        self._table, self._plans = table, plans
        self._nodes: dict[int, Node] = {}
        self._alone = _roots_of_one_order(table, plans, outputs)

    @property
    def flops(self) -> int:
        """The operations of all products together, two per multiply-add."""
        return self._table.cost(plan.value.number for plan in self._plans.values())

    def built(self, node: Node, operands: Sequence[Node]) -> Node:
        """The einsum ``node`` on new operands, two tensors at a time."""
        assert isinstance(node.op, Einsum)
        if _stands_as_it_is(node.op, node.operands):
            return rebuild(node, operands)
        parts = parts_of(node.op, operands)
        plan = self._plans.get(node)
        if plan is None:
            return _without_factors(parts, node)
        for number, factor in zip(plan.factors, _scaled_values(parts, plan.scaled), strict=True):
            self._nodes.setdefault(number, factor)
        value = self._value(plan.value, parts.output)
        if plan.scaled is None and parts.scalars:
            value = _times(value, _multiplied(parts.scalars))
        return parts.embedded(value)

    def _value(self, root: Term, output: Labels) -> Node:
        for number in sorted(self._table.parts([root.number])):
            if number not in self._nodes and not (number == root.number and number in self._alone):
                self._nodes[number] = self._product(number, self._table.products[number].kept)
        if root.number in self._nodes:
            return build.einsum([self._nodes[root.number]], [root.labels], output)
        names = dict(zip(root.labels, self._table.products[root.number].kept, strict=True))
        return self._product(root.number, [names[label] for label in output])

    def _product(self, number: int, output: Sequence[int]) -> Node:
        product = self._table.products[number]
        operands = [self._nodes[product.left], self._nodes[product.right]]
        return build.einsum(operands, [product.left_labels, product.right_labels], output)


def product_of_deltas(node: Node) -> Node:
    """An einsum of deltas and scalars as what they leave on the diagonals of the result; others as they are."""
    assert isinstance(node.op, Einsum)
    if _stands_as_it_is(node.op, node.operands):
        return node
    parts = parts_of(node.op, node.operands)
    return node if parts.factors else _without_factors(parts, node)


def _without_factors(parts: Parts, node: Node) -> Node:
    one = build.constant(1, node.type.dtype)
    return parts.embedded(_multiplied(parts.scalars) if parts.scalars else one)


def plan_graph(graph: Graph, size: PlannedSize, optimizer: str) -> GraphPlan:
    """Plan every einsum of ``graph`` that multiplies tensors; those with a factor in common together."""
    return _plan(graph.nodes(), size, optimizer)


def planned_flops(nodes: Iterable[Node], size: PlannedSize, optimizer: str, known: dict[object, int]) -> int:
    """The operations that the einsums among ``nodes`` take together.

    ``known`` keeps answers: equal einsums of other tensors, such as those of the next layer, take as many.
    """
    einsums = [node for node in nodes if isinstance(node.op, Einsum)]
    key = _structure(einsums, size)
    if key not in known:
        known[key] = _plan(einsums, size, optimizer).flops
    return known[key]


def _structure(einsums: Sequence[Node], size: PlannedSize) -> object:
    """What the cost of einsums depends on: indices, sizes, and which operands are the same."""
    numbers: dict[Node, int] = {}
    return tuple(
        (node.op, tuple((numbers.setdefault(x, len(numbers)), x.op.name == Delta.name, *map(size, x.type.shape))
                        for x in node.operands))
        for node in einsums
    )  # fmt: skip


def _plan(nodes: Iterable[Node], size: PlannedSize, optimizer: str) -> GraphPlan:
    table = ProductTable()
    scaled: dict[Node, int | None] = {}
    contractions: dict[Node, Contraction] = {}
    for node in nodes:
        if isinstance(node.op, Einsum) and not _stands_as_it_is(node.op, node.operands):
            parts = parts_of(node.op, node.operands)
            if parts.factors:
                scaled[node] = _scaled_position(parts, size)
                contractions[node] = _contraction(table, parts, scaled[node], size)
    plans = {}
    for family in _families(contractions):
        values = plan_family(table, [contractions[node] for node in family], optimizer)
        for node, value in zip(family, values, strict=True):
            numbers = tuple(term.number for term in contractions[node].terms)
            plans[node] = EinsumPlan(numbers, scaled[node], value)
    return GraphPlan(table, plans, {node: contractions[node].output for node in plans})


def _stands_as_it_is(op: Einsum, operands: Sequence[Node]) -> bool:
    """Whether there is no order to choose: one tensor, one and a scalar, or an embedding."""
    tensors = [x for x in operands if x.ndim]
    return is_embedding(op, operands) or (len(tensors) < 2 and is_pairwise(op, operands))


def _contraction(table: ProductTable, parts: Parts, scaled: int | None, size: PlannedSize) -> Contraction:
    terms = []
    for position, factor in enumerate(parts.factors):
        names: dict[int, int] = {}
        labels = tuple(names.setdefault(x, len(names)) for x in factor.labels)
        scalars = parts.scalars if position == scaled else ()
        key = (factor.node, labels, tuple(names[x] for x in factor.kept), scalars)
        number = table.factor(key, tuple(map(size, factor.shape)))
        terms.append(Term(number, factor.kept, 1 << position))
    return Contraction(tuple(terms), parts.output)


def _families(contractions: Mapping[Node, Contraction]) -> list[list[Node]]:
    """The einsums grouped so that groups have no factor in common; each group in the order of the graph."""
    parent: dict[int, int] = {}

    def root(number: int) -> int:
        while parent.setdefault(number, number) != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    for each in contractions.values():
        first, *others = (term.number for term in each.terms)
        for other in others:
            parent[root(other)] = root(first)
    groups: dict[int, list[Node]] = {}
    for node, each in contractions.items():
        groups.setdefault(root(each.terms[0].number), []).append(node)
    return list(groups.values())


def _roots_of_one_order(
    table: ProductTable, plans: Mapping[Node, EinsumPlan], outputs: Mapping[Node, Labels]
) -> set[int]:
    """The products that are the value of einsums with one order of axes, and no part of another product."""
    orders: dict[int, set[Labels]] = {}
    for node, plan in plans.items():
        order = tuple(plan.value.labels.index(label) for label in outputs[node])
        orders.setdefault(plan.value.number, set()).add(order)
    inner = Counter(
        operand
        for number in table.parts(orders)
        for operand in (table.products[number].left, table.products[number].right)
    )
    return {number for number, found in orders.items() if len(found) == 1 and number not in inner}


# --- scalar factors ----------------------------------------------------------------------------


def _scaled_position(parts: Parts, size: PlannedSize) -> int | None:
    """Scalars go into the smallest tensor, or, where the result is no larger, onto the result."""
    if not parts.scalars or len(parts.factors) == 1:
        return None
    volumes = [math.prod(max(size(x), 1) for x in factor.shape) for factor in parts.factors]
    smallest = volumes.index(min(volumes))
    sizes = {label: size(x) for factor in parts.factors for label, x in zip(factor.kept, factor.shape, strict=True)}
    result = math.prod(max(sizes[label], 1) for label in parts.output)
    return None if volumes[smallest] >= result else smallest


def _scaled_values(parts: Parts, scaled: int | None) -> list[Node]:
    values = [factor.value for factor in parts.factors]
    if scaled is not None:
        values[scaled] = _times(values[scaled], _multiplied(parts.scalars))
    return values


def _times(node: Node, scalar: Node) -> Node:
    labels = range(node.ndim)
    return build.einsum([node, scalar], [labels, ()], labels)


def _multiplied(scalars: Sequence[Factor]) -> Node:
    value = scalars[0].value
    for factor in scalars[1:]:
        value = build.einsum([value, factor.value], [(), ()], ())
    return value
