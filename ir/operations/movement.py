"""Operations that move elements without arithmetic: shaping, slicing, gathering."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..dims import Size, product
from ..dtypes import DType
from ..errors import DTypeError, ShapeError
from ..types import TensorType, shape_text
from .base import Operation, check_axes


@dataclass(frozen=True)
class Broadcast(Operation):
    """The operand repeated along new axes; operand axis ``k`` becomes result axis ``axes[k]``."""

    name: ClassVar[str] = "broadcast"
    linear_in: ClassVar[tuple[int, ...] | None] = None
    view: ClassVar[bool] = True
    axes: tuple[int, ...]
    shape: tuple[Size, ...]

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """The given shape; the operand's sizes must fit it."""
        (x,) = operands
        check_axes("broadcast", self.axes, len(self.shape))
        if tuple(self.shape[axis] for axis in self.axes) != x.shape:
            raise ShapeError(
                f"broadcast: shape {shape_text(x.shape)} does not fit axes {self.axes} of {shape_text(self.shape)}"
            )
        return TensorType(self.shape, x.dtype)


@dataclass(frozen=True)
class Reshape(Operation):
    """The same elements in row-major order under another shape."""

    name: ClassVar[str] = "reshape"
    linear_in: ClassVar[tuple[int, ...] | None] = None
    view: ClassVar[bool] = True
    shape: tuple[Size, ...]

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """The number of elements is unchanged."""
        (x,) = operands
        if product(x.shape) != product(self.shape):
            raise ShapeError(
                f"reshape: shape {shape_text(x.shape)} holds {product(x.shape)} elements, "
                f"{shape_text(self.shape)} holds {product(self.shape)}"
            )
        return TensorType(self.shape, x.dtype)


@dataclass(frozen=True)
class Slice(Operation):
    """Along each axis, ``sizes`` elements from ``starts`` in steps of ``steps`` (may be negative)."""

    name: ClassVar[str] = "slice"
    linear_in: ClassVar[tuple[int, ...] | None] = None
    view: ClassVar[bool] = True
    starts: tuple[Size, ...]
    sizes: tuple[Size, ...]
    steps: tuple[int, ...]

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """The given sizes."""
        (x,) = operands
        _check_strided(self.name, self.starts, self.sizes, self.steps, x.shape)
        return TensorType(self.sizes, x.dtype)


@dataclass(frozen=True)
class Pad(Operation):
    """Zeros of ``shape`` with the operand at ``starts + k·steps``: the transpose of :class:`Slice`."""

    name: ClassVar[str] = "pad"
    linear_in: ClassVar[tuple[int, ...] | None] = None
    starts: tuple[Size, ...]
    shape: tuple[Size, ...]
    steps: tuple[int, ...]

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """The given shape."""
        (x,) = operands
        _check_strided(self.name, self.starts, x.shape, self.steps, self.shape)
        return TensorType(self.shape, x.dtype)


def _check_strided(
    what: str,
    starts: tuple[Size, ...],
    sizes: tuple[Size, ...],
    steps: tuple[int, ...],
    shape: tuple[Size, ...],
) -> None:
    if not len(starts) == len(sizes) == len(steps) == len(shape):
        raise ShapeError(f"{what}: {len(starts)} starts for a tensor of rank {len(shape)}")
    for axis, (start, size, step, extent) in enumerate(zip(starts, sizes, steps, shape, strict=True)):
        if isinstance(size, int) and size < 0:
            raise ShapeError(f"{what}: axis {axis} of size {extent} has no {size} elements from {start}")
        if step == 0:
            raise ShapeError(f"{what}: the step along axis {axis} is 0; use a positive or negative step")
        if size == 0:
            continue
        last = start + (size - 1) * step
        for place in (start, last):
            beyond = place - extent
            if (isinstance(place, int) and place < 0) or (isinstance(beyond, int) and beyond >= 0):
                raise ShapeError(f"{what}: position {place} is outside axis {axis} of size {extent}")


@dataclass(frozen=True)
class Concatenate(Operation):
    """The operands one after another along ``axis``."""

    name: ClassVar[str] = "concatenate"
    arity: ClassVar[int | None] = None
    linear_in: ClassVar[tuple[int, ...] | None] = None
    axis: int

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """All sizes equal but the one along ``axis``, which adds up."""
        first = operands[0]
        check_axes("concatenate", (self.axis,), first.ndim)
        total: Size = 0
        for position, x in enumerate(operands):
            others = x.shape[: self.axis] + x.shape[self.axis + 1 :]
            expected = first.shape[: self.axis] + first.shape[self.axis + 1 :]
            if x.ndim != first.ndim or others != expected or x.dtype != first.dtype:
                raise ShapeError(
                    f"concatenate along axis {self.axis}: operand 0 is {first}, operand {position} is {x}; "
                    "all other sizes and the dtype must agree"
                )
            total = total + x.shape[self.axis]
        shape = (*first.shape[: self.axis], total, *first.shape[self.axis + 1 :])
        return TensorType(shape, first.dtype)


@dataclass(frozen=True)
class Take(Operation):
    """``x[…, indices, …]`` along ``axis``; operands are ``x`` and integer ``indices``."""

    name: ClassVar[str] = "take"
    arity: ClassVar[int | None] = 2
    linear_in: ClassVar[tuple[int, ...] | None] = (0,)
    axis: int

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """The axis is replaced by the axes of ``indices``."""
        x, indices = operands
        check_axes("take", (self.axis,), x.ndim)
        _check_indices("take", indices)
        shape = x.shape[: self.axis] + indices.shape + x.shape[self.axis + 1 :]
        return TensorType(shape, x.dtype)


@dataclass(frozen=True)
class ScatterAdd(Operation):
    """``x`` with ``updates`` added at ``indices`` along ``axis``; repeated indices accumulate."""

    name: ClassVar[str] = "scatter_add"
    arity: ClassVar[int | None] = 3
    linear_in: ClassVar[tuple[int, ...] | None] = ()
    axis: int

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """The type of ``x``; ``updates`` has the shape that ``take`` would give."""
        x, indices, updates = operands
        check_axes("scatter_add", (self.axis,), x.ndim)
        _check_indices("scatter_add", indices)
        expected = x.shape[: self.axis] + indices.shape + x.shape[self.axis + 1 :]
        if updates.shape != expected or updates.dtype != x.dtype:
            raise ShapeError(f"scatter_add: updates are {updates}; {TensorType(expected, x.dtype)} is needed")
        return x.plain()


def _check_indices(what: str, indices: TensorType) -> None:
    if indices.dtype.kind not in ("int", "uint") or indices.dtype is DType.bool:
        raise DTypeError(f"{what}: indices are {indices.dtype}; integers are needed")
