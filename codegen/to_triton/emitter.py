"""Program to a stand-alone module that needs torch and Triton and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from ...ir import Node
from ...ir.kernels import BlockLoop, FusedProduct
from ...ir.operations import Constant
from ...ir.program import KernelCall, Program
from ..copied_functions import copied, functions_in
from ..emitted import Emitted
from ..module_emitter import INDENT, ModuleEmitter
from ..names import Names
from ..source import LISTED_ELEMENTS, hex_rows
from ..to_torch.kernels import torch_lines
from ..to_torch.loops import loop_lines as host_loop_lines
from ..to_torch.source import TorchSource, torch_dtype, torch_number
from .calls import loop_lines
from .copied_helpers import HELPER_NAMES, helper_sources
from .nest_calls import nest_lines
from .product_calls import product_lines
from .tiles import Tiling

_TORCH_HELPERS = "to_torch/helpers.py"
# Another program for the same results, and the sizes to choose its tiles for.
Otherwise = Callable[[], tuple[Program, Mapping[str, int]]]


def emit_triton(
    program: Program,
    name: str | None = None,
    description: str = "",
    formulas: Sequence[str] = (),
    sizes: Mapping[str, int] | None = None,
    tiling: Tiling | None = None,
    otherwise: Otherwise | None = None,
) -> Emitted:
    """The module that runs ``program`` with torch and Triton alone, on the device of its inputs.

    It has one public function, as :func:`emit_numpy` says, over torch tensors.  Loops over blocks are one Triton
    kernel each, and so are matrix products with the work around them where the program says so; other matrix
    products are torch's, which are cuBLAS's on a GPU; so is all else.  Tiles are chosen for
    ``sizes`` of the dims, and are right for all sizes that Triton can make tiles of.  Where a tile cannot well hold
    at a call what it is to hold whole, the module runs the program that ``otherwise`` gives, if that is given.
    Where a loop has no kernel, torch computes its steps one by one and a comment says why: so it is for complex
    numbers, which Triton has not.

    Nothing waits for the device but what must: torch's linear algebra, which reports singular matrices.
    """
    emitter = _Emitter(program, name or program.name, description, formulas, sizes or {}, tiling or Tiling())
    emitter.otherwise = otherwise
    return emitter.emit()


class _Emitter(ModuleEmitter):
    reserved: ClassVar[Sequence[str]] = (
        "torch", "triton", "tl", "functools", "device", "_CONSTANTS",
        *functions_in(_TORCH_HELPERS), *HELPER_NAMES,
    )  # fmt: skip
    array: ClassVar[str] = "tensor"
    source: TorchSource

    def __init__(
        self,
        program: Program,
        name: str,
        description: str,
        formulas: Sequence[str],
        sizes: Mapping[str, int],
        tiling: Tiling,
        names: Names | None = None,
    ) -> None:
        self.sizes, self.tiling = sizes, tiling
        self.otherwise: Otherwise | None = None
        self.second: list[str] = []
        _check_dtypes(program)
        super().__init__(program, name, description, formulas, names)
        self.constants = [(self.source.buffers[each], node) for each, node in program.constants]

    def make_source(self, names: Names, buffers: dict[str, str], dims: dict[str, str]) -> TorchSource:
        """With the kernels that the function calls."""
        return TorchSource(self.program, names, buffers, dims)

    def preamble(self) -> list[str]:
        """Imports, helpers, constants, kernels."""
        constants = self.constants
        if constants:
            self.source.helpers.add("_constant")
        lines = ["import functools", ""] if constants else []
        lines += ["import torch"]
        if self.source.kernels:
            lines += ["import triton", "import triton.language as tl"]
        lines.append("")
        if constants:
            lines += ["_CONSTANTS = {"]
            for name, node in constants:
                lines += [INDENT + text for text in _constant_lines(name, node)]
            lines += ["}", ""]
        parts = [*copied(_TORCH_HELPERS, self.source.helpers), *helper_sources(self.source.kernel_helpers)]
        for part in [*(x.split("\n") for x in parts), *self.source.kernels]:
            lines += ["", *part, ""]
        return lines + ([*self.second, ""] if self.second else [])

    def lines_after_sizes(self) -> list[str]:
        """Where a tile cannot hold what it is to hold whole, the other program runs."""
        if not self.source.held or self.otherwise is None:
            return []
        call = self._other_function(*self.otherwise())
        large = " or ".join(f"{size} > {most}" for size, most in self.source.held.items())
        return [f"{INDENT}if {large}:", f"{INDENT * 2}return {call}"]

    def _other_function(self, program: Program, sizes: Mapping[str, int]) -> str:
        """Puts the other program's function into this module; the call of it."""
        names = Names(self.reserved)
        for known in (self.function, *self.source.kernel_names, *(name for name, _ in self.constants)):
            names.identifier(known)
        other = _OtherEmitter(program, f"_{self.function}_of_any_size", "", (), sizes, self.tiling, names)
        self.second = other.function_lines()
        self.source.helpers |= other.source.helpers
        self.source.kernel_helpers |= other.source.kernel_helpers
        self.source.kernels += other.source.kernels
        self.constants += other.constants
        return f"{other.function}({', '.join(self.source.buffers[name] for name in self.program.inputs)})"

    def first_lines(self) -> list[str]:
        """The device, and the constants on it."""
        constants = [self.source.buffers[name] for name, _ in self.program.constants]
        if not constants and not self.source.uses_device:
            return []
        if self.program.inputs:
            where = f"{self.source.buffers[self.program.inputs[0]]}.device"
        else:
            where = 'torch.device("cuda" if torch.cuda.is_available() else "cpu")'
        lines = [f"device = {where}", *(f'{name} = _constant("{name}", device)' for name in constants)]
        return [INDENT + text for text in lines]

    def kernel_lines(self, call: KernelCall) -> list[str]:
        """A kernel of ours for a loop, torch for all else."""
        return self._lines(call, self.source, self.sizes)

    def _lines(self, call: KernelCall, source: TorchSource, sizes: Mapping[str, int]) -> list[str]:
        """A loop whose blocks wait for one another, to save memory, is one on the host; its body may have kernels."""
        if isinstance(call.kernel, FusedProduct):
            return product_lines(call.kernel, call, source, lambda each, within: self._lines(each, within, sizes))
        if not isinstance(call.kernel, BlockLoop):
            return torch_lines(call, source)
        if call.kernel.is_nest:
            inner = call.kernel.block_sizes(sizes)
            return nest_lines(call.kernel, call, source, sizes, lambda each, within: self._lines(each, within, inner))
        if call.kernel.concurrent:
            return loop_lines(call.kernel, call, source, sizes, self.tiling)
        inner = call.kernel.block_sizes(sizes)
        return host_loop_lines(call.kernel, call, source, lambda each, within: self._lines(each, within, inner))

    def result(self, name: str) -> str:
        """The tensor."""
        return self.source.buffers[name]


class _OtherEmitter(_Emitter):
    """The function that a module has beside its first, for sizes that the tiles of that do not hold."""

    def docstring(self) -> list[str]:
        """What differs."""
        return ['"""The same for all sizes: nothing is whole in a tile."""']


def _check_dtypes(program: Program) -> None:
    """Raise ``UnsupportedError`` where torch cannot compute with a value's dtype."""
    for buffer in program.buffers:
        if buffer.role != "shape":
            torch_dtype(buffer.type.dtype)
    for call in program.calls:
        if isinstance(call.kernel, BlockLoop):
            _check_dtypes(call.kernel.body)


def _constant_lines(name: str, node: Node) -> list[str]:
    """An entry of the module's constants, exact to the last bit."""
    assert isinstance(node.op, Constant)
    array, dtype = node.op.array, torch_dtype(node.op.dtype)
    shape = f"({', '.join(map(str, array.shape))}{',' if array.ndim == 1 else ''})"
    if array.size <= LISTED_ELEMENTS:
        values = ", ".join(torch_number(value) for value in array.ravel().tolist())
        return [f'"{name}": torch.tensor([{values}], dtype={dtype}).reshape({shape}),']
    return [
        f'"{name}": torch.frombuffer(bytearray.fromhex(  # {array.size} numbers, as their bytes',
        *(INDENT + row for row in hex_rows(node)),
        f"), dtype={dtype}).reshape({shape}),",
    ]
