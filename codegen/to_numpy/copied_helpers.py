"""The helpers that a module over NumPy may take along: their source, and what they import."""

from __future__ import annotations

from collections.abc import Iterable

from ..copied_functions import copied, functions_in

_FILES = ("to_numpy/helpers.py", "to_numpy/block_helpers.py", "to_numpy/workspace_helpers.py", "to_c/helpers.py")
# What stands at the head of a module that uses a helper, all of the standard library.
_IMPORTS = {
    "_in_blocks": (
        "import contextvars",
        "import os",
        "from collections import deque",
        "from concurrent.futures import ThreadPoolExecutor, wait",
    ),
    "_cores": ("import os",),
    "_compiled": (
        "import ctypes",
        "import hashlib",
        "import os",
        "import platform",
        "import shutil",
        "import subprocess",
        "import tempfile",
    ),
}
_VARIABLES = {"_in_blocks": "_THREADS = {}", "_workspace": "_SPARE = []"}
_IMPORTED = {line.split()[-1] for lines in _IMPORTS.values() for line in lines}
_IMPORTED |= {"ThreadPoolExecutor", *(text.split()[0] for text in _VARIABLES.values())}

HELPER_NAMES = frozenset({*(name for file in _FILES for name in functions_in(file)), *_IMPORTED})


def helper_imports(used: Iterable[str]) -> list[str]:
    """The imports that the helpers of ``used`` need beside NumPy's."""
    lines = {line for name in used for line in _IMPORTS.get(name, ())}
    return sorted(lines, key=lambda line: (line.startswith("from"), line))


def helper_sources(used: Iterable[str]) -> list[str]:
    """The source of each helper of ``used`` and of those that it calls, in the order of their files."""
    used = set(used)
    variables = [text for name, text in _VARIABLES.items() if name in used]
    return [*variables, *(_plain(text) for file in _FILES for text in copied(file, used))]


def _plain(text: str) -> str:
    """A function without its annotations."""
    for annotation in (": Any", " -> Any", " -> None"):
        text = text.replace(annotation, "")
    return text
