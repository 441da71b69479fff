"""The inputs of a run: data from files first, then the sizes they give, then data made to fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..frontend import Expression
from ..frontend.language import Module
from ..ir import NamingError, OtusError, TensorType
from ..ir.dims import Dim, evaluate, symbols
from ..ir.dtypes import to_numpy_dtype
from ..ir.errors import nearest
from ..runtime.arrays import as_numpy
from ..runtime.binding import bind_sizes
from ..runtime.random_data import random_array
from .data import ACCEPTED, read_file
from .program import describe_tensor

Array = npt.NDArray[Any]
_WORDS = ("random", "zeros", "ones")


@dataclass(frozen=True)
class Inputs:
    """The arrays of a run by tensor, and the size of every dim that they settle."""

    arrays: dict[str, Array]
    sizes: dict[str, int]


def read_inputs(module: Module, sources: Mapping[str, str], sizes: Mapping[str, int], needed: Sequence[str]) -> Inputs:
    """Read or make the arrays of ``sources``; ``needed`` are the tensors that must have some.

    Raises ``NamingError`` for a tensor that the program has not, for one without data, and for a dim
    whose size nothing says; ``OtusError`` for data that cannot be read.
    """
    _check_names(module, sources, needed)
    tensors = module.tensors
    files = {name: read_file(name, tensors[name], text) for name, text in sources.items() if not is_made(text)}
    arrays = {name: as_numpy(array, tensors[name].node.type, name) for name, array in files.items()}
    bound = bind_sizes([tensors[name].node for name in arrays], list(arrays.values()), sizes)
    for name, text in sources.items():
        if is_made(text):
            arrays[name] = _make(name, tensors[name], text, bound)
    return Inputs(arrays, bound)


def is_made(source: str) -> bool:
    """Whether data are made rather than read: a word such as ``random:0``, or a number.

    >>> is_made("random:0"), is_made("1e-3"), is_made("x.npy")
    (True, True, False)
    """
    return source.partition(":")[0] in _WORDS or _number(source) is not None


def _check_names(module: Module, sources: Mapping[str, str], needed: Sequence[str]) -> None:
    for name in sources:
        if name not in module.tensors:
            hint = nearest(name, module.tensors) or f"; its tensors are {', '.join(module.tensors) or 'none'}"
            raise NamingError(f"{module.file} has no tensor {name!r}{hint}")
    missing = [name for name in needed if name not in sources]
    if missing:
        listed = ", ".join(describe_tensor(name, module.tensors[name]) for name in missing)
        example = " ".join(f"--in {name}=random:{seed}" for seed, name in enumerate(missing))
        raise NamingError(
            f"no data for {listed}; add for example {example}\n  ({ACCEPTED.replace('accepted are', 'accepted:')})"
        )


def _number(text: str) -> int | float | complex | None:
    for kind in (int, float, complex):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def _make(name: str, tensor: Expression, source: str, sizes: Mapping[str, int]) -> Array:
    shape = _shape(name, tensor, sizes)
    word, colon, rest = source.partition(":")
    if word == "random":
        return random_array(tensor.node.type, sizes, np.random.default_rng(_seed(name, source, colon, rest)))
    value = {"zeros": 0, "ones": 1}.get(word, _number(source))
    if colon or value is None:
        raise OtusError(f"data for tensor {name!r}: {source!r} is not understood; {ACCEPTED}")
    return np.full(shape, as_numpy(value, TensorType((), tensor.dtype), name), to_numpy_dtype(tensor.dtype))


def _seed(name: str, source: str, colon: str, rest: str) -> int:
    if colon and not rest.isdecimal():
        raise OtusError(f"data for tensor {name!r}: the seed of {source!r} is not a whole number, as in random:0")
    return int(rest) if colon else 0


def _shape(name: str, tensor: Expression, sizes: Mapping[str, int]) -> tuple[int, ...]:
    open_dims = sorted({s for size in tensor.shape if isinstance(size, Dim) for s in symbols(size)} - sizes.keys())
    if open_dims:
        options = " ".join(f"--dim {dim}=8" for dim in open_dims)
        raise NamingError(
            f"tensor {describe_tensor(name, tensor)} cannot be made: nothing says the size of "
            f"{' and '.join(open_dims)}; add for example {options}, or read a tensor with that dim from a file"
        )
    return tuple(evaluate(size, sizes) for size in tensor.shape)
