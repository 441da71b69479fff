"""What scalar functions cost beside reading and writing memory, for deciding what to compute once.

The unit is one addition of a loop that a compiler vectorises.  The numbers are rough on purpose: they come from
NumPy's and SLEEF's vector loops on x86, and decide only whether equal work in two loops is worth an array between
them.
"""

from __future__ import annotations

from collections.abc import Mapping

# One array written by the loop that computes it, and read by a loop that would otherwise compute it again.
ARRAY_WEIGHT = 8

_WEIGHTS: Mapping[str, int] = {
    "neg": 0,
    **dict.fromkeys(("div", "reciprocal", "sqrt", "mod"), 4),
    "rsqrt": 8,
    **dict.fromkeys(("exp", "log"), 12),
    **dict.fromkeys(("expm1", "log1p", "sin", "cos", "tan", "arcsin", "arccos", "arctan"), 16),
    **dict.fromkeys(("sinh", "cosh", "tanh", "erf", "erfc", "arctan2", "pow", "sigmoid"), 20),
    **dict.fromkeys(("softplus", "logaddexp"), 30),
}


def scalar_weight(function: str) -> int:
    """The weight of one call: 0 for a sign, 1 for an addition, 10 to 30 for what is transcendental.

    >>> scalar_weight("mul"), scalar_weight("exp")
    (1, 12)
    """
    return _WEIGHTS.get(function, 1)
