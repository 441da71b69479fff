"""Structure of square operators: which axes are tied, and how blocks factor.

An operator has axes ``x`` then ``x'``; position ``k`` pairs axis ``k`` with axis ``n + k``.  After
``simplify`` it is a sum of *terms*, each an einsum whose remaining deltas tie output axes.  Positions
that every term ties are *batch* positions: the operator is block-diagonal in them.  What is left is
one small block for each batch index, which may factor further, as a Kronecker product or as a
diagonal plus a product of low rank.  (Laue, Mitterreiter and Giesen, arXiv 2010.03313, section 4.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ...ir import DType, Node, Size, build
from ...ir.operations import Broadcast, Delta, Einsum, LinearCombination
from ...ir.scalar import Number

Labels = tuple[int, ...]
Factor = tuple[Node, Labels]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Term:
    """A product of factors over output axes (and summed labels), times deltas that tie output axes.

    ``ties`` are pairs ``(first, second)`` of output axes, ``first`` being the first of its tie; factors
    name first axes only.
    """

    coefficient: Number
    factors: tuple[Factor, ...]
    ties: tuple[Pair, ...]

    @property
    def labels(self) -> set[int]:
        """Every label of the factors."""
        return {x for _, labels in self.factors for x in labels}


@dataclass(frozen=True)
class Structure:
    """A tensor as a sum of terms over its output axes."""

    shape: tuple[Size, ...]
    dtype: DType
    terms: tuple[Term, ...]

    @property
    def ties(self) -> tuple[Pair, ...]:
        """The ties that every term has."""
        first, *rest = self.terms
        return tuple(tie for tie in first.ties if all(tie in term.ties for term in rest))


def structure_of(node: Node) -> Structure:
    """The structure of a simplified node.  A node without deltas is one term without ties."""
    rank = node.ndim
    terms = tuple(_terms(node, 1, tuple(range(rank)), rank))
    return Structure(node.type.shape, node.type.dtype, terms)


def _terms(node: Node, coefficient: Number, axes: Labels, rank: int) -> Iterable[Term]:
    """Terms of ``node`` placed along output ``axes``."""
    if isinstance(node.op, LinearCombination):
        for factor, operand, labels in zip(node.op.coefficients, node.operands, node.op.inputs, strict=True):
            placed = tuple(axes[axis] for axis in labels)
            yield from _terms(operand, coefficient * factor, placed, rank)
    elif isinstance(node.op, Broadcast):
        yield from _terms(node.operands[0], coefficient, tuple(axes[axis] for axis in node.op.axes), rank)
    elif isinstance(node.op, Einsum):
        yield _einsum_term(node, coefficient, axes, rank)
    elif isinstance(node.op, Delta):
        yield Term(coefficient, (), ((min(axes), max(axes)),))
    else:
        yield Term(coefficient, ((node, axes),), ())


def _einsum_term(node: Node, coefficient: Number, axes: Labels, rank: int) -> Term:
    assert isinstance(node.op, Einsum)
    names = dict(zip(node.op.output, axes, strict=True))
    for labels in node.op.inputs:
        for label in labels:
            names.setdefault(label, rank + label)
    first = {axis: axis for axis in range(rank)}
    deltas = [
        tuple(names[x] for x in labels)
        for operand, labels in zip(node.operands, node.op.inputs, strict=True)
        if isinstance(operand.op, Delta)
    ]
    for _ in deltas:
        for a, b in deltas:
            first[a] = first[b] = min(first.get(a, a), first.get(b, b))
    factors = tuple(
        (operand, tuple(first.get(names[x], names[x]) for x in labels))
        for operand, labels in zip(node.operands, node.op.inputs, strict=True)
        if not isinstance(operand.op, Delta)
    )
    ties = tuple((first[axis], axis) for axis in range(rank) if first[axis] != axis)
    return Term(coefficient, factors, ties)


# --- values of a structure ---------------------------------------------------------------------


def contract_terms(
    structure: Structure,
    output: Sequence[int],
    same: Sequence[Pair] = (),
    extra: Sequence[Factor] = (),
) -> Node:
    """The sum over terms of their einsums with ``extra`` factors, onto ``output`` axes.

    Pairs of ``same`` identify two output axes; axes that are not in ``output`` are summed.
    """
    merged = {second: first for first, second in same}
    every = {merged.get(axis, axis) for axis in range(len(structure.shape))}
    parts = [_product(structure, term, output, merged, extra, every) for term in structure.terms]
    return build.add(*parts)


def core_of(structure: Structure) -> tuple[Node, Labels]:
    """The stored entries: one axis for each output axis that a factor has, common ties counted once.

    The axes come back with the core, as output axes.
    """
    tied = {second for _, second in structure.ties}
    rest = [replace(term, ties=tuple(t for t in term.ties if t not in structure.ties)) for term in structure.terms]
    used = {x for term in rest for x in (*term.labels, *(axis for tie in term.ties for axis in tie))}
    axes = tuple(axis for axis in range(len(structure.shape)) if axis not in tied and axis in used)
    return build.add(*(_product(structure, term, axes, {}, (), set()) for term in rest)), axes


def _product(
    structure: Structure,
    term: Term,
    output: Sequence[int],
    merged: Mapping[int, int],
    extra: Sequence[Factor],
    summed: Iterable[int],
) -> Node:
    """One term's einsum; axes of ``summed`` that nothing carries multiply it by their size."""

    def rename(labels: Iterable[int]) -> list[int]:
        return [merged.get(x, x) for x in labels]

    factors = [*term.factors, *extra]
    factors += [(build.delta(structure.shape[first], structure.dtype), (first, second)) for first, second in term.ties]
    inputs = [rename(labels) for _, labels in factors]
    carried = {x for labels in inputs for x in labels} | set(rename(output))
    lost = [axis for axis in summed if axis not in carried]
    operands = [node for node, _ in factors]
    operands += [build.extent(structure.shape[axis], structure.dtype) for axis in lost]
    inputs += [[] for _ in lost]
    if not operands:
        operands, inputs = [build.constant(1, structure.dtype)], [[]]
    sizes = dict(enumerate(structure.shape))
    return build.scale(term.coefficient, build.contract(operands, inputs, rename(output), sizes))
