"""Loops over blocks as NumPy source: results first, then a ``for`` whose body is a program of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ...ir import UnsupportedError
from ...ir.kernels import BlockLoop
from ...ir.loop_steps import NoForm
from ...ir.program import KernelCall
from ..names import comment
from ..source import block_index, body_lines, permuted
from ..to_c.calls import call_lines
from .combinations import combined, neutral
from .places import leaving_lines, workspace_lines
from .source import NumpySource, dtype_source

_INDENT = "    "
PrintCall = Callable[[KernelCall, NumpySource], list[str]]


def loop_lines(loop: BlockLoop, call: KernelCall, source: NumpySource, print_call: PrintCall) -> list[str]:
    """The results' memory, and the loop that fills it."""
    if loop.is_nest:
        raise UnsupportedError(
            f"a loop over {loop.size} positions holds another: such tiles are for GPUs; use backend='triton', or a "
            "pipeline without the pass 'tile'"
        )
    start, stop = source.temporary("start"), source.temporary("stop")
    block = f"{start}:{stop}"
    inner, views = _inside(loop, call, source, block)
    length, size = inner.dims[loop.symbol], source.size(loop.size)
    parts = _Parts(loop, call, source, inner)
    joined = [
        (name, value, join)
        for name, value, join in zip(call.outputs, inner.program.outputs, loop.join, strict=True)
        if not source.has_place(name)
    ]
    made = [f"{source.buffers[name]} = {_initial(join, source, inner, value, loop)}" for name, value, join in joined]
    if loop.concurrent and source.functions is not None:
        try:
            whole = [text for text, (_, _, join) in zip(made, joined, strict=True) if isinstance(join, int)]
            return [*whole, *call_lines(loop, call, source, inner)]
        except NoForm as reason:
            made.insert(0, comment(f"in NumPy, since there is no form in C here for {reason}"))
    memory, left = workspace_lines(inner), leaving_lines(inner)
    body = [*views, *parts.given_blocks(block), *body_lines(inner, print_call)]
    if loop.symbol in source.used_dims:
        body.insert(0, f"{length} = {stop} - {start}")
    if loop.concurrent:
        body = [*memory, *body, *parts.written(block), *left]
        return [*made, *_function(parts, body, source, (start, stop, size))]
    # A view that stays would keep the operand's memory, which may be freed after the loop.
    read = [inner.buffers[name] for name, axis in zip(loop.body.inputs, loop.cut, strict=True) if axis is not None]
    done = [*(inner.buffers[value] for value in inner.program.outputs), *read]
    lines = [f"{stop} = min({start} + {loop.block}, {size})", *body, *parts.written(block), *parts.combined()]
    lines.append(f"del {', '.join(done)}")
    head = f"for {start} in range(0, {size}, {loop.block}):"
    return [*made, *memory, head, *(_INDENT + text for text in lines), *left]


def _function(parts: _Parts, body: Sequence[str], source: NumpySource, span: tuple[str, str, str]) -> list[str]:
    """A function that computes one block, and the call that runs it for all blocks on all cores."""
    start, stop, size = span
    source.helpers.add("_in_blocks")
    name = source.temporary("one_block")
    lines = list(body)
    given = ", ".join(parts.given)
    if given:
        lines.append(f"return {given}")
    run = f"_in_blocks({name}, {size}, {parts.loop.block})"
    if given:
        run = f"for {given} in {run}:"
    combined = [_INDENT + text for text in parts.combined()]
    return ["", f"def {name}({start}, {stop}):", *(_INDENT + text for text in lines), "", run, *combined]


class _Parts:
    """What a block gives: parts that lie side by side in the results, and parts that are combined."""

    def __init__(self, loop: BlockLoop, call: KernelCall, source: NumpySource, inner: NumpySource) -> None:
        self.loop = loop
        named = list(zip(call.outputs, inner.program.outputs, loop.join, strict=True))
        self._parts = [(source.buffers[name], inner.buffers[value], join) for name, value, join in named]
        self._placed = {inner.buffers[value] for _, value, _ in named if inner.has_place(value)}

    @property
    def given(self) -> list[str]:
        """The names of the parts that are combined."""
        return [part for _, part, join in self._parts if isinstance(join, str)]

    def given_blocks(self, block: str) -> list[str]:
        """The blocks of the results that the body writes itself."""
        return [
            f"{part} = {target}{block_index(join, block)}"
            for target, part, join in self._parts
            if isinstance(join, int) and part in self._placed
        ]

    def written(self, block: str) -> list[str]:
        """The statements that write a block of the other results."""
        return [
            f"{target}{block_index(join, block)} = {part}"
            for target, part, join in self._parts
            if isinstance(join, int) and part not in self._placed
        ]

    def combined(self) -> list[str]:
        """The statements that combine a block's parts with those of the blocks before it."""
        return [combined(join, target, part) for target, part, join in self._parts if isinstance(join, str)]


def _inside(loop: BlockLoop, call: KernelCall, source: NumpySource, block: str) -> tuple[NumpySource, list[str]]:
    """What the body is printed with, and the statements that take the operands' blocks."""
    names: dict[str, str] = {}
    views = []
    for placeholder, name, axis in zip(loop.body.inputs, call.inputs, loop.cut, strict=True):
        operand = source.buffers[name]
        names[placeholder] = operand
        if axis is not None:
            names[placeholder] = source.temporary(f"{operand}_{loop.symbol}")
            views.append(f"{names[placeholder]} = {operand}{block_index(axis, block)}")
    for buffer in loop.body.buffers:
        if buffer.name not in names:
            names[buffer.name] = source.temporary(buffer.name)
    dims = {**source.dims, loop.symbol: source.temporary(loop.symbol)}
    return replace(source, program=loop.body, buffers=names, dims=dims), views


def _initial(join: int | str, source: NumpySource, inner: NumpySource, part: str, loop: BlockLoop) -> str:
    """Memory for a result: to be filled, or holding what combines to nothing."""
    buffer = inner.program.buffer_map()[part]
    dtype = dtype_source(buffer.type.dtype)
    sizes = list(buffer.type.shape)
    if isinstance(join, int):
        sizes[join] = loop.size
        stored = source.shape(sizes[axis] for axis in buffer.layout)
        return permuted(f"np.empty({stored}, {dtype})", [buffer.layout.index(axis) for axis in range(len(sizes))])
    if join == "sum":
        return f"np.zeros({source.shape(sizes)}, {dtype})"
    return f"np.full({source.shape(sizes)}, {neutral(join, buffer.type)}, {dtype})"
