"""Measured times of kernels on the GPU at hand, for choices that are to rest on more than a plan.

A time is kept in memory and on disk, found by the source of the module, the sizes, the device, the versions of what
compiled it and the precision of products: one small JSON file each, written and checked as plans are (:mod:`.cache`).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..ir import DType
from ..ir.dims import evaluate, symbols
from ..ir.program import Buffer, DimBinding, Program
from .arrays import torch_name
from .cache import digest_of, read_whole, with_digest, write_whole
from .devices import multiplies_in_tf32
from .executable import Executable

# Of an emitted module and inputs of these shapes and dtypes, the seconds of a call; infinity where it cannot run, None
# where it might but cannot be measured now.
Clock = Callable[[Executable, Sequence[tuple[tuple[int, ...], str]]], float | None]
_FOLDER, _SUFFIX = "timings", ".json"
_WARMING, _REPEATING = 10, 50  # milliseconds


class Timer:
    """Times programs as the emitted modules that they become.

    ``clock`` measures one; ``device`` says on what, with versions; ``folder`` keeps what was measured, unless None.
    """

    def __init__(self, clock: Clock, device: str, folder: Path | None) -> None:
        self._clock, self._device, self._folder = clock, device, folder
        self._known: dict[str, float] = {}

    def __call__(self, program: Program, sizes: Mapping[str, int]) -> float | None:
        """The seconds of a call at these sizes; None where no input says them, or the clock has none now."""
        from ..codegen import emit_triton

        bound = _bound(program)
        if bound is None:
            return None
        emitted = emit_triton(bound, sizes=sizes)
        buffers = bound.buffer_map()
        inputs = [_shape(buffers[name], sizes) for name in bound.inputs]
        key = digest_of(f"{self._device}\n{inputs}\n{emitted.source}")
        if key not in self._known:
            found = self._read(key)
            if found is None:
                found = self._clock(Executable.of(emitted.source, emitted.function), inputs)
                if found is None:
                    return None
                self._write(key, found)
            self._known[key] = found
        return self._known[key]

    def _path(self, key: str) -> Path | None:
        return None if self._folder is None else self._folder / _FOLDER / f"{key}{_SUFFIX}"

    def _read(self, key: str) -> float | None:
        path = self._path(key)
        content = None if path is None else read_whole(path)
        try:
            entry = {} if content is None else json.loads(content)
            if entry.get("key") != key:
                return None
            return math.inf if entry["seconds"] is None else float(entry["seconds"])
        except (ValueError, LookupError, TypeError, AttributeError):
            return None  # whole, but no entry of ours

    def _write(self, key: str, seconds: float) -> None:
        path = self._path(key)
        if path is None:
            return
        try:
            write_whole(path, with_digest({"key": key, "seconds": seconds if math.isfinite(seconds) else None}))
        except OSError:
            return  # the folder is read-only or full: this process still has the time


def _shape(buffer: Buffer, sizes: Mapping[str, int]) -> tuple[tuple[int, ...], str]:
    """The shape of an input at these sizes, and its dtype."""
    return tuple(evaluate(size, sizes) for size in buffer.type.shape), buffer.type.dtype.value


def _bound(program: Program) -> Program | None:
    """The program with its dims bound from its inputs' axes; None where one is no axis of any."""
    found: dict[str, DimBinding] = {}
    wanted = {name for buffer in program.buffers for size in buffer.type.shape for name in symbols(size)}
    for name in program.inputs:
        for axis, size in enumerate(program.buffer_map()[name].type.shape):
            if not isinstance(size, int) and size.is_symbol:
                (symbol,) = symbols(size)
                found.setdefault(symbol, DimBinding(symbol, name, axis))
    return dataclasses.replace(program, dims=tuple(found.values())) if wanted <= found.keys() else None


# --- on a GPU ----------------------------------------------------------------------------------


def gpu_timer(folder: Path | None) -> Timer:
    """What times programs on torch's current GPU, and keeps the times in ``folder``."""
    import torch
    import triton

    versions = f"torch {torch.__version__} triton {triton.__version__}"
    precision = "tf32" if multiplies_in_tf32() else "ieee"
    return Timer(seconds_on_gpu, f"{torch.cuda.get_device_name()} {versions} {precision}", folder)


def seconds_on_gpu(code: Executable, inputs: Sequence[tuple[tuple[int, ...], str]]) -> float | None:
    """The median time of a call with random inputs, the cache emptied before each.

    Infinity where the kernel takes more than the GPU has, None where its memory is full of other things.
    """
    import torch
    from triton.runtime.errors import OutOfResources, PTXASError
    from triton.testing import do_bench

    run: Any = code.load()
    try:
        tensors = [_random(shape, getattr(torch, torch_name(DType(dtype)))) for shape, dtype in inputs]
        milliseconds = do_bench(lambda: run(*tensors), warmup=_WARMING, rep=_REPEATING, return_mode="median")
    except torch.OutOfMemoryError:
        return None
    except (OutOfResources, PTXASError):
        return math.inf
    return float(milliseconds) / 1000


def _random(shape: tuple[int, ...], dtype: Any) -> Any:
    import torch

    if dtype.is_floating_point:
        return torch.randn(shape, device="cuda", dtype=torch.float32).to(dtype)
    return torch.ones(shape, device="cuda", dtype=dtype)
