"""All numbers of the 8-bit floats, what lies around them, and torch's conversions."""

from __future__ import annotations

import torch

TORCHS = {"float8_e4m3": torch.float8_e4m3fn, "float8_e5m2": torch.float8_e5m2}


def every(dtype: str) -> torch.Tensor:
    """All 256 numbers of a format."""
    return torch.arange(256, dtype=torch.uint8).view(TORCHS[dtype])


def assert_same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """The same bits, but that any NaN is as good as another."""
    assert found.dtype == wanted.dtype
    found, wanted = found.float(), wanted.float()
    same = (found == wanted) & (torch.signbit(found) == torch.signbit(wanted)) | (found.isnan() & wanted.isnan())
    assert bool(same.all()), (found[~same][:5], wanted[~same][:5])


def near(dtype: str) -> torch.Tensor:
    """The numbers of a format, what lies halfway between two, what is next to that, and what is beyond; others too."""
    numbers = every(dtype).float()
    finite = torch.sort(numbers[numbers.isfinite()]).values
    halfway = (finite[1:] + finite[:-1]) / 2
    beyond = torch.tensor([463.9, 464.0, 464.1, 480.0, 61439.0, 61440.0, 65536.0, 1e30, float("inf")])
    infinity = torch.tensor(float("inf"))
    beside = torch.cat([torch.nextafter(halfway, infinity), torch.nextafter(halfway, -infinity)])
    torch.manual_seed(1)
    bits = torch.randint(-(2**31), 2**31 - 1, (20000,), dtype=torch.int32).view(torch.float32)
    return torch.cat([finite, halfway, beside, beyond, -beyond, torch.tensor([float("nan")]), bits])


def wanted(values: torch.Tensor, dtype: str) -> torch.Tensor:
    """Torch's own, of the version that makes NaN of what is too large for float8_e4m3, too."""
    return (values.clamp(-448, 448) if dtype == "float8_e4m3" else values).to(TORCHS[dtype])
