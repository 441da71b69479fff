"""What is known of a value on a set of elements, and what scalar functions make of it.

A number, a position of the two long indices, or one of a few kinds.  What is read from memory is taken to be finite,
and so are sums and products of finite values; exponentials and quotients are not, unless it is known why.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...ir.scalar import Argument, Call, Literal, Scalar

FILL = -1e30  # a number in the place of scores that is as good as minus infinity: see windows.py
_LARGE = 1e10


class Kind(enum.Enum):
    """Finite numbers of which nothing more is known, but for ``FAR``: so far below that its exponential is 0."""

    FINITE = "finite"
    READ = "finite where what is read along a long index is"
    POSITIVE = "positive and finite"
    LOW = "finite and not positive"
    FAR = "far below zero"


@dataclass(frozen=True)
class Position:
    """``row`` times the position along the rows plus ``column`` times that along the columns plus ``offset``."""

    row: float
    column: float
    offset: float


Value = float | Position | Kind | None  # None: anything
Compare = Callable[[str, Position], Value]  # a comparison of a difference of positions with zero

_FINITE_OF_FINITE = ("sin", "cos", "tanh", "sigmoid", "erf", "erfc", "arctan", "abs", "sign", "floor", "relu")
_COMPARED: Mapping[str, Callable[[float], bool]] = {
    "eq": lambda x: x == 0, "ne": lambda x: x != 0, "lt": lambda x: x < 0,
    "le": lambda x: x <= 0, "gt": lambda x: x > 0, "ge": lambda x: x >= 0,
}  # fmt: skip


def is_finite(value: Value) -> bool:
    """Whether a value is a finite number that stands for itself: a large one may be in the place of an infinity."""
    return abs(value) < _LARGE if isinstance(value, float) else value not in (None, Kind.FAR)


def product_of(values: Sequence[Value]) -> Value:
    """The product; exactly 0 where a factor is and the others are finite."""
    result: Value = 1.0
    for value in values:
        result = _times(result, value)
    return result


@dataclass(frozen=True)
class Expression:
    """The value of a map's expression: ``differences`` are known values of one operand minus another."""

    operands: Sequence[Value]
    differences: Mapping[tuple[int, int], Value]
    compare: Compare

    def value(self, expression: Scalar) -> Value:
        """Of the whole or of a part."""
        match expression:
            case Argument(position=position):
                return self.operands[position]
            case Literal(value=number):
                return None if isinstance(number, complex) else float(number)
            case Call(function="sub", arguments=(Argument(position=i), Argument(position=j))) if (
                i,
                j,
            ) in self.differences:
                return self.differences[i, j]
        assert isinstance(expression, Call)
        return self._called(expression.function, [self.value(x) for x in expression.arguments])

    def _called(self, function: str, values: Sequence[Value]) -> Value:
        if function in _COMPARED:
            return self._compared(function, _plus(values[0], _times(-1.0, values[1])))
        match function:
            case "add":
                return _plus(values[0], values[1])
            case "sub":
                return _plus(values[0], _times(-1.0, values[1]))
            case "neg":
                return _times(-1.0, values[0])
            case "mul":
                return _times(values[0], values[1])
            case "square":
                return _times(values[0], values[0])
            case "div":
                return _divided(values[0], values[1])
            case "reciprocal":
                return _divided(1.0, values[0])
            case "exp":
                return _exponential(values[0])
            case "log":
                return Kind.FINITE if values[0] is Kind.POSITIVE else None
            case "where":
                return _selected(*values)
            case "isfinite":
                return float(math.isfinite(values[0])) if isinstance(values[0], float) else Kind.FINITE
            case "maximum" | "minimum" if all(map(is_finite, values)):
                return _either(values)
            case "logical_and" | "logical_or" | "logical_not":
                return _logical(function, values)
        if function in _FINITE_OF_FINITE and is_finite(values[0]):
            return 0.0 if function in ("sin", "tanh", "abs", "relu") and values[0] == 0 else _either(values)
        return None

    def _compared(self, function: str, difference: Value) -> Value:
        """A comparison is a number, 0 or 1, whatever it compares."""
        if isinstance(difference, float) and not math.isnan(difference):
            return float(_COMPARED[function](difference))
        return self.compare(function, difference) if isinstance(difference, Position) else Kind.FINITE


def _either(values: Sequence[Value]) -> Value:
    return Kind.READ if Kind.READ in values else Kind.FINITE


def _plus(left: Value, right: Value) -> Value:
    if isinstance(left, float) and isinstance(right, float):
        return left + right
    for one, other in ((left, right), (right, left)):
        if one == 0:
            return other
        if isinstance(one, float) and math.isinf(one):
            return one if is_finite(other) else None
    if isinstance(left, float):
        left, right = right, left
    if isinstance(left, Position) and isinstance(right, float):
        return Position(left.row, left.column, left.offset + right)
    if isinstance(left, Position) and isinstance(right, Position):
        row, column = left.row + right.row, left.column + right.column
        offset = left.offset + right.offset
        return Position(row, column, offset) if row or column else float(offset)
    if left is Kind.POSITIVE and right is Kind.POSITIVE:
        return Kind.POSITIVE
    return _either([left, right]) if is_finite(left) and is_finite(right) else None


def _times(left: Value, right: Value) -> Value:
    if isinstance(left, float) and isinstance(right, float):
        return left * right
    if isinstance(left, float):
        left, right = right, left
    if right == 1:
        return left
    if not (is_finite(left) and is_finite(right)):
        return None
    if right == 0:
        return 0.0
    if isinstance(left, Position) and isinstance(right, float):
        return Position(left.row * right, left.column * right, left.offset * right)
    if left is Kind.POSITIVE and (right is Kind.POSITIVE or (isinstance(right, float) and right > 0)):
        return Kind.POSITIVE
    return _either([left, right])


def _divided(left: Value, right: Value) -> Value:
    if isinstance(right, float):
        return _times(left, 1 / right) if right and not isinstance(left, Position) else None
    if right is not Kind.POSITIVE or not is_finite(left):
        return None
    if left == 0:
        return 0.0
    is_positive = left is Kind.POSITIVE or (isinstance(left, float) and left > 0)
    return Kind.POSITIVE if is_positive else _either([left])


def _exponential(value: Value) -> Value:
    if isinstance(value, float):
        return (0.0 if value <= FILL else math.exp(value)) if value < 80 else None  # float32 ends at exp(88)
    if value is Kind.FAR:
        return 0.0
    return Kind.FINITE if value is Kind.LOW else None


def _selected(condition: Value, left: Value, right: Value) -> Value:
    if isinstance(condition, float):
        return left if condition else right
    if left == right:
        return left
    return _either([left, right]) if is_finite(left) and is_finite(right) else None


def _logical(function: str, values: Sequence[Value]) -> Value:
    if function == "logical_not":
        return float(not values[0]) if isinstance(values[0], float) else Kind.FINITE
    decides = 0.0 if function == "logical_and" else 1.0
    truths = [float(value != 0) if isinstance(value, float) else None for value in values]
    if decides in truths:
        return decides
    return Kind.FINITE if None in truths else 1.0 - decides
