"""When a program has the most memory allocated, and what it holds then.

Inputs and constants are not counted: a call does not allocate them.  Results, intermediates and the
workspace of kernels are, and the few bytes that every array takes itself; reshapes that must copy are no views.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...ir import Graph, Node
from ...ir import operations as ops
from ...ir.kernels import BlockLoop, Direct, Rearrangement
from ...ir.program import Buffer, KernelCall, Program, releases
from ..lower import lower_unbound
from .workspace import tensor_bytes, workspace

# An array that is held takes memory of its own beside its elements, whatever it looks at.
OBJECT_BYTES = 192


@dataclass(frozen=True)
class Held:
    """A tensor in memory: the buffer it is in, and the node of the call that made it."""

    buffer: Buffer
    node: Node
    bytes: int


@dataclass(frozen=True)
class Moment:
    """One kernel call: the bytes allocated while it runs, and the tensors held.

    ``loops`` are the loops that it runs in, outermost first, each with what is held outside of it.
    """

    bytes: int
    node: Node
    held: tuple[Held, ...]
    loops: tuple[Moment, ...] = ()


def moments(graph: Graph, sizes: Mapping[str, int]) -> list[Moment]:
    """Every kernel call of the program that ``graph`` becomes, in order, those inside of loops included."""
    return _moments(lower_unbound(graph, sizes), sizes, set())


def allocated(program: Program, sizes: Mapping[str, int]) -> int:
    """The most bytes that a call of the program has allocated at once, its workspace included."""
    return max((each.bytes for each in _moments(program, sizes, set())), default=0)


def _moments(program: Program, sizes: Mapping[str, int], strided: set[str]) -> list[Moment]:
    buffers = program.buffer_map()
    strided = set(strided)
    held: dict[str, Held] = {}
    found: list[Moment] = []
    for call, gone in zip(program.calls, releases(program), strict=True):
        _note_strides(call, buffers, strided)
        for name in call.outputs:
            size = _allocated(name, call, buffers, strided, sizes) + OBJECT_BYTES
            held[name] = Held(buffers[name], call.node, size)
        extra = workspace(call, buffers, strided, sizes)
        bytes = program.workspace + sum(each.bytes for each in held.values()) + extra
        here = Moment(bytes, call.node, tuple(held.values()))
        if isinstance(call.kernel, BlockLoop) and not call.kernel.is_nest:  # its tiles are in registers
            found += _inside(call.kernel, call, here, strided, sizes)
        else:
            found.append(here)
        for name in gone:
            del held[name]
    return found


def _inside(
    loop: BlockLoop, call: KernelCall, outside: Moment, strided: set[str], sizes: Mapping[str, int]
) -> list[Moment]:
    """The moments of a loop's body, with what is held outside added."""
    inner = loop.block_sizes(sizes)
    views = {
        placeholder
        for placeholder, name, axis in zip(loop.body.inputs, call.inputs, loop.cut, strict=True)
        if name in strided or (axis is not None and loop.body.buffer_map()[placeholder].layout[:1] != (axis,))
    }
    objects = OBJECT_BYTES * (1 + sum(axis is not None for axis in loop.cut))
    body = _moments(loop.body, inner, views) or [Moment(0, call.node, ())]
    return [
        Moment(outside.bytes + objects + each.bytes, each.node, each.held, (outside, *each.loops)) for each in body
    ]  # fmt: skip


def _allocated(
    name: str, call: KernelCall, buffers: Mapping[str, Buffer], strided: set[str], sizes: Mapping[str, int]
) -> int:
    """The bytes of a new buffer: none for a view, unless it is a reshape that has to copy."""
    buffer = buffers[name]
    size = tensor_bytes(buffer.type, sizes) if buffer.place is None else 0
    if buffer.base is None:
        return size
    return size if _copies(call, buffers, strided) else 0


def _copies(call: KernelCall, buffers: Mapping[str, Buffer], strided: set[str]) -> bool:
    source = call.inputs[0]
    row_major = buffers[source].layout == tuple(range(len(buffers[source].layout)))
    reshaped = isinstance(call.kernel, Direct) and isinstance(call.kernel.operation, ops.Reshape)
    return reshaped and (source in strided or not row_major)


def _note_strides(call: KernelCall, buffers: Mapping[str, Buffer], strided: set[str]) -> None:
    """Views of parts, diagonals and repeated elements do not merge axes; nor do views of those."""
    for name in call.outputs:
        if buffers[name].base is None or _copies(call, buffers, strided):
            continue
        moved = isinstance(call.kernel, Direct) and isinstance(call.kernel.operation, (ops.Slice, ops.Broadcast))
        diagonal = isinstance(call.kernel, Rearrangement) and len(set(call.kernel.labels)) < len(call.kernel.labels)
        if moved or diagonal or call.inputs[0] in strided:
            strided.add(name)
