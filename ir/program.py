"""The program: kernel calls over named buffers, in order, with lifetimes.

This is what every emitter reads.  It knows no target: a kernel says what is computed and how its
indices are grouped, a buffer has a type and a name, and a size may be symbolic.  ``dims`` lists how
each symbol is found from the shapes of the inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .cost import human_bytes
from .dims import Size, evaluate, product
from .errors import VerificationError
from .kernels import MOST_PARTS, BlockLoop, Contraction, DiagonalUpdate, FusedProduct, Kernel
from .node import Node
from .types import TensorType


@dataclass(frozen=True)
class Place:
    """Where a buffer lies: ``offset`` bytes into the program's workspace.

    ``over`` names the buffer whose elements are overwritten one by one, since this call is the last to read it;
    without ``offset`` that buffer is an array of its own.  With neither, the buffer is the block of a loop's result
    that the body is given to write.
    """

    offset: int | None
    over: str | None = None


@dataclass(frozen=True)
class Buffer:
    """A named tensor.

    ``role`` is ``"input"``, ``"shape"`` (an input of which only the shape is read), ``"constant"``,
    ``"temporary"``, ``"scratch"`` (what one call uses within itself) or ``"output"``.  ``base`` names the buffer
    whose memory this one looks at.  ``layout`` lists the axes from the one with the largest stride to the one
    with the smallest, as planned: emitters may rely on it for speed, never for correctness, unless the buffer has
    a ``place``: then it lies there, in this layout, without gaps.
    """

    name: str
    type: TensorType
    role: str
    layout: tuple[int, ...]
    base: str | None = None
    place: Place | None = None

    @property
    def elements_bytes(self) -> Size:
        """Bytes of its elements."""
        return product(self.type.shape) * max(self.type.dtype.bits // 8, 1)

    @property
    def bytes(self) -> Size:
        """Bytes that are allocated for it alone: 0 for views, in a workspace, and where only the shape is read."""
        if self.base is not None or self.role == "shape" or self.place is not None:
            return 0
        return self.elements_bytes


@dataclass(frozen=True)
class KernelCall:
    """One step: ``outputs`` from ``inputs``; ``node`` and ``text`` say what the graph calls it.

    ``prologue_of`` and ``epilogue_of`` name the result of a contraction within whose loop the step may run:
    while the contraction reads this operand, which nothing else reads, or before it writes its result, which
    only this step reads, or an elementwise step that is marked likewise.  An emitter whose loops are its own
    may put it there, and then keeps until the last of the fused steps what any of them reads.  ``choice`` says in
    words why the step is carried out as it is, where there was another way.

    With ``scratch``, elementwise work is carried out function by function (:mod:`otus.ir.evaluation`): each is
    written into the result or into one of these buffers.  For a contraction they hold the packed operands.
    ``extra`` are the bytes that it allocates beside all this while it runs, as planned, where they are many.
    """

    kernel: Kernel
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    node: Node
    text: str
    prologue_of: str | None = None
    epilogue_of: str | None = None
    choice: str = field(default="", compare=False)
    scratch: tuple[str, ...] | None = None
    extra: int = 0


@dataclass(frozen=True)
class DimBinding:
    """A symbol from one axis of an input: ``symbol = (shape[axis] - offset) // scale``."""

    symbol: str
    input: str
    axis: int
    scale: Size = 1
    offset: Size = 0

    def __str__(self) -> str:
        value = f"{self.input}.shape[{self.axis}]"
        if self.offset != 0:
            value = f"({value} - ({self.offset}))"
        return f"{self.symbol} = {value}" + (f" // ({self.scale})" if self.scale != 1 else "")


@dataclass(frozen=True)
class Program:
    """Kernel calls in order.  ``outputs`` are buffers, one for each of the graph's outputs.

    ``workspace`` are the bytes of memory in which buffers have places; ``planned_for`` are the sizes of dims for
    which they hold.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    buffers: tuple[Buffer, ...]
    constants: tuple[tuple[str, Node], ...]
    calls: tuple[KernelCall, ...]
    dims: tuple[DimBinding, ...]
    output_names: tuple[str, ...]
    workspace: int = 0
    planned_for: tuple[tuple[str, int], ...] = ()

    def buffer_map(self) -> dict[str, Buffer]:
        """The buffers by name."""
        return {buffer.name: buffer for buffer in self.buffers}


def owner(name: str, buffers: Mapping[str, Buffer]) -> str:
    """The buffer whose memory this one looks at, in the end: itself where it is no view."""
    while (base := buffers[name].base) is not None:
        name = base
    return name


def releases(program: Program) -> tuple[tuple[str, ...], ...]:
    """For each call, the temporaries that nothing reads after it, views with what they look at."""
    buffers = program.buffer_map()
    last = {name: step for name, (_, step) in lifetimes(program).items()}
    gone: list[list[str]] = [[] for _ in program.calls]
    for name, step in last.items():
        if buffers[name].role == "temporary" and step < len(program.calls):
            gone[step].append(name)
    return tuple(tuple(names) for names in gone)


def lifetimes(program: Program) -> dict[str, tuple[int, int]]:
    """The steps at which each computed buffer is made and at which its memory is last needed.

    What an output looks at lives to the end, which is step ``len(calls)``.
    """
    buffers = program.buffer_map()
    made: dict[str, int] = {}
    last: dict[str, int] = {}
    for step, call in enumerate(program.calls):
        for name in call.outputs:
            made[name] = step
        for name in (*call.inputs, *call.outputs):
            _keep(name, step, buffers, last)
    for name in program.outputs:
        _keep(name, len(program.calls), buffers, last)
    return {name: (made[name], last[name]) for name in made}


def _keep(name: str, step: int, buffers: Mapping[str, Buffer], last: dict[str, int]) -> None:
    """The buffer and everything it looks at is needed at ``step``."""
    current: str | None = name
    while current is not None:
        last[current] = max(last.get(current, step), step)
        current = _memory_of(buffers[current])


def _memory_of(buffer: Buffer) -> str | None:
    """The buffer that keeps the memory of this one, outside of a workspace."""
    place = buffer.place
    return place.over if place is not None and place.offset is None else buffer.base


def planned_peak(program: Program, sizes: Mapping[str, int], cores: int = 1) -> int:
    """The most bytes live at once, inputs and outputs included, where so many blocks of a loop run at once.

    What kernels allocate within themselves is counted as far as the program says it (``extra``).
    """
    return max(bytes_at_steps(program, sizes, cores))


def bytes_at_steps(program: Program, sizes: Mapping[str, int], cores: int = 1) -> list[int]:
    """The bytes live before the first call and during each call, the workspace and loops' bodies included."""
    buffers = program.buffer_map()
    size = {name: evaluate(buffer.bytes, sizes) for name, buffer in buffers.items()}
    held = sum(size[name] for name in program.inputs) + sum(size[name] for name, _ in program.constants)
    held += program.workspace
    steps = [held]
    for call, gone in zip(program.calls, releases(program), strict=True):
        held += sum(size[name] for name in call.outputs)
        inside = _loop_peak(call.kernel, sizes, cores) if isinstance(call.kernel, BlockLoop) else call.extra
        steps.append(held + inside)
        held -= sum(size[name] for name in gone)
    return steps


def _loop_peak(loop: BlockLoop, sizes: Mapping[str, int], cores: int) -> int:
    """The most bytes that the bodies at work have live at once; their inputs are views."""
    inner = loop.block_sizes(sizes)
    buffers = loop.body.buffer_map()
    blocks = -(-evaluate(loop.size, sizes) // loop.block)
    if loop.compiled:
        joined = zip(loop.body.outputs, loop.join, strict=True)
        part = sum(evaluate(buffers[name].bytes, inner) for name, join in joined if isinstance(join, str))
        return min(blocks, MOST_PARTS) * part
    given = sum(evaluate(buffers[name].bytes, inner) for name in loop.body.inputs)
    at_once = max(min(cores, blocks), 1) if loop.concurrent else 1
    return at_once * (planned_peak(loop.body, inner) - given)


def verify_program(program: Program) -> None:
    """Check that every buffer is made once, before it is read, that outputs own their memory, and marks of fusion.

    Raises ``VerificationError`` naming the buffer.
    """
    buffers = program.buffer_map()
    if len(buffers) != len(program.buffers):
        raise VerificationError("two buffers share a name")
    ready = {*program.inputs, *(name for name, _ in program.constants)}
    for call in program.calls:
        for name in call.inputs:
            if name not in ready:
                raise VerificationError(f"{call.kernel.name} reads buffer {name!r} before it is made")
        for name in call.outputs:
            if name in ready or name not in buffers:
                raise VerificationError(f"{call.kernel.name} makes buffer {name!r} twice, or it is not declared")
            ready.add(name)
        if isinstance(call.kernel, FusedProduct):
            _verify_fused(call, call.kernel)
    _verify_outputs(program, buffers, ready)
    _verify_updates(program, buffers)
    _verify_marks(program)


def _verify_updates(program: Program, buffers: Mapping[str, Buffer]) -> None:
    """What a kernel writes into is a tensor that was made for it alone: nothing else reads that memory."""
    for call in program.calls:
        if not (isinstance(call.kernel, DiagonalUpdate) and call.kernel.in_place):
            continue
        name = call.inputs[0]
        readers = sum(each.inputs.count(name) for each in program.calls) + program.outputs.count(name)
        if buffers[name].role != "temporary" or buffers[name].base is not None or readers != 1:
            raise VerificationError(
                f"{call.kernel.name} writes into {buffers[name].role} {name!r}, which is read in {readers} places; "
                "it may write into a temporary with memory of its own that nothing else reads"
            )


def _verify_fused(call: KernelCall, kernel: FusedProduct) -> None:
    """The body is a program of its own, of the call's inputs and outputs, with the contraction in it."""
    body = kernel.body
    verify_program(body)
    if (call.inputs, call.outputs) != (body.inputs, body.outputs):
        raise VerificationError(f"the body of the fused product {kernel.product!r} reads {body.inputs} and makes "
                                f"{body.outputs}, but its call {call.inputs} and {call.outputs}")  # fmt: skip
    if not any(isinstance(each.kernel, Contraction) and each.outputs == (kernel.product,) for each in body.calls):
        raise VerificationError(f"no contraction in the body of the fused product makes {kernel.product!r}")


def _verify_outputs(program: Program, buffers: Mapping[str, Buffer], ready: set[str]) -> None:
    owners: dict[str, str] = {}
    for name in program.outputs:
        if name not in ready or buffers[name].role != "output":
            raise VerificationError(f"output {name!r} is not computed into an output buffer")
        memory = owner(name, buffers)
        if buffers[memory].role in ("input", "constant"):
            raise VerificationError(f"output {name!r} shares the memory of {buffers[memory].role} {memory!r}")
        if owners.setdefault(memory, name) != name:
            raise VerificationError(f"outputs {owners[memory]!r} and {name!r} share memory")
    if len(set(program.outputs)) != len(program.outputs):
        raise VerificationError(f"outputs {program.outputs} share a buffer")


def _verify_marks(program: Program) -> None:
    """Check that between a contraction and a step marked as part of its loop there is no other reader."""
    contractions = {call.outputs[0]: call for call in program.calls if isinstance(call.kernel, Contraction)}
    readers: dict[str, list[KernelCall | None]] = {name: [None] for name in program.outputs}
    for call in program.calls:
        for name in call.inputs:
            readers.setdefault(name, []).append(call)
    for call in program.calls:
        made, before, after = call.outputs[0], call.prologue_of, call.epilogue_of
        if before is not None and (before not in contractions or readers.get(made) != [contractions[before]]):
            raise VerificationError(f"{made!r} is no prologue of {before!r}: no contraction alone reads it")
        if after is not None and (after not in contractions or not _follows(call, after, readers)):
            raise VerificationError(f"{made!r} is no epilogue of {after!r}: others read what is between them")


def _follows(call: KernelCall, result: str, readers: Mapping[str, list[KernelCall | None]]) -> bool:
    """Whether a call alone reads a contraction's result, or what the epilogue's elementwise step makes of it."""
    (first, *others) = readers.get(result, [None])
    if first is None or others or first.epilogue_of != result:
        return False
    return first is call or readers.get(first.outputs[0]) == [call]


def program_text(program: Program) -> str:
    """The program as text: one call a line, with the bytes it makes and the buffers it frees.

    ::

        program loss(X: f64[i,k], A: f64[k]) -> out0
          dim i = X.shape[0]
          t0: f64[i] = contract "ij,j->i" by matrix: rows i, inner j, planned 1.4 µs   X, A   # 8*i bytes
          out0: f64[i] = apply map   t0   # 8*i bytes, epilogue of t0, frees t0

    What lies in the workspace is ``at`` an offset there, or ``in place of`` what it overwrites.
    """
    buffers = program.buffer_map()
    parameters = ", ".join(f"{name}: {buffers[name].type}" for name in program.inputs)
    lines = [f"program {program.name}({parameters}) -> {', '.join(program.outputs)}"]
    lines += [f"  dim {binding}" for binding in program.dims]
    lines += [f"  constant {name}: {buffers[name].type}" for name, _ in program.constants]
    if program.workspace:
        lines.append(f"  workspace {human_bytes(program.workspace)}")
    for call, gone in zip(program.calls, releases(program), strict=True):
        lines.append(f"  {_call_text(call, gone, buffers)}")
        if isinstance(call.kernel, (BlockLoop, FusedProduct)):
            lines += [f"    {text}" for text in program_text(call.kernel.body).splitlines()]
    return "\n".join(lines) + "\n"


def _call_text(call: KernelCall, gone: tuple[str, ...], buffers: Mapping[str, Buffer]) -> str:
    made = ", ".join(f"{name}: {buffers[name].type}" for name in call.outputs)
    words = f"{made} = {call.kernel.name} {call.kernel.text}".rstrip()
    total: Size = 0
    for name in call.outputs:
        total = total + buffers[name].elements_bytes
    view = buffers[call.outputs[0]].base
    note = f"view of {view}" if view is not None else _bytes_text(total)
    note += "".join(_place_text(buffers[name]) for name in call.outputs)
    if call.scratch:
        note += f", scratch {', '.join(name + _place_text(buffers[name]) for name in call.scratch)}"
    elif call.scratch is not None:
        note += ", step by step"
    note += f", {human_bytes(call.extra)} beside" if call.extra else ""
    marks = {"prologue": call.prologue_of, "epilogue": call.epilogue_of}
    note += "".join(f", {word} of {name}" for word, name in marks.items() if name is not None)
    note += f", {call.choice}" if call.choice else ""
    freed = f", frees {', '.join(gone)}" if gone else ""
    return f"{words}   {', '.join(call.inputs)}   # {note}{freed}".replace("      #", "   #")


def _place_text(buffer: Buffer) -> str:
    place = buffer.place
    if place is None:
        return ""
    if place.over is not None:
        return f" in place of {place.over}"
    return " in the result" if place.offset is None else f" at {place.offset}"


def _bytes_text(size: Size) -> str:
    return human_bytes(size) if isinstance(size, int) else f"{size} bytes"
