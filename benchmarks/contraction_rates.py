"""The rates by which contractions are planned: ``python -m benchmarks.contraction_rates``.

Prints what stands in ``passes/contraction/timing.py``, measured here: least times, on as many threads as
NumPy's BLAS takes (``OMP_NUM_THREADS=1`` for one).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_SECONDS = 0.2
_SHAPES = [(1000, 1000, 1000), (200, 200, 200), (50, 50, 50), (40000, 200, 20), (20, 200, 40000), (200, 40000, 20),
           (20, 40000, 200), (2500, 2500, 20), (20, 2500, 2500), (500, 128, 8), (8, 128, 500)]  # fmt: skip
_FORMS = {"left and right": (False, False), "leftᵀ": (True, False), "rightᵀ": (False, True), "both": (True, True)}


def seconds(call: Callable[[], object]) -> float:
    """The least time of a call."""
    call()
    best, end = float("inf"), time.perf_counter() + _SECONDS
    while True:
        start = time.perf_counter()
        call()
        now = time.perf_counter()
        best = min(best, now - start)
        if now > end:
            return best


def products() -> Iterator[str]:
    """Operations a second of matrix products, by shape and by which operands are transposed."""
    yield "| rows × summed × columns | " + " | ".join(f"{name}, Gflop/s" for name in _FORMS) + " |"
    yield "|---" * (len(_FORMS) + 1) + "|"
    for rows, summed, columns in _SHAPES:
        rates = []
        for left, right in _FORMS.values():
            a, b = matrix(rows, summed, left), matrix(summed, columns, right)
            rates.append(2e-9 * rows * summed * columns / seconds(lambda a=a, b=b: a @ b))
        yield f"| {rows} × {summed} × {columns} | " + " | ".join(f"{rate:.3g}" for rate in rates) + " |"


def matrix(rows: int, columns: int, transposed: bool) -> Array:
    """Random numbers; contiguous along the columns if ``transposed``."""
    generator = np.random.default_rng(0)
    return generator.normal(size=(columns, rows)).T if transposed else generator.normal(size=(rows, columns))


def elements() -> Iterator[str]:
    """Seconds an element of what is no matrix product, in a cache and from memory."""
    yield "| elements | copied in runs, ns | one by one, ns | product, ns | einsum, ns a point | read by a matrix-vector product, ns |"  # noqa: E501
    yield "|---" * 6 + "|"
    for exponent in (16, 23):
        size = 1 << exponent
        x = np.random.default_rng(0).normal(size=(size >> 8, 16, 16))
        wide, vector = x.reshape(-1, 1 << exponent // 2), np.ones(1 << exponent // 2)
        calls: list[Callable[[], object]] = [
            lambda x=x: np.ascontiguousarray(x.transpose(1, 0, 2)),
            lambda x=x: np.ascontiguousarray(x.transpose(2, 0, 1)),
            lambda x=x: x * x[:1],
            lambda x=x: np.einsum("ijk,ik->j", x, x[:, 0]),
            lambda wide=wide, vector=vector: wide @ vector,
        ]
        yield f"| {size} | " + " | ".join(f"{1e9 * seconds(call) / size:.2g}" for call in calls) + " |"


def calls() -> Iterator[str]:
    """Seconds of what does next to nothing."""
    small, batch = np.ones((2, 2)), np.ones((1000, 2, 2))
    yield f"a call of matmul {1e6 * seconds(lambda: small @ small):.2g} µs"
    yield f"a reshape {1e6 * seconds(lambda: small.reshape(4)):.2g} µs"
    yield f"an einsum {1e6 * seconds(lambda: np.einsum('ij,ij->', small, small)):.2g} µs"
    rows = np.ones((1000, 5))
    blocks = np.ones((10, 100, 4, 5))
    inner = seconds(lambda: np.einsum("ij,ij->i", rows, rows))
    yield f"an innermost loop of an einsum over two indices {1e6 * inner:.2g} ns"
    inner = seconds(lambda: np.einsum("ijkl,jl->ik", blocks, blocks[0, :, 0]))
    yield f"an innermost loop of an einsum over four indices {1e9 / 4000 * inner:.2g} ns"
    yield f"a product within a batch {1e3 * seconds(lambda: batch @ batch):.2g} µs"
    yield f"a matrix-vector product within a batch {1e3 * seconds(lambda: batch @ batch[..., :1]):.2g} µs"
    yield f"a dot product within a batch {1e3 * seconds(lambda: batch[:, :1] @ batch[..., :1]):.2g} µs"


if __name__ == "__main__":
    for part in (products, elements, calls):
        for line in part():
            print(line, flush=True)
        print()
