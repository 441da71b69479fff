"""Fused products compiled for GPUs, which needs none: tensor cores, no spilled registers, shared memory in limits."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch
from triton_kernels import SHARED, compile_ahead, launches

import otus
from otus.ir.kernels import FusedProduct

# The instruction that multiplies tiles on each architecture, as a pattern; float32 in full precision has no other.
TENSOR_CORES = {
    "bfloat16": {80: "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", 90: "wgmma.mma_async"},
    "float16": {80: "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", 90: "wgmma.mma_async"},
    "float64": {80: "mma.sync.aligned.m.*.row.col.f64", 90: "mma.sync.aligned.m.*.row.col.f64"},
    "float32": {80: "fma.rn.f32", 90: "fma.rn.f32"},
    "tf32": {80: "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", 90: "wgmma.mma_async"},
}


def _layer(rows: int, inner: int, columns: int, dtype: str) -> list[Any]:
    x, w, b, r = _tensors(dtype, x=(rows, inner), w=(inner, columns), b=(columns,), r=(rows, columns))
    return [otus.gelu(x @ w + b) + r]


def _tensors(dtype: str, **shapes: tuple[int, ...]) -> list[Any]:
    return [otus.tensor(name, shape, dtype=dtype) for name, shape in shapes.items()]


def _scaled(dtype: str) -> list[Any]:
    x, s, w = _tensors(dtype, x=(1024, 512), s=(512,), w=(512, 1024))
    return [(otus.relu(x) * s) @ w]


def _rows(dtype: str) -> list[Any]:
    x, w = _tensors(dtype, x=(4096, 512), w=(512, 128))
    return [otus.softmax(x @ w, axis=1)]


def _sums(dtype: str) -> list[Any]:
    x, w, b = _tensors(dtype, x=(1024, 512), w=(512, 1024), b=(1024,))
    y = otus.tanh(x @ w + b)
    return [y, y.sum(axis=0)]


def _batches(dtype: str) -> list[Any]:
    q, k = _tensors(dtype, q=(4, 8, 512, 64), k=(4, 8, 512, 64))
    return [otus.tanh(otus.einsum("bhik,bhjk->bhij", q, k) * 0.125)]


def _channels(dtype: str) -> list[Any]:
    """Weights of int8, with a scale for each column."""
    x, s = _tensors(dtype, x=(1024, 512), s=(1024,))
    return [otus.relu(x @ (otus.cast(otus.tensor("w", (512, 1024), dtype="int8"), dtype) * s))]


def _groups(dtype: str) -> list[Any]:
    """Weights of int8, with a scale for each column of each group of 64 rows."""
    x, s = _tensors(dtype, x=(1024, 512), s=(8, 1, 1024))
    w = otus.cast(otus.tensor("w", (512, 1024), dtype="int8"), dtype)
    return [x @ (w.reshape((8, 64, 1024)) * s).reshape((512, 1024))]


CASES: dict[str, Any] = {
    "layer-bfloat16": lambda: _layer(1024, 256, 1024, "bfloat16"),
    "layer-float16": lambda: _layer(512, 1024, 1024, "float16"),
    "layer-float32": lambda: _layer(512, 128, 512, "float32"),
    "layer-float64": lambda: _layer(512, 64, 512, "float64"),
    "relu-bfloat16": lambda: [otus.relu(otus.matmul(*_tensors("bfloat16", x=(4096, 128), w=(128, 4096))))],
    "many-bfloat16": lambda: [otus.relu(otus.matmul(*_tensors("bfloat16", x=(8192, 256), w=(256, 8192))))],
    "channels-float16": lambda: _channels("float16"),
    "groups-bfloat16": lambda: _groups("bfloat16"),
    "layer-tf32": lambda: _layer(512, 128, 512, "float32"),
    "scaled-bfloat16": lambda: _scaled("bfloat16"),
    "rows-bfloat16": lambda: _rows("bfloat16"),
    "sums-bfloat16": lambda: _sums("bfloat16"),
    "batches-float16": lambda: _batches("float16"),
    "split-bfloat16": lambda: _layer(64, 8192, 64, "bfloat16"),
}
# Those that are compiled for elements that lie far apart, too.
FAR_APART = ("scaled-bfloat16", "split-bfloat16", "many-bfloat16")


@pytest.mark.parametrize("name", CASES)
def test_kernels_compile_for_gpus(name: str) -> None:
    outputs, kind = CASES[name](), name.split("-")[1]
    function = otus.compile(outputs, backend="triton", interpret=True)
    assert function.program is not None
    assert [type(x.kernel) for x in function.program.calls if not x.kernel.view] == [FusedProduct]
    module = function.plan_for().emitted
    assert module is not None
    buffers = function.program.buffer_map()
    tensors = [
        torch.empty(buffers[each].type.shape, dtype=getattr(torch, buffers[each].type.dtype), device="meta")
        for each in function.program.inputs
    ]
    torch.backends.cuda.matmul.fp32_precision = "tf32" if kind == "tf32" else "ieee"
    try:
        found = launches(module, tensors)
    finally:
        torch.backends.cuda.matmul.fp32_precision = "none"
    assert "tl.num_programs" in module.source or not name.startswith("many")
    assert len(found) == (2 if name.startswith("split") else 1)
    if name in FAR_APART:
        found += [dataclasses.replace(each, options={**each.options, "WIDE": True}) for each in found]
    for launch in found:
        for architecture in (80, 90):
            compiled = compile_ahead(launch, architecture)
            assert compiled.spilled == 0, launch.options
            assert compiled.shared <= SHARED[architecture]
            if "BLOCK_K" in launch.options:
                # The instructions of sm_90 take 64 rows at least.
                small = launch.options["BLOCK_M"] < 64 and architecture == 90
                assert re.search(TENSOR_CORES[kind][80 if small else architecture], compiled.ptx)
                if "batches" not in name:  # whose sum is one step
                    assert "cp.async" in compiled.ptx  # reads are under way while tiles are multiplied
            else:
                assert "ld.global.v" in compiled.ptx
