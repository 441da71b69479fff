"""Reductions in C: what they begin with, and how they take in a value."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir import DType
from ...ir.loop_steps import NoForm
from .scalars import number


@dataclass(frozen=True)
class Reduction:
    """How a reduction takes in a value: the sign of OpenMP's clause, and the expression."""

    clause: str
    expression: str
    sees_nan: bool = False

    def accumulated(self, total: str, value: str) -> str:
        """The accumulator after one more value."""
        return self.expression.format(a=total, b=value)

    def combined(self, total: str, value: str) -> str:
        """The same in memory, where NaN has no flag of its own."""
        if self.sees_nan:
            sign = ">" if self.clause == "max" else "<"
            return f"({value} {sign} {total}) | ({value} != {value}) ? {value} : {total}"
        return self.accumulated(total, value)


REDUCTIONS = {
    "sum": Reduction("+", "{a} + {b}"),
    "prod": Reduction("*", "{a} * {b}"),
    "max": Reduction("max", "{b} > {a} ? {b} : {a}", sees_nan=True),
    "min": Reduction("min", "{b} < {a} ? {b} : {a}", sees_nan=True),
    "shift": Reduction("max", "{b} > {a} ? {b} : {a}", sees_nan=True),
    "any": Reduction("|", "{a} | {b}"),
    "all": Reduction("&", "{a} & {b}"),
}


def neutral(kind: str, dtype: DType) -> str:
    """What a reduction begins with."""
    if kind in ("max", "shift", "min") and not dtype.is_inexact:
        raise NoForm(f"reduction {kind} of {dtype}")
    if kind not in REDUCTIONS:
        raise NoForm(f"reduction {kind}")
    infinity = float("inf")
    value = {"prod": 1, "all": 1, "max": -infinity, "shift": -infinity, "min": infinity}.get(kind, 0)
    return number(value, dtype)
