"""What statements over NumPy arrays are printed with: dtypes, numbers, and functions in C beside them."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir import DType
from ...ir.scalar import Number
from ..source import Source, number_text
from ..to_c.loops import CFunction


@dataclass
class NumpySource(Source):
    """The names of one module, its functions in C so far (None where it is to have none), and its workspace's name."""

    functions: list[CFunction] | None = None
    workspace: str = ""

    def has_place(self, name: str) -> bool:
        """Whether there is memory already for what is written into a buffer."""
        return self._places[name]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._places = {buffer.name: buffer.place is not None for buffer in self.program.buffers}


def number_source(value: Number) -> str:
    """A Python number as source, infinities and NaN included; negative ones in parentheses."""
    return number_text(value, _float_source)


def _float_source(value: float) -> str:
    if value != value:
        return "np.nan"
    if value in (float("inf"), float("-inf")):
        return "np.inf" if value > 0 else "-np.inf"
    return repr(value)


def dtype_source(dtype: DType) -> str:
    """A dtype as source, such as ``np.float64``."""
    return "np.bool_" if dtype is DType.bool else f"np.{dtype.value}"
