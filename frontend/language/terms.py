"""Indexed terms: expressions whose indices have been told apart.

Every index is one object, made where it is bound (on the left, by a reduction, or by the product
that sums it), so the same letter in two additive terms is two indices, each with its own range.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...ir import Dim, Size
from ..expression import Expression
from .diagnostics import Span


@dataclass(frozen=True, eq=False)
class Index:
    """An index: its name, where it was bound, and the size that a ``dim`` gives it (or None).

    ``declared`` is where a ``dim`` statement fixes the range; without one, ``size`` is a last resort.
    """

    name: str
    span: Span
    size: Size | None = None
    declared: Span | None = None


@dataclass(frozen=True)
class Affine:
    """A subscript: ``constant + Σ coefficient · index``."""

    constant: Size
    coefficients: tuple[tuple[Index, int], ...] = ()

    @property
    def plain(self) -> Index | None:
        """The index, where the subscript is nothing else."""
        if self.constant == 0 and len(self.coefficients) == 1 and self.coefficients[0][1] == 1:
            return self.coefficients[0][0]
        return None


@dataclass(frozen=True, eq=False)
class Term:
    """Base of indexed terms."""

    span: Span


@dataclass(frozen=True, eq=False)
class ValueTerm(Term):
    """A number, a scalar tensor, or a size."""

    value: Expression | Dim | int | float


@dataclass(frozen=True, eq=False)
class AccessTerm(Term):
    """``tensor[subscripts]``; ``label`` is the tensor as the text names it."""

    tensor: Expression
    subscripts: tuple[Affine, ...]
    places: tuple[Span, ...]
    label: str


@dataclass(frozen=True, eq=False)
class DeltaTerm(Term):
    """``delta[a, b]``: 1 where the subscripts are equal, else 0."""

    subscripts: tuple[Affine, Affine]


@dataclass(frozen=True, eq=False)
class PositionTerm(Term):
    """The value of an index, inside a 0/1 bracket."""

    index: Index


@dataclass(frozen=True, eq=False)
class BracketTerm(Term):
    """``[condition]``: 1 where it holds, else 0."""

    condition: AnyTerm


@dataclass(frozen=True, eq=False)
class SumTerm(Term):
    """A sum with signs 1 and -1."""

    signs: tuple[int, ...]
    terms: tuple[AnyTerm, ...]


@dataclass(frozen=True, eq=False)
class ProductTerm(Term):
    """Factors (in the denominator where ``inverted``), summed over ``summed``."""

    factors: tuple[AnyTerm, ...]
    inverted: tuple[bool, ...]
    summed: tuple[Index, ...]


@dataclass(frozen=True, eq=False)
class CallTerm(Term):
    """An elementwise function or operator; other arguments are plain values."""

    function: str
    arguments: tuple[AnyTerm, ...]
    keywords: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ReduceTerm(Term):
    """A reduction over ``indices``; softmax and its kin keep them."""

    function: str
    indices: tuple[Index, ...]
    body: AnyTerm
    keeps: bool


AnyTerm = (
    ValueTerm | AccessTerm | DeltaTerm | PositionTerm | BracketTerm | SumTerm | ProductTerm | CallTerm | ReduceTerm
)


def parts(term: AnyTerm) -> tuple[AnyTerm, ...]:
    """The terms directly inside one."""
    match term:
        case BracketTerm(condition=condition):
            return (condition,)
        case SumTerm(terms=inner) | ProductTerm(factors=inner) | CallTerm(arguments=inner):
            return inner
        case ReduceTerm(body=body):
            return (body,)
    return ()


def postorder(root: AnyTerm) -> list[AnyTerm]:
    """Every distinct term, parts before wholes, without recursion."""
    order: list[AnyTerm] = []
    seen: set[int] = set()
    stack: list[tuple[AnyTerm, bool]] = [(root, False)]
    while stack:
        term, ready = stack.pop()
        if ready:
            order.append(term)
        elif id(term) not in seen:
            seen.add(id(term))
            stack.append((term, True))
            stack.extend((part, False) for part in reversed(parts(term)))
    return order
