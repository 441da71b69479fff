"""Memory that is planned: the workspace of a program, and the arrays in it."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.cost import human_bytes
from ...ir.program import Buffer, KernelCall
from ..source import permuted
from .source import NumpySource, dtype_source


def workspace_lines(source: NumpySource) -> list[str]:
    """The statement that takes the workspace of the source's program; none where it needs none."""
    size = source.program.workspace
    if not size:
        return []
    source.helpers |= {"_workspace", "_leave"}
    source.workspace = source.temporary("workspace")
    return [f"{source.workspace} = _workspace({size})  # {human_bytes(size)} for temporaries"]


def leaving_lines(source: NumpySource) -> list[str]:
    """The statement that leaves the workspace to the next call."""
    return [f"_leave({source.workspace})"] if source.program.workspace else []


def place_lines(call: KernelCall, source: NumpySource) -> list[str]:
    """The arrays in the workspace that a call writes."""
    buffers = source.program.buffer_map()
    return [line for name in (*call.outputs, *(call.scratch or ())) for line in _array(buffers[name], source)]


def _array(buffer: Buffer, source: NumpySource) -> list[str]:
    place, name = buffer.place, source.buffers[buffer.name]
    if place is not None and place.over is not None:
        return [f"{name} = {source.buffers[place.over]}"]
    if place is None or place.offset is None:
        return []
    shape = source.shape(buffer.type.shape[axis] for axis in buffer.layout)
    offset = f", {place.offset}" if place.offset else ""
    array = f"np.ndarray({shape}, {dtype_source(buffer.type.dtype)}, {source.workspace}{offset})"
    return [f"{name} = {permuted(array, _inverse(buffer.layout))}"]


def _inverse(order: Sequence[int]) -> list[int]:
    return [order.index(axis) for axis in range(len(order))]
