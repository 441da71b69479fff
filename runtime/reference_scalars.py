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
Value = Array | bool | int | float | complex


@dataclass(frozen=True)
class ScalarReference:
    """One row: the function, and whether its operands are first brought to one dtype.

    ``joined`` functions receive operands of their promoted dtype (floating where the result is);
    the others (comparisons, logic, ``where``) receive them as they are.
    """

    function: Callable[..., Any]
    joined: bool = True


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
    if np.asarray(base).dtype.kind in "iub" and np.any(np.asarray(exponent) < 0):
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
    if np.asarray(x).dtype == np.bool_:
        raise DTypeError(
            f"{what}: booleans have no negative; use logical_not, or cast to an integer dtype"
        )


def _floor(x: Array) -> Array:
    return np.asarray(np.floor(x)) if np.asarray(x).dtype.kind == "f" else x


def _sign(x: Array) -> Array:
    return x if np.asarray(x).dtype == np.bool_ else np.asarray(np.sign(x))


def _where(condition: Value, left: Value, right: Value) -> Array:
    return np.where(np.not_equal(condition, 0), left, right)


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
    "where": ScalarReference(_where, joined=False),
    "isfinite": ScalarReference(np.isfinite, joined=False),
    "eq": ScalarReference(np.equal, joined=False),
    "ne": ScalarReference(np.not_equal, joined=False),
    "lt": ScalarReference(np.less, joined=False),
    "le": ScalarReference(np.less_equal, joined=False),
    "gt": ScalarReference(np.greater, joined=False),
    "ge": ScalarReference(np.greater_equal, joined=False),
    "logical_and": ScalarReference(np.logical_and, joined=False),
    "logical_or": ScalarReference(np.logical_or, joined=False),
    "logical_not": ScalarReference(np.logical_not, joined=False),
}


def evaluate_scalar(expression: Scalar, operands: Sequence[Array]) -> Value:
    """The value of ``expression`` over arrays that broadcast against one another.

    Literals are weak, as in NumPy 2; a subexpression of literals alone is a Python number.
    Raises ``DTypeError`` where a literal does not fit the dtype of the tensor it meets.
    """
    values: dict[Scalar, Value] = {}
    for part in postorder(expression):
        if isinstance(part, Argument):
            values[part] = operands[part.position]
        elif isinstance(part, Literal):
            values[part] = part.value
        elif isinstance(part, Call):
            values[part] = _apply(part.function, [values[x] for x in part.arguments])
    return values[expression]


def _apply(name: str, operands: list[Value]) -> Value:
    row = SCALAR_REFERENCE[name]
    kinds = [_kind(x) for x in operands]
    result = SCALAR_FUNCTIONS[name].dtype(kinds)
    if row.joined:
        operands = _joined(operands, kinds, result)
    value = np.asarray(row.function(*operands))
    if isinstance(result, DType):
        return value.astype(to_numpy_dtype(result))
    return type(result)(value.item())


def _kind(value: Value) -> DType | Number:
    return as_dtype(value.dtype) if isinstance(value, np.ndarray) else value


def _joined(
    operands: list[Value], kinds: list[DType | Number], result: DType | Number
) -> list[Value]:
    if not isinstance(result, DType) and not any(isinstance(kind, DType) for kind in kinds):
        return [np.asarray(+x) for x in operands]
    common = to_numpy_dtype(promote(*kinds, result))
    return [_cast(x, common) for x in operands]


def _cast(value: Value, dtype: np.dtype[Any]) -> Array:
    if isinstance(value, np.ndarray):
        return value.astype(dtype)
    try:
        return np.asarray(value, dtype)
    except OverflowError:
        raise DTypeError(
            f"the number {value} does not fit {dtype.name}, the dtype of the tensor it meets; "
            "cast the tensor to a wider dtype first"
        ) from None
