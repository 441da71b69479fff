"""Loops over blocks as torch source, for what runs block by block to save memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...ir import DType, UnsupportedError
from ...ir.dtypes import EIGHTS
from ...ir.kernels import BlockLoop
from ...ir.operations import maximum_of
from ...ir.program import KernelCall
from ..source import block_index, body_lines, moved
from .source import TorchSource, torch_permuted

_INDENT = "    "
PrintCall = Callable[[KernelCall, TorchSource], list[str]]


def loop_lines(loop: BlockLoop, call: KernelCall, source: TorchSource, print_call: PrintCall) -> list[str]:
    """Memory for the results, and the loop that fills it."""
    start, stop, size = source.temporary("start"), source.temporary("stop"), source.size(loop.size)
    names: dict[str, str] = {}
    views = []
    for placeholder, name, axis in zip(loop.body.inputs, call.inputs, loop.cut, strict=True):
        operand = names[placeholder] = source.buffers[name]
        if axis is not None:
            names[placeholder] = source.temporary(f"{operand}_{loop.symbol}")
            views.append(f"{names[placeholder]} = {operand}{block_index(axis, f'{start}:{stop}')}")
    for buffer in loop.body.buffers:
        names.setdefault(buffer.name, source.temporary(buffer.name))
    length = source.temporary(loop.symbol)
    blocks = {**source.blocks, loop.symbol: (start, stop)}
    inner = replace(source, program=loop.body, buffers=names, dims={**source.dims, loop.symbol: length}, blocks=blocks)
    body = body_lines(inner, print_call)
    source.uses_device |= inner.uses_device
    made, scaled, given = [], [], []
    for result, part, join in zip(call.outputs, loop.body.outputs, loop.join, strict=True):
        target, maximum = source.buffers[result], maximum_of(join)
        if maximum is None:
            made.append(f"{target} = {_initial(join, source, inner, part, loop)}")
            given.append(_given(join, target, names[part], start, stop))
            continue
        made.append(f"{target} = {_initial('sum', source, inner, part, loop)}")
        before, own = source.buffers[call.outputs[maximum]], names[loop.body.outputs[maximum]]
        source.helpers.add("_rescaled")
        scaled.append(f"{target} = _rescaled({target}, {names[part]}, {before}, {own})")
    gone = [names[part] for part in loop.body.outputs] + [view.split(" = ")[0] for view in views]
    lines = [
        f"{stop} = min({start} + {loop.block}, {size})",
        f"{length} = {stop} - {start}",
        *views,
        *body,
        *scaled,
        *given,
    ]
    lines.append(f"del {', '.join(gone)}")
    first, end = _visited(loop, source, size)
    return [*made, f"for {start} in range({first}, {end}, {loop.block}):", *(_INDENT + text for text in lines)]


def _visited(loop: BlockLoop, source: TorchSource, size: str) -> tuple[str, str]:
    """Where the first block begins that is visited, and where the last one ends."""
    if loop.window is None:
        return "0", size
    around, low, high = loop.window
    begins, ends = source.blocks[around]
    first = "0" if low is None else f"max({moved(begins, low)}, 0) // {loop.block} * {loop.block}"
    return first, size if high is None else f"min({moved(ends, high)}, {size})"


_FUNCTIONS = {"max": "maximum", "min": "minimum", "logsumexp": "logaddexp", "any": "logical_or", "all": "logical_and"}


def _given(join: int | str, target: str, part: str, start: str, stop: str) -> str:
    """The statement that writes a block's part, or combines it with those of the blocks before it."""
    if isinstance(join, int):
        return f"{target}{block_index(join, f'{start}:{stop}')} = {part}"
    if join in ("sum", "prod"):
        return f"{target} {'+' if join == 'sum' else '*'}= {part}"
    return f"torch.{_FUNCTIONS[join]}({target}, {part}, out={target})"


def _initial(join: int | str, source: TorchSource, inner: TorchSource, part: str, loop: BlockLoop) -> str:
    """Memory for a result: to be filled, or holding what combines to nothing."""
    buffer = inner.program.buffer_map()[part]
    dtype, sizes = buffer.type.dtype, list(buffer.type.shape)
    if dtype in EIGHTS and not isinstance(join, int):
        raise UnsupportedError(f"torch combines no blocks of {dtype}; cast to float32 before they are reduced")
    if isinstance(join, int):
        sizes[join] = loop.size
        stored = source.shape(sizes[axis] for axis in buffer.layout)
        made = source.made("empty", stored, dtype)
        return torch_permuted(made, [buffer.layout.index(axis) for axis in range(len(sizes))])
    return source.made("full", f"{source.shape(sizes)}, {_neutral(join, dtype)}", dtype)


def _neutral(how: str, dtype: DType) -> str:
    """What combines to nothing."""
    if how in ("sum", "prod", "any", "all"):
        return {"sum": "0", "prod": "1", "any": "False", "all": "True"}[how]
    if dtype.is_inexact:
        return 'float("inf")' if how == "min" else 'float("-inf")'
    if dtype is DType.bool:
        return str(how == "min")
    bits = dtype.bits - (dtype.kind == "int")
    return str(2**bits - 1 if how == "min" else (-(2**bits) if dtype.kind == "int" else 0))
