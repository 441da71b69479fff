"""What statements over torch tensors are printed with: dtypes, numbers, axes in another order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ...ir import DType, Size, UnsupportedError
from ...ir.dtypes import EIGHTS
from ...ir.scalar import Number
from ..source import Source, aligned, number_text, permuted

# The dtypes that torch computes with; its wider unsigned integers can only be stored.
TORCH_DTYPES = {
    DType.bool: "torch.bool", DType.int8: "torch.int8", DType.int16: "torch.int16", DType.int32: "torch.int32",
    DType.int64: "torch.int64", DType.uint8: "torch.uint8", DType.float16: "torch.float16",
    DType.bfloat16: "torch.bfloat16", DType.float32: "torch.float32", DType.float64: "torch.float64",
    DType.float8_e4m3: "torch.float8_e4m3fn", DType.float8_e5m2: "torch.float8_e5m2",
    DType.complex64: "torch.complex64", DType.complex128: "torch.complex128",
}  # fmt: skip


@dataclass
class TorchSource(Source):
    """The names of one module, and the Triton kernels that its function calls so far.

    ``held`` are the sizes that a kernel's tile holds whole, as source, and the largest that it can hold.
    """

    kernels: list[list[str]] = field(default_factory=list)
    kernel_names: list[str] = field(default_factory=list)
    held: dict[str, int] = field(default_factory=dict)
    kernel_helpers: set[str] = field(default_factory=set)
    uses_device: bool = False

    def kernel_name(self, wanted: str) -> str:
        """A new name for a kernel, which is the module's."""
        self.kernel_names.append(self.temporary(wanted))
        return self.kernel_names[-1]

    def whole_block(self, count: Size, least: int, most: int) -> str:
        """The positions of a tile that holds all of ``count``, which must be ``most`` at most."""
        size = self.size(count)
        self.held[size] = min(most, self.held.get(size, most))
        return f"triton.next_power_of_2(max({size}, {least}))"

    @property
    def device(self) -> str:
        """The name of the device on which everything is made."""
        self.uses_device = True
        return "device"

    def made(self, function: str, arguments: str, dtype: DType) -> str:
        """A new tensor: ``torch.zeros((2, 3), dtype=…, device=device)``."""
        return f"torch.{function}({arguments}, dtype={torch_dtype(dtype)}, device={self.device})"


def torch_dtype(dtype: DType) -> str:
    """The dtype as source; raises ``UnsupportedError`` where torch has none to compute with."""
    if dtype not in TORCH_DTYPES:
        raise UnsupportedError(
            f"torch does not compute with {dtype}; the backend triton accepts {', '.join(map(str, TORCH_DTYPES))}"
        )
    return TORCH_DTYPES[dtype]


def torch_rounded(code: str, source: DType, target: DType) -> str:
    """A name or a call's result in another dtype.

    Of float8_e4m3, which has no infinity, what is too large becomes the largest number, as in torch 2.13 and on GPUs;
    older versions of torch make it NaN.
    """
    if source is target:
        return code
    if target is DType.float8_e4m3:
        wide = code if source.kind == "float" and source not in EIGHTS else f"{code}.to(torch.float32)"
        code = f"{wide}.clamp(-448.0, 448.0)"
    return f"{code}.to({torch_dtype(target)})"


def torch_number(value: Number) -> str:
    """A Python number as source, infinities and NaN included; negative ones in parentheses."""
    return number_text(value, _float)


def _float(value: float) -> str:
    return repr(value) if abs(value) < float("inf") else f'float("{value!r}")'


def torch_permuted(name: str, order: Sequence[int]) -> str:
    """``name`` with its axes in another order, as a view."""
    return permuted(name, order, "permute")


def torch_aligned(name: str, labels: Sequence[int], axes: Sequence[int]) -> str:
    """``name`` broadcastable against ``axes``: its axes in their order, and new ones where it has none."""
    return aligned(name, labels, axes, "permute")


def dims_argument(axes: Iterable[int]) -> str:
    """The axes of a reduction."""
    listed = list(axes)
    return str(listed[0]) if len(listed) == 1 else str(tuple(listed))
