"""Scalar expressions as source in which every function's operands have the one dtype that NumPy computes it in.

Libraries promote by rules of their own, so nothing is left to them: operands are converted where their dtype
differs, and numbers are written in the dtype of what they meet.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..ir import DType, promote
from ..ir.scalar import SCALAR_FUNCTIONS, Argument, Call, Literal, Number, Scalar, infer_dtype, postorder, use_counts

_ATOM = re.compile(r"[\w.]+|[\w.]+\([^()]*\)")
_LONGEST = 60  # characters of an expression that stands within another
# Functions whose result has another dtype than the one that they compute in.
_OF_OPERANDS = ("abs", "real", "imag")


@dataclass(frozen=True)
class TypedValue:
    """Source of a value; ``kind`` is its dtype, or the Python number that says how weak it is.

    ``number`` says that the source is that very number; a weak value that is computed is float64.
    """

    code: str
    kind: DType | Number
    number: bool = False

    @property
    def dtype(self) -> DType:
        """What the value is computed in."""
        return self.kind if isinstance(self.kind, DType) else promote(self.kind, DType.float64)


class TypedPrinter(ABC):
    """Prints scalar expressions for one library; what is used several times becomes a statement of its own.

    ``takes_truth_values`` says that its logical functions are of booleans alone.
    """

    takes_truth_values: ClassVar[bool] = False

    def __init__(self) -> None:
        self.statements: list[str] = []

    @abstractmethod
    def temporary(self) -> str:
        """A new name."""

    @abstractmethod
    def number(self, value: Number, dtype: DType) -> str:
        """A number as a value of ``dtype`` wherever it stands."""

    @abstractmethod
    def plain_number(self, value: Number, dtype: DType) -> str:
        """A number beside a value of ``dtype`` under an operator."""

    @abstractmethod
    def converted(self, code: str, source: DType, target: DType) -> str:
        """A value in another dtype."""

    @abstractmethod
    def infix(self, function: str, inner: DType) -> str | None:
        """The operator for a function of values of ``inner``; None where it is called."""

    @abstractmethod
    def called(self, function: str, operands: Sequence[str], inner: DType) -> str:
        """A function of values of ``inner``, the condition of ``where`` a boolean."""

    def print(self, expression: Scalar, operands: Sequence[TypedValue], wanted: DType) -> str:
        """The source of the whole in ``wanted``."""
        result = infer_dtype(expression, [x.dtype for x in operands])
        uses = use_counts(expression)
        values: dict[Scalar, TypedValue] = {}
        for part in postorder(expression):
            value = self._value(part, operands, values)
            if isinstance(part, Call) and part is not expression and (uses[part] > 1 or len(value.code) > _LONGEST):
                value = TypedValue(self.named(value.code), value.kind)
            values[part] = value
        whole = values[expression]
        return self.converted(self._in(whole, result), result, wanted)

    def named(self, code: str) -> str:
        """A new name for a value."""
        name = self.temporary()
        self.statements.append(f"{name} = {code}")
        return name

    def _value(self, part: Scalar, operands: Sequence[TypedValue], values: dict[Scalar, TypedValue]) -> TypedValue:
        if isinstance(part, Argument):
            return operands[part.position]
        if isinstance(part, Literal):
            return TypedValue("", part.value, number=True)
        assert isinstance(part, Call)
        return self._call(part.function, [values[x] for x in part.arguments])

    def _call(self, function: str, operands: list[TypedValue]) -> TypedValue:
        kind = SCALAR_FUNCTIONS[function].dtype([x.kind for x in operands])
        inner = _inner(function, operands, kind)
        if function.startswith("logical_") and self.takes_truth_values:
            inner = DType.bool
        if function == "pow" and operands[1].number and not operands[0].number:
            power = self.whole_power(self._in(operands[0], inner), operands[1].kind, inner)
            if power is not None:
                return TypedValue(power, kind)
        symbol = self.infix(function, inner)
        if symbol is not None:
            sides = [self._side(x, inner, operands) for x in operands]
            return TypedValue(f"{sides[0]} {symbol} {sides[1]}", kind)
        dtypes = [DType.bool if function == "where" and k == 0 else inner for k in range(len(operands))]
        return TypedValue(
            self.called(function, [self._in(x, y) for x, y in zip(operands, dtypes, strict=True)], inner), kind
        )

    def whole_power(self, base: str, exponent: DType | Number, inner: DType) -> str | None:
        """A power with a number for its exponent, where it has a form of its own."""
        return None

    def _side(self, value: TypedValue, inner: DType, operands: Sequence[TypedValue]) -> str:
        """An operand of an operator."""
        if value.number and not isinstance(value.kind, DType) and any(not x.number for x in operands):
            return self.plain_number(value.kind, inner)
        return within(self._in(value, inner))

    def _in(self, value: TypedValue, dtype: DType) -> str:
        if value.number:
            assert not isinstance(value.kind, DType)
            return self.number(value.kind, dtype)
        return self.converted(value.code, value.dtype, dtype)


def within(code: str) -> str:
    """``code`` as it may stand beside any operator."""
    return code if _ATOM.fullmatch(code) or _is_call(code) else f"({code})"


def _is_call(code: str) -> bool:
    """Whether the source is one call or method call, to its last parenthesis."""
    head = re.match(r"-?[\w.]+\(", code)
    if head is None or code.startswith("-") or not code.endswith(")"):
        return False
    depth = 0
    for place, character in enumerate(code):
        depth += (character == "(") - (character == ")")
        if depth == 0 and character == ")" and place < len(code) - 1:
            return False
    return True


def _inner(function: str, operands: Sequence[TypedValue], kind: DType | Number) -> DType:
    """The dtype that a function computes in: that of its result unless it is a boolean or a real part."""
    joined = operands[1:] if function == "where" else operands
    if not any(isinstance(x.kind, DType) for x in operands):
        return promote(DType.float64, *(x.kind for x in joined))
    common = promote(*(x.kind for x in joined))
    if isinstance(kind, DType) and kind.is_inexact and function not in _OF_OPERANDS:
        return kind
    return common
