"""Turning emitted source into a function that Python can call."""

from __future__ import annotations

import itertools
import linecache
import weakref
from collections.abc import Callable
from typing import Any

from ..codegen import Emitted

_numbers = itertools.count(1)


def load_function(emitted: Emitted) -> Callable[..., Any]:
    """Execute a module's source in a namespace of its own and return its function.

    The source is registered with ``linecache`` for as long as the function lives, so that tracebacks
    and debuggers show its lines.
    """
    filename = f"<otus {emitted.function} {next(_numbers)}>"
    namespace: dict[str, Any] = {"__name__": f"otus.generated.{emitted.function}"}
    exec(compile(emitted.source, filename, "exec"), namespace)
    function: Callable[..., Any] = namespace[emitted.function]
    linecache.cache[filename] = (len(emitted.source), None, emitted.source.splitlines(True), filename)
    weakref.finalize(function, linecache.cache.pop, filename, None)
    return function
