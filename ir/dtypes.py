"""Element types, from two-bit integers to double-precision complex, and how they promote."""

from __future__ import annotations

import builtins
from enum import StrEnum
from typing import Any, Union

import numpy as np

from .errors import DTypeError, nearest

_PythonNumber = Union[bool, int, float, complex]  # named here, since DType has a member called bool


class DType(StrEnum):
    """An element type.  Compares equal to its name: ``x.dtype == "float64"``.

    ``float8_e4m3`` is the format without infinities, torch's and JAX's ``float8_e4m3fn``.
    """

    bool = "bool"
    int2 = "int2"
    int4 = "int4"
    int8 = "int8"
    int16 = "int16"
    int32 = "int32"
    int64 = "int64"
    uint2 = "uint2"
    uint4 = "uint4"
    uint8 = "uint8"
    uint16 = "uint16"
    uint32 = "uint32"
    uint64 = "uint64"
    float8_e4m3 = "float8_e4m3"
    float8_e5m2 = "float8_e5m2"
    float16 = "float16"
    bfloat16 = "bfloat16"
    float32 = "float32"
    float64 = "float64"
    complex64 = "complex64"
    complex128 = "complex128"

    @property
    def kind(self) -> str:
        """``"bool"``, ``"int"``, ``"uint"``, ``"float"`` or ``"complex"``."""
        return _ROWS[self.value][0]

    @property
    def bits(self) -> int:
        """Bits that one element takes in memory."""
        return _ROWS[self.value][1]

    @property
    def short(self) -> str:
        """The abbreviation used in IR text, such as ``f64``."""
        return _ROWS[self.value][2]

    @property
    def is_inexact(self) -> builtins.bool:
        """Whether the type is floating or complex, so that derivatives exist."""
        return self.kind in ("float", "complex")

    @property
    def in_numpy(self) -> builtins.bool:
        """Whether NumPy has this type."""
        return self.value not in _NOT_IN_NUMPY

    @property
    def real(self) -> DType:
        """The type of the real part: ``float64`` for ``complex128``, itself otherwise."""
        return {"complex64": DType.float32, "complex128": DType.float64}.get(self.value, self)


Promotable = Union[DType, _PythonNumber]

# name: (kind, bits, abbreviation)
_ROWS: dict[str, tuple[str, int, str]] = {
    "bool": ("bool", 8, "bool"),
    **{f"int{n}": ("int", n, f"i{n}") for n in (2, 4, 8, 16, 32, 64)},
    **{f"uint{n}": ("uint", n, f"u{n}") for n in (2, 4, 8, 16, 32, 64)},
    "float8_e4m3": ("float", 8, "f8e4m3"),
    "float8_e5m2": ("float", 8, "f8e5m2"),
    "bfloat16": ("float", 16, "bf16"),
    **{f"float{n}": ("float", n, f"f{n}") for n in (16, 32, 64)},
    **{f"complex{n}": ("complex", n, f"c{n}") for n in (64, 128)},
}
_NOT_IN_NUMPY = {"int2", "int4", "uint2", "uint4", "float8_e4m3", "float8_e5m2", "bfloat16"}
# What torch, JAX and ml_dtypes call the format without infinities.
_ALIASES = {"float8_e4m3fn": "float8_e4m3"}
_BY_SHORT = {row[2]: DType(name) for name, row in _ROWS.items()}
# What is stored in fewer bits than GPUs compute in, which is float32.
HALVES = (DType.float16, DType.bfloat16)
EIGHTS = (DType.float8_e4m3, DType.float8_e5m2)
NARROW = (*HALVES, *EIGHTS)
# Of the floating types: the bits of a significand, the exponent of the smallest number, that above the largest.
_RANGES = {
    DType.float8_e4m3: (4, -9, 9), DType.float8_e5m2: (3, -16, 16), DType.float16: (11, -24, 16),
    DType.bfloat16: (8, -133, 128), DType.float32: (24, -149, 128), DType.float64: (53, -1074, 1024),
}  # fmt: skip


def as_dtype(value: Any) -> DType:
    """Turn a name, an abbreviation, a Python type or a NumPy dtype into a :class:`DType`.

    >>> as_dtype("f32"), as_dtype(float).value
    (<DType.float32: 'float32'>, 'float64')
    """
    if isinstance(value, DType):
        return value
    if isinstance(value, str) and value in _BY_SHORT:
        return _BY_SHORT[value]
    name = value if isinstance(value, str) else None
    try:
        found = name if name in _ROWS or name in _ALIASES else np.dtype(value).name
        return DType(_ALIASES.get(str(found), found))
    except (TypeError, ValueError, SyntaxError):  # NumPy evaluates what looks like a record type, such as '064'
        hint = nearest(str(value), _ROWS) or f"; known types are {', '.join(_ROWS)}"
        raise DTypeError(f"unknown dtype {value!r}{hint}") from None


def promote(*values: Promotable) -> DType:
    """The NumPy 2 result type of operands; Python scalars are weak and adapt to tensors.

    Types that NumPy lacks follow JAX: bfloat16 with float16 gives float32; an 8-bit float or a
    sub-byte integer gives way to any wider type of its kind.
    """
    if values and isinstance(values[0], DType) and all(v is values[0] for v in values):
        return values[0]
    outside = [v for v in values if isinstance(v, DType) and not v.in_numpy]
    if not outside:
        plain = [np.dtype(v.value) if isinstance(v, DType) else v for v in values]
        return as_dtype(np.result_type(*plain))
    kinds = {_kind(v) for v in values}
    if "complex" in kinds:
        return promote(*(DType.float32 if v in outside else v for v in values))
    floats = {v for v in values if isinstance(v, DType) and v.kind == "float"}
    if floats:
        return _promote_floats(floats)
    return promote(*(DType(f"{_kind(v)}8") if v in outside else v for v in values))


def _promote_floats(floats: set[DType]) -> DType:
    if len(floats) == 1:
        return next(iter(floats))
    wide = {v for v in floats if v.bits > 8}
    if not wide:
        return DType.float16
    if wide == {DType.bfloat16, DType.float16}:
        return DType.float32
    return max(wide, key=lambda v: v.bits)


def _kind(value: Promotable) -> str:
    return value.kind if isinstance(value, DType) else type(value).__name__


def can_cast_safely(source: DType, target: DType) -> bool:
    """Whether every value of ``source`` is exactly a value of ``target``.

    >>> can_cast_safely(DType.float8_e4m3, DType.bfloat16), can_cast_safely(DType.int16, DType.bfloat16)
    (True, False)
    """
    if source is target:
        return True
    if source.in_numpy and target.in_numpy:
        return bool(np.can_cast(source.value, target.value, "safe"))
    if source.real is source and target.real in _RANGES:
        digits, least, most = _range(source)
        its_digits, its_least, its_most = _RANGES[target.real]
        return digits <= its_digits and least >= its_least and most <= its_most
    return promote(source, target) is target and source.bits <= target.bits


def _range(dtype: DType) -> tuple[int, int, int]:
    """The digits and the exponents of a real type, of integers those of the largest."""
    if dtype in _RANGES:
        return _RANGES[dtype]
    digits = 1 if dtype is DType.bool else dtype.bits - (dtype.kind == "int")
    return digits, 0, digits


def factor_dtype(left: DType, right: DType, product: DType) -> DType:
    """What numbers of two dtypes are multiplied in for a product of a third: a half that has them all, if there is one.

    >>> factor_dtype(DType.bfloat16, DType.float8_e4m3, DType.float32).value
    'bfloat16'
    """
    if product in HALVES or product is DType.float64:
        return product
    halves = reversed(HALVES) if DType.bfloat16 in (left, right) else HALVES
    exact = (half for half in halves if can_cast_safely(left, half) and can_cast_safely(right, half))
    return next(exact, DType.float32)


def to_numpy_dtype(dtype: DType) -> np.dtype[Any]:
    """The NumPy dtype of the same name; raises ``DTypeError`` where NumPy has none."""
    if not dtype.in_numpy:
        raise DTypeError(f"NumPy has no {dtype}; cast to float32 or int8 first")
    return np.dtype(dtype.value)
