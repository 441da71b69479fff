"""The environment of a process in which only the libraries of a machine with a GPU and little else are found."""

from __future__ import annotations

import os
from pathlib import Path

HIDDEN = ("jax", "jaxlib", "scipy", "opt_einsum", "lark", "typer", "rich", "hypothesis", "tensorly", "numexpr",
          "cotengra", "quimb", "tenpy", "sybil", "xdist", "safetensors", "matplotlib")  # fmt: skip

_HIDING = """\
import sys


class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in {hidden!r} else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)


sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
"""


def bare_environment(folder: Path, *paths: Path) -> dict[str, str]:
    """Of this process, with ``paths`` to import from, and without the libraries that are hidden."""
    (folder / "sitecustomize.py").write_text(_HIDING.format(hidden=HIDDEN), "utf-8")
    given = os.environ.get("PYTHONPATH", "")
    listed = os.pathsep.join([str(folder), *map(str, paths), *([given] if given else [])])
    return {**os.environ, "PYTHONPATH": listed, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
