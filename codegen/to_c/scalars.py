"""Scalar expressions as statements in C, one for each distinct subexpression, so that none is a branch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...ir import DType, promote
from ...ir.loop_steps import NoForm
from ...ir.scalar import SCALAR_FUNCTIONS, Argument, Call, Literal, Number, Scalar, infer_dtype, postorder

C_TYPES = {
    DType.float64: "double", DType.float32: "float", DType.bool: "_Bool", DType.int64: "int64_t",
    DType.int32: "int32_t",
}  # fmt: skip
_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
# Functions of the C library, with vector forms in glibc.
LIBRARY = {
    "exp": "exp", "expm1": "expm1", "log": "log", "log1p": "log1p", "sin": "sin", "cos": "cos", "tan": "tan",
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "sinh": "sinh", "cosh": "cosh", "tanh": "tanh",
    "erf": "erf", "erfc": "erfc", "arctan2": "atan2", "pow": "pow",
}  # fmt: skip
_MOST_FACTORS = 8


def c_type(dtype: DType) -> str:
    """The type of a value in C; raises ``NoForm`` for a dtype that has none here."""
    if dtype not in C_TYPES:
        raise NoForm(f"dtype {dtype}")
    return C_TYPES[dtype]


@dataclass(frozen=True)
class Value:
    """A name or number in C, and its dtype, or the weak Python number that it is one of."""

    code: str
    kind: DType | Number


class Statements:
    """The statements of one loop body, and fresh names for what they make."""

    def __init__(self, prefix: str) -> None:
        self.lines: list[str] = []
        self.prefix = prefix
        self._known: dict[tuple[str, str], str] = {}
        self._names: set[tuple[str, str]] = set()

    def define(self, type: str, code: str) -> str:
        """The name of a constant of this value; one for equal values."""
        if (type, code) in self._names:
            return code
        if (type, code) not in self._known:
            name = f"{self.prefix}{len(self._known)}"
            self.lines.append(f"const {type} {name} = {code};")
            self._known[type, code] = name
            self._names.add((type, name))
        return self._known[type, code]


def print_scalar(expression: Scalar, operands: Sequence[Value], wanted: DType, statements: Statements) -> str:
    """The name of the expression's value, of dtype ``wanted``, after the statements that compute it."""
    dtypes = [x.kind for x in operands if isinstance(x.kind, DType)]
    result = infer_dtype(expression, dtypes)
    values: dict[Scalar, Value] = {}
    for part in postorder(expression):
        if isinstance(part, Argument):
            values[part] = operands[part.position]
        elif isinstance(part, Literal):
            values[part] = Value(repr(part.value), part.value)
        elif isinstance(part, Call):
            values[part] = _call(part.function, [values[x] for x in part.arguments], statements)
    return _converted(Value(_as(values[expression], result), result), wanted)


def _call(function: str, operands: list[Value], statements: Statements) -> Value:
    kind = SCALAR_FUNCTIONS[function].dtype([x.kind for x in operands])
    inner = promote(*(x.kind for x in operands)) if function != "where" else promote(*(x.kind for x in operands[1:]))
    weak = not any(isinstance(x.kind, DType) for x in operands)
    if weak or not isinstance(kind, DType):
        inner = DType.float64
    if isinstance(kind, DType) and kind.is_inexact:
        inner = kind
    code = _code(function, operands, inner, statements)
    type = c_type(kind if isinstance(kind, DType) else inner)
    return Value(statements.define(type, code), kind)


def _code(function: str, operands: list[Value], inner: DType, statements: Statements) -> str:
    """The function's value as one expression over names."""
    if function in ("logical_and", "logical_or", "logical_not"):
        truths = [_as(x, DType.bool) for x in operands]
        return (
            {"logical_and": " & ", "logical_or": " | "}.get(function, "").join(truths)
            if len(truths) > 1
            else f"!{truths[0]}"
        )
    if function == "where":
        condition, first, second = _as(operands[0], DType.bool), _as(operands[1], inner), _as(operands[2], inner)
        return f"{condition} ? {first} : {second}"
    if function == "pow" and isinstance(operands[1].kind, (int, float)) and not isinstance(operands[1].kind, DType):
        factors = _factors(operands[0], operands[1].kind, inner, statements)
        if factors is not None:
            return factors
    names = [_as(x, inner) for x in operands]
    if function in _COMPARISONS:
        return f"{names[0]} {_COMPARISONS[function]} {names[1]}"
    if function in _INFIX:
        return f"{names[0]} {_INFIX[function]} {names[1]}"
    if function in LIBRARY and inner.is_inexact:
        return f"{LIBRARY[function]}{_suffix(inner)}({', '.join(names)})"
    if function in _RULES and (inner.is_inexact or function in _OF_INTEGERS):
        return _RULES[function](names, inner, statements)
    raise NoForm(f"{function} of {inner}")


def _factors(base: Value, exponent: float, inner: DType, statements: Statements) -> str | None:
    """A power with a small whole exponent as products, of the reciprocal where it is negative; None for others."""
    if exponent != exponent // 1 or not 1 <= abs(exponent) <= _MOST_FACTORS:
        return None
    if exponent < 0:
        positive = _factors(base, -exponent, inner, statements)
        assert positive is not None
        return f"{number(1, inner)} / ({positive})"
    power, name = int(exponent), _as(base, inner)
    result: str | None = None
    while True:
        if power % 2:
            result = name if result is None else statements.define(c_type(inner), f"{result} * {name}")
        power //= 2
        if not power:
            assert result is not None
            return result
        name = statements.define(c_type(inner), f"{name} * {name}")


def _suffix(dtype: DType) -> str:
    return "f" if dtype is DType.float32 else ""


def _as(value: Value, dtype: DType) -> str:
    """The value in ``dtype``: numbers as literals of it, others converted."""
    if isinstance(value.kind, DType) or not _is_number(value.code):
        kind = value.kind if isinstance(value.kind, DType) else DType.float64
        return _converted(Value(value.code, kind), dtype)
    return number(value.kind, dtype)


def _is_number(code: str) -> bool:
    return code[:1] in "-0123456789" or code in ("inf", "nan", "True", "False")


def number(value: Number, dtype: DType) -> str:
    """A Python number as a literal of ``dtype``."""
    if isinstance(value, complex):
        raise NoForm("complex numbers")
    if not dtype.is_inexact:
        return f"(({c_type(dtype)}){int(value)})"
    if value != value:
        text = '__builtin_nan("")'
    elif value in (float("inf"), float("-inf")):
        text = "__builtin_inf()" if value > 0 else "(-__builtin_inf())"
    else:
        text = repr(float(value))
    return f"((float){text})" if dtype is DType.float32 else (f"({text})" if text.startswith("-") else text)


def _converted(value: Value, dtype: DType) -> str:
    if value.kind is dtype:
        return value.code
    if dtype is DType.bool:
        return f"({value.code} != 0)"
    return f"(({c_type(dtype)}){value.code})"


Rule = Callable[[list[str], DType, Statements], str]


def _maximum(names: list[str], inner: DType, statements: Statements) -> str:
    """NaN where either is: a comparison with NaN is false, so that the second one is taken."""
    return f"({names[0]} >= {names[1]}) | ({names[0]} != {names[0]}) ? {names[0]} : {names[1]}"


def _minimum(names: list[str], inner: DType, statements: Statements) -> str:
    return f"({names[0]} <= {names[1]}) | ({names[0]} != {names[0]}) ? {names[0]} : {names[1]}"


def _sigmoid(names: list[str], inner: DType, statements: Statements) -> str:
    small = _small(names[0], inner, statements)
    above = statements.define(c_type(inner), f"{names[0]} >= 0 ? {number(1, inner)} : {small}")
    return f"{above} / ({number(1, inner)} + {small})"


def _softplus(names: list[str], inner: DType, statements: Statements) -> str:
    small = _small(names[0], inner, statements)
    rest = statements.define(c_type(inner), f"log1p{_suffix(inner)}({small})")
    positive = statements.define(c_type(inner), _maximum([names[0], number(0, inner)], inner, statements))
    return f"{positive} + {rest}"


def _small(name: str, inner: DType, statements: Statements) -> str:
    """exp(-abs(x)), which cannot overflow."""
    magnitude = statements.define(c_type(inner), f"__builtin_fabs{_suffix(inner)}({name})")
    return statements.define(c_type(inner), f"exp{_suffix(inner)}(-{magnitude})")


def _logaddexp(names: list[str], inner: DType, statements: Statements) -> str:
    """The larger one and log1p(exp(-distance)); twice the value where both are equal, infinities included."""
    type, suffix = c_type(inner), _suffix(inner)
    larger = statements.define(type, _maximum(names, inner, statements))
    distance = statements.define(type, f"__builtin_fabs{suffix}({names[0]} - {names[1]})")
    rest = statements.define(type, f"log1p{suffix}(exp{suffix}(-{distance}))")
    return f"{names[0]} == {names[1]} ? {names[0]} + {number(0.6931471805599453, inner)} : {larger} + {rest}"


def _sign(names: list[str], inner: DType, statements: Statements) -> str:
    """-1, 0 or 1; NaN stays NaN."""
    zero, one = number(0, inner), number(1, inner)
    below = statements.define(c_type(inner), f"{names[0]} < 0 ? -{one} : {zero}")
    positive = statements.define(c_type(inner), f"{names[0]} > 0 ? {one} : {below}")
    return f"{names[0]} != {names[0]} ? {names[0]} : {positive}"


def _abs(names: list[str], inner: DType, statements: Statements) -> str:
    if inner.is_inexact:
        return f"__builtin_fabs{_suffix(inner)}({names[0]})"
    return f"{names[0]} < 0 ? -{names[0]} : {names[0]}"


_RULES: dict[str, Rule] = {
    "maximum": _maximum,
    "minimum": _minimum,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "logaddexp": _logaddexp,
    "sign": _sign,
    "abs": _abs,
    "relu": lambda names, inner, statements: _maximum([names[0], number(0, inner)], inner, statements),
    "neg": lambda names, inner, statements: f"-{names[0]}",
    "square": lambda names, inner, statements: f"{names[0]} * {names[0]}",
    "sqrt": lambda names, inner, statements: f"__builtin_sqrt{_suffix(inner)}({names[0]})",
    "rsqrt": lambda names, inner, statements: f"{number(1, inner)} / __builtin_sqrt{_suffix(inner)}({names[0]})",
    "reciprocal": lambda names, inner, statements: f"{number(1, inner)} / {names[0]}",
    "floor": lambda names, inner, statements: f"__builtin_floor{_suffix(inner)}({names[0]})",
    "isfinite": lambda names, inner, statements: f"{names[0]} - {names[0]} == 0",
    "conj": lambda names, inner, statements: names[0],
}
_OF_INTEGERS = frozenset({"maximum", "minimum", "abs", "relu", "neg", "square", "conj"})
