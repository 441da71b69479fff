"""Whether a tensor stays the same, or changes sign, when two of its axes are exchanged.

Found from what computes it: a kernel of pairwise distances is symmetric because the differences it
squares change sign, a Gram matrix because its factors change places.  The answer is about exact arithmetic; a sum
of three terms may round differently on the two sides of the diagonal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from ...ir import Node
from ...ir.operations import Broadcast, Cast, Constant, Delta, Einsum, Inverse, LinearCombination, Map, Reduce
from ...ir.scalar import Argument, Call, Number, Scalar, argument, call, postorder, scalar_text
from ..contraction.products import extended_renaming

Labels = tuple[int, ...]

_DEPTH = 40  # how far down operands are followed
_FACTORS = 6  # products of more operands are not looked at
_AXES = 4  # exchanges within a factor of more axes are not looked for

_ODD = {"sin", "tan", "arcsin", "arctan", "sinh", "tanh", "erf", "conj", "real", "imag", "reciprocal"}
_EVEN = {"square", "abs", "cos", "cosh"}
_COMMUTATIVE = {"maximum", "minimum", "logaddexp", "add", "eq", "ne", "logical_and", "logical_or"}


def is_symmetric(node: Node) -> bool:
    """Whether the last two axes of ``node`` may be exchanged."""
    shape = node.type.shape
    return len(shape) >= 2 and shape[-1] == shape[-2] and exchange_sign(node, node.ndim - 2, node.ndim - 1) == 1


def exchange_sign(node: Node, first: int, second: int) -> int:
    """1 where exchanging the two axes changes nothing, -1 where it changes the sign, 0 where that is not known."""
    return _Exchange().sign(node, first, second, 0)


@dataclass
class _Exchange:
    """One question and those it leads to, each answered once."""

    known: dict[tuple[Node, int, int], int] = field(default_factory=dict)

    def sign(self, node: Node, first: int, second: int, depth: int) -> int:
        """As :func:`exchange_sign`."""
        first, second = min(first, second), max(first, second)
        if first == second:
            return 1
        if node.type.shape[first] != node.type.shape[second] or depth > _DEPTH:
            return 0
        if any({first, second} <= set(group) for group in node.type.facts.symmetric):
            return 1
        key = (node, first, second)
        if key not in self.known:
            self.known[key] = self._of_operation(node, first, second, depth + 1)
        return self.known[key]

    def _of_operation(self, node: Node, first: int, second: int, depth: int) -> int:
        match node.op:
            case Delta():
                return 1
            case Constant(array=array):
                return int(np.array_equal(array, np.swapaxes(array, first, second)))
            case Cast() | Inverse() if node.ndim == 2 or isinstance(node.op, Cast):
                return max(self.sign(node.operands[0], first, second, depth), 0)
            case Broadcast(axes=axes):
                return self._of_broadcast(node, axes, first, second, depth)
            case Reduce(axes=axes):
                kept = [axis for axis in range(node.operands[0].ndim) if axis not in axes]
                return max(self.sign(node.operands[0], kept[first], kept[second], depth), 0)
            case LinearCombination():
                return self._of_sum(node, first, second, depth)
            case Map():
                return self._of_map(node, first, second, depth)
            case Einsum():
                return self._of_product(node, first, second, depth)
        return 0

    def _of_broadcast(self, node: Node, axes: Sequence[int], first: int, second: int, depth: int) -> int:
        if first not in axes and second not in axes:
            return 1
        if first in axes and second in axes:
            return self.sign(node.operands[0], axes.index(first), axes.index(second), depth)
        return 0

    # --- sums and maps -------------------------------------------------------------------------

    def _image(
        self, position: int, terms: Sequence[tuple[Node, Labels]], first: int, second: int, depth: int
    ) -> tuple[int, int]:
        """What an aligned operand becomes: a sign, and the operand that it then is; the sign 0 where it is none."""
        node, labels = terms[position]
        swapped = tuple({first: second, second: first}.get(x, x) for x in labels)
        if (node, swapped) in terms:
            return 1, terms.index((node, swapped))
        if first in labels and second in labels:
            return self.sign(node, labels.index(first), labels.index(second), depth), position
        return 0, position

    def _of_sum(self, node: Node, first: int, second: int, depth: int) -> int:
        assert isinstance(node.op, LinearCombination)
        terms = [_untransposed(x, labels) for x, labels in zip(node.operands, node.op.inputs, strict=True)]
        before: dict[int, Number] = {}
        after: dict[int, Number] = {}
        for position, coefficient in enumerate(node.op.coefficients):
            sign, image = self._image(position, terms, first, second, depth)
            if sign == 0:
                return 0
            place = terms.index(terms[position])
            before[place] = before.get(place, 0) + coefficient
            after[image] = after.get(image, 0) + sign * coefficient
        if after == before:
            return 1
        return -1 if after == {place: -c for place, c in before.items()} else 0

    def _of_map(self, node: Node, first: int, second: int, depth: int) -> int:
        assert isinstance(node.op, Map)
        terms = [_untransposed(x, labels) for x, labels in zip(node.operands, node.op.inputs, strict=True)]
        images = [self._image(k, terms, first, second, depth) for k in range(len(terms))]
        inexact = all(x.type.dtype.is_inexact for x in node.operands)  # the sign of what wraps around means little
        if not inexact or any(sign == 0 for sign, _ in images):
            return 0
        plain, same = _exchanged(node.op.expression, [(1, terms.index(term)) for term in terms])
        sign, moved = _exchanged(node.op.expression, images)
        return sign * plain if moved is same else 0

    # --- products ------------------------------------------------------------------------------

    def _of_product(self, node: Node, first: int, second: int, depth: int) -> int:
        """The product again, with its factors in other places and its summed indices renamed."""
        assert isinstance(node.op, Einsum)
        if len(node.operands) > _FACTORS:
            return 0
        output = node.op.output
        names = {x: x for x in output}
        names[output[first]], names[output[second]] = output[second], output[first]
        terms = [_untransposed(x, labels) for x, labels in zip(node.operands, node.op.inputs, strict=True)]
        return self._matched(terms, terms, names, depth)

    def _matched(
        self, left: Sequence[tuple[Node, Labels]], right: Sequence[tuple[Node, Labels]], names: dict[int, int],
        depth: int,
    ) -> int:  # fmt: skip
        """The sign with which the factors ``left``, renamed, are those of ``right``."""
        if not left:
            return 1
        (node, labels), rest = left[0], left[1:]
        for position, (other, places) in enumerate(right):
            if other is not node:
                continue
            remaining = [*right[:position], *right[position + 1 :]]
            for sign, moved in self._arrangements(node, labels, depth):
                found = extended_renaming(names, moved, places)
                inner = self._matched(rest, remaining, found, depth) if found is not None else 0
                if inner:
                    return sign * inner
        return 0

    def _arrangements(self, node: Node, labels: Labels, depth: int) -> list[tuple[int, Labels]]:
        """The labels as they stand, and with two exchanged where that does no more than change the sign."""
        found = [(1, labels)]
        for first, second in combinations(range(node.ndim if node.ndim <= _AXES else 0), 2):
            if sign := self.sign(node, first, second, depth):
                moved = list(labels)
                moved[first], moved[second] = labels[second], labels[first]
                found.append((sign, tuple(moved)))
        return found


def _untransposed(node: Node, labels: Labels) -> tuple[Node, Labels]:
    """The operand without a transposition, and its labels."""
    if isinstance(node.op, Einsum) and len(node.operands) == 1 and len(set(node.op.inputs[0])) == node.ndim:
        names = dict(zip(node.op.output, labels, strict=True))
        if set(names) == set(node.op.inputs[0]):
            return node.operands[0], tuple(names[x] for x in node.op.inputs[0])
    return node, labels


def _exchanged(expression: Scalar, images: Sequence[tuple[int, int]]) -> tuple[int, Scalar]:
    """A sign and an expression, whose product is ``expression`` with each argument replaced.

    Operands of what commutes are sorted, and signs taken out, so that equal values meet as equal expressions.
    """
    found: dict[Scalar, tuple[int, Scalar]] = {}
    for part in postorder(expression):
        if isinstance(part, Argument):
            sign, position = images[part.position]
            found[part] = sign, argument(position)
        elif isinstance(part, Call):
            found[part] = _call(part.function, [found[x] for x in part.arguments])
        else:
            found[part] = 1, part
    return found[expression]


def _call(function: str, operands: Sequence[tuple[int, Scalar]]) -> tuple[int, Scalar]:
    """A function of signed expressions, its own sign taken out where it has one."""
    signs, parts = [sign for sign, _ in operands], [part for _, part in operands]
    match function:
        case "neg":
            return -signs[0], parts[0]
        case "mul":
            return signs[0] * signs[1], call(function, *sorted(parts, key=scalar_text))
        case "div":
            return signs[0] * signs[1], call(function, *parts)
        case "add" if signs[0] == signs[1]:
            return signs[0], call(function, *sorted(parts, key=scalar_text))
        case "sub" if signs[0] == signs[1]:
            ordered = sorted(parts, key=scalar_text)
            return signs[0] * (1 if ordered == parts else -1), call(function, *ordered)
    if function in _ODD:
        return signs[0], call(function, *parts)
    if function in _EVEN:
        return 1, call(function, *parts)
    parts = [part if sign == 1 else call("neg", part) for sign, part in operands]
    if function in _COMMUTATIVE:
        parts = sorted(parts, key=scalar_text)
    return 1, call(function, *parts)
