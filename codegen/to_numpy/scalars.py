"""Scalar expressions as NumPy source of exactly the dtype that the graph's rules give.

NumPy's own promotion is asked (``ufunc.resolve_dtypes``) wherever a function is a ufunc; operands are
cast, or the result is, only where NumPy would give another dtype.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir import DType, DTypeError, as_dtype, promote
from ...ir.dtypes import to_numpy_dtype
from ...ir.scalar import SCALAR_FUNCTIONS, Argument, Call, Literal, Number, Scalar, infer_dtype, postorder, use_counts
from .source import NumpySource, dtype_source, number_source

# How tightly the outermost operator binds.
_COMPARE, _ADD, _MULTIPLY, _UNARY, _POWER, _ATOM = range(6)

# function: (ufunc, operator, how tightly it binds)
_OPERATORS: dict[str, tuple[np.ufunc, str, int]] = {
    "add": (np.add, "+", _ADD), "sub": (np.subtract, "-", _ADD), "mul": (np.multiply, "*", _MULTIPLY),
    "div": (np.true_divide, "/", _MULTIPLY), "mod": (np.remainder, "%", _MULTIPLY), "pow": (np.power, "**", _POWER),
    "eq": (np.equal, "==", _COMPARE), "ne": (np.not_equal, "!=", _COMPARE), "lt": (np.less, "<", _COMPARE),
    "le": (np.less_equal, "<=", _COMPARE), "gt": (np.greater, ">", _COMPARE), "ge": (np.greater_equal, ">=", _COMPARE),
}  # fmt: skip
_UFUNCS: dict[str, np.ufunc] = {
    name: getattr(np, name)
    for name in (
        "exp", "expm1", "log", "log1p", "sqrt", "square", "sin", "cos", "tan", "arcsin", "arccos", "arctan",
        "arctan2", "sinh", "cosh", "tanh", "sign", "floor", "maximum", "minimum", "logaddexp", "isfinite", "conj",
        "logical_and", "logical_or", "logical_not", "abs",
    )
}  # fmt: skip
_HELPERS = {"sigmoid": "_sigmoid", "softplus": "_softplus", "erf": "_erf", "erfc": "_erfc"}
_IDENTITIES = {"floor": ("bool", "int", "uint"), "sign": ("bool",), "abs": ("bool", "uint"),
               "conj": ("bool", "int", "uint", "float"), "real": ("bool", "int", "uint", "float")}  # fmt: skip
_MAY_WARN = {"div", "mod", "pow", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "square", "mul",
             "add", "sub", "tan", "arcsin", "arccos", "sinh", "cosh"}  # fmt: skip

# NumPy's ** takes other powers through logarithms, at twenty times the cost of a product.
_SHORT_POWERS = {*range(3, 9), *range(-8, -1)}

_SPECIAL = ("neg", "rsqrt", "reciprocal", "relu", "where", "real", "imag")
SCALAR_RULES = frozenset({*_OPERATORS, *_UFUNCS, *_HELPERS, *_SPECIAL})


@dataclass(frozen=True)
class _Value:
    """NumpySource of a subexpression, how tightly it binds, and its dtype or weak Python number.

    ``array`` says that the source is an array although its number is weak.
    """

    code: str
    kind: DType | Number
    binding: int = _ATOM
    array: bool = True

    @property
    def resolved(self) -> Any:
        """What NumPy's promotion sees: a dtype, or a Python type for a weak number."""
        if isinstance(self.kind, DType):
            return to_numpy_dtype(self.kind)
        if self.array:
            return np.dtype(type(self.kind))
        return int if isinstance(self.kind, bool) else type(self.kind)

    @property
    def is_weak_array(self) -> bool:
        """Whether it is an array of numbers that have met no tensor yet."""
        return self.array and not isinstance(self.kind, DType)

    def within(self, binding: int) -> str:
        """The source, in parentheses unless it binds at least as tightly."""
        return self.code if self.binding >= binding else f"({self.code})"


class ScalarPrinter:
    """Prints one scalar expression; what it uses several times becomes a statement of its own."""

    def __init__(self, source: NumpySource, operands: Sequence[str], dtypes: Sequence[DType]) -> None:
        self.source, self.operands, self.dtypes = source, operands, dtypes
        self.statements: list[str] = []
        self.temporaries: list[str] = []

    def print(self, expression: Scalar) -> str:
        """The source of the whole: a fresh array of the dtype that the rules give."""
        uses = use_counts(expression)
        values: dict[Scalar, _Value] = {}
        for part in postorder(expression):
            value = self._value(part, values)
            if uses.get(part, 0) > 1 and isinstance(part, Call):
                value = self._named(value)
            values[part] = value
        return self._whole(expression, values[expression])

    def _whole(self, expression: Scalar, value: _Value) -> str:
        wanted = infer_dtype(expression, self.dtypes)
        if value.kind is not wanted and not (value.is_weak_array and as_dtype(value.resolved) is wanted):
            return _cast(_Value(value.code, DType.bool, value.binding), wanted)
        if value.code in self.operands or (isinstance(expression, Call) and expression.function in ("real", "imag")):
            return f"np.array({value.code})"
        return value.code

    def _value(self, part: Scalar, values: dict[Scalar, _Value]) -> _Value:
        if isinstance(part, Argument):
            return _Value(self.operands[part.position], self.dtypes[part.position])
        if isinstance(part, Literal):
            return _Value(number_source(part.value), part.value, array=False)
        assert isinstance(part, Call)
        negated = _negated_within(part) if part.function == "sigmoid" else None
        if negated is not None and _is_float(kind := values[negated].kind) and kind is not DType.float16:
            self.source.helpers.add("_sigmoid_of_negative")
            return _Value(f"_sigmoid_of_negative({values[negated].code})", kind)
        return self._call(part.function, [values[x] for x in part.arguments])

    def _named(self, value: _Value) -> _Value:
        name = self.source.temporary("s0")
        self.statements.append(f"{name} = {value.code}")
        self.temporaries.append(name)
        return _Value(name, value.kind, _ATOM, value.array)

    # --- one function --------------------------------------------------------------------------

    def _call(self, function: str, operands: list[_Value]) -> _Value:
        row = SCALAR_FUNCTIONS[function]
        result = row.dtype([x.kind for x in operands])
        if not any(x.array for x in operands):
            return self._of_numbers(function, operands, result)
        first = operands[0].kind
        if function in _IDENTITIES and isinstance(first, DType) and first.kind in _IDENTITIES[function]:
            return operands[0]
        if function == "where":
            return _where(operands, result)
        if function == "pow" and (exponent := _short_power(operands, result)) is not None:
            return self._products(operands[0], exponent, result)
        if not isinstance(result, DType):  # arrays made of literals alone: 64 bits until they meet a tensor
            code = self._applied(function, operands)
            return _Value(code.code, result, code.binding)
        return self._typed(function, operands, result)

    def _products(self, base: _Value, exponent: int, result: Any) -> _Value:
        """A power with a small whole exponent as products of squares; of the reciprocal where it is negative."""
        factor = base if base.code.isidentifier() else self._named(base)
        power = abs(exponent)
        total: _Value | None = None
        while True:
            if power % 2:
                total = factor if total is None else _Value(f"{total.code} * {factor.code}", result, _MULTIPLY)
            power //= 2
            if not power:
                break
            factor = self._named(_Value(f"{factor.code} * {factor.code}", result, _MULTIPLY))
        assert total is not None
        return total if exponent > 0 else _Value(f"1 / {total.within(_MULTIPLY + 1)}", result, _MULTIPLY)

    def _typed(self, function: str, operands: list[_Value], result: DType) -> _Value:
        """The function in the operands' own dtypes where that gives ``result``, else after a cast."""
        common = promote(*(x.kind for x in operands))
        joined = [_joined(x, common) for x in operands]
        if _resolved(function, joined) is result:
            return self._with_kind(function, joined, result)
        inner = promote(common, result)
        joined = [_joined(x, inner, always=True) for x in operands]
        given = _resolved(function, joined)
        if given is None:
            raise DTypeError(f"{function} of {', '.join(str(x.kind) for x in operands)} has no value in NumPy")
        value = self._with_kind(function, joined, given)
        return value if given is result else _Value(_cast(value, result), result)

    def _with_kind(self, function: str, operands: list[_Value], kind: DType) -> _Value:
        value = self._applied(function, operands)
        return _Value(value.code, kind, value.binding)

    def _of_numbers(self, function: str, operands: list[_Value], result: DType | Number) -> _Value:
        """A function of literals alone: a Python number, so that it stays weak."""
        if function == "neg":
            return _Value(f"-{operands[0].within(_UNARY + 1)}", result, _UNARY, array=False)
        value = self._applied(function, operands, infix=False)
        if isinstance(result, DType):
            return _Value(f"{dtype_source(result)}({value.code})", result)
        return _Value(f"{value.within(_ATOM)}.item()", result, array=False)

    def _applied(self, function: str, operands: list[_Value], infix: bool = True) -> _Value:
        """The source of the function applied, whatever dtype NumPy gives it."""
        codes = [x.code for x in operands]
        # NumPy's ** squares booleans for the exponent 2, which makes them int8.
        infix = infix and not (function == "pow" and operands[0].kind is DType.bool)
        if function in _OPERATORS and infix:
            return _infix(function, operands)
        if function in _OPERATORS:
            return _Value(f"np.{_OPERATORS[function][0].__name__}({', '.join(codes)})", DType.bool)
        if function in _HELPERS:
            is_half = function == "sigmoid" and operands[0].kind is DType.float16
            helper = "_half_sigmoid" if is_half else _HELPERS[function]
            self.source.helpers.add(helper)
            return _Value(f"{helper}({', '.join(codes)})", DType.bool)
        match function:
            case "neg":
                return _Value(f"-{operands[0].within(_UNARY + 1)}", DType.bool, _UNARY)
            case "rsqrt":
                return _Value(f"1 / np.sqrt({codes[0]})", DType.bool, _MULTIPLY)
            case "reciprocal" if not operands[0].array:
                return _Value(f"np.true_divide(1, {codes[0]})", DType.bool)
            case "reciprocal":
                return _Value(f"1 / {operands[0].within(_MULTIPLY + 1)}", DType.bool, _MULTIPLY)
            case "relu":
                return _Value(f"np.maximum({codes[0]}, 0)", DType.bool)
        return _Value(f"np.{function}({', '.join(codes)})", DType.bool)


def _short_power(operands: Sequence[_Value], result: DType | Number) -> int | None:
    """The exponent, where products of the base are as exact as the power and cost less."""
    base, exponent = operands
    if exponent.array or not isinstance(exponent.kind, (int, float)) or exponent.kind not in _SHORT_POWERS:
        return None
    return int(exponent.kind) if result in (DType.float32, DType.float64) and base.kind is result else None


def _negated_within(part: Call) -> Scalar | None:
    """The ``x`` of a function of ``-x``."""
    (inner,) = part.arguments
    return inner.arguments[0] if isinstance(inner, Call) and inner.function == "neg" else None


def _is_float(kind: DType | Number) -> bool:
    return isinstance(kind, DType) and kind.kind == "float"


def _infix(function: str, operands: list[_Value]) -> _Value:
    _, symbol, binding = _OPERATORS[function]
    left, right = operands
    if function == "pow":
        return _Value(f"{left.within(_ATOM)} ** {right.within(_ATOM)}", DType.bool, binding)
    low = binding + 1 if binding == _COMPARE else binding
    return _Value(f"{left.within(low)} {symbol} {right.within(binding + 1)}", DType.bool, binding)


def _where(operands: list[_Value], result: DType | Number) -> _Value:
    """A choice; both branches come in the result's dtype, or stay numbers where both are."""
    if not isinstance(result, DType):
        if _is_indicator(operands):  # one pass, and no choice
            return _Value(f"{operands[0].within(_ATOM)}.astype({dtype_source(as_dtype(type(result)))})", result)
        return _Value(f"np.where({', '.join(x.code for x in operands)})", result)
    branches = [_joined(x, result, always=True) for x in operands[1:]]
    if not any(x.array for x in branches):
        branches[0] = _Value(f"{dtype_source(result)}({branches[0].code})", result)
    return _Value(f"np.where({', '.join(x.code for x in (operands[0], *branches))})", result)


def _is_indicator(operands: list[_Value]) -> bool:
    """Whether a choice is 1 where a condition holds, else 0."""
    condition, *branches = operands
    numbers = [x.kind for x in branches if not x.array and not isinstance(x.kind, DType)]
    return condition.kind is DType.bool and condition.array and numbers == [1, 0]


def _joined(value: _Value, common: DType, always: bool = False) -> _Value:
    """The operand for a function over ``common``: weak arrays are cast, tensors too if ``always``."""
    if not value.array:
        return value
    weak = not isinstance(value.kind, DType)
    if value.kind is common or (not weak and not always):
        return value
    if weak and as_dtype(value.resolved) is common:
        return _Value(value.code, common, value.binding)
    return _Value(_cast(value, common), common)


def _cast(value: _Value, dtype: DType) -> str:
    return f"{value.within(_ATOM)}.astype({dtype_source(dtype)})"


def _resolved(function: str, operands: Sequence[_Value]) -> DType | None:
    """The dtype that NumPy gives the function here, None where it has none."""
    dtypes = [x.resolved for x in operands]
    if function in _HELPERS:
        return as_dtype(dtypes[0]) if dtypes[0].kind == "f" else None
    ufunc: np.ufunc = np.negative if function == "neg" else _underlying(function)
    if function in ("real", "imag"):
        return as_dtype(dtypes[0]).real
    if function == "relu":
        dtypes.append(int)
    if function == "reciprocal":
        dtypes.insert(0, int)
    try:
        resolved = as_dtype(ufunc.resolve_dtypes((*dtypes, None))[-1])
    except TypeError:
        return None
    if function == "rsqrt":
        return as_dtype(np.true_divide.resolve_dtypes((int, to_numpy_dtype(resolved), None))[-1])
    return resolved


def _underlying(function: str) -> np.ufunc:
    special = {"rsqrt": np.sqrt, "reciprocal": np.true_divide, "relu": np.maximum, "real": np.conj, "imag": np.conj}
    if function in special:
        return special[function]
    return _OPERATORS[function][0] if function in _OPERATORS else _UFUNCS[function]


def silences_warnings(expression: Scalar) -> bool:
    """Whether a branch that ``where`` may not choose computes something NumPy could warn about."""
    parts = postorder(expression)
    choices = [x for x in parts if isinstance(x, Call) and x.function == "where"]
    inside = {y for x in choices for branch in x.arguments[1:] for y in postorder(branch)}
    return any(isinstance(x, Call) and x.function in _MAY_WARN for x in inside)
