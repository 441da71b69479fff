"""The pass that multiplies sums out, takes shared products apart and factors out of sums, where that saves work."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..ir import Graph, Node, Size, build
from ..ir.operations import Einsum, LinearCombination
from ..ir.traverse import rebuild
from .algebra.einsum_rules import merged
from .collect import collect_factors
from .contraction.plan import planned_flops
from .manager import Pass
from .planned_sizes import UNKNOWN_SIZE, planned_size
from .simplify import Simplify

# Sums of more terms, and with more readers, are left as they are.
_MOST_TERMS = 8
_MOST_EINSUMS = 36
_ROUNDS = 10
# A form that saves less than this share of the work is not worth another graph.
_WORTHWHILE = 0.95


@dataclass(frozen=True)
class Distribute(Pass):
    """Graph in; equal graph out, in which no sum of products is better multiplied out.

    A sum goes into the products that read it where all of them together, with what they then share,
    take fewer operations.  It is done only where it costs no digits: one sum a product, and all terms
    but one are products themselves, so that the sum was rounded as coarsely as what replaces it.  A
    square ``‖a − b‖²`` is therefore never expanded.  A product that several products read (``A·B`` in
    ``A·B·v`` and ``A·B·w``) is a sum of one term.  Factors that the terms of a sum share are taken out
    again (`collect_factors`).  The number of operations decreases.  ::

        %1: f64[i,j] = linear_combination {1, -1} %X, %UV       # %UV = einsum "ir,jr->ij" %U, %V
        %2: f64[i,r] = einsum "ij,jr->ir" %1, %V

    becomes ``einsum "ij,jr->ir" %X, %V`` less ``einsum "is,js,jr->ir" %U, %V, %V``, which never makes
    the matrix ``%UV``.
    """

    name: ClassVar[str] = "distribute"
    size: int = UNKNOWN_SIZE
    sizes: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)

    def run(self, graph: Graph) -> Graph:
        """Multiply out what pays, for the sizes at hand."""
        return self.run_counting(graph)[0]

    def run_counting(self, graph: Graph) -> tuple[Graph, Counter[str]]:
        """The graph, how many sums were multiplied out, and how many had a factor taken out."""
        fired: Counter[str] = Counter()
        known: dict[object, int] = {}
        for _ in range(_ROUNDS):
            chosen = self._chosen(graph, known)
            if not chosen:
                break
            fired["distribute_sum"] += len(set(chosen.values()))
            graph = Simplify().run(_multiplied_out(graph, chosen))
        for _ in range(_ROUNDS):
            graph, count = collect_factors(graph, _readers(graph), self._size, known)
            if not count:
                break
            fired["collect_factor"] += count
            graph = Simplify().run(graph)
        return graph, fired

    def with_sizes(self, sizes: Mapping[str, int]) -> Distribute:
        """The same pass, planning for these sizes."""
        return dataclasses.replace(self, sizes={**self.sizes, **sizes}) if sizes else self

    def _chosen(self, graph: Graph, known: dict[object, int]) -> dict[Node, Node]:
        """For the einsums to rewrite, the sum to multiply out."""
        readers = _readers(graph)
        chosen: dict[Node, Node] = {}
        touched: set[Node] = set()
        for total in graph.nodes():
            products = _products_to_rewrite(total, readers, graph)
            if not products or touched & {total, *products}:
                continue
            if self._pays(graph, total, products, readers, known):
                chosen.update(dict.fromkeys(products, total))
                touched |= {total, *products, *total.operands}
        return chosen

    def _pays(
        self,
        graph: Graph,
        total: Node,
        products: Sequence[Node],
        readers: Mapping[Node, Sequence[Node]],
        known: dict[object, int],
    ) -> bool:
        gone = set(products) >= set(readers[total]) and total not in graph.outputs
        own = [total] if isinstance(total.op, Einsum) else [x for x in total.operands if isinstance(x.op, Einsum)]
        kept = [x for x in own if x is not total and (x in graph.outputs or set(readers[x]) != {total} or not gone)]
        expanded = [part for product in products for _, part in multiplied_terms(product, total)]
        before = planned_flops([*own, *products], self._size, "auto", known) + self._additions(total)
        after = planned_flops(dict.fromkeys([*kept, *expanded]), self._size, "auto", known)
        after += sum(self._volume(x) * _additions_per_element(total) for x in products)
        after += 0 if gone else self._additions(total)
        return after < _WORTHWHILE * before

    def _additions(self, total: Node) -> int:
        return self._volume(total) * _additions_per_element(total)

    def _volume(self, node: Node) -> int:
        return math.prod(max(self._size(x), 1) for x in node.type.shape)

    def _size(self, size: Size) -> int:
        return planned_size(size, self.sizes, self.size)


def _products_to_rewrite(total: Node, readers: Mapping[Node, Sequence[Node]], graph: Graph) -> list[Node]:
    """The products that a sum, or a shared product, could go into; none where it should not."""
    shared = isinstance(total.op, Einsum)
    if not (1 < len(readers[total]) <= _MOST_TERMS and _is_product(total) if shared else may_be_multiplied_out(total)):
        return []
    products = [x for x in readers[total] if isinstance(x.op, Einsum) and x.operands.count(total) == 1]
    if shared:
        return products if len(products) == len(readers[total]) and total not in graph.outputs else []
    return products if len(products) * len(total.operands) <= _MOST_EINSUMS else []


def may_be_multiplied_out(total: Node) -> bool:
    """Whether a sum is rounded as coarsely as its terms, all but one of which are products of tensors.

    ``x − m`` of two tensors that are read may be exact where they are close (Sterbenz); its product with
    a matrix is not what the difference of two products gives.
    """
    if not isinstance(total.op, LinearCombination) or not 2 <= len(total.operands) <= _MOST_TERMS:
        return False
    if any(len(labels) != total.ndim for labels in total.op.inputs):
        return False
    return sum(not _is_product(x) for x in total.operands) <= 1


def _additions_per_element(total: Node) -> int:
    return len(total.operands) - 1 if isinstance(total.op, LinearCombination) else 0


def _is_product(node: Node) -> bool:
    return isinstance(node.op, Einsum) and sum(x.ndim > 0 for x in node.operands) > 1


def multiplied_terms(product: Node, total: Node) -> Iterator[tuple[complex, Node]]:
    """The coefficients and products that an einsum becomes when one operand, a sum, is multiplied out."""
    assert isinstance(product.op, Einsum)
    position = product.operands.index(total)
    if isinstance(total.op, Einsum):
        yield 1, merged(product, position, total)
        return
    assert isinstance(total.op, LinearCombination)
    labels = product.op.inputs[position]
    for coefficient, term, names in zip(total.op.coefficients, total.operands, total.op.inputs, strict=True):
        operands, inputs = list(product.operands), list(product.op.inputs)
        operands[position], inputs[position] = term, tuple(labels[axis] for axis in names)
        part = build.einsum(operands, inputs, product.op.output)
        yield coefficient, merged(part, position, term) if isinstance(term.op, Einsum) else part


def _multiplied_out(graph: Graph, chosen: Mapping[Node, Node]) -> Graph:
    def change(node: Node, operands: Sequence[Node]) -> Node:
        new = rebuild(node, operands)
        if node not in chosen:
            return new
        total = operands[node.operands.index(chosen[node])]
        coefficients, parts = zip(*multiplied_terms(new, total), strict=True)
        return build.linear_combination(coefficients, parts)

    return graph.transform(change)


def _readers(graph: Graph) -> dict[Node, list[Node]]:
    readers: dict[Node, list[Node]] = {node: [] for node in graph.nodes()}
    for node in readers:
        for operand in dict.fromkeys(node.operands):
            readers[operand].append(node)
    return readers
