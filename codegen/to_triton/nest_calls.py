"""Launches of the kernels of nests from a function over torch tensors."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from ...ir.kernels import BlockLoop
from ...ir.loop_steps import MOST_WHOLE, NoForm
from ...ir.program import KernelCall
from ..names import comment
from ..to_torch.loops import PrintCall
from ..to_torch.loops import loop_lines as host_loop_lines
from ..to_torch.source import TorchSource, torch_permuted
from .calls import anywhere
from .narrow import given as as_argument
from .narrow import given_as_bytes
from .nest_indices import LEAST_SIDE, Dimension
from .nest_memory import WIDE
from .nests import NestKernel

_INDENT = "    "
_LINE = 100


def nest_lines(
    loop: BlockLoop, call: KernelCall, source: TorchSource, sizes: Mapping[str, int], print_call: PrintCall
) -> list[str]:
    """A nest of loops as one kernel; as loops on the host, under the reason, where it has no kernel."""
    outside = dict(zip(loop.body.inputs, (source.buffers[x] for x in call.inputs), strict=True))
    outside |= dict(zip(loop.body.outputs, (source.buffers[x] for x in call.outputs), strict=True))
    name = source.kernel_name("tile_kernel")
    try:
        kernel = NestKernel(loop, name, outside, source, sizes, anywhere(loop, call, source))
        lines = kernel.function()
    except NoForm as reason:
        why = comment(f"loops on the host, since there is no kernel here for {reason}")
        return [why, *host_loop_lines(loop, call, source, print_call)]
    source.kernels.append(lines)
    source.kernel_helpers |= kernel.helpers
    return _launch(kernel, call, source)


def _launch(kernel: NestKernel, call: KernelCall, source: TorchSource) -> list[str]:
    """Memory for the results, and the launch."""
    body = kernel.loop.body
    given, made = [], []
    for inner, outer in zip(body.inputs, call.inputs, strict=True):
        known = kernel.buffers[inner]
        operand = source.buffers[outer]
        if inner in kernel.strides:
            source.helpers.add("_in_place")
            made.append(f"{operand} = _in_place({operand}, {', '.join(map(str, kernel.near_axes(inner)))})")
        elif known.type.shape:
            operand = f"{torch_permuted(operand, known.layout)}.contiguous()"
        given.append(as_argument(operand, known.type.dtype, source))
    for inner, outer in zip(body.outputs, call.outputs, strict=True):
        known, sizes = kernel.buffers[inner], kernel.whole_shape(inner)
        stored = source.shape(sizes[axis] for axis in known.layout)
        memory = source.made("empty", stored, known.type.dtype)
        target = source.buffers[outer]
        made.append(f"{target} = {torch_permuted(memory, [known.layout.index(k) for k in range(len(sizes))])}")
        given.append(given_as_bytes(target, known.type.dtype))
    for inner, names in kernel.strides.items():
        operand = source.buffers[dict(zip(body.inputs, call.inputs, strict=True))[inner]]
        given += [f"{name}={operand}.stride({axis})" for axis, name in enumerate(names)]
    for name, symbol in kernel.used.items():
        source.used_dims.add(symbol)
        given.append(f"{name}={source.dims[symbol]}")
    if kernel.is_wide is None:
        whole = [source.buffers[x] for x in (*call.inputs, *call.outputs) if source.buffers[x].isidentifier()]
        given.append(f"WIDE=max({', '.join(f'{x}.numel()' for x in whole)}) >= {WIDE}")
    given += [f"{x.constant}={_block(x, source)}" for x in kernel.dimensions]
    arguments = ", ".join([*given, f"num_warps={kernel.warps}", f"num_stages={kernel.stages}"])
    launch = [f"{kernel.name}[({_grid(kernel, source)},)]({arguments})"]
    if len(launch[0]) > _LINE:
        wrapped = textwrap.wrap(arguments, _LINE, initial_indent=_INDENT, subsequent_indent=_INDENT)
        launch = [f"{kernel.name}[({_grid(kernel, source)},)](", *wrapped, ")"]
    return [*made, *launch]


def _block(each: Dimension, source: TorchSource) -> str:
    """The positions of a tile: of an index that is whole in it all of them, whatever the call's sizes are."""
    if each.part != "inner" or isinstance(each.count, int):
        return str(each.block)
    return source.whole_block(each.count, LEAST_SIDE, MOST_WHOLE)


def _grid(kernel: NestKernel, source: TorchSource) -> str:
    """One program for each block of rows and each position of the batch indices."""
    rows = kernel.indices.rows
    if isinstance(rows.count, int):
        factors = [str(-(-rows.count // rows.block))]
    else:
        factors = [f"triton.cdiv({source.size(rows.count)}, {rows.block})"]
    factors += [source.factor(each.count) for each in kernel.indices.batch]
    if all(each.isdecimal() for each in factors):
        total = 1
        for each in factors:
            total *= int(each)
        return str(total)
    return " * ".join(factors)
