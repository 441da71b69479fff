"""Reductions, and functions built from them, with NumPy's arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ir import DType, Node, ShapeError, as_dtype, build
from ..ir.dims import product
from ..ir.scalar import argument, call
from .axes import keep_axes, normalise_axes, normalise_axis
from .expression import Axes, Expression, TensorLike, as_expression, as_node


def _reduce(x: Node, axis: Axes, keepdims: bool, reduction: Callable[[Node, tuple[int, ...]], Node]) -> Expression:
    axes = normalise_axes(axis, x.ndim)
    reduced = reduction(x, axes)
    return Expression.of(keep_axes(x, reduced, axes) if keepdims else reduced)


def _addable(x: TensorLike, dtype: Any = None) -> Node:
    """Booleans and narrow integers widen to 64 bits before they are added, as in NumPy."""
    node = as_node(x)
    if dtype is not None:
        return build.cast(node, as_dtype(dtype))
    kind, bits = node.type.dtype.kind, node.type.dtype.bits
    if kind == "bool" or (kind == "int" and bits < 64):
        return build.cast(node, DType.int64)
    return build.cast(node, DType.uint64) if kind == "uint" and bits < 64 else node


def sum(x: TensorLike, axis: Axes = None, keepdims: bool = False, dtype: Any = None) -> Expression:
    """The sum over ``axis`` (all axes by default); small integers add in 64 bits."""
    return _reduce(_addable(x, dtype), axis, keepdims, build.sum_axes)


def prod(x: TensorLike, axis: Axes = None, keepdims: bool = False, dtype: Any = None) -> Expression:
    """The product over ``axis``; its derivative is right where factors are zero."""
    return _reduce(_addable(x, dtype), axis, keepdims, lambda node, axes: build.reduce_node("prod", node, axes))


def max(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Expression:
    """The maximum over ``axis``; ties share the derivative equally, as in JAX."""
    return _reduce(as_node(x), axis, keepdims, lambda node, axes: build.reduce_node("max", node, axes))


def min(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Expression:
    """The minimum over ``axis``; ties share the derivative equally, as in JAX."""
    return _reduce(as_node(x), axis, keepdims, lambda node, axes: build.reduce_node("min", node, axes))


def any(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Expression:
    """Whether any element over ``axis`` is nonzero."""
    return _reduce(as_node(x), axis, keepdims, lambda node, axes: build.reduce_node("any", node, axes))


def all(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Expression:
    """Whether all elements over ``axis`` are nonzero."""
    return _reduce(as_node(x), axis, keepdims, lambda node, axes: build.reduce_node("all", node, axes))


def _floating(x: TensorLike) -> Node:
    node = as_node(x)
    return node if node.type.dtype.is_inexact else build.cast(node, DType.float64)


def _divided_by_count(x: Node, node: Node, axes: tuple[int, ...], ddof: int = 0) -> Node:
    count = product(x.type.shape[k] for k in axes) - ddof
    if isinstance(count, int) and count > 0:
        return build.scale(1 / count, node)
    divisor = build.extent(count, node.type.dtype)
    quotient = call("div", argument(0), argument(1))
    return build.map_node(quotient, [node, divisor], [range(node.ndim), ()], node.ndim)


def mean(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Expression:
    """The mean over ``axis``; integers give float64."""
    node = _floating(x)
    return _reduce(node, axis, keepdims, lambda y, axes: _divided_by_count(y, build.sum_axes(y, axes), axes))


def var(x: TensorLike, axis: Axes = None, ddof: int = 0, keepdims: bool = False) -> Expression:
    """The mean squared distance from the mean, over the count less ``ddof``."""
    centred = as_expression(x) - mean(x, axis, keepdims=True)
    from .elementwise import abs, square

    squared = square(abs(centred) if centred.dtype.kind == "complex" else centred).node
    return _reduce(squared, axis, keepdims, lambda y, axes: _divided_by_count(y, build.sum_axes(y, axes), axes, ddof))


def logsumexp(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Expression:
    """``log(sum(exp(x)))`` without overflow."""
    return _reduce(_floating(x), axis, keepdims, lambda node, axes: build.reduce_node("logsumexp", node, axes))


def softmax(x: TensorLike, axis: Axes = -1) -> Expression:
    """``exp(x) / sum(exp(x))`` over ``axis``, without overflow."""
    from .elementwise import exp

    return exp(log_softmax(x, axis))


def log_softmax(x: TensorLike, axis: Axes = -1) -> Expression:
    """The logarithm of :func:`softmax`, exact where softmax is nearly 0."""
    node = Expression.of(_floating(x))
    return node - logsumexp(node, axis, keepdims=True)


def cumsum(x: TensorLike, axis: int | None = None) -> Expression:
    """Partial sums along ``axis``; of the flattened tensor by default."""
    from ..ir import make
    from ..ir.operations import CumulativeSum

    node = _addable(x)
    if axis is None:
        node, axis = build.reshape(node, [product(node.type.shape)]), 0
    return Expression.of(make(CumulativeSum(normalise_axis(axis, node.ndim)), node))


def norm(x: TensorLike, ord: Any = None, axis: Axes = None, keepdims: bool = False) -> Expression:
    """Vector and matrix norms as ``numpy.linalg.norm``; the derivative at 0 is JAX's.

    ``ord`` is None, 'fro', 'nuc', an int, a float or ±inf.  Without ``axis`` a matrix with an ``ord``
    has its matrix norm, and anything without ``ord`` its 2-norm as a flat vector.
    """
    from .elementwise import abs, power, sqrt, square

    node = Expression.of(_floating(x))
    axes = normalise_axes(axis, node.ndim)
    if ord is None or (ord == 2 and len(axes) == 1) or (ord == "fro" and len(axes) == 2):
        magnitude = abs(node) if node.dtype.kind == "complex" else node
        return sqrt(sum(square(magnitude), axes, keepdims))
    if len(axes) == 2:
        return _matrix_norm(node, ord, axes, keepdims)
    if len(axes) != 1 or isinstance(ord, str):
        raise ShapeError(f"norm: ord={ord!r} needs one axis or two, not {axes}")
    if ord == float("inf"):
        return max(abs(node), axes, keepdims)
    if ord == float("-inf"):
        return min(abs(node), axes, keepdims)
    if ord == 0:
        return sum((node != 0).astype(node.dtype.real), axes, keepdims)
    if ord == 1:
        return sum(abs(node), axes, keepdims)
    return power(sum(power(abs(node), float(ord)), axes, keepdims), 1.0 / float(ord))


def _matrix_norm(x: Expression, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Expression:
    from .elementwise import abs

    row, column = axes
    if ord in (1, -1, float("inf"), float("-inf")):
        inner, outer = (row, column) if ord in (1, -1) else (column, row)
        totals = sum(abs(x), inner, keepdims=True)
        result = (max if ord > 0 else min)(totals, outer, keepdims=True)
    elif ord in (2, -2, "nuc"):
        result = _spectral_norm(x, ord, axes)
    else:
        raise ShapeError(f"norm: ord={ord!r} is no matrix norm; use 'fro', 'nuc', ±1, ±2 or ±inf")
    return result if keepdims else Expression.of(build.reshape(
        result.node, [size for k, size in enumerate(x.shape) if k not in axes]))  # fmt: skip


def _spectral_norm(x: Expression, ord: Any, axes: tuple[int, ...]) -> Expression:
    from .linear_algebra import svd
    from .shaping import moveaxis

    values = svd(moveaxis(x, axes, (-2, -1)), compute_uv=False)
    assert isinstance(values, Expression)
    total = {2: max, -2: min, "nuc": sum}[ord](values, -1)
    return Expression.of(keep_axes(x.node, total.node, axes))
