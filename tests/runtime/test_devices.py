"""Which GPU a function runs on, with a made-up list of GPUs."""

from __future__ import annotations

from typing import Any

import pytest

import otus
from otus.ir import OtusError, UnsupportedError
from otus.runtime.devices import chosen_device, device_text


@pytest.mark.parametrize(("device", "text"), [("cuda", "cuda"), ("cuda:3", "cuda:3"), (2, "cuda:2"), ("1", "cuda:1")])
def test_forms(device: Any, text: str) -> None:
    assert device_text(device) == text


@pytest.mark.parametrize("device", ["cpu", "gpu", "cuda:", "cuda:-1", -1, True, 1.0, "cuda:1 "])
def test_other_forms_are_refused(device: Any) -> None:
    with pytest.raises(ValueError, match=str(device)):
        device_text(device)
    with pytest.raises(OtusError, match="is no NVIDIA GPU; 'cuda', 'cuda:1' or a number is accepted"):
        chosen_device(device, None, "triton", False, lambda: ["H100"])


def test_the_argument_comes_before_the_setting() -> None:
    gpus = lambda: ["A", "B", "C"]  # noqa: E731
    assert chosen_device(None, None, "triton", False, gpus) is None
    assert chosen_device(None, "cuda:1", "triton", False, gpus) == "cuda:1"
    assert chosen_device("cuda:2", "cuda:1", "triton", False, gpus) == "cuda:2"
    assert chosen_device(None, "cuda:9", "numpy", False, gpus) is None
    assert chosen_device(None, "cuda:9", "triton", True, gpus) is None


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(UnsupportedError, match=r"^device=1 is not here; there is cuda:0 \(H100\)$"):
        chosen_device(1, None, "triton", False, lambda: ["H100"])
    text = r"^environment variable OTUS_DEVICE=cuda:2 is not here; there are cuda:0 \(A\) and cuda:1 \(B\)$"
    with pytest.raises(UnsupportedError, match=text):
        chosen_device(None, "cuda:2", "triton", False, lambda: ["A", "B"])


def test_backends_without_gpus() -> None:
    x = otus.tensor("x", (3,))
    with pytest.raises(OtusError, match="device='cuda' chooses a GPU, and backend 'numpy' uses none"):
        otus.compile(otus.exp(x), device="cuda")
    pytest.importorskip("torch")
    pytest.importorskip("triton")
    with pytest.raises(OtusError, match="and interpret=True runs kernels without one"):
        otus.compile(otus.exp(x), backend="triton", interpret=True, device="cuda:0")
