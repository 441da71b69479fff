"""Derivatives in half precision, against float32 of the same numbers by torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch

import otus

SHAPES = {"x": (6,), "u": (6,), "m": (5, 6), "w": (6, 4), "a": (), "b": (5,)}
# A few roundings to what is stored, of the largest element.
TOLERANCES = {"bfloat16": 0.04, "float16": 0.005}
Loss = Callable[..., Any]

# Each loss by Otus and by torch, over what is named.
LOSSES: dict[str, tuple[str, Loss, Loss]] = {
    "squares": ("x", lambda x: (x * x).sum(), lambda x: (x * x).sum()),
    "mean": ("x", lambda x: (x**3).mean(), lambda x: (x**3).mean()),
    "variance": ("x", lambda x: otus.var(x), lambda x: x.var(correction=0)),
    "norm": ("x", lambda x: otus.norm(x), lambda x: x.norm()),
    "scalar": ("ax", lambda a, x: a * (x * a).sum(), lambda a, x: a * (x * a).sum()),
    "softmax": ("mx", lambda m, x: (otus.softmax(m, 1) @ x).sum() ** 2, lambda m, x: (m.softmax(1) @ x).sum() ** 2),
    "entropy": ("m", lambda m: -otus.log_softmax(m, axis=1)[:, 1].mean(), lambda m: -m.log_softmax(1)[:, 1].mean()),
    "logsumexp": ("mx", lambda m, x: otus.logsumexp(m @ x), lambda m, x: (m @ x).logsumexp(0)),
    "matmul": ("mw", lambda m, w: (otus.tanh(m @ w) ** 2).sum(), lambda m, w: (torch.tanh(m @ w) ** 2).sum()),
    "layer": ("mxb", lambda m, x, b: otus.sigmoid(m @ x + b) @ b, lambda m, x, b: (m @ x + b).sigmoid() @ b),
    "gelu": ("x", lambda x: otus.gelu(x).sum(), lambda x: torch.nn.functional.gelu(x).sum()),
    "maximum": ("mx", lambda m, x: (m * x).max(axis=1).sum(), lambda m, x: (m * x).max(1).values.sum()),
    "masked": ("xu", lambda x, u: otus.where(x > 0, x * u, u).sum(), lambda x, u: torch.where(x > 0, x * u, u).sum()),
    "slices": ("mx", lambda m, x: (m[1:4, ::2] * x[::2]).sum() ** 2, lambda m, x: (m[1:4, ::2] * x[::2]).sum() ** 2),
    "running": ("xu", lambda x, u: (otus.cumsum(x) * u).sum(), lambda x, u: (x.cumsum(0) * u).sum()),
}  # fmt: skip


def given(names: str, dtype: str, seed: int = 0) -> list[torch.Tensor]:
    torch.manual_seed(seed)
    return [torch.randn(SHAPES[name]).to(getattr(torch, dtype)) for name in names]


def tensors(names: str, dtype: str) -> list[Any]:
    return [otus.tensor(name, SHAPES[name.removeprefix("v_")], dtype=dtype) for name in names]


def assert_near(found: torch.Tensor, wanted: torch.Tensor, dtype: str) -> None:
    assert found.dtype == getattr(torch, dtype)
    assert found.shape == wanted.shape
    scale = max(float(wanted.abs().max()), 0.1)
    assert float((found.float() - wanted).abs().max()) <= TOLERANCES[dtype] * scale, (found, wanted)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", LOSSES)
def test_gradients(name: str, dtype: str) -> None:
    names, loss, torchs = LOSSES[name]
    inputs = tensors(names, dtype)
    f = otus.compile({"loss": loss(*inputs), **dict(zip(names, otus.grad(loss(*inputs), inputs), strict=True))},
                     backend="triton", interpret=True)  # fmt: skip
    values = given(names, dtype)
    found = f(**dict(zip(names, values, strict=True)))
    exact = [x.float().requires_grad_() for x in values]
    wanted = torchs(*exact)
    assert_near(found["loss"], wanted.detach(), dtype)
    for each, gradient in zip(names, torch.autograd.grad(wanted, exact), strict=True):
        assert_near(found[each], gradient, dtype)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", ["squares", "mean", "variance", "softmax", "logsumexp", "matmul", "layer", "gelu"])
def test_products_with_hessians(name: str, dtype: str) -> None:
    names, loss, torchs = LOSSES[name]
    inputs = tensors(names, dtype)
    along = [otus.tensor(f"v_{each}", SHAPES[each], dtype=dtype) for each in names]
    products = otus.hvp(loss(*inputs), inputs, along)
    f = otus.compile(dict(zip(names, products, strict=True)), backend="triton", interpret=True)
    values, directions = given(names, dtype), given(names, dtype, 1)
    arguments = dict(zip(names, values, strict=True)) | dict(zip((f"v_{x}" for x in names), directions, strict=True))
    found = f(**{name: value for name, value in arguments.items() if name in f.program.inputs})
    exact = tuple(x.float() for x in values)
    wanted = torch.autograd.functional.hvp(torchs, exact, tuple(x.float() for x in directions))[1]
    for each, product in zip(names, wanted, strict=True):
        assert_near(found[each], product, dtype)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_hessian_and_jacobian(dtype: str) -> None:
    (m, x) = tensors("mx", dtype)
    f = otus.compile({"h": otus.hessian(otus.logsumexp(m @ x), x), "j": otus.jacobian(otus.softmax(m @ x), x)},
                     backend="triton", interpret=True)  # fmt: skip
    values = given("mx", dtype)
    found = f(m=values[0], x=values[1])
    exact, at = values[0].float(), values[1].float()
    functional = torch.autograd.functional
    assert_near(found["h"], functional.hessian(lambda y: (exact @ y).logsumexp(0), at), dtype)
    assert_near(found["j"], functional.jacobian(lambda y: (exact @ y).softmax(0), at), dtype)
