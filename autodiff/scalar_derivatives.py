"""Derivatives of scalar functions, and of scalar expressions by the chain rule.

``PARTIALS`` gives, for each function, its partial derivatives as scalar expressions of its
arguments and its value.  ``WIRTINGER`` adds the functions that are not holomorphic: their
derivatives with respect to z and to its conjugate (Wirtinger calculus; Kreutz-Delgado,
arXiv 0906.4835, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..ir.scalar import Argument, Call, Literal, Number, Scalar, call, literal, postorder

Partials = Callable[..., tuple[Scalar | Number, ...]]


# --- arithmetic that drops zeros and ones ------------------------------------------------------


def is_number(x: Scalar | Number, value: Number) -> bool:
    """Whether ``x`` is the number ``value``."""
    return (x.value if isinstance(x, Literal) else x) == value and not isinstance(x, (Argument, Call))


def _numbers(x: Scalar | Number, y: Scalar | Number) -> tuple[Number, Number] | None:
    """Both values, where both are numbers."""
    first, second = (z.value if isinstance(z, Literal) else z for z in (x, y))
    return None if isinstance(first, Scalar) or isinstance(second, Scalar) else (first, second)


def times(x: Scalar | Number, y: Scalar | Number) -> Scalar:
    """``x * y``, without factors of 1; a factor of 0 gives 0."""
    if is_number(x, 0) or is_number(y, 0):
        return literal(0.0)
    numbers = _numbers(x, y)
    if numbers is not None:
        return literal(numbers[0] * numbers[1])
    if is_number(x, 1):
        return as_scalar(y)
    if is_number(y, 1):
        return as_scalar(x)
    if is_number(x, -1):
        return minus(y)
    if is_number(y, -1):
        return minus(x)
    return call("mul", as_scalar(x), as_scalar(y))


def plus(x: Scalar | Number, y: Scalar | Number) -> Scalar:
    """``x + y``, without terms of 0."""
    numbers = _numbers(x, y)
    if numbers is not None:
        return literal(numbers[0] + numbers[1])
    if is_number(x, 0):
        return as_scalar(y)
    return as_scalar(x) if is_number(y, 0) else call("add", as_scalar(x), as_scalar(y))


def minus(x: Scalar | Number) -> Scalar:
    """``-x``."""
    if isinstance(x, Call) and x.function == "neg":
        return x.arguments[0]
    number = x.value if isinstance(x, Literal) else x
    return call("neg", number) if isinstance(number, Scalar) else literal(-number)


def conjugate(x: Scalar | Number) -> Scalar:
    """The complex conjugate; numbers are conjugated at once."""
    if isinstance(x, Call):
        return x.arguments[0] if x.function == "conj" else call("conj", x)
    number = x.value if isinstance(x, Literal) else x
    return call("conj", number) if isinstance(number, Scalar) else literal(number.conjugate())


def as_scalar(x: Scalar | Number) -> Scalar:
    """Numbers as literals."""
    return x if isinstance(x, Scalar) else literal(x)


# --- the table ---------------------------------------------------------------------------------


def _power(x: Scalar, y: Scalar, out: Scalar) -> tuple[Scalar | Number, ...]:
    """0 with respect to the base where the exponent is 0, and to the exponent where the base is.

    JAX has the second too, but NaN for the first where the base is 0 as well.
    """
    if isinstance(y, Literal):
        n = y.value
        if n == 0:
            return 0.0, 0.0
        return times(n, x if n == 2 else call("pow", x, n - 1)), 0.0
    lowered = call("pow", x, call("where", call("eq", y, 0), 1.0, call("sub", y, 1.0)))
    safe = call("where", call("eq", x, 0), 1.0, x)
    return times(y, lowered), times(call("log", safe), out)


def _one_over(x: Scalar) -> Scalar:
    """``1 / x``; numbers are inverted at once."""
    return literal(1 / x.value) if isinstance(x, Literal) and x.value != 0 else call("reciprocal", x)


def _chosen(x: Scalar, y: Scalar, chosen: str) -> Scalar:
    """1 where ``x`` is chosen from ``x`` and ``y``, ½ at ties, else 0; 0 beside a NaN, as in JAX."""
    return call("where", call(chosen, x, y), 1.0, call("where", call("eq", x, y), 0.5, 0.0))


def _arctan2(y: Scalar, x: Scalar, out: Scalar) -> tuple[Scalar | Number, ...]:
    radius = call("add", call("square", x), call("square", y))
    return call("div", x, radius), minus(call("div", y, radius))


def _one_less_square(x: Scalar) -> Scalar:
    return call("mul", call("sub", 1.0, x), call("add", 1.0, x))


def _gaussian(x: Scalar) -> Scalar:
    return call("mul", call("exp", call("neg", call("square", x))), 2 / math.sqrt(math.pi))


_zero_one: Partials = lambda x, out: (0.0,)  # noqa: E731
_zero_two: Partials = lambda x, y, out: (0.0, 0.0)  # noqa: E731

PARTIALS: dict[str, Partials] = {
    "add": lambda x, y, out: (1.0, 1.0),
    "sub": lambda x, y, out: (1.0, -1.0),
    "mul": lambda x, y, out: (y, x),
    "div": lambda x, y, out: (_one_over(y), minus(call("div", out, y))),
    "pow": _power,
    "mod": lambda x, y, out: (1.0, minus(call("floor", call("div", x, y)))),
    "neg": lambda x, out: (-1.0,),
    "square": lambda x, out: (times(2.0, x),),
    "exp": lambda x, out: (out,),
    "expm1": lambda x, out: (call("exp", x),),
    "log": lambda x, out: (call("reciprocal", x),),
    "log1p": lambda x, out: (call("reciprocal", call("add", x, 1.0)),),
    "sqrt": lambda x, out: (call("div", 0.5, out),),
    "rsqrt": lambda x, out: (times(-0.5, call("div", out, x)),),
    "reciprocal": lambda x, out: (minus(call("square", out)),),
    "sin": lambda x, out: (call("cos", x),),
    "cos": lambda x, out: (minus(call("sin", x)),),
    "tan": lambda x, out: (call("add", call("square", out), 1.0),),
    "arcsin": lambda x, out: (call("rsqrt", _one_less_square(x)),),
    "arccos": lambda x, out: (minus(call("rsqrt", _one_less_square(x))),),
    "arctan": lambda x, out: (call("reciprocal", call("add", call("square", x), 1.0)),),
    "sinh": lambda x, out: (call("cosh", x),),
    "cosh": lambda x, out: (call("sinh", x),),
    "tanh": lambda x, out: (_one_less_square(out),),
    "sigmoid": lambda x, out: (call("mul", out, call("sigmoid", call("neg", x))),),
    "softplus": lambda x, out: (call("sigmoid", x),),
    "erf": lambda x, out: (_gaussian(x),),
    "erfc": lambda x, out: (minus(_gaussian(x)),),
    "relu": lambda x, out: (call("where", call("gt", x, 0), 1.0, 0.0),),
    "abs": lambda x, out: (call("where", call("ge", x, 0), 1.0, -1.0),),
    "sign": _zero_one,
    "floor": _zero_one,
    "real": lambda x, out: (1.0,),
    "imag": _zero_one,
    "conj": lambda x, out: (1.0,),
    "arctan2": _arctan2,
    "logaddexp": lambda x, y, out: (call("sigmoid", call("sub", x, y)), call("sigmoid", call("sub", y, x))),
    "maximum": lambda x, y, out: (_chosen(x, y, "gt"), _chosen(y, x, "gt")),
    "minimum": lambda x, y, out: (_chosen(x, y, "lt"), _chosen(y, x, "lt")),
    "where": lambda c, x, y, out: (0.0, call("where", c, 1.0, 0.0), call("where", c, 0.0, 1.0)),
    "isfinite": _zero_one,
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or"), _zero_two),
    "logical_not": _zero_one,
}


def _half_over(x: Scalar) -> Scalar:
    """``1 / (2|x|)``, and 0 at 0."""
    size = call("abs", x)
    return call("where", call("eq", size, 0), 0.0, call("div", 0.5, size))


def _sign_anti(x: Scalar) -> Scalar:
    return minus(call("mul", call("square", call("sign", x)), _half_over(x)))


# function: (derivative with respect to z, derivative with respect to the conjugate of z)
WIRTINGER: dict[str, Callable[[Scalar], tuple[Scalar | Number, Scalar | Number]]] = {
    "conj": lambda x: (0.0, 1.0),
    "real": lambda x: (0.5, 0.5),
    "imag": lambda x: (-0.5j, 0.5j),
    "abs": lambda x: (times(0.5, call("conj", call("sign", x))), times(0.5, call("sign", x))),
    "sign": lambda x: (_half_over(x), _sign_anti(x)),
}


@dataclass(frozen=True)
class ScalarDerivative:
    """With respect to one operand: the derivative, and that by the operand's conjugate (0 if holomorphic)."""

    direct: Scalar
    conjugated: Scalar


def differentiate(
    expression: Scalar, count: int, is_complex: bool, seed: Scalar | Number = 1.0
) -> list[ScalarDerivative]:
    """The derivatives of ``expression`` with respect to its ``count`` operands, times ``seed``.

    One sweep from the root to the leaves; ``where`` lets a derivative through only on the side
    that was chosen, so that what the other side holds (infinities too) cannot matter.
    """
    adjoints: dict[Scalar, tuple[Scalar, Scalar]] = {expression: (as_scalar(seed), literal(0.0))}
    for part in reversed(postorder(expression)):
        if isinstance(part, Call) and part in adjoints:
            _spread(part, adjoints, is_complex)
    nothing = (literal(0.0), literal(0.0))
    found = {part.position: pair for part, pair in adjoints.items() if isinstance(part, Argument)}
    return [ScalarDerivative(*found.get(position, nothing)) for position in range(count)]


def _spread(part: Call, adjoints: dict[Scalar, tuple[Scalar, Scalar]], is_complex: bool) -> None:
    direct, conjugated = adjoints[part]
    if part.function == "where":
        condition, first, second = part.arguments
        _accumulate(adjoints, first, _selected(condition, direct, True), _selected(condition, conjugated, True))
        _accumulate(adjoints, second, _selected(condition, direct, False), _selected(condition, conjugated, False))
        return
    if part.function == "relu":
        (x,) = part.arguments
        _accumulate(adjoints, x, _selected(call("gt", x, 0), direct, True), conjugated)
        return
    if is_complex and part.function in WIRTINGER:
        (x,) = part.arguments
        by_x, by_conj = WIRTINGER[part.function](x)
        _accumulate(
            adjoints, x,
            plus(times(direct, by_x), times(conjugated, conjugate(by_conj))),
            plus(times(direct, by_conj), times(conjugated, conjugate(by_x))),
        )  # fmt: skip
        return
    for x, partial in zip(part.arguments, PARTIALS[part.function](*part.arguments, part), strict=True):
        _accumulate(
            adjoints, x, times(direct, partial), times(conjugated, conjugate(partial)) if is_complex else literal(0.0)
        )


def _selected(condition: Scalar, value: Scalar, first: bool) -> Scalar:
    if is_number(value, 0):
        return value
    return call("where", condition, value, 0.0) if first else call("where", condition, 0.0, value)


def _accumulate(
    adjoints: dict[Scalar, tuple[Scalar, Scalar]], part: Scalar, direct: Scalar, conjugated: Scalar
) -> None:
    if isinstance(part, Literal) or (is_number(direct, 0) and is_number(conjugated, 0)):
        return
    known = adjoints.get(part, (literal(0.0), literal(0.0)))
    adjoints[part] = (plus(known[0], direct), plus(known[1], conjugated))


def selects(expression: Scalar) -> bool:
    """Whether the expression chooses between values, so that a derivative must not leak across."""
    chosen: Sequence[str] = ("where", "relu")
    return any(isinstance(part, Call) and part.function in chosen for part in postorder(expression))
