"""Turning emitted source into a function that Python can call."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from typing import Any

from ..codegen import Emitted

_count = 0


def load_function(emitted: Emitted) -> Callable[..., Any]:
    """Execute a module's source in a namespace of its own and return its function.

    The source is registered with ``linecache``, so that a traceback shows its lines.
    """
    global _count
    _count += 1
    filename = f"<otus {emitted.function} {_count}>"
    linecache.cache[filename] = (len(emitted.source), None, emitted.source.splitlines(True), filename)
    namespace: dict[str, Any] = {"__name__": f"otus.generated.{emitted.function}"}
    exec(compile(emitted.source, filename, "exec"), namespace)
    function: Callable[..., Any] = namespace[emitted.function]
    return function
