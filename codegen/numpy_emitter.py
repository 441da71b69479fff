"""Program to a stand-alone module that needs NumPy and nothing else."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from ..ir import Node
from ..ir.operations import Constant
from ..ir.program import DimBinding, KernelCall, Program, releases
from .c_calls import library_lines
from .emitted import Emitted, Statement
from .helpers import HELPER_NAMES, helper_imports, helper_sources
from .names import Names, comment, docstring_text
from .numpy_kernels import kernel_lines
from .numpy_source import Source, dtype_source, number_source

_INDENT = "    "
_LISTED_ELEMENTS = 64
_HEX_LINE = 96


def emit_numpy(
    program: Program,
    name: str | None = None,
    description: str = "",
    formulas: Sequence[str] = (),
    loops_in_c: bool = False,
) -> Emitted:
    """The module that runs ``program`` with NumPy alone.

    It has one public function.  Its parameters are the inputs in order; it returns the outputs in order
    (a tuple where there are several) as fresh arrays, 0-dimensional ones for scalars.  Every statement
    stands under its line of IR.  ``description`` heads the module, and ``formulas`` say in its function's
    docstring what is computed.  With ``loops_in_c``, loops that run on all cores are functions in C, which
    the module compiles with the system's compiler when it is imported; those that C has no form for here stay
    in NumPy, and a comment says why.
    """
    return _Emitter(program, name or program.name, description, formulas, loops_in_c).emit()


class _Emitter:
    def __init__(
        self, program: Program, name: str, description: str, formulas: Sequence[str], loops_in_c: bool
    ) -> None:
        names = Names(["np", *HELPER_NAMES])
        self.program, self.description, self.formulas = program, description, formulas
        self.function = names.identifier(name)
        self.types = program.buffer_map()
        inputs = {each: names.identifier(each) for each in program.inputs}
        dims = {binding.symbol: names.identifier(binding.symbol) for binding in program.dims}
        buffers = {each.name: names.identifier(each.name) for each in program.buffers if each.name not in inputs}
        self.source = Source(program, names, {**inputs, **buffers}, dims, functions=[] if loops_in_c else None)

    def emit(self) -> Emitted:
        """The body first, which says what helpers and sizes it uses; then what stands above it."""
        body, statements = self._body()
        above = [*self._head(), *self._sizes()]
        moved = tuple(Statement(s.first + len(above), s.last + len(above), s.text, s.ir, s.node) for s in statements)
        parameters = tuple(self.source.buffers[name] for name in self.program.inputs)
        return Emitted("\n".join([*above, *body]) + "\n", self.function, parameters, moved)

    # --- above the statements ------------------------------------------------------------------

    def _head(self) -> list[str]:
        title = self.description or f"Compute {self._listed_outputs()}."
        imports = helper_imports(self.source.helpers)
        lines = [f'"""{docstring_text(title)}"""', "", *imports, *([""] if imports else []), "import numpy as np", ""]
        for name, node in self.program.constants:
            lines += [*constant_lines(self.source.buffers[name], node), ""]
        for helper in helper_sources(self.source.helpers):
            lines += ["", *helper.split("\n"), ""]
        if self.source.functions:
            lines += ["", *library_lines(self.source.functions, self.source.names), ""]
        parameters = ", ".join(self.source.buffers[name] for name in self.program.inputs)
        lines += ["", f"def {self.function}({parameters}):"]
        return lines + [f"{_INDENT}{text}".rstrip() for text in self._docstring()]

    def _listed_outputs(self) -> str:
        return ", ".join(self.program.output_names)

    def _docstring(self) -> list[str]:
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
        kind = f"array of shape ({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})" if shape else "scalar"
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
        return [_INDENT + text for text in lines]

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
            lines.append(_INDENT + comment(call.text))
            texts = kernel_lines(call, self.source)
            first = len(lines) + 1
            lines += [(_INDENT + text).rstrip() for text in texts]
            statements.append(Statement(first, len(lines), "\n".join(texts), call.text, call.node))
            lines += self._freed(call, gone)
        lines.append(f"{_INDENT}return {', '.join(self._result(name) for name in self.program.outputs)}")
        return lines, statements

    def _freed(self, call: KernelCall, gone: tuple[str, ...]) -> list[str]:
        """Free the arrays that nothing reads any more; scalars are not worth a line."""
        names = [self.source.buffers[name] for name in gone if self.types[name].type.shape]
        return [f"{_INDENT}del {', '.join(names)}"] if names else []

    def _result(self, name: str) -> str:
        identifier = self.source.buffers[name]
        return identifier if self.types[name].type.shape else f"np.asarray({identifier})"


def constant_lines(name: str, node: Node) -> list[str]:
    """A constant of the module, exact to the last bit."""
    assert isinstance(node.op, Constant)
    array, dtype = node.op.array, dtype_source(node.op.dtype)
    if array.ndim == 0:
        return [f"{name} = {dtype}({number_source(array.item())})"]
    shape = f"({', '.join(map(str, array.shape))}{',' if array.ndim == 1 else ''})"
    if array.size <= _LISTED_ELEMENTS:
        values = ", ".join(number_source(value) for value in array.ravel().tolist())
        flat = f"np.array([{values}], {dtype})"
        return [f"{name} = {flat}" if array.ndim == 1 and array.size else f"{name} = {flat}.reshape({shape})"]
    digits = node.op.data.hex()
    rows = [digits[k : k + _HEX_LINE] for k in range(0, len(digits), _HEX_LINE)]
    return [
        f"# {array.size} numbers, as their bytes",
        f"{name} = np.frombuffer(bytes.fromhex(",
        *(f'{_INDENT}"{row}"' for row in rows),
        f'), "{array.dtype.str}").reshape({shape})',
    ]


def docstring_line(text: str) -> str:
    """A line of a docstring; quotes can no longer end it."""
    return text.replace('"""', "'''")
