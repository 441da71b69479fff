"""What a loop over blocks means: the body evaluated for each block, and the values put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..ir import Node, VerificationError
from ..ir.operations import Blockwise, maximum_of, placeholder_label

Array = npt.NDArray[Any]

# body nodes, placeholders' values, the block's first position and the one after its last -> values
Evaluate = Callable[[Sequence[Node], Mapping[str, Array], tuple[int, int]], Sequence[Array]]


def evaluate_loop(
    op: Blockwise, operands: Sequence[Array], size: int, around: Mapping[str, tuple[int, int]], evaluate: Evaluate
) -> Array:
    """The loop's result ``op.result``, where the index that is cut has ``size`` positions.

    ``around`` are the blocks that are at work in the loops around this one: their first positions, and those after
    their last.
    """
    join = op.join[op.result]
    maximum = maximum_of(join)
    wanted = [op.body[op.result]] if maximum is None else [op.body[op.result], op.body[maximum]]
    parts: list[Sequence[Array]] = []
    for start, stop in _blocks(op, size, around):
        blocks = {
            placeholder_label(k): x if axis is None else np.take(x, range(start, stop), axis)
            for k, (x, axis) in enumerate(zip(operands, op.cut, strict=True))
        }
        parts.append(evaluate(wanted, blocks, (start, stop)))
    values = [part[0] for part in parts]
    if maximum is not None:
        return _relative(np.stack(values), np.stack([part[1] for part in parts]))
    return np.concatenate(values, join) if isinstance(join, int) else _combined(join, np.stack(values))


def _blocks(op: Blockwise, size: int, around: Mapping[str, tuple[int, int]]) -> list[tuple[int, int]]:
    """The blocks that are visited, at least one: those within the loop's window, if it has one."""
    every = [(start, min(start + op.block, size)) for start in range(0, max(size, 1), op.block)]
    if op.window is None:
        return every
    symbol, low, high = op.window
    if symbol not in around:
        raise VerificationError(
            f"blockwise: a window around the blocks {symbol!r}, of a loop over {op.symbol} that stands within "
            f"{', '.join(around) or 'no other'}"
        )
    first, after = around[symbol]
    seen = [(start, stop) for start, stop in every
            if (low is None or stop > first + low) and (high is None or start < after + high)]  # fmt: skip
    return seen or every[:1]


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
