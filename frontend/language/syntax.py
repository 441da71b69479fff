"""The syntax tree: frozen nodes, each with its place in the text.

Chains are flat: ``a + b - c`` is one :class:`Sum`, ``a * b / c`` one :class:`Product`; parentheses
nest.  That is what the implied-sum rule (:mod:`.summation`) reads.
"""

from __future__ import annotations

from dataclasses import dataclass

from .diagnostics import Span


@dataclass(frozen=True, eq=False)
class Syntax:
    """Base of everything that has a place."""

    span: Span


# --- expressions -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Number(Syntax):
    """``3`` or ``0.5``."""

    value: int | float


@dataclass(frozen=True, eq=False)
class Text(Syntax):
    """``"ij,jk->ik"``."""

    value: str


@dataclass(frozen=True, eq=False)
class Name(Syntax):
    """A name, whatever it turns out to stand for."""

    name: str


@dataclass(frozen=True, eq=False)
class Dots(Syntax):
    """``...``."""


@dataclass(frozen=True, eq=False)
class Slice(Syntax):
    """``start:stop:step`` in a subscript; absent parts are None."""

    start: Expression | None
    stop: Expression | None
    step: Expression | None


@dataclass(frozen=True, eq=False)
class Sequence(Syntax):
    """``(a, b)`` or ``[a, b]``; ``[i == j]`` is the 0/1 bracket."""

    items: tuple[Expression, ...]
    square: bool

    @property
    def is_bracket(self) -> bool:
        """Whether this is a 0/1 bracket."""
        return self.square and len(self.items) == 1 and isinstance(self.items[0], Compare)


@dataclass(frozen=True, eq=False)
class Unary(Syntax):
    """``-x`` or ``+x``."""

    operator: str
    operand: Expression


@dataclass(frozen=True, eq=False)
class Power(Syntax):
    """``x ^ y``, also written ``x ** y``."""

    base: Expression
    exponent: Expression


@dataclass(frozen=True, eq=False)
class Product(Syntax):
    """A chain of ``*``, ``/``, ``//`` and ``@``; ``operators[k]`` stands before ``factors[k + 1]``."""

    factors: tuple[Expression, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Sum(Syntax):
    """A chain of ``+`` and ``-``; ``operators[k]`` stands before ``terms[k + 1]``."""

    terms: tuple[Expression, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Compare(Syntax):
    """``x < y`` and its kin."""

    left: Expression
    operator: str
    right: Expression


@dataclass(frozen=True, eq=False)
class Keyword(Syntax):
    """``axis=0`` among arguments and facts."""

    name: str
    value: Expression


@dataclass(frozen=True, eq=False)
class Call(Syntax):
    """``f(x, axis=0)``."""

    function: Name
    arguments: tuple[Expression, ...]
    keywords: tuple[Keyword, ...]


@dataclass(frozen=True, eq=False)
class Reduction(Syntax):
    """``sum[i, j](x)``."""

    function: Name
    indices: tuple[Expression, ...]
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, eq=False)
class Attribute(Syntax):
    """``x.T``."""

    base: Expression
    name: str


@dataclass(frozen=True, eq=False)
class Method(Syntax):
    """``x.sum(axis=0)``."""

    base: Expression
    name: str
    arguments: tuple[Expression, ...]
    keywords: tuple[Keyword, ...]


@dataclass(frozen=True, eq=False)
class Access(Syntax):
    """``x[i, j]`` or ``x[0, 1:3]``."""

    base: Expression
    subscripts: tuple[Expression, ...]


Expression = (
    Number | Text | Name | Dots | Slice | Sequence | Unary | Power | Product | Sum | Compare | Call
    | Reduction | Attribute | Method | Access
)  # fmt: skip


# --- statements --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Item(Syntax):
    """One name of a ``dim`` or ``const`` statement, with its value where it has one."""

    name: str
    value: Expression | None


@dataclass(frozen=True, eq=False)
class DimStatement(Syntax):
    """``dim i, j, r = 8``."""

    items: tuple[Item, ...]


@dataclass(frozen=True, eq=False)
class ConstStatement(Syntax):
    """``const half = 0.5``."""

    items: tuple[Item, ...]


@dataclass(frozen=True, eq=False)
class TensorItem(Syntax):
    """``A[i, r]`` in a ``tensor`` statement."""

    name: str
    sizes: tuple[Expression, ...]


@dataclass(frozen=True, eq=False)
class TensorStatement(Syntax):
    """``tensor A[i,r], B[j,r] : float32, nonnegative``; the facts are those of every tensor listed."""

    items: tuple[TensorItem, ...]
    facts: tuple[Expression | Keyword, ...]


@dataclass(frozen=True, eq=False)
class Assignment(Syntax):
    """``name = value`` (``indices`` is None) or ``name[i, j] = value``."""

    target: Name
    indices: tuple[Expression, ...] | None
    value: Expression


@dataclass(frozen=True, eq=False)
class Unpacking(Syntax):
    """``a, b = value`` for a value of several tensors."""

    targets: tuple[Name, ...]
    value: Expression


@dataclass(frozen=True, eq=False)
class Definition(Syntax):
    """``def f(x, y) = body``."""

    name: Name
    parameters: tuple[Name, ...]
    body: Expression


@dataclass(frozen=True, eq=False)
class ImportStatement(Syntax):
    """``import "other.otus"``."""

    path: Text


@dataclass(frozen=True, eq=False)
class OutputStatement(Syntax):
    """``output a, b``."""

    names: tuple[Name, ...]


Statement = (
    DimStatement | ConstStatement | TensorStatement | Assignment | Unpacking | Definition | ImportStatement
    | OutputStatement
)  # fmt: skip


def children(expression: Syntax) -> list[Expression]:
    """The expressions directly inside one."""
    match expression:
        case Slice(start=start, stop=stop, step=step):
            return [x for x in (start, stop, step) if x is not None]
        case Sequence(items=items):
            return list(items)
        case Unary(operand=operand):
            return [operand]
        case Power(base=base, exponent=exponent):
            return [base, exponent]
        case Product(factors=parts) | Sum(terms=parts):
            return list(parts)
        case Compare(left=left, right=right):
            return [left, right]
        case Call(arguments=arguments, keywords=keywords):
            return [*arguments, *(k.value for k in keywords)]
        case Reduction(indices=indices, arguments=arguments):
            return [*indices, *arguments]
        case Attribute(base=base):
            return [base]
        case Method(base=base, arguments=arguments, keywords=keywords):
            return [base, *arguments, *(k.value for k in keywords)]
        case Access(base=base, subscripts=subscripts):
            return [base, *subscripts]
    return []


def walk(expression: Expression) -> list[Expression]:
    """An expression and everything inside it, from left to right, without recursion."""
    found: list[Expression] = []
    stack = [expression]
    while stack:
        part = stack.pop()
        found.append(part)
        stack.extend(reversed(children(part)))
    return found
