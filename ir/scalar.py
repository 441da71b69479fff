"""Scalar expressions: what a map applies to each element.

A :class:`Scalar` is an interned tree of :class:`Argument`, :class:`Literal` and :class:`Call`.
Literals are weak Python numbers: they adapt to the tensors they meet, as in NumPy 2.
The text form is a Python expression over ``a, b, c, …`` (the map's operands), for example
``where(a > 0, a, 0.0)``; :func:`parse_scalar` gives the same object back.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Union
from weakref import WeakValueDictionary

from .dtypes import DType, promote
from .errors import DTypeError, ParseError, nearest

Number = Union[bool, int, float, complex]


class Scalar:
    """Base of scalar expressions; equal expressions are the same object."""

    __slots__ = ("__weakref__",)

    def __reduce__(self) -> tuple[Callable[[str], Scalar], tuple[str]]:
        return parse_scalar, (scalar_text(self),)


class Argument(Scalar):
    """The element of operand ``position``."""

    __slots__ = ("position",)
    position: int


class Literal(Scalar):
    """A weak Python number."""

    __slots__ = ("value",)
    value: Number


class Call(Scalar):
    """A scalar function applied to expressions."""

    __slots__ = ("arguments", "function")
    function: str
    arguments: tuple[Scalar, ...]


_interned: WeakValueDictionary[object, Scalar] = WeakValueDictionary()


def argument(position: int) -> Argument:
    """The element of operand ``position``, written ``a`` for 0, ``b`` for 1, …"""
    key = ("argument", position)
    found = _interned.get(key)
    if found is None:
        found = Argument()
        found.position = position
        found = _interned.setdefault(key, found)
    assert isinstance(found, Argument)
    return found


_not_numbers: dict[str, Number] = {}


def canonical_number(value: Number) -> Number:
    """``value`` itself, and one object for every NaN that reads the same, so that equal things are equal."""
    return value if value == value else _not_numbers.setdefault(repr(value), value)


def literal(value: Number) -> Literal:
    """A weak Python number; ``1``, ``1.0`` and ``True`` are three different literals."""
    key = ("literal", type(value), repr(value))
    found = _interned.get(key)
    if found is None:
        found = Literal()
        found.value = value
        found = _interned.setdefault(key, found)
    assert isinstance(found, Literal)
    return found


def call(function: str, *arguments: Scalar | Number) -> Call:
    """Apply the scalar function of that name; raises ``ParseError`` for an unknown one."""
    if function not in SCALAR_FUNCTIONS:
        hint = nearest(function, SCALAR_FUNCTIONS)
        raise ParseError(f"unknown scalar function {function!r}{hint}")
    row = SCALAR_FUNCTIONS[function]
    if len(arguments) != row.arity:
        raise ParseError(f"{function} takes {row.arity} arguments, not {len(arguments)}")
    operands = tuple(x if isinstance(x, Scalar) else literal(x) for x in arguments)
    key = (function, operands)
    found = _interned.get(key)
    if found is None:
        found = Call()
        found.function, found.arguments = function, operands
        found = _interned.setdefault(key, found)
    assert isinstance(found, Call)
    return found


# --- the table of scalar functions -------------------------------------------------------------

DTypeRule = Callable[[Sequence[Union[DType, Number]]], Union[DType, Number]]


def _promoted(operands: Sequence[DType | Number]) -> DType | Number:
    if all(not isinstance(x, DType) for x in operands):
        return sum(x for x in operands if not isinstance(x, DType))
    return promote(*operands)


def _floating(operands: Sequence[DType | Number]) -> DType | Number:
    """Integers and booleans become floating, at NumPy's widths."""
    joined = _promoted(operands)
    if not isinstance(joined, DType):
        return joined if isinstance(joined, complex) else float(joined)
    if joined.is_inexact:
        return joined
    return {8: DType.float16, 16: DType.float32}.get(joined.bits, DType.float64)


def _quotient(operands: Sequence[DType | Number]) -> DType | Number:
    """True division of integers of every width gives float64, as in NumPy."""
    joined = _promoted(operands)
    return joined if isinstance(joined, DType) and joined.is_inexact else promote(joined, DType.float64)


def _boolean(operands: Sequence[DType | Number]) -> DType | Number:
    return DType.bool


def _magnitude(operands: Sequence[DType | Number]) -> DType | Number:
    joined = _promoted(operands)
    return joined.real if isinstance(joined, DType) else abs(joined)


def _selected(operands: Sequence[DType | Number]) -> DType | Number:
    return _promoted(operands[1:])


@dataclass(frozen=True)
class ScalarFunction:
    """One row: arity, dtype rule, the operator that writes it, and whether 0 goes to 0."""

    arity: int
    dtype: DTypeRule = _promoted
    symbol: str = ""
    keeps_zero: bool = False
    real_only: bool = False


_FLOATING_UNARY = "exp log log1p sqrt rsqrt cos arccos cosh sigmoid softplus erfc"
_FLOATING_ZERO = "expm1 sin tan arcsin arctan sinh tanh erf"
_REAL_ONLY = {"sigmoid", "softplus", "erf", "erfc"}

SCALAR_FUNCTIONS: Mapping[str, ScalarFunction] = {
    "add": ScalarFunction(2, symbol="+"),
    "sub": ScalarFunction(2, symbol="-"),
    "mul": ScalarFunction(2, symbol="*", keeps_zero=True),
    "div": ScalarFunction(2, _quotient, symbol="/"),
    "reciprocal": ScalarFunction(1, _quotient),
    "pow": ScalarFunction(2, symbol="**"),
    "mod": ScalarFunction(2, symbol="%", real_only=True),
    "neg": ScalarFunction(1, keeps_zero=True),
    "square": ScalarFunction(1, keeps_zero=True),
    **{name: ScalarFunction(1, _floating, real_only=name in _REAL_ONLY) for name in _FLOATING_UNARY.split()},
    **{
        name: ScalarFunction(1, _floating, keeps_zero=True, real_only=name in _REAL_ONLY)
        for name in _FLOATING_ZERO.split()
    },
    "relu": ScalarFunction(1, keeps_zero=True, real_only=True),
    "abs": ScalarFunction(1, _magnitude, keeps_zero=True),
    "sign": ScalarFunction(1, keeps_zero=True),
    "floor": ScalarFunction(1, keeps_zero=True, real_only=True),
    "real": ScalarFunction(1, _magnitude, keeps_zero=True),
    "imag": ScalarFunction(1, _magnitude, keeps_zero=True),
    "conj": ScalarFunction(1, keeps_zero=True),
    "arctan2": ScalarFunction(2, _floating, real_only=True),
    "logaddexp": ScalarFunction(2, _floating, real_only=True),
    "maximum": ScalarFunction(2),
    "minimum": ScalarFunction(2),
    "where": ScalarFunction(3, _selected),
    "isfinite": ScalarFunction(1, _boolean),
    "eq": ScalarFunction(2, _boolean, symbol="=="),
    "ne": ScalarFunction(2, _boolean, symbol="!="),
    "lt": ScalarFunction(2, _boolean, symbol="<"),
    "le": ScalarFunction(2, _boolean, symbol="<="),
    "gt": ScalarFunction(2, _boolean, symbol=">"),
    "ge": ScalarFunction(2, _boolean, symbol=">="),
    "logical_and": ScalarFunction(2, _boolean, keeps_zero=True),
    "logical_or": ScalarFunction(2, _boolean),
    "logical_not": ScalarFunction(1, _boolean),
}

_BY_SYMBOL = {row.symbol: name for name, row in SCALAR_FUNCTIONS.items() if row.symbol}


def infer_dtype(expression: Scalar, operands: Sequence[DType]) -> DType:
    """The dtype that ``expression`` has over operands of these dtypes.

    Raises ``DTypeError`` where a function has no value for complex operands.
    """
    return _inferred(expression, tuple(operands))


@functools.lru_cache(maxsize=4096)
def _inferred(expression: Scalar, operands: tuple[DType, ...]) -> DType:
    known: dict[Scalar, DType | Number] = {}
    for part in postorder(expression):
        if isinstance(part, Argument):
            known[part] = operands[part.position]
        elif isinstance(part, Literal):
            known[part] = part.value
        elif isinstance(part, Call):
            known[part] = _infer_call(part, [known[x] for x in part.arguments])
    result = known[expression]
    return result if isinstance(result, DType) else promote(result)


def _infer_call(part: Call, operands: list[DType | Number]) -> DType | Number:
    row = SCALAR_FUNCTIONS[part.function]
    if row.real_only and any(x.kind == "complex" if isinstance(x, DType) else isinstance(x, complex) for x in operands):
        raise DTypeError(f"{part.function} is defined for real operands only, not complex ones")
    return row.dtype(operands)


def postorder(expression: Scalar) -> list[Scalar]:
    """Every distinct subexpression, operands before users."""
    return depth_first(expression, lambda part: part.arguments if isinstance(part, Call) else ())


def depth_first(expression: Scalar, below: Callable[[Scalar], Sequence[Scalar]]) -> list[Scalar]:
    """The expression and what it needs by ``below``, each once and after what it needs, the first of that first."""
    order: list[Scalar] = []
    seen: set[Scalar] = set()
    stack: list[tuple[Scalar, bool]] = [(expression, False)]
    while stack:
        part, ready = stack.pop()
        if ready:
            order.append(part)
        elif part not in seen:
            seen.add(part)
            stack.append((part, True))
            stack.extend((x, False) for x in reversed(below(part)))
    return order


def use_counts(expression: Scalar) -> dict[Scalar, int]:
    """How often each distinct subexpression but the whole is an argument of another.

    >>> {scalar_text(part): count for part, count in use_counts(parse_scalar("a * a + b")).items()}
    {'a': 2, 'a * a': 1, 'b': 1}
    """
    uses: dict[Scalar, int] = {}
    for part in postorder(expression):
        if isinstance(part, Call):
            for operand in part.arguments:
                uses[operand] = uses.get(operand, 0) + 1
    return uses


def substitute_arguments(expression: Scalar, values: Sequence[Scalar]) -> Scalar:
    """Replace operand ``k`` by ``values[k]`` throughout."""
    places: dict[Scalar, Scalar] = {
        part: values[part.position] for part in postorder(expression) if isinstance(part, Argument)
    }
    return replace_parts(expression, places)


def replace_parts(expression: Scalar, parts: Mapping[Scalar, Scalar]) -> Scalar:
    """Replace whole subexpressions throughout; what stands inside a replaced one does not matter."""
    replaced: dict[Scalar, Scalar] = {}
    for part in postorder(expression):
        if part in parts:
            replaced[part] = parts[part]
        elif isinstance(part, Call):
            replaced[part] = call(part.function, *(replaced[x] for x in part.arguments))
        else:
            replaced[part] = part
    return replaced[expression]


def sum_of_multiples(coefficients: Sequence[complex]) -> Scalar:
    """The scalar expression of a linear combination.

    >>> scalar_text(sum_of_multiples((1, -1, 2.0)))
    '(a - b) + (2.0 * c)'
    """
    total: Scalar | None = None
    for position, coefficient in enumerate(coefficients):
        term: Scalar = argument(position)
        if coefficient == -1 and total is not None:
            total = call("sub", total, term)
            continue
        if coefficient == -1:
            term = call("neg", term)
        elif coefficient != 1:
            term = call("mul", coefficient, term)
        total = term if total is None else call("add", total, term)
    assert total is not None
    return total


def used_arguments(expression: Scalar) -> list[int]:
    """The positions of the operands that ``expression`` reads, ascending."""
    return sorted(part.position for part in postorder(expression) if isinstance(part, Argument))


# --- text --------------------------------------------------------------------------------------


def argument_name(position: int) -> str:
    """``a`` … ``z``, then ``a1`` …: the name of an operand in scalar text."""
    letter = chr(ord("a") + position % 26)
    return letter if position < 26 else f"{letter}{position // 26}"


def scalar_text(expression: Scalar) -> str:
    """The text form of ``expression``; operators are parenthesised inside operators."""
    text: dict[Scalar, str] = {}
    for part in postorder(expression):
        if isinstance(part, Argument):
            text[part] = argument_name(part.position)
        elif isinstance(part, Literal):
            text[part] = number_text(part.value)
        elif isinstance(part, Call):
            text[part] = _call_text(part, text)
    return text[expression]


def _call_text(part: Call, text: Mapping[Scalar, str]) -> str:
    symbol = SCALAR_FUNCTIONS[part.function].symbol
    if not symbol:
        return f"{part.function}({', '.join(text[x] for x in part.arguments)})"
    left, right = (
        f"({text[x]})" if isinstance(x, Call) and SCALAR_FUNCTIONS[x.function].symbol else text[x]
        for x in part.arguments
    )
    return f"{left} {symbol} {right}"


def number_text(value: Number) -> str:
    """Text that :func:`parse_scalar` reads back as the very same number."""
    if isinstance(value, complex):
        return f"complex({value.real!r}, {value.imag!r})"
    text = repr(value)
    return f"({text})" if text.startswith("-") else text


_OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.Pow: "pow", ast.Mod: "mod",
    ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge",
}  # fmt: skip


def parse_scalar(text: str) -> Scalar:
    """Read the text form; raises ``ParseError`` where it is not a scalar expression."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        return _from_ast(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ParseError(f"{text!r} is not a scalar expression such as 'exp(a) * b'") from None


def _from_ast(tree: ast.expr) -> Scalar:
    number = number_from_ast(tree)
    if number is not None:
        return literal(number)
    match tree:
        case ast.Name(id=name):
            return argument(_argument_position(name))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return call(name, *map(_from_ast, arguments))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return call(_OPERATORS[type(op)], _from_ast(left), _from_ast(right))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
            return call(_OPERATORS[type(op)], _from_ast(left), _from_ast(right))
    raise ParseError(f"{ast.unparse(tree)!r} is not a scalar expression")


def number_from_ast(tree: ast.expr) -> Number | None:
    """The number that a literal stands for (signs, ``nan``, ``inf``, ``complex(x, y)``), or None."""
    match tree:
        case ast.Constant(value=bool() | int() | float() as value):
            return value
        case ast.Name(id="nan" | "inf" as name):
            return canonical_number(float(name))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = number_from_ast(operand)
            return None if inner is None or isinstance(inner, complex) else -inner
        case ast.Call(func=ast.Name(id="complex"), args=[real, imag]):
            parts = number_from_ast(real), number_from_ast(imag)
            if parts[0] is not None and parts[1] is not None:
                return canonical_number(complex(float(parts[0].real), float(parts[1].real)))
    return None


def _argument_position(name: str) -> int:
    letter, digits = name[0], name[1:]
    if not ("a" <= letter <= "z" and (digits == "" or digits.isdecimal())):
        raise ParseError(f"{name!r} is not an operand of a map; operands are a, b, c, …")
    return ord(letter) - ord("a") + 26 * int(digits or 0)
