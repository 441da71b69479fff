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


def _rescaled(total, part, before, own):
    """Two sums that are relative to maxima as one, relative to the larger maximum where that is finite, else to 0."""
    largest = torch.maximum(before, own)
    shift = torch.where(torch.isfinite(largest), largest, torch.zeros_like(largest))
    axes = (...,) + (None,) * (total.ndim - before.ndim)
    return total * torch.exp(before - shift)[axes] + part * torch.exp(own - shift)[axes]


_CONSTANTS: dict[str, torch.Tensor] = {}  # written out by the emitter


@functools.cache
def _constant(name, device):
    """A constant of this module, which is copied to each device once."""
    return _CONSTANTS[name].to(device)
