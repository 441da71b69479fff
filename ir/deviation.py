"""Squares of distances from a multiple of a total, recognised in scalar expressions: what a variance sums."""

from __future__ import annotations

from collections.abc import Callable

from .scalar import Call, Literal, Scalar


def mean_in_square(squares: Scalar, point: Scalar, total: Scalar, is_shared: Callable[[Scalar], bool]) -> Scalar | None:
    """``m`` where ``squares`` is ``(point - m)²`` and ``m`` is ``total``, times or over one number; else None.

    The number is a positive literal, or an argument for which ``is_shared`` holds.

    >>> from otus.ir.scalar import argument, parse_scalar, scalar_text
    >>> x, s = argument(0), argument(1)
    >>> scalar_text(mean_in_square(parse_scalar("square(a - 0.25 * b)"), x, s, lambda _: False))
    '0.25 * b'
    >>> mean_in_square(parse_scalar("square(a - exp(b))"), x, s, lambda _: False) is None
    True
    """
    distance = _root(squares)
    if not (isinstance(distance, Call) and distance.function == "sub"):
        return None
    first, second = distance.arguments
    mean = {first: second, second: first}.get(point)
    if mean is None or mean is point:
        return None
    return mean if _is_multiple(mean, total, is_shared) else None


def _root(value: Scalar) -> Scalar | None:
    """What a value is the square of, where it says so."""
    match value:
        case Call(function="square"):
            return value.arguments[0]
        case Call(function="mul") if value.arguments[0] is value.arguments[1]:
            return value.arguments[0]
    return None


def _is_multiple(mean: Scalar, total: Scalar, is_shared: Callable[[Scalar], bool]) -> bool:
    match mean:
        case Call(function="mul") if total in mean.arguments:
            factor = mean.arguments[mean.arguments[0] is total]
        case Call(function="div") if mean.arguments[0] is total:
            factor = mean.arguments[1]
        case _:
            return mean is total
    if isinstance(factor, Literal):
        return isinstance(factor.value, int | float) and factor.value > 0
    return is_shared(factor)
