"""8-bit floats in kernels: all numbers of both formats against torch's own conversions, and arithmetic on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch
from eight_bits import TORCHS, assert_same, every, near, wanted

import otus
from otus.ir import DType, DTypeError
from otus.ir.dtypes import EIGHTS

FORMATS = pytest.mark.parametrize("dtype", TORCHS)


def compiled(outputs: Any) -> Any:
    return otus.compile(outputs, backend="triton", interpret=True)


def random(dtype: str, *shape: int) -> torch.Tensor:
    return torch.randn(*shape).to(TORCHS[dtype])


@pytest.mark.parametrize("target", ["float16", "bfloat16", "float32", "float64"])
@FORMATS
def test_every_number_is_read(dtype: str, target: str) -> None:
    """Subnormal ones, infinities and NaN among them."""
    x = otus.tensor("x", (256,), dtype=dtype)
    y = otus.tensor("y", (256,), dtype=target)
    f = compiled([otus.relu(otus.cast(x, target)) + y, otus.cast(x, target)])
    wide = every(dtype).to(getattr(torch, target))
    assert "_of_e" in f.source
    assert_same(f(x=every(dtype), y=wide)[0], torch.relu(wide) + wide)
    assert_same(f(x=every(dtype), y=wide)[1], wide)


@FORMATS
def test_numbers_are_rounded_to_even_as_in_torch(dtype: str) -> None:
    values = near(dtype)
    x = otus.tensor("x", values.shape, dtype="float32")
    kernel = compiled([otus.cast(x * 2, dtype), otus.abs(x)])
    alone = compiled([otus.cast(x, dtype)])
    assert "_to_e" in kernel.source
    assert "triton.jit" not in alone.source
    assert_same(kernel(values)[0], wanted(values * 2, dtype))
    assert_same(alone(values)[0], wanted(values, dtype))


def test_what_is_too_large() -> None:
    """Becomes the largest number where there is no infinity; NaN stays what it is."""
    x = otus.tensor("x", (4,), dtype="float32")
    given = torch.tensor([1000.0, float("inf"), float("-inf"), float("nan")])
    for outputs in ([otus.cast(x, "float8_e4m3")], [otus.cast(x * 200, "float8_e4m3"), x * 2]):
        found = compiled(outputs)(given)[0].float()
        assert found[:3].tolist() == [448.0, 448.0, -448.0]
        assert bool(found[3].isnan())
    infinity = float("inf")
    for outputs in ([otus.cast(x, "float8_e5m2")], [otus.cast(x * 200, "float8_e5m2"), x * 2]):
        found = compiled(outputs)(given)[0].float()
        assert found[1:3].tolist() == [infinity, -infinity]
        assert found[0] == (infinity if len(outputs) == 2 else 1024)
        assert bool(found[3].isnan())


@FORMATS
def test_roundings_within_a_kernel(dtype: str) -> None:
    """A cast to 8 bits and back is no identity."""
    x = otus.tensor("x", (1000,), dtype="float32")
    given = torch.randn(1000) * 3
    f = compiled(otus.exp(otus.cast(otus.cast(x * 2, dtype), "float32")))
    torch.testing.assert_close(f(given), torch.exp(wanted(given * 2, dtype).float()), rtol=1e-6, atol=0)


@pytest.mark.parametrize("shape", [(7, 33), (0, 5), (1, 1), (64, 300)], ids=str)
@FORMATS
def test_arithmetic_is_that_of_float32_rounded_once(dtype: str, shape: tuple[int, int]) -> None:
    x, y = (otus.tensor(name, shape, dtype=dtype) for name in "xy")
    a, b = random(dtype, *shape), random(dtype, *shape)
    f = compiled({"s": x * y + 1, "t": otus.tanh(x), "c": x < y})
    assert "_eights(" in f.source or shape != (64, 300)
    found = f(x=a, y=b)
    wide = a.float(), b.float()
    assert_same(found["s"], wanted(wide[0] * wide[1] + 1, dtype))
    assert_same(found["c"], wide[0] < wide[1])
    assert found["t"].dtype == TORCHS[dtype]


@FORMATS
def test_reductions(dtype: str) -> None:
    x = otus.tensor("x", (50, 40), dtype=dtype)
    given = random(dtype, 50, 40) if dtype == "float8_e4m3" else random(dtype, 50, 40).abs()
    f = compiled({"rows": x.sum(axis=1), "columns": (x * x).sum(axis=0), "all": x.max(), "mean": x.mean()})
    found, wide = f(x=given), given.float()
    assert_same(found["rows"], wanted(wide.sum(1), dtype))
    assert_same(found["columns"], wanted((wide * wide).sum(0), dtype))
    assert_same(found["all"], wanted(wide.max(), dtype))
    assert found["mean"].dtype == TORCHS[dtype]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", *TORCHS])
def test_sums_over_all_are_rounded_once(dtype: str) -> None:
    """Not for each program: 20000 times 0.75 in bfloat16 is 14976, whatever the programs give."""
    x = otus.tensor("x", (20000, 2), dtype=dtype)
    f = compiled({"s": (x * x).sum(axis=0), "y": x * 2})
    kind = TORCHS.get(dtype) or getattr(torch, dtype)
    given = torch.full((20000, 2), 2.0**-6).to(kind)
    exact = torch.full((2,), 20000 * 2.0**-12)
    torch.testing.assert_close(f(x=given)["s"], exact.to(kind), rtol=0, atol=0)


@FORMATS
def test_strides_and_movement(dtype: str) -> None:
    x = otus.tensor("x", (8, 12), dtype=dtype)
    given = random(dtype, 12, 16).T[::2]
    outputs = {
        "turned": x[::-1, 1:], "padded": otus.pad(x, ((1, 0), (0, 2))), "taken": otus.take(x, [3, 1], 0),
        "both": otus.concatenate([x, x], axis=1), "flat": x.T.reshape((96,)), "double": x * 2,
        "ones": otus.eye(3, dtype=dtype), "counted": otus.arange(5, dtype=dtype),
        "added": otus.scatter_add(x, [0, 0], x[:2], 0), "running": otus.cumsum(x, axis=1),
    }  # fmt: skip
    found, wide = compiled(outputs)(x=given), given.float().numpy()
    added = wide.copy()
    np.add.at(added, [0, 0], wide[:2])
    expected = {
        "turned": wide[::-1, 1:], "padded": np.pad(wide, ((1, 0), (0, 2))), "taken": wide[[3, 1]],
        "both": np.concatenate([wide, wide], 1), "flat": wide.T.reshape(96), "double": wide * 2, "ones": np.eye(3),
        "counted": np.arange(5), "added": added, "running": np.cumsum(wide, 1),
    }  # fmt: skip
    for name, value in expected.items():
        if name == "running":
            torch.testing.assert_close(found[name].float(), torch.tensor(value), rtol=0.2, atol=0.1)
        else:
            assert_same(found[name], wanted(torch.tensor(value.copy()).float(), dtype))


@FORMATS
def test_derivatives(dtype: str) -> None:
    x = otus.tensor("x", (9,), dtype=dtype)
    loss = (otus.cast(x, "float32") ** 2).sum()
    given = random(dtype, 9)
    assert_same(compiled(otus.grad(loss, x))(given), wanted(2 * given.float(), dtype))
    alone = (x * x).sum()
    assert_same(compiled(otus.grad(alone, x))(given), wanted(2 * given.float(), dtype))


@pytest.mark.parametrize("backend", ["numpy", "c", "reference"])
@FORMATS
def test_other_backends_say_that_numpy_has_none(dtype: str, backend: str) -> None:
    x = otus.tensor("x", (4,), dtype=dtype)
    with pytest.raises(DTypeError, match=f"NumPy has no {dtype}; cast to float32 or int8 first"):
        otus.compile(x * 2, backend=backend)(every(dtype)[:4])


@FORMATS
def test_what_is_not_torchs(dtype: str) -> None:
    x = otus.tensor("x", (4,), dtype=dtype)
    with pytest.raises(DTypeError, match=f"tensor 'x' is {dtype}, which NumPy has not; pass a torch tensor"):
        compiled(x * 2)(np.ones(4, np.float32))
    with pytest.raises(DTypeError, match="given with dtype float32, which would lose information"):
        compiled(x * 2)(torch.ones(4))
    y = otus.tensor("y", (4,), dtype="float32")
    with pytest.raises(DTypeError, match=f"a result is {dtype}, which NumPy has not; pass torch tensors, or cast it"):
        compiled(otus.cast(y, dtype))(np.ones(4, np.float32))


def test_names_of_torch() -> None:
    """Torch's e4m3fn is ours; wider types take 8-bit floats unasked."""
    assert otus.tensor("x", (2,), dtype="float8_e4m3fn").dtype == "float8_e4m3"
    x = otus.tensor("x", (4,), dtype="bfloat16")
    assert compiled(x * 2)(every("float8_e4m3")[56:60]).dtype == torch.bfloat16
    assert [each.value for each in EIGHTS] == list(TORCHS)
    assert all(each.kind == "float" for each in DType if each in EIGHTS)
