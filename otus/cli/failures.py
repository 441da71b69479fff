"""What is kept of a bug in Otus: a file from which someone else can see it again."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import tempfile
import traceback
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

REPORTED = ("otus", "numpy", "scipy", "sympy", "opt_einsum", "networkx", "lark", "typer", "rich", "torch")
_LONGEST_PROGRAM = 100_000


def save_reproduction(error: BaseException, arguments: Sequence[str]) -> Path:
    """Write the command line, versions, traceback and programs of a failed call to a new file."""
    parts = [
        f"command: {shlex.join(['otus', *arguments])}",
        f"python: {platform.python_version()} on {platform.platform()}",
        *(f"{name}: {version(name) or 'not installed'}" for name in REPORTED),
        *(f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith("OTUS_")),
        "",
        "".join(traceback.format_exception(error)),
        *(_program(argument) for argument in arguments if argument.endswith(".otus")),
    ]
    handle, name = tempfile.mkstemp(prefix="otus-bug-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write("\n".join(parts))
    return Path(name)


def version(package: str) -> str | None:
    """The installed version of a package, or None.

    >>> version("numpy") is None
    False
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return getattr(sys.modules.get(package), "__version__", None)


def _program(argument: str) -> str:
    try:
        text = Path(argument).read_bytes()[:_LONGEST_PROGRAM].decode("utf-8", "replace")
    except OSError as error:
        text = f"({error})"
    return f"--- {argument}\n{text}"
