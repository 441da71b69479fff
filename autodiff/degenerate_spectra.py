"""Quotients by gaps of eigenvalues or singular values, right where the gap closes.

A rule for eigenvectors divides by ``s = w_j − w_i``.  For a function that does not depend on the choice
of basis, what is divided is ``a = s·c`` with a smooth ``c`` that is wanted (for functions of eigenvalues
alone: Lewis and Sendov, SIAM J. Matrix Anal. Appl. 23 (2001), theorem 3.3).  The vectors held, ``a`` is a
function of the values, whose graph is known.  Along a direction in which no gap stays the same, by
``ρ`` for this one, its derivatives are ``a' = ρ·c + s·c'`` and ``a'' = 2ρ·c' + s·c''``, so that ::

    c = a'/ρ − s·a''/(2ρ²) + O(s²)

which takes the place of ``a/s`` where ``s`` is no more than rounding: it is ``c`` at ``s = 0``, and so are its
first derivatives.  The same holds for sums ``s_j + s_i`` of singular values, and for ``s_j`` alone.

Where ``a`` does not depend on the values, this gives 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..ir import Node, build, topological
from ..ir.dtypes import to_numpy_dtype
from ..ir.scalar import Scalar, argument, call
from .batched_matrices import masked

# Values closer than this many units in the last place of the largest count as equal.
_UNITS = 1024
_slots = itertools.count()


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues or singular values, on a last axis, and every node under which the graph may know them.

    What is divided has ``extra`` axes of the caller's, the batch axes of the values, rows and columns.
    """

    values: Node
    known_as: Sequence[Node]
    extra: int

    def over_gaps(self, numerator: Node) -> Node:
        """``a_ij / (w_j − w_i)``; 0 on the diagonal."""
        i, j = argument(4), argument(5)
        gap = call("sub", argument(2), argument(1))
        ramp = call("where", call("eq", i, j), 1.0, call("sub", j, i))
        return masked(self._divided(numerator, gap, ramp), "ne")

    def over_sums(self, numerator: Node) -> Node:
        """``a_ij / (w_j + w_i)``."""
        ramp = call("add", call("add", argument(4), argument(5)), 2.0)
        return self._divided(numerator, call("add", argument(2), argument(1)), ramp)

    def over_columns(self, numerator: Node) -> Node:
        """``a_pj / w_j``."""
        return self._divided(numerator, argument(2), call("add", argument(5), 1.0))

    def _divided(self, numerator: Node, divisor: Scalar, ramp: Scalar) -> Node:
        """``numerator / divisor`` over argument 0, the values of row and column, the largest, both positions."""
        rank, batch = numerator.ndim, list(range(self.extra, self.extra + self.values.ndim - 1))
        if numerator.type.shape[-1] == 0 or numerator.type.shape[-2] == 0:
            return numerator
        magnitude = build.reduce_node("max", build.apply("abs", self.values), [self.values.ndim - 1])
        position = build.cast(build.iota(self.values.type.shape[-1]), self.values.type.dtype)
        operands = [numerator, self.values, self.values, magnitude, position, position]
        inputs = [range(rank), [*batch, rank - 2], [*batch, rank - 1], batch, [rank - 2], [rank - 1]]
        first, second = self._derivatives(numerator, magnitude)
        limit: Scalar | float = 0.0
        if first is not None:
            operands.append(first)
            limit = call("div", argument(6), ramp)
        if first is not None and second is not None:
            operands.append(second)
            curved = call("div", call("mul", argument(7), divisor), call("mul", call("square", ramp), 2.0))
            limit = call("sub", limit, curved)
        inputs += [range(rank)] * (len(operands) - len(inputs))
        tolerance = float(_UNITS * np.finfo(to_numpy_dtype(self.values.type.dtype)).eps)
        near = call("le", call("abs", divisor), call("mul", argument(3), tolerance))
        quotient = call("mul", argument(0), call("reciprocal", call("where", near, 1.0, divisor)))
        return build.map_node(call("where", near, limit, quotient), operands, inputs, rank)

    def _derivatives(self, numerator: Node, magnitude: Node) -> tuple[Node | None, Node | None]:
        """The first and second derivative as the values move by 1, 2, 3, …, the vectors held; None where 0.

        A numerator that holds such a quotient already (``magnitude`` tells) is no more exact than that,
        and so the second, which serves the derivatives of this quotient only, is left out.
        """
        first = self._pushed(numerator)
        nested = magnitude in topological([numerator])
        return first, None if first is None or nested else self._pushed(first)

    def _pushed(self, y: Node) -> Node | None:
        """The derivative of ``y`` as the values move by 1, 2, 3, …: the gradient by u of ``⟨uᵀJ, (1, 2, 3, …)⟩``."""
        from .reverse import cotangents

        order = topological([y])
        points = [x for x in self.known_as if x in order]
        slot = build.input_node(f"\0tangent{next(_slots)}", y.type.plain())
        pulled = [x for x in cotangents(y, points, slot).values() if x is not None]
        if not pulled:
            return None
        total = build.add(*pulled)
        axis = total.ndim - 1
        ramp = build.map_node(call("add", argument(0), 1), [build.iota(total.type.shape[-1])])
        moved = build.einsum([total, build.cast(ramp, total.type.dtype)], [range(total.ndim), [axis]], [])
        return cotangents(moved, [slot], build.constant(1, moved.type.dtype))[slot]
