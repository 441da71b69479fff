"""Shaping and joining tensors, with NumPy's arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir import Node, ShapeError, Size, UnsupportedError, as_dtype, build, make
from ..ir.dims import Dim, as_size, floor_divide, product
from ..ir.operations import Concatenate
from ..ir.types import shape_text
from .axes import normalise_axes, normalise_axis
from .broadcasting import as_nodes, broadcast_shapes
from .expression import Axes, Expression, TensorLike, as_node

ShapeLike = int | str | Dim | Sequence[Any]


def as_shape(shape: ShapeLike) -> tuple[Size, ...]:
    """A shape from one size or a sequence; names are dims."""
    if isinstance(shape, (str, Dim)) or hasattr(shape, "__index__"):
        return (as_size(shape),)
    return tuple(as_size(size) for size in shape)


def reshape(x: TensorLike, shape: ShapeLike) -> Expression:
    """The same elements in row-major order; one size may be -1."""
    node, sizes = as_node(x), as_shape(shape)
    if sizes.count(-1) > 1:
        raise ShapeError(f"reshape: shape {shape_text(sizes)} has more than one -1")
    if -1 in sizes:
        known = product(size for size in sizes if size != -1)
        total = product(node.type.shape)
        missing = floor_divide(total, known) if known != 0 else 0
        if missing * known != total or (known == 0):
            raise ShapeError(
                f"reshape: {total} elements of shape {shape_text(node.type.shape)} do not divide into "
                f"{shape_text(sizes)}"
            )
        sizes = tuple(missing if size == -1 else size for size in sizes)
    return Expression.of(build.reshape(node, sizes))


def transpose(x: TensorLike, axes: Sequence[int] | None = None) -> Expression:
    """Axes in the given order, reversed by default."""
    node = as_node(x)
    order = tuple(reversed(range(node.ndim))) if axes is None else normalise_axes(tuple(axes), node.ndim)
    if len(order) != node.ndim:
        raise ShapeError(f"transpose: axes {order} do not name each of {node.ndim} axes once")
    return Expression.of(build.transpose(node, order))


def moveaxis(x: TensorLike, source: Axes, destination: Axes) -> Expression:
    """Axes ``source`` moved to places ``destination``; the others keep their order."""
    node = as_node(x)
    start, end = normalise_axes(source, node.ndim), normalise_axes(destination, node.ndim)
    if len(start) != len(end):
        raise ShapeError(f"moveaxis: {len(start)} axes cannot move to {len(end)} places")
    order = [axis for axis in range(node.ndim) if axis not in start]
    for place, axis in sorted(zip(end, start, strict=True)):
        order.insert(place, axis)
    return Expression.of(build.transpose(node, order))


def squeeze(x: TensorLike, axis: Axes = None) -> Expression:
    """The tensor without axes of size 1 (those of ``axis``, all by default)."""
    node = as_node(x)
    if axis is None:
        axes = tuple(k for k, size in enumerate(node.type.shape) if size == 1)
    else:
        axes = normalise_axes(axis, node.ndim)
    for k in axes:
        if node.type.shape[k] != 1:
            raise ShapeError(f"squeeze: axis {k} has size {node.type.shape[k]}, not 1")
    return Expression.of(build.reshape(node, [size for k, size in enumerate(node.type.shape) if k not in axes]))


def expand_dims(x: TensorLike, axis: Axes) -> Expression:
    """The tensor with new axes of size 1 at places ``axis`` of the result."""
    node = as_node(x)
    count = len(axis) if isinstance(axis, Sequence) else 1
    places = normalise_axes(axis, node.ndim + count)
    sizes = iter(node.type.shape)
    shape = [1 if k in places else next(sizes) for k in range(node.ndim + count)]
    return Expression.of(build.reshape(node, shape))


def broadcast_to(x: TensorLike, shape: ShapeLike) -> Expression:
    """The tensor stretched to ``shape`` by NumPy's rules."""
    node, sizes = as_node(x), as_shape(shape)
    if broadcast_shapes([node.type.shape, sizes]) != sizes:
        raise ShapeError(f"shape {shape_text(node.type.shape)} does not broadcast to {shape_text(sizes)}")
    offset = len(sizes) - node.ndim
    kept = [k for k, size in enumerate(node.type.shape) if size == sizes[k + offset]]
    squeezed = build.reshape(node, [node.type.shape[k] for k in kept])
    return Expression.of(build.broadcast(squeezed, [k + offset for k in kept], sizes))


def flip(x: TensorLike, axis: Axes = None) -> Expression:
    """The elements in reverse order along ``axis`` (all axes by default)."""
    node = as_node(x)
    axes = normalise_axes(axis, node.ndim)
    shape = node.type.shape
    starts = [size - 1 if k in axes and size != 0 else 0 for k, size in enumerate(shape)]
    return Expression.of(build.slice_node(node, starts, shape, [-1 if k in axes else 1 for k in range(node.ndim)]))


def roll(x: TensorLike, shift: int | Sequence[int], axis: Axes = None) -> Expression:
    """Elements moved by ``shift`` places along ``axis``, those pushed out coming in at the other end."""
    node = as_node(x)
    if axis is None:
        flat = build.reshape(node, [product(node.type.shape)])
        total = sum(shift) if isinstance(shift, Sequence) else shift
        return Expression.of(build.reshape(_roll(flat, total, 0), node.type.shape))
    axes = [axis] if isinstance(axis, int) else list(axis)
    shifts = list(shift) if isinstance(shift, Sequence) else [shift] * len(axes)
    if len(axes) == 1 and len(shifts) > 1:
        axes = axes * len(shifts)
    if len(shifts) != len(axes):
        raise ShapeError(f"roll: {len(shifts)} shifts for {len(axes)} axes")
    for amount, place in zip(shifts, axes, strict=True):
        node = _roll(node, amount, normalise_axis(place, node.ndim))
    return Expression.of(node)


def _roll(node: Node, shift: int, axis: int) -> Node:
    size = node.type.shape[axis]
    if isinstance(size, Dim):
        raise UnsupportedError(f"roll needs a known size, not {size}; give the dim a size")
    if size == 0 or shift % size == 0:
        return node
    cut = size - shift % size
    return make(Concatenate(axis), _range(node, axis, cut, size), _range(node, axis, 0, cut))


def _range(node: Node, axis: int, start: Size, stop: Size) -> Node:
    starts: list[Size] = [0] * node.ndim
    sizes = list(node.type.shape)
    starts[axis], sizes[axis] = start, stop - start
    return build.slice_node(node, starts, sizes, [1] * node.ndim)


def concatenate(tensors: Sequence[TensorLike], axis: int | None = 0) -> Expression:
    """Tensors one after another along ``axis``; flattened first where ``axis`` is None."""
    if not tensors:
        raise ShapeError("concatenate needs at least one tensor")
    nodes = as_nodes([as_node(x) for x in tensors])
    if axis is None:
        nodes, axis = [build.reshape(x, [product(x.type.shape)]) for x in nodes], 0
    if nodes[0].ndim == 0:
        raise ShapeError("scalars cannot be concatenated; use stack")
    place = normalise_axis(axis, nodes[0].ndim)
    return Expression.of(nodes[0] if len(nodes) == 1 else make(Concatenate(place), *nodes))


def stack(tensors: Sequence[TensorLike], axis: int = 0) -> Expression:
    """Tensors of one shape joined along a new axis."""
    if not tensors:
        raise ShapeError("stack needs at least one tensor")
    shapes = [as_node(x).type.shape for x in tensors]
    for position, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ShapeError(
                f"stack: tensor 0 has shape {shape_text(shapes[0])}, tensor {position} has {shape_text(shape)}"
            )
    return concatenate([expand_dims(x, axis) for x in tensors], normalise_axis(axis, len(shapes[0]) + 1))


def pad(x: TensorLike, pad_width: Any, mode: str = "constant", constant_values: Any = 0) -> Expression:
    """The tensor with ``pad_width`` elements of ``constant_values`` (a number) around it.

    ``pad_width`` is an int, ``(before, after)`` for all axes, or one such pair an axis.
    """
    node = as_node(x)
    if mode != "constant":
        raise UnsupportedError(f"pad: mode {mode!r} is not supported; use 'constant'")
    widths = _pad_widths(pad_width, node.ndim)
    shape = [before + size + after for (before, after), size in zip(widths, node.type.shape, strict=True)]
    padded = build.pad_node(node, [before for before, _ in widths], shape, [1] * node.ndim)
    if isinstance(constant_values, (int, float, complex)) and constant_values == 0:
        return Expression.of(padded)
    from .creation import ones
    from .elementwise import where

    inside = build.pad_node(
        ones(node.type.shape, "bool").node, [before for before, _ in widths], shape, [1] * node.ndim
    )
    filler = build.cast(as_node(constant_values), node.type.dtype)
    return where(Expression.of(inside), Expression.of(padded), Expression.of(filler))


def _pad_widths(pad_width: Any, ndim: int) -> list[tuple[Size, Size]]:
    if not isinstance(pad_width, Sequence):
        pairs: list[Any] = [(pad_width, pad_width)] * ndim
    elif pad_width and not isinstance(pad_width[0], Sequence):
        pairs = [tuple(pad_width) * (2 if len(pad_width) == 1 else 1)] * ndim
    else:
        pairs = [tuple(pair) * (2 if len(pair) == 1 else 1) for pair in pad_width]
        pairs = pairs * ndim if len(pairs) == 1 else pairs
    if len(pairs) != ndim or any(len(pair) != 2 for pair in pairs):
        raise ShapeError(f"pad: pad_width {pad_width!r} does not give (before, after) for {ndim} axes")
    widths = [(as_size(before), as_size(after)) for before, after in pairs]
    if any(isinstance(w, int) and w < 0 for pair in widths for w in pair):
        raise ShapeError(f"pad: pad_width {pad_width!r} is negative; slice instead")
    return widths


def cast(x: TensorLike, dtype: Any) -> Expression:
    """The values in another dtype; a complex value loses its imaginary part, as with ``astype``."""
    return Expression.of(build.cast(as_node(x), as_dtype(dtype)))
