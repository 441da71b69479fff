"""Sizes: exact arithmetic on named integers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otus.ir import Dim, ShapeError, dim
from otus.ir.dims import (
    ceil_divide,
    evaluate,
    floor_divide,
    maximum,
    minimum,
    parse_size,
    substitute,
    symbols,
    to_sympy,
)

SIZES = {"i": 5, "j": 7, "k": 2}


@st.composite
def sizes(draw: st.DrawFn, depth: int = 3) -> object:
    """A size expression and its value at ``SIZES``."""
    if depth == 0 or draw(st.booleans()):
        name = draw(st.sampled_from([*SIZES, 0, 1, 3, -2]))
        return (dim(name), SIZES[name]) if isinstance(name, str) else (name, name)
    (left, x), (right, y) = draw(sizes(depth - 1)), draw(sizes(depth - 1))
    kind = draw(st.sampled_from(["+", "-", "*", "min", "max", "//"]))
    if kind == "//":
        return (floor_divide(left, 3), x // 3)
    if kind in ("min", "max"):
        lower, upper = (minimum, min) if kind == "min" else (maximum, max)
        # min and max may assume that sizes are not negative, so negative differences of symbols are left out
        if isinstance(left, int) and isinstance(right, int):
            return lower(left, right), upper(x, y)
        return lower(left * left, left * left + 1), upper(x * x, x * x + 1)
    return {"+": (left + right, x + y), "-": (left - right, x - y), "*": (left * right, x * y)}[kind]


@settings(deadline=None)  # the first example imports SymPy
@given(sizes())
def test_arithmetic_text_and_substitution(pair: tuple[object, int]) -> None:
    size, value = pair
    assert evaluate(size, SIZES) == value
    assert parse_size(str(size)) is size or parse_size(str(size)) == size
    assert substitute(size, SIZES) == value
    symbolic = to_sympy(size)
    assert {symbol.name for symbol in symbolic.free_symbols} <= symbols(size)
    assert int(symbolic.subs({symbol: SIZES[symbol.name] for symbol in symbolic.free_symbols})) == value


def test_equal_sizes_are_one_object() -> None:
    i, j = dim("i"), dim("j")
    assert (i + j) * (i - j) is i * i - j * j
    assert i - i == 0
    assert floor_divide(6 * i * j, 2 * i) is 3 * j
    assert ceil_divide(i, 1) is i


def test_sizes_compare_with_their_names() -> None:
    assert (Dim("i"), 3) == ("i", 3)
    assert Dim("i") != Dim("j")


@pytest.mark.parametrize("text", ["i +", "1.5", "i ** j", "f(i)", "'i'"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(Exception, match="is not a size"):
        parse_size(text)


def test_division_by_nothing() -> None:
    with pytest.raises(ShapeError, match="cannot be divided by 0"):
        floor_divide(dim("i"), 0)
