"""The pass that makes every einsum a product of at most two tensors, in the cheapest order."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..ir import Graph, Node, Size, build
from ..ir.dims import evaluate, symbols
from ..ir.operations import Delta, Einsum
from ..ir.traverse import rebuild
from .contraction_path import find_path
from .manager import Pass

Labels = tuple[int, ...]
Term = tuple[Node, Labels]


@dataclass(frozen=True)
class ContractionOrder(Pass):
    """Graph in; equal graph whose einsums multiply at most two tensors out.

    Indices that only one operand carries are summed out of it first, deltas are eliminated where
    one of their indices is summed, and diagonals that remain are embedded last.  The number of
    operands of each einsum decreases.  ``optimizer`` is ``auto``, ``optimal``, ``dp``, ``greedy`` or
    ``random-greedy``; ``size`` stands for dims whose size is unknown.  ::

        %1: f64[i,r] = einsum "ijk,jr,kr->ir" %X, %B, %C

    becomes ::

        %1: f64[i,j,r] = einsum "ijk,kr->ijr" %X, %C
        %2: f64[i,r] = einsum "ijr,jr->ir" %1, %B
    """

    name: ClassVar[str] = "contract"
    optimizer: str = "auto"
    size: int = 64
    sizes: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)

    def run(self, graph: Graph) -> Graph:
        """Order every einsum for the sizes at hand."""
        return self.run_counting(graph)[0]

    def run_counting(self, graph: Graph) -> tuple[Graph, Counter[str]]:
        """The graph, and how many einsums were split."""
        fired: Counter[str] = Counter()

        def change(node: Node, operands: Sequence[Node]) -> Node:
            if not isinstance(node.op, Einsum) or is_pairwise(node.op, operands):
                return rebuild(node, operands)
            fired["order_einsum"] += 1
            return self._ordered(node.op, operands)

        return graph.transform(change), fired

    def with_sizes(self, sizes: Mapping[str, int]) -> ContractionOrder:
        """The same pass, planning for these sizes."""
        return dataclasses.replace(self, sizes={**self.sizes, **sizes}) if sizes else self

    def _ordered(self, op: Einsum, operands: Sequence[Node]) -> Node:
        terms = list(zip(operands, op.inputs, strict=True))
        dtype = operands[0].type.dtype
        sizes = _index_sizes(terms)
        ties = _Ties(terms, op.output)
        core = [(node, ties.roots(labels)) for node, labels in terms if not isinstance(node.op, Delta)]
        output = tuple(dict.fromkeys(ties.roots(op.output)))
        present = {label for _, labels in core for label in labels}
        for label in ties.known():
            if label not in present and label not in output:
                core.append((build.extent(sizes[label], dtype), ()))
        covered = tuple(label for label in output if label in present)
        value = self._product(core, covered, sizes) if core else build.constant(1, dtype)
        return _embedded(value, covered, op.output, ties, sizes)

    def _product(self, terms: list[Term], output: Labels, sizes: Mapping[int, Size]) -> Node:
        """The pairwise einsums whose last one has the indices ``output``."""
        reduced = [_summed_alone(terms, k, output) for k in range(len(terms))]
        scalars = [term for term in reduced if not term[1]]
        tensors = [term for term in reduced if term[1]]
        if not tensors:
            return _multiplied(scalars)
        planned = {label: planned_size(size, self.sizes, self.size) for label, size in sizes.items()}
        if scalars:
            tensors = self._with_factor(tensors, (_multiplied(scalars), ()), output, planned)
        path = find_path([labels for _, labels in tensors], output, planned, self.optimizer)
        return _along(path, tensors, output)

    def _with_factor(self, terms: list[Term], factor: Term, output: Labels, sizes: Mapping[int, int]) -> list[Term]:
        """The scalar factor goes into the smallest tensor, or last of all onto the result."""
        volumes = [_volume(labels, sizes) for _, labels in terms]
        smallest = volumes.index(min(volumes))
        node, labels = terms[smallest]
        if len(terms) == 1:
            return [*terms, factor]
        if volumes[smallest] >= _volume(output, sizes):
            path = find_path([names for _, names in terms], output, sizes, self.optimizer)
            return [(_along(path, terms, output), output), factor]
        scaled = build.einsum([node, factor[0]], [labels, ()], labels)
        return [*terms[:smallest], (scaled, labels), *terms[smallest + 1 :]]


def planned_size(size: Size, sizes: Mapping[str, int], default: int) -> int:
    """The integer to plan for: ``size`` under ``sizes``, unknown symbols being ``default``."""
    if isinstance(size, int):
        return size
    return max(evaluate(size, {name: sizes.get(name, default) for name in symbols(size)}), 0)


def is_pairwise(op: Einsum, operands: Sequence[Node]) -> bool:
    """Whether an einsum is one kernel as it stands: one tensor, two tensors, or an embedding."""
    if is_embedding(op, operands):
        return True
    if len(operands) > 2 or any(isinstance(x.op, Delta) for x in operands):
        return False
    if len(operands) == 1:
        return True
    first, second = op.inputs
    alone = set(first) ^ set(second)
    distinct = len(set(first)) == len(first) and len(set(second)) == len(second)
    return distinct and alone <= set(op.output)


def is_embedding(op: Einsum, operands: Sequence[Node]) -> bool:
    """Whether deltas spread at most one tensor over diagonals of the result, and nothing is summed."""
    deltas = [labels for x, labels in zip(operands, op.inputs, strict=True) if isinstance(x.op, Delta)]
    core = [labels for x, labels in zip(operands, op.inputs, strict=True) if not isinstance(x.op, Delta)]
    if not deltas or len(core) > 1:
        return False
    used = {label for labels in op.inputs for label in labels}
    if used != set(op.output) or any(len(set(labels)) != len(labels) for labels in op.inputs):
        return False
    ties = _Ties(list(zip(operands, op.inputs, strict=True)), op.output)
    groups = {ties.root(label) for label in op.output}
    return len(groups) == len(op.output) - len(deltas) and all(
        ties.root(label) == label for labels in core for label in labels
    )


def tied_labels(op: Einsum, operands: Sequence[Node]) -> tuple[Labels, Labels]:
    """The labels of an embedding's tensor and of its result, with tied indices under one label."""
    ties = _Ties(list(zip(operands, op.inputs, strict=True)), op.output)
    core = [labels for x, labels in zip(operands, op.inputs, strict=True) if not isinstance(x.op, Delta)]
    return ties.roots(core[0]) if core else (), ties.roots(op.output)


class _Ties:
    """Which indices deltas make equal; the representative of a class is an output index if it can."""

    def __init__(self, terms: Sequence[Term], output: Labels) -> None:
        self._parent: dict[int, int] = {}
        self._rank = {label: place for place, label in enumerate(output)}
        for node, labels in terms:
            if isinstance(node.op, Delta):
                self._join(*labels)

    def _join(self, first: int, second: int) -> None:
        a, b = self.root(first), self.root(second)
        worst = len(self._rank)
        keep, drop = sorted((a, b), key=lambda label: (self._rank.get(label, worst), label))
        self._parent[keep] = keep
        self._parent[drop] = keep

    def root(self, label: int) -> int:
        """The index that stands for ``label``."""
        while self._parent.get(label, label) != label:
            label = self._parent[label]
        return label

    def roots(self, labels: Labels) -> Labels:
        """The indices that stand for ``labels``."""
        return tuple(map(self.root, labels))

    def known(self) -> list[int]:
        """The representatives of all indices on deltas."""
        return list(dict.fromkeys(map(self.root, self._parent)))


def _index_sizes(terms: Sequence[Term]) -> dict[int, Size]:
    return {label: size for node, labels in terms for label, size in zip(labels, node.type.shape, strict=True)}


def _volume(labels: Labels, sizes: Mapping[int, int]) -> int:
    total = 1
    for label in labels:
        total *= max(sizes[label], 1)
    return total


def _summed_alone(terms: Sequence[Term], position: int, output: Labels) -> Term:
    """The term with diagonals taken, and the indices summed that no other term has."""
    node, labels = terms[position]
    others = {label for k, (_, names) in enumerate(terms) if k != position for label in names}
    kept = tuple(dict.fromkeys(label for label in labels if label in others or label in output))
    return (node if kept == labels else build.einsum([node], [labels], kept)), kept


def _multiplied(scalars: Sequence[Term]) -> Node:
    value = scalars[0][0]
    for node, _ in scalars[1:]:
        value = build.einsum([value, node], [(), ()], ())
    return value


def _along(path: Sequence[tuple[int, int]], terms: Sequence[Term], output: Labels) -> Node:
    """Multiply ``terms`` pairwise; the last product has its indices in the order of ``output``.

    Inner products have theirs in order of appearance, so that equal products of two einsums are one node.
    """
    left = list(terms)
    for first, second in path:
        (a, x), (b, y) = left[first], left[second]
        del left[second]
        rest = {label for k, (_, names) in enumerate(left) if k != first for label in names}
        kept = tuple(label for label in dict.fromkeys((*x, *y)) if label in rest or label in output)
        if len(left) == 1:
            kept = output
        left[first] = (build.einsum([a, b], [x, y], kept), kept)
    node, labels = left[0]
    return build.einsum([node], [labels], output)


def _embedded(value: Node, labels: Labels, output: Labels, ties: _Ties, sizes: Mapping[int, Size]) -> Node:
    """``value`` spread over the diagonals that ``ties`` leaves, and broadcast along the rest."""
    dtype = value.type.dtype
    tied = [(ties.root(label), label) for label in output if ties.root(label) != label]
    deltas = [build.delta(sizes[root], dtype) for root, _ in tied]
    if len(tied) == 1 and len(output) == 2 and build.constant_value(value) == 1:
        return deltas[0]
    if build.constant_value(value) == 1 and deltas:
        return build.contract(deltas, tied, output, sizes)
    return build.contract([value, *deltas], [labels, *tied], output, sizes)
