"""Whether two nodes have one value: evaluated on random data, with an allowance for rounding.

How far rounding may carry a value is measured and not guessed: the node is evaluated again with every
intermediate result disturbed by a few hundred units in the last place, and the spread of the results
says how ill-conditioned the computation is (Monte Carlo arithmetic: Parker, UCLA CSD-970002, 1997).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..ir import Node, OtusError
from .reference import Interpreter

Array = npt.NDArray[Any]

EVALUATION_ERRORS = (OtusError, np.linalg.LinAlgError, ArithmeticError, ValueError)
_UNITS = 2.0**9
_DISTURBED = 3
_SAFETY = 64.0
_RELATIVE_UNITS = 2.0**12


@dataclass(frozen=True)
class Disagreement:
    """Where two values differ most beyond what rounding explains."""

    index: tuple[int, ...]
    before: Any
    after: Any
    allowed: float
    sample: Sample

    def __str__(self) -> str:
        if self.index is _NOWHERE:
            return f"{self.before}, {self.after}"
        place = f"element {self.index}" if self.index else "the value"
        difference = abs(complex(self.before) - complex(self.after))
        return (
            f"{place} was {self.before!s} and became {self.after!s}: "
            f"off by {difference:.3g}, where rounding explains {self.allowed:.3g}"
        )


_NOWHERE: tuple[int, ...] = (-1,)


class Sample:
    """One choice of sizes and data, and the values of nodes on it; a node is evaluated once.

    ``inputs`` are the nodes that the data are for; ``origin`` says how to make the same data again.
    """

    def __init__(
        self, inputs: Sequence[Node], data: Mapping[str, Array], sizes: Mapping[str, int], origin: str
    ) -> None:
        self.inputs, self.data, self.sizes, self.origin = tuple(inputs), data, sizes, origin
        self._exact = Interpreter(inputs, data, sizes)
        self._disturbed = [self._with_noise(seed) for seed in range(_DISTURBED)]

    def _with_noise(self, seed: int) -> Interpreter:
        generator = np.random.default_rng([seed, 1997])
        return Interpreter(self.inputs, self.data, self.sizes, lambda value: _disturbed(value, generator))

    def value(self, node: Node) -> Array:
        """The value of a node; raises one of ``EVALUATION_ERRORS`` where it has none."""
        return self._exact.value(node)

    def spread(self, node: Node) -> Array:
        """How far disturbances carry each element; infinite where the value does not survive them."""
        exact = self.value(node)
        spread = np.zeros(exact.shape)
        for interpreter in self._disturbed:
            try:
                moved = interpreter.value(node)
            except EVALUATION_ERRORS:
                return np.full(exact.shape, np.inf)
            with np.errstate(all="ignore"):
                distance = np.abs(_wide(moved) - _wide(exact))
            spread = np.maximum(spread, np.where(np.isfinite(distance), distance, np.inf))
        return spread

    def disagreement(self, before: Node, after: Node, exact: bool = False) -> Disagreement | None:
        """Where ``after`` differs from ``before`` most; None where it does not.

        ``exact`` values agree to the last bit, but for the sign of zero; others to a few thousand units
        in the last place of each element or to what rounding in ``before`` explains, whichever is more.
        Elements that are not finite in ``before`` are not compared.
        """
        old = self.value(before)
        try:
            new = self.value(after)
        except EVALUATION_ERRORS as error:
            return Disagreement(_NOWHERE, "the value before exists", f"the one after does not: {error}", 0.0, self)
        if old.shape != new.shape or old.dtype != new.dtype:
            return Disagreement(_NOWHERE, _kind(old), f"became {_kind(new)}", 0.0, self)
        return self._worst(before, old, new, exact)

    def _worst(self, before: Node, old: Array, new: Array, exact: bool) -> Disagreement | None:
        compared = np.isfinite(old) & (old != new)
        if not np.any(compared):
            return None
        with np.errstate(all="ignore"):
            distance = np.where(compared, np.abs(_wide(new) - _wide(old)), 0.0)
        distance = np.where(np.isnan(distance), np.inf, distance)
        allowed = np.zeros(old.shape)
        if not exact and old.dtype.kind in "fc":
            allowed = _RELATIVE_UNITS * _unit(old) * np.abs(_wide(old))
            if np.any(distance > allowed):
                allowed = np.maximum(allowed, _SAFETY * self.spread(before))
        wrong = distance > allowed
        if not np.any(wrong):
            return None
        with np.errstate(all="ignore"):
            excess = np.where(wrong, distance - np.where(np.isfinite(allowed), allowed, 0.0), -1.0)
        place = np.unravel_index(int(np.argmax(excess)), old.shape)
        index = tuple(int(k) for k in place)
        return Disagreement(index, old[place], new[place], float(allowed[place]), self)


def _disturbed(value: Array, generator: np.random.Generator) -> Array:
    if value.dtype.kind not in "fc":
        return value
    noise = generator.uniform(-1.0, 1.0, value.shape) * (_UNITS * _unit(value))
    with np.errstate(all="ignore"):
        return np.asarray(value * (1 + noise)).astype(value.dtype)


def _unit(value: Array) -> float:
    """The unit in the last place of 1, relative."""
    return float(np.finfo(value.dtype).eps)


def _wide(value: Array) -> Array:
    """The value in a dtype in which differences neither wrap around nor lose anything that matters."""
    return value.astype(np.complex128 if value.dtype.kind == "c" else np.longdouble)


def _kind(value: Array) -> str:
    return f"{value.dtype} of shape {value.shape}"
