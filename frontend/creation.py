"""Making tensors: inputs, constants, and regular ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..ir import DENSE, DType, DTypeError, Format, NamingError, Size, as_dtype, build, make_type
from ..ir.dims import Dim, as_size, ceil_divide
from .expression import Expression, TensorLike, as_node
from .shaping import ShapeLike, as_shape


def tensor(
    name: str,
    shape: ShapeLike = (),
    dtype: Any = "float64",
    format: Format = DENSE,
    **facts: Any,
) -> Expression:
    """A tensor that the caller gives when the compiled function runs.

    Parameters
    ----------
    name
        The name under which the value is passed.
    shape
        Sizes: ints, names of symbolic dims, or :class:`otus.Dim`.
    dtype
        The element type, by name.
    format
        How the tensor is stored; :func:`otus.dense` by default.
    facts
        What is known of its values: ``symmetric`` (True, or groups of axes), ``orthonormal``
        (columns), ``positive_definite``, ``diagonal``, ``nonnegative``, ``sums_to_one`` (last axis).
        They are used by the algebra and checked on data where ``OTUS_CHECK=1``.

    Raises ``NamingError`` for an empty name or unknown fact, ``ShapeError`` for an impossible one.

    >>> import otus
    >>> otus.tensor("X", ("i", 3)).shape
    (Dim('i'), 3)
    """
    if not isinstance(name, str) or not name:
        raise NamingError(f"{name!r} cannot name a tensor; give a non-empty string")
    return Expression.of(build.input_node(name, make_type(as_shape(shape), dtype, format, **facts)))


def constant(value: Any, dtype: Any = None) -> Expression:
    """A tensor known in advance, from a number, nested lists or an array."""
    node = as_node(value)
    return Expression.of(node if dtype is None else build.cast(node, as_dtype(dtype)))


def full(shape: ShapeLike, fill_value: TensorLike, dtype: Any = None) -> Expression:
    """A tensor whose elements are all ``fill_value``."""
    from .shaping import broadcast_to

    return broadcast_to(constant(fill_value, dtype), shape)


def zeros(shape: ShapeLike, dtype: Any = "float64") -> Expression:
    """A tensor of zeros."""
    return Expression.of(build.full(as_shape(shape), 0, as_dtype(dtype)))


def ones(shape: ShapeLike, dtype: Any = "float64") -> Expression:
    """A tensor of ones."""
    return Expression.of(build.full(as_shape(shape), 1, as_dtype(dtype)))


def delta(size: Size | str, dtype: Any = "float64") -> Expression:
    """The Kronecker delta: the identity matrix of ``size``, which the algebra never forms if it can."""
    return Expression.of(build.delta(as_size(size), as_dtype(dtype)))


def eye(n: Size | str, m: Size | str | None = None, k: int = 0, dtype: Any = "float64") -> Expression:
    """Ones on the ``k``-th diagonal of an ``n`` × ``m`` matrix (square by default)."""
    rows = as_size(n)
    columns = rows if m is None else as_size(m)
    if rows == columns and k == 0:
        return delta(rows, dtype)
    row, column = arange(rows), arange(columns)
    return (row.reshape(rows, 1) + k == column).astype(dtype)


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> Expression:
    """Numbers from ``start`` (0 by default) up to but without ``stop``, in steps of ``step``.

    Sizes may be symbolic where the step is an integer.
    """
    first, last = (0, start) if stop is None else (start, stop)
    first, last = (as_size(x) if isinstance(x, str) else x for x in (first, last))
    if step == 0:
        raise DTypeError("arange: step 0 never reaches the end")
    if isinstance(first, Dim) or isinstance(last, Dim):
        return _symbolic_range(first, last, step, dtype)
    if all(isinstance(x, (int, np.integer)) for x in (first, last, step)):
        kind = as_dtype(dtype or "int64")
        count = len(range(int(first), int(last), int(step)))
        values = Expression.of(build.iota(count, kind))
        return values if (first, step) == (0, 1) else values * int(step) + int(first)
    count = max(0, math.ceil((last - first) / step))
    return constant(np.arange(count) * float(step) + float(first), dtype)


def _symbolic_range(first: Any, last: Any, step: Any, dtype: Any) -> Expression:
    if not isinstance(step, int) or isinstance(first, float) or isinstance(last, float):
        raise DTypeError(f"arange({first}, {last}, {step}): symbolic ranges need integer ends and steps")
    span = last - first if step > 0 else first - last
    values = Expression.of(build.iota(ceil_divide(span, abs(step)), as_dtype(dtype or "int64")))
    if step != 1:
        values = values * step
    start = first if isinstance(first, int) else Expression.of(build.extent(first, DType.int64))
    return values if isinstance(start, int) and start == 0 else (values + start).astype(values.dtype)
