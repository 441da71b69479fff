"""8-bit floats on a GPU, which may convert them itself: all numbers against torch's conversions on the host."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch
from eight_bits import TORCHS, assert_same, every, near, wanted

import otus

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU"),
]


@pytest.mark.parametrize("dtype", TORCHS)
def test_every_number_is_read(dtype: str) -> None:
    x, y = otus.tensor("x", (256,), dtype=dtype), otus.tensor("y", (256,), dtype="float32")
    f = otus.compile(otus.relu(otus.cast(x, "float32")) + y, backend="triton")
    wide = every(dtype).float()
    assert_same(f(every(dtype).cuda(), wide.cuda()).cpu(), torch.relu(wide) + wide)


@pytest.mark.parametrize("dtype", TORCHS)
def test_numbers_are_rounded(dtype: str) -> None:
    """In elementwise kernels, in torch's, and in those of products."""
    values = near(dtype)
    x = otus.tensor("x", values.shape, dtype="float32")
    kernel = otus.compile([otus.cast(x * 2, dtype), otus.abs(x)], backend="triton")
    alone = otus.compile(otus.cast(x, dtype), backend="triton")
    assert_same(kernel(values.cuda())[0].cpu(), wanted(values * 2, dtype))
    assert_same(alone(values.cuda()).cpu(), wanted(values, dtype))


@pytest.mark.parametrize("dtype", TORCHS)
def test_attention(dtype: str) -> None:
    q, k, v = (otus.cast(otus.tensor(name, (1024, 64), dtype=dtype), "float32") for name in "qkv")
    f = otus.compile(otus.softmax(q @ k.T * 0.125, axis=1) @ v, backend="triton")
    torch.manual_seed(0)
    given = [torch.randn(1024, 64, device="cuda").to(TORCHS[dtype]) for _ in "qkv"]
    exact = [x.double() for x in given]
    expected = torch.softmax(exact[0] @ exact[1].T * 0.125, 1) @ exact[2]
    torch.testing.assert_close(f(*given).double(), expected, rtol=1e-4, atol=1e-5)
