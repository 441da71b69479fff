"""Functions that run blocks on all cores; their source is copied into the modules that use them."""

from __future__ import annotations

import contextvars
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any


def _in_blocks(function: Any, size: Any, block: Any) -> Any:
    """function(start, stop) for blocks of ``size`` positions, on all cores; what they return, in order."""
    starts = range(0, size, block)
    results = [None] * len(starts)
    left = deque(enumerate(starts))

    def work() -> None:
        while left:
            try:
                number, start = left.popleft()
            except IndexError:  # another thread took the last block
                return
            results[number] = function(start, min(start + block, size))

    others = [_threads().submit(contextvars.copy_context().run, work) for _ in range(min(_cores(), len(starts)) - 1)]
    try:
        work()
    finally:
        left.clear()
        wait(others)
    for other in others:
        other.result()
    return results


def _cores() -> Any:
    """How many blocks run at once: as many as the threads of NumPy's matrix products."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(wanted) if wanted.isdigit() and int(wanted) else os.cpu_count() or 1


def _threads() -> Any:
    """The threads that help the one that calls, begun when first needed; a forked process begins its own."""
    if _THREADS.get("process") != os.getpid():
        _THREADS.update(process=os.getpid(), pool=ThreadPoolExecutor(max(_cores() - 1, 1), "otus"))
    return _THREADS["pool"]


_THREADS: dict[str, Any] = {}
