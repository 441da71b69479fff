"""The device that is measured: how calls are timed on it, and what it can do at most.

On a GPU a call is timed by events on its stream.  Before each, a buffer larger than the second-level cache is written,
so that inputs come from memory.  A contender with a stream of its own (JAX) is timed by the host's clock.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_CACHE_BYTES = 256 * 2**20
_COPIED_BYTES = 2**30
_RATE_SIZE = 8192
_ROUNDS = 7


@dataclass(frozen=True)
class Limits:
    """Measured rates: bytes a second of a copy, read and written counted; flops a second of products, by dtype."""

    copy: float
    products: dict[str, float]

    def seconds(self, moved: float, flops: float, kind: str) -> float:
        """The least time for so many bytes and flops; nothing is known of products of other kinds."""
        rate = self.products.get(kind)
        return max(moved / self.copy, flops / rate if rate else 0.0)


class Gpu:
    """Torch's current GPU."""

    name = "cuda"
    interpret = False

    def __init__(self) -> None:
        import torch

        self._torch = torch
        self._flushed = torch.empty(_CACHE_BYTES, dtype=torch.int8, device="cuda")

    def describe(self) -> dict[str, Any]:
        """The GPU and its memory."""
        found = self._torch.cuda.get_device_properties(0)
        return {
            "name": found.name,
            "bytes": found.total_memory,
            "processors": found.multi_processor_count,
            "capability": f"{found.major}.{found.minor}",
            "cuda": self._torch.version.cuda,
        }

    def seconds(self, call: Callable[[], Any], by_host: bool = False) -> float:
        """Of one call, that finds its inputs in memory."""
        torch = self._torch
        self._flushed.zero_()
        if by_host:
            torch.cuda.synchronize()
            start = time.perf_counter()
            call()
            torch.cuda.synchronize()
            return time.perf_counter() - start
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        call()
        last.record()
        last.synchronize()
        return float(first.elapsed_time(last)) * 1e-3

    def peak(self, call: Callable[[], Any]) -> tuple[Any, int]:
        """What a call returns, and the most bytes of torch's memory that it has at once, the results included."""
        torch = self._torch
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = call()
        torch.cuda.synchronize()
        return result, int(torch.cuda.max_memory_allocated() - before)

    def forget(self) -> None:
        """Give back memory that nothing holds."""
        self._torch.cuda.synchronize()
        self._torch.cuda.empty_cache()

    def is_sound(self) -> bool:
        """Whether it still computes: after some errors of a kernel, nothing does in this process."""
        try:
            self._torch.cuda.synchronize()
        except RuntimeError:
            return False
        return True

    def limits(self) -> Limits:
        """A copy of a gigabyte, and square products."""
        torch = self._torch
        rates = {}
        with precision("tf32"):
            for kind in ("bfloat16", "float32", "float64"):
                size = _RATE_SIZE // 2 if kind == "float64" else _RATE_SIZE
                left, right = (torch.randn((size, size), device="cuda").to(getattr(torch, kind)) for _ in range(2))
                seconds = self._median(lambda left=left, right=right: left @ right)  # type: ignore[misc]
                rates["tf32" if kind == "float32" else kind] = 2 * size**3 / seconds
        source = torch.empty(_COPIED_BYTES, dtype=torch.int8, device="cuda")
        target = torch.empty_like(source)
        return Limits(2 * _COPIED_BYTES / self._median(lambda: target.copy_(source)), rates)

    def _median(self, call: Callable[[], Any]) -> float:
        call()
        return statistics.median(self.seconds(call) for _ in range(_ROUNDS))


class Host:
    """The host, on which Triton's interpreter runs; its times mean nothing."""

    name = "cpu"
    interpret = True

    def describe(self) -> dict[str, Any]:
        """That there is no GPU."""
        return {"name": "Triton's interpreter on the host", "bytes": 0, "processors": 0}

    def seconds(self, call: Callable[[], Any], by_host: bool = False) -> float:
        """By the host's clock."""
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    def peak(self, call: Callable[[], Any]) -> tuple[Any, int]:
        """What a call returns; memory is not looked at."""
        return call(), 0

    def forget(self) -> None:
        """Nothing."""

    def is_sound(self) -> bool:
        """Always."""
        return True

    def limits(self) -> Limits:
        """Of a small copy; products are not measured."""
        import torch

        source = torch.empty(2**20, dtype=torch.int8)
        target = torch.empty_like(source)
        return Limits(2 * 2**20 / self.seconds(lambda: target.copy_(source)), {})


class precision:
    """Products of float32 within are those of ``"tf32"``, or exact."""

    def __init__(self, kind: str) -> None:
        self._kind = "high" if kind == "tf32" else "highest"

    def __enter__(self) -> None:
        import torch

        self._before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(self._kind)

    def __exit__(self, *_: object) -> None:
        import torch

        torch.set_float32_matmul_precision(self._before)
