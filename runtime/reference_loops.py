"""What a loop over blocks means: the body evaluated for each block, and the values put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..ir import Node
from ..ir.operations import Blockwise, maximum_of, placeholder_label

Array = npt.NDArray[Any]

# body nodes, placeholders' values, sizes of the body's own dims -> values
Evaluate = Callable[[Sequence[Node], Mapping[str, Array], Mapping[str, int]], Sequence[Array]]


def evaluate_loop(op: Blockwise, operands: Sequence[Array], size: int, evaluate: Evaluate) -> Array:
    """The loop's result ``op.result``, where the index that is cut has ``size`` positions."""
    join = op.join[op.result]
    maximum = maximum_of(join)
    wanted = [op.body[op.result]] if maximum is None else [op.body[op.result], op.body[maximum]]
    parts: list[Sequence[Array]] = []
    for start in range(0, max(size, 1), op.block):
        stop = min(start + op.block, size)
        blocks = {
            placeholder_label(k): x if axis is None else np.take(x, range(start, stop), axis)
            for k, (x, axis) in enumerate(zip(operands, op.cut, strict=True))
        }
        parts.append(evaluate(wanted, blocks, {op.symbol: stop - start}))
    values = [part[0] for part in parts]
    if maximum is not None:
        return _relative(np.stack(values), np.stack([part[1] for part in parts]))
    return np.concatenate(values, join) if isinstance(join, int) else _combined(join, np.stack(values))


def _combined(how: str, parts: Array) -> Array:
    if how == "logsumexp":
        return np.asarray(np.logaddexp.reduce(parts, axis=0))
    if how in ("sum", "prod"):
        return np.asarray(getattr(np, how)(parts, axis=0, dtype=parts.dtype))
    return np.asarray(getattr(np, how)(parts, axis=0))


def _relative(parts: Array, maxima: Array) -> Array:
    """Sums relative to the maxima of their blocks, relative to that of all of them.

    The axes of a maximum are the first of those of its sum.
    """
    largest = maxima.max(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        factors = np.exp(maxima - np.where(np.isfinite(largest), largest, 0))
        return np.asarray((parts * factors.reshape(factors.shape + (1,) * (parts.ndim - factors.ndim))).sum(axis=0))
