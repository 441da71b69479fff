"""Scalar expressions as Triton source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from ...ir import DType
from ...ir.dtypes import NARROW
from ...ir.loop_steps import NoForm
from ...ir.scalar import Number
from ..coefficients import wrapped
from ..to_torch.source import torch_number
from ..typed_scalars import TypedPrinter, within

TRITON_DTYPES = {
    DType.bool: "tl.int1", DType.int8: "tl.int8", DType.int16: "tl.int16", DType.int32: "tl.int32",
    DType.int64: "tl.int64", DType.uint8: "tl.uint8", DType.float16: "tl.float16", DType.bfloat16: "tl.bfloat16",
    DType.float32: "tl.float32", DType.float64: "tl.float64",
}  # fmt: skip
_OPERATORS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">",
    "ge": ">=",
}  # fmt: skip
_OF_BOOLEANS = {"add": "|", "mul": "&", "logical_or": "|", "logical_and": "&", "maximum": "|", "minimum": "&"}
_HELPERS = {
    "expm1": "_expm1", "log1p": "_log1p", "tanh": "_tanh", "sinh": "_sinh", "cosh": "_cosh", "sigmoid": "_sigmoid",
    "softplus": "_softplus", "logaddexp": "_logaddexp", "erfc": "_erfc",
    "arcsin": "_arcsin", "arccos": "_arccos", "arctan": "_arctan", "arctan2": "_arctan2", "pow": "_pow", "mod": "_mod",
}  # fmt: skip
_OF_INTEGERS = {"pow": "_whole_pow", "mod": "_whole_mod"}
_FUNCTIONS = frozenset({"exp", "log", "sqrt", "sin", "cos", "erf", "floor"})
_MOST_FACTORS = 8


def computed_dtype(dtype: DType) -> DType:
    """What a kernel computes values of ``dtype`` in; raises ``NoForm`` where Triton has no such values."""
    if dtype in NARROW:
        return DType.float32
    if dtype not in TRITON_DTYPES:
        raise NoForm(f"dtype {dtype}")
    return dtype


class TritonPrinter(TypedPrinter):
    """Prints for one kernel, whose tiles have ``rank`` dimensions; ``helpers`` gathers the functions that it calls."""

    takes_truth_values: ClassVar[bool] = True

    def __init__(self, statements: list[str], names: Callable[[str], str], helpers: set[str], rank: int) -> None:
        super().__init__()
        self.statements, self._names, self._helpers, self._rank = statements, names, helpers, rank

    def temporary(self) -> str:
        """A new name."""
        return self._names("s")

    def number(self, value: Number, dtype: DType) -> str:
        """A tile of one element, of that very dtype: Triton would take a number by itself for float32."""
        shape = ", ".join(["1"] * self._rank)
        return f"tl.full([{shape}], {_number(value, dtype)}, {TRITON_DTYPES[computed_dtype(dtype)]})"

    def plain_number(self, value: Number, dtype: DType) -> str:
        """The number itself, which takes the dtype of what it meets."""
        return self.number(value, dtype) if dtype is DType.bool else _number(value, dtype)

    def converted(self, code: str, source: DType, target: DType) -> str:
        """A conversion between what the two are computed in."""
        first, second = computed_dtype(source), computed_dtype(target)
        if first is second:
            return code
        if second is DType.bool:
            return f"({within(code)} != 0)"
        return f"{within(code)}.to({TRITON_DTYPES[second]})"

    def infix(self, function: str, inner: DType) -> str | None:
        """Python's operators, which for booleans are those of bits."""
        if inner is DType.bool and function in _OF_BOOLEANS:
            return _OF_BOOLEANS[function]
        return None if function == "div" and not inner.is_inexact else _OPERATORS.get(function)

    def called(self, function: str, operands: Sequence[str], inner: DType) -> str:
        """A function of Triton, one of ours, or a form of its own."""
        if inner is DType.bool and function in _RULES_OF_BOOLEANS:
            return _RULES_OF_BOOLEANS[function](operands)
        if function in _RULES:
            return _RULES[function](operands, inner)
        if function in _HELPERS and inner.is_inexact:
            self._helpers.add(_HELPERS[function])
            return f"{_HELPERS[function]}({', '.join(operands)})"
        if function in _OF_INTEGERS:
            self._helpers.add(_OF_INTEGERS[function])
            return f"{_OF_INTEGERS[function]}({', '.join(operands)})"
        if function in _FUNCTIONS and (inner.is_inexact or function == "floor"):
            return f"tl.{function}({operands[0]})" if inner.is_inexact else operands[0]
        raise NoForm(f"{function} of {inner}")

    def whole_power(self, base: str, exponent: DType | Number, inner: DType) -> str | None:
        """A square root, or a small whole power as products, of which a negative one is the reciprocal.

        Those of integers may be large, as products of them are exact.
        """
        if exponent == 0.5 and inner.is_inexact:
            return f"tl.sqrt({base})"
        if isinstance(exponent, (complex, DType)) or exponent == 0 or not float(exponent).is_integer():
            return None
        if inner.is_inexact and abs(exponent) > _MOST_FACTORS:
            return None
        if exponent < 0 and not inner.is_inexact:
            raise NoForm(f"negative powers of {inner}")
        power = int(abs(exponent))
        name = base if base.isidentifier() else self.named(base)
        factors: list[str] = []
        while power:
            if power % 2:
                factors.append(name)
            power //= 2
            if power:
                name = self.named(f"{name} * {name}")
        whole = " * ".join(factors)
        return f"1.0 / {within(whole)}" if exponent < 0 else whole


def _number(value: Number, dtype: DType) -> str:
    """A number as Triton reads it; integers wrap, as NumPy's do."""
    if isinstance(value, complex):
        raise NoForm("complex numbers")
    if dtype is DType.bool:
        return repr(bool(value))
    if dtype.is_inexact:
        return torch_number(float(value))
    return torch_number(wrapped(int(value), dtype))


def _extremum(function: str) -> Callable[[Sequence[str], DType], str]:
    def rule(operands: Sequence[str], inner: DType) -> str:
        nan = ", propagate_nan=tl.PropagateNan.ALL" if inner.is_inexact else ""
        return f"tl.{function}({', '.join(operands)}{nan})"

    return rule


def _relu(operands: Sequence[str], inner: DType) -> str:
    """NaN stays NaN."""
    return f"tl.where({operands[0]} < 0, {_number(0, inner)}, {operands[0]})"


def _sign(operands: Sequence[str], inner: DType) -> str:
    """NaN and zeros stay as they are."""
    if inner is DType.bool:
        return operands[0]
    x, one = operands[0], _number(1, inner)
    return f"tl.where({x} > 0, {one}, tl.where({x} < 0, -{one}, {x}))"


_RULES: dict[str, Callable[[Sequence[str], DType], str]] = {
    "maximum": _extremum("maximum"),
    "minimum": _extremum("minimum"),
    "relu": _relu,
    "sign": _sign,
    "where": lambda x, inner: f"tl.where({x[0]}, {x[1]}, {x[2]})",
    "neg": lambda x, inner: f"-{within(x[0])}",
    "square": lambda x, inner: f"{within(x[0])} * {within(x[0])}" if inner is not DType.bool else x[0],
    "abs": lambda x, inner: f"tl.abs({x[0]})" if inner is not DType.bool else x[0],
    "rsqrt": lambda x, inner: f"1.0 / tl.sqrt({x[0]})",
    "reciprocal": lambda x, inner: f"1.0 / {within(x[0])}",
    "tan": lambda x, inner: f"tl.sin({x[0]}) / tl.cos({x[0]})",
    "isfinite": lambda x, inner: f'tl.abs({x[0]}) < float("inf")' if inner.is_inexact else f"{x[0]} == {x[0]}",
    "conj": lambda x, inner: x[0],
    "real": lambda x, inner: x[0],
    "imag": lambda x, inner: f"tl.zeros_like({x[0]})",
    "logical_not": lambda x, inner: f"~{within(x[0])}",
}
_RULES_OF_BOOLEANS: dict[str, Callable[[Sequence[str]], str]] = {
    "pow": lambda x: f"{within(x[0])} | ~{within(x[1])}",
    "mod": lambda x: f"{within(x[0])} & ~{within(x[0])} & {within(x[1])}",  # False, whatever both are
}
