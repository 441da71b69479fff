"""Functions over torch tensors: emitted modules, loaded when they are first called, and torch's errors."""

from __future__ import annotations

from typing import Any

import numpy as np

from .cuda_graphs import Replays
from .devices import multiplies_in_tf32
from .executable import Executable
from .settings import settings


class TorchFunction:
    """The function of an emitted module; ``interpret`` runs its kernels in Triton's interpreter.

    It runs on the GPU of its tensors, on the current stream of that; without tensors, on ``device``.  ``replayed``
    says that calls of shapes that come again are replayed as CUDA graphs.

    The module is loaded by the first call, so that looking at its source needs neither torch nor Triton.  Torch's
    errors about singular matrices are raised as NumPy's.
    """

    def __init__(
        self, executable: Executable, interpret: bool, device: str | None = None, replayed: bool = False
    ) -> None:
        self._executable, self._interpret, self._device, self._replayed = executable, interpret, device, replayed
        self._run: Any = None

    def __call__(self, *tensors: Any) -> Any:
        """The module's function of these tensors."""
        import torch

        try:
            return self._interpreted(tensors) if self._interpret else self._compiled(tensors)
        except torch.linalg.LinAlgError as error:
            raise np.linalg.LinAlgError(str(error)).with_traceback(error.__traceback__) from None

    def _interpreted(self, tensors: tuple[Any, ...]) -> Any:
        from .triton_interpreter import interpreter

        with interpreter():
            if self._run is None:
                self._run = self._executable.load()
            return self._run(*tensors)

    def _compiled(self, tensors: tuple[Any, ...]) -> Any:
        import torch

        if self._run is None:
            function = self._executable.load()
            self._run = Replays(function) if self._replayed else function
        device = tensors[0].device if tensors else torch.device(self._device or "cuda")
        if device.index in (None, torch.cuda.current_device()):
            return self._run(*tensors)
        with torch.cuda.device(device):  # Triton launches on the current device
            return self._run(*tensors)


def why_no_triton(interpret: bool) -> str | None:
    """Why Triton's kernels cannot run here; None where they can."""
    from importlib.util import find_spec

    missing = [name for name in ("torch", "triton") if find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed; pip install 'otus[gpu]'"
    if interpret:
        return None
    if not _has_driver():
        return "there is no NVIDIA GPU here; interpret=True runs the same kernels in Triton's interpreter"
    import torch

    if not torch.cuda.is_available():
        return (
            f"torch {torch.__version__} sees no NVIDIA GPU; install a build of it for CUDA, or run the same kernels "
            "in Triton's interpreter with interpret=True"
        )
    return None


def _has_driver() -> bool:
    """Whether NVIDIA's driver can be loaded, which takes no import of torch to see."""
    import ctypes

    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def gpu_options(interpret: bool) -> str:
    """What plans for GPUs depend on beside the program: torch's precision, and the GPU where kernels are measured."""
    tuned = measured_device(interpret)
    return f"{'tf32' if multiplies_in_tf32() else 'ieee'} {tuned or 'planned'}"


def measured_device(interpret: bool) -> str | None:
    """The GPU on which kernels are measured; None where they are not."""
    if interpret or not settings().autotune or why_no_triton(interpret) is not None:
        return None
    import torch

    name: str = torch.cuda.get_device_name()
    return name
