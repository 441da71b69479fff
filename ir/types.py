"""The type of a tensor: shape, dtype, mathematical facts, and storage format."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from .dims import Size, as_size
from .dtypes import DType, as_dtype
from .errors import NamingError, ShapeError, nearest

SymmetryGroups = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Facts:
    """What is known about a tensor's values beyond their type.

    ``symmetric`` lists groups of axes under whose permutations the tensor is unchanged;
    ``orthonormal`` means that columns are; ``sums_to_one`` speaks of the last axis.
    """

    symmetric: SymmetryGroups = ()
    orthonormal: bool = False
    positive_definite: bool = False
    diagonal: bool = False
    nonnegative: bool = False
    sums_to_one: bool = False

    def items(self) -> list[tuple[str, Any]]:
        """The facts that hold, by name."""
        return [(f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name)]

    def __bool__(self) -> bool:
        return bool(self.items())


@dataclass(frozen=True)
class Format:
    """How a tensor is stored.  ``parameters`` are the format's own numbers, in a fixed order."""

    name: str = "dense"
    parameters: tuple[tuple[str, int | str | bool | None], ...] = ()

    def __str__(self) -> str:
        inner = ", ".join(f"{k}={v!r}" for k, v in self.parameters)
        return f"{self.name}({inner})"


NO_FACTS = Facts()
DENSE = Format()


@dataclass(frozen=True)
class TensorType:
    """Shape, dtype, facts and storage format of one tensor."""

    shape: tuple[Size, ...]
    dtype: DType = DType.float64
    facts: Facts = field(default=NO_FACTS)
    format: Format = field(default=DENSE)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def plain(self) -> TensorType:
        """The same shape and dtype, dense and without facts."""
        return TensorType(self.shape, self.dtype)

    def __str__(self) -> str:
        return f"{self.dtype.short}[{','.join(map(str, self.shape))}]"


def make_type(
    shape: Iterable[object],
    dtype: object = DType.float64,
    format: Format = DENSE,
    **facts: object,
) -> TensorType:
    """Build a checked :class:`TensorType` from user values (names, ints, dtype names, facts)."""
    if isinstance(shape, (str, int)):
        shape = (shape,)
    sizes = tuple(as_size(s) for s in shape)
    for size in sizes:
        if isinstance(size, int) and size < 0:
            raise ShapeError(f"size {size} in shape {shape_text(sizes)} is negative; sizes start at 0")
    kind = as_dtype(dtype)
    return TensorType(sizes, kind, make_facts(sizes, kind, **facts), format)


def make_facts(shape: tuple[Size, ...], dtype: DType = DType.float64, /, **facts: object) -> Facts:
    """Check facts against a shape and put them in normal form.

    Raises ``NamingError`` for an unknown fact and ``ShapeError`` where a fact cannot hold.
    """
    known = [f.name for f in fields(Facts)]
    for name in facts:
        if name not in known:
            hint = nearest(name, known) or f"; known facts are {', '.join(known)}"
            raise NamingError(f"unknown fact {name!r}{hint}")
    symmetric = _symmetry_groups(shape, facts.pop("symmetric", ()))
    flags = {name: bool(value) for name, value in facts.items()}
    square = len(shape) >= 2 and shape[-1] == shape[-2]
    for name in ("positive_definite", "diagonal"):
        if flags.get(name) and not square:
            raise ShapeError(f"{name} needs a square matrix, not shape {shape_text(shape)}")
    if flags.get("orthonormal") and len(shape) < 2:
        raise ShapeError(f"orthonormal needs a matrix, not shape {shape_text(shape)}")
    if flags.get("sums_to_one") and not shape:
        raise ShapeError("sums_to_one speaks of the last axis, and a scalar has none")
    # A positive definite complex matrix is Hermitian, which is not symmetric.
    implied = flags.get("diagonal") or (flags.get("positive_definite") and dtype.kind != "complex")
    if implied and not symmetric:
        symmetric = ((len(shape) - 2, len(shape) - 1),)
    return Facts(symmetric=symmetric, **flags)


def _symmetry_groups(shape: tuple[Size, ...], value: object) -> SymmetryGroups:
    if value is False or value is None or value == ():
        return ()
    groups: Iterable[Iterable[int]] = [range(len(shape))] if value is True else value  # type: ignore[assignment]
    normal = tuple(sorted(tuple(sorted(int(axis) for axis in group)) for group in groups))
    used: set[int] = set()
    for group in normal:
        if len(group) < 2 or used & set(group) or not set(group) <= set(range(len(shape))):
            raise ShapeError(
                f"symmetric={value!r} does not fit shape {shape_text(shape)}; give True, or disjoint "
                "groups of at least two axes such as ((0, 1), (2, 3))"
            )
        sizes = {shape[axis] for axis in group}
        if len(sizes) > 1:
            raise ShapeError(
                f"axes {group} of shape {shape_text(shape)} have different sizes, "
                "so no tensor of that shape is symmetric in them"
            )
        used |= set(group)
    return normal


def shape_text(shape: Iterable[Size]) -> str:
    """A shape as messages show it, such as ``(i, 3)``."""
    sizes = [str(s) for s in shape]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"
