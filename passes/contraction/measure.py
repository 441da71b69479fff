"""What a step of a contraction costs: the measure that every search for an order minimises.

A step multiplies a left and a right tensor; ``joined`` is the space of all their indices.  Its cost is
a rate times the volume of that space, and the result's elements, which are written once and read once.
All volumes are base-2 logarithms, scalars or arrays.

========  =======================================================================
flops     the operations, two per multiply-add and one per product of elements
time      bytes moved, with operations counted as the bytes that pass meanwhile
========  =======================================================================

The rates of ``time`` are those of float64 on one or two CPU cores: a matrix product does about ten
operations while one byte comes from memory; a sum that is no matrix product (every index on one of the
tensors alone is missing on one side, and there are batch axes: ``np.einsum``'s loop) does about one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...ir import OtusError
from ...ir.errors import nearest
from .network import UNIT_WEIGHT

Volumes = npt.NDArray[np.float64]

# Among equally many operations, the fewer elements in between: far below what rounds to another count.
_TIE = 2.0**-36
# An index weighs at least this much if it is there at all; anything from one bit on is a true axis.
_THERE = UNIT_WEIGHT / 2
_AXIS = 0.5
_LARGEST_EXPONENT = 900.0


@dataclass(frozen=True)
class Measure:
    """Costs per point of the joined space, by the kind of step, and per element of the result."""

    name: str
    product: float
    sum: float
    matrix: float
    element: float

    def step(self, joined: float, left: float, right: float, kept: float, shift: float = 0.0) -> float:
        """The cost of one step in units of 2**shift."""
        return _power(joined - shift) * self._rate(joined, left, right, kept) + self.element * _power(kept - shift)

    def _rate(self, joined: float, left: float, right: float, kept: float) -> float:
        if joined - kept < _THERE:
            return self.product
        batched = left + right + kept - 2 * joined > _AXIS
        lopsided = min(joined - left, joined - right) < _AXIS
        return self.sum if batched and lopsided else self.matrix

    @property
    def shaped(self) -> bool:
        """Whether a step's cost depends on more than the joined space and whether it sums."""
        return self.sum != self.matrix

    def steps(self, joined: Volumes, kept: Volumes, sides: tuple[Volumes, Volumes] | None, shift: float) -> Volumes:
        """The costs of many steps, without their results' elements, in units of 2**shift.

        ``sides`` are the volumes of the left and right tensors, needed where the measure is ``shaped``.
        """
        summed = joined - kept > _THERE
        rate = summed * (self.matrix - self.product) + self.product
        if sides is not None:
            left, right = sides
            batched = left + right + kept - 2 * joined > _AXIS
            lopsided = np.minimum(joined - left, joined - right) < _AXIS
            rate[summed & batched & lopsided] = self.sum
        costs: Volumes = powers(joined - shift) * rate
        return costs


def powers(exponents: Volumes) -> Volumes:
    """2 to the power of each; beyond what a float holds, all alike."""
    found: Volumes = np.exp2(np.minimum(exponents, _LARGEST_EXPONENT))
    return found


def _power(exponent: float) -> float:
    return math.exp2(min(exponent, _LARGEST_EXPONENT))


MEASURES: Mapping[str, Measure] = {
    "flops": Measure("flops", product=1.0, sum=2.0, matrix=2.0, element=_TIE),
    "time": Measure("time", product=0.1, sum=2.0, matrix=0.2, element=16.0),
}


def measure_named(name: str) -> Measure:
    """The measure of that name; raises ``OtusError`` where there is none."""
    if name not in MEASURES:
        hint = nearest(name, list(MEASURES)) or f"; known are {', '.join(MEASURES)}"
        raise OtusError(f"unknown measure {name!r} of a contraction order{hint}")
    return MEASURES[name]
