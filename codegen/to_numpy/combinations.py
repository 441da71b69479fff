"""How NumPy combines what the blocks of a loop give."""

from __future__ import annotations

from ...ir.types import TensorType
from .source import dtype_source

_UFUNCS = {"sum": "np.add", "prod": "np.multiply", "max": "np.maximum", "min": "np.minimum", "any": "np.logical_or",
           "all": "np.logical_and", "logsumexp": "np.logaddexp"}  # fmt: skip


def combined(how: str, target: str, part: str) -> str:
    """The statement that takes one block's part into the result."""
    return f"{target} += {part}" if how == "sum" else f"{_UFUNCS[how]}({target}, {part}, out={target})"


def combined_parts(how: str, parts: str, value: TensorType) -> str:
    """The result of all parts, which lie along the first axis of ``parts``, in order; there may be none."""
    arguments = f"{parts}, 0, {dtype_source(value.dtype)}"
    initial = f", initial={neutral(how, value)}" if how in ("max", "min") else ""
    return f"{_UFUNCS[how]}.reduce({arguments}{initial})"


def neutral(how: str, value: TensorType) -> str:
    """What combines to nothing, other than by a sum."""
    if how in ("prod", "all", "any"):
        return {"prod": "1", "all": "True", "any": "False"}[how]
    if value.dtype.is_inexact:
        return "np.inf" if how == "min" else "-np.inf"
    if value.dtype.kind == "bool":
        return "True" if how == "min" else "False"
    return f"np.iinfo({dtype_source(value.dtype)}).{'max' if how == 'min' else 'min'}"
