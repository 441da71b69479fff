"""Whether buffers that are needed at the same time have different places in a workspace."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from .dims import evaluate
from .errors import VerificationError
from .kernels import BlockLoop
from .program import Buffer, KernelCall, Program, lifetimes, owner


def verify_places(program: Program, sizes: Mapping[str, int]) -> None:
    """Check the places of a program and of the bodies of its loops at these sizes.

    Two buffers may share bytes only where one is read for the last time by the call that writes the other over it.
    Outputs and views have no places in a workspace, and all places are within it.  Raises ``VerificationError``
    naming the buffers.
    """
    placed = [buffer for buffer in program.buffers if buffer.place is not None and buffer.place.offset is not None]
    spans = {buffer.name: _bytes(buffer, sizes) for buffer in placed}
    for buffer in placed:
        if buffer.role not in ("temporary", "scratch") or buffer.base is not None:
            raise VerificationError(f"{buffer.role} {buffer.name!r} lies in the workspace; only temporaries may")
        if spans[buffer.name][1] > program.workspace:
            raise VerificationError(f"{buffer.name!r} ends beyond the workspace of {program.workspace} bytes")
    lives = _lives(program)
    for one, other in itertools.combinations(placed, 2):
        apart = spans[one.name][1] <= spans[other.name][0] or spans[other.name][1] <= spans[one.name][0]
        if not apart and not (_follows(one, other, lives) or _follows(other, one, lives)):
            raise VerificationError(f"{one.name!r} and {other.name!r} share memory while both are needed")
    buffers = program.buffer_map()
    for step, call in enumerate(program.calls):
        for name in call.outputs:
            _verify_overwriting(name, call, buffers)
            place = buffers[name].place
            read_later = {owner(x, buffers) for each in program.calls[step + 1 :] for x in each.inputs}
            if place is not None and place.over in read_later:
                raise VerificationError(f"{name!r} lies in place of {place.over!r}, which is read again")
        if isinstance(call.kernel, BlockLoop):
            verify_places(call.kernel.body, call.kernel.block_sizes(sizes))


def _verify_overwriting(name: str, call: KernelCall, buffers: Mapping[str, Buffer]) -> None:
    """What is overwritten element by element is no operand that the call reads in another order as well."""
    place = buffers[name].place
    if place is None or place.over is None:
        return
    one, other = buffers[place.over], buffers[name]
    if (one.type.shape, one.type.dtype, one.layout) != (other.type.shape, other.type.dtype, other.layout):
        raise VerificationError(f"{name!r} lies in place of {place.over!r}, which has another type or layout")
    times = [owner(each, buffers) for each in call.inputs].count(place.over)
    if times != 1:
        raise VerificationError(
            f"{name!r} lies in place of {place.over!r}, which the call reads {times} times, not once"
        )
    if one.role != "temporary" or one.base is not None:
        raise VerificationError(f"{name!r} lies in place of {one.role} {place.over!r}; only temporaries may go")


def _follows(later: Buffer, earlier: Buffer, lives: Mapping[str, tuple[int, int]]) -> bool:
    """Whether one is needed only after the other, or is written over it by its last reader."""
    first, last = lives[later.name][0], lives[earlier.name][1]
    assert later.place is not None
    return first > last or (first == last and later.place.over == earlier.name)


def _bytes(buffer: Buffer, sizes: Mapping[str, int]) -> tuple[int, int]:
    assert buffer.place is not None
    assert buffer.place.offset is not None
    return buffer.place.offset, buffer.place.offset + evaluate(buffer.elements_bytes, sizes)


def _lives(program: Program) -> dict[str, tuple[int, int]]:
    """Lifetimes, those of scratch memory included, which is needed during one call."""
    lives = lifetimes(program)
    for step, call in enumerate(program.calls):
        lives |= dict.fromkeys(call.scratch or (), (step, step))
    return lives
