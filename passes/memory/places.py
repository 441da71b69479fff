"""Places for large temporaries: one workspace for a program, in which each has an offset for as long as it lives.

Allocating an array as large as this costs more than filling it: from about 128 KiB on the memory comes from the
system and goes back to it, and every page is new at its first touch.  What is in the workspace is written there by
kernels that can (``out=``), and the workspace may be kept from call to call.  Results always own fresh memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ...ir import operations as ops
from ...ir.dims import evaluate
from ...ir.evaluation import Evaluation, elementwise_form, evaluation
from ...ir.kernels import BlockLoop, Contraction, DiagonalEmbedding, Direct, Kernel, Rearrangement
from ...ir.place_checks import verify_places
from ...ir.program import Buffer, KernelCall, Place, Program, lifetimes, owner, verify_program
from ...ir.types import TensorType
from .workspace import workspace

# glibc's malloc asks the system for each array from this size on.
LARGE_BYTES = 131072
# A program that needs less in all stays with malloc, which keeps that much; blocks on all cores do not.
_WORTHWHILE_BYTES = 2 * LARGE_BYTES
# Where arrays begin: at whole cache lines.
_ALIGNMENT = 64


def with_places(program: Program, sizes: Mapping[str, int], loops_in_c: bool = False) -> Program:
    """The program with places for its large temporaries, bodies of loops included.

    Elementwise kernels over large arrays are carried out function by function from then on.  A program without
    large tensors comes back as it was, and so does one of which ``sizes`` lacks the size of a dim.  With
    ``loops_in_c``, bodies of loops on all cores stay as they are: functions in C keep what is between in registers.
    """
    if any(binding.symbol not in sizes for binding in program.dims):
        return program
    placed = _Placing(program, sizes, loops_in_c).program()
    if placed is program:
        return program
    if _has_workspace(placed):
        planned = tuple((binding.symbol, sizes[binding.symbol]) for binding in program.dims)
        placed = dataclasses.replace(placed, planned_for=planned)
    verify_program(placed)
    verify_places(placed, sizes)
    return placed


def _has_workspace(program: Program) -> bool:
    bodies = [call.kernel.body for call in program.calls if isinstance(call.kernel, BlockLoop)]
    return program.workspace > 0 or any(map(_has_workspace, bodies))


@dataclass
class _Span:
    """Memory that is needed from step ``first`` to step ``last``: for one buffer, or for several in turn."""

    bytes: int
    first: int
    last: int
    offset: int = 0

    def is_beside(self, other: _Span) -> bool:
        """Whether both are needed at the same time."""
        return self.first <= other.last and other.first <= self.last


@dataclass
class _Placing:
    """The spans of one program, by buffer; ``handed`` are results of a body that go into a block of a loop's."""

    whole: Program
    sizes: Mapping[str, int]
    loops_in_c: bool = False
    handed: frozenset[str] = frozenset()
    is_body: bool = False
    spans: list[_Span] = field(default_factory=list)
    span_of: dict[str, _Span] = field(default_factory=dict)
    over: dict[str, str] = field(default_factory=dict)
    scratch: list[Buffer] = field(default_factory=list)
    written: set[str] = field(default_factory=set)

    def program(self) -> Program:
        """The program with places; the same object where nothing is large."""
        self.buffers, self.lives = self.whole.buffer_map(), lifetimes(self.whole)
        self.made_by = {name: call.kernel for call in self.whole.calls for name in call.outputs}
        calls = tuple(self._call(step, call) for step, call in enumerate(self.whole.calls))
        if calls == self.whole.calls and not self.spans:
            return self.whole
        size = _laid_out(self.spans)
        if 0 < size < _WORTHWHILE_BYTES and not self.is_body:
            return self._with_loops(calls)
        buffers = tuple(self._placed(buffer) for buffer in (*self.whole.buffers, *self.scratch))
        calls = tuple(dataclasses.replace(call, extra=self._extra(call)) for call in calls)
        return dataclasses.replace(self.whole, buffers=buffers, calls=calls, workspace=size)

    def _with_loops(self, calls: Sequence[KernelCall]) -> Program:
        """The program with the new bodies of its loops alone."""
        changed = zip(self.whole.calls, calls, strict=True)
        kept = tuple(dataclasses.replace(old, kernel=new.kernel) for old, new in changed)
        return self.whole if kept == self.whole.calls else dataclasses.replace(self.whole, calls=kept)

    def _placed(self, buffer: Buffer) -> Buffer:
        span = self.span_of.get(buffer.name)
        if buffer.name in self.written:
            return dataclasses.replace(buffer, place=Place(None))
        over = self.over.get(buffer.name)
        if span is None and over is None:
            return buffer
        return dataclasses.replace(buffer, place=Place(None if span is None else span.offset, over))

    # --- one call ------------------------------------------------------------------------------

    def _call(self, step: int, call: KernelCall) -> KernelCall:
        if isinstance(call.kernel, BlockLoop):
            call = self._loop(call, call.kernel)
        result = self.buffers[call.outputs[0]]
        if self._is_large(result.type) and elementwise_form(call.kernel) is not None:
            found = self._evaluated(step, call)
            if found is not None:
                return found
        if isinstance(call.kernel, Contraction) and call.kernel.packed:
            call = self._packed(step, call, call.kernel)
        for name in call.outputs:
            if self._is_temporary(name, call.kernel):
                self._give(name, step, self.lives[name][1])
        return call

    def _loop(self, call: KernelCall, loop: BlockLoop) -> KernelCall:
        if self.loops_in_c and loop.concurrent:
            return dataclasses.replace(call, kernel=dataclasses.replace(loop, compiled=True))
        handed = frozenset(
            name for name, join in zip(loop.body.outputs, loop.join, strict=True) if isinstance(join, int)
        )
        body = _Placing(loop.body, loop.block_sizes(self.sizes), self.loops_in_c, handed, is_body=True).program()
        return call if body is loop.body else dataclasses.replace(call, kernel=dataclasses.replace(loop, body=body))

    def _evaluated(self, step: int, call: KernelCall) -> KernelCall | None:
        """An elementwise call function by function, in place of an operand where that needs no more memory."""
        name, result = call.outputs[0], self.buffers[call.outputs[0]]
        steps = self._steps(call, None)
        if steps is None:
            return None
        self.written |= self.handed & {name}
        over = self._overwritten(step, call, steps.registers) if self._owns(name) else None
        if over is not None:
            steps = over[1]
            self._give_over(name, over[0])
        elif self._owns(name) and not self._follows_inputs(call):
            self._give(name, step, self.lives[name][1])
        elif len(steps.steps) == 1 and name not in self.written:
            return None
        kept = [self._scratch(step, f"{name}_step", result.type, result.layout) for _ in range(steps.registers)]
        return dataclasses.replace(call, scratch=tuple(kept))

    def _steps(self, call: KernelCall, over: int | None) -> Evaluation | None:
        form, types = elementwise_form(call.kernel), [self.buffers[name].type for name in call.inputs]
        assert form is not None
        return evaluation(form, [x.dtype for x in types], self.buffers[call.outputs[0]].type.dtype, over)

    def _overwritten(self, step: int, call: KernelCall, registers: int) -> tuple[str, Evaluation] | None:
        """An operand in whose place the result may be written with no more registers, and the steps then."""
        for position in self._dying(step, call):
            steps = self._steps(call, position)
            if steps is not None and steps.registers <= registers:
                return call.inputs[position], steps
        return None

    def _follows_inputs(self, call: KernelCall) -> bool:
        """Whether NumPy would lay the result out as inputs lie in memory, which only the caller knows."""
        matrices = [owner(name, self.buffers) for name in call.inputs if len(self.buffers[name].type.shape) > 1]
        return bool(matrices) and all(self.buffers[name].role == "input" for name in matrices) and not self.is_body

    def _dying(self, step: int, call: KernelCall) -> Iterator[int]:
        """The operands that this call reads for the last time, and that lie as the result does."""
        form, result = elementwise_form(call.kernel), self.buffers[call.outputs[0]]
        assert form is not None
        for position, (name, axes) in enumerate(zip(call.inputs, form.inputs, strict=True)):
            operand = self.buffers[name]
            alike = operand.type.dtype is result.type.dtype and operand.type.shape == result.type.shape
            aligned = alike and axes == tuple(range(form.rank)) and operand.layout == result.layout
            if aligned and self.lives.get(name, (0, -1))[1] == step and self._is_own(name, call):
                yield position

    def _is_own(self, name: str, call: KernelCall) -> bool:
        """Whether an operand is an array that was made for it, which the call reads through no view as well."""
        once = [owner(each, self.buffers) for each in call.inputs].count(name) == 1
        maker = self.made_by.get(name)
        makes = isinstance(maker, Contraction) or (maker is not None and elementwise_form(maker) is not None)
        return once and self._owns(name) and (makes or name in self.span_of)

    def _packed(self, step: int, call: KernelCall, kernel: Contraction) -> KernelCall:
        """Memory for the packed operands, where all of them are large."""
        types = []
        for position in kernel.packed:
            operand = self.buffers[call.inputs[position]].type
            labels = (kernel.left, kernel.right)[position]
            shape = tuple(operand.shape[labels.index(label)] for label in kernel.packed_order(position))
            types.append(TensorType(shape, operand.dtype))
        if not all(map(self._is_large, types)):
            return call
        name = call.outputs[0]
        kept = [self._scratch(step, f"{name}_packed", each, tuple(range(len(each.shape)))) for each in types]
        return dataclasses.replace(call, scratch=tuple(kept))

    # --- spans ---------------------------------------------------------------------------------

    def _is_large(self, type: TensorType) -> bool:
        return bool(type.shape) and _bytes(type, self.sizes) >= LARGE_BYTES

    def _is_temporary(self, name: str, kernel: Kernel) -> bool:
        """Whether a result may lie in the workspace: large, not needed in the end, and written where it is to lie."""
        return self._owns(name) and self._is_large(self.buffers[name].type) and self._is_written(name, kernel)

    def _owns(self, name: str) -> bool:
        buffer, (_, last) = self.buffers[name], self.lives[name]
        return buffer.role == "temporary" and buffer.base is None and last < len(self.whole.calls)

    def _is_written(self, name: str, kernel: Kernel) -> bool:
        """Whether a kernel writes this result into memory that it is given."""
        buffer = self.buffers[name]
        return buffer.base is None and _writes(kernel, buffer, self._join(name))

    def _join(self, name: str) -> int | str | None:
        """How a loop puts together this result of it."""
        for call in self.whole.calls:
            if isinstance(call.kernel, BlockLoop) and name in call.outputs:
                return call.kernel.join[call.outputs.index(name)]
        return None

    def _give(self, name: str, first: int, last: int) -> None:
        buffer = self.buffers[name]
        self.span_of[name] = _Span(_bytes(buffer.type, self.sizes), first, last)
        self.spans.append(self.span_of[name])

    def _give_over(self, name: str, dying: str) -> None:
        self.over[name] = dying
        span = self.span_of.get(dying)
        if span is not None:
            span.last = max(span.last, self.lives[name][1])
            self.span_of[name] = span

    def _scratch(self, step: int, wanted: str, type: TensorType, layout: tuple[int, ...]) -> str:
        name, number = wanted, 1
        while name in self.buffers:
            number += 1
            name = f"{wanted}_{number}"
        buffer = Buffer(name, type, "scratch", layout)
        self.buffers[name] = buffer
        self.scratch.append(buffer)
        self._give(name, step, step)
        return name

    def _extra(self, call: KernelCall) -> int:
        """What a call allocates beside its results and its scratch, where that is much."""
        if isinstance(call.kernel, BlockLoop):
            return 0
        extra = workspace(call, self.buffers, set(), self.sizes)
        return extra if extra >= LARGE_BYTES else 0


def _writes(kernel: Kernel, buffer: Buffer, join: int | str | None) -> bool:
    """Whether a kernel writes its result into memory that is given to it, laid out as the buffer is."""
    match kernel:
        case Contraction(method="matrix") if kernel.split or not (kernel.rows_merged or kernel.columns_merged):
            return False
        case Contraction(method="matrix"):
            merged = kernel.rows_merged + kernel.columns_merged
            memory = tuple(kernel.output[axis] for axis in buffer.layout)
            return memory[len(memory) - len(merged) :] == merged
        case Contraction(method=method):
            return method == "sum"
        case Rearrangement():
            return len(set(kernel.labels)) == len(kernel.labels)
        case BlockLoop():
            return isinstance(join, int)
        case DiagonalEmbedding():
            return True
        case Direct(operation=ops.Reduce(kind=kind)):
            return kind in ("max", "min", "sum", "prod")
        case Direct(operation=operation):
            return isinstance(operation, (ops.Pad, ops.Cast))
    return False


def _bytes(type: TensorType, sizes: Mapping[str, int]) -> int:
    total = max(type.dtype.bits // 8, 1)
    for size in type.shape:
        total *= evaluate(size, sizes)
    return total


def _laid_out(spans: list[_Span]) -> int:
    """Give each span the lowest offset that is free while it lives, the largest first; the bytes in all."""
    done: list[_Span] = []
    for span in sorted(spans, key=lambda each: (-each.bytes, each.first)):
        beside = sorted((each for each in done if each.is_beside(span)), key=lambda each: each.offset)
        offset = 0
        for each in beside:
            if offset + span.bytes <= each.offset:
                break
            offset = max(offset, _aligned(each.offset + each.bytes))
        span.offset = offset
        done.append(span)
    return max((each.offset + each.bytes for each in done), default=0)


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
