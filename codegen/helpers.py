"""The helpers that an emitted module may need: their source, what they need, and what they import."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from .block_helpers import _cores, _in_blocks, _threads
from .c_helpers import _build, _compiled, _declared, _in_order
from .numpy_helpers import (
    _erf,
    _erf_near_zero,
    _erfc,
    _erfc_beyond,
    _erfc_middle,
    _erfc_tail,
    _logsumexp,
    _polynomial,
    _shift,
    _sigmoid,
    _sigmoid_of_negative,
    _softplus,
)

_FUNCTIONS = {
    f.__name__: f
    for f in (
        _sigmoid, _sigmoid_of_negative, _softplus, _shift, _logsumexp,
        _polynomial, _erf_near_zero, _erfc_middle, _erfc_tail, _erfc_beyond, _erf, _erfc,
        _cores, _threads, _in_blocks, _build, _compiled, _declared, _in_order,
    )
}  # fmt: skip
_ERROR_FUNCTIONS = ("_polynomial", "_erf_near_zero", "_erfc_middle", "_erfc_tail", "_erfc_beyond")
_NEEDS = {
    "_sigmoid": ("_sigmoid_of_negative",),
    "_erf": _ERROR_FUNCTIONS,
    "_erfc": _ERROR_FUNCTIONS,
    "_in_blocks": ("_cores", "_threads"),
    "_compiled": ("_build", "_declared", "_in_order"),
}
# What stands at the head of a module that uses a helper, all of the standard library.
_IMPORTS = {
    "_in_blocks": (
        "import contextvars",
        "import os",
        "from collections import deque",
        "from concurrent.futures import ThreadPoolExecutor, wait",
    ),
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
_VARIABLES = {"_in_blocks": "_THREADS = {}"}
_IMPORTED = {line.split()[-1] for lines in _IMPORTS.values() for line in lines} | {"ThreadPoolExecutor", "_THREADS"}

HELPER_NAMES = frozenset({*_FUNCTIONS, *_IMPORTED})


def helper_imports(used: Iterable[str]) -> list[str]:
    """The imports that the helpers of ``used`` need beside NumPy's."""
    lines = {line for name in used for line in _IMPORTS.get(name, ())}
    return sorted(lines, key=lambda line: (line.startswith("from"), line))


def helper_sources(used: Iterable[str]) -> list[str]:
    """The source of each helper of ``used`` and of those it needs, in the order of this module."""
    wanted = {name for each in used for name in (each, *_NEEDS.get(each, ()))}
    variables = [_VARIABLES[name] for name in _VARIABLES if name in wanted]
    return [*variables, *(_source(name) for name in _FUNCTIONS if name in wanted)]


def _source(name: str) -> str:
    """The function as it stands in its module, without the annotations."""
    text = inspect.getsource(_FUNCTIONS[name])
    for annotation in (": Any", " -> Any", " -> None"):
        text = text.replace(annotation, "")
    return text.rstrip()
