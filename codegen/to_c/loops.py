"""Loops over blocks as functions in C: the body's steps in loop nests, row by row where rows lie apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...ir import DType, Size
from ...ir.dims import dim
from ...ir.kernels import BlockLoop
from ...ir.loop_steps import NoForm, Operand, steps_of
from ...ir.program import Buffer
from ..names import docstring_text
from .groups import Group, Placed, group_steps
from .reductions import REDUCTIONS, neutral
from .scalars import Statements, Value, c_type, number, print_scalar

_INDENT = "    "
_ROW, _LOOP = "row", "i"


@dataclass
class CFunction:
    """A function in C that computes all blocks of a loop, on all cores.

    Its parameters are the cores, the size of the loop's index and that of a block, then the sizes ``sizes``,
    then pointers: to the operands and results that are named in ``pointers``, all whole, and for each of ``parts``
    to memory for what the blocks give, one after another.
    """

    name: str
    lines: list[str]
    sizes: list[Size] = field(default_factory=list)
    pointers: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)


def c_function(loop: BlockLoop, name: str) -> CFunction:
    """The loop's body in C; raises ``NoForm`` where it has a kernel or dtype that this cannot write.

    Operands and results lie in memory as the body's program plans them, without gaps.
    """
    return _Writer(loop, name).function()


class _Writer:
    """One function: what is named so far, and the statements."""

    def __init__(self, loop: BlockLoop, name: str) -> None:
        self.loop, self.name = loop, name
        self.block: Size = dim(loop.symbol)
        self.buffers = loop.body.buffer_map()
        self.cut = dict(zip(loop.body.inputs, loop.cut, strict=True))
        self.join = dict(zip(loop.body.outputs, loop.join, strict=True))
        self.sizes: list[Size] = []
        self.by_rows = self._has_rows()
        self.groups = group_steps(steps_of(loop.body), self.block if self.by_rows else None)
        self.number = {placed.step.buffer: k for k, group in enumerate(self.groups) for placed in group.steps}
        self.placed = {placed.step.buffer: placed for group in self.groups for placed in group.steps}
        self.stored = self._stored()
        self.names = {buffer: f"t{k}" for k, buffer in enumerate(self.placed)}
        self.names |= {buffer: f"x{k}" for k, buffer in enumerate(loop.body.inputs)}
        if missing := [each for each in loop.body.outputs if each not in self.placed]:
            raise NoForm(f"a result {missing[0]} that is an operand")
        for buffer in self.buffers.values():
            c_type(buffer.type.dtype)

    def _has_rows(self) -> bool:
        """Whether blocks are rows: the largest tensors have the index, and others within it in memory."""
        cut = [self.buffers[each] for each, axis in self.cut.items() if axis is not None]
        cut += [self.buffers[each] for each, join in self.join.items() if isinstance(join, int)]
        most = max((len(each.layout) for each in cut), default=0)
        innermost = any(each.type.shape[each.layout[-1]] == self.block for each in cut if len(each.layout) == most)
        return any(len(each.layout) > 1 for each in self.buffers.values()) and not (innermost and most > 1)

    def _stored(self) -> set[str]:
        """The values that another loop nest reads."""
        read = {
            operand.buffer
            for k, group in enumerate(self.groups)
            for placed in group.steps
            for operand in placed.step.operands
            if self.number.get(operand.buffer, k) != k
        }
        return read - {name for name, join in self.join.items() if isinstance(join, int)}

    # --- the function --------------------------------------------------------------------------

    def function(self) -> CFunction:
        """The function's lines and what it is called with."""
        inner: list[str] = []
        for group in self.groups:
            inner += _Nest(self, group).lines()
        if self.by_rows:
            inner = [f"for (int64_t {_ROW} = start; {_ROW} < stop; ++{_ROW}) {{", *_indented(inner), "}"]
        memory, freed = self._memory()
        body = [*memory, *self._begun_parts(), *inner, *freed]
        pointers = [*self.loop.body.inputs, *self._whole_results()]
        parts = [name for name, join in self.join.items() if isinstance(join, str)]
        counts = {part: self._count(self.buffers[part].type.shape, "g->") for part in parts}
        sizes = [f"n{k}" for k in range(len(self.sizes))]
        given = dict.fromkeys(sizes, "int64_t ") | {self.names[x]: self._pointer(x) for x in (*pointers, *parts)}
        restricted = [f"{type.replace('*', '*restrict ')}{name}" for name, type in given.items()]
        head = f"static void {self.name}_block({', '.join(['int64_t start', 'int64_t stop', *restricted])}) {{"
        lines = [head, *_indented(body), "}", "", *self._over_blocks(given, counts)]
        return CFunction(self.name, lines, self.sizes, pointers, parts)

    def _over_blocks(self, given: Mapping[str, str], counts: Mapping[str, str]) -> list[str]:
        """The function that is called, and what it hands to each block."""
        own = {self.names[part]: count for part, count in counts.items()}  # a part for each block
        passed = [f"g->{x} + number * ({own[x]})" if x in own else f"g->{x}" for x in given]
        fields = {"size": "int64_t ", "block": "int64_t ", **given}
        parameters = ", ".join(["int64_t cores", *(f"{type}{name}" for name, type in fields.items())])
        return [
            f"struct {self.name}_given {{ {' '.join(f'{type}{name};' for name, type in fields.items())} }};",
            "",
            f"static void {self.name}_number(const void *given, int64_t number) {{",
            f"    const struct {self.name}_given *g = given;",
            "    const int64_t start = number * g->block, left = g->size - start;",
            f"    {self.name}_block({', '.join(['start', 'start + (left < g->block ? left : g->block)', *passed])});",
            "}",
            "",
            f"void {self.name}({parameters}) {{",
            f"    const struct {self.name}_given given = {{{', '.join(fields)}}};",
            f"    on_all_cores({self.name}_number, &given, (size + block - 1) / block, cores);",
            "}",
        ]

    def _whole_results(self) -> list[str]:
        return [name for name, join in self.join.items() if isinstance(join, int)]

    def _pointer(self, buffer: str) -> str:
        """The type of the pointer to a buffer; operands are read only."""
        return f"{'const ' if buffer in self.cut else ''}{c_type(self.buffers[buffer].type.dtype)} *"

    def _count(self, shape: Sequence[Size], owner: str = "") -> str:
        """The number of elements; sizes that are no numbers are parameters, or fields of ``owner``."""
        sizes = [self.size(size) for size in shape]
        return " * ".join(size if size.isdecimal() else f"{owner}{size}" for size in sizes) or "1"

    def _memory(self) -> tuple[list[str], list[str]]:
        """The arrays and numbers that one loop nest leaves for another."""
        made, freed = [], []
        for buffer in self.placed:
            if buffer not in self.stored or isinstance(self.join.get(buffer), str):
                continue
            type, name = c_type(self.buffers[buffer].type.dtype), self.names[buffer]
            sizes = [self._extent(size) for size in self._inner_sizes(buffer)]
            if not sizes:
                made.append(f"{type} {name};")
            else:
                made.append(f"{type} *restrict {name} = malloc({' * '.join(sizes)} * sizeof({type}));")
                freed.append(f"free({name});")
        return made, freed

    def _inner_sizes(self, buffer: str) -> list[Size]:
        shape = self.buffers[buffer].type.shape
        return [size for size in shape if not (self.by_rows and size == self.block)]

    def _extent(self, size: Size) -> str:
        return "(stop - start)" if size == self.block else self.size(size)

    def size(self, size: Size) -> str:
        """A size as a number or a parameter of the function."""
        if isinstance(size, int):
            return str(size)
        if size not in self.sizes:
            self.sizes.append(size)
        return f"n{self.sizes.index(size)}"

    def _begun_parts(self) -> list[str]:
        """Results that are combined over rows begin with what combines to nothing."""
        lines = []
        for buffer, join in self.join.items():
            if isinstance(join, str) and self.placed[buffer].sums_rows:
                shape = self.buffers[buffer].type.shape
                count = self._count(shape)
                start = neutral(join, self.buffers[buffer].type.dtype)
                lines.append(f"for (int64_t k = 0; k < {count}; ++k) {self.names[buffer]}[k] = {start};")
        return lines

    # --- places in memory ----------------------------------------------------------------------

    def place(self, buffer: str, indices: Sequence[str | None]) -> str:
        """The element of a buffer at these indices, one for each axis; None for the row."""
        whole = buffer in self.cut or isinstance(self.join.get(buffer), int)
        known = self.buffers[buffer]
        axes = list(known.layout if whole else range(len(known.layout)))
        if not whole and self.by_rows:
            axes = [axis for axis in axes if indices[axis] is not None]
        terms: list[str] = []
        stride: list[str] = []
        for axis in reversed(axes):
            index = self._index(known, axis, indices[axis], whole)
            terms.insert(0, " * ".join([index, *stride]) if stride else index)
            size = known.type.shape[axis]
            if size == self.block:
                stride.insert(0, self.size(self.loop.size) if whole else "(stop - start)")
            else:
                stride.insert(0, self.size(size))
        name = self.names[buffer]
        if not terms:
            return name if buffer in self.placed and buffer not in self.join else f"{name}[0]"
        return f"{name}[{' + '.join(terms)}]"

    def _index(self, known: Buffer, axis: int, index: str | None, whole: bool) -> str:
        if index is None:
            return _ROW
        block = known.type.shape[axis] == self.block
        return f"({index} - start)" if block and not whole else index


class _Nest:
    """One loop nest: reductions that end within it have accumulators, the others gather in memory."""

    def __init__(self, writer: _Writer, group: Group) -> None:
        self.writer, self.group = writer, group
        self.order = self._order()
        self.statements = Statements("v")
        self.local: dict[str, str] = {}
        self.sums = {placed.step.buffer: f"a{k}" for k, placed in enumerate(group.steps) if placed.summed}

    def _order(self) -> list[int]:
        """The loops, the innermost along the last axis in memory of the largest tensor."""
        loops = list(range(len(self.group.sizes)))
        best: tuple[int, int] | None = None
        for placed in self.group.steps:
            for buffer, found in self._tensors(placed):
                known = self.writer.buffers[buffer]
                last = [found[axis] for axis in known.layout if axis < len(found) and found[axis] is not None]
                if last and (best is None or len(last) > best[0]):
                    assert last[-1] is not None
                    best = len(last), last[-1]
        if best is not None:
            loops.remove(best[1])
            loops.append(best[1])
        return loops

    def _tensors(self, placed: Placed) -> list[tuple[str, list[int | None]]]:
        """What a step reads and writes whole, with the loop of each axis."""
        found = [
            (operand.buffer, [placed.loop(axis) for axis in operand.axes])
            for operand in placed.step.operands
            if operand.buffer in self.writer.cut
        ]
        if isinstance(self.writer.join.get(placed.step.buffer), int):
            found.append((placed.step.buffer, [placed.loop(axis) for axis in placed.step.result]))
        return found

    # --- the loops -----------------------------------------------------------------------------

    def lines(self) -> list[str]:
        """The whole nest, in braces where it has names of its own."""
        for placed in self.group.steps:
            self._compute(placed)
        started = [text for placed in self.group.steps for text in self._started(placed)]
        inner = self._level(0)
        return [*started, "{", *_indented(inner), "}"]

    def _level(self, depth: int) -> list[str]:
        ending = [placed for placed in self.group.steps if self._depth(placed) == depth]
        begun = [text for placed in ending for text in self._accumulators(placed)]
        if depth == len(self.order):
            return self.statements.lines
        loop = self.order[depth]
        size = self.group.sizes[loop]
        low, high = ("start", "stop") if size == self.writer.block else ("0", self.writer.size(size))
        name = f"{_LOOP}{loop}"
        pragma = self._pragma() if depth == len(self.order) - 1 else []
        head = f"for (int64_t {name} = {low}; {name} < {high}; ++{name}) {{"
        ended = [text for placed in ending for text in self._ended(placed)]
        return [*begun, *pragma, head, *_indented(self._level(depth + 1)), "}", *ended]

    def _depth(self, placed: Placed) -> int | None:
        """How many loops are around an accumulator; None where the result is gathered in memory."""
        if not placed.summed:
            return None
        outer = len(placed.kept)
        return outer if set(self.order[:outer]) == set(placed.kept) else None

    def _pragma(self) -> list[str]:
        innermost = self.order[-1]
        clauses: dict[str, list[str]] = {}
        for placed in self.group.steps:
            if placed.summed and self._depth(placed) is None and innermost not in placed.kept:
                return []
            if not placed.summed and placed.sums_rows and innermost not in placed.kept:
                return []
            if self._depth(placed) is not None:
                kind = placed.step.reduction or ""
                clauses.setdefault(REDUCTIONS[kind].clause, []).append(self.sums[placed.step.buffer])
                if REDUCTIONS[kind].sees_nan and self._dtype(placed).is_inexact:
                    clauses.setdefault("|", []).append(f"{self.sums[placed.step.buffer]}_nan")
        text = "".join(f" reduction({sign}:{', '.join(names)})" for sign, names in clauses.items())
        return [f"#pragma omp simd{text}"]

    # --- one step ------------------------------------------------------------------------------

    def _dtype(self, placed: Placed) -> DType:
        return self.writer.buffers[placed.step.buffer].type.dtype

    def _compute(self, placed: Placed) -> None:
        step, dtype = placed.step, self._dtype(placed)
        self.statements.lines.append(f"// {_comment(step.text)}")
        operands = [self._operand(placed, operand) for operand in step.operands]
        value = print_scalar(step.expression, operands, dtype, self.statements)
        value = self.statements.define(c_type(dtype), value)
        self.local[step.buffer] = value
        if step.reduction is None:
            if self._is_kept(step.buffer):
                self.statements.lines.append(f"{self._target(placed)} = {value};")
            return
        rule = REDUCTIONS.get(step.reduction)
        if rule is None or (step.reduction == "shift" and self._is_result(step.buffer)):
            raise NoForm(f"reduction {step.reduction}")
        if self._depth(placed) is None:
            target = self._target(placed)
            self.statements.lines.append(f"{target} = {rule.combined(target, value)};")
            return
        name = self.sums[step.buffer]
        self.statements.lines.append(f"{name} = {rule.accumulated(name, value)};")
        if rule.sees_nan and dtype.is_inexact:
            self.statements.lines.append(f"{name}_nan |= {value} != {value};")

    def _is_result(self, buffer: str) -> bool:
        return buffer in self.writer.join

    def _is_kept(self, buffer: str) -> bool:
        return buffer in self.writer.stored or self._is_result(buffer)

    def _operand(self, placed: Placed, operand: Operand) -> Value:
        kind = self.writer.buffers[operand.buffer].type.dtype
        if self.writer.number.get(operand.buffer) == self.writer.groups.index(self.group):
            return Value(self.local[operand.buffer], kind)
        loops = [placed.loop(axis) for axis in operand.axes]
        indices = [None if loop is None else f"{_LOOP}{loop}" for loop in loops]
        code = self.writer.place(operand.buffer, indices)
        producer = self.writer.placed.get(operand.buffer)
        if producer is not None and producer.step.reduction == "shift":
            largest = self.statements.define(c_type(kind), code)
            code = f"{largest} - {largest} == 0 ? {largest} : 0"
        return Value(self.statements.define(c_type(kind), code), kind)

    def _target(self, placed: Placed) -> str:
        loops = [placed.loop(axis) for axis in placed.step.result]
        return self.writer.place(placed.step.buffer, [None if x is None else f"{_LOOP}{x}" for x in loops])

    def _started(self, placed: Placed) -> list[str]:
        """Memory in which a result is gathered, and which no row has begun."""
        if not placed.summed or self._depth(placed) is not None or placed.sums_rows:
            return []
        lines = [f"{self._target(placed)} = {neutral(placed.step.reduction or '', self._dtype(placed))};"]
        for loop in reversed([x for x in self.order if x in placed.kept]):
            size = self.group.sizes[loop]
            low, high = ("start", "stop") if size == self.writer.block else ("0", self.writer.size(size))
            name = f"{_LOOP}{loop}"
            lines = [f"for (int64_t {name} = {low}; {name} < {high}; ++{name}) {{", *_indented(lines), "}"]
        return lines

    def _accumulators(self, placed: Placed) -> list[str]:
        name, dtype = self.sums[placed.step.buffer], self._dtype(placed)
        lines = [f"{c_type(dtype)} {name} = {neutral(placed.step.reduction or '', dtype)};"]
        if REDUCTIONS[placed.step.reduction or ""].sees_nan and dtype.is_inexact:
            lines.append(f"int64_t {name}_nan = 0;")
        return lines

    def _ended(self, placed: Placed) -> list[str]:
        """The accumulator's value goes to where it is read, or into what the rows before gave."""
        rule, dtype = REDUCTIONS[placed.step.reduction or ""], self._dtype(placed)
        value = self.sums[placed.step.buffer]
        if rule.sees_nan and dtype.is_inexact:
            value = f"({value}_nan ? {number(float('nan'), dtype)} : {value})"
        target = self._target(placed)
        return [f"{target} = {rule.combined(target, value) if placed.sums_rows else value};"]


def _comment(text: str) -> str:
    """``text`` as a comment that ends with its line, within a string of Python's."""
    return docstring_text(text).replace("\\", "/")


def _indented(lines: Sequence[str]) -> list[str]:
    return [text if text.startswith("#") else _INDENT + text for text in lines]
