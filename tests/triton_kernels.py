"""Running graphs through the Triton emitter in the interpreter, and its kernels through the compiler for GPUs."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton
from evaluation import assert_close
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from otus.codegen import Emitted, emit_triton
from otus.codegen.to_triton.tiles import Tiling
from otus.ir import Graph, Node
from otus.passes import default_pipeline, parse_pipeline
from otus.passes.lower import lower
from otus.runtime.executable import Executable
from otus.runtime.reference import evaluate
from otus.runtime.triton_interpreter import interpreter

BLOCK = default_pipeline("triton").rsplit(",block", 1)[1]
# For what would otherwise be a nest of loops over scores, being small.
WITHOUT_TILES = default_pipeline("triton").replace(",tile", "")
SHARED = {80: 163 * 1024, 90: 227 * 1024}  # bytes that a program may have, by architecture
TINY = Tiling(preferred=64, most=256, programs=2)
_TYPES = {
    torch.float64: "fp64", torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16", torch.bool: "i1",
    torch.int8: "i8", torch.int16: "i16", torch.int32: "i32", torch.int64: "i64", torch.uint8: "u8",
    torch.float8_e4m3fn: "fp8e4nv", torch.float8_e5m2: "fp8e5",
}  # fmt: skip


def emitted(
    outputs: Sequence[Node], tiling: Tiling | None = None, sizes: Mapping[str, int] | None = None, passes: str = ""
) -> Emitted:
    """The module that computes nodes, their elementwise work and reductions in kernels where that can be."""
    graph, _ = parse_pipeline(f"{passes}block{BLOCK}").run(Graph.of(outputs), sizes or {})
    return emit_triton(lower(graph, (), sizes or {}), sizes=sizes, tiling=tiling)


def interpreted(module: Emitted, values: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs of a module, whose parameters are called as the inputs are."""
    with interpreter():
        result = Executable.of(module.source, module.function).load()(
            *(torch.from_numpy(np.array(values[name])) for name in module.parameters)
        )
    return [each.numpy() for each in (result if isinstance(result, tuple) else (result,))]


def agree(
    outputs: Sequence[Node],
    values: Mapping[str, np.ndarray],
    tolerance: float = 1e-12,
    tiling: Tiling | None = None,
    sizes: Mapping[str, int] | None = None,
    kernels: int | None = None,
) -> Emitted:
    """Compare with the reference interpreter, in values, shapes and dtypes; ``kernels`` is how many there are."""
    module = emitted(outputs, tiling, sizes)
    if kernels is not None:
        assert len(launched_names(module)) == kernels, module.source
    expected = evaluate(outputs, values)
    for node, value, wanted in zip(outputs, interpreted(module, values), expected, strict=True):
        assert (value.shape, value.dtype) == (wanted.shape, wanted.dtype), module.source
        assert_close(value, wanted, tolerance, tolerance, f"{node.op.name}\n{module.source}")
    return module


def launched_names(module: Emitted) -> list[str]:
    return re.findall(r"^ +(\w+)\[\(", module.source, re.MULTILINE)


# --- compiled ahead of time --------------------------------------------------------------------


@dataclass(frozen=True)
class Launch:
    """A kernel, and what it was launched with."""

    kernel: Any
    arguments: tuple[Any, ...]
    options: dict[str, Any]


@dataclass(frozen=True)
class Compiled:
    """What the compiler made of a kernel: bytes of shared memory and of spilled registers, its PTX and machine code.

    ``registers`` are those of one thread, ``threads`` how many a program has.
    """

    shared: int
    spilled: int
    ptx: str
    registers: int
    threads: int
    cubin: bytes


def launches(module: Emitted, tensors: Sequence[Any]) -> list[Launch]:
    """The launches of a module, none of which is carried out."""
    run = Executable.of(module.source, module.function).load()
    found: list[Launch] = []

    class Recorder:
        def __init__(self, kernel: Any) -> None:
            self.kernel = kernel

        def __getitem__(self, grid: Any) -> Any:
            return lambda *arguments, **options: found.append(Launch(self.kernel, arguments, options))

    for name in set(launched_names(module)):
        run.__globals__[name] = Recorder(run.__globals__[name])
    run(*tensors)
    return found


def compile_ahead(launch: Launch, architecture: int) -> Compiled:
    """Compile a kernel for a GPU of this architecture, with pointers aligned as torch's memory is."""
    assert isinstance(launch.kernel, JITFunction)
    parameters = launch.kernel.params
    given = dict(zip((each.name for each in parameters), launch.arguments, strict=False)) | launch.options
    options = {name: given.pop(name) for name in ("num_warps", "num_stages") if name in given}
    # As Triton does for a launch: a stride of 1 is a constant, multiples of 16 are known to be such.
    ones = {each.name for each in parameters if isinstance(given[each.name], int) and given[each.name] == 1}
    constants = {each.name: given[each.name] for each in parameters if each.is_constexpr or each.name in ones}
    signature = {each.name: "constexpr" if each.name in constants else _type(given[each.name]) for each in parameters}
    aligned = {(k,): [["tt.divisibility", 16]] for k, each in enumerate(parameters)
               if signature[each.name] != "constexpr" and _is_aligned(given[each.name])}  # fmt: skip
    source = ASTSource(fn=launch.kernel, signature=signature, constexprs=constants, attrs=aligned)
    made = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)
    spilled, registers = _registers(made.asm["ptx"])
    threads = 32 * made.metadata.num_warps
    return Compiled(made.metadata.shared, spilled, made.asm["ptx"], registers, threads, made.asm["cubin"])


def _is_aligned(value: Any) -> bool:
    return isinstance(value, torch.Tensor) or value % 16 == 0


def _type(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"*{_TYPES[value.dtype]}"
    return "i32" if value < 2**31 else "i64"


def _registers(ptx: str) -> tuple[int, int]:
    """Bytes of registers that NVIDIA's assembler has no room for, and the registers of a thread.

    Of those that come with Triton, the first that reads this version of PTX.
    """
    folder = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    architecture = re.findall(r"^\.target (\w+)", ptx, re.MULTILINE)[0]
    errors = []
    for assembler in ("ptxas", "ptxas-blackwell"):
        command = [folder / assembler, "-v", f"--gpu-name={architecture}", "-o", os.devnull, "/dev/stdin"]
        found = subprocess.run(command, input=ptx, capture_output=True, text=True, check=False)
        if found.returncode == 0:
            spilled = sum(int(count) for count in re.findall(r"(\d+) bytes spill", found.stderr))
            return spilled, max(int(count) for count in re.findall(r"Used (\d+) registers", found.stderr))
        errors.append(found.stderr)
    raise AssertionError("\n".join(errors))
