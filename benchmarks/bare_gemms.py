"""The matrix products that a plan needs and nothing else: no transposes, no checks, no names."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .harness import Call


def bare_gemms(expression: Any) -> Call:
    """A call that makes each contraction of Otus's plan of ``expression`` as one matmul of contiguous arrays.

    Contractions that add nothing up are left out: they are no matrix products.
    """
    import otus
    from otus.ir import topological
    from otus.ir.operations import Einsum

    plan = otus.optimize(expression).node
    products = []
    for node in topological([plan]):
        if isinstance(node.op, Einsum) and len(node.operands) == 2:
            sizes = _gemm(node)
            if sizes is not None:
                products.append(_arrays(*sizes))

    def run() -> None:
        for left, right, out in products:
            np.matmul(left, right, out=out)

    return run


def _gemm(node: Any) -> tuple[int, int, int, int] | None:
    """Batch, rows, summed and columns; None where nothing is summed."""
    left, right = (dict(zip(x, y.type.shape, strict=True)) for x, y in zip(node.op.inputs, node.operands, strict=True))
    output = set(node.op.output)
    summed = math.prod(int(left[x]) for x in left.keys() & right.keys() if x not in output)
    if all(x in output for x in left.keys() & right.keys()):
        return None
    batch = math.prod(int(left[x]) for x in left.keys() & right.keys() & output)
    rows = math.prod(int(left[x]) for x in left if x not in right)
    columns = math.prod(int(right[x]) for x in right if x not in left)
    return batch, rows, summed, columns


def _arrays(batch: int, rows: int, summed: int, columns: int) -> tuple[Any, Any, Any]:
    generator = np.random.default_rng(0)
    shape = (batch,) if batch > 1 else ()
    left = generator.normal(size=(*shape, rows, summed))
    right = generator.normal(size=(*shape, summed, columns))
    return left, right, np.empty((*shape, rows, columns))
