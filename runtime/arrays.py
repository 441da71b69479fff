"""Array interchange: what callers pass becomes NumPy, and results become what callers passed.

NumPy arrays, torch tensors, JAX arrays, anything with ``__dlpack__`` or ``__array__``, Python
numbers and nested lists of them are taken.  Only casts that lose nothing happen unasked.  Torch and
JAX are never imported here: a value of theirs means that they already are.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..ir import DType, DTypeError, ShapeError, TensorType, UnsupportedError, as_dtype
from ..ir.dtypes import to_numpy_dtype

Array = npt.NDArray[Any]

# DLDeviceType: CPU memory, host memory pinned by CUDA or ROCm, memory managed by CUDA
_DLPACK_HOST_DEVICES = (1, 3, 11, 13)
_PYTHON_NUMBERS = (bool, int, float, complex)
_KIND_ORDER = {"bool": 0, "uint": 1, "int": 1, "float": 2, "complex": 3}


def as_numpy(value: Any, type: TensorType, name: str) -> Array:
    """``value`` as a NumPy array of the rank and dtype of ``type``; ``name`` is for messages.

    Memory is shared with ``value`` where its dtype is already right.  Integers become wider
    integers or floats and floats become wider floats where NumPy calls that safe; Python numbers
    (and nested lists of them) take the declared dtype as they do in NumPy 2.

    Raises ``DTypeError`` where information would be lost or where torch would have to drop a
    gradient, ``ShapeError`` for a wrong rank or a ragged list, and ``UnsupportedError`` for storage
    that cannot be read here.
    """
    target = to_numpy_dtype(type.dtype)
    weak = _is_weak(value)
    array = _from_python(value, type, name) if weak else _from_arraylike(value, name)
    if array.ndim != type.ndim:
        raise ShapeError(
            f"tensor {name!r} was given with shape {array.shape}, {array.ndim} axes; its type {type} has {type.ndim}"
        )
    if array.dtype == target:
        return array.astype(target, copy=False)
    return _cast_weak(array, type, name) if weak else _cast_exactly(array, type, name)


# --- reading -----------------------------------------------------------------------------------


def _is_weak(value: Any) -> bool:
    """Whether ``value`` is a Python number or nested lists of nothing but Python numbers."""
    if isinstance(value, (list, tuple, range)):
        return all(_is_weak(item) for item in value)
    return isinstance(value, _PYTHON_NUMBERS) and not isinstance(value, np.generic)


def _from_python(value: Any, type: TensorType, name: str) -> Array:
    try:
        array = np.asarray(value)
    except ValueError:
        raise ShapeError(f"tensor {name!r} was given as a ragged list; all rows need one length") from None
    if array.dtype == object:
        raise DTypeError(f"tensor {name!r} has integers beyond 64 bits; {type.dtype} was declared")
    return array if array.size else array.astype(to_numpy_dtype(type.dtype))


def _from_arraylike(value: Any, name: str) -> Array:
    if isinstance(value, np.ma.MaskedArray):
        raise UnsupportedError(f"tensor {name!r} is a masked array; pass {name}.filled(0), for example")
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value)
    if is_torch(value):
        return _from_torch(value, name)
    if _is_jax(value):
        return _from_jax(value, name)
    if isinstance(value, (list, tuple)):
        return _from_list(value, name)
    if hasattr(value, "__dlpack__"):
        return _from_dlpack(value, name)
    if hasattr(value, "__array__"):
        return np.asarray(value)
    raise DTypeError(
        f"tensor {name!r} was given as {type(value).__name__}; NumPy, torch and JAX arrays, "
        "objects with __dlpack__ or __array__, numbers and nested lists of numbers are accepted"
    )


def _from_list(value: Any, name: str) -> Array:
    """A list of arrays: read each, then stack, so that torch and JAX elements work too."""
    items = [np.asarray(item) if _is_weak(item) else _from_arraylike(item, name) for item in value]
    if len({item.shape for item in items}) != 1:
        shapes = ", ".join(dict.fromkeys(str(item.shape) for item in items))
        raise ShapeError(f"tensor {name!r} was given as a list of shapes {shapes}; all need one shape")
    return np.stack(items)


def _from_torch(value: Any, name: str) -> Array:
    if value.requires_grad:
        raise DTypeError(
            f"tensor {name!r} requires grad, which Otus would drop without a word; "
            f"pass {name}.detach(), or differentiate through otus.torch_function"
        )
    if str(value.layout) != "torch.strided":
        raise UnsupportedError(f"tensor {name!r} has layout {value.layout}; pass {name}.to_dense()")
    dtype = dtype_of_torch(value.dtype)
    if dtype is None or not dtype.in_numpy:
        raise DTypeError(f"tensor {name!r} is {value.dtype}, which NumPy has not; pass {name}.float()")
    array: Array = value.resolve_conj().resolve_neg().cpu().numpy()
    return array


def _from_jax(value: Any, name: str) -> Array:
    if isinstance(value, sys.modules["jax"].core.Tracer):
        raise UnsupportedError(
            f"tensor {name!r} is a JAX tracer without a value; call Otus outside jax.jit, grad and vmap"
        )
    return np.asarray(value)


def _from_dlpack(value: Any, name: str) -> Array:
    device = int(value.__dlpack_device__()[0])
    if device not in _DLPACK_HOST_DEVICES:
        raise UnsupportedError(
            f"tensor {name!r} lies on a device (DLPack device type {device}) that NumPy cannot "
            "read; copy it to the host first"
        )
    return np.from_dlpack(value)


# --- casting -----------------------------------------------------------------------------------


def _cast_weak(array: Array, type: TensorType, name: str) -> Array:
    """Python numbers in the declared dtype: never to a lesser kind, never out of range."""
    if array.dtype.kind not in "biufc":
        raise DTypeError(f"tensor {name!r} holds {array.dtype}; numbers are accepted")
    source = as_dtype(array.dtype)
    if _KIND_ORDER[source.kind] > _KIND_ORDER[type.dtype.kind]:
        raise DTypeError(
            f"tensor {name!r} is {type.dtype}, but was given {source.kind} numbers, which would "
            f"lose information; declare dtype='{source}', or pass {type.dtype.kind} numbers"
        )
    with np.errstate(over="ignore"):
        result = array.astype(to_numpy_dtype(type.dtype))
    if result.dtype.kind in "iu":
        fits = (result == array) & ((result < 0) == (array < 0))
    else:
        fits = np.isfinite(result) | ~np.isfinite(array)
    if not np.all(fits):
        raise DTypeError(
            f"tensor {name!r} was given {array[~fits].flat[0]}, which is outside {type.dtype}; declare a wider dtype"
        )
    return result


def _cast_exactly(array: Array, type: TensorType, name: str) -> Array:
    target = to_numpy_dtype(type.dtype)
    if array.dtype.kind not in "biufcV" or array.dtype.name.startswith("void"):
        raise DTypeError(f"tensor {name!r} was given with dtype {array.dtype}; numbers are accepted")
    if not np.can_cast(array.dtype, target, "safe"):
        declare = f", or declare dtype='{array.dtype.name}'" if array.dtype.name in DType.__members__ else ""
        raise DTypeError(
            f"tensor {name!r} is {type.dtype}, but was given with dtype {array.dtype.name}, which "
            f"would lose information; pass {name}{_conversion(array.dtype, target)}{declare}"
        )
    return array.astype(target)


def _conversion(source: np.dtype[Any], target: np.dtype[Any]) -> str:
    return f"{'.real' if source.kind == 'c' and target.kind != 'c' else ''}.astype({target.name!r})"


# --- what comes back ---------------------------------------------------------------------------


@dataclass(frozen=True)
class ResultKind:
    """The library of the results (``"numpy"``, ``"torch"`` or ``"jax"``) and their device."""

    library: str = "numpy"
    device: Any = None


NUMPY_RESULT = ResultKind()


def result_kind(values: Iterable[Any]) -> ResultKind:
    """Where results belong for these inputs: torch before JAX before NumPy.

    Raises ``UnsupportedError`` where torch tensors lie on several devices (scalars on the host
    go along with any device, as in torch).
    """
    given = list(values)
    tensors = [x for x in given if is_torch(x)]
    if tensors:
        devices = dict.fromkeys(x.device for x in tensors if x.ndim) or {tensors[0].device: None}
        if len(devices) > 1:
            raise UnsupportedError(f"torch tensors lie on {' and '.join(map(str, devices))}; move them to one device")
        return ResultKind("torch", next(iter(devices)))
    for x in given:
        if _is_jax(x):
            devices = x.devices()
            return ResultKind("jax", next(iter(devices)) if len(devices) == 1 else None)
    return NUMPY_RESULT


def convert_result(array: Array, kind: ResultKind) -> Any:
    """``array`` as ``kind`` says; torch results share its memory where they can.

    JAX itself narrows float64 to float32 unless ``jax_enable_x64`` is set.
    """
    if kind.library == "torch":
        shareable = array.flags.writeable and min(array.strides, default=0) >= 0
        return sys.modules["torch"].from_numpy(array if shareable else array.copy()).to(kind.device)
    if kind.library == "jax":
        return sys.modules["jax"].device_put(array, kind.device)
    return array


def is_torch(value: Any) -> bool:
    """Whether a value is a torch tensor."""
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)
    return tensor is not None and isinstance(value, tensor)


def torch_name(dtype: DType) -> str:
    """What torch calls a dtype."""
    return {DType.float8_e4m3: "float8_e4m3fn"}.get(dtype, dtype.value)


def dtype_of_torch(dtype: Any) -> DType | None:
    """The dtype that torch's is; None where there is none like it."""
    return next((each for each in DType if str(dtype) == f"torch.{torch_name(each)}"), None)


def _is_jax(value: Any) -> bool:
    jax_array = getattr(sys.modules.get("jax"), "Array", None)
    return jax_array is not None and isinstance(value, jax_array)
