"""The integers that passes plan for, where dims may be symbols."""

from __future__ import annotations

from collections.abc import Mapping

from ..ir import Size
from ..ir.dims import evaluate, symbols

# Stands for a dim whose size nobody has given: large enough that a matrix is larger than a vector and a
# product of matrices dearer than a sum of them, as they are in nearly every program.
UNKNOWN_SIZE = 64


def planned_size(size: Size, sizes: Mapping[str, int], default: int = UNKNOWN_SIZE) -> int:
    """The integer to plan for: ``size`` under ``sizes``, unknown symbols being ``default``.

    >>> from otus.ir.dims import dim
    >>> planned_size(3 * dim("n") + dim("m"), {"n": 5}), planned_size(7, {}), planned_size(dim("m") - 70, {})
    (79, 7, 0)
    """
    if isinstance(size, int):
        return size
    return max(evaluate(size, {name: sizes.get(name, default) for name in symbols(size)}), 0)
