"""Arithmetic of sizes, against integers and SymPy."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

import otus
from otus.ir import NamingError, ParseError, ShapeError, dim, dims

SIZES = {"i": 3, "j": 5, "k": 1}


def _combined(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    pairs = st.tuples(children, children)
    return st.one_of(
        pairs.map(lambda p: p[0] + p[1]),
        pairs.map(lambda p: p[0] - p[1]),
        pairs.map(lambda p: p[0] * p[1]),
        pairs.map(lambda p: dims.minimum(*p)),
        pairs.map(lambda p: dims.maximum(*p)),
        st.tuples(children, st.integers(1, 4)).map(lambda p: dims.floor_divide(*p)),
        st.tuples(children, st.integers(1, 4)).map(lambda p: dims.ceil_divide(*p)),
    )


sizes = st.recursive(st.one_of(st.integers(-3, 6), st.sampled_from([dim(x) for x in SIZES])), _combined, max_leaves=6)
bindings = st.fixed_dictionaries({name: st.integers(0, 7) for name in SIZES})


@given(sizes, sizes, bindings)
def test_arithmetic_is_that_of_integers(a: Any, b: Any, at: dict[str, int]) -> None:
    x, y = dims.evaluate(a, at), dims.evaluate(b, at)
    assert dims.evaluate(a + b, at) == x + y
    assert dims.evaluate(a - b, at) == x - y
    assert dims.evaluate(a * b, at) == x * y
    assert dims.evaluate(dims.floor_divide(a, 3), at) == x // 3
    assert dims.evaluate(dims.ceil_divide(a, 3), at) == -(-x // 3)


@given(bindings, st.sampled_from("ijk"), st.sampled_from("ijk"), st.integers(-2, 4))
def test_extrema_of_sizes_that_are_not_negative(at: dict[str, int], first: str, second: str, n: int) -> None:
    """Symbols are at least 0, so ``min(i, i + j)`` is known."""
    i, j = dim(first), dim(second)
    for a, b in ((i, j), (i, i + j), (i * j, n), (2 * i, i), (i + n, i), (0, i)):
        x, y = dims.evaluate(a, at), dims.evaluate(b, at)
        assert dims.evaluate(dims.minimum(a, b), at) == min(x, y)
        assert dims.evaluate(dims.maximum(a, b), at) == max(x, y)
    assert dims.minimum(i, i + j) is i
    assert dims.maximum(0, i) is i


@given(sizes)
def test_text_reads_back_as_the_same_object(size: Any) -> None:
    again = dims.parse_size(str(size))
    assert again is size or (isinstance(size, int) and again == size)
    assert pickle.loads(pickle.dumps(size)) == size
    assert copy.deepcopy(size) is size or isinstance(size, int)


@given(sizes, sizes)
def test_equal_is_the_same(a: Any, b: Any) -> None:
    assert (a + b) - b == a
    assert a + b == b + a
    assert a * b == b * a
    assert isinstance(a - a, int)
    assert a - a == 0


@given(sizes, bindings)
def test_sympy_has_the_same_value(size: Any, at: dict[str, int]) -> None:
    symbols = {sympy.Symbol(name, integer=True, nonnegative=True): value for name, value in at.items()}
    assert int(dims.to_sympy(size).subs(symbols)) == dims.evaluate(size, at)


@given(sizes, bindings)
def test_substitution(size: Any, at: dict[str, int]) -> None:
    shifted = dims.substitute(size, {"i": dim("j") + 1})
    assert dims.evaluate(shifted, at) == dims.evaluate(size, {**at, "i": at["j"] + 1})
    assert dims.symbols(shifted) <= (dims.symbols(size) - {"i"}) | {"j"}


def test_exact_quotients_stay_polynomials() -> None:
    i, j = dim("i"), dim("j")
    assert (6 * i * j) // (2 * j) is 3 * i
    assert str((i + 1) // 2) == "floordiv(i+1, 2)"
    assert i // i == 1
    assert dim("i") == "i"
    assert hash(i) == hash("i")


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: dim("2x"), NamingError,
         "'2x' cannot name a dim; a name is a letter or underscore followed by letters, digits and underscores"),
        (lambda: dims.as_size(2.5), ShapeError,
         "2.5 is not a size; a size is an int, a name such as 'i', or an otus.Dim"),
        (lambda: dims.floor_divide(dim("i"), 0), ShapeError, "size i cannot be divided by 0"),
        (lambda: dims.parse_size("i+"), ParseError, "'i+' is not a size; write an integer or a sum such as i+1"),
        (lambda: dims.parse_size("f(i)"), ParseError, "'f(i)' is not a size"),
        (lambda: dims.evaluate(dim("i") + 1, {"j": 2}), NamingError,
         "dim i has no size; give it one, for example dims={'i': 8}"),
    ],
)  # fmt: skip
def test_errors(call: Any, kind: type[otus.OtusError], message: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message
