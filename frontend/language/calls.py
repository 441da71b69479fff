"""Calling the frontend's functions from text: what may be called, and with what.

Arguments are checked against a function's signature before it is called, and every error comes
back as a diagnostic at the call.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from ...ir import Dim, DType, OtusError, build
from ...ir.errors import nearest
from .. import FUNCTIONS
from ..expression import Expression, as_expression
from .diagnostics import LanguageError, Span
from .scope import Value

MAXIMUM_ORDER = 16
_MAXIMUM_CONSTANT = 1_000_000
_WORD = re.compile(r"[\w.+-]*\Z")


# --- derivatives, of one tensor each -----------------------------------------------------------


def _grad(loss: Expression, x: Expression) -> Expression:
    return FUNCTIONS["grad"](loss, x)  # type: ignore[no-any-return]


def _jacobian(y: Expression, x: Expression) -> Expression:
    return FUNCTIONS["jacobian"](y, x)  # type: ignore[no-any-return]


def _hessian(loss: Expression, x: Expression, z: Expression | None = None) -> Expression:
    if z is None:
        return FUNCTIONS["hessian"](loss, x)  # type: ignore[no-any-return]
    return _jacobian(_grad(loss, x), z)


def _jvp(y: Expression, x: Expression, v: Expression) -> Expression:
    return FUNCTIONS["jvp"](y, [x], [v])  # type: ignore[no-any-return]


def _vjp(y: Expression, x: Expression, u: Expression) -> Expression:
    return FUNCTIONS["vjp"](y, [x], [u])[0]  # type: ignore[no-any-return]


def _hvp(loss: Expression, x: Expression, v: Expression) -> Expression:
    return FUNCTIONS["hvp"](loss, [x], [v])[0]  # type: ignore[no-any-return]


def _jtjvp(y: Expression, x: Expression, v: Expression) -> Expression:
    return FUNCTIONS["jtjvp"](y, [x], [v])[0]  # type: ignore[no-any-return]


def _derivative(y: Expression, x: Expression, order: int = 1) -> Expression:
    if order not in range(MAXIMUM_ORDER + 1):
        raise OtusError(f"derivative: order={order!r}; orders 0 to {MAXIMUM_ORDER} are possible")
    return FUNCTIONS["derivative"](y, x, order)  # type: ignore[no-any-return]


CALLABLE: Mapping[str, Callable[..., Any]] = {
    **{name: function for name, function in FUNCTIONS.items() if name != "tensor"},
    "grad": _grad, "jacobian": _jacobian, "hessian": _hessian, "jvp": _jvp, "vjp": _vjp, "hvp": _hvp,
    "jtjvp": _jtjvp, "derivative": _derivative,
}  # fmt: skip
FUNCTION_NAMES = frozenset(CALLABLE)
ELEMENTWISE = frozenset(name for name, function in CALLABLE.items() if function.__module__.endswith(".elementwise")) | {
    "cast"
}
INDEX_REDUCTIONS = ("sum", "prod", "max", "min", "mean", "logsumexp")
KEEPING = ("softmax", "log_softmax")
METHODS = ("sum", "max", "min", "prod", "mean", "var", "reshape", "transpose", "conj", "astype")
ATTRIBUTES = ("T", "real", "imag")

# NumPy's integers wrap around in these, so they are left to the graph.
_WRAPPING = ("add", "subtract", "multiply", "power", "square", "negative", "abs")

# What a wrong argument can raise inside a function that is written for Python callers.
_ARGUMENT_ERRORS = (OtusError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError)


def unknown_function(name: str, span: Span, known: Sequence[str] = ()) -> LanguageError:
    """The error for a name that is no function, with the nearest one that is."""
    near = nearest(name, [*known, *FUNCTION_NAMES]).removeprefix("; ")
    return LanguageError.at(span, f"unknown function {name!r}", near or "define it: def f(x) = …")


def call_function(name: str, arguments: Sequence[Value], keywords: Mapping[str, Value], span: Span) -> Any:
    """Call a function of the frontend; raises ``LanguageError`` at ``span`` for wrong arguments."""
    function = CALLABLE[name]
    if name in ELEMENTWISE and arguments and not keywords and all(_is_number(x) for x in arguments):
        folded = fold(name, arguments, span)
        if folded is not None:
            return folded
    bound = _bind(name, function, arguments, keywords, span)
    values = {key: _checked(name, bound.signature.parameters[key], x, span) for key, x in bound.arguments.items()}
    bound.arguments.update(values)
    _check_size(name, arguments, span)
    return guarded(name, lambda: function(*bound.args, **bound.kwargs), span)


def call_method(
    base: Expression, name: str, arguments: Sequence[Value], keywords: Mapping[str, Value], span: Span
) -> Any:
    """Call a method of an expression; its arguments are numbers, tuples and names of dtypes."""
    if name not in METHODS:
        near = nearest(name, METHODS).removeprefix("; ")
        raise LanguageError.at(span, f"a tensor has no method {name!r}", near or f"methods are {', '.join(METHODS)}")
    function = getattr(base, name)
    bound = _bind(name, function, arguments, keywords, span)
    for value in (*arguments, *keywords.values()):
        _check_plain(name, value, span)
    return guarded(name, lambda: function(*bound.args, **bound.kwargs), span)


def guarded(name: str, action: Callable[[], Any], span: Span) -> Any:
    """The value of an action of the frontend; its errors become diagnostics at ``span``."""
    try:
        return action()
    except LanguageError:
        raise
    except OtusError as error:
        message, _, hint = str(error).partition("; ")
        raise LanguageError.at(span, message, hint or None) from error
    except _ARGUMENT_ERRORS as error:
        usage = signature_text(name) if name in CALLABLE else None
        raise LanguageError.at(span, f"{name} does not take these arguments: {error}", usage) from error


def fold(name: str, arguments: Sequence[Any], span: Span) -> Value:
    """The number that an elementwise function has at numbers, or None where NumPy lacks it."""
    function = getattr(np, name, None)
    if name in _WRAPPING and any(isinstance(x, int) for x in arguments):
        return None
    if not isinstance(function, np.ufunc) or function.nin != len(arguments):
        return None
    with np.errstate(all="ignore"):
        value: Value = guarded(name, lambda: function(*arguments).item(), span)
    return value


def _bind(
    name: str, function: Callable[..., Any], arguments: Sequence[Value], keywords: Mapping[str, Value], span: Span
) -> inspect.BoundArguments:
    signature = _signature(function) if name in CALLABLE and function is CALLABLE[name] else inspect.signature(function)
    try:
        return signature.bind(*arguments, **keywords)
    except TypeError as error:
        hint = signature_text(name, signature)
        unknown = [key for key in keywords if key not in signature.parameters]
        if unknown:
            near = nearest(unknown[0], signature.parameters).removeprefix("; ")
            raise LanguageError.at(span, f"{name} has no argument {unknown[0]!r}", near or hint) from error
        count = len(arguments) + len(keywords)
        raise LanguageError.at(span, f"{name} got {count} argument{'s' * (count != 1)}: {error}", hint) from error


def signature_text(name: str, signature: inspect.Signature | None = None) -> str:
    """How a function is called, such as ``softmax(x, axis=-1)``."""
    parameters = (signature or _signature(CALLABLE[name])).parameters.values()
    return f"{name}({', '.join(map(_parameter_text, parameters))})"


@cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def _parameter_text(parameter: inspect.Parameter) -> str:
    star = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
    default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
    return f"{star}{parameter.name}{default}"


# --- what a parameter takes --------------------------------------------------------------------


def _checked(name: str, parameter: inspect.Parameter, value: Any, span: Span) -> Any:
    annotation = str(parameter.annotation)
    if parameter.kind is parameter.VAR_POSITIONAL:
        return tuple(_sizes_as_tensors(x) for x in value)
    if annotation.startswith("Sequence["):
        if not isinstance(value, (list, tuple)):
            raise LanguageError.at(span, f"{name}: {parameter.name} is a list in brackets, such as [x, y]")
        return [as_tensor(x) for x in value] if "TensorLike" in annotation else value
    if annotation in ("Expression", "Expression | None") and value is not None:
        if isinstance(value, (list, tuple)):
            message = f"{name}: {parameter.name} is one tensor, not a list"
            raise LanguageError.at(span, message, "write a statement for each tensor")
        return guarded(name, lambda: as_expression(as_tensor(value)), span)
    if "TensorLike" in annotation:
        return _sizes_as_tensors(value)
    if name == "constant" and parameter.name == "value":
        return value
    _check_plain(f"{name}: {parameter.name}", value, span)
    return value


def _check_plain(what: str, value: Any, span: Span) -> None:
    """Refuse tensors, and texts that are no plain word, where numbers and names belong."""
    stack = [value]
    while stack:
        part = stack.pop()
        if isinstance(part, Expression):
            raise LanguageError.at(span, f"{what} does not take a tensor here, but a number, tuple or name")
        if isinstance(part, str) and not _WORD.match(part):
            raise LanguageError.at(span, f"{what} does not take the text {part!r}")
        if isinstance(part, (list, tuple)):
            stack.extend(part)


def _sizes_as_tensors(value: Any) -> Any:
    return as_tensor(value) if isinstance(value, Dim) else value


def as_tensor(value: Any, like: Any = None) -> Any:
    """A symbolic size as a scalar tensor, of the dtype of ``like`` where that is floating."""
    if not isinstance(value, Dim):
        return value
    floating = isinstance(like, Expression) and like.dtype.is_inexact
    return Expression.of(build.extent(value, like.dtype.real if floating else DType.int64))


def _check_size(name: str, arguments: Sequence[Value], span: Span) -> None:
    """Refuse ranges of floats that would be held as huge constants."""
    if name != "arange" or not any(isinstance(x, float) for x in arguments):
        return
    numbers = [x for x in arguments if isinstance(x, (int, float))]
    first, last, step = {1: (0, *numbers, 1), 2: (*numbers, 1)}.get(len(numbers), tuple(numbers))[:3]
    count = (last - first) / step if step else 0
    if not math.isfinite(count) or count > _MAXIMUM_CONSTANT:
        raise LanguageError.at(span, f"arange({first}, {last}, {step}) has more than {_MAXIMUM_CONSTANT} elements")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float))
