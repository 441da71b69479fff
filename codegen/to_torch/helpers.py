"""Functions that torch lacks; the source of those that a module uses is copied into it."""

# This module is text to the emitter, which never imports it: importing it needs torch.
import functools

import torch


def _shift(x, dims):
    """The largest element over these axes where that is finite, else 0."""
    if x.numel() == 0:
        return x.sum(dims)
    largest = torch.amax(x, dims)
    return torch.where(torch.isfinite(largest), largest, torch.zeros_like(largest))


_CONSTANTS: dict[str, torch.Tensor] = {}  # written out by the emitter


@functools.cache
def _constant(name, device):
    """A constant of this module, which is copied to each device once."""
    return _CONSTANTS[name].to(device)


def _is_wide(*tensors):
    """Whether an element of any lies so far from its first that the distance may take more than 32 bits."""
    return any(sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True)) >= 2**30 for x in tensors)


def _precision():
    """How a kernel multiplies float32: as torch's own products do, by its setting."""
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"
