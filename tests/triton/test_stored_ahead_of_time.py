"""Numbers stored in fewer bits, compiled for GPUs with and without conversions of 8-bit floats of their own."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch
from triton_kernels import SHARED, Compiled, Launch, compile_ahead, launches

import otus
from otus.runtime.arrays import torch_name

HALVES = {
    80: r"mma\.sync\.aligned\.m16n8k16\.row\.col\.f32\.(b?f16)\.\1\.f32",
    90: r"wgmma\.mma_async.*f32\.(b?f16)\.\1",
}
OWN = {"float8_e4m3": "cvt.rn.f16x2.e4m3x2", "float8_e5m2": "cvt.rn.f16x2.e5m2x2"}
WRITTEN = {"float8_e4m3": "cvt.rn.satfinite.e4m3x2.f32", "float8_e5m2": "cvt.rn.satfinite.e5m2x2.f32"}


def tensors(**given: tuple[str, tuple[int, ...]]) -> list[Any]:
    return [otus.tensor(name, shape, dtype=dtype) for name, (dtype, shape) in given.items()]


def found(outputs: list[Any]) -> list[Launch]:
    """The launches of the module, whose 8-bit floats are bytes, since the tensors are on no GPU."""
    function = otus.compile(outputs, backend="triton", interpret=True)
    module = function.plan_for().emitted
    assert module is not None
    types = [function.program.buffer_map()[each].type for each in function.program.inputs]
    given = [torch.empty(x.shape, dtype=getattr(torch, torch_name(x.dtype)), device="meta") for x in types]
    return launches(module, given)


def own(launch: Launch, *formats: str) -> Launch:
    """The launch as where the GPU converts: bytes are the numbers of these formats, in the order of the arguments."""
    left = [getattr(torch, torch_name(otus.ir.as_dtype(each))) for each in formats]
    arguments = [
        each.view(left.pop(0)) if isinstance(each, torch.Tensor) and each.dtype is torch.uint8 else each
        for each in launch.arguments
    ]
    assert not left
    return dataclasses.replace(launch, arguments=tuple(arguments))


def checked(launch: Launch, architecture: int) -> Compiled:
    compiled = compile_ahead(launch, architecture)
    assert compiled.spilled == 0, launch.options
    assert compiled.shared <= SHARED[architecture]
    return compiled


@pytest.mark.parametrize("columns", [1024, 1000])
@pytest.mark.parametrize("dtype", OWN)
def test_elementwise_work(dtype: str, columns: int) -> None:
    x, u = tensors(x=(dtype, (4096, columns)), u=("float32", (4096, columns)))
    (launch,) = found([otus.tanh(otus.cast(x, "float32")) * u, otus.cast(u * 2, dtype)])
    for architecture in (80, 90):
        assert "ld.global.v" in checked(launch, architecture).ptx
    compiled = checked(own(launch, dtype, dtype), 90)
    assert OWN[dtype] in compiled.ptx
    assert WRITTEN[dtype] in compiled.ptx


@pytest.mark.parametrize("dtype", OWN)
def test_rows_with_their_reductions(dtype: str) -> None:
    (x,) = tensors(x=(dtype, (4096, 1000)))
    (launch,) = found([otus.softmax(x, axis=1), x.max(axis=1)])
    for each, architecture in ((launch, 80), (launch, 90), (own(launch, dtype, dtype, dtype), 90)):
        checked(each, architecture)


PRODUCTS: dict[str, Callable[..., Any]] = {
    "bfloat16 bfloat16": lambda p, b: otus.relu(p + b),
    "float16 float16": lambda p, b: otus.relu(p + b),
    "float8_e4m3 float8_e4m3": lambda p, b: p,
    "float8_e5m2 float8_e4m3": lambda p, b: otus.relu(p + b),
    "bfloat16 float8_e4m3": lambda p, b: otus.gelu(p + b),
    "float8_e5m2 float16": lambda p, b: p,
}


@pytest.mark.parametrize("inner", [512, 500])
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_that_are_added_up_in_float32(name: str, inner: int) -> None:
    """Halves on tensor cores, whatever is stored; nothing is multiplied as float32."""
    first, second = name.split()
    x, w, b = tensors(x=(first, (1024, inner)), w=(second, (inner, 1024)), b=("float32", (1024,)))
    (launch,) = found([PRODUCTS[name](otus.cast(x, "float32") @ otus.cast(w, "float32"), b)])
    eights = [each for each in (first, second) if each in OWN]
    kinds = [(launch, 80), (launch, 90), *([(own(launch, *eights), 90)] if eights else [])]
    for each, architecture in kinds:
        compiled = checked(each, architecture)
        assert re.search(HALVES[architecture], compiled.ptx)
        assert "tf32" not in compiled.ptx
    assert all(OWN[each] in compiled.ptx for each in eights)


@pytest.mark.parametrize("dtype", ["bfloat16", *OWN])
def test_attention_that_is_computed_in_float32(dtype: str) -> None:
    """Scores are products of what is stored."""
    q, k, v = (otus.cast(x, "float32") for x in tensors(**dict.fromkeys("qkv", (dtype, (2048, 64)))))
    (launch,) = found([otus.softmax(q @ k.T * 0.125, axis=1) @ v])
    kinds = [(launch, 80), (launch, 90), *([(own(launch, dtype, dtype, dtype), 90)] if dtype in OWN else [])]
    for each, architecture in kinds:
        assert re.search(HALVES[architecture], checked(each, architecture).ptx)


@pytest.mark.parametrize("dtype", OWN)
def test_products_of_8_bits_with_results_of_8_bits(dtype: str) -> None:
    x, w = tensors(x=(dtype, (1024, 512)), w=(dtype, (512, 1024)))
    (launch,) = found([otus.relu(x @ w)])
    for each, architecture in ((launch, 80), (launch, 90), (own(launch, dtype, dtype, dtype), 90)):
        assert re.search(HALVES[architecture], checked(each, architecture).ptx)
