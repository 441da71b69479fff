"""The arithmetic operations: einsum, map, linear combination, reductions, casts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ..dims import Size
from ..dtypes import DType
from ..errors import DTypeError, ShapeError
from ..scalar import Number, Scalar, infer_dtype, used_arguments
from ..types import TensorType
from .base import Operation, check_axes, joined_sizes

IndexLists = tuple[tuple[int, ...], ...]


def _common_dtype(what: str, operands: tuple[TensorType, ...]) -> DType:
    dtypes = {x.dtype for x in operands}
    if len(dtypes) != 1:
        raise DTypeError(f"{what}: operands have dtypes {', '.join(x.dtype for x in operands)}; cast first")
    return dtypes.pop()


def _aligned_shape(what: str, inputs: IndexLists, rank: int, operands: tuple[TensorType, ...]) -> tuple[Size, ...]:
    """The shape of an elementwise result whose operands name the result's axes."""
    for labels in inputs:
        check_axes(what, labels, rank)
    sizes = joined_sizes(what, inputs, operands)
    if set(sizes) != set(range(rank)):
        raise ShapeError(f"{what}: axes {sorted(set(range(rank)) - set(sizes))} are on no operand")
    return tuple(sizes[axis] for axis in range(rank))


@dataclass(frozen=True)
class Einsum(Operation):
    """The sum over every index that is not in ``output`` of the product of the operands.

    Indices are integers in order of first appearance, so that renaming cannot matter.
    ``output`` holds distinct indices, each on at least one operand.
    """

    name: ClassVar[str] = "einsum"
    arity: ClassVar[int | None] = None
    linear_in: ClassVar[tuple[int, ...] | None] = None
    inputs: IndexLists
    output: tuple[int, ...]

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """Operands of one dtype; sizes of equal indices are equal."""
        dtype = _common_dtype("einsum", operands)
        if dtype is DType.bool:
            raise DTypeError("einsum: booleans do not add; cast to an integer type first")
        sizes = joined_sizes("einsum", self.inputs, operands)
        if len(set(self.output)) != len(self.output) or not set(self.output) <= set(sizes):
            raise ShapeError(f"einsum: output indices {self.output} are not distinct indices of the operands")
        return TensorType(tuple(sizes[label] for label in self.output), dtype)


@dataclass(frozen=True)
class Map(Operation):
    """An elementwise scalar expression over operands aligned with the result's axes.

    ``inputs[k]`` names, for each axis of operand ``k``, the axis of the result it runs along;
    an operand is broadcast along the axes it does not name.
    """

    name: ClassVar[str] = "map"
    arity: ClassVar[int | None] = None
    expression: Scalar
    inputs: IndexLists
    rank: int

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """Aligned sizes are equal; the dtype is the expression's."""
        shape = _aligned_shape("map", self.inputs, self.rank, operands)
        used = used_arguments(self.expression)
        if used != list(range(len(operands))):
            raise ShapeError(f"map: the expression reads operands {used} of {len(operands)}")
        return TensorType(shape, infer_dtype(self.expression, [x.dtype for x in operands]))


@dataclass(frozen=True)
class LinearCombination(Operation):
    """The sum of operands times numeric coefficients, aligned as in :class:`Map`."""

    name: ClassVar[str] = "linear_combination"
    arity: ClassVar[int | None] = None
    linear_in: ClassVar[tuple[int, ...] | None] = None
    coefficients: tuple[Number, ...]
    inputs: IndexLists
    rank: int

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """Operands of one dtype; aligned sizes are equal."""
        dtype = _common_dtype("linear_combination", operands)
        if dtype is DType.bool:
            raise DTypeError("linear_combination: booleans do not add; cast to an integer type first")
        return TensorType(_aligned_shape("linear_combination", self.inputs, self.rank, operands), dtype)


# "shift" is the maximum where that is finite, else 0: what exponentials are taken relative to.
REDUCTIONS = ("max", "min", "prod", "logsumexp", "any", "all", "shift")


@dataclass(frozen=True)
class Reduce(Operation):
    """A reduction over ``axes`` that is not a sum (sums are einsums)."""

    name: ClassVar[str] = "reduce"
    kind: str
    axes: tuple[int, ...]

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """The remaining axes, in order."""
        (x,) = operands
        check_axes(self.kind, self.axes, x.ndim)
        if self.kind not in REDUCTIONS:
            raise ShapeError(f"unknown reduction {self.kind!r}; known are {', '.join(REDUCTIONS)}")
        if self.kind in ("logsumexp", "shift") and x.dtype.kind != "float":
            raise DTypeError(f"{self.kind} needs a floating dtype, not {x.dtype}")
        empty = [x.shape[axis] for axis in self.axes if x.shape[axis] == 0]
        if empty and self.kind in ("max", "min"):
            raise ShapeError(f"{self.kind} over an axis of size 0 has no value")
        shape = tuple(size for axis, size in enumerate(x.shape) if axis not in self.axes)
        return TensorType(shape, DType.bool if self.kind in ("any", "all") else x.dtype)


@dataclass(frozen=True)
class CumulativeSum(Operation):
    """Partial sums along an axis; from the end when ``reverse``."""

    name: ClassVar[str] = "cumulative_sum"
    linear_in: ClassVar[tuple[int, ...] | None] = None
    axis: int
    reverse: bool = False

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """The operand's type."""
        check_axes("cumulative_sum", (self.axis,), operands[0].ndim)
        return operands[0].plain()


@dataclass(frozen=True)
class Cast(Operation):
    """The same values in another dtype; a complex value loses its imaginary part, unless it becomes a boolean."""

    name: ClassVar[str] = "cast"
    linear_in: ClassVar[tuple[int, ...] | None] = None
    dtype: DType

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """The operand's shape, and those of its facts that rounding, or losing the imaginary part, keeps."""
        (x,) = operands
        loses = x.dtype.is_inexact and self.dtype.kind not in (x.dtype.kind, "complex")
        facts = replace(x.facts, orthonormal=False, positive_definite=False, sums_to_one=False) if loses else x.facts
        return TensorType(x.shape, self.dtype, facts)
