"""What every operation has: a name, an arity, a type rule, and facts the algebra may use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from ..dims import Size
from ..errors import ShapeError, VerificationError
from ..types import TensorType, shape_text


@dataclass(frozen=True)
class Operation:
    """Base of operations: a frozen dataclass whose fields are the operation's parameters.

    ``arity`` is the number of operands, or None where it varies.  ``linear_in`` lists the
    operands in which the operation is linear when the others are held (None: in every one).
    ``view`` means that the elements are those of the operand, rearranged.
    """

    name: ClassVar[str] = ""
    arity: ClassVar[int | None] = 1
    linear_in: ClassVar[tuple[int, ...] | None] = ()
    view: ClassVar[bool] = False

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """The type of the result; raises ``ShapeError`` or ``DTypeError`` where there is none."""
        raise NotImplementedError(type(self).__name__)

    def check_arity(self, count: int) -> None:
        """Raise ``VerificationError`` unless the operation takes ``count`` operands."""
        if self.arity is not None and count != self.arity:
            raise VerificationError(f"{self.name} takes {self.arity} operands, not {count}")


def check_axes(what: str, axes: Iterable[int], ndim: int) -> None:
    """Raise ``ShapeError`` unless ``axes`` are distinct axes of a tensor of rank ``ndim``."""
    listed = list(axes)
    if len(set(listed)) != len(listed) or any(not 0 <= axis < ndim for axis in listed):
        raise ShapeError(f"{what}: axes {tuple(listed)} are not distinct axes of a tensor of rank {ndim}")


def joined_sizes(what: str, inputs: Iterable[tuple[int, ...]], operands: tuple[TensorType, ...]) -> dict[int, Size]:
    """The size of every index, from operands labelled by ``inputs``.

    Raises ``ShapeError`` naming the index, both sizes and both operands where they disagree.
    """
    sizes: dict[int, Size] = {}
    origin: dict[int, int] = {}
    for position, (labels, operand) in enumerate(zip(inputs, operands, strict=True)):
        if len(labels) != operand.ndim:
            raise ShapeError(
                f"{what}: operand {position} of shape {shape_text(operand.shape)} has {operand.ndim} "
                f"axes, but {len(labels)} indices"
            )
        for label, size in zip(labels, operand.shape, strict=True):
            if sizes.setdefault(label, size) != size:
                raise ShapeError(
                    f"{what}: index {label} has size {sizes[label]} in operand {origin[label]} "
                    f"and size {size} in operand {position}"
                )
            origin.setdefault(label, position)
    return sizes
