"""Kernels compiled for GPUs, which needs none: no registers are spilled, and memory is read 16 bytes at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch
from triton_kernels import SHARED, compile_ahead, launches

import otus

ROWS, COLUMNS = 4096, 1024
REGISTERS = 65536  # of all threads of a program


def _inputs(dtype: str, *shape: int) -> list[Any]:
    return [otus.tensor(name, shape, dtype=dtype) for name in ("x", "u")]


def _softmax(dtype: str) -> list[Any]:
    x, u = _inputs(dtype, ROWS, 1000)
    y = otus.softmax(x, axis=-1)
    return [y, otus.vjp(y, [x], [u])[0]]


def _softmax_of_many(dtype: str) -> list[Any]:
    x, _ = _inputs(dtype, 64, 50257)
    return [otus.softmax(x, axis=-1)]


def _gradient_in_chunks(dtype: str) -> list[Any]:
    """Two sums relative to a running maximum, and one after them."""
    x, u = _inputs(dtype, 64, 32768)
    return [otus.logsumexp(x, axis=1), otus.vjp(otus.softmax(x, axis=-1), [x], [u])[0]]


def _whole(dtype: str) -> list[Any]:
    """Positions of 64 bits; results combined over the programs."""
    x, u = _inputs(dtype, 2**21, 1024)
    return [(otus.tanh(x) * u).sum(), otus.exp(x) * u]


def _layer_norm(dtype: str) -> list[Any]:
    x, u = _inputs(dtype, ROWS, COLUMNS)
    w = otus.tensor("w", (COLUMNS,), dtype=dtype)
    y = (x - x.mean(axis=-1, keepdims=True)) * otus.rsqrt(otus.var(x, axis=-1, keepdims=True) + 1e-5) * w
    return [y, *otus.vjp(y, [x, w], [u])]


def _layer_norm_in_chunks(dtype: str) -> list[Any]:
    """The mean and the squares of the distances from it, in one loop."""
    x, _ = _inputs(dtype, 64, 65536)
    return [(x - x.mean(axis=-1, keepdims=True)) * otus.rsqrt(otus.var(x, axis=-1, keepdims=True) + 1e-5)]


def _layer_norm_gradients_in_chunks(dtype: str) -> list[Any]:
    """Three moments in one loop; what all rows share in a kernel of its own."""
    x, u = _inputs(dtype, 64, 65536)
    w = otus.tensor("w", (65536,), dtype=dtype)
    y = (x - x.mean(axis=-1, keepdims=True)) * otus.rsqrt(otus.var(x, axis=-1, keepdims=True) + 1e-5) * w
    return otus.vjp(y, [x, w], [u])


def _rows_in_registers(dtype: str) -> list[Any]:
    """Rows of 128 KiB, of which a kernel holds one value, and of 64 KiB, of which it holds up to three."""
    x, y = otus.tensor("a", (64, 32768), dtype=dtype), otus.tensor("b", (64, 32768), dtype=dtype)
    square = (y * y).mean(axis=-1, keepdims=True)
    z, u = _inputs(dtype, 64, 16384)
    gradient = otus.vjp(otus.log_softmax(z, axis=-1), [z], [u])[0]
    return [otus.log_softmax(x, axis=-1), y * otus.rsqrt(square + 1e-5), gradient]


def _columns(dtype: str) -> list[Any]:
    """Softmaxes of columns, in chunks and whole, and of columns of which a program reads 32 side by side."""
    x, u = otus.tensor("x", (16384, 4096), dtype=dtype), otus.tensor("u", (512, 4096), dtype=dtype)
    return [otus.softmax(x, axis=0), otus.softmax(u, axis=0)]


def _gelu(dtype: str) -> list[Any]:
    x, u = _inputs(dtype, ROWS, COLUMNS)
    return [otus.gelu(x), otus.vjp(otus.gelu(x), [x], [u])[0]]


def _special_functions(dtype: str) -> list[Any]:
    x, u = _inputs(dtype, ROWS, COLUMNS)
    return [otus.tanh(x) + otus.log1p(u) * otus.softplus(x), otus.logaddexp(x, u) + otus.sinh(x)]


def _loss(dtype: str) -> list[Any]:
    x, u = _inputs(dtype, ROWS, COLUMNS)
    return [(otus.sin(x) * u).sum(), otus.abs(x).max(axis=0), (x * x).sum(axis=0)]


def _heads(dtype: str) -> list[Any]:
    x, _ = _inputs(dtype, 8, 16, 128, 128)
    return [otus.softmax(x * 0.125, axis=-1)]


CASES: dict[str, tuple[Callable[[str], list[Any]], str]] = {
    "softmax-float32": (_softmax, "float32"),
    "softmax-float64": (_softmax, "float64"),
    "softmax-bfloat16": (_softmax, "bfloat16"),
    "softmax_of_many-float32": (_softmax_of_many, "float32"),
    "gradient_in_chunks-float32": (_gradient_in_chunks, "float32"),
    "gradient_in_chunks-float64": (_gradient_in_chunks, "float64"),
    "whole-float32": (_whole, "float32"),
    "whole-bfloat16": (_whole, "bfloat16"),
    "layer_norm-float32": (_layer_norm, "float32"),
    "layer_norm-float16": (_layer_norm, "float16"),
    "layer_norm_in_chunks-float32": (_layer_norm_in_chunks, "float32"),
    "layer_norm_in_chunks-float64": (_layer_norm_in_chunks, "float64"),
    "layer_norm_in_chunks-bfloat16": (_layer_norm_in_chunks, "bfloat16"),
    "layer_norm_gradients_in_chunks-float32": (_layer_norm_gradients_in_chunks, "float32"),
    "layer_norm_gradients_in_chunks-float64": (_layer_norm_gradients_in_chunks, "float64"),
    "rows_in_registers-float32": (_rows_in_registers, "float32"),
    "rows_in_registers-bfloat16": (_rows_in_registers, "bfloat16"),
    "columns-float32": (_columns, "float32"),
    "columns-bfloat16": (_columns, "bfloat16"),
    "gelu-float32": (_gelu, "float32"),
    "gelu-float64": (_gelu, "float64"),
    "special_functions-float32": (_special_functions, "float32"),
    "loss-float32": (_loss, "float32"),
    "heads-bfloat16": (_heads, "bfloat16"),
}


@pytest.mark.parametrize("name", CASES)
def test_kernels_compile_for_gpus(name: str) -> None:
    build, dtype = CASES[name]
    function = otus.compile(build(dtype), backend="triton", interpret=True)
    module = function.plan_for().emitted
    assert module is not None
    shapes = {each: function.program.buffer_map()[each].type for each in function.program.inputs}
    # No memory is needed for launches that are not carried out.
    tensors = [torch.empty(x.shape, dtype=getattr(torch, dtype), device="meta") for x in shapes.values()]
    found = launches(module, tensors)
    assert found
    for launch in found:
        for architecture in (80, 90):
            compiled = compile_ahead(launch, architecture)
            # Rows of halves that are converted in registers: four numbers of a thread do not fit, on sm_90.
            assert compiled.spilled <= (16 if name == "layer_norm-float16" else 0), launch.kernel
            assert compiled.shared <= SHARED[architecture]
            assert 0 < compiled.registers * compiled.threads <= REGISTERS
            assert compiled.cubin.startswith(b"\x7fELF")
            odd = "softmax_of_many" in name  # its rows begin anywhere
            assert odd or "ld.global.v" in compiled.ptx, launch.kernel


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_parts_of_rows_are_read_16_bytes_at_a_time(dtype: str) -> None:
    """In an elementwise kernel, whose positions are one index: the divisions are by constants."""
    function = otus.compile(_gelu(dtype), backend="triton", interpret=True)
    module = function.plan_for().emitted
    assert module is not None
    whole = torch.empty((ROWS, 2 * COLUMNS), dtype=getattr(torch, dtype), device="meta")
    (launch,) = launches(module, [whole[:, :COLUMNS], whole[:, COLUMNS:]])
    assert launch.options["x_flat"] is False
    for architecture in (80, 90):
        compiled = compile_ahead(launch, architecture)
        assert compiled.spilled == 0
        assert "ld.global.v" in compiled.ptx
