"""Quotients by gaps of eigenvalues or singular values, right where the gap closes.

A rule for eigenvectors divides by ``s = w_j − w_i``.  For a function that does not depend on the choice
of basis, what is divided is ``a = s·c`` with a smooth ``c`` that is wanted (for functions of eigenvalues
alone: Lewis and Sendov, SIAM J. Matrix Anal. Appl. 23 (2001), theorem 3.3).  The vectors held, ``a`` is a
function of the values, whose graph is known.  Along a direction in which no gap stays the same, by
``ρ`` for this one, its derivatives are ``a' = ρ·c + s·c'`` and ``a'' = 2ρ·c' + s·c''``, so that ::

    c = a'/ρ − s·a''/(2ρ²) + O(s²)

which takes the place of ``a/s`` where ``s`` is no more than rounding: it is ``c`` at ``s = 0``, and so are its
first derivatives.  The same holds for sums ``s_j + s_i`` of singular values, and for ``s_j`` alone.

Where ``a`` does not depend on the values, this gives 0.  A third derivative through the vectors would need
``a'''``: where values coincide it is not a number.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..ir import Node, build, topological
from ..ir.dtypes import to_numpy_dtype
from ..ir.operations import Map
from ..ir.scalar import Call, Scalar, argument, call
from .batched_matrices import masked

# Values closer than this many units in the last place of the largest count as equal.
_UNITS = 1024
# So many quotients inside one another are right where values coincide; beyond, the limit is not a number.
_EXACT = 2
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
        """``a_ij / (w_j + w_i)``; 0 on the diagonal of real ones, which are skew."""
        ramp = call("add", call("add", argument(4), argument(5)), 2.0)
        quotient = self._divided(numerator, call("add", argument(2), argument(1)), ramp)
        return quotient if numerator.type.dtype.kind == "complex" else masked(quotient, "ne")

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
        depth = _nesting(numerator, magnitude)
        first, second = self._derivatives(numerator, depth)
        limit: Scalar | float = 0.0 if depth < _EXACT else math.nan
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

    def _derivatives(self, numerator: Node, depth: int) -> tuple[Node | None, Node | None]:
        """The first and second derivative as the values move by 1, 2, 3, …, the vectors held; None where 0.

        The second serves the derivatives of this quotient only, which those inside the numerator cannot
        follow; where they do not even allow the first, neither is given.
        """
        first = self._pushed(numerator) if depth < _EXACT else None
        return first, None if first is None or depth else self._pushed(first)

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


def _nesting(node: Node, magnitude: Node) -> int:
    """How many quotients of the spectrum of that largest value stand inside one another in ``node``.

    They are the maps that choose, at their root, by ``magnitude``.
    """
    depths: dict[Node, int] = {}
    for each in topological([node]):
        inside = max((depths[x] for x in each.operands), default=0)
        chooses = isinstance(each.op, Map) and magnitude in each.operands and _is_choice(each.op.expression)
        depths[each] = inside + chooses
    return depths[node]


def _is_choice(expression: Scalar) -> bool:
    """Whether the root of the expression is a ``where``."""
    return isinstance(expression, Call) and expression.function == "where"
