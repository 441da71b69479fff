"""The text form: everything reads back as the very same object, and errors say where."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from evaluation import assert_round_trip
from hypothesis import given
from hypothesis import strategies as st

import otus
from otus.ir import Node, ParseError, build, dump, parse_ir, scalar
from otus.ir.scalar import SCALAR_FUNCTIONS, Scalar, argument, call, literal, parse_scalar, scalar_text
from otus.ir.subscripts import choose_letters, parse_subscripts, subscripts_text

NUMBERS = st.one_of(
    st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.complex_numbers(allow_nan=True, allow_infinity=True)
)


def _calls(children: st.SearchStrategy[Scalar]) -> st.SearchStrategy[Scalar]:
    return st.sampled_from(sorted(SCALAR_FUNCTIONS)).flatmap(
        lambda name: st.tuples(*[children] * SCALAR_FUNCTIONS[name].arity).map(lambda args: call(name, *args))
    )


scalars = st.recursive(st.one_of(st.integers(0, 60).map(argument), NUMBERS.map(literal)), _calls, max_leaves=8)


@given(scalars)
def test_scalar_text_reads_back(expression: Scalar) -> None:
    assert parse_scalar(scalar_text(expression)) is expression


@given(NUMBERS)
def test_numbers_read_back_bit_for_bit(number: complex) -> None:
    again = parse_scalar(scalar.number_text(number))
    assert again is literal(number)
    assert type(again.value) is type(number)
    assert repr(again.value) == repr(number)


labels = st.lists(st.lists(st.integers(0, 70), max_size=5).map(tuple), min_size=1, max_size=5)


@given(labels, st.data())
def test_subscripts_read_back(inputs: list[tuple[int, ...]], data: st.DataObject) -> None:
    indices = sorted({x for term in inputs for x in term})
    output = tuple(data.draw(st.permutations(indices)))[: data.draw(st.integers(0, len(indices)))]
    letters = choose_letters({x: otus.Dim("abcdefghij"[x % 10]) for x in indices})
    assert (letters is None) == (len(indices) > 52)
    names: dict[int, int] = {}
    canonical = tuple(tuple(names.setdefault(x, len(names)) for x in term) for term in inputs)
    text = subscripts_text(inputs, output, letters)
    assert parse_subscripts(text) == (canonical, tuple(names[x] for x in output))


def test_more_than_52_indices() -> None:
    """Interleaved einsum has no limit; the text writes numbers."""
    a = otus.tensor("a", (2,) * 30)
    b = otus.tensor("b", (2,) * 30)
    y = otus.einsum(a, list(range(30)), b, list(range(29, 59)), [0, 58, 40])
    assert y.shape == (2, 2, 2)
    assert "[0 1 2" in dump(y.node)
    assert_round_trip([y.node, otus.exp(y).node])


ODD_NAMES = [
    "x",
    "x y",
    'a"b',
    "ü",
    "%0",
    "{}",
    "->",
    "\n",
    "\\",
    "class",
    "a,b",
    "]",
    "0",
    " ",
    "return",
    "#",
    "%x: y",
]


def test_names_of_every_kind() -> None:
    assert_round_trip([otus.exp(otus.tensor(name, ("i", 2))).node for name in ODD_NAMES])
    labelled = {name: otus.tensor(name, ("i",)).node for name in ODD_NAMES}
    assert parse_ir(dump(labelled)) == labelled


def test_facts_formats_and_dtypes() -> None:
    nodes = [
        otus.tensor("a", (3, 3), symmetric=True).node,
        otus.tensor("b", ("n", "n", 2, 2), symmetric=((0, 1), (2, 3)), nonnegative=True).node,
        otus.tensor("c", ("n", 3), "float32", orthonormal=True).node,
        otus.tensor("d", (2, "n"), sums_to_one=True).node,
        otus.tensor("e", (4, 4), "complex64", diagonal=True).node,
        otus.tensor("f", ("m", "n"), "float16", format=otus.nm(2, 4)).node,
        otus.tensor("g", ("m", "n"), format=otus.bsr(16, 8)).node,
        otus.tensor("h", ("m", "n"), "bfloat16", format=otus.quant(4, group=64)).node,
        otus.tensor("k", ("m", "n"), format=otus.csr()).node,
        *(otus.tensor(f"t{k}", ("2*n+1",), dtype).node for k, dtype in enumerate(otus.DType)),
    ]
    assert_round_trip(nodes)


ODD_VALUES = [
    np.zeros((0, 3)), np.array(np.nan), np.array([np.nan, -0.0, np.inf, 5e-324]), np.arange(200.0), np.array(True),
    np.array([1 + 2j, complex(np.inf, np.nan)]), np.array([-0.0]), np.array([2**63 - 1, -(2**63)]),
    np.array([2**64 - 1], np.uint64), np.array([1.1, 3.4e38], np.float32), np.array([1e-7], np.float16),
    np.array([[True, False]]), np.array(["nan", "-nan"], float), np.arange(12, dtype=np.int8).reshape(3, 4)[::-1, ::2],
]  # fmt: skip


@pytest.mark.parametrize("value", ODD_VALUES, ids=lambda value: str(value.dtype))
def test_constants_bit_for_bit(value: np.ndarray) -> None:
    node = build.constant(value)
    assert_round_trip([node])
    assert node.op.array.tobytes() == value.tobytes()
    assert node is build.constant(value.copy())


def test_coefficients_that_are_not_finite() -> None:
    x = otus.tensor("x", (2,))
    nodes = [(x * number).node for number in (float("nan"), float("inf"), -float("inf"), 1e308, 5e-324)]
    assert_round_trip(nodes)
    assert (x * float("nan")).node is nodes[0]
    z = otus.tensor("z", (2,), "complex128")
    assert_round_trip([(z * complex(float("nan"), 1)).node, (z * 1j).node, (z * (1 - 2j)).node])


def test_a_list_a_dict_and_one_node() -> None:
    x = otus.tensor("x", (2,)).node
    y = build.apply("exp", x)
    assert parse_ir(dump(y)) is y
    assert parse_ir(dump([y, x, y])) == [y, x, y]
    assert parse_ir(dump({"a": y, "b c": x})) == {"a": y, "b c": x}
    assert parse_ir(dump([])) == []


def test_dump_reads_as_documented() -> None:
    a, b = otus.tensor("A", ("i", "r")), otus.tensor("B", ("j", "r"))
    y = otus.exp(otus.einsum("ir,jr->ij", a, b) * 2)
    assert dump(y.node) == (
        '%A: f64[i,r] = input "A"\n'
        '%B: f64[j,r] = input "B"\n'
        '%0: f64[i,j] = einsum "ir,jr->ij" %A, %B\n'
        '%1: f64[i,j] = linear_combination "ij->ij" {coefficients=(2.0,)} %0\n'
        '%2: f64[i,j] = map "exp(a)" "ij->ij" %1\n'
        "return %2\n"
    )


X = '%x: f64[3] = input "x"\n'
ERRORS: dict[str, tuple[str, str]] = {
    "no return": (X, "the text has no 'return' line"),
    "no line": ("x = 3\nreturn %x", "line 1: 'x = 3' is not '%name: dtype[shape] = operation …'"),
    "unknown operation": (X + "%y: f64[3] = inputt %x\nreturn %y",
                          "line 2: unknown operation 'inputt'; did you mean 'input'?"),
    "unknown name": (X + "return %y", "line 2: %y is not defined above"),
    "near name": ('%long: f64[3] = input "long"\nreturn %lang',
                  "line 2: %lang is not defined above; did you mean 'long'?"),
    "wrong type": (X + '%y: f64[4] = map "exp(a)" "i->i" %x\nreturn %y',
                   "line 2: %y is declared f64[4], but its operation gives f64[3]"),
    "wrong dtype": (X + '%y: f32[3] = map "exp(a)" "i->i" %x\nreturn %y',
                    "line 2: %y is declared f32[3], but its operation gives f64[3]"),
    "twice": (X + X + "return %x", "line 2: %x is defined twice"),
    "unknown function": (X + '%y: f64[3] = map "sqrtt(a)" "i->i" %x\nreturn %y',
                         "line 2: unknown scalar function 'sqrtt'; did you mean 'sqrt'?"),
    "no scalar": (X + '%y: f64[3] = map "a +" "i->i" %x\nreturn %y',
                  "line 2: 'a +' is not a scalar expression such as 'exp(a) * b'"),
    "no arrow": (X + '%y: f64[3] = einsum "ii" %x\nreturn %y', "line 2: subscripts 'ii' have no '->'"),
    "fields": (X + "%y: f64[3] = reduce {kind=} %x\nreturn %y", "line 2: {kind=} is not a list of name=value"),
    "unknown parameter": (X + '%y: f64[] = reduce {kind="max", axis=(0,)} %x\nreturn %y',
                          "line 2: wrong parameters for reduce: Reduce.__init__() got an unexpected keyword argument "
                          "'axis'"),
    "unknown dtype": ('%x: float65[3] = input "x"\nreturn %x',
                      "line 1: unknown dtype 'float65'; did you mean 'float64'?"),
    "bad size": ('%x: f64[i+] = input "x"\nreturn %x',
                 "line 1: 'i+' is not a size; write an integer or a sum such as i+1"),
}  # fmt: skip


@pytest.mark.parametrize("what", ERRORS)
def test_errors_of_parsing(what: str) -> None:
    text, message = ERRORS[what]
    with pytest.raises(ParseError) as caught:
        parse_ir(text)
    assert str(caught.value).startswith(message)


@given(st.text(max_size=40))
def test_any_line_is_read_or_refused(line: str) -> None:
    """Never another exception."""
    for text in (line, X + line + "\nreturn %x", X + f"%y: f64[3] = {line}\nreturn %y"):
        try:
            found: Any = parse_ir(text)
        except otus.OtusError:
            continue
        assert isinstance(found, (Node, list, dict))


MUTATED = dump(
    [
        otus.softmax(otus.tensor("x", ("n", 3)) * 2 + 1).node,
        otus.take(otus.tensor("y", (4,)), [0, -1]).node,
        otus.qr(otus.tensor("z", (3, 2))).R.node,
        otus.pad(otus.tensor("w", (3, 2)), ((1, 2), (0, 0)))[::-1].node,
    ]
)


@given(st.integers(0, len(MUTATED) - 1), st.sampled_from(list('%:[]{}(),"=-+*0123456789abnxf _\\')), st.booleans())
def test_mutated_text_is_read_or_refused(place: int, character: str, insert: bool) -> None:
    text = MUTATED[:place] + character + MUTATED[place + (not insert) :]
    try:
        found: Any = parse_ir(text)
    except otus.OtusError:
        return
    assert parse_ir(dump(found)) == found
