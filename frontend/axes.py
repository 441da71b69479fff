"""Axis arguments as NumPy takes them: one, several, none, counted from either end."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir import ShapeError, Size, build
from ..ir.node import Node
from .expression import Axes


def normalise_axis(axis: int, ndim: int) -> int:
    """``axis`` counted from the front; raises ``ShapeError`` where there is no such axis."""
    try:
        number = axis.__index__()
    except AttributeError:
        raise ShapeError(f"axis {axis!r} is not an integer") from None
    if not -ndim <= number < ndim:
        if ndim == 0:
            raise ShapeError(f"axis {number} is outside a scalar, which has no axes")
        raise ShapeError(f"axis {number} is outside a tensor of {ndim} axes; use {-ndim} to {ndim - 1}")
    return number % ndim


def normalise_axes(axes: Axes, ndim: int) -> tuple[int, ...]:
    """Distinct axes counted from the front; None means all of them."""
    if axes is None:
        return tuple(range(ndim))
    listed: Sequence[int] = axes if isinstance(axes, Sequence) else (axes,)
    normal = tuple(normalise_axis(axis, ndim) for axis in listed)
    if len(set(normal)) != len(normal):
        raise ShapeError(f"axes {tuple(listed)} name an axis twice")
    return normal


def keep_axes(node: Node, reduced: Node, axes: Sequence[int]) -> Node:
    """``reduced`` with the reduced axes of ``node`` back at size 1."""
    shape: list[Size] = [1 if k in axes else size for k, size in enumerate(node.type.shape)]
    return build.reshape(reduced, shape)
