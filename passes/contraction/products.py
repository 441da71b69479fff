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
    """``kept = left × right``: labels are numbered by appearance, ``kept`` is in that order.

    Without a ``right``, the sum of ``left`` over the labels that are not ``kept``.
    """

    left: int
    right: int | None
    left_labels: Labels
    right_labels: Labels
    kept: Labels

    @property
    def operands(self) -> tuple[int, ...]:
        """What it is made of."""
        return (self.left,) if self.right is None else (self.left, self.right)


class ProductTable:
    """Numbers for factors and products; what each costs, and which products read it."""

    def __init__(self) -> None:
        self.shapes: list[Labels] = []
        self.costs: list[int] = []
        self.products: dict[int, Product] = {}
        self._factors: dict[Hashable, int] = {}
        self._numbers: dict[Product, int] = {}
        self._readers: dict[int, list[int]] = {}
        self._sums: dict[Product, list[tuple[int, frozenset[int]]]] = {}
        self._finer: dict[int, list[int]] = {}
        self._parts: dict[int, frozenset[int]] = {}

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
        """The product over all labels that are not ``kept``; a known one where it stands either way round.

        What only one of the two has, and is not kept, is summed out of it first.
        """
        left, right = self.reduced(left, {*right.labels, *kept}), self.reduced(right, {*left.labels, *kept})
        leaves = left.leaves | right.leaves
        for first, second in ((left, right), (right, left)):
            product, labels = _canonical(first, second, kept)
            if product in self._numbers:
                return Term(self._numbers[product], labels, leaves)
        product, labels = _canonical(left, right, kept)
        number = self._add(product)
        return Term(number, labels, leaves)

    def reduced(self, term: Term, kept: Collection[int]) -> Term:
        """The sum of a term over its labels that are not ``kept``."""
        labels = tuple(label for label in term.labels if label in kept)
        if len(labels) == len(term.labels):
            return term
        places = tuple(place for place, label in enumerate(term.labels) if label in kept)
        product = Product(term.number, None, tuple(range(len(term.labels))), (), places)
        number = self._numbers[product] if product in self._numbers else self._add(product)
        return Term(number, labels, term.leaves)

    def _add(self, product: Product) -> int:
        sizes = dict(zip(product.left_labels, self.shapes[product.left], strict=True))
        if product.right is not None:
            sizes.update(zip(product.right_labels, self.shapes[product.right], strict=True))
        joined = math.prod(max(size, 1) for size in sizes.values())
        summed = len(product.kept) != len(sizes)
        cost = joined * (len(product.operands) - 1 + summed)
        number = self._new(tuple(sizes[x] for x in product.kept), cost)
        self.products[number] = product
        self._numbers[product] = number
        self._parts[number] = frozenset(self.parts(product.operands) | {number})
        self._add_sum(number, product)
        for operand in dict.fromkeys(product.operands):
            self._readers.setdefault(operand, []).append(number)
        return number

    def _add_sum(self, number: int, product: Product) -> None:
        """Relate a product with those that sum the same over fewer or more labels."""
        whole, kept = _whole(product)
        others = self._sums.setdefault(whole, [])
        self._finer[number] = [x for x, labels in others if labels > kept]
        for x, labels in others:
            if labels < kept:
                self._finer[x].append(number)
        others.append((number, kept))

    def pair(self, number: int) -> Product:
        """What a product multiplies, whatever it sums of that."""
        return _whole(self.products[number])[0]

    @staticmethod
    def pair_of(left: Term, right: Term) -> Product:
        """What the product of two terms multiplies, as in :meth:`pair`."""
        return _whole(_canonical(left, right, ())[0])[0]

    def volume(self, number: int) -> int:
        """The number of elements."""
        return math.prod(max(size, 1) for size in self.shapes[number])

    def parts(self, roots: Iterable[int]) -> set[int]:
        """The products that ``roots`` are made of, themselves included."""
        return set().union(*(self._parts[number] for number in roots if number in self._parts))

    def cost(self, roots: Iterable[int], made: Collection[int] = ()) -> int:
        """The operations that ``roots`` take together, beside those of products already ``made``.

        A product of which there is one that sums less is a sum of that.
        """
        parts = self.parts(roots)
        total = 0
        for number in parts.difference(made):
            total += self.costs[number]
            if finer := [self.volume(x) for x in self._finer[number] if x in parts or x in made]:
                total -= max(self.costs[number] - min(finer), 0)
        return total

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
        for terms in self._operand_terms(product, term, present):
            names = _joint_names(product, terms)
            if names is None:
                continue
            leaves = 0
            for each in terms:
                leaves |= each.leaves
            gone = [name for label, name in names.items() if label not in product.kept]
            if not any(name in output or owners[name] & ~leaves for name in gone):
                yield Term(number, tuple(names[label] for label in product.kept), leaves)

    @staticmethod
    def _operand_terms(
        product: Product, term: Term, present: Mapping[int, Sequence[Term]]
    ) -> Iterator[tuple[Term, ...]]:
        """The operands of a product with ``term`` as one and disjoint terms that are present as the other."""
        if product.right is None:
            yield (term,)
            return
        if product.left == term.number:
            yield from ((term, x) for x in present.get(product.right, ()) if not x.leaves & term.leaves)
        if product.right == term.number:
            yield from ((x, term) for x in present.get(product.left, ()) if not x.leaves & term.leaves)


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


def _whole(product: Product) -> tuple[Product, frozenset[int]]:
    """A product that sums nothing, with its operands in a fixed order, and the labels in it that are kept."""
    if product.right is None or product.left <= product.right:
        whole = Product(product.left, product.right, product.left_labels, product.right_labels, ())
        return whole, frozenset(product.kept)
    names: dict[int, int] = {}
    first = tuple(names.setdefault(x, len(names)) for x in product.right_labels)
    second = tuple(names.setdefault(x, len(names)) for x in product.left_labels)
    return Product(product.right, product.left, first, second, ()), frozenset(names[x] for x in product.kept)


def _joint_names(product: Product, terms: Sequence[Term]) -> dict[int, int] | None:
    """The terms' labels for the product's, where that is a one-to-one renaming."""
    names: dict[int, int] = {}
    labels = (*product.left_labels, *product.right_labels)
    for label, name in zip(labels, (name for term in terms for name in term.labels), strict=True):
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
