"""The bytes that a module for GPUs moves, from its source and what it is launched with; nothing is run.

Each load in a loop over chunks counts as all of the tensor that it reads from, as does each store, and each of torch's
operations that is no view as its operands and its result.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from triton_kernels import Launch, launches

import otus

_VIEWS = re.compile(r"(_unsafe_)?view|permute|transpose|t\.|expand|as_strided|slice|select|(un)?squeeze|alias|empty")


@dataclass(frozen=True)
class Traffic:
    """Bytes of all kernels and of torch's operations, the least that any program moves, and the launches."""

    kernels: int
    torch: int
    least: int
    launches: list[Launch]

    @property
    def ratio(self) -> float:
        """How many times the least is moved."""
        return (self.kernels + self.torch) / self.least


class _Operations(TorchDispatchMode):
    """Counts the bytes of torch's operations."""

    def __init__(self) -> None:
        super().__init__()
        self.moved = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if not _VIEWS.match(function.__name__):
            self.moved += sum(_bytes(x) for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor))
        return result


def traffic(outputs: Any) -> Traffic:
    """What the module for these outputs, whose sizes are numbers, moves."""
    function = otus.compile(outputs, backend="triton", interpret=True)
    module = function.plan_for().emitted
    assert module is not None
    buffers = function.program.buffer_map()
    types = [buffers[name].type for name in (*function.program.inputs, *function.program.outputs)]
    tensors = [torch.empty(x.shape, dtype=getattr(torch, str(x.dtype)), device="meta") for x in types]
    with _Operations() as operations:
        found = launches(module, tensors[: len(function.program.inputs)])
    return Traffic(sum(map(_moved, found)), operations.moved, sum(map(_bytes, tensors)), found)


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.nelement() * tensor.element_size()


def _moved(launch: Launch) -> int:
    source = launch.kernel.src
    places = dict(re.findall(r"(\w+) = (\w+_ptr\w*) \+", source))
    addresses = [places.get(name, name) for name in re.findall(r"tl\.(?:load|store)\((\w+)", source)]
    named = zip((each.name for each in launch.kernel.params), launch.arguments, strict=False)
    return sum(addresses.count(name) * _bytes(value) for name, value in named if isinstance(value, torch.Tensor))
