"""Goldens of whole modules."""

from __future__ import annotations

from typing import Any

import pytest
from attention import Attention
from conftest import Golden

import otus


def softmax_gradient() -> Any:
    x, u = otus.tensor("x", (512, 1000), dtype="float32"), otus.tensor("u", (512, 1000), dtype="float32")
    return otus.compile({"gx": otus.vjp(otus.softmax(x, axis=-1), [x], [u])[0]}, backend="triton", interpret=True)


def layer_norm_gradient() -> Any:
    x, u = otus.tensor("x", (4096, 768), dtype="float32"), otus.tensor("u", (4096, 768), dtype="float32")
    w, b = otus.tensor("w", (768,), dtype="float32"), otus.tensor("b", (768,), dtype="float32")
    y = (x - x.mean(axis=-1, keepdims=True)) * otus.rsqrt(otus.var(x, axis=-1, keepdims=True) + 1e-5) * w + b
    gx, gw, gb = otus.vjp(y, [x, w, b], [u])
    return otus.compile({"gx": gx, "gw": gw, "gb": gb}, backend="triton", interpret=True)


def layer_norm_of_long_rows() -> Any:
    """Rows in chunks: their statistics in one loop, the results in another."""
    x, w = otus.tensor("x", (64, 50000), dtype="float32"), otus.tensor("w", (50000,), dtype="float32")
    y = (x - x.mean(axis=-1, keepdims=True)) * otus.rsqrt(otus.var(x, axis=-1, keepdims=True) + 1e-5) * w
    return otus.compile({"y": y}, backend="triton", interpret=True)


def gelu_layer() -> Any:
    """A matrix product and what follows it, in one kernel."""
    x, w, b = otus.tensor("x", (64, 256)), otus.tensor("w", (256, 128)), otus.tensor("b", (128,))
    return otus.compile({"y": otus.gelu(x @ w + b)}, backend="triton", interpret=True)


def scaled_heads() -> Any:
    """Batches, merged columns, work on an operand, and rows that are whole in a tile."""
    q, k = (otus.tensor(name, (8, 4, 256, 64), dtype="bfloat16") for name in "qk")
    s = otus.tensor("s", (4, 64), dtype="bfloat16")
    scores = otus.einsum("bhid,bhjd->bhij", q * s[None, :, None, :], k)
    return otus.compile({"p": otus.softmax(scores, axis=-1)}, backend="triton", interpret=True)


def groups_of_weights() -> Any:
    """Weights of int8, scaled for each group of 32 rows and each column."""
    x, w = otus.tensor("x", (64, 256), dtype="float16"), otus.tensor("w", (256, 512), dtype="int8")
    s = otus.tensor("s", (8, 1, 512), dtype="float16")
    scaled = (otus.cast(w, "float16").reshape((8, 32, 512)) * s).reshape((256, 512))
    return otus.compile({"y": x @ scaled}, backend="triton", interpret=True)


def many_tiles() -> Any:
    """Each program makes one tile after another."""
    x, w, b = (otus.tensor(n, s, dtype="bfloat16") for n, s in (("x", (8192, 256)), ("w", (256, 8192)), ("b", (8192,))))
    return otus.compile({"y": otus.relu(x @ w + b)}, backend="triton", interpret=True)


def long_sum() -> Any:
    """A sum in parts, for sizes of a call; and a result that is reduced over the programs."""
    x, w = otus.tensor("x", ("i", "k"), dtype="float32"), otus.tensor("w", ("k", "j"), dtype="float32")
    b = otus.tensor("b", ("j",), dtype="float32")
    y = otus.tanh(x @ w + b)
    f = otus.compile({"y": y, "s": y.sum(axis=0)}, backend="triton", interpret=True)
    return f.plan_for(i=64, k=8192, j=48)


def attention() -> Any:
    """One kernel, in which the softmax's sum and its product with the values are relative to a running maximum."""
    case = Attention(4096, 4096, (2, 16), 64, 64, "causal", "bfloat16")
    return otus.compile({"out": case.output()}, backend="triton", interpret=True)


def attention_gradient() -> Any:
    """One kernel for what rows of scores need, one for the gradient of the queries, one for the two others."""
    case = Attention(4096, 4096, (2, 16), 64, 64, dtype="float32")
    _, *gradients = case.expressions("gradients")
    return otus.compile(dict(zip(("gQ", "gK", "gV"), gradients, strict=True)), backend="triton", interpret=True)


CASES = {
    each.__name__: each
    for each in (
        softmax_gradient,
        layer_norm_gradient,
        layer_norm_of_long_rows,
        gelu_layer,
        scaled_heads,
        groups_of_weights,
        many_tiles,
        long_sum,
        attention,
        attention_gradient,
    )
}


@pytest.mark.parametrize("name", CASES)
def test_goldens(name: str, golden: Golden) -> None:
    golden(f"{name}.py.txt", CASES[name]().source)
