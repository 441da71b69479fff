"""What the module of every target has: its function's head and docstring, sizes, and the statements in order."""

from __future__ import annotations

import textwrap
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from ..ir.program import DimBinding, KernelCall, Program, releases
from .emitted import Emitted, Statement
from .names import Names, comment, docstring_text
from .source import Source, is_freed

INDENT = "    "


class ModuleEmitter(ABC):
    """Prints one program; what differs between targets are its methods without a body."""

    reserved: ClassVar[Sequence[str]] = ()
    array: ClassVar[str] = "array"

    def __init__(
        self, program: Program, name: str, description: str, formulas: Sequence[str], names: Names | None = None
    ) -> None:
        names = Names(self.reserved) if names is None else names
        self.program, self.description, self.formulas = program, description, formulas
        self.function = names.identifier(name)
        self.types = program.buffer_map()
        inputs = {each: names.identifier(each) for each in program.inputs}
        dims = {binding.symbol: names.identifier(binding.symbol) for binding in program.dims}
        buffers = {each.name: names.identifier(each.name) for each in program.buffers if each.name not in inputs}
        self.source = self.make_source(names, {**inputs, **buffers}, dims)

    @abstractmethod
    def make_source(self, names: Names, buffers: dict[str, str], dims: dict[str, str]) -> Source:
        """What the statements are printed with."""

    @abstractmethod
    def preamble(self) -> list[str]:
        """The lines between the module's docstring and its function: imports, constants, helpers."""

    @abstractmethod
    def kernel_lines(self, call: KernelCall) -> list[str]:
        """The statements of one kernel call."""

    @abstractmethod
    def result(self, name: str) -> str:
        """The value of an output, as it is returned."""

    def first_lines(self) -> list[str]:
        """What the function does before its first statement."""
        return []

    def lines_after_sizes(self) -> list[str]:
        """What it does once the sizes are known."""
        return []

    def last_lines(self) -> list[str]:
        """What it does before it returns."""
        return []

    def emit(self) -> Emitted:
        """The body first, which says what helpers and sizes it uses; then what stands above it."""
        above, body, statements = self._function()
        above = [*self._head(), *above]
        moved = tuple(Statement(s.first + len(above), s.last + len(above), s.text, s.ir, s.node) for s in statements)
        parameters = tuple(self.source.buffers[name] for name in self.program.inputs)
        return Emitted("\n".join([*above, *body]) + "\n", self.function, parameters, moved)

    def function_lines(self) -> list[str]:
        """The function alone; what stands above it is in the source's fields by then."""
        above, body, _ = self._function()
        return [*above, *body]

    # --- above the statements ------------------------------------------------------------------

    def _function(self) -> tuple[list[str], list[str], list[Statement]]:
        """The function's lines before its statements, and from there on."""
        body, statements = self._body()
        after = self.lines_after_sizes()
        parameters = ", ".join(self.source.buffers[name] for name in self.program.inputs)
        lines = ["", f"def {self.function}({parameters}):"]
        lines += [f"{INDENT}{text}".rstrip() for text in self.docstring()]
        return [*lines, *self.first_lines(), *self._sizes(), *after], body, statements

    def _head(self) -> list[str]:
        title = self.description or f"Compute {self._listed_outputs()}."
        return [f'"""{docstring_text(title)}"""', "", *self.preamble()]

    def _listed_outputs(self) -> str:
        return ", ".join(self.program.output_names)

    def docstring(self) -> list[str]:
        """What the function computes, from what."""
        lines = textwrap.wrap(f'"""Compute {docstring_text(self._listed_outputs())}.', 96)
        if self.program.inputs:
            lines += ["", "Parameters", "----------"]
            lines += [self._described(name, name) for name in self.program.inputs]
        lines += ["", "Returns", "-------"]
        named = zip(self.program.outputs, self.program.output_names, strict=True)
        lines += [self._described(name, label) for name, label in named]
        if self.formulas:
            lines += ["", "Notes", "-----", *(docstring_line(text) for text in self.formulas)]
        return [*lines, '"""']

    def _described(self, buffer_name: str, name: str) -> str:
        """``A : float64 array of shape (i, r)``, with the user's name where it could not be kept."""
        identifier, buffer = self.source.buffers[buffer_name], self.types[buffer_name]
        shape = buffer.type.shape
        kind = (
            f"{self.array} of shape ({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
            if shape
            else "scalar"
        )
        facts = ", ".join(fact.replace("_", " ") for fact, _ in buffer.type.facts.items())
        note = f", {facts}" if facts else ""
        note += "; only its shape is read" if buffer.role == "shape" else ""
        note += f'; called "{docstring_text(name)}"' if name != identifier else ""
        return docstring_line(f"{identifier} : {buffer.type.dtype} {kind}{note}")

    def _sizes(self) -> list[str]:
        """The sizes that the body uses, unpacked from the shapes of the inputs."""
        needed = self._needed_dims()
        lines, plain = [], [b for b in self.program.dims if b.scale == 1 and b.offset == 0]
        for name in self.program.inputs:
            axes = {b.axis: self.source.dims[b.symbol] for b in plain if b.input == name and b.symbol in needed}
            if axes:
                lines.append(self._unpacked(name, axes))
        lines += [self._solved(b) for b in self.program.dims if b not in plain and b.symbol in needed]
        return [INDENT + text for text in lines]

    def _needed_dims(self) -> set[str]:
        """The dims in the body and those that they are computed from, whose source this prints too."""
        done: set[str] = set()
        while pending := [b for b in self.program.dims if b.symbol in self.source.used_dims - done]:
            for binding in pending:
                self._solved(binding)
                done.add(binding.symbol)
        return done

    def _unpacked(self, name: str, axes: dict[int, str]) -> str:
        rank = len(self.types[name].type.shape)
        if len(axes) == 1 and rank > 1:
            ((axis, dim),) = axes.items()
            return f"{dim} = {self.source.buffers[name]}.shape[{axis}]"
        targets = ", ".join(axes.get(axis, "_") for axis in range(rank))
        return f"{f'({targets},)' if rank == 1 else targets} = {self.source.buffers[name]}.shape"

    def _solved(self, binding: DimBinding) -> str:
        value = f"{self.source.buffers[binding.input]}.shape[{binding.axis}]"
        if binding.offset != 0:
            value = f"({value} - {self.source.factor(binding.offset)})"
        if binding.scale != 1:
            value = f"{value} // {self.source.factor(binding.scale)}"
        return f"{self.source.dims[binding.symbol]} = {value}"

    # --- the statements ------------------------------------------------------------------------

    def _body(self) -> tuple[list[str], list[Statement]]:
        lines: list[str] = []
        statements = []
        for call, gone in zip(self.program.calls, releases(self.program), strict=True):
            lines.append(INDENT + comment(call.text))
            texts = self.kernel_lines(call)
            first = len(lines) + 1
            lines += [(INDENT + text).rstrip() for text in texts]
            statements.append(Statement(first, len(lines), "\n".join(texts), call.text, call.node))
            lines += self._freed(call, gone)
        lines += self.last_lines()
        lines.append(f"{INDENT}return {', '.join(self.result(name) for name in self.program.outputs)}")
        return lines, statements

    def _freed(self, call: KernelCall, gone: tuple[str, ...]) -> list[str]:
        """Free the arrays that nothing reads any more."""
        names = [self.source.buffers[name] for name in gone if is_freed(self.types[name])]
        return [f"{INDENT}del {', '.join(names)}"] if names else []


def docstring_line(text: str) -> str:
    """A line of a docstring; quotes can no longer end it."""
    return text.replace('"""', "'''")
