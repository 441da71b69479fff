"""Calls on 8-bit floats, which torch stores and moves but does not compute with: in float32, and rounded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...ir import DType
from ...ir import operations as ops
from ...ir.dtypes import EIGHTS
from ...ir.kernels import Contraction, Copy, DiagonalEmbedding, Direct, Kernel, Rearrangement
from ...ir.program import KernelCall
from .source import TorchSource, torch_rounded

_MOVEMENT = (
    ops.Cast, ops.Reshape, ops.Broadcast, ops.Concatenate, ops.Take, ops.Delta, ops.Iota, ops.Extent,
)  # fmt: skip
PrintCall = Callable[[KernelCall, TorchSource], list[str]]


def takes_eights(kernel: Kernel) -> bool:
    """Whether 8-bit floats are only converted, or moved, which torch does in all ways but turning them around."""
    match kernel:
        case Contraction(numbers=numbers):
            return numbers is not None
        case Copy() | DiagonalEmbedding():
            return True
        case Rearrangement():
            return kernel.view
        case Direct(operation=ops.Slice(steps=steps) | ops.Pad(steps=steps)):
            return all(step > 0 for step in steps)
        case Direct(operation=operation):
            return isinstance(operation, _MOVEMENT)
    return False


def float32_lines(call: KernelCall, source: TorchSource, print_call: PrintCall) -> list[str]:
    """The call with its 8-bit floats as float32; no statements where it has none."""
    known = source.program.buffer_map()
    narrow = [x for x in dict.fromkeys((*call.inputs, *call.outputs)) if known[x].type.dtype in EIGHTS]
    if not narrow:
        return []
    names = {name: source.temporary(f"{source.buffers[name]}_wide") for name in narrow}
    buffers = tuple(
        replace(each, type=replace(each.type, dtype=DType.float32)) if each.name in names else each
        for each in source.program.buffers
    )
    inner = replace(
        source, program=replace(source.program, buffers=buffers), buffers={**source.buffers, **names}
    )  # fmt: skip
    lines = [f"{names[x]} = {source.buffers[x]}.to(torch.float32)" for x in narrow if x in call.inputs]
    lines += print_call(call, inner)
    source.uses_device |= inner.uses_device
    for x in call.outputs:
        if x in names:
            lines.append(f"{source.buffers[x]} = {torch_rounded(names[x], DType.float32, known[x].type.dtype)}")
    return lines
