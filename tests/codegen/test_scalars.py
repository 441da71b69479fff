"""Every scalar function over every dtype: emitted source against the reference interpreter."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from programs import agree, emitted, leaf

import otus
from otus.codegen.to_numpy.helpers import _erf, _erfc, _logsumexp, _sigmoid, _softplus
from otus.codegen.to_numpy.scalars import SCALAR_RULES
from otus.ir import DTypeError, build, make_type
from otus.ir.dtypes import DType, to_numpy_dtype
from otus.ir.scalar import SCALAR_FUNCTIONS, Call, argument, call, infer_dtype, literal, parse_scalar
from otus.runtime.reference import evaluate

DTYPES = [
    "bool", "int8", "uint8", "int32", "int64", "uint64", "float16", "float32", "float64", "complex64", "complex128",
]  # fmt: skip
DATA = {
    "b": [True, False, True], "i": [1, 0, 3], "u": [1, 0, 3], "f": [0.25, 0.5, 0.75], "c": [0.5 + 0.25j, 0.25, 0.5j],
}  # fmt: skip


def values(dtype: str, shift: int = 0) -> np.ndarray:
    kind = np.dtype(dtype).kind
    return np.roll(np.array(DATA[kind]), shift).astype(dtype)


def test_every_scalar_function_has_a_rule() -> None:
    assert set(SCALAR_FUNCTIONS) == SCALAR_RULES


def check(expression: Call, dtypes: list[str]) -> None:
    try:
        infer_dtype(expression, [DType(x) for x in dtypes])
    except DTypeError:
        return
    operands = [leaf(f"x{k}", 3, dtype=dtype) for k, dtype in enumerate(dtypes)]
    node = build.map_node(expression, operands, [(0,)] * len(operands), 1)
    data = {f"x{k}": values(dtype, k) for k, dtype in enumerate(dtypes)}
    tolerance = {"float16": 2e-3, "float32": 1e-6, "complex64": 1e-6}.get(node.type.dtype.value, 1e-13)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            evaluate([node], data)
        except DTypeError:
            with pytest.raises((DTypeError, TypeError)):
                agree([node], data, tolerance)
        else:
            agree([node], data, tolerance)


UNARY = [name for name, row in SCALAR_FUNCTIONS.items() if row.arity == 1]
BINARY = [name for name, row in SCALAR_FUNCTIONS.items() if row.arity == 2]


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("dtype", DTYPES)
def test_unary(name: str, dtype: str) -> None:
    check(call(name, argument(0)), [dtype])


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("first", DTYPES)
def test_binary(name: str, first: str) -> None:
    for second in DTYPES:
        check(call(name, argument(0), argument(1)), [first, second])


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("dtype", DTYPES)
def test_binary_with_a_number(name: str, dtype: str) -> None:
    for number in (True, 2, 0.5, 0.5 + 1j):
        check(call(name, argument(0), literal(number)), [dtype])
        if not (name == "pow" and dtype.startswith(("int", "uint", "bool"))):
            check(call(name, literal(number), argument(0)), [dtype])


@pytest.mark.parametrize("first", DTYPES)
def test_choice(first: str) -> None:
    for second, third in itertools.product(DTYPES, DTYPES):
        check(call("where", argument(0), argument(1), argument(2)), [first, second, third])
    for number in (1, 0.5):
        check(call("where", argument(0), argument(1), literal(number)), ["bool", first])
        check(call("mul", call("where", argument(0), literal(1.0), literal(number)), argument(1)), ["bool", first])
        check(call("where", argument(0), literal(1.0), literal(number)), [first])


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("a - (b - a)", "x0 - (x1 - x0)"),
        ("(a + b) * a", "(x0 + x1) * x0"),
        ("neg(a) ** b", "(-x0) ** x1"),
        ("neg(a ** 2.0)", "-x0 ** 2.0"),
        ("(a * b) / a", "x0 * x1 / x0"),
        ("a / (b * a)", "x0 / (x1 * x0)"),
        ("neg(neg(a))", "-(-x0)"),
        ("(a > b) == (b > a)", "(x0 > x1) == (x1 > x0)"),
        ("a + (-2.0)", "x0 + (-2.0)"),
        ("a * exp(2.0)", "x0 * np.exp(2.0).item()"),
        ("where(a > 0, b, 0.0)", "np.where(x0 > 0, x1, 0.0)"),
        ("maximum(a, (-inf))", "np.maximum(x0, (-np.inf))"),
    ],
)
def test_source_of_an_expression(text: str, source: str) -> None:
    expression = parse_scalar(text)
    operands = [leaf("x0", "n"), leaf("x1", "n")]
    read = 2 if "b" in text else 1
    node = build.map_node(expression, operands[:read], [(0,)] * read, 1)
    assert emitted([node]).statements[0].text == f"out0 = {source}"
    agree([node], {"x0": np.array([1.5, -2.0]), "x1": np.array([2.0, 3.0])})


def test_what_is_used_twice_is_computed_once() -> None:
    node = build.map_node(parse_scalar("exp(a) / (1.0 + exp(a))"), [leaf("x", "n")])
    assert emitted([node]).statements[0].text.split("\n") == [
        "s0 = np.exp(x)", "out0 = s0 / (1.0 + s0)", "del s0",
    ]  # fmt: skip


def test_untaken_branches_do_not_warn() -> None:
    node = build.map_node(parse_scalar("where(a > 0, log(a), 1 / a)"), [leaf("x", 3)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agree([node], {"x": np.array([1.0, -1.0, 2.0])})
        agree([node], {"x": np.array([1.0, -0.0, 2.0])})


def test_legitimate_warnings_stay() -> None:
    node = build.apply("log", leaf("x", 2))
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        agree([node], {"x": np.array([0.0, 1.0])})


# --- helpers -----------------------------------------------------------------------------------

POINTS = np.concatenate([np.linspace(-30, 30, 20001), [0.0, -0.0, np.inf, -np.inf, 1e30, -1e30, 0.46875, 4.0]])


@pytest.mark.parametrize(("function", "exact"), [(_erf, math.erf), (_erfc, math.erfc)])
def test_error_functions(function: object, exact: object) -> None:
    expected = np.array([exact(x) for x in POINTS])  # type: ignore[operator]
    result = function(POINTS)  # type: ignore[operator]
    normal = np.abs(expected) > 1e-300
    np.testing.assert_allclose(result[normal], expected[normal], rtol=2e-15)
    np.testing.assert_allclose(result[~normal], expected[~normal], atol=1e-300)
    single = function(POINTS.astype(np.float32))  # type: ignore[operator]
    assert single.dtype == np.float32
    expected = np.array([exact(float(x)) for x in POINTS.astype(np.float32)])  # type: ignore[operator]
    normal = np.abs(expected) > 1e-37
    np.testing.assert_allclose(single[normal], expected[normal], rtol=2e-6)
    assert np.isnan(function(np.array([np.nan]))).all()  # type: ignore[operator]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_stable_functions_do_not_overflow(dtype: str) -> None:
    x = np.array([1e4, -1e4, 0, np.inf, -np.inf], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _sigmoid(x).tolist() == [1, 0, 0.5, 1, 0]
        np.testing.assert_allclose(_softplus(x), np.array([1e4, 0, math.log(2), np.inf, 0], dtype), rtol=1e-6)
        assert _sigmoid(x).dtype == _softplus(x).dtype == np.dtype(dtype)


def test_logsumexp_of_odd_rows() -> None:
    rows = np.array([[-np.inf, -np.inf], [np.inf, 1e4], [1e4, 1e4], [np.nan, 0], [np.inf, np.inf]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = _logsumexp(rows, (1,))
        assert _logsumexp(np.zeros((2, 0)), (1,)).tolist() == [-np.inf, -np.inf]
    np.testing.assert_array_equal(result, [-np.inf, np.inf, 1e4 + math.log(2), np.nan, np.inf])
    assert _logsumexp(np.float32([[1, 2]]), (0, 1)).dtype == np.float32


def test_literal_only_expressions_keep_tensors_narrow() -> None:
    x = build.input_node("x", make_type((3,), "float32"))
    node = build.map_node(parse_scalar("a * (exp(2.0) + sqrt(3))"), [x])
    assert node.type.dtype == "float32"
    agree([node], {"x": values("float32")}, 1e-6)
    assert to_numpy_dtype(node.type.dtype) == np.float32


@pytest.mark.parametrize("exponent", [3, 4, 5, 7, 8, -2, -3, -8])
def test_small_whole_powers_are_products(exponent: int) -> None:
    x = otus.tensor("x", ("n",))
    function = otus.compile((x + 1) ** exponent)
    statements = [text for text in function.source.splitlines() if text.startswith("    ") and "# %" not in text]
    assert not any("**" in text for text in statements)
    data = np.array([0.0, 0.5, -3.25, 1e-30, 1e30])
    np.testing.assert_allclose(function(x=data), (data + 1) ** exponent, rtol=4e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sigmoids_of_both_signs_keep_relative_accuracy(dtype: str) -> None:
    """Of x and of -x, where 1 less the other would have no digits left."""
    x = otus.tensor("x", ("n",), dtype=dtype)
    data = np.concatenate([np.linspace(-80, 80, 1001), [np.inf, -np.inf, 1e4, -1e4, 800, -800]]).astype(dtype)
    both = otus.compile([otus.sigmoid(x), otus.sigmoid(-x), otus.grad(otus.sigmoid(x).sum(), x)])(x=data)
    wide = data.astype(np.longdouble).clip(-11000, 11000)
    first, second = 1 / (1 + np.exp(-wide)), 1 / (1 + np.exp(wide))
    smallest = float(np.finfo(dtype).tiny)
    for value, exact in zip(both, (first, second, first * second), strict=True):
        assert value.dtype == dtype
        np.testing.assert_allclose(
            value, exact.astype(float), rtol=8 * float(np.finfo(dtype).eps), atol=smallest, err_msg="sigmoid"
        )
