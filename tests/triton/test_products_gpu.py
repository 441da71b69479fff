"""Fused products on a GPU: values against float64, the same bits every time, and the choice by measurement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch

import otus
from otus.ir.kernels import FusedProduct
from otus.ir.program import program_text

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU"),
]

TOLERANCES = {"float64": 1e-11, "float32": 1e-5, "bfloat16": 2e-2, "float16": 3e-3}
SIZES = ((512, 256, 512), (1000, 77, 301), (16, 8192, 40), (4096, 64, 128))


def layer(rows: int, inner: int, columns: int, dtype: str) -> Any:
    x, w, b = (otus.tensor(n, s, dtype=dtype) for n, s in (("x", (rows, inner)), ("w", (inner, columns)),
                                                           ("b", (columns,))))  # fmt: skip
    return otus.gelu(otus.relu(x) @ w + b)


def given(rows: int, inner: int, columns: int, dtype: str) -> list[torch.Tensor]:
    torch.manual_seed(0)
    shapes = ((rows, inner), (inner, columns), (columns,))
    return [(torch.randn(s, dtype=torch.float64) / s[0] ** 0.5).to("cuda", getattr(torch, dtype)) for s in shapes]


def wanted(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.gelu(torch.relu(x.double()) @ w.double() + b.double())


def worst(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_values(sizes: tuple[int, int, int], dtype: str) -> None:
    f = otus.compile(layer(*sizes, dtype), backend="triton")
    tensors = given(*sizes, dtype)
    assert worst(f(*tensors), wanted(*tensors)) <= TOLERANCES[dtype]
    assert torch.equal(f(*tensors), f(*tensors))


STORED = {
    "bfloat16": torch.bfloat16, "float16": torch.float16, "float8_e4m3": torch.float8_e4m3fn,
    "float8_e5m2": torch.float8_e5m2,
}  # fmt: skip


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("left", "right"), [*((x, x) for x in STORED), ("bfloat16", "float8_e4m3"),
                                             ("float8_e5m2", "float16"), ("float8_e4m3", "float8_e5m2")])  # fmt: skip
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_products_that_are_added_up_in_float32(sizes: tuple[int, int, int], left: str, right: str, after: bool) -> None:
    """By a kernel, or by cuBLAS; 8-bit floats too lose no more digits than float32 does."""
    rows, inner, columns = sizes
    x, w = otus.tensor("x", (rows, inner), dtype=left), otus.tensor("w", (inner, columns), dtype=right)
    product = otus.cast(x, "float32") @ otus.cast(w, "float32")
    f = otus.compile(otus.relu(product) if after else product, backend="triton")
    torch.manual_seed(0)
    a = torch.randn((rows, inner), device="cuda").to(STORED[left])
    b = torch.randn((inner, columns), device="cuda").to(STORED[right])
    exact = a.double() @ b.double()
    found = f(a, b)
    assert found.dtype == torch.float32
    assert worst(found, torch.relu(exact) if after else exact) <= 5e-5  # of 8 bits as they are, 1e-3
    assert torch.equal(found, f(a, b))


def test_batches_that_are_added_up_in_float32() -> None:
    x, w = otus.tensor("x", (64, 48), dtype="bfloat16"), otus.tensor("w", (5, 48, 80), dtype="bfloat16")
    f = otus.compile(otus.einsum("ij,bjk->bik", otus.cast(x, "float32"), otus.cast(w, "float32")), backend="triton")
    a, b = torch.randn((64, 48), device="cuda").bfloat16(), torch.randn((5, 48, 80), device="cuda").bfloat16()
    assert worst(f(a, b), a.double() @ b.double()) <= 1e-5


def test_tensor_float_32_is_torchs_setting() -> None:
    sizes = (512, 256, 512)
    tensors = given(*sizes, "float32")
    torch.set_float32_matmul_precision("high")
    try:
        f = otus.compile(layer(*sizes, "float32"), backend="triton")
        assert worst(f(*tensors), wanted(*tensors)) <= 5e-3
    finally:
        torch.set_float32_matmul_precision("highest")
    assert worst(f(*tensors), wanted(*tensors)) <= 1e-5


def test_rows_and_sums() -> None:
    x, w = otus.tensor("x", (2048, 128), dtype="float32"), otus.tensor("w", (128, 200), dtype="float32")
    y = otus.softmax(x @ w, axis=1)
    f = otus.compile({"y": y, "s": otus.tanh(x @ w).sum(axis=0)}, backend="triton")
    a, b = torch.randn((2048, 128), device="cuda"), torch.randn((128, 200), device="cuda")
    found = f(x=a, w=b)
    product = a.double() @ b.double()
    assert worst(found["y"], torch.softmax(product, 1)) <= 1e-4
    assert worst(found["s"], torch.tanh(product).sum(0)) <= 1e-4


def test_the_choice_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OTUS_AUTOTUNE", "1")
    monkeypatch.setenv("OTUS_CACHE_DIR", str(tmp_path))
    sizes = (1024, 256, 1024)
    f = otus.compile(layer(*sizes, "bfloat16"), backend="triton")
    tensors = given(*sizes, "bfloat16")
    assert worst(f(*tensors), wanted(*tensors)) <= TOLERANCES["bfloat16"]
    assert f.program is not None
    assert "measured" in program_text(f.program)
    times = list((tmp_path / "timings").iterdir())
    assert len(times) > 2
    again = otus.compile(layer(*sizes, "bfloat16"), backend="triton", name="again")
    assert again.program is not None
    assert [type(x.kernel) is FusedProduct for x in again.program.calls] == [
        type(x.kernel) is FusedProduct for x in f.program.calls
    ]
    assert list((tmp_path / "timings").iterdir()) == times
