"""The memory of temporaries, kept between calls; the source is copied into the modules that use it."""

from __future__ import annotations

from typing import Any

import numpy as np


def _workspace(size: Any) -> Any:
    """Memory of so many bytes that no other call has: what an earlier one left, or new."""
    try:
        memory = _SPARE.pop()
    except IndexError:  # the first call, or others are under way
        memory = None
    if memory is None or memory.size < size:
        whole = np.empty(size + 63, np.uint8)
        start = -whole.ctypes.data % 64
        memory = whole[start : start + size]
    return memory


def _leave(memory: Any) -> None:
    """Keep the memory for another call, unless it is more than 256 MiB."""
    if memory.size <= 268435456:
        _SPARE.append(memory)


_SPARE: list[Any] = []
