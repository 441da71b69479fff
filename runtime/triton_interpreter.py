"""Running Triton kernels in Triton's interpreter, in a process that may compile others for a GPU.

Triton decides when it is imported whether kernels are interpreted (``TRITON_INTERPRET=1``).  Within
:func:`interpreter` it is as if that had been set: its library's own functions, such as ``tl.sum``, are interpreted
too; afterwards everything is as before.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

_lock = threading.RLock()
_active: list[bool] = []


@contextmanager
def interpreter() -> Iterator[None]:
    """Kernels that are defined or launched within are interpreted; one thread at a time."""
    with _lock:
        if _active:
            yield
            return
        _active.append(True)
        try:
            with _interpreting(), np.errstate(all="ignore"):
                yield
        finally:
            _active.clear()


@contextmanager
def _interpreting() -> Iterator[None]:
    import triton
    import triton.language as tl
    from triton.runtime import interpreter as theirs

    modules = (tl, tl.core, tl.math, tl.standard)
    places: tuple[Any, ...] = (*modules, tl.tensor, tl.dtype, tl.core.tensor_descriptor_base, theirs.ReduceOps,
                               theirs.InterpreterBuilder)  # fmt: skip
    before = [(place, dict(vars(place))) for place in places]
    with triton.knobs.runtime.scope():
        triton.knobs.runtime.interpret = True
        _interpret_library(modules, theirs)
        theirs.ReduceOps.generic_reduce = _reduced_in_halves
        before.append((theirs, {"_patch_lang_tensor": theirs._patch_lang_tensor}))
        theirs._patch_lang_tensor = _with_bounds(theirs._patch_lang_tensor)
        theirs.InterpreterBuilder.create_dot = _dot_of_any(theirs.InterpreterBuilder.create_dot)
        theirs.InterpreterBuilder.cast_impl = _rounding(theirs.InterpreterBuilder.cast_impl, theirs.TensorHandle)
        try:
            yield
        finally:
            for place, names in before:
                _restore(place, names)


def _interpret_library(modules: tuple[Any, ...], theirs: Any) -> None:
    """Triton's library functions as ones that the interpreter can call."""
    from triton.runtime.jit import JITFunction

    for module in modules:
        for name, value in list(vars(module).items()):
            if isinstance(value, JITFunction):
                setattr(module, name, _interpreted(value, theirs))


_known: dict[Any, Any] = {}


def _interpreted(function: Any, theirs: Any) -> Any:
    if function not in _known:
        _known[function] = theirs.InterpretedFunction(function.fn)
    return _known[function]


def _restore(place: Any, names: dict[str, Any]) -> None:
    """What was replaced; names that are new stay, since interpreted functions read them."""
    now = vars(place)
    for name, value in names.items():
        if now.get(name) is not value:
            setattr(place, name, value)


def _reduced_in_halves(self: Any, operands: Any) -> Any:
    """A reduction of one tensor by any function: one half with the other, until one is left, as a GPU does it.

    The interpreter's own goes element by element, which takes it seconds for a tile.
    """
    (operand,) = operands
    values = operand.handle.data
    while values.shape[self.axis] > 1:
        first, second = np.split(values, 2, self.axis)
        joined = self.combine_fn.fn(self.to_tensor(first, operand.dtype), self.to_tensor(second, operand.dtype))
        values = joined.handle.data
    if not self.keep_dims:
        values = np.squeeze(values, self.axis)
    return [self.to_tensor(values, operand.dtype)]


def _dot_of_any(theirs: Any) -> Any:
    """The interpreter's product of matrices, which takes the bits of a bfloat16 for a whole number, mended."""
    import triton.language as tl

    def dot(self: Any, left: Any, right: Any, total: Any, *options: Any) -> Any:
        exact = [self.create_fp_to_fp(x, tl.float32, None) if x.dtype.scalar == tl.bfloat16 else x
                 for x in (left, right)]  # fmt: skip
        return theirs(self, *exact, total, *options)

    return dot


def _rounding(theirs: Any, handle: Any) -> Any:
    """The interpreter's conversion of numbers, made to round to bfloat16 as GPUs do: to nearest, and to even.

    Its own cuts off digits of float32, and takes other numbers for the bits of a bfloat16.
    """
    import triton.language as tl

    def converted(self: Any, source: Any, target: Any) -> Any:
        if target.scalar != tl.bfloat16 or source.dtype.scalar == tl.bfloat16:
            return theirs(self, source, target)
        numbers = source.data.astype(np.float32)
        bits = numbers.view(np.uint32)
        nearest = (bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16
        nearest = np.where(np.isnan(numbers), 0x7FC0, nearest)
        return handle(nearest.astype(np.uint16), tl.bfloat16)

    return converted


def _with_bounds(theirs: Any) -> Any:
    """What makes tensors interpreted ones; a computed number can be the bound of a loop, as it cannot in Triton 3.6."""

    def patched(tensor: Any, scope: Any) -> None:
        theirs(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.squeeze()))

    return patched
