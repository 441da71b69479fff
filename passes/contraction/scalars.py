"""Scalar factors of contractions: where each is multiplied in, and how they are multiplied with each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ...ir import Node, build
from .einsum_parts import Factor
from .products import ProductTable

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Place:
    """Where scalars go: onto an operand of a product, 0 or 1, or onto the product itself where that is None."""

    number: int
    operand: int | None

    def volume(self, table: ProductTable) -> int:
        """The elements of the tensor that is scaled."""
        return table.volume(self.number if self.operand is None else table.products[self.number].operands[self.operand])


def scalar_places(table: ProductTable, roots: Mapping[Key, int], scaled: Sequence[Key]) -> dict[Key, Place]:
    """For each contraction that is ``scaled``, the smallest tensor that no other contraction shares.

    ``roots`` are the values of all contractions.  A tensor is scaled on its way into one product, so what
    else reads it stays as it is; and that product must have no other reader.
    """
    readers = Counter(roots.values())
    for number in table.parts(roots.values()):
        readers.update(table.products[number].operands)
    places = {}
    for key in scaled:
        best = Place(roots[key], None)
        stack = [roots[key]]
        while stack:
            number = stack.pop()
            if number not in table.products or readers[number] != 1:
                continue
            places_here = [Place(number, k) for k in range(len(table.products[number].operands))]
            best = min(best, *places_here, key=lambda place: place.volume(table))
            stack += table.products[number].operands
        places[key] = best
    return places


class ScalarProducts:
    """The products of the scalar factors of einsums, two at a time; what several have in common is made once."""

    def __init__(self, factors: Mapping[Node, Sequence[Factor]]) -> None:
        known: dict[object, int] = {}
        self._numbers = {
            node: tuple(known.setdefault((x.node, x.pattern), len(known)) for x in scalars)
            for node, scalars in factors.items()
            if scalars
        }
        self._steps, self._products = multiplied_up(self._numbers)
        self._nodes: dict[int, Node] = {}

    @property
    def flops(self) -> int:
        """The operations of all products together."""
        return len(self._steps)

    def built(self, node: Node, scalars: Sequence[Factor]) -> Node:
        """The product of the scalar factors of the einsum ``node``, which are ``scalars`` by now."""
        for number, factor in zip(self._numbers[node], scalars, strict=True):
            self._nodes.setdefault(number, factor.value)
        return self._value(self._products[node])

    def _value(self, number: int) -> Node:
        if number not in self._nodes:
            first, second = self._steps[number]
            self._nodes[number] = build.einsum([self._value(first), self._value(second)], [(), ()], ())
        return self._nodes[number]


Step = tuple[int, int]


def multiplied_up(products: Mapping[Key, Sequence[int]]) -> tuple[dict[int, Step], dict[Key, int]]:
    """Steps that multiply up products of numbered scalars, two at a time, and the number of each product.

    The pair that occurs most often, over all products and within each, is multiplied first: x⁶ and x⁴ take
    the square once.  Numbers from the largest scalar's on stand for steps.
    """
    left = {key: list(numbers) for key, numbers in products.items()}
    counts: Counter[Step] = Counter()
    owners: dict[Step, dict[Key, None]] = {}

    def count(key: Key, sign: int) -> None:
        for pair, times in _pairs(left[key]).items():
            counts[pair] += sign * times
            owners.setdefault(pair, {})[key] = None

    for key in left:
        count(key, 1)
    steps: dict[int, Step] = {}
    number = 1 + max((x for numbers in left.values() for x in numbers), default=0)
    while counts:
        pair = max(counts, key=counts.__getitem__)
        if not counts[pair]:
            break
        steps[number] = pair
        for key in list(owners[pair]):
            count(key, -1)
            left[key] = _with_pair(left[key], pair, number)
            count(key, 1)
        number += 1
    return steps, {key: numbers[0] for key, numbers in left.items()}


def _pairs(numbers: Sequence[int]) -> Counter[Step]:
    """How many disjoint times each pair occurs in a product."""
    counts = Counter(numbers)
    names = sorted(counts)
    found: Counter[Step] = Counter()
    for position, first in enumerate(names):
        if counts[first] > 1:
            found[first, first] = counts[first] // 2
        for second in names[position + 1 :]:
            found[first, second] = min(counts[first], counts[second])
    return found


def _with_pair(numbers: Sequence[int], pair: Step, number: int) -> list[int]:
    """The product with every disjoint occurrence of ``pair`` replaced by ``number``."""
    counts = Counter(numbers)
    first, second = pair
    times = counts[first] // 2 if first == second else min(counts[first], counts[second])
    counts.subtract({first: 2 * times} if first == second else {first: times, second: times})
    return [*counts.elements(), *[number] * times]
