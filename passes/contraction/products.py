"""Pairwise products, numbered so that equal ones are one, whatever einsum they stand in.

A *factor* is a tensor that several einsums may read.  A *product* multiplies two numbered tensors
(factors or products) along given indices.  The table knows no graph: factors are any hashable keys, so
that einsums can be planned together before one of them is built.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

Labels = tuple[int, ...]


@dataclass(frozen=True)
class Term:
    """Tensor ``number`` of a table with its axes under the labels of one einsum.

    ``leaves`` is the mask of the einsum's own factors that it multiplies up.
    """

    number: int
    labels: Labels
    leaves: int


@dataclass(frozen=True)
class Product:
    """``kept = left × right``: labels are numbered by appearance, ``kept`` is in that order."""

    left: int
    right: int
    left_labels: Labels
    right_labels: Labels
    kept: Labels


class ProductTable:
    """Numbers for factors and products; what each costs, and which products read it."""

    def __init__(self) -> None:
        self.shapes: list[Labels] = []
        self.costs: list[int] = []
        self.products: dict[int, Product] = {}
        self._factors: dict[Hashable, int] = {}
        self._numbers: dict[Product, int] = {}
        self._readers: dict[int, list[int]] = {}

    def factor(self, key: Hashable, shape: Labels) -> int:
        """The number of a factor."""
        if key not in self._factors:
            self._factors[key] = self._new(shape, 0)
        return self._factors[key]

    def _new(self, shape: Labels, cost: int) -> int:
        self.shapes.append(shape)
        self.costs.append(cost)
        return len(self.shapes) - 1

    def multiply(self, left: Term, right: Term, kept: Collection[int]) -> Term:
        """The product over all labels that are not ``kept``; a known one where it stands either way round."""
        leaves = left.leaves | right.leaves
        for first, second in ((left, right), (right, left)):
            product, labels = _canonical(first, second, kept)
            if product in self._numbers:
                return Term(self._numbers[product], labels, leaves)
        product, labels = _canonical(left, right, kept)
        number = self._add(product)
        return Term(number, labels, leaves)

    def _add(self, product: Product) -> int:
        sizes = dict(zip(product.left_labels, self.shapes[product.left], strict=True))
        sizes.update(zip(product.right_labels, self.shapes[product.right], strict=True))
        joined = math.prod(max(size, 1) for size in sizes.values())
        cost = joined * (1 + (len(product.kept) != len(sizes)))
        number = self._new(tuple(sizes[x] for x in product.kept), cost)
        self.products[number] = product
        self._numbers[product] = number
        for operand in {product.left, product.right}:
            self._readers.setdefault(operand, []).append(number)
        return number

    def volume(self, number: int) -> int:
        """The number of elements."""
        return math.prod(max(size, 1) for size in self.shapes[number])

    def parts(self, roots: Iterable[int]) -> set[int]:
        """The products that ``roots`` are made of, themselves included."""
        found: set[int] = set()
        stack = list(roots)
        while stack:
            number = stack.pop()
            if number in self.products and number not in found:
                found.add(number)
                product = self.products[number]
                stack += (product.left, product.right)
        return found

    def cost(self, roots: Iterable[int], made: Collection[int] = ()) -> int:
        """The operations that ``roots`` take together, beside those of products already ``made``."""
        return sum(self.costs[number] for number in self.parts(roots) if number not in made)

    def found_in(
        self, terms: Sequence[Term], output: Collection[int], among: Collection[int], most: int = 4000
    ) -> list[Term]:
        """The products ``among`` the known ones that a part of ``terms`` multiplies up to.

        A product is there where its operands are, its labels are distinct labels of the terms in the same
        places, and no label that it sums is needed outside it.  Bottom-up, at most ``most`` of them.
        """
        owners = _owners(terms)
        present: dict[int, list[Term]] = {}
        seen: set[Term] = set()
        found: list[Term] = []
        pending = list(reversed(terms))
        while pending and len(seen) < most:
            term = pending.pop()
            if term in seen:
                continue
            seen.add(term)
            present.setdefault(term.number, []).append(term)
            for number in self._readers.get(term.number, ()):
                if number in among:
                    new = list(self._placements(number, term, present, owners, output))
                    found += (x for x in new if x not in seen)
                    pending += new
        return list(dict.fromkeys(found))

    def _placements(
        self,
        number: int,
        term: Term,
        present: Mapping[int, Sequence[Term]],
        owners: Mapping[int, int],
        output: Collection[int],
    ) -> Iterator[Term]:
        """The product ``number`` with ``term`` as one operand and a term that is present as the other."""
        product = self.products[number]
        pairs = [(term, x) for x in present.get(product.right, ()) if product.left == term.number]
        pairs += [(x, term) for x in present.get(product.left, ()) if product.right == term.number]
        for left, right in pairs:
            if left.leaves & right.leaves:
                continue
            names = _joint_names(product, left, right)
            if names is None:
                continue
            leaves = left.leaves | right.leaves
            gone = [name for label, name in names.items() if label not in product.kept]
            if not any(name in output or owners[name] & ~leaves for name in gone):
                yield Term(number, tuple(names[label] for label in product.kept), leaves)


def _owners(terms: Sequence[Term]) -> dict[int, int]:
    """The leaves that have each label."""
    owners: dict[int, int] = {}
    for term in terms:
        for label in term.labels:
            owners[label] = owners.get(label, 0) | term.leaves
    return owners


def _canonical(left: Term, right: Term, kept: Collection[int]) -> tuple[Product, Labels]:
    names: dict[int, int] = {}
    first = tuple(names.setdefault(x, len(names)) for x in left.labels)
    second = tuple(names.setdefault(x, len(names)) for x in right.labels)
    labels = tuple(x for x in names if x in kept)
    return Product(left.number, right.number, first, second, tuple(names[x] for x in labels)), labels


def _joint_names(product: Product, left: Term, right: Term) -> dict[int, int] | None:
    """The terms' labels for the product's, where that is a one-to-one renaming."""
    names: dict[int, int] = {}
    for label, name in zip((*product.left_labels, *product.right_labels), (*left.labels, *right.labels), strict=True):
        if names.setdefault(label, name) != name:
            return None
    return names if len(set(names.values())) == len(names) else None


def extended_renaming(names: Mapping[int, int], source: Labels, target: Labels) -> dict[int, int] | None:
    """``names`` with each label of ``source`` called as ``target`` has it; None where two would be called alike.

    >>> extended_renaming({0: 5}, (0, 1), (5, 6)), extended_renaming({0: 5}, (1,), (5,))
    ({0: 5, 1: 6}, None)
    """
    new = dict(names)
    for a, b in zip(source, target, strict=True):
        if new.setdefault(a, b) != b:
            return None
    return new if len(set(new.values())) == len(new) else None
