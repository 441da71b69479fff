"""Sums of exponentials in the same pass as the maximum that they are taken relative to.

Of a row that does not fit into a tile, ``max(x)`` and ``sum(exp(x - max(x)) * w)`` would take a pass each.  A sum in
which the maximum occurs as ``exp(… - max)`` alone, as a factor, can run along with it: where the maximum grows from
``m`` to ``n``, what is summed so far is multiplied by ``exp(m - n)`` (Milakov and Gimelshein, arXiv 1805.02867,
algorithm 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...ir.scalar import Argument, Call, Scalar, postorder
from .axes import Index, PlacedStep

# What a value is to a maximum m: without it; m itself; something without it less m; exp of that, times something.
_FREE, _MAXIMUM, _LESS, _RELATIVE, _OTHER = "free", "maximum", "less", "relative", "other"


def running_sums(
    steps: Sequence[PlacedStep], index: Index, stages: Mapping[str, int], results: set[str]
) -> dict[str, str]:
    """The sums over an index that can run along with a maximum over it, each with that maximum.

    ``stages`` says for each step how many reductions over the index come before it.  Sums that are results of a
    kernel stay where they are.
    """
    found: dict[str, str] = {}
    for maximum in steps:
        if maximum.step.reduction == "shift" and index in maximum.reduced:
            kinds = _kinds(steps, index, stages, maximum)
            for placed in steps:
                along = placed.step.reduction == "sum" and (placed.reduced, placed.kept) == (
                    maximum.reduced,
                    maximum.kept,
                )
                name = placed.step.buffer
                if along and name not in results and _value(placed, kinds) == _RELATIVE:
                    found.setdefault(name, maximum.step.buffer)
    return found


def _kinds(steps: Sequence[PlacedStep], index: Index, stages: Mapping[str, int], maximum: PlacedStep) -> dict[str, str]:
    """What the value of every step is to a maximum."""
    kinds: dict[str, str] = {}
    for placed in steps:
        name = placed.step.buffer
        kind = _value(placed, kinds)
        if placed is maximum:
            kind = _MAXIMUM
        elif index in placed.reduced and stages[name] >= stages[maximum.step.buffer]:
            kind = _OTHER  # not there before the loop in which the maximum is found
        elif placed.step.reduction is not None and kind != _FREE:
            kind = _OTHER
        kinds[name] = kind
    return kinds


def _value(placed: PlacedStep, kinds: Mapping[str, str]) -> str:
    """What a step computes before it reduces."""
    return _kind(placed.step.expression, [kinds.get(x.buffer, _FREE) for x in placed.step.operands])


def _kind(expression: Scalar, operands: Sequence[str]) -> str:
    """What an expression is to the maximum, from what its operands are."""
    kinds: dict[Scalar, str] = {}
    for part in postorder(expression):
        if isinstance(part, Argument):
            kinds[part] = operands[part.position]
        elif isinstance(part, Call):
            kinds[part] = _kind_of_call(part.function, [kinds[x] for x in part.arguments])
        else:
            kinds[part] = _FREE
    return kinds[expression]


def _kind_of_call(function: str, kinds: Sequence[str]) -> str:
    if all(kind == _FREE for kind in kinds):
        return _FREE
    match function, *kinds:
        case ("sub", "free", "maximum") | ("neg", "maximum") | ("sub", "less", "free"):
            return _LESS
        case ("add", "less", "free") | ("add", "free", "less"):
            return _LESS
        case ("exp", "less"):
            return _RELATIVE
        case ("mul", "relative", "free") | ("mul", "free", "relative") | ("div", "relative", "free"):
            return _RELATIVE
        case ("neg", "relative") | ("add" | "sub", "relative", "relative"):
            return _RELATIVE
    return _OTHER
