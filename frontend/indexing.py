"""Indexing as in NumPy (``x[1:, None, ..., -1]``), take and scatter_add."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir import Node, OtusError, ShapeError, Size, build, make
from ..ir.dims import Dim, ceil_divide, minimum, product
from ..ir.operations import ScatterAdd, Take
from ..ir.types import shape_text
from .axes import normalise_axis
from .broadcasting import as_nodes
from .expression import Expression, TensorLike, as_node


def get_item(x: TensorLike, key: Any) -> Expression:
    """``x[key]`` for ints, slices, ``None``, ``...``, sizes, and one array or tensor of integers.

    Raises ``ShapeError`` naming the axis where an index is out of bounds.
    """
    node = as_node(x)
    keys = _expand_ellipsis(list(key) if isinstance(key, tuple) else [key], node)
    starts: list[Size] = []
    sizes: list[Size] = []
    steps: list[int] = []
    shape: list[Size] = []
    gathered: list[tuple[int, Node]] = []
    for item in keys:
        if item is None:
            shape.append(1)
            continue
        axis = len(starts)
        start, size, step, indices = _one_axis(item, node.type.shape[axis], axis)
        starts.append(start)
        sizes.append(size)
        steps.append(step)
        if indices is not None:
            gathered.append((len(shape), indices))
        if isinstance(item, slice) or indices is not None:
            shape.append(size)
    result = build.reshape(build.slice_node(node, starts, sizes, steps), shape)
    if len(gathered) > 1:
        raise OtusError("only one axis can be indexed by a tensor at a time; use take twice")
    for axis, indices in gathered:
        result = make(Take(axis), result, indices)
    return Expression.of(result)


def _expand_ellipsis(keys: list[Any], node: Node) -> list[Any]:
    places = [k for k, item in enumerate(keys) if item is Ellipsis]
    used = sum(item is not None and item is not Ellipsis for item in keys)
    if len(places) > 1:
        raise ShapeError("an index can hold one '...' only")
    if used > node.ndim:
        raise ShapeError(f"{used} indices for a tensor of shape {shape_text(node.type.shape)}")
    place = places[0] if places else len(keys)
    whole = [slice(None)] * (node.ndim - used)
    return [*keys[:place], *whole, *keys[place + len(places) :]]


def _one_axis(item: Any, size: Size, axis: int) -> tuple[Size, Size, int, Node | None]:
    """Start, count and step along one axis, and the indices where they are a tensor."""
    if isinstance(item, slice):
        return (*slice_range(item, size), None)
    if isinstance(item, (Expression, np.ndarray, list)):
        indices = as_node(item)
        if indices.type.dtype.kind not in ("int", "uint"):
            raise OtusError(
                f"a tensor of {indices.type.dtype} cannot index axis {axis}; use integers, or otus.where for a mask"
            )
        return 0, size, 1, indices
    if isinstance(item, (bool, np.bool_)) or not (isinstance(item, Dim) or hasattr(item, "__index__")):
        raise OtusError(f"{item!r} is not an index; use ints, slices, None, ... or an integer tensor")
    position: Size = item if isinstance(item, Dim) else int(item.__index__())
    if isinstance(position, int):
        if isinstance(size, int) and not -size <= position < size:
            raise ShapeError(f"index {position} is outside axis {axis} of size {size}")
        position = position + size if position < 0 else position
    return position, 1, 1, None


def slice_range(item: slice, size: Size) -> tuple[Size, Size, int]:
    """Start, count and step of a Python slice over an axis of ``size``."""
    step = 1 if item.step is None else int(item.step)
    if step == 0:
        raise ShapeError("a slice cannot have step 0")
    if isinstance(size, int) and all(not isinstance(x, Dim) for x in (item.start, item.stop)):
        bounds = range(*item.indices(size))
        return (bounds.start, len(bounds), step) if bounds else (0, 0, step)
    first: Size = 0 if step > 0 else size - 1
    last: Size = size if step > 0 else -1
    start = first if item.start is None else _bound(item.start, size, clip=step < 0)
    stop = last if item.stop is None else _bound(item.stop, size, clip=step > 0)
    span = stop - start if step > 0 else start - stop
    count = ceil_divide(span, abs(step))
    return (start, count, step) if not isinstance(count, int) or count > 0 else (0, 0, step)


def _bound(bound: Any, size: Size, clip: bool) -> Size:
    """An end of a slice over a symbolic size; the upper end is clipped to the axis, as in NumPy.

    The lower end is taken to be inside the axis; a run in which it is not raises ``ShapeError``.
    """
    position: Size = bound if isinstance(bound, Dim) else int(bound.__index__())
    if isinstance(position, int) and position < 0:
        return position + size
    return minimum(position, size) if clip and position != 0 else position


def take(x: TensorLike, indices: TensorLike, axis: int | None = None) -> Expression:
    """Slices of ``x`` at integer ``indices`` along ``axis``; of the flattened tensor by default.

    Negative indices count from the end; others out of bounds raise when the function runs.
    """
    node = as_node(x)
    if axis is None:
        node, axis = build.reshape(node, [product(node.type.shape)]), 0
    return Expression.of(make(Take(normalise_axis(axis, node.ndim)), node, as_node(indices)))


def scatter_add(x: TensorLike, indices: TensorLike, updates: TensorLike, axis: int = 0) -> Expression:
    """``x`` with ``updates`` added at ``indices`` along ``axis``; repeated indices accumulate.

    ``updates`` broadcasts to the shape that ``take(x, indices, axis)`` has.
    """
    from .shaping import broadcast_to

    first, added = as_nodes([as_node(x), as_node(updates)])
    places = as_node(indices)
    axis = normalise_axis(axis, first.ndim)
    expected = first.type.shape[:axis] + places.type.shape + first.type.shape[axis + 1 :]
    return Expression.of(make(ScatterAdd(axis), first, places, broadcast_to(Expression.of(added), expected).node))
