"""Loops over blocks as NumPy source: results first, then a ``for`` whose body is a program of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..ir.kernels import BlockLoop
from ..ir.program import KernelCall, releases
from ..ir.types import TensorType
from .names import comment
from .numpy_source import Source, dtype_source

_INDENT = "    "
PrintCall = Callable[[KernelCall, Source], list[str]]


def loop_lines(loop: BlockLoop, call: KernelCall, source: Source, print_call: PrintCall) -> list[str]:
    """The results' memory, and the loop that fills it."""
    start, stop = source.temporary("start"), source.temporary("stop")
    inner, views = _inside(loop, call, source, f"{start}:{stop}")
    lines = [*views, *_body(inner, print_call), *_written(loop, call, source, inner, f"{start}:{stop}")]
    # A view that stays would keep the operand's memory, which may be freed after the loop.
    done = [inner.buffers[value] for value in inner.program.outputs]
    done += [inner.buffers[name] for name, axis in zip(loop.body.inputs, loop.cut, strict=True) if axis is not None]
    lines.append(f"del {', '.join(done)}")
    length = inner.dims[loop.symbol]
    size = source.size(loop.size)
    head = [f"{stop} = min({start} + {loop.block}, {size})"]
    if loop.symbol in source.used_dims:
        head.append(f"{length} = {stop} - {start}")
    made = [
        f"{source.buffers[name]} = {_initial(join, source, inner.program.buffer_map()[value].type, loop)}"
        for name, value, join in zip(call.outputs, inner.program.outputs, loop.join, strict=True)
    ]
    return [*made, f"for {start} in range(0, {size}, {loop.block}):", *(_INDENT + text for text in (*head, *lines))]


def _inside(loop: BlockLoop, call: KernelCall, source: Source, block: str) -> tuple[Source, list[str]]:
    """What the body is printed with, and the statements that take the operands' blocks."""
    names: dict[str, str] = {}
    views = []
    for placeholder, name, axis in zip(loop.body.inputs, call.inputs, loop.cut, strict=True):
        operand = source.buffers[name]
        names[placeholder] = operand
        if axis is not None:
            names[placeholder] = source.temporary(f"{operand}_{loop.symbol}")
            views.append(f"{names[placeholder]} = {operand}{_index(axis, block)}")
    for buffer in loop.body.buffers:
        if buffer.name not in names:
            names[buffer.name] = source.temporary(buffer.name)
    dims = {**source.dims, loop.symbol: source.temporary(loop.symbol)}
    return replace(source, program=loop.body, buffers=names, dims=dims), views


def _index(axis: int, block: str) -> str:
    return f"[{', '.join([':'] * axis + [block])}]"


def _body(source: Source, print_call: PrintCall) -> list[str]:
    """The body's statements; what is no longer needed is freed at once, as everywhere."""
    types = source.program.buffer_map()
    lines = []
    for call, gone in zip(source.program.calls, releases(source.program), strict=True):
        lines += [comment(call.text), *print_call(call, source)]
        freed = [source.buffers[name] for name in gone if types[name].type.shape]
        lines += [f"del {', '.join(freed)}"] if freed else []
    return lines


def _written(loop: BlockLoop, call: KernelCall, source: Source, inner: Source, block: str) -> list[str]:
    lines = []
    for name, value, join in zip(call.outputs, inner.program.outputs, loop.join, strict=True):
        target, part = source.buffers[name], inner.buffers[value]
        if isinstance(join, int):
            lines.append(f"{target}{_index(join, block)} = {part}")
        else:
            lines.append(_combined(join, target, part))
    return lines


# how results are combined: what to begin with, and the function that takes in a block's
_UFUNCS = {"prod": "np.multiply", "max": "np.maximum", "min": "np.minimum", "any": "np.logical_or",
           "all": "np.logical_and", "logsumexp": "np.logaddexp"}  # fmt: skip


def _combined(how: str, target: str, part: str) -> str:
    return f"{target} += {part}" if how == "sum" else f"{_UFUNCS[how]}({target}, {part}, out={target})"


def _initial(join: int | str, source: Source, value: TensorType, loop: BlockLoop) -> str:
    """Memory for a result: to be filled, or holding what combines to nothing."""
    dtype = dtype_source(value.dtype)
    sizes = list(value.shape)
    if isinstance(join, int):
        sizes[join] = loop.size
        return f"np.empty({source.shape(sizes)}, {dtype})"
    if join == "sum":
        return f"np.zeros({source.shape(sizes)}, {dtype})"
    return f"np.full({source.shape(sizes)}, {_neutral(join, value, dtype)}, {dtype})"


def _neutral(how: str, value: TensorType, dtype: str) -> str:
    if how in ("prod", "all", "any"):
        return {"prod": "1", "all": "True", "any": "False"}[how]
    if value.dtype.is_inexact:
        return "np.inf" if how == "min" else "-np.inf"
    if value.dtype.kind == "bool":
        return "True" if how == "min" else "False"
    return f"np.iinfo({dtype}).{'max' if how == 'min' else 'min'}"
