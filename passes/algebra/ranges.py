"""Whether numbers that rules multiply with each other stay numbers of a dtype."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ir import DType
from ...ir.dtypes import to_numpy_dtype
from ...ir.scalar import Number


def are_products_in_range(number: Number, others: Sequence[Number], dtype: DType) -> bool:
    """Whether no product of ``number`` with one of ``others`` overflows in ``dtype``, or loses digits by underflow.

    ``1e38·(10·x)`` has a value in float32 where ``1e39·x`` has none.

    >>> are_products_in_range(1e38, [10.0], DType.float32), are_products_in_range(1e38, [10.0], DType.float64)
    (False, True)
    """
    if not dtype.is_inexact:
        return True
    kind = np.finfo(to_numpy_dtype(dtype) if dtype.in_numpy else np.float32)
    largest, smallest = float(kind.max), float(kind.tiny)
    return all(number == 0 or other == 0 or smallest <= abs(number * other) <= largest for other in others)
