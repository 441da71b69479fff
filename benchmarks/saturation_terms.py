"""Graphs of einsums and linear combinations as terms over named indices, and back.

An e-graph knows nothing of renamed indices, so every index gets one name in the whole program: an axis of a
tensor keeps the name that it had where it was read before, wherever that is possible.  Sets of indices are
bits of an integer, at most 62.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

from otus.ir import Node, build
from otus.ir.operations import Constant, Einsum, Input, LinearCombination


class NotExpressible(Exception):
    """A graph holds something else than einsums and linear combinations of inputs."""


@dataclass(frozen=True)
class Term:
    """``leaf`` number, ``product``, ``total`` (a sum over indices), ``plus`` or ``scaled``, as egglog has them."""

    kind: str
    parts: tuple[Term, ...] = ()
    number: float = 0
    indices: int = 0  # a leaf's axes, and what a product or a total sums over

    def text(self) -> str:
        """The term in egglog's language."""
        inner = " ".join(part.text() for part in self.parts)
        match self.kind:
            case "leaf":
                return f"(Leaf {int(self.number)} {self.indices})"
            case "scaled":
                return f"(Scaled {float(self.number)!r} {inner})"
            case "plus":
                return f"(Plus {inner})"
        return f"({self.kind.capitalize()} {inner} {self.indices})"


@dataclass
class Names:
    """The indices of a program: their sizes, and the leaves ``(input, index of every axis)``."""

    sizes: list[int] = field(default_factory=list)
    leaves: list[tuple[Node, tuple[int, ...]]] = field(default_factory=list)
    habits: dict[tuple[Node, int], list[int]] = field(default_factory=dict)

    def chosen(self, size: int, places: Sequence[tuple[Node, int]], taken: set[int]) -> int:
        """A name for an index at these axes of inputs that is none of ``taken``."""
        habits = [name for place in places for name in self.habits.get(place, ())]
        candidates = [*habits, *(k for k, known in enumerate(self.sizes) if known == size)]
        name = next((k for k in candidates if k not in taken and self.sizes[k] == size), len(self.sizes))
        if name == len(self.sizes):
            self.sizes.append(size)
        taken.add(name)
        return name

    def leaf(self, node: Node, axes: tuple[int, ...]) -> Term:
        """An input read along these indices."""
        for axis, name in enumerate(axes):
            self.habits.setdefault((node, axis), []).append(name)
        if (node, axes) not in self.leaves:
            self.leaves.append((node, axes))
        return Term("leaf", (), self.leaves.index((node, axes)), bits(axes))


def bits(indices: Sequence[int]) -> int:
    """A set of indices as an integer."""
    return functools.reduce(lambda total, k: total | 1 << k, indices, 0)


def members(indices: int) -> list[int]:
    """The indices of a set, ascending."""
    return [k for k in range(indices.bit_length()) if indices >> k & 1]


# --- from graphs -------------------------------------------------------------------------------


def terms_of(outputs: Sequence[Node], names: Names) -> list[tuple[Term, tuple[int, ...]]]:
    """Every output as a term, and the index of each of its axes."""
    found = []
    for node in outputs:
        taken: set[int] = set()
        axes = tuple(names.chosen(int(str(size)), _places(node, k), taken) for k, size in enumerate(node.type.shape))
        found.append((_term(node, axes, set(axes), names), axes))
    return found


def _places(node: Node, axis: int) -> list[tuple[Node, int]]:
    """The axes of inputs that an axis of a node runs along."""
    if isinstance(node.op, (Einsum, LinearCombination)):
        label = node.op.output[axis] if isinstance(node.op, Einsum) else axis
        return [
            place
            for operand, labels in zip(node.operands, node.op.inputs, strict=True)
            for k, other in enumerate(labels)
            if other == label
            for place in _places(operand, k)
        ]
    return [(node, axis)]


def _term(node: Node, axes: tuple[int, ...], taken: set[int], names: Names) -> Term:
    """``node`` along these indices; those that are summed inside get names outside of ``taken``."""
    if isinstance(node.op, LinearCombination):
        if any(len(labels) != node.ndim for labels in node.op.inputs):
            raise NotExpressible("a sum with broadcasting")
        terms = []
        for c, operand, labels in zip(node.op.coefficients, node.operands, node.op.inputs, strict=True):
            assert not isinstance(c, complex)
            part = _term(operand, tuple(axes[k] for k in labels), taken, names)
            terms.append(part if c == 1 else Term("scaled", (part,), c))
        return functools.reduce(lambda x, y: Term("plus", (x, y)), terms)
    if isinstance(node.op, Einsum):
        return _product(node, axes, taken, names)
    if isinstance(node.op, (Input, Constant)):
        if len(set(axes)) != len(axes):
            raise NotExpressible("a diagonal")
        return names.leaf(node, axes)
    raise NotExpressible(node.op.name)


def _product(node: Node, axes: tuple[int, ...], taken: set[int], names: Names) -> Term:
    assert isinstance(node.op, Einsum)
    if len(set(node.op.output)) != len(node.op.output):
        raise NotExpressible("an embedded diagonal")
    place = dict(zip(node.op.output, axes, strict=True))
    taken = set(taken)
    for operand, labels in zip(node.operands, node.op.inputs, strict=True):
        for axis, label in enumerate(labels):
            if label not in place:
                place[label] = names.chosen(int(str(operand.type.shape[axis])), _places(operand, axis), taken)
    # Later factors must not sum over a name that an earlier one has summed over.
    factors = []
    for operand, labels in zip(node.operands, node.op.inputs, strict=True):
        factors.append(_term(operand, tuple(place[x] for x in labels), taken, names))
    summed = bits([place[label] for label in place if label not in node.op.output])
    if len(factors) == 1:
        return Term("total", (factors[0],), 0, summed) if summed else factors[0]
    *first, last = factors
    return Term("product", (functools.reduce(lambda x, y: Term("product", (x, y)), first), last), 0, summed)


# --- and back ----------------------------------------------------------------------------------


def node_of(term: Term, axes: Sequence[int], names: Names, known: dict[Term, tuple[Node, tuple[int, ...]]]) -> Node:
    """The graph of a term with these axes; equal parts become one node even where names differ."""
    node, own = _built(term, names, known)
    return build.transpose(node, [own.index(k) for k in axes])


def _built(term: Term, names: Names, known: dict[Term, tuple[Node, tuple[int, ...]]]) -> tuple[Node, tuple[int, ...]]:
    if term in known:
        return known[term]
    if term.kind == "leaf":
        found = names.leaves[int(term.number)]
    elif term.kind in ("plus", "scaled"):
        found = _built_sum(term, names, known)
    else:
        parts = [_built(part, names, known) for part in term.parts]
        output = tuple(dict.fromkeys(k for _, own in parts for k in own if not term.indices >> k & 1))
        found = build.einsum([x for x, _ in parts], [own for _, own in parts], output), output
    known[term] = found
    return found


def _built_sum(
    term: Term, names: Names, known: dict[Term, tuple[Node, tuple[int, ...]]]
) -> tuple[Node, tuple[int, ...]]:
    # Only signs go into the sum: a sum or a scaling that stands in it may be read elsewhere too.
    flat: list[tuple[float, Term]] = []
    for part in term.parts if term.kind == "plus" else [term]:
        factor = 1.0
        while part.kind == "scaled" and (part is term or abs(part.number) == 1):
            factor, part = factor * part.number, part.parts[0]
        flat.append((factor, part))
    built = {part: _built(part, names, known) for _, part in flat}
    axes = built[flat[0][1]][1]
    operands = [build.transpose(built[p][0], [built[p][1].index(k) for k in axes]) for _, p in flat]
    return build.linear_combination([c for c, _ in flat], operands), axes
