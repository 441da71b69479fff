"""Functions that compile and call C; their source is copied into the modules that use them."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from typing import Any

import numpy as np


def _compiled(source: Any) -> Any:
    """The library of a source in C: as the cache has it, or compiled for this processor, and kept."""
    compiler = os.environ.get("CC", "cc")
    flags = ["-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-fwrapv",
             "-fopenmp-simd", "-pthread", "-shared", "-fPIC"]  # fmt: skip
    about = "\0".join([source, compiler, *flags, platform.node(), platform.machine()])
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.path.join(os.environ.get("OTUS_CACHE_DIR") or os.path.join(home, "otus"), "c")
    kept = os.path.join(folder, hashlib.sha256(about.encode()).hexdigest() + ".so")
    if os.environ.get("OTUS_CACHE") != "0" and os.path.exists(kept):
        try:
            return ctypes.CDLL(kept)
        except OSError:  # not whole: compiled again
            os.remove(kept)
    with tempfile.TemporaryDirectory() as work:
        given, made = os.path.join(work, "loops.c"), os.path.join(work, "loops.so")
        with open(given, "w", encoding="utf-8") as file:
            file.write(source)
        _build([compiler, *flags, given, "-o", made])
        library = ctypes.CDLL(made)
        if os.environ.get("OTUS_CACHE") != "0":
            os.makedirs(folder, exist_ok=True)
            own = f"{kept}.{os.getpid()}"
            shutil.copyfile(made, own)
            os.replace(own, kept)
    return library


def _build(command: Any) -> None:
    """Compile with vector functions, or without them where the C library has none."""
    for choice in (["-mprefer-vector-width=512", "-Wl,-z,defs", "-lmvec", "-lm"], ["-DNO_VECTOR_FUNCTIONS", "-lm"]):
        run = subprocess.run([*command, *choice], capture_output=True, text=True, check=False)
        if run.returncode == 0:
            return
    raise RuntimeError(f"{' '.join(command)} failed: {run.stderr.strip()}")


def _declared(library: Any, name: Any, sizes: Any, pointers: Any) -> Any:
    """A function of the library that takes this many sizes, then this many pointers."""
    function = getattr(library, name)
    function.argtypes = [ctypes.c_int64] * sizes + [ctypes.c_void_p] * pointers
    function.restype = None
    return function


def _in_order(x: Any, *axes: Any) -> Any:
    """The elements side by side, with the axes in this order: ``x`` itself where they lie so already."""
    return np.ascontiguousarray(x.transpose(axes) if axes else x)
