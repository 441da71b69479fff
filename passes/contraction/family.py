"""The order of many contractions together: what several einsums can share is made once.

Alternating updates, all the gradients of one network and the environments of a tensor train are
families of einsums that differ in a few factors.  Planned one by one they read the large tensors once
each.  Here they are planned in order, and each plan

1. takes what earlier ones have made, where that is cheaper (environments of a chain grow by one site);
2. where the family is small, first multiplies up what later ones have in common with it, if all of
   them together gain (the dimension trees of alternating least squares: Phan, Tichavsky and Cichocki,
   IEEE Trans. Signal Process. 61 (2013), section III; Ma and Solomonik, arXiv 2010.12056).

Nothing here knows of decompositions: the einsums say what they share.  No intermediate is larger than
what the plans without sharing make or read, and the result never takes more operations than those.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from .path import find_path, path_cost
from .products import Labels, Product, ProductTable, Term, extended_renaming

# Families up to this many einsums of this many factors are searched for common parts ahead of time.
_SMALL_FAMILY = 16
_SMALL_PRODUCT = 14
_CANDIDATES = 6
# So many larger products are planned on their own, for comparison.
_LARGE_PRODUCTS = 4
# Up to so many einsums of so many factors are planned anew upon each other's products, so many times over, and
# with so many pairs to begin with.
_FEW = 8
_SWEEPS = 3
_PAIRS = 8
# How many einsums ahead a large family is searched for common parts at a time.
_WINDOW = 4
# So many ways of taking what is made are tried for one einsum.
_COVERS = 4
_ANY = sys.maxsize


@dataclass(frozen=True)
class Contraction:
    """One einsum: numbered factors with their labels, and the labels of the result."""

    terms: tuple[Term, ...]
    output: Labels

    def with_product(self, product: Term) -> Contraction:
        """The same with what ``product`` multiplies up replaced by it."""
        rest = tuple(x for x in self.terms if not x.leaves & product.leaves)
        return replace(self, terms=(*rest, product))


def plan_family(table: ProductTable, contractions: Sequence[Contraction], optimizer: str = "auto") -> list[Term]:
    """For each contraction, in order, the term of the table that is its value, its axes in any order."""
    alone = _Planner(table, optimizer)
    large = [x for x in contractions if len(x.terms) > _SMALL_PRODUCT]
    if len(large) > _LARGE_PRODUCTS:
        # Planning each alone would take too long: the first stands for all.
        alone.plan(large[:1])
        bound = _bound(table, alone.made, contractions)
        plans = [
            _Planner(table, optimizer, bound).plan(contractions, reuse=True),
            _Planner(table, optimizer, bound).plan_in_step(contractions),
        ]
        return min(plans, key=lambda plan: table.cost(x.number for x in plan))
    plans = [alone.plan(contractions)]
    bound = _bound(table, alone.made, contractions)
    if len(contractions) > 1:
        plans.append(_Planner(table, optimizer, bound).plan(contractions, reuse=True))
        if len(contractions) <= _SMALL_FAMILY and not large:
            plans.append(_Planner(table, optimizer, bound).plan(contractions, reuse=True, look_ahead=True))
    if len(contractions) <= _FEW and all(len(x.terms) <= _FEW for x in contractions):
        plans = list({tuple(x.number for x in plan): plan for plan in plans}.values())
        plans = [_Planner(table, optimizer, bound).improved(contractions, plan) for plan in plans]
    return min(plans, key=lambda plan: table.cost(x.number for x in plan))


def _bound(table: ProductTable, made: Collection[int], contractions: Sequence[Contraction]) -> int:
    """The elements of the largest tensor that is made or read without sharing."""
    read = {x.number for each in contractions for x in each.terms}
    return max(table.volume(number) for number in (*made, *read))


class _Planner:
    """Plans contractions one after the other; ``made`` is what the plans so far make."""

    def __init__(self, table: ProductTable, optimizer: str, bound: int | None = None) -> None:
        self.table, self.optimizer, self.bound = table, optimizer, bound
        self.made: set[int] = set()

    def plan(self, contractions: Sequence[Contraction], reuse: bool = False, look_ahead: bool = False) -> list[Term]:
        """The value of each."""
        found = []
        for position, each in enumerate(contractions):
            later = contractions[position + 1 :] if look_ahead else ()
            best = min(self._plans(each, later, reuse, look_ahead), key=lambda plan: self._regret(plan, later))
            self.made |= self.table.parts([best.number])
            found.append(best)
        return found

    def improved(self, contractions: Sequence[Contraction], found: Sequence[Term]) -> list[Term]:
        """The values, each planned anew upon what the others make, until that helps no more."""
        best = list(found)
        cost = self.table.cost(x.number for x in best)
        for _ in range(_SWEEPS):
            before = cost
            for position, each in enumerate(contractions):
                others = [x.number for k, x in enumerate(best) if k != position]
                for plan in self._on_what_is_made(each, others):
                    new = self.table.cost([*others, plan.number])
                    if new < cost and self._fits(plan):
                        best[position], cost = plan, new
            if cost == before:
                break
        return best

    def _on_what_is_made(self, each: Contraction, others: Sequence[int]) -> Iterator[Term]:
        """Orders that begin with pairs which stand in other products, or several times in this one."""
        made = self.table.parts(others)
        pairs = {self.table.pair(number) for number in made}
        yield self._direct(each)
        while len(each.terms) > 2:
            options: list[tuple[int, int, Contraction]] = []
            for product in self._repeated_pairs(each, pairs):
                rest = self._cover(each, {product.number})
                options.append((self.table.cost([*others, self._direct(rest).number]), len(options), rest))
            if not options:
                return
            _, _, each = min(options)
            yield self._direct(each)
            yield self._direct(self._cover(each, made))

    def _repeated_pairs(self, each: Contraction, known: Collection[Product]) -> list[Term]:
        """The products of two terms that are ``known`` to be made, or that occur more than once here."""
        places: dict[Product, list[tuple[Term, Term]]] = {}
        for left, right in itertools.combinations(each.terms, 2):
            places.setdefault(self.table.pair_of(left, right), []).append((left, right))
        found: dict[int, Term] = {}
        for pair, terms in places.items():
            for left, right in terms if pair in known or len(terms) > 1 else ():
                rest = {x for term in each.terms if term is not left and term is not right for x in term.labels}
                product = self.table.multiply(left, right, rest | set(each.output))
                found.setdefault(product.number, product)
        return list(found.values())[:_PAIRS]

    def plan_in_step(self, contractions: Sequence[Contraction]) -> list[Term]:
        """The value of each, where what each has in common with the next is multiplied up first, at every level.

        So the environments of a chain come about, whose use shows only over many steps.
        """
        found = []
        for position, each in enumerate(contractions):
            value = self._in_step(each, contractions[position + 1 :])
            self.made |= self.table.parts([value.number])
            found.append(value)
        return found

    def _in_step(self, each: Contraction, later: Sequence[Contraction]) -> Term:
        each = self._cover(each, self.made)
        if len(each.terms) <= 2:
            return self._direct(each)
        for position, other in enumerate(later[:_WINDOW]):
            parts = [x for x in common_parts(each, self._cover(other, self.made)) if self._may_make(x)]
            for part in parts:
                each = each.with_product(self._in_step(part, later[position:]))
            if parts:
                break
        return self._direct(each)

    def _may_make(self, part: Contraction) -> bool:
        sizes = self._sizes(part)
        return self.bound is None or math.prod(max(sizes[label], 1) for label in part.output) <= self.bound

    def _plans(self, each: Contraction, later: Sequence[Contraction], reuse: bool, look_ahead: bool) -> Iterator[Term]:
        """Orders to choose from."""
        for covered in self._covers(each) if reuse else ():
            known = self._direct(covered)
            if self._fits(known):
                yield known
                if len(each.terms) > _SMALL_PRODUCT:
                    return
        if look_ahead:
            shared = self._for_all(self._cover(each, self.made), later)
            if self._fits(shared):
                yield shared
        yield self._direct(each)
        powers = self._with_powers(each)
        if len(powers.terms) < len(each.terms):
            yield self._direct(powers)

    def _with_powers(self, each: Contraction) -> Contraction:
        """Terms that occur several times over the same labels as their powers, by repeated squaring."""
        places: dict[tuple[int, Labels], list[Term]] = {}
        for term in each.terms:
            places.setdefault((term.number, term.labels), []).append(term)
        if len(places) == len(each.terms):
            return each
        terms: list[Term] = []
        for (_, labels), same in places.items():
            odd: list[Term] = []
            while len(same) > 1:
                odd += same[2 * (len(same) // 2) :]
                same = [self.table.multiply(a, b, labels) for a, b in zip(same[::2], same[1::2], strict=False)]
            terms += [*odd, *same]
        return replace(each, terms=tuple(terms))

    def _covers(self, each: Contraction) -> list[Contraction]:
        """The contraction with what is made taken as it is: the largest products first, then no larger ones.

        ``(A·U)·Vᵀ`` is no help to ``A·U·Vᵀ·V``, but ``A·U`` is: ``VᵀV`` is smaller.
        """
        covered = self._cover(each, self.made)
        found: list[Contraction] = []
        while len(covered.terms) < len(each.terms):
            found.append(covered)
            if len(each.terms) > _SMALL_PRODUCT or len(found) == _COVERS:
                break
            largest = max(x.leaves.bit_count() for x in covered.terms)
            covered = self._cover(each, self.made, largest - 1)
        return found

    def _fits(self, plan: Term) -> bool:
        parts = self.table.parts([plan.number])
        return self.bound is None or all(self.table.volume(x) <= self.bound for x in parts)

    def _regret(self, plan: Term, later: Sequence[Contraction]) -> int:
        """What a plan costs beside what is made, less what later contractions save by it."""
        cost = self.table.cost([plan.number], self.made)
        new = self.table.parts([plan.number]) - self.made
        return cost - sum(self._saving(each, new) for each in later) if new else cost

    def _saving(self, each: Contraction, new: Collection[int]) -> int:
        before = self._cover(each, self.made)
        after = self._cover(each, self.made | set(new))
        return max(0, self._flops(before) - self._flops(after)) if after.terms != before.terms else 0

    # --- one contraction -----------------------------------------------------------------------

    def _direct(self, each: Contraction) -> Term:
        """The cheapest order for this contraction alone."""
        each = self._reduced(each)
        terms = list(each.terms)
        for first, second in self._path(each):
            left, right = terms[first], terms[second]
            del terms[second]
            rest = {x for k, term in enumerate(terms) if k != first for x in term.labels}
            terms[first] = self.table.multiply(left, right, rest | set(each.output))
        return terms[0]

    def _for_all(self, each: Contraction, later: Sequence[Contraction]) -> Term:
        """The cheapest order after the parts that pay for this and later contractions together."""
        others = [self._cover(x, self.made) for x in later]
        while len(each.terms) > 2:
            part = self._best_part(each, others)
            if part is None:
                break
            value = self._for_all(part, others) if len(part.terms) < len(each.terms) else self._direct(part)
            each = each.with_product(value)
            others = [self._cover(x, self.table.parts([value.number])) for x in others]
        return self._direct(each)

    def _best_part(self, each: Contraction, others: Sequence[Contraction]) -> Contraction | None:
        """The common part whose savings, over this and the other contractions, are largest."""
        best, most = None, 0
        here = self._flops(each)
        for part, sharers in self._common_parts(each, others):
            value = self._direct(part)
            if self.bound is not None and self.table.volume(value.number) > self.bound:
                continue
            gain = here - self._flops(each.with_product(value)) - self._flops(part)
            for other in sharers:
                covered = self._cover(other, self.table.parts([value.number]))
                gain += max(0, self._flops(other) - self._flops(covered))
            if gain > most:
                best, most = part, gain
        return best

    def _common_parts(
        self, each: Contraction, others: Sequence[Contraction]
    ) -> list[tuple[Contraction, list[Contraction]]]:
        """Connected parts of ``each`` that stand in other contractions too, the most shared first."""
        parts: dict[Contraction, list[Contraction]] = {}
        for other in others:
            for part in common_parts(each, other):
                parts.setdefault(part, []).append(other)
        ranked = sorted(parts.items(), key=lambda item: -len(item[1]) * self._flops(item[0]))
        return ranked[:_CANDIDATES]

    def _cover(self, each: Contraction, known: Collection[int], largest: int = _ANY) -> Contraction:
        """The contraction with the largest ``known`` products of so many factors in it taken as they are."""
        if not known or largest < 2:
            return each
        found = [x for x in self.table.found_in(each.terms, each.output, known) if x.leaves.bit_count() <= largest]
        taken = 0
        for term in sorted(found, key=lambda x: (-x.leaves.bit_count(), -self.table.costs[x.number])):
            if not term.leaves & taken:
                taken |= term.leaves
                each = each.with_product(term)
        return self._reduced(each) if taken else each

    def _reduced(self, each: Contraction) -> Contraction:
        """The contraction with the labels that only one term has, and the result has not, summed out of it."""
        owners = Counter(label for term in each.terms for label in term.labels)
        kept = [{label for label in x.labels if owners[label] > 1 or label in each.output} for x in each.terms]
        if all(len(x.labels) == len(labels) for x, labels in zip(each.terms, kept, strict=True)):
            return each
        terms = [self.table.reduced(x, labels) for x, labels in zip(each.terms, kept, strict=True)]
        return replace(each, terms=tuple(terms))

    # --- costs ---------------------------------------------------------------------------------

    def _path(self, each: Contraction) -> Sequence[tuple[int, int]]:
        return find_path([x.labels for x in each.terms], each.output, self._sizes(each), self.optimizer)

    def _flops(self, each: Contraction) -> int:
        """The operations of a contraction, in the order found for it alone."""
        inputs = [x.labels for x in each.terms]
        sizes = self._sizes(each)
        return path_cost(self._path(each), inputs, each.output, sizes).flops

    def _sizes(self, each: Contraction) -> Mapping[int, int]:
        return {
            label: size for x in each.terms for label, size in zip(x.labels, self.table.shapes[x.number], strict=True)
        }


def common_parts(each: Contraction, other: Contraction) -> list[Contraction]:
    """The connected products of two or more terms that both contractions contain, as parts of the first."""
    names: dict[int, int] = {}
    taken: dict[int, Term] = {}
    for position, term in enumerate(each.terms):
        for partner in other.terms:
            if partner.number != term.number or any(partner is x for x in taken.values()):
                continue
            joint = extended_renaming(names, term.labels, partner.labels)
            if joint is not None:
                names, taken[position] = joint, partner
                break
    return [
        _part(each, other, names, group, [taken[k] for k in group])
        for group in _connected([each.terms[k].labels for k in taken], list(taken))
        if 1 < len(group) < len(each.terms)
    ]


def _part(
    each: Contraction, other: Contraction, names: Mapping[int, int], group: Sequence[int], partners: Sequence[Term]
) -> Contraction:
    """The terms of ``group``, keeping what is needed outside in either contraction."""
    inside = [each.terms[k] for k in group]
    here = set(each.output).union(*(x.labels for k, x in enumerate(each.terms) if k not in group))
    there = set(other.output).union(*(x.labels for x in other.terms if not any(x is y for y in partners)))
    labels = dict.fromkeys(label for term in inside for label in term.labels)
    return Contraction(tuple(inside), tuple(x for x in labels if x in here or names[x] in there))


def _connected(labels: Sequence[Labels], positions: Sequence[int]) -> list[list[int]]:
    """Positions grouped so that groups share no label."""
    groups: list[tuple[set[int], list[int]]] = []
    for names, position in zip(labels, positions, strict=True):
        joined, members = set(names), [position]
        rest = []
        for known, group in groups:
            if known & joined:
                joined |= known
                members = group + members
            else:
                rest.append((known, group))
        groups = [*rest, (joined, members)]
    return [sorted(members) for _, members in groups]
