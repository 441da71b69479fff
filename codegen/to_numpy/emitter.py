"""Program to a stand-alone module that needs NumPy and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ...ir import Node
from ...ir.dims import dim
from ...ir.operations import Constant
from ...ir.program import KernelCall, Program
from ..emitted import Emitted
from ..module_emitter import INDENT, ModuleEmitter
from ..names import Names, docstring_text
from ..source import LISTED_ELEMENTS, hex_rows
from ..to_c.calls import library_lines
from ..to_c.loops import CFunction
from .copied_helpers import HELPER_NAMES, helper_imports, helper_sources
from .kernels import kernel_lines
from .places import leaving_lines, workspace_lines
from .source import NumpySource, dtype_source, number_source


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


class _Emitter(ModuleEmitter):
    reserved: ClassVar[Sequence[str]] = ("np", *HELPER_NAMES)

    source: NumpySource

    def __init__(
        self, program: Program, name: str, description: str, formulas: Sequence[str], loops_in_c: bool
    ) -> None:
        self._functions: list[CFunction] | None = [] if loops_in_c else None
        super().__init__(program, name, description, formulas)
        self._workspace = workspace_lines(self.source)

    def make_source(self, names: Names, buffers: dict[str, str], dims: dict[str, str]) -> NumpySource:
        """With functions in C, where it is to have any."""
        return NumpySource(self.program, names, buffers, dims, functions=self._functions)

    def preamble(self) -> list[str]:
        """Imports, constants, the helpers that are used, and the library in C."""
        imports = helper_imports(self.source.helpers)
        lines = [*imports, *([""] if imports else []), "import numpy as np", ""]
        for name, node in self.program.constants:
            lines += [*constant_lines(self.source.buffers[name], node), ""]
        for helper in helper_sources(self.source.helpers):
            lines += ["", *helper.split("\n"), ""]
        if self.source.functions:
            lines += ["", *library_lines(self.source.functions, self.source.names), ""]
        return lines

    def lines_after_sizes(self) -> list[str]:
        """The workspace, after a check of the sizes that it is planned for."""
        return [INDENT + text for text in (*self._checked_sizes(), *self._workspace)]

    def _checked_sizes(self) -> list[str]:
        planned = dict(self.program.planned_for)
        if not planned:
            return []
        given = self.source.shape(dim(symbol) for symbol in planned)
        wanted = self.source.shape(planned.values())
        about = ", ".join(f"{symbol} = {size}" for symbol, size in planned.items())
        return [
            f"if {given} != {wanted}:",
            f'{INDENT}raise ValueError("the memory of this kernel is planned for {docstring_text(about)}")',
        ]

    def last_lines(self) -> list[str]:
        """The workspace is left to the next call."""
        return [INDENT + text for text in leaving_lines(self.source)]

    def kernel_lines(self, call: KernelCall) -> list[str]:
        """By the rule of its kind."""
        return kernel_lines(call, self.source)

    def result(self, name: str) -> str:
        """Scalars as 0-dimensional arrays."""
        identifier = self.source.buffers[name]
        return identifier if self.types[name].type.shape else f"np.asarray({identifier})"


def constant_lines(name: str, node: Node) -> list[str]:
    """A constant of the module, exact to the last bit."""
    assert isinstance(node.op, Constant)
    array, dtype = node.op.array, dtype_source(node.op.dtype)
    if array.ndim == 0:
        return [f"{name} = {dtype}({number_source(array.item())})"]
    shape = f"({', '.join(map(str, array.shape))}{',' if array.ndim == 1 else ''})"
    if array.size <= LISTED_ELEMENTS:
        values = ", ".join(number_source(value) for value in array.ravel().tolist())
        flat = f"np.array([{values}], {dtype})"
        return [f"{name} = {flat}" if array.ndim == 1 and array.size else f"{name} = {flat}.reshape({shape})"]
    return [
        f"# {array.size} numbers, as their bytes",
        f"{name} = np.frombuffer(bytes.fromhex(",
        *(INDENT + row for row in hex_rows(node)),
        f'), "{array.dtype.str}").reshape({shape})',
    ]
