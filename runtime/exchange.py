"""How a backend takes and returns arrays: NumPy arrays in memory, or torch tensors on a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ..ir import DTypeError, Node, ShapeError, TensorType, UnsupportedError
from ..ir.dtypes import can_cast_safely, to_numpy_dtype
from ..ir.operations import Input
from .arrays import Array, ResultKind, as_numpy, convert_result, dtype_of_torch, is_torch, torch_name


class Exchange(Protocol):
    """The arrays of one backend.

    ``ready`` says which arguments go to the code as they are: source over ``x{k}``, with ``{k}`` their number and
    ``dtype{k}`` their dtype.  ``names`` are what else that source reads.
    """

    ready: str

    def names(self, nodes: Sequence[Node]) -> dict[str, Any]:
        """What the source of ``ready`` reads, for inputs of these nodes."""

    def taken(self, values: Sequence[Any], nodes: Sequence[Node], kind: ResultKind) -> list[Any]:
        """What callers pass as arrays of the backend; ``kind`` is where results belong."""

    def given(self, results: Sequence[Any], kind: ResultKind) -> list[Any]:
        """Results as callers want them."""

    def as_numpy(self, array: Any) -> Array:
        """An array of the backend as NumPy's, for checks of its values."""


class NumPyExchange:
    """NumPy arrays."""

    ready = "type(x{k}) is ndarray and x{k}.dtype is dtype{k}"

    def names(self, nodes: Sequence[Node]) -> dict[str, Any]:
        """NumPy's type of arrays, and the dtypes."""
        dtypes = {f"dtype{k}": to_numpy_dtype(node.type.dtype) for k, node in enumerate(nodes)}
        return {"ndarray": np.ndarray, **dtypes}

    def taken(self, values: Sequence[Any], nodes: Sequence[Node], kind: ResultKind) -> list[Any]:
        """Of the declared ranks and dtypes."""
        return [as_numpy(value, node.type, _label(node)) for value, node in zip(values, nodes, strict=True)]

    def given(self, results: Sequence[Any], kind: ResultKind) -> list[Any]:
        """In the library that callers use, on its device."""
        return [convert_result(each, kind) for each in results]

    def as_numpy(self, array: Any) -> Array:
        """Itself."""
        found: Array = array
        return found


class TorchExchange:
    """Torch tensors: on one GPU, or on the host for Triton's interpreter.

    ``device`` is the GPU for inputs that are on the host; None for torch's current one.
    """

    def __init__(self, interpret: bool, device: str | None = None) -> None:
        self._interpret, self._device = interpret, device
        place = "not x{k}.is_cuda" if interpret else "x{k}.is_cuda and x{k}.get_device() == x0.get_device()"
        self.ready = (
            f"type(x{{k}}) is tensor and x{{k}}.dtype is dtype{{k}} and {place} and not x{{k}}.requires_grad "
            "and not x{k}.is_neg() and x{k}.layout is strided"
        )

    def names(self, nodes: Sequence[Node]) -> dict[str, Any]:
        """Torch's type of tensors, and the dtypes."""
        import torch

        dtypes = {f"dtype{k}": getattr(torch, torch_name(node.type.dtype)) for k, node in enumerate(nodes)}
        return {"tensor": torch.Tensor, "strided": torch.strided, **dtypes}

    def taken(self, values: Sequence[Any], nodes: Sequence[Node], kind: ResultKind) -> list[Any]:
        """On one device: that of the tensors among them, where kernels can run on it; else the one that was chosen."""
        device = kind.device if kind.library == "torch" else None
        if self._interpret:
            device = "cpu"
        elif device is None or device.type != "cuda":
            device = self._device or "cuda"
        return [_as_torch(value, node.type, _label(node), device) for value, node in zip(values, nodes, strict=True)]

    def given(self, results: Sequence[Any], kind: ResultKind) -> list[Any]:
        """Tensors where any were passed, on their device; else NumPy's arrays, or what the library makes of them."""
        if kind.library == "torch":
            return [each.to(kind.device) for each in results]
        for dtype in filter(None, (dtype_of_torch(each.dtype) for each in results)):
            if not dtype.in_numpy:
                raise DTypeError(f"a result is {dtype}, which NumPy has not; pass torch tensors, or cast it to float32")
        return [convert_result(self.as_numpy(each), kind) for each in results]

    def as_numpy(self, array: Any) -> Array:
        """A copy in memory, of float32 where NumPy has not the dtype."""
        dtype = dtype_of_torch(array.dtype)
        exact = array if dtype is None or dtype.in_numpy else array.float()
        found: Array = exact.detach().cpu().numpy()
        return found


def _label(node: Node) -> str:
    assert isinstance(node.op, Input)
    return node.op.label


def _as_torch(value: Any, type: TensorType, name: str, device: Any) -> Any:
    """``value`` as a tensor of the rank and dtype of ``type`` on a device, as ``as_numpy`` does it."""
    import torch

    if not is_torch(value):
        if not type.dtype.in_numpy:
            raise DTypeError(f"tensor {name!r} is {type.dtype}, which NumPy has not; pass a torch tensor")
        array = as_numpy(value, type, name)
        shareable = array.flags.writeable and min(array.strides, default=0) >= 0
        return torch.from_numpy(array if shareable else array.copy()).to(device)
    if value.requires_grad:
        raise DTypeError(f"tensor {name!r} requires grad, which Otus would drop without a word; pass {name}.detach()")
    if value.layout is not torch.strided:
        raise UnsupportedError(f"tensor {name!r} has layout {value.layout}; pass {name}.to_dense()")
    if value.ndim != type.ndim:
        raise ShapeError(
            f"tensor {name!r} was given with shape {tuple(value.shape)}, {value.ndim} axes; its type {type} has "
            f"{type.ndim}"
        )
    given = dtype_of_torch(value.dtype)
    if given is None or not can_cast_safely(given, type.dtype):
        raise DTypeError(
            f"tensor {name!r} is {type.dtype}, but was given with dtype {str(value.dtype).removeprefix('torch.')}, "
            f"which would lose information; pass {name}.to(torch.{torch_name(type.dtype)})"
        )
    return value.resolve_conj().resolve_neg().to(device=device, dtype=getattr(torch, torch_name(type.dtype)))


def exchange_for(backend: str, interpret: bool, device: str | None = None) -> Exchange:
    """The arrays of a backend; ``device`` is the GPU for inputs that are on the host."""
    return TorchExchange(interpret, device) if backend == "triton" else NumPyExchange()
