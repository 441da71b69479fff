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


def _precedes(x, y, or_equal=False):
    """Whether the complex number x comes before y: by the real parts, and where these are equal by the imaginary."""
    later = x.imag <= y.imag if or_equal else x.imag < y.imag
    return (x.real < y.real) | ((x.real == y.real) & later)


def _in_place(x, *axes):
    """The tensor itself where kernels may read it as it lies, else a copy without gaps.

    Neighbours along one of the axes must be as near as any, or reading takes longer than a copy; 32 bits must reach
    all of it, unless it has so many elements that positions take more anyway.
    """
    if x.is_contiguous():
        return x
    last = sum((x.shape[k] - 1) * x.stride(k) for k in range(x.ndim))
    nearest = min((s for n, s in zip(x.shape, x.stride(), strict=True) if n > 1 and s > 0), default=0)
    near = any(x.stride(k) <= max(nearest, 2) for k in axes)
    return x if near and last < max(2**30, x.numel()) else x.contiguous()


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


def _is_wide(*tensors):
    """Whether an element of any lies so far from its first that the distance may take more than 32 bits."""
    return any(sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True)) >= 2**30 for x in tensors)


def _processors(x):
    """The multiprocessors of the GPU that a tensor is on; in Triton's interpreter a few stand for them."""
    return torch.cuda.get_device_properties(x.device).multi_processor_count if x.is_cuda else 3


def _eights(x):
    """A tensor of 8-bit floats as a kernel reads it: as it is where the GPU converts such numbers, else its bytes."""
    return x if x.is_cuda and torch.cuda.get_device_capability(x.device) >= (8, 9) else x.view(torch.uint8)


def _wide_product(x, y, factors):
    """The product of matrices whose numbers are halves, ``factors``: added up in float32, and as float32."""
    if not x.is_cuda:
        return torch.matmul(x.float(), y.float())
    x, y = x.to(factors), y.to(factors)
    if x.ndim == y.ndim == 2:
        return torch.mm(x, y, out_dtype=torch.float32)
    batch = torch.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    x = x.expand(*batch, *x.shape[-2:]).reshape(batch.numel(), *x.shape[-2:])
    y = y.expand(*batch, *y.shape[-2:]).reshape(batch.numel(), *y.shape[-2:])
    return torch.bmm(x, y, out_dtype=torch.float32).reshape(*batch, x.shape[-2], y.shape[-1])


def _precision():
    """How a kernel multiplies float32: as torch's own products do, by its setting."""
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"
