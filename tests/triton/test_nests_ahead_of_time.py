"""Kernels of attention compiled for GPUs: within shared memory, in registers, on matrix units."""

from __future__ import annotations

from typing import Any

import pytest
from attention import Attention

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch
from triton_kernels import compile_ahead, launches

import otus

SHARED = {80: 163 * 1024, 90: 227 * 1024}  # bytes that a program may have


@pytest.mark.parametrize(
    ("what", "dtype", "width", "architectures", "spilled"),
    [
        ("value", "float16", 128, (90,), 0),
        ("value", "float32", 64, (80,), 0),
        ("value", "float64", 64, (90,), 0),
        ("value", "bfloat16", 256, (80,), 64),
        ("value", "float32", 128, (80, 90), 320),
        ("gradients", "float32", 64, (90,), 0),
        ("gradients", "float32", 96, (80,), 256),
        ("gradients", "bfloat16", 128, (80,), 0),
        ("products", "bfloat16", 64, (90,), 128),
        ("products", "float16", 128, (80,), 256),
        ("products", "float32", 64, (80,), 64),
        ("products", "float32", 128, (90,), 256),
    ],
)
def test_kernels_compile_for_gpus(
    what: str, dtype: str, width: int, architectures: tuple[int, ...], spilled: int
) -> None:
    """``spilled`` is the most bytes that a thread may write to memory and read back for want of registers."""
    case = Attention(4096, 4096, (2, 16), width, width, "causal", dtype)
    function: Any = otus.compile(case.expressions(what), backend="triton", interpret=True)
    types = function.program.buffer_map()
    shapes = [[int(size) for size in types[name].type.shape] for name in function.program.inputs]
    tensors = [torch.empty(shape, dtype=getattr(torch, dtype), device="meta") for shape in shapes]
    found = [x for x in launches(function.plan_for().emitted, tensors) if "num_stages" in x.options]
    assert len(found) == {"value": 1, "gradients": 3, "products": 4}[what]
    for launch in found:
        for architecture in architectures:
            made = compile_ahead(launch, architecture)
            assert made.spilled <= spilled, launch.kernel
            assert made.shared <= SHARED[architecture]
            assert "mma" in made.ptx
