"""Bounds on the values of a tensor, by interval arithmetic on what computes it.

Bounds hold in floating point too: rounding is monotone, sums of whole numbers are exact, and other sums
are widened.  Integers, which may wrap around, have no bounds.  NaN is in every interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from ...ir import Node
from ...ir.operations import Cast, Constant, Einsum, Input, LinearCombination, Map, Reduce
from ...ir.scalar import Argument, Call, Literal, Scalar, postorder
from ...ir.traverse import topological

Range = tuple[float, float]

ANYTHING: Range = (-math.inf, math.inf)
_POSITIVE: Range = (0.0, math.inf)
_UNIT: Range = (0.0, 1.0)


def is_nonnegative(node: Node) -> bool:
    """Whether no element of a real tensor can be below 0."""
    return node.type.dtype.kind != "complex" and value_range(node)[0] >= 0


def value_range(node: Node) -> Range:
    """The least interval that interval arithmetic finds for the elements of a real tensor."""
    found: dict[Node, Range] = {}
    for each in topological([node]):
        bounded = each.type.dtype.kind in ("float", "bool") or isinstance(each.op, (Input, Constant))
        found[each] = _node_range(each, found) if bounded else ANYTHING
    return found[node]


def _node_range(node: Node, known: Mapping[Node, Range]) -> Range:
    operands = [known[x] for x in node.operands]
    match node.op:
        case Input():
            return _POSITIVE if node.type.facts.nonnegative else ANYTHING
        case Constant(array=array):
            return ANYTHING if array.dtype.kind == "c" or not array.size else (float(array.min()), float(array.max()))
        case Map(expression=expression):
            return _expression_range(expression, operands)
        case LinearCombination(coefficients=coefficients):
            scaled = [_times((float(c.real),) * 2, x) for c, x in zip(coefficients, operands, strict=True)]
            return _summed(scaled)
        case Einsum(inputs=inputs):
            return _einsum_range(node, inputs, operands)
        case Reduce(kind="max" | "min"):
            return operands[0]
        case Reduce(kind="sum" | "prod"):
            return _POSITIVE if operands[0][0] >= 0 else ANYTHING
        case Cast(dtype=dtype):
            return operands[0] if dtype.is_inexact else ANYTHING
    return operands[0] if node.op.view and operands else ANYTHING


def _einsum_range(node: Node, inputs: Sequence[Sequence[int]], operands: Sequence[Range]) -> Range:
    """Nonnegative where every factor is, or stands twice with the same indices."""
    counts: dict[object, int] = {}
    for operand, labels in zip(node.operands, inputs, strict=True):
        counts[operand, tuple(labels)] = counts.get((operand, tuple(labels)), 0) + 1
    ranges = dict(zip(zip(node.operands, map(tuple, inputs), strict=True), operands, strict=True))
    if all(count % 2 == 0 or ranges[key][0] >= 0 for key, count in counts.items()):  # type: ignore[index]
        return _POSITIVE
    return ANYTHING


# --- scalar expressions ------------------------------------------------------------------------


def _expression_range(expression: Scalar, operands: Sequence[Range]) -> Range:
    found: dict[Scalar, Range] = {}
    for part in postorder(expression):
        if isinstance(part, Argument):
            found[part] = operands[part.position]
        elif isinstance(part, Literal):
            found[part] = ANYTHING if isinstance(part.value, complex) else (float(part.value), float(part.value))
        elif isinstance(part, Call):
            found[part] = _call_range(part, [found[x] for x in part.arguments])
    return found[expression]


def _call_range(part: Call, operands: Sequence[Range]) -> Range:
    if part.function == "mul" and part.arguments[0] is part.arguments[1]:
        return _POSITIVE
    if part.function in _RULES:
        return _RULES[part.function](*operands)
    return ANYTHING


def _summed(terms: Sequence[Range]) -> Range:
    """The sum, widened by more than any order of adding may lose where the ends are not whole numbers."""
    low, high = sum(x[0] for x in terms), sum(x[1] for x in terms)
    if math.isnan(low) or math.isnan(high):
        return ANYTHING
    ends = [abs(end) for x in terms for end in x if math.isfinite(end)]
    slack = 0.0 if all(end.is_integer() for end in ends) else 1e-6 * sum(ends)
    return low - slack, high + slack


def _negated(x: Range) -> Range:
    return -x[1], -x[0]


def _times(x: Range, y: Range) -> Range:
    """The product; 0 times infinity is a limit of zeros here, since no bound at infinity is reached."""
    ends = [0.0 if a == 0 or b == 0 else a * b for a in x for b in y]
    return min(ends), max(ends)


_RULES: Mapping[str, Callable[..., Range]] = {
    "add": lambda x, y: _summed([x, y]),
    "sub": lambda x, y: _summed([x, _negated(y)]),
    "neg": _negated,
    "mul": _times,
    "div": lambda x, y: _POSITIVE if x[0] >= 0 and y[0] >= 0 else ANYTHING,
    "reciprocal": lambda x: _POSITIVE if x[0] >= 0 else ANYTHING,
    "square": lambda x: _POSITIVE,
    "abs": lambda x: _POSITIVE,
    "sqrt": lambda x: _POSITIVE,
    "rsqrt": lambda x: _POSITIVE,
    "exp": lambda x: _UNIT if x[1] <= 0 else _POSITIVE,
    "cosh": lambda x: (1.0, math.inf),
    "sigmoid": lambda x: (0.0 if x[0] < 0 else 0.5, 1.0 if x[1] > 0 else 0.5),
    "softplus": lambda x: _POSITIVE,
    "relu": lambda x: (max(x[0], 0.0), max(x[1], 0.0)),
    "tanh": lambda x: (-1.0 if x[0] < 0 else 0.0, 1.0 if x[1] > 0 else 0.0),
    "maximum": lambda x, y: (max(x[0], y[0]), max(x[1], y[1])),
    "minimum": lambda x, y: (min(x[0], y[0]), min(x[1], y[1])),
    "where": lambda _, x, y: (min(x[0], y[0]), max(x[1], y[1])),
    "pow": lambda x, y: _POSITIVE if x[0] >= 0 or (y[0] == y[1] and y[0] % 2 == 0) else ANYTHING,
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge", "isfinite"), lambda *_: _UNIT),
}
