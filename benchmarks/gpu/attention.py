"""Attention, written as what it is: its value, its gradient, and Hessian-vector products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..harness import Goal, Row, UnavailableError
from .problem import Call, Data, Problem, Tensors

_FLOPS = {"value": 4, "grad": 14, "hvp": 42}  # times heads · tokens² · width: products, those computed again included


def attention(kind: str, dtype: str, heads: int, tokens: int, width: int) -> Problem:
    """``softmax(q·kᵀ/√width)·v``; the gradient and the HVP are those of its sum with weights ``c``.

    The double backward of the HVP's peers is torch's, through the products and the softmax one by one: the fused
    kernels have none.
    """

    def value(library: Any, t: Tensors) -> Any:
        scores = library.einsum("hnd,hmd->hnm", t["q"], t["k"]) * width**-0.5
        return library.einsum("hnm,hmd->hnd", library.softmax(scores, -1), t["v"])

    def weighted(library: Any, t: Tensors) -> Any:
        return library.sum(t["c"] * value(library, t))

    names = ("q", "k", "v", *(() if kind == "value" else ("c",)))
    data = {name: Data((heads, tokens, width), dtype) for name in names}
    vectors = {}
    if kind == "hvp":
        vectors = {name: f"d{name}" for name in "qkv"}
        data |= {f"d{name}": Data((heads, tokens, width), dtype) for name in "qkv"}
    return Problem(
        data,
        value if kind == "value" else weighted,
        kind,
        () if kind == "value" else ("q", "k", "v"),
        vectors,
        flops=float(_FLOPS[kind]) * heads * tokens**2 * width,
        arithmetic="tf32" if dtype == "float32" else dtype,
        tolerance=3e-2,
        slices=1,
        peers={} if kind == "hvp" else {"SDPA": lambda: _sdpa(kind), "FlexAttention": lambda: _flex(kind)},
    )


def _sdpa(kind: str) -> Call:
    import torch

    return _call(torch.nn.functional.scaled_dot_product_attention, kind)


def _flex(kind: str) -> Call:
    import torch
    from torch.nn.attention.flex_attention import flex_attention

    if not torch.cuda.is_available():
        raise UnavailableError("compiles for a GPU; not timed here")
    torch._dynamo.reset()
    return _call(torch.compile(flex_attention, dynamic=False), kind)


def _call(function: Callable[..., Any], kind: str) -> Call:
    """A library's attention of ``q``, ``k`` and ``v``, or the gradient of its sum with the weights."""

    def call(t: Tensors) -> Any:
        import torch

        points = [t[name][None] for name in "qkv"]
        if kind == "value":
            return function(*points)[0]
        leaves = [x.detach().requires_grad_() for x in points]
        return [x[0] for x in torch.autograd.grad(function(*leaves), leaves, t["c"][None])]

    return call


_NEAR = (Goal(0.9),)
ATTENTION = [
    *(
        Row(f"attention, {text}, {heads} heads of 128, {tokens} tokens, bfloat16", attention,
            (kind, "bfloat16", heads, tokens, 128), (kind, "bfloat16", 2, 9, 16), _NEAR)
        for kind, text in (("value", "value"), ("grad", "gradient"))
        for heads, tokens in ((16, 4096), (8, 16384))
    ),
    *(
        Row(f"attention, HVP, {heads} heads of 64, {tokens} tokens, float32", attention,
            ("hvp", "float32", heads, tokens, 64), ("hvp", "float32", 2, 9, 16), (Goal(3.0),))
        for heads, tokens in ((16, 4096), (4, 16384))
    ),
]  # fmt: skip
