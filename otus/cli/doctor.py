"""``otus doctor``: what is installed, what can run, and where things are."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from .. import compilation
from ..frontend.creation import tensor
from ..ir.cost import human_bytes
from ..runtime.cache import LIMIT_BYTES, stored_bytes
from ..runtime.settings import list_settings, settings
from .console import show, write, write_json
from .failures import version
from .options import AsJson

REQUIRED = ("numpy", "scipy", "sympy", "opt_einsum", "networkx", "lark", "typer", "rich", "jinja2")
OPTIONAL = {
    "torch": "reads .pt files; takes and returns tensors",
    "safetensors": "reads .safetensors files",
    "jax": "takes and returns arrays",
    "tensorly": "data of the demo, and what it compares with",
    "matplotlib": "pictures of the demo",
    "triton": "runs kernels on NVIDIA GPUs",
    "cotengra": "another search for contraction orders: contract{optimizer=cotengra}",
}

EXAMPLE = """\b
Example:
  otus doctor
  otus doctor --json
"""


def doctor(as_json: AsJson = False) -> None:
    """Show what is installed, which backends run here, the settings, and where the cache is."""
    facts = examine()
    if as_json:
        write_json(facts)
        return
    write(f"Otus {facts['otus']}, Python {facts['python']} on {facts['platform']}, {facts['cores']} cores")
    write(f"from {facts['location']}")
    _show("Backends", [[name, state, ""] for name, state in facts["backends"].items()])
    _show("Required packages", [[name, found or "missing", ""] for name, found in facts["required"].items()])
    _show(
        "Optional packages",
        [[name, found or "not installed", OPTIONAL[name]] for name, found in facts["optional"].items()],
    )
    _show("Settings, by environment variable", [[x["name"], x["value"], x["meaning"]] for x in facts["settings"]])
    write(f"\nCache: {facts['cache']['path']} ({_contents(facts['cache'])})")
    write(f"Self-test: {facts['self_test']}")


def examine() -> dict[str, Any]:
    """Everything that ``otus doctor`` shows, by name."""
    return {
        "otus": version("otus") or "unknown",
        "location": str(Path(__file__).parent.parent),
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "backends": compilation.backends(),
        "required": {name: version(name) for name in REQUIRED},
        "optional": {name: version(name) for name in OPTIONAL},
        "settings": [
            {"name": x.name, "value": x.value, "source": x.source, "accepted": x.accepted, "meaning": x.meaning}
            for x in list_settings()
        ],
        "cache": _cache(),
        "self_test": self_test(),
    }


def _cache() -> dict[str, Any]:
    """Whether compiled programs are kept, where, how many there are and how large they may become."""
    current = settings()
    programs, size = stored_bytes(current.cache_folder)
    return {
        "on": current.cache,
        "path": str(current.cache_folder),
        "exists": current.cache_folder.exists(),
        "programs": programs,
        "bytes": size,
        "limit_bytes": LIMIT_BYTES,
    }


def _contents(cache: dict[str, Any]) -> str:
    if not cache["on"]:
        return "turned off by OTUS_CACHE=0"
    if not cache["programs"]:
        return "nothing there yet"
    return f"{cache['programs']} programs, {human_bytes(cache['bytes'])} of at most {human_bytes(cache['limit_bytes'])}"


def self_test() -> str:
    """Compile and run a small product on the NumPy backend: ``"passed"``, or what came out instead.

    >>> self_test()
    'passed'
    """
    x = tensor("x", ("n",))
    value = compilation.compile((x * x).sum())(x=np.arange(4.0))
    return "passed" if value == 14 else f"failed: the squares of 0 to 3 sum to {value}"


def _show(title: str, rows: list[list[str]]) -> None:
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=None, show_header=False)
    for row in rows:
        table.add_row(*(cell.replace("[", "\\[") for cell in row))
    show(table)
