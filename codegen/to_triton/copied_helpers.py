"""The functions that emitted modules take along for their kernels."""

from __future__ import annotations

from collections.abc import Iterable

from ..copied_functions import copied, functions_in

_FILES = ("to_triton/helpers.py", "to_triton/arithmetic_helpers.py")

HELPER_NAMES = tuple(name for file in _FILES for name in functions_in(file))


def helper_sources(used: Iterable[str]) -> list[str]:
    """The source of each helper of ``used`` and of those that it calls, in the order of their files."""
    used = set(used)
    return [text for file in _FILES for text in copied(file, used)]
