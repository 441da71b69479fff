"""The plan of all contractions of a graph, and the nodes that carry it out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...ir import Graph, Node, Size, build
from ...ir.operations import Delta, Einsum
from ...ir.traverse import rebuild
from .einsum_parts import Factor, Parts, is_embedding, is_pairwise, parts_of
from .family import Contraction, plan_family
from .products import Labels, ProductTable, Term
from .scalars import Place, ScalarProducts, scalar_places

PlannedSize = Callable[[Size], int]


@dataclass(frozen=True)
class EinsumPlan:
    """The numbers of an einsum's factors, and the term that is their product.

    ``scaled`` is the position of the factor that takes the scalar factors, where that is settled beforehand.
    """

    factors: tuple[int, ...]
    value: Term
    scaled: int | None = None


class GraphPlan:
    """Plans of the einsums of one graph, and the nodes built so far for their products."""

    def __init__(
        self,
        table: ProductTable,
        plans: Plans,
        outputs: Mapping[Node, Labels],
        scalars: Mapping[Node, Sequence[Factor]],
    ) -> None:
        self._table, self._plans = table, plans
        self._nodes: dict[int, Node] = {}
        self._alone = _roots_of_one_order(table, plans, outputs)
        self._scalars = ScalarProducts(scalars)
        self._places = _places(table, plans, scalars)
        self._scalings: dict[Place, Node] = {}

    @property
    def flops(self) -> int:
        """The operations of all products together, two per multiply-add."""
        return _work(self._table, self._plans, self._places) + self._scalars.flops

    def built(self, node: Node, operands: Sequence[Node]) -> Node:
        """The einsum ``node`` on new operands, two tensors at a time."""
        assert isinstance(node.op, Einsum)
        if _stands_as_it_is(node.op, node.operands):
            return _without_unit_sums(rebuild(node, operands))
        parts = parts_of(node.op, operands)
        scalar = self._scalars.built(node, parts.scalars) if parts.scalars else None
        plan = self._plans.get(node)
        if plan is None:
            return parts.embedded(build.constant(1, node.type.dtype) if scalar is None else scalar)
        for position, (number, factor) in enumerate(zip(plan.factors, parts.factors, strict=True)):
            if number not in self._nodes:
                scaled = scalar if position == plan.scaled else None
                self._nodes[number] = factor.value if scaled is None else _times(factor.value, scaled)
        place = self._places.get(node)
        if scalar is not None and place is not None and place.operand is not None:
            self._scalings[place] = scalar
        value = self._value(plan.value, parts.output)
        if scalar is not None and place is not None and place.operand is None:
            value = _times(value, scalar)
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
        operands = [self._nodes[x] for x in product.operands]
        for position, operand in enumerate(operands):
            scalar = self._scalings.get(Place(number, position))
            operands[position] = operand if scalar is None else _times(operand, scalar)
        return build.einsum(operands, [product.left_labels, product.right_labels][: len(operands)], output)


def _without_unit_sums(node: Node) -> Node:
    """The sum of one tensor over indices of size 1 as a reshape."""
    if not isinstance(node.op, Einsum) or len(node.operands) != 1:
        return node
    (labels,), (operand,) = node.op.inputs, node.operands
    kept = tuple(dict.fromkeys(x for x in labels if x in node.op.output))
    if all(size != 1 or label in kept for label, size in zip(labels, operand.type.shape, strict=True)):
        return node
    value = Factor(operand, labels, kept).value
    return build.einsum([value], [kept], node.op.output)


def product_of_deltas(node: Node) -> Node:
    """An einsum of deltas and scalars as what they leave on the diagonals of the result; others as they are."""
    assert isinstance(node.op, Einsum)
    if _stands_as_it_is(node.op, node.operands) or not any(isinstance(x.op, Delta) for x in node.operands):
        return node
    parts = parts_of(node.op, node.operands)
    if parts.factors:
        return node
    if not parts.scalars:
        return parts.embedded(build.constant(1, node.type.dtype))
    scalars = [x.value for x in parts.scalars]
    return parts.embedded(scalars[0] if len(scalars) == 1 else build.einsum(scalars, [()] * len(scalars), ()))


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
    scalars: dict[Node, tuple[Factor, ...]] = {}
    contractions: dict[Node, Contraction] = {}
    for node in nodes:
        if isinstance(node.op, Einsum) and not _stands_as_it_is(node.op, node.operands):
            parts = parts_of(node.op, node.operands)
            scalars[node] = parts.scalars
            if parts.factors:
                contractions[node] = _contraction(table, parts, size)
    plans = {}
    for family in _families(contractions):
        plans.update(_family_plans(table, {node: contractions[node] for node in family}, scalars, optimizer))
    return GraphPlan(table, plans, {node: contractions[node].output for node in plans}, scalars)


Plans = dict[Node, EinsumPlan]
Scalars = Mapping[Node, tuple[Factor, ...]]


def _family_plans(table: ProductTable, family: Mapping[Node, Contraction], scalars: Scalars, optimizer: str) -> Plans:
    """Plans that share what they can; but where that has scalars meet a larger tensor than need be, the cheaper.

    The other way is that an einsum's smallest factor takes its scalars beforehand, and is another tensor then.
    """
    plans = _planned(table, family, {}, optimizer)
    places = _places(table, plans, scalars)
    early = {}
    for node, place in places.items():
        volumes = [table.volume(term.number) for term in family[node].terms]
        if min(volumes) < place.volume(table):
            early[node] = volumes.index(min(volumes))
    if not early:
        return plans
    scaled = {node: _with_scaled(table, each, early.get(node), scalars[node]) for node, each in family.items()}
    others = _planned(table, scaled, early, optimizer)
    return min(plans, others, key=lambda found: _work(table, found, _places(table, found, scalars)))


def _planned(
    table: ProductTable, family: Mapping[Node, Contraction], early: Mapping[Node, int], optimizer: str
) -> Plans:
    values = plan_family(table, list(family.values()), optimizer)
    return {
        node: EinsumPlan(tuple(term.number for term in each.terms), value, early.get(node))
        for (node, each), value in zip(family.items(), values, strict=True)
    }


def _with_scaled(
    table: ProductTable, each: Contraction, position: int | None, scalars: Sequence[Factor]
) -> Contraction:
    if position is None:
        return each
    term = each.terms[position]
    key = (term.number, tuple((x.node, x.pattern) for x in scalars))
    number = table.factor(key, table.shapes[term.number])
    terms = list(each.terms)
    terms[position] = Term(number, term.labels, term.leaves)
    return Contraction(tuple(terms), each.output)


def _places(table: ProductTable, plans: Plans, scalars: Mapping[Node, Sequence[Factor]]) -> dict[Node, Place]:
    """Where the scalars go that no factor takes beforehand."""
    roots = {node: plan.value.number for node, plan in plans.items()}
    return scalar_places(table, roots, [node for node in plans if scalars[node] and plans[node].scaled is None])


def _work(table: ProductTable, plans: Plans, places: Mapping[Node, Place]) -> int:
    """The operations of plans, but for the products of scalars with each other."""
    products = table.cost(plan.value.number for plan in plans.values())
    taken = {plan.factors[plan.scaled] for plan in plans.values() if plan.scaled is not None}
    return products + sum(map(table.volume, taken)) + sum(place.volume(table) for place in places.values())


def _stands_as_it_is(op: Einsum, operands: Sequence[Node]) -> bool:
    """Whether there is no order to choose: one tensor, one and a scalar, or an embedding."""
    tensors = sum(x.ndim > 0 for x in operands)
    return is_embedding(op, operands) or (tensors == 1 and is_pairwise(op, operands))


def _contraction(table: ProductTable, parts: Parts, size: PlannedSize) -> Contraction:
    terms = []
    for position, factor in enumerate(parts.factors):
        number = table.factor((factor.node, *factor.pattern), tuple(map(size, factor.shape)))
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
    inner = {operand for number in table.parts(orders) for operand in table.products[number].operands}
    return {number for number, found in orders.items() if len(found) == 1 and number not in inner}


def _times(node: Node, scalar: Node) -> Node:
    labels = range(node.ndim)
    return build.einsum([node, scalar], [labels, ()], labels)
