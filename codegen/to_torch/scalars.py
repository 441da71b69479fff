"""Scalar expressions as torch source, for maps that no kernel of ours computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...ir import DType, UnsupportedError
from ...ir.scalar import Number
from ..typed_scalars import TypedPrinter, within
from .source import TorchSource, torch_number, torch_rounded

_OPERATORS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">",
    "ge": ">=",
}  # fmt: skip
_FUNCTIONS = {
    **{name: name for name in ("exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "square", "sin", "cos", "tan",
                               "arcsin", "arccos", "arctan", "arctan2", "sinh", "cosh", "tanh", "sigmoid", "erf",
                               "erfc", "floor", "maximum", "minimum", "logaddexp", "isfinite", "logical_and",
                               "logical_or", "logical_not", "abs", "where", "pow", "relu", "reciprocal")},
    "mod": "remainder",
}  # fmt: skip
_REAL_ONLY = frozenset({"maximum", "minimum", "logaddexp", "mod", "floor", "relu"})
_OF_NUMBERS = frozenset({"mod", "pow"})  # not of booleans


class TorchPrinter(TypedPrinter):
    """Prints for torch; numbers that must be tensors are 0-dimensional ones on the device."""

    def __init__(self, source: TorchSource) -> None:
        super().__init__()
        self.source = source

    def temporary(self) -> str:
        """A new name."""
        return self.source.temporary("s0")

    def number(self, value: Number, dtype: DType) -> str:
        """A 0-dimensional tensor."""
        return self.source.made("full", f"(), {torch_number(value)}", dtype)

    def plain_number(self, value: Number, dtype: DType) -> str:
        """The number itself; a truth value, which torch subtracts from nothing, as 0 or 1 beside numbers."""
        return torch_number(int(value) if isinstance(value, bool) and dtype.kind != "bool" else value)

    def converted(self, code: str, source: DType, target: DType) -> str:
        """The real part of complex values where the target is real; true are those that are not 0."""
        if source is target:
            return code
        if source.kind == "complex" and target.kind == "bool":
            return f"{within(code)} != 0"
        part = ".real" if source.kind == "complex" and target.kind != "complex" else ""
        plain = code if code.isidentifier() else f"({code})"
        return torch_rounded(f"{plain}{part}", source.real, target)

    def infix(self, function: str, inner: DType) -> str | None:
        """Python's operators; torch orders no complex numbers."""
        return None if inner.kind == "complex" and function in _ORDERS else _OPERATORS.get(function)

    def called(self, function: str, operands: Sequence[str], inner: DType) -> str:
        """A function of torch, or what stands for one that it has not."""
        if inner.kind == "complex" and function in _REAL_ONLY:
            raise UnsupportedError(f"torch has no {function} of {inner}; use backend='numpy'")
        if function in _RULES:
            return _RULES[function](operands, inner)
        if inner.kind == "bool" and function in _OF_NUMBERS:
            raise UnsupportedError(f"torch has no {function} of {inner}; use backend='numpy'")
        if inner.kind == "bool" and function in ("relu", "square"):
            return operands[0]
        if function in _ORDERS:
            self.source.helpers.add("_precedes")
            return _ORDERS[function](*operands)
        if function in ("floor", "abs") and (
            inner.kind in ("bool", "uint") or (function == "floor" and not inner.is_inexact)
        ):
            return operands[0]
        return f"torch.{_FUNCTIONS[function]}({', '.join(operands)})"

    def whole_power(self, base: str, exponent: DType | Number, inner: DType) -> str | None:
        """The exponent as the number that it is."""
        assert not isinstance(exponent, DType)
        return f"torch.pow({base}, {torch_number(exponent)})"


def _sign(operands: Sequence[str], inner: DType) -> str:
    """NaN stays NaN, which torch makes 0."""
    (x,) = operands
    if inner.kind == "bool":
        return x
    if inner.kind == "complex":
        return f"torch.sgn({x})"
    return f"torch.where(torch.isnan({x}), {x}, torch.sign({x}))" if inner.is_inexact else f"torch.sign({x})"


# Of complex numbers, which NumPy orders by their real parts, and then by the imaginary ones.
_ORDERS: dict[str, Callable[[str, str], str]] = {
    "lt": lambda x, y: f"_precedes({x}, {y})",
    "gt": lambda x, y: f"_precedes({y}, {x})",
    "le": lambda x, y: f"_precedes({x}, {y}, True)",
    "ge": lambda x, y: f"_precedes({y}, {x}, True)",
}
_RULES: dict[str, Callable[[Sequence[str], DType], str]] = {
    "sign": _sign,
    "neg": lambda x, inner: f"torch.neg({x[0]})",
    "softplus": lambda x, inner: f"torch.logaddexp({x[0]}, torch.zeros_like({x[0]}))",
    "conj": lambda x, inner: f"torch.conj_physical({x[0]})" if inner.kind == "complex" else x[0],
    "real": lambda x, inner: f"torch.real({x[0]})" if inner.kind == "complex" else x[0],
    "imag": lambda x, inner: f"torch.imag({x[0]})" if inner.kind == "complex" else f"torch.zeros_like({x[0]})",
}
TORCH_SCALAR_RULES = frozenset({*_OPERATORS, *_FUNCTIONS, *_RULES})
