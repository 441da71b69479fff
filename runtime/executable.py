"""Turning emitted source into functions that Python can call."""

from __future__ import annotations

import itertools
import linecache
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType
from typing import Any

from ..ir import UnsupportedError

_numbers = itertools.count(1)
_living: Counter[str] = Counter()


@dataclass(frozen=True)
class Executable:
    """A module's source, compiled; ``function`` is the name of the one that it is for."""

    source: str
    function: str
    code: CodeType

    @classmethod
    def of(cls, source: str, function: str) -> Executable:
        """Compile a module's source; raises ``SyntaxError`` or ``ValueError`` where it is none."""
        return cls(source, function, compile(source, f"<otus {function} {next(_numbers)}>", "exec"))

    def load(self, spare: list[Any] | None = None) -> Callable[..., Any]:
        """Execute the module in a namespace of its own and return its function.

        Modules that are loaded with one list ``spare`` share the memory that their calls leave there.  The source is
        registered with ``linecache`` for as long as a function of it lives, so that tracebacks and debuggers show its
        lines.  Raises ``UnsupportedError`` where the module has loops in C and the compiler fails.
        """
        namespace: dict[str, Any] = {"__name__": f"otus.generated.{self.function}"}
        filename = self.code.co_filename
        _living[filename] += 1
        # Before it is executed, since Triton reads the source of its kernels then.
        linecache.cache[filename] = (len(self.source), None, self.source.splitlines(True), filename)
        try:
            exec(self.code, namespace)
        except BaseException as error:
            _forget(filename)
            # What an emitted module raises when it cannot compile its loops.
            if isinstance(error, RuntimeError) and "\ndef _compiled(" in self.source:
                raise UnsupportedError(f"backend 'c' cannot run: {error}; set CC, or use backend='numpy'") from error
            raise
        if spare is not None and "_SPARE" in namespace:
            namespace["_SPARE"] = spare
        function: Callable[..., Any] = namespace[self.function]
        weakref.finalize(function, _forget, filename)
        return function


def _forget(filename: str) -> None:
    """Drop the lines of a module once none of its functions is left."""
    _living[filename] -= 1
    if not _living[filename]:
        del _living[filename]
        linecache.cache.pop(filename, None)
