"""What a loop over blocks means: the body evaluated for each block, and the values put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..ir import Node
from ..ir.operations import Blockwise, placeholder_label

Array = npt.NDArray[Any]

# body nodes, placeholders' values, sizes of the body's own dims -> values
Evaluate = Callable[[Sequence[Node], Mapping[str, Array], Mapping[str, int]], Sequence[Array]]


def evaluate_loop(op: Blockwise, operands: Sequence[Array], size: int, evaluate: Evaluate) -> Array:
    """The loop's result ``op.result``, where the index that is cut has ``size`` positions."""
    parts: list[Array] = []
    for start in range(0, max(size, 1), op.block):
        stop = min(start + op.block, size)
        blocks = {
            placeholder_label(k): x if axis is None else np.take(x, range(start, stop), axis)
            for k, (x, axis) in enumerate(zip(operands, op.cut, strict=True))
        }
        parts += evaluate([op.body[op.result]], blocks, {op.symbol: stop - start})
    join = op.join[op.result]
    return np.concatenate(parts, join) if isinstance(join, int) else _combined(join, np.stack(parts))


def _combined(how: str, parts: Array) -> Array:
    if how == "logsumexp":
        return np.asarray(np.logaddexp.reduce(parts, axis=0))
    if how in ("sum", "prod"):
        return np.asarray(getattr(np, how)(parts, axis=0, dtype=parts.dtype))
    return np.asarray(getattr(np, how)(parts, axis=0))
