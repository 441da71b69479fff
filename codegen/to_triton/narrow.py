"""Numbers that are stored in fewer bits than a kernel computes in: how they are read, rounded and written.

Halves are types of Triton.  Numbers of 8 bits are read as they are where the GPU converts them (compute capability
8.9), and as their bytes elsewhere; both become halves, of which each is one exactly.  They are written likewise.  What
is too large becomes the largest number of float8_e4m3, which has no infinity, and infinity in float8_e5m2.
"""

from __future__ import annotations

from ...ir import DType
from ...ir.dtypes import EIGHTS, NARROW
from ..to_torch.source import TorchSource
from ..typed_scalars import within

_FORMATS = {DType.float8_e4m3: "e4m3", DType.float8_e5m2: "e5m2"}
_TRITON = {DType.float16: "tl.float16", DType.bfloat16: "tl.bfloat16"}


def as_half(code: str, dtype: DType, helpers: set[str], wanted: DType = DType.float16) -> str:
    """A tile as it was read, in a half precision that has all its numbers."""
    if dtype in EIGHTS:
        code, dtype = _called(f"_of_{_FORMATS[dtype]}", code, helpers), DType.float16
    return code if dtype is wanted else f"{within(code)}.to({_TRITON[wanted]})"


def widened(code: str, dtype: DType, helpers: set[str]) -> str:
    """A tile as it was read, in what a kernel computes in."""
    return f"{within(as_half(code, dtype, helpers, _half_of(dtype)))}.to(tl.float32)" if dtype in NARROW else code


def rounded(code: str, dtype: DType, helpers: set[str]) -> str:
    """A tile of float32 rounded to a narrow type, in float32."""
    if dtype in EIGHTS:
        return widened(written(code, dtype, helpers), dtype, helpers)
    return f"{within(code)}.to({_TRITON[dtype]}).to(tl.float32)"


def written(code: str, dtype: DType, helpers: set[str], pointer: str = "") -> str:
    """A computed tile as ``tl.store`` takes it, which rounds to halves itself; of 8 bits, for the tensor at a pointer.

    Without one, its bytes.
    """
    if dtype not in EIGHTS:
        return code
    name = _FORMATS[dtype]
    return _called(f"_as_{name}", f"{code}, {pointer}", helpers) if pointer else _called(f"_to_{name}", code, helpers)


def zero(dtype: DType) -> str:
    """The number 0 as it stands in ``tl.load``, which makes no whole number one of 8 bits."""
    return "0.0" if dtype in EIGHTS else "0"


def given(tensor: str, dtype: DType, source: TorchSource) -> str:
    """A tensor as the argument of a kernel."""
    if dtype not in EIGHTS:
        return tensor
    source.helpers.add("_eights")
    return f"_eights({tensor})"


def given_as_bytes(tensor: str, dtype: DType) -> str:
    """A tensor as the argument of a kernel that writes it, of 8 bits as bytes."""
    return f"{tensor}.view(torch.uint8)" if dtype in EIGHTS else tensor


def _half_of(dtype: DType) -> DType:
    return DType.bfloat16 if dtype is DType.bfloat16 else DType.float16


def _called(helper: str, code: str, helpers: set[str]) -> str:
    helpers.add(helper)
    return f"{helper}({code})"
