"""Operations without operands: inputs, constants, deltas and index ranges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..dims import Size
from ..dtypes import DType, as_dtype, to_numpy_dtype
from ..types import TensorType
from .base import Operation


@dataclass(frozen=True)
class Input(Operation):
    """A tensor that the caller gives, by name."""

    name: ClassVar[str] = "input"
    arity: ClassVar[int | None] = 0
    label: str
    type: TensorType

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """The declared type."""
        return self.type


@dataclass(frozen=True)
class Constant(Operation):
    """A tensor known in advance, kept as row-major bytes."""

    name: ClassVar[str] = "constant"
    arity: ClassVar[int | None] = 0
    dtype: DType
    shape: tuple[int, ...]
    data: bytes

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """The type of the stored array."""
        return TensorType(self.shape, self.dtype)

    @property
    def array(self) -> np.ndarray[Any, np.dtype[Any]]:
        """The value, as a read-only NumPy array."""
        return np.frombuffer(self.data, to_numpy_dtype(self.dtype)).reshape(self.shape)

    @classmethod
    def of(cls, array: np.ndarray[Any, np.dtype[Any]]) -> Constant:
        """The constant that holds ``array``."""
        native = np.asarray(array, array.dtype.newbyteorder("="))
        return cls(as_dtype(native.dtype), native.shape, native.tobytes())


@dataclass(frozen=True)
class Delta(Operation):
    """The Kronecker delta: the identity matrix of a size."""

    name: ClassVar[str] = "delta"
    arity: ClassVar[int | None] = 0
    size: Size
    dtype: DType

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """A square matrix."""
        return TensorType((self.size, self.size), self.dtype)


@dataclass(frozen=True)
class Iota(Operation):
    """The integers 0, 1, … size-1 as a vector."""

    name: ClassVar[str] = "iota"
    arity: ClassVar[int | None] = 0
    size: Size
    dtype: DType

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """A vector."""
        return TensorType((self.size,), self.dtype)


@dataclass(frozen=True)
class Extent(Operation):
    """A size as a scalar value, so that a mean over a symbolic axis can divide by it."""

    name: ClassVar[str] = "extent"
    arity: ClassVar[int | None] = 0
    size: Size
    dtype: DType

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """A scalar."""
        return TensorType((), self.dtype)
