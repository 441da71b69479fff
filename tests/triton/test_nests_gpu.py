"""Kernels over tiles on a GPU: attention and its derivatives against NumPy's float64, and no memory for scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attention import Attention
from evaluation import assert_close

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch

import otus

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU"),
]
TOLERANCES = {"float64": 1e-10, "float32": 1e-5, "float16": 4e-3, "bfloat16": 4e-2}


@pytest.mark.parametrize("what", ["value", "gradients", "products"])
@pytest.mark.parametrize("mask", ["", "causal", "added"])
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("rows", "width"), [(1000, 64), (333, 40), (64, 128)])
def test_attention(rows: int, width: int, dtype: str, mask: str, what: str) -> None:
    sizes: Any = (rows, rows if mask == "causal" else 500, (2, 2), width, width, mask)
    exact = Attention(*sizes)
    function = otus.compile(Attention(*sizes, dtype).expressions(what), backend="triton")
    reference = otus.compile(exact.expressions(what))
    stored = {name: torch.from_numpy(x).to(getattr(torch, dtype)) for name, x in exact.data().items()}
    found = function(**{name: stored[name].cuda() for name in function.inputs})
    expected = reference(**{name: stored[name].double().numpy() for name in reference.inputs})
    for value, wanted in zip(found, expected, strict=True):
        assert_close(value.double().cpu().numpy(), wanted, TOLERANCES[dtype], TOLERANCES[dtype], f"{dtype} {mask}")


def test_no_memory_for_scores() -> None:
    case = Attention(8192, 8192, (1, 4), 64, 64, "causal", "bfloat16")
    function = otus.compile(case.expressions("products"), backend="triton")
    given = [torch.randn((1, 4, 8192, 64), device="cuda", dtype=torch.bfloat16) for _ in function.inputs]
    function(*given)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    function(*given)
    assert torch.cuda.max_memory_allocated() - before < 16 * np.prod(given[0].shape) * 2
