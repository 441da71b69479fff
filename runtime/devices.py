"""Which GPU a compiled function runs on, and how torch multiplies there.

It is the GPU of the function's inputs, or for inputs on the host the one that was chosen.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ..ir import OtusError, UnsupportedError

_FORM = re.compile(r"(?:cuda:)?(\d+)|cuda")


def device_text(device: Any) -> str:
    """``"cuda"`` or ``"cuda:1"``, of such text, of a number, or of a ``torch.device``; raises ``ValueError``."""
    found = _FORM.fullmatch(str(device))
    if found is None or isinstance(device, bool):
        raise ValueError(device)
    return "cuda" if found[1] is None else f"cuda:{int(found[1])}"


def chosen_device(
    device: Any, setting: str | None, backend: str, interpret: bool, gpus: Callable[[], Sequence[str]] | None = None
) -> str | None:
    """The GPU for inputs on the host: ``device``, else ``setting``, else None, which is torch's current one.

    ``gpus`` lists the names of those that are here.  Raises ``OtusError`` where ``device`` is none, or the backend
    has none, and ``UnsupportedError`` naming those that are here where it is not among them.

    >>> chosen_device(None, "cuda:1", "numpy", False) is None
    True
    >>> chosen_device(1, None, "triton", False, lambda: ["A100", "H100"])
    'cuda:1'
    >>> chosen_device("cuda:2", None, "triton", False, lambda: ["A100", "H100"])
    Traceback (most recent call last):
    otus.ir.errors.UnsupportedError: device='cuda:2' is not here; there are cuda:0 (A100) and cuda:1 (H100)
    """
    runs_on_gpu = backend == "triton" and not interpret
    if device is None:
        if setting is None or not runs_on_gpu:
            return None
        return _present(setting, f"environment variable OTUS_DEVICE={setting}", gpus or _gpus)
    if backend != "triton":
        raise OtusError(f"device={device!r} chooses a GPU, and backend {backend!r} uses none; use backend='triton'")
    if interpret:
        raise OtusError(f"device={device!r} chooses a GPU, and interpret=True runs kernels without one; give either")
    try:
        text = device_text(device)
    except ValueError:
        raise OtusError(f"device={device!r} is no NVIDIA GPU; 'cuda', 'cuda:1' or a number is accepted") from None
    return _present(text, f"device={device!r}", gpus or _gpus)


def _present(text: str, what: str, gpus: Callable[[], Sequence[str]]) -> str:
    names = gpus()
    if text != "cuda" and int(text.removeprefix("cuda:")) >= len(names):
        listed = " and ".join(f"cuda:{number} ({name})" for number, name in enumerate(names))
        raise UnsupportedError(f"{what} is not here; there {'is' if len(names) == 1 else 'are'} {listed or 'none'}")
    return text


def _gpus() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


def multiplies_in_tf32() -> bool:
    """Whether torch, as far as it is loaded, multiplies float32 matrices in TensorFloat-32 on a GPU."""
    torch: Any = sys.modules.get("torch")
    return torch is not None and torch.backends.cuda.matmul.fp32_precision == "tf32"
