"""Sizes of axes: integers, or exact integer expressions over named symbols.

A :data:`Size` is an ``int`` or a :class:`Dim`.  A ``Dim`` is a polynomial with integer
coefficients over *atoms*: named symbols, floor quotients, minima and maxima.  The polynomial
is kept in one normal form and interned, so equal sizes are the same object and comparing
shapes is comparing tuples.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Union

from .errors import NamingError, ParseError, ShapeError

if TYPE_CHECKING:
    import sympy

_IDENTIFIER = re.compile(r"[^\W\d]\w*\Z")


@dataclass(frozen=True, order=True)
class Symbol:
    """A named size whose value comes from the data."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class SizeFunction:
    """``floordiv(a, b)``, ``min(a, b)`` or ``max(a, b)`` that did not reduce to a polynomial."""

    name: str
    left: Size
    right: Size

    def __str__(self) -> str:
        return f"{self.name}({self.left}, {self.right})"


Atom = Union[Symbol, SizeFunction]
Monomial = tuple[tuple[Atom, int], ...]

_FUNCTIONS: dict[str, Callable[[int, int], int]] = {
    "floordiv": lambda a, b: a // b,
    "min": min,
    "max": max,
}


class Dim:
    """A symbolic size: an interned integer polynomial over atoms.

    >>> i = dim("i")
    >>> (i + 1) * 2 is 2 + i * 2
    True
    >>> i - i
    0
    """

    __slots__ = ("_text", "terms")
    _interned: ClassVar[dict[tuple[tuple[Monomial, int], ...], Dim]] = {}
    terms: tuple[tuple[Monomial, int], ...]
    _text: str | None

    def __new__(cls, name: str) -> Dim:
        """The symbolic size called ``name``."""
        return dim(name)

    def __add__(self, other: Size) -> Size:
        return _from_terms(_sum_terms(_terms(self), _terms(other)))

    def __mul__(self, other: Size) -> Size:
        return _from_terms(_product_terms(_terms(self), _terms(other)))

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> Size:
        return self * -1

    def __sub__(self, other: Size) -> Size:
        return self + other * -1

    def __rsub__(self, other: Size) -> Size:
        return other + self * -1

    def __floordiv__(self, other: Size) -> Size:
        return floor_divide(self, other)

    def __rfloordiv__(self, other: Size) -> Size:
        return floor_divide(other, self)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, str) and str(self) == other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        if self._text is None:
            self._text = _format(self.terms)
        return self._text

    def __repr__(self) -> str:
        return f"Dim({str(self)!r})"

    def __reduce__(self) -> tuple[Callable[[str], Size], tuple[str]]:
        return parse_size, (str(self),)

    def __copy__(self) -> Dim:
        return self

    def __deepcopy__(self, memo: object) -> Dim:
        return self

    @property
    def is_symbol(self) -> bool:
        """Whether this is a bare symbol, such as ``i``."""
        return self.symbol_name is not None

    @property
    def symbol_name(self) -> str | None:
        """The name, when this is a bare symbol."""
        if len(self.terms) == 1 and self.terms[0][1] == 1:
            monomial = self.terms[0][0]
            if len(monomial) == 1 and monomial[0][1] == 1 and isinstance(monomial[0][0], Symbol):
                return monomial[0][0].name
        return None


Size = Union[int, Dim]


def dim(name: str) -> Dim:
    """Return the symbolic size called ``name`` (an identifier).

    Raises ``NamingError`` when the name is not an identifier.
    """
    if not isinstance(name, str) or not _IDENTIFIER.match(name):
        raise NamingError(
            f"{name!r} cannot name a dim; a name is a letter or underscore followed by letters, digits and underscores"
        )
    return _intern({((Symbol(name), 1),): 1})


def as_size(value: object) -> Size:
    """Turn an ``int``, a ``Dim``, a name or size text such as ``"i+1"`` into a size."""
    if isinstance(value, Dim):
        return value
    if isinstance(value, str):
        return dim(value) if _IDENTIFIER.match(value) else parse_size(value)
    try:
        number = value.__index__()  # type: ignore[attr-defined]
    except AttributeError:
        raise ShapeError(f"{value!r} is not a size; a size is an int, a name such as 'i', or an otus.Dim") from None
    return int(number)


def floor_divide(left: Size, right: Size) -> Size:
    """``left // right``; exact when ``right`` divides every term of ``left``."""
    if right == 0:
        raise ShapeError(f"size {left} cannot be divided by 0")
    if isinstance(left, int) and isinstance(right, int):
        return left // right
    quotient = _exact_quotient(left, right)
    return _apply("floordiv", left, right) if quotient is None else quotient


def ceil_divide(left: Size, right: Size) -> Size:
    """The least integer that is at least ``left / right``."""
    return -1 * floor_divide(-1 * left, right)


def minimum(left: Size, right: Size) -> Size:
    """The smaller size; stays symbolic when the difference is not a known integer."""
    return _extremum("min", left, right)


def maximum(left: Size, right: Size) -> Size:
    """The larger size; stays symbolic when the difference is not a known integer."""
    return _extremum("max", left, right)


def product(sizes: Iterable[Size]) -> Size:
    """The product of sizes; 1 for none."""
    result: Size = 1
    for size in sizes:
        result = result * size
    return result


def evaluate(size: Size, sizes: Mapping[str, int]) -> int:
    """The integer value of ``size`` under ``sizes``; raises ``NamingError`` for an unbound symbol."""
    if isinstance(size, int):
        return size
    total = 0
    for monomial, coefficient in size.terms:
        value = coefficient
        for atom, power in monomial:
            value *= _evaluate_atom(atom, sizes) ** power
        total += value
    return total


def substitute(size: Size, sizes: Mapping[str, Size]) -> Size:
    """Replace symbols by other sizes; symbols not in ``sizes`` stay."""
    if isinstance(size, int):
        return size
    total: Size = 0
    for monomial, coefficient in size.terms:
        value: Size = coefficient
        for atom, power in monomial:
            replaced = _substitute_atom(atom, sizes)
            for _ in range(power):
                value = value * replaced
        total = total + value
    return total


def symbols(size: Size) -> frozenset[str]:
    """The names of the symbols that ``size`` depends on."""
    if isinstance(size, int):
        return frozenset()
    names: set[str] = set()
    for monomial, _ in size.terms:
        for atom, _ in monomial:
            if isinstance(atom, Symbol):
                names.add(atom.name)
            else:
                names |= symbols(atom.left) | symbols(atom.right)
    return frozenset(names)


def to_sympy(size: Size) -> sympy.Expr:
    """``size`` as a SymPy expression over non-negative integer symbols."""
    import sympy

    if isinstance(size, int):
        return sympy.Integer(size)
    total = sympy.Integer(0)
    for monomial, coefficient in size.terms:
        term = sympy.Integer(coefficient)
        for atom, power in monomial:
            term *= _atom_to_sympy(atom) ** power
        total += term
    return total


def parse_size(text: str) -> Size:
    """Read the text form of a size, such as ``"2*i + 1"`` or ``"floordiv(i, 2)"``."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ParseError(f"{text!r} is not a size; write an integer or a sum such as i+1") from None
    return size_from_ast(tree)


def size_from_ast(tree: ast.expr) -> Size:
    """Convert a Python expression over names and integers into a size."""
    match tree:
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            return value
        case ast.Name(id=name):
            return dim(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -1 * size_from_ast(operand)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return size_from_ast(left) + size_from_ast(right)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return size_from_ast(left) - size_from_ast(right)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return size_from_ast(left) * size_from_ast(right)
        case ast.BinOp(left=left, op=ast.FloorDiv(), right=right):
            return floor_divide(size_from_ast(left), size_from_ast(right))
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=int() as power)):
            return product([size_from_ast(left)] * power)
        case ast.Call(func=ast.Name(id=name), args=[left, right]) if name in _FUNCTIONS:
            return apply_function(name, size_from_ast(left), size_from_ast(right))
    raise ParseError(f"{ast.unparse(tree)!r} is not a size")


def apply_function(name: str, left: Size, right: Size) -> Size:
    """Apply ``floordiv``, ``min`` or ``max`` by name."""
    return floor_divide(left, right) if name == "floordiv" else _extremum(name, left, right)


def _extremum(name: str, left: Size, right: Size) -> Size:
    sign = _known_sign(left - right)
    if sign is None:
        return _apply(name, left, right)
    return left if (sign <= 0) == (name == "min") else right


def _known_sign(difference: Size) -> int | None:
    """1 where a difference is never negative, -1 where it is never positive (sizes are ≥ 0)."""
    if isinstance(difference, int):
        return 1 if difference > 0 else -1
    atoms = [atom for monomial, _ in difference.terms for atom, _ in monomial]
    if all(isinstance(atom, Symbol) for atom in atoms):
        coefficients = [coefficient for _, coefficient in difference.terms]
        if min(coefficients) >= 0:
            return 1
        if max(coefficients) <= 0:
            return -1
    return None


def _apply(name: str, left: Size, right: Size) -> Dim:
    return _intern({((SizeFunction(name, left, right), 1),): 1})


def _exact_quotient(left: Size, right: Size) -> Size | None:
    divisor = _terms(right)
    if len(divisor) != 1:
        return 1 if left is right else None
    ((monomial, coefficient),) = divisor.items()
    powers = dict(monomial)
    result: dict[Monomial, int] = {}
    for term, factor in _terms(left).items():
        remaining = dict(term)
        for atom, power in powers.items():
            remaining[atom] = remaining.get(atom, 0) - power
        if factor % coefficient or min(remaining.values(), default=0) < 0:
            return None
        result[_monomial(remaining)] = factor // coefficient
    return _from_terms(result)


def _terms(size: Size) -> dict[Monomial, int]:
    if isinstance(size, Dim):
        return dict(size.terms)
    return {(): int(size)} if size else {}


def _sum_terms(left: dict[Monomial, int], right: dict[Monomial, int]) -> dict[Monomial, int]:
    total = dict(left)
    for monomial, coefficient in right.items():
        total[monomial] = total.get(monomial, 0) + coefficient
    return total


def _product_terms(left: dict[Monomial, int], right: dict[Monomial, int]) -> dict[Monomial, int]:
    total: dict[Monomial, int] = {}
    for a, x in left.items():
        for b, y in right.items():
            powers = dict(a)
            for atom, power in b:
                powers[atom] = powers.get(atom, 0) + power
            monomial = _monomial(powers)
            total[monomial] = total.get(monomial, 0) + x * y
    return total


def _monomial(powers: Mapping[Atom, int]) -> Monomial:
    return tuple(sorted(((a, p) for a, p in powers.items() if p), key=lambda item: str(item[0])))


def _from_terms(terms: dict[Monomial, int]) -> Size:
    kept = {monomial: c for monomial, c in terms.items() if c}
    if not kept:
        return 0
    return kept[()] if list(kept) == [()] else _intern(kept)


def _intern(terms: dict[Monomial, int]) -> Dim:
    key = tuple(sorted(terms.items(), key=lambda item: (-len(item[0]), str(item[0]))))
    known = Dim._interned.get(key)
    if known is None:
        known = object.__new__(Dim)
        known.terms, known._text = key, None
        known = Dim._interned.setdefault(key, known)
    return known


def _evaluate_atom(atom: Atom, sizes: Mapping[str, int]) -> int:
    if isinstance(atom, Symbol):
        if atom.name not in sizes:
            raise NamingError(f"dim {atom.name} has no size; give it one, for example dims={{{atom.name!r}: 8}}")
        return int(sizes[atom.name])
    return _FUNCTIONS[atom.name](evaluate(atom.left, sizes), evaluate(atom.right, sizes))


def _substitute_atom(atom: Atom, sizes: Mapping[str, Size]) -> Size:
    if isinstance(atom, Symbol):
        return sizes.get(atom.name, dim(atom.name))
    return apply_function(atom.name, substitute(atom.left, sizes), substitute(atom.right, sizes))


def _atom_to_sympy(atom: Atom) -> sympy.Expr:
    import sympy

    if isinstance(atom, Symbol):
        return sympy.Symbol(atom.name, integer=True, nonnegative=True)
    left, right = to_sympy(atom.left), to_sympy(atom.right)
    if atom.name == "floordiv":
        return sympy.floor(left / right)
    return sympy.Min(left, right) if atom.name == "min" else sympy.Max(left, right)


def _format(terms: tuple[tuple[Monomial, int], ...]) -> str:
    text = ""
    for monomial, coefficient in terms:
        factors = [str(atom) if power == 1 else f"{atom}**{power}" for atom, power in monomial]
        if abs(coefficient) != 1 or not factors:
            factors.insert(0, str(abs(coefficient)))
        sign = "-" if coefficient < 0 else ("+" if text else "")
        text += sign + "*".join(factors)
    return text
