"""Requests for derivatives, as nodes: what was asked, before any rule is applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..dims import Size
from ..dtypes import promote
from ..errors import DTypeError, ShapeError, nearest
from ..types import TensorType, shape_text
from .base import Operation

# kind: (what it is of, operands after the function and its points)
DERIVATIVE_KINDS = ("grad", "jacobian", "vjp", "jvp", "hvp", "jtjvp")


@dataclass(frozen=True)
class Derivative(Operation):
    """A derivative of operand 0 at points that are nodes of its graph.

    The operands are ``y``, then ``points`` points, then the vectors of a product.  ``target``
    picks the point whose derivative this node is (vjp, hvp and jtjvp have one node per point).
    A Jacobian has the axes of ``y``, then those of each point in turn; applying it repeatedly
    gives Hessians and higher derivatives.  Derivatives have the dtype of their point, but that of a
    complex function is complex.
    """

    name: ClassVar[str] = "derivative"
    arity: ClassVar[int | None] = None
    kind: str
    points: int = 1
    target: int = 0

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """``y``'s axes, a point's axes, or both, by kind."""
        if self.kind not in DERIVATIVE_KINDS:
            raise ShapeError(f"unknown derivative {self.kind!r}{nearest(self.kind, DERIVATIVE_KINDS)}")
        y, points = operands[0], operands[1 : 1 + self.points]
        vectors = operands[1 + self.points :]
        for x in (y, *points):
            if not x.dtype.is_inexact:
                raise DTypeError(f"{self.kind}: {x} has no derivative; cast it to a floating dtype")
        if self.kind in ("grad", "hvp") and y.shape:
            raise ShapeError(
                f"{self.kind} needs a scalar, but the function has shape {shape_text(y.shape)}; "
                "use jacobian or vjp, or reduce it with sum"
            )
        if self.kind in ("grad", "hvp") and y.dtype.kind == "complex":
            raise DTypeError(f"{self.kind} needs a real function, not {y.dtype}; take its real part or abs")
        self._check_vectors(y, points, vectors)
        x = points[self.target]
        shape: dict[str, tuple[Size, ...]] = {"jacobian": y.shape + x.shape, "jvp": y.shape}
        dtype = y.dtype if self.kind == "jvp" else x.dtype
        if self.kind == "jacobian" and y.dtype.kind == "complex":
            dtype = promote(dtype, 1j)
        return TensorType(shape.get(self.kind, x.shape), dtype)

    def _check_vectors(self, y: TensorType, points: tuple[TensorType, ...], vectors: tuple[TensorType, ...]) -> None:
        expected: tuple[TensorType, ...] = ()
        if self.kind == "vjp":
            expected = (y,)
        elif self.kind in ("jvp", "hvp", "jtjvp"):
            expected = points
        if [v.shape for v in vectors] != [e.shape for e in expected]:
            given = ", ".join(shape_text(v.shape) for v in vectors)
            wanted = ", ".join(shape_text(e.shape) for e in expected)
            raise ShapeError(f"{self.kind}: vectors have shapes {given or 'none'}; {wanted or 'none'} are needed")
