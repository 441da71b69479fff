"""Distances from a multiple of a total, squared or weighted, in scalar expressions: what moments are sums of."""

from __future__ import annotations

from collections.abc import Callable

from .scalar import Call, Literal, Scalar, call


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
    found = None if distance is None else _distance(distance, point, total, is_shared)
    return None if found is None else found[0]


def mean_in_product(
    product: Scalar, point: Scalar, total: Scalar, is_shared: Callable[[Scalar], bool]
) -> tuple[Scalar, Scalar] | None:
    """``(m, w)`` where ``product`` is ``w · (point - m)``, with ``m`` as of :func:`mean_in_square`; else None.

    >>> from otus.ir.scalar import argument, parse_scalar, scalar_text
    >>> x, s = argument(0), argument(1)
    >>> found = mean_in_product(parse_scalar("(c * (a - 0.25 * b)) * d"), x, s, lambda _: False)
    >>> [scalar_text(part) for part in found]
    ['0.25 * b', 'c * d']
    """
    factors = _factors(product)
    for k, factor in enumerate(factors if len(factors) > 1 else ()):
        found = _distance(factor, point, total, is_shared)
        if found is not None:
            rest = [*factors[:k], *factors[k + 1 :]]
            weight = rest[0]
            for each in rest[1:]:
                weight = call("mul", weight, each)
            return found[0], weight if found[1] else call("neg", weight)
    return None


def _factors(value: Scalar) -> list[Scalar]:
    if isinstance(value, Call) and value.function == "mul":
        return [x for part in value.arguments for x in _factors(part)]
    return [value]


def _distance(
    distance: Scalar, point: Scalar, total: Scalar, is_shared: Callable[[Scalar], bool]
) -> tuple[Scalar, bool] | None:
    """The mean that a difference is from, and whether it is taken from the point; None where it is no such thing."""
    if not (isinstance(distance, Call) and distance.function == "sub"):
        return None
    first, second = distance.arguments
    mean = {first: second, second: first}.get(point)
    if mean is None or mean is point or not _is_multiple(mean, total, is_shared):
        return None
    return mean, first is point


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
