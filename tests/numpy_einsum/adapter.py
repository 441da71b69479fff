"""``numpy.einsum`` carried out by Otus: the same arguments, errors of the same classes."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

import otus

ORDERS = ("C", "F", "A", "K", None)
CASTINGS = ("no", "equiv", "safe", "same_kind", "unsafe")


def einsum(
    *operands: Any,
    out: Any = None,
    dtype: Any = None,
    order: Any = "K",
    casting: str = "safe",
    optimize: Any = False,
) -> Any:
    """What Otus computes; ``out``, ``order`` and ``casting`` are done around the call as NumPy documents them."""
    if casting not in CASTINGS:
        raise ValueError(f"casting {casting!r}")
    if not (order is None or (isinstance(order, str) and order.upper() in ORDERS)):
        raise ValueError(f"order {order!r}")
    if out is not None and not isinstance(out, np.ndarray):
        raise TypeError("out is not an array")
    layout, arrays = split(operands)
    refuse_extensions(layout)
    wanted = None if dtype is None else np.dtype(dtype)
    for array in arrays:
        if wanted is not None and not np.can_cast(array.dtype, wanted, casting):
            raise TypeError(f"cannot cast {array.dtype} to {wanted} by {casting}")
    if wanted is not None:  # Python objects become numbers first; Otus has no dtype for them
        arrays = [array.astype(wanted) if array.dtype == object else array for array in arrays]
    types = tuple((array.shape, str(array.dtype)) for array in arrays)
    try:
        kernel = compiled(layout, types, None if wanted is None else str(wanted))
        result = kernel(**{f"x{k}": array for k, array in enumerate(arrays)})
    except otus.OtusError as error:
        raise ValueError(str(error)) from error
    if out is None:
        return np.asarray(result, order=order)[()]
    if out.shape != result.shape:
        raise ValueError(f"out has shape {out.shape}, the result {result.shape}")
    np.copyto(out, result, casting=casting)
    return out


def split(operands: tuple[Any, ...]) -> tuple[Any, list[np.ndarray]]:
    """The subscripts (text, or index lists with None at the operands' places) and the operands."""
    if operands and isinstance(operands[0], str):
        return operands[0], list(map(np.asarray, operands[1:]))
    pairs = len(operands) // 2
    labels = [*operands[1 : 2 * pairs : 2], *operands[2 * pairs :]]
    if not labels:
        raise ValueError("einsum needs subscripts and operands")
    for term in labels:
        if isinstance(term, str) or not np.iterable(term):
            raise TypeError(f"{term!r} is not a list of indices")
    return tuple(map(tuple, labels)), [np.asarray(x) for x in operands[: 2 * pairs : 2]]


def refuse_extensions(layout: Any) -> None:
    """Raise where Otus knows more than NumPy: a diagonal on the right, indices beyond 52 letters."""
    if isinstance(layout, str):
        right = [x for x in layout.partition("->")[2] if x.isalpha()]
        if len(set(right)) != len(right):
            raise ValueError(f"NumPy embeds no diagonals: {layout}")
    elif any(isinstance(x, int) and not 0 <= x < 52 for term in layout for x in term):
        raise ValueError(f"NumPy has 52 indices: {layout}")


@cache
def compiled(layout: Any, types: tuple[tuple[tuple[int, ...], str], ...], dtype: str | None) -> Any:
    tensors = [otus.tensor(f"x{k}", shape, kind) for k, (shape, kind) in enumerate(types)]
    if isinstance(layout, str):
        return otus.compile(otus.einsum(layout, *tensors, dtype=dtype))
    arguments = [item for pair in zip(tensors, layout, strict=False) for item in pair]
    return otus.compile(otus.einsum(*arguments, *layout[len(tensors) :], dtype=dtype))
