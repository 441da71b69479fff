"""What an einsum multiplies: its tensors and scalars once deltas are eliminated, and the diagonals that remain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...ir import Node, Size, build
from ...ir.operations import Delta, Einsum

Labels = tuple[int, ...]
Term = tuple[Node, Labels]


@dataclass(frozen=True)
class Factor:
    """A tensor of an einsum; indices that only it has, and the result has not, are summed out of it first.

    So are indices of size 1 that the result has not, whoever has them: a sum over one element is a reshape.
    """

    node: Node
    labels: Labels
    kept: Labels

    @property
    def value(self) -> Node:
        """The tensor over the ``kept`` indices."""
        sizes = self.node.type.shape
        axes = [axis for axis, label in enumerate(self.labels) if label in self.kept or sizes[axis] != 1]
        node, labels = self.node, tuple(self.labels[axis] for axis in axes)
        if len(axes) < len(sizes):
            node = build.reshape(node, tuple(sizes[axis] for axis in axes))
        return node if self.kept == labels else build.einsum([node], [labels], self.kept)

    @property
    def shape(self) -> tuple[Size, ...]:
        """The sizes of the ``kept`` indices."""
        sizes = dict(zip(self.labels, self.node.type.shape, strict=True))
        return tuple(sizes[label] for label in self.kept)

    @property
    def pattern(self) -> tuple[Labels, Labels]:
        """``labels`` and ``kept`` by other names, the same for all that are the same tensor."""
        names: dict[int, int] = {}
        labels = tuple(names.setdefault(x, len(names)) for x in self.labels)
        return labels, tuple(names[x] for x in self.kept)


@dataclass(frozen=True)
class Parts:
    """``factors`` and ``scalars`` are multiplied onto the indices ``output``, and that is embedded.

    ``output`` has each tied index once; :meth:`embedded` spreads it over the diagonals.
    """

    factors: tuple[Factor, ...]
    scalars: tuple[Factor, ...]
    output: Labels
    _result: Labels
    _ties: Ties
    _sizes: Mapping[int, Size]

    def embedded(self, value: Node) -> Node:
        """``value`` spread over the diagonals that deltas tie, and broadcast along the rest."""
        return _embedded(value, self.output, self._result, self._ties, self._sizes)


def parts_of(op: Einsum, operands: Sequence[Node]) -> Parts:
    """The parts of an einsum."""
    terms = list(zip(operands, op.inputs, strict=True))
    dtype = operands[0].type.dtype
    sizes = {x: size for node, labels in terms for x, size in zip(labels, node.type.shape, strict=True)}
    ties = Ties(terms, op.output)
    core = [(node, ties.roots(labels)) for node, labels in terms if not isinstance(node.op, Delta)]
    output = tuple(dict.fromkeys(ties.roots(op.output)))
    present = {label for _, labels in core for label in labels}
    for label in ties.known():
        if label not in present and label not in output:
            core.append((build.extent(sizes[label], dtype), ()))
    covered = tuple(label for label in output if label in present)
    factors = [_factor(core, position, covered, sizes) for position in range(len(core))]
    tensors = tuple(x for x in factors if x.kept)
    return Parts(tensors, tuple(x for x in factors if not x.kept), covered, op.output, ties, sizes)


def _factor(terms: Sequence[Term], position: int, output: Labels, sizes: Mapping[int, Size]) -> Factor:
    """The term with diagonals taken, and the indices summed that no other term has, or that have size 1."""
    node, labels = terms[position]
    others = {x for k, (_, names) in enumerate(terms) if k != position for x in names if sizes[x] != 1}
    kept = tuple(dict.fromkeys(label for label in labels if label in others or label in output))
    return Factor(node, labels, kept)


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
    ties = Ties(list(zip(operands, op.inputs, strict=True)), op.output)
    groups = {ties.root(label) for label in op.output}
    return len(groups) == len(op.output) - len(deltas) and all(
        ties.root(label) == label for labels in core for label in labels
    )


def tied_labels(op: Einsum, operands: Sequence[Node]) -> tuple[Labels, Labels]:
    """The labels of an embedding's tensor and of its result, with tied indices under one label."""
    ties = Ties(list(zip(operands, op.inputs, strict=True)), op.output)
    core = [labels for x, labels in zip(operands, op.inputs, strict=True) if not isinstance(x.op, Delta)]
    return ties.roots(core[0]) if core else (), ties.roots(op.output)


class Ties:
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


def _embedded(value: Node, labels: Labels, output: Labels, ties: Ties, sizes: Mapping[int, Size]) -> Node:
    """``value`` spread over the diagonals that ``ties`` leaves, and broadcast along the rest."""
    dtype = value.type.dtype
    tied = [(ties.root(label), label) for label in output if ties.root(label) != label]
    deltas = [build.delta(sizes[root], dtype) for root, _ in tied]
    if len(tied) == 1 and len(output) == 2 and build.constant_value(value) == 1:
        return deltas[0]
    if build.constant_value(value) == 1 and deltas:
        return build.contract(deltas, tied, output, sizes)
    return build.contract([value, *deltas], [labels, *tied], output, sizes)
