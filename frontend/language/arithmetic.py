"""Operators between values that are known while a text is read: numbers, sizes, tensors."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from ...ir import Dim, Size
from ...ir.types import shape_text
from .. import FUNCTIONS
from ..expression import Expression
from .calls import as_tensor, guarded
from .diagnostics import LanguageError, Span
from .scope import Value

_MAXIMUM_BITS = 1024
_MAXIMUM_TERMS = 1000

OPERATORS: dict[str, str] = {
    "+": "add", "-": "subtract", "*": "multiply", "/": "divide", "@": "matmul", "^": "power", "**": "power",
    "==": "equal", "!=": "not_equal", "<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal",
}  # fmt: skip
_NUMBERS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv,
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def combine(symbol: str, left: Value, right: Value, span: Span) -> Value:
    """``left symbol right``; raises ``LanguageError`` at ``span`` where that has no value."""
    for value in (left, right):
        if not isinstance(value, (Expression, Dim, int, float)):
            raise LanguageError.at(span, f"{symbol} does not take {describe(value)}")
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        number: Value = checked_number(_number(symbol, left, right, span), span)
        return number
    if not isinstance(left, Expression) and not isinstance(right, Expression):
        size = _size(symbol, left, right, span)
        if size is not None:
            return size
    left, right = as_tensor(left, right), as_tensor(right, left)
    result: Expression = guarded(symbol, lambda: _of_tensors(symbol, left, right), span)
    return result


def _of_tensors(symbol: str, left: Value, right: Value) -> Any:
    if symbol == "//":
        return FUNCTIONS["floor"](FUNCTIONS["divide"](left, right))
    if symbol in ("^", "**"):
        return left**right  # type: ignore[operator]
    return FUNCTIONS[OPERATORS[symbol]](left, right)


def negate(value: Value, span: Span) -> Value:
    """``-value``."""
    if isinstance(value, (int, float)):
        return -value
    if isinstance(value, Dim):
        return value * -1
    if not isinstance(value, Expression):
        raise LanguageError.at(span, f"- does not take {describe(value)}")
    result: Expression = guarded("-", lambda: FUNCTIONS["negative"](value), span)
    return result


def checked_number(value: Any, span: Span) -> Any:
    """A number, if it fits the 64 bits of an integer; floats pass."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise LanguageError.at(
            span, "the integer result does not fit in 64 bits", "write one number with a point, as in 2.0"
        )
    return value


def _number(symbol: str, left: int | float, right: int | float, span: Span) -> Any:
    if symbol == "@":
        raise LanguageError.at(span, "@ multiplies matrices, not numbers", "use *")
    try:
        return _power(left, right, span) if symbol in ("^", "**") else _NUMBERS[symbol](left, right)
    except ZeroDivisionError:
        raise LanguageError.at(span, f"{left} {symbol} {right} divides by zero") from None
    except OverflowError:
        raise LanguageError.at(span, f"{left} {symbol} {right} is too large for a float") from None


def _power(base: int | float, exponent: int | float, span: Span) -> Any:
    integers = isinstance(base, int) and isinstance(exponent, int)
    if integers and abs(base) > 1 and int(base).bit_length() * exponent > _MAXIMUM_BITS:
        raise LanguageError.at(span, f"{base} ^ {exponent} does not fit in 64 bits", f"write {base}.0 ^ {exponent}")
    value = base**exponent
    if isinstance(value, complex):
        raise LanguageError.at(span, f"{base} ^ {exponent} is not a real number")
    return value


def _size(symbol: str, left: Any, right: Any, span: Span) -> Size | None:
    """Arithmetic of sizes, or None where the result is no size."""
    if isinstance(left, float) or isinstance(right, float):
        return None
    if symbol == "//":
        return guarded("//", lambda: left // right, span)  # type: ignore[no-any-return]
    if symbol in ("^", "**") and isinstance(left, Dim) and isinstance(right, int) and 0 < right <= 8:
        result: Size = left
        for _ in range(right - 1):
            result = _bounded_product(result, left, span)
        return result
    if symbol == "*":
        return _bounded_product(left, right, span)
    if symbol in ("+", "-"):
        return left + right if symbol == "+" else left - right  # type: ignore[no-any-return]
    return None


def _bounded_product(left: Size, right: Size, span: Span) -> Size:
    terms = [len(x.terms) if isinstance(x, Dim) else 1 for x in (left, right)]
    if terms[0] * terms[1] > _MAXIMUM_TERMS:
        raise LanguageError.at(span, f"the size has more than {_MAXIMUM_TERMS} terms")
    return left * right


def describe(value: object) -> str:
    """A value as messages name it."""
    if isinstance(value, Expression):
        return f"a tensor of {value.dtype} and shape {shape_text(value.shape)}"
    if isinstance(value, str):
        return f"the text {value!r}"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if value is Ellipsis:
        return "'...'"
    return repr(value) if not isinstance(value, Dim) else f"the size {value}"
