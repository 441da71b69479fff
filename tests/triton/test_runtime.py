"""The backend triton from the front door: arrays in and out, errors, the module that stands alone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch
import triton
from triton_kernels import compile_ahead, launches

import otus
from otus.runtime.failures import IndexRangeError, LinearAlgebraError

X, W = otus.tensor("x", ("i", "j")), otus.tensor("w", ("j",))
Y = otus.tanh(X * W) + X


def compiled(outputs: Any = Y, **options: Any) -> Any:
    return otus.compile(outputs, backend="triton", interpret=True, **options)


def expected(x: Any, w: Any) -> np.ndarray:
    return np.tanh(np.asarray(x) * np.asarray(w)) + np.asarray(x)


def test_numpy_in_numpy_out_and_torch_in_torch_out() -> None:
    f = compiled({"y": Y, "s": Y.sum()})
    x, w = np.random.default_rng(0).standard_normal((3, 5)), np.arange(5.0)
    for _ in range(2):
        found = f(x=x, w=w)
        assert type(found["y"]) is np.ndarray
        assert found["s"].shape == ()
        np.testing.assert_allclose(found["y"], expected(x, w))
        given = f(torch.from_numpy(x), torch.from_numpy(w))
        assert given["y"].device == torch.device("cpu")
        np.testing.assert_allclose(given["y"].numpy(), expected(x, w))
        mixed = f(torch.from_numpy(x), [0, 1, 2, 3, 4])
        assert isinstance(mixed["s"], torch.Tensor)


def test_results_are_fresh_and_inputs_are_kept() -> None:
    f = compiled([X, X.T, otus.exp(X) * 2])
    x = torch.ones((2, 3), dtype=torch.float64)
    results = f(x)
    for each in results:
        each.fill_(7)
    assert float(x.sum()) == 6


def test_strides_conjugates_and_negatives() -> None:
    f = compiled(otus.exp(X) * X)
    z = torch.randn((4, 6), dtype=torch.complex128)
    for x in (z.real, z.conj().imag, z.real.T, z.real[::2, ::3], z.real[:1].expand(5, 6), z.real[:, 1:2]):
        np.testing.assert_allclose(f(x).numpy(), (torch.exp(x) * x).resolve_neg().numpy())


def test_strided_operands_are_read_where_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    """By rows, of which no elements are nearer than neighbours; of others a copy is made."""
    f = compiled(otus.softmax(X * W, axis=-1))
    wide, w = torch.randn((12, 30), dtype=torch.float64), torch.randn(10, dtype=torch.float64)
    copies: list[tuple[int, ...]] = []
    copy = torch.Tensor.contiguous
    monkeypatch.setattr(torch.Tensor, "contiguous", lambda x: copies.append(tuple(x.stride())) or copy(x))
    places = {
        "part of each row": wide[:, 7:17], "every second": wide[:, ::2][:, :10], "every second row": wide[::2, :10],
        "one row": wide[:1, :10].expand(6, 10), "one element": wide[:, :1].expand(12, 10),
    }  # fmt: skip
    for name, x in places.items():
        torch.testing.assert_close(f(x, w), torch.softmax(x * w, 1), msg=name)
    torch.testing.assert_close(f(wide[:, :10], wide[0, ::3]), torch.softmax(wide[:, :10] * wide[0, ::3], 1))
    torch.testing.assert_close(f(wide[:10].T, wide[0, :10]), torch.softmax(wide[:10].T * wide[0, :10], 1))
    assert copies == [(1, 30)]


def test_strided_operands_of_flat_kernels_are_read_where_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elementwise kernels, in which all axes are one; operands with no gaps are read without divisions."""
    a, b = otus.tensor("a", (4, 5, 7)), otus.tensor("b", (5, 7))
    f = compiled(otus.exp(a) * b + a)
    wide, flat = torch.randn((8, 10, 30), dtype=torch.float64), torch.randn((5, 7), dtype=torch.float64)
    copies: list[tuple[int, ...]] = []
    copy = torch.Tensor.contiguous
    monkeypatch.setattr(torch.Tensor, "contiguous", lambda x: copies.append(tuple(x.stride())) or copy(x))
    places = {
        "no gaps": torch.randn((4, 5, 7), dtype=torch.float64), "parts": wide[2:6, 3:8, 9:16],
        "every second": wide[::2, ::2, ::2][:, :, :7], "one for all": wide[:1, :5, :7].expand(4, 5, 7),
        "rows swapped": wide[:5, :4, :7].transpose(0, 1), "one element": wide[:1, :1, :1].expand(4, 5, 7),
    }  # fmt: skip
    for name, x in places.items():
        for w in (flat, wide[1, :5, 3:10]):
            torch.testing.assert_close(f(x, w), torch.exp(x) * w + x, msg=name)
    assert copies == []
    turned = wide[:7, :5, :4].permute(2, 1, 0)
    torch.testing.assert_close(f(turned, flat), torch.exp(turned) * flat + turned)
    assert copies == [(1, 30, 300)]


def test_parts_of_tensors_within_a_program_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views that the program takes itself."""
    x = otus.tensor("x", (9, 12, 8))
    f = compiled(otus.exp(x[1:6, 2:9]) * x[3:8, 5:12] + otus.sin(x[:5, :7]))
    value = torch.randn((9, 12, 8), dtype=torch.float64)
    monkeypatch.setattr(torch.Tensor, "contiguous", lambda x: pytest.fail(f"copies {x.stride()}"))
    wanted = torch.exp(value[1:6, 2:9]) * value[3:8, 5:12] + torch.sin(value[:5, :7])
    torch.testing.assert_close(f(value), wanted)


def test_each_size_has_its_plan() -> None:
    f = compiled()
    for i, j in ((2, 3), (1, 1), (5, 1), (0, 4), (17, 9)):
        x, w = np.random.default_rng(i).standard_normal((i, j)), np.ones(j)
        np.testing.assert_allclose(f(x, w), expected(x, w))
    assert "tl.load" in f.plan_for(i=17, j=9).source


def test_tiles_are_those_of_the_sizes() -> None:
    """Sizes that share a program, but not the tiles: the rows of one fit into registers, of the other they do not."""
    f = compiled(otus.softmax(X, axis=-1))
    few, many = (f.plan_for(i=4, j=j).source for j in (128, 65536))
    assert "in chunks" not in few
    assert "in chunks" in many


def test_memory_limits_hold() -> None:
    """Loops that save memory are loops here too, around torch's products and kernels."""
    a, b = otus.tensor("a", (64, 300)), otus.tensor("b", (300, 96))
    loss = {"s": otus.exp(otus.sin(a @ b)).sum(), "r": otus.tanh(a @ b).max(axis=1)}
    f = compiled(loss, memory_limit=20000)
    assert "for start in range(0, 64, " in f.source
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 300)), rng.standard_normal((300, 96))
    found = f(a=x, b=y)
    np.testing.assert_allclose(found["s"], np.exp(np.sin(x @ y)).sum())
    np.testing.assert_allclose(found["r"], np.tanh(x @ y).max(1))


def test_half_precision() -> None:
    x = otus.tensor("x", (4, 8), dtype="bfloat16")
    f = compiled(otus.softmax(x * 2, axis=-1))
    value = torch.randn((4, 8)).to(torch.bfloat16)
    assert f(value).dtype == torch.bfloat16
    torch.testing.assert_close(f(value).float(), torch.softmax(value.float() * 2, 1), rtol=1e-2, atol=1e-2)


def test_numbers_in_half_precision() -> None:
    x = otus.tensor("x", (4, 8), dtype="bfloat16")
    f = compiled(otus.vjp(1 / otus.sqrt(x * x + 1e-1), [x], [otus.full((4, 8), 0.5, "bfloat16")])[0])
    value = torch.randn((4, 8)).to(torch.bfloat16)
    wide = value.double()
    expected = -0.5 * wide * (wide * wide + 0.1) ** -1.5
    torch.testing.assert_close(f(value).double(), expected, rtol=2e-2, atol=2e-2)


def test_complex_numbers_are_ordered_as_numpys() -> None:
    a, b = otus.tensor("a", (3, 3), dtype="complex128"), otus.tensor("b", (3, 3), dtype="complex128")
    parts = np.array([0.0, 1.0, -1.0])
    x = parts[:, None] + 1j * parts
    y = np.roll(x, 1, 0)
    f = compiled([a < b, a <= b, a > b, a >= b, a < 0.5])
    for found, wanted in zip(f(x, y), [x < y, x <= y, x > y, x >= y, x < 0.5], strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64"])
def test_dtypes_that_torch_does_not_compute_with(dtype: str) -> None:
    x = otus.tensor("x", (3,), dtype=dtype)
    for expression in (x + x * x, x.sum(), -x):
        with pytest.raises(otus.UnsupportedError, match=f"torch does not compute with {dtype}"):
            compiled(expression)


def test_wrong_calls() -> None:
    f = compiled()
    x = torch.ones((2, 3), dtype=torch.float64)
    w = torch.ones(3, dtype=torch.float64)
    with pytest.raises(otus.OtusError, match="requires grad"):
        f(x.clone().requires_grad_(), w)
    with pytest.raises(otus.OtusError, match="given with dtype complex128, which would lose information"):
        f(x.to(torch.complex128), w)
    with pytest.raises(otus.OtusError, match="1 axes; its type"):
        f(x[0], w)
    with pytest.raises(otus.OtusError, match=r"dim 'j'|size"):
        f(x, torch.ones(4, dtype=torch.float64))
    with pytest.raises(otus.OtusError, match="layout"):
        f(x.to_sparse(), w)
    assert f(x.float(), w).dtype == torch.float64


def test_errors_of_data_name_the_operation() -> None:
    a = otus.tensor("a", (2, 2))
    with pytest.raises(LinearAlgebraError, match=r"in .*inv %a"):
        compiled(otus.inv(a))(np.zeros((2, 2)))
    with pytest.raises(IndexRangeError, match=r"in .*take"):
        compiled(otus.take(a, otus.tensor("k", (2,), dtype="int64"), 0))(np.zeros((2, 2)), np.array([0, 5]))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu() -> None:
    assert otus.backends()["triton"] == (
        "unavailable: there is no NVIDIA GPU here; interpret=True runs the same kernels in Triton's interpreter"
    )
    with pytest.raises(otus.UnsupportedError) as caught:
        otus.compile(Y, backend="triton")
    assert str(caught.value) == (
        "backend 'triton' cannot run: there is no NVIDIA GPU here; interpret=True runs the same kernels in Triton's "
        "interpreter; backend='numpy' runs everywhere"
    )


def test_other_backends_have_no_interpreter() -> None:
    with pytest.raises(otus.OtusError, match="interpret=True runs Triton's kernels, and backend 'numpy' has none"):
        otus.compile(Y, interpret=True)


def test_after_the_interpreter_kernels_compile_as_before() -> None:
    f = compiled(otus.softmax(X, axis=-1), dims={"i": 4, "j": 6})
    f(np.ones((4, 6)))
    module = f.plan_for().emitted
    (launch,) = launches(module, [torch.empty((4, 6), dtype=torch.float64, device="meta")])
    assert compile_ahead(launch, 80).spilled == 0
    f(np.ones((4, 6)))
    assert not triton.knobs.runtime.interpret
    assert "TRITON_INTERPRET" not in os.environ


def test_threads_wait_for_one_another() -> None:
    f = compiled()
    x, w = np.random.default_rng(0).standard_normal((3, 5)), np.arange(5.0)
    found: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: found.append(f(x, w))) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 3
    assert all(np.array_equal(each, found[0]) for each in found)


def test_the_module_stands_alone(tmp_path: Path) -> None:
    """It runs in a process without Otus, here in Triton's interpreter, as ``TRITON_INTERPRET=1`` asks."""
    program = tmp_path / "f.otus"
    program.write_text(
        "tensor x[4,6] : float32\ntensor w[6,5] : float32\ny[i,j] = softmax[j](x[i,j] * 2)\ns = sum(y ^ 2)\n"
        "z = relu(x @ w)\noutput y, s, z\n"
    )
    command = [sys.executable, "-m", "otus.cli", "compile", str(program), "--backend", "triton", "-o", "k.py"]
    root = Path(otus.__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root), "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    code = (
        "import sys, torch, k\n"
        "x = torch.arange(24.0).reshape(4, 6)\n"
        "w = torch.arange(30.0).reshape(6, 5) - 20\n"
        "y, s, z = k.kernel(x, w)\n"
        "torch.testing.assert_close(z, torch.relu(x @ w))\n"
        "assert hasattr(k, 'product_kernel')\n"
        "torch.testing.assert_close(y, torch.softmax(x * 2, 1))\n"
        "torch.testing.assert_close(s, (y * y).sum())\n"
        "assert not [x for x in sys.modules if x.split('.')[0] == 'otus']\n"
    )
    environment["PYTHONPATH"] = ""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
