"""Elementwise functions, with NumPy's names, meaning, promotion and broadcasting."""

from __future__ import annotations

import builtins
import math

from ..ir import DType, DTypeError, Node, build
from ..ir.scalar import Number, argument, call
from .broadcasting import align, as_nodes, checked_number, elementwise, map_broadcast, operand, result_dtype
from .expression import Expression, TensorLike, as_expression, as_node

_A = argument(0)


def add(x: TensorLike, y: TensorLike) -> Expression:
    """``x + y``; logical *or* for booleans, as in NumPy."""
    return _combine(1, x, 1, y)


def subtract(x: TensorLike, y: TensorLike) -> Expression:
    """``x - y``; raises ``DTypeError`` for booleans, as NumPy does."""
    operands = [operand(x), operand(y)]
    if result_dtype(operands) is DType.bool:
        raise DTypeError("booleans cannot be subtracted; use x != y for exclusive or, or cast first")
    return _combine(1, x, -1, y)


def _combine(a: Number, x: TensorLike, b: Number, y: TensorLike) -> Expression:
    nodes = as_nodes([operand(x), operand(y)])
    aligned, labels, shape = align(nodes)
    if nodes[0].type.dtype is DType.bool:
        return Expression.of(build.map_node(call("logical_or", _A, argument(1)), aligned, labels, len(shape)))
    combined = build.linear_combination([a, b], aligned, labels, len(shape), keep=True)
    return Expression.of(combined)


def multiply(x: TensorLike, y: TensorLike) -> Expression:
    """``x * y``; logical *and* for booleans, as in NumPy."""
    operands = [operand(x), operand(y)]
    dtype = result_dtype(operands)
    for number, other in (operands, operands[::-1]):
        if not isinstance(number, Node) and isinstance(other, Node) and dtype is not DType.bool:
            factor = checked_number(number, dtype)
            return Expression.of(build.linear_combination([factor], [build.cast(other, dtype)], keep=True))
    aligned, labels, shape = align(as_nodes(operands, dtype))
    if dtype is DType.bool:
        return Expression.of(build.map_node(call("logical_and", _A, argument(1)), aligned, labels, len(shape)))
    return Expression.of(build.einsum(aligned, labels, range(len(shape))))


def divide(x: TensorLike, y: TensorLike) -> Expression:
    """``x / y`` in floating arithmetic; integers give float64."""
    numerator, denominator = operand(x), operand(y)
    if isinstance(numerator, Node) and not isinstance(denominator, Node) and _invertible(denominator):
        dtype = result_dtype([numerator, denominator])
        dtype = dtype if dtype.is_inexact else DType.float64
        return Expression.of(build.scale(1 / denominator, build.cast(numerator, dtype)))
    return elementwise("div", x, y)


def _invertible(number: Number) -> bool:
    """Whether multiplying by the reciprocal is division to the last bit: powers of two."""
    if isinstance(number, complex) or not math.isfinite(number) or number == 0:
        return False
    mantissa, exponent = math.frexp(builtins.abs(number))
    return mantissa == 0.5 and builtins.abs(exponent) < 120


def negative(x: TensorLike) -> Expression:
    """``-x``."""
    node = as_node(x)
    if node.type.dtype is DType.bool:
        raise DTypeError("a boolean has no negative; use otus.where or compare with == False")
    return Expression.of(build.scale(-1, node))


def power(x: TensorLike, y: TensorLike) -> Expression:
    """``x ** y``; of two booleans an ``int8``, as in NumPy."""
    base, exponent = operand(x), operand(y)
    if result_dtype([base, exponent]) is DType.bool:
        base = build.cast(as_node(x), DType.int8)
    if isinstance(base, Node) and not isinstance(exponent, Node):
        dtype = result_dtype([base, exponent])
        if not dtype.is_inexact and isinstance(exponent, int) and exponent < 0:
            raise DTypeError(f"{dtype} has no power {exponent}; cast the tensor to a floating dtype first")
        if exponent == 1:
            return Expression.of(build.cast(base, dtype))
        if exponent == 2:
            return Expression.of(build.apply("square", build.cast(base, dtype)))
    return elementwise("pow", Expression.of(base) if isinstance(base, Node) else base, y)


def exp(x: TensorLike) -> Expression:
    """The exponential."""
    return elementwise("exp", x)


def expm1(x: TensorLike) -> Expression:
    """``exp(x) - 1``, exact near 0."""
    return elementwise("expm1", x)


def log(x: TensorLike) -> Expression:
    """The natural logarithm."""
    return elementwise("log", x)


def log1p(x: TensorLike) -> Expression:
    """``log(1 + x)``, exact near 0."""
    return elementwise("log1p", x)


def sqrt(x: TensorLike) -> Expression:
    """The square root."""
    return elementwise("sqrt", x)


def rsqrt(x: TensorLike) -> Expression:
    """``1 / sqrt(x)``."""
    return elementwise("rsqrt", x)


def square(x: TensorLike) -> Expression:
    """``x * x``; an ``int8`` of booleans, as in NumPy."""
    node = as_node(x)
    return Expression.of(build.apply("square", build.cast(node, DType.int8) if node.type.dtype is DType.bool else node))


def reciprocal(x: TensorLike) -> Expression:
    """``1 / x``, floating for integers too."""
    return elementwise("reciprocal", x)


def sin(x: TensorLike) -> Expression:
    """The sine of an angle in radians."""
    return elementwise("sin", x)


def cos(x: TensorLike) -> Expression:
    """The cosine of an angle in radians."""
    return elementwise("cos", x)


def tan(x: TensorLike) -> Expression:
    """The tangent of an angle in radians."""
    return elementwise("tan", x)


def arcsin(x: TensorLike) -> Expression:
    """The inverse sine, in radians."""
    return elementwise("arcsin", x)


def arccos(x: TensorLike) -> Expression:
    """The inverse cosine, in radians."""
    return elementwise("arccos", x)


def arctan(x: TensorLike) -> Expression:
    """The inverse tangent, in radians."""
    return elementwise("arctan", x)


def arctan2(y: TensorLike, x: TensorLike) -> Expression:
    """The angle of the point ``(x, y)``, in radians between -π and π."""
    return elementwise("arctan2", y, x)


def sinh(x: TensorLike) -> Expression:
    """The hyperbolic sine."""
    return elementwise("sinh", x)


def cosh(x: TensorLike) -> Expression:
    """The hyperbolic cosine."""
    return elementwise("cosh", x)


def tanh(x: TensorLike) -> Expression:
    """The hyperbolic tangent."""
    return elementwise("tanh", x)


def sigmoid(x: TensorLike) -> Expression:
    """``1 / (1 + exp(-x))``, without overflow."""
    return elementwise("sigmoid", x)


def softplus(x: TensorLike) -> Expression:
    """``log(1 + exp(x))``, without overflow."""
    return elementwise("softplus", x)


def relu(x: TensorLike) -> Expression:
    """``max(x, 0)``; its derivative at 0 is 0, as in JAX."""
    return elementwise("relu", x)


def gelu(x: TensorLike, approximate: str = "none") -> Expression:
    """``x Φ(x)`` with the normal distribution function Φ, as in PyTorch.

    Hendrycks and Gimpel, arXiv 1606.08415; ``approximate="tanh"`` is their approximation.
    """
    node = _floating(x)
    if approximate == "none":
        return map_broadcast(call("mul", call("mul", _A, 0.5), call("erfc", call("mul", _A, -math.sqrt(0.5)))), [node])
    if approximate == "tanh":
        cubic = call("add", _A, call("mul", call("mul", call("square", _A), _A), 0.044715))
        return map_broadcast(
            call(
                "mul", call("mul", _A, 0.5), call("add", call("tanh", call("mul", cubic, math.sqrt(2 / math.pi))), 1.0)
            ),
            [node],
        )
    raise DTypeError(f"gelu: approximate={approximate!r} is unknown; use 'none' or 'tanh'")


def silu(x: TensorLike) -> Expression:
    """``x · sigmoid(x)``."""
    return map_broadcast(call("mul", _A, call("sigmoid", _A)), [_floating(x)])


def _floating(x: TensorLike) -> Node:
    node = as_node(x)
    return node if node.type.dtype.is_inexact else build.cast(node, DType.float64)


def erf(x: TensorLike) -> Expression:
    """The error function."""
    return elementwise("erf", x)


def abs(x: TensorLike) -> Expression:
    """The absolute value; its derivative at 0 is 1, as in JAX."""
    return elementwise("abs", x)


def sign(x: TensorLike) -> Expression:
    """-1, 0 or 1; ``x / |x|`` for complex values."""
    return elementwise("sign", x)


def floor(x: TensorLike) -> Expression:
    """The greatest integer that is at most ``x``, in the dtype of ``x``."""
    return elementwise("floor", x)


def maximum(x: TensorLike, y: TensorLike) -> Expression:
    """The larger of two values; where they are equal each takes half of the derivative, as in JAX."""
    return elementwise("maximum", x, y)


def minimum(x: TensorLike, y: TensorLike) -> Expression:
    """The smaller of two values; where they are equal each takes half of the derivative, as in JAX."""
    return elementwise("minimum", x, y)


def where(condition: TensorLike, x: TensorLike, y: TensorLike) -> Expression:
    """``x`` where the condition holds, ``y`` elsewhere."""
    chosen = operand(condition)
    if isinstance(chosen, Node) and chosen.type.dtype is not DType.bool:
        return elementwise("where", not_equal(condition, 0), x, y)
    return elementwise("where", as_expression(condition), x, y)


def logaddexp(x: TensorLike, y: TensorLike) -> Expression:
    """``log(exp(x) + exp(y))``, without overflow."""
    return elementwise("logaddexp", x, y)


def isfinite(x: TensorLike) -> Expression:
    """Whether a value is neither infinite nor NaN."""
    return elementwise("isfinite", x)


def real(x: TensorLike) -> Expression:
    """The real part."""
    node = as_node(x)
    return elementwise("real", x) if node.type.dtype.kind == "complex" else Expression.of(node)


def imag(x: TensorLike) -> Expression:
    """The imaginary part; zeros for real values."""
    node = as_node(x)
    return elementwise("imag", x) if node.type.dtype.kind == "complex" else Expression.of(build.zeros_like(node))


def conj(x: TensorLike) -> Expression:
    """The complex conjugate; ``x`` itself where it is real."""
    node = as_node(x)
    return elementwise("conj", x) if node.type.dtype.kind == "complex" else Expression.of(node)


def equal(x: TensorLike, y: TensorLike) -> Expression:
    """Whether elements are equal."""
    return elementwise("eq", x, y)


def not_equal(x: TensorLike, y: TensorLike) -> Expression:
    """Whether elements differ."""
    return elementwise("ne", x, y)


def less(x: TensorLike, y: TensorLike) -> Expression:
    """Whether ``x < y``."""
    return elementwise("lt", x, y)


def less_equal(x: TensorLike, y: TensorLike) -> Expression:
    """Whether ``x <= y``."""
    return elementwise("le", x, y)


def greater(x: TensorLike, y: TensorLike) -> Expression:
    """Whether ``x > y``."""
    return elementwise("gt", x, y)


def greater_equal(x: TensorLike, y: TensorLike) -> Expression:
    """Whether ``x >= y``."""
    return elementwise("ge", x, y)
