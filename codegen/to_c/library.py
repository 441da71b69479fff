"""What stands around functions in C: the declarations of what they call.

The vector forms of the mathematical functions are glibc's (libmvec, errors of at most 4 units in the last
place); where there are none, the ordinary ones are called.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from .loops import CFunction
from .scalars import LIBRARY

_HEAD = """\
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && !defined(NO_VECTOR_FUNCTIONS)
#define VECTOR __attribute__((simd("notinbranch"), const, nothrow, leaf))
#else
#define VECTOR
#endif"""


def c_module(functions: Sequence[CFunction]) -> str:
    """The source of a library with these functions."""
    text = "\n".join(line for function in functions for line in function.lines)
    declared = []
    for name in sorted(set(LIBRARY.values())):
        for suffix, type in (("", "double"), ("f", "float")):
            if f"{name}{suffix}(" in text:
                operands = ", ".join([type] * (2 if name in ("atan2", "pow") else 1))
                declared.append(f"extern VECTOR {type} {name}{suffix}({operands});")
    bodies = ["\n".join(function.lines) for function in functions]
    return "\n\n".join([_HEAD, *(["\n".join(declared)] if declared else []), _all_cores(), *bodies]) + "\n"


@cache
def _all_cores() -> str:
    """The threads that help with blocks."""
    return (Path(__file__).parent / "all_cores.c").read_text(encoding="utf-8").rstrip()
