"""What each scalar function of a map means, over NumPy arrays: the oracle's table.

Every row is written for being obviously right: no fusion, no dtype cleverness, one temporary a
step.  :func:`evaluate_scalar` walks a scalar expression once and casts after every step to the
dtype that the graph's own rule gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..ir import DType, DTypeError, as_dtype, promote
from ..ir.dtypes import to_numpy_dtype
from ..ir.scalar import SCALAR_FUNCTIONS, Argument, Call, Literal, Number, Scalar, postorder

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ScalarReference:
    """One row: the function, and how its operands reach it.

    ``"joined"`` operands come in their promoted dtype (floating where the result is);
    ``"selected"`` ones do so but for the first, a condition; ``"compared"`` ones come as they are.
    """

    function: Callable[..., Any]
    operands: str = "joined"


def _elementwise(function: Callable[[float], float]) -> Callable[[Array], Array]:
    apply = np.frompyfunc(function, 1, 1)

    def applied(x: Array) -> Array:
        return np.asarray(apply(np.asarray(x, np.float64)), np.float64)

    return applied


def _sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) with an exponential that never overflows."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def _softplus(x: Array) -> Array:
    """log(1 + exp(x)) as max(x, 0) + log(1 + exp(-|x|))."""
    return np.asarray(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


def _power(base: Array, exponent: Array) -> Array:
    if base.dtype.kind in "iub" and np.any(exponent < 0):
        raise DTypeError(
            f"pow: integers to the negative power {np.min(exponent)} are no integers; "
            "cast the base to a floating dtype first"
        )
    return np.asarray(np.power(base, exponent))


def _negative(x: Array) -> Array:
    _refuse_booleans("neg", x)
    return np.asarray(np.negative(x))


def _subtract(x: Array, y: Array) -> Array:
    _refuse_booleans("sub", x)
    return np.asarray(np.subtract(x, y))


def _refuse_booleans(what: str, x: Array) -> None:
    if x.dtype == np.bool_:
        raise DTypeError(f"{what}: booleans have no negative; use logical_not, or cast to an integer dtype")


def _floor(x: Array) -> Array:
    return np.asarray(np.floor(x)) if x.dtype.kind == "f" else x


def _sign(x: Array) -> Array:
    return x if x.dtype == np.bool_ else np.asarray(np.sign(x))


def _where(condition: Array, left: Array, right: Array) -> Array:
    return np.where(condition != 0, left, right)


SCALAR_REFERENCE: dict[str, ScalarReference] = {
    "add": ScalarReference(np.add),
    "sub": ScalarReference(_subtract),
    "mul": ScalarReference(np.multiply),
    "div": ScalarReference(np.true_divide),
    "pow": ScalarReference(_power),
    "mod": ScalarReference(np.mod),
    "neg": ScalarReference(_negative),
    "square": ScalarReference(lambda x: x * x),
    "exp": ScalarReference(np.exp),
    "expm1": ScalarReference(np.expm1),
    "log": ScalarReference(np.log),
    "log1p": ScalarReference(np.log1p),
    "sqrt": ScalarReference(np.sqrt),
    "rsqrt": ScalarReference(lambda x: 1 / np.sqrt(x)),
    "reciprocal": ScalarReference(lambda x: 1 / x),
    "sin": ScalarReference(np.sin),
    "cos": ScalarReference(np.cos),
    "tan": ScalarReference(np.tan),
    "arcsin": ScalarReference(np.arcsin),
    "arccos": ScalarReference(np.arccos),
    "arctan": ScalarReference(np.arctan),
    "arctan2": ScalarReference(np.arctan2),
    "sinh": ScalarReference(np.sinh),
    "cosh": ScalarReference(np.cosh),
    "tanh": ScalarReference(np.tanh),
    "sigmoid": ScalarReference(_sigmoid),
    "softplus": ScalarReference(_softplus),
    "relu": ScalarReference(lambda x: np.maximum(x, 0)),
    "erf": ScalarReference(_elementwise(math.erf)),
    "erfc": ScalarReference(_elementwise(math.erfc)),
    "abs": ScalarReference(np.abs),
    "sign": ScalarReference(_sign),
    "floor": ScalarReference(_floor),
    "real": ScalarReference(np.real),
    "imag": ScalarReference(np.imag),
    "conj": ScalarReference(lambda x: np.conj(x) if np.iscomplexobj(x) else x),
    "logaddexp": ScalarReference(np.logaddexp),
    "maximum": ScalarReference(np.maximum),
    "minimum": ScalarReference(np.minimum),
    "where": ScalarReference(_where, "selected"),
    "isfinite": ScalarReference(np.isfinite, "compared"),
    "eq": ScalarReference(np.equal, "compared"),
    "ne": ScalarReference(np.not_equal, "compared"),
    "lt": ScalarReference(np.less, "compared"),
    "le": ScalarReference(np.less_equal, "compared"),
    "gt": ScalarReference(np.greater, "compared"),
    "ge": ScalarReference(np.greater_equal, "compared"),
    "logical_and": ScalarReference(np.logical_and, "compared"),
    "logical_or": ScalarReference(np.logical_or, "compared"),
    "logical_not": ScalarReference(np.logical_not, "compared"),
}


@dataclass(frozen=True)
class _Typed:
    """An array with its dtype, or with a Python number whose kind says that its dtype is weak."""

    array: Array
    kind: DType | Number


def evaluate_scalar(expression: Scalar, operands: Sequence[Array]) -> Array:
    """The value of ``expression`` over arrays that broadcast against one another.

    Literals are weak, as in NumPy 2, and so is what is made of literals alone.
    Raises ``DTypeError`` where a literal does not fit the dtype of the tensor it meets.
    """
    values: dict[Scalar, _Typed] = {}
    for part in postorder(expression):
        if isinstance(part, Argument):
            array = operands[part.position]
            values[part] = _Typed(array, as_dtype(array.dtype))
        elif isinstance(part, Literal):
            values[part] = _Typed(np.asarray(part.value), part.value)
        elif isinstance(part, Call):
            values[part] = _apply(part.function, [values[x] for x in part.arguments])
    return values[expression].array


def _apply(name: str, operands: list[_Typed]) -> _Typed:
    row = SCALAR_REFERENCE[name]
    result = SCALAR_FUNCTIONS[name].dtype([x.kind for x in operands])
    if row.operands == "joined":
        arrays = _joined(operands, result)
    elif row.operands == "selected":
        arrays = [operands[0].array, *_joined(operands[1:], result)]
    else:
        arrays = _compared(operands)
    value = np.asarray(row.function(*arrays))
    target = to_numpy_dtype(result) if isinstance(result, DType) else np.dtype(type(result))
    return _Typed(value.astype(target), result)


def _joined(operands: list[_Typed], result: DType | Number) -> list[Array]:
    """All operands in the promoted dtype of operands and result."""
    common = to_numpy_dtype(promote(*(x.kind for x in operands), result))
    return [_cast(x, common) for x in operands]


def _compared(operands: list[_Typed]) -> list[Array]:
    """Operands as they are, but weak numbers rounded as the inexact tensor they meet is."""
    common = promote(*(x.kind for x in operands))
    if not common.is_inexact:
        return [x.array for x in operands]
    dtype = to_numpy_dtype(common)
    return [x.array if isinstance(x.kind, DType) else x.array.astype(dtype) for x in operands]


def _cast(value: _Typed, dtype: np.dtype[Any]) -> Array:
    result = value.array.astype(dtype)
    if not isinstance(value.kind, DType) and dtype.kind in "iu" and np.any(result != value.array):
        raise DTypeError(
            f"the number {value.array[result != value.array].flat[0]} does not fit {dtype.name}, "
            "the dtype of the tensor it meets; cast the tensor to a wider dtype first"
        )
    return result
