"""Integers, booleans, half precision and complex numbers: NumPy's values and dtypes, or a refusal in its place."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from evaluation import BACKENDS, run
from function_cases import BINARY, COMPARISONS, FLAT, NUMPY, OTUS, UNARY

import otus

DTYPES = ("bool", "int8", "int32", "int64", "uint8", "uint64", "float16", "complex64", "complex128")
VALUES: dict[str, list[Any]] = {
    "b": [True, False, True], "i": [-3, 0, 5], "u": [3, 0, 5], "f": [-0.5, 0.25, 0.75],
    "c": [0.3 - 0.5j, 0.1j, -0.6 + 0.2j],
}  # fmt: skip

_DIVISION = "NumPy's reciprocal of integers is an integer, nearly always 0; Otus divides"
_ORDER = "NumPy compares complex numbers lexicographically; in Otus they have no order"
_REAL = "a function of real numbers in Otus"

# (function, dtype or kind of dtype): why Otus differs from NumPy here.
DIFFERENT: dict[tuple[str, str], str] = {
    **{
        (name, kind): "NumPy has none; integers become floating as for exp"
        for name in ("rsqrt", "sigmoid", "softplus", "gelu", "silu")
        for kind in "biuf"
    },
    **{("reciprocal", kind): _DIVISION for kind in "biu"},
    **{("erf", dtype): "SciPy has no half precision" for dtype in ("bool", "int8", "uint8", "float16")},
    ("conj", "b"): "NumPy conjugates booleans to int8",
    ("sign", "b"): "NumPy has none; in Otus a boolean is its own sign",
    ("relu", "b"): "NumPy has none, and maximum with the number 0 is int64",
    **{("power", kind): "integers to negative powers are refused at run time; tested below" for kind in "biu"},
    **{(name, "c"): _ORDER for name in ("relu", "maximum", "minimum")},
    **{(name, "c"): _REAL for name in ("gelu", "softplus", "sigmoid", "silu", "erf", "logaddexp")},
}


def arrays(dtype: str, count: int) -> dict[str, np.ndarray]:
    first = np.array(VALUES[np.dtype(dtype).kind], dtype)
    return {f"x{k}": np.roll(first, k) for k in range(count)}


def numpys(name: str, data: dict[str, np.ndarray]) -> Any:
    """NumPy's value, or None where it has none for these dtypes."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return np.asarray(getattr(NUMPY, name)(*data.values()))
        except TypeError:
            return None


NAMES = [(name, 1) for name in (*UNARY, *FLAT)] + [(name, 2) for name in (*BINARY, *COMPARISONS)]
ALIKE = [
    (name, count, dtype)
    for name, count in NAMES
    for dtype in DTYPES
    if not {(name, dtype), (name, np.dtype(dtype).kind)} & DIFFERENT.keys()
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "count", "dtype"), ALIKE)
def test_elementwise(name: str, count: int, dtype: str, backend: str) -> None:
    data = arrays(dtype, count)
    expected = numpys(name, data)
    tensors = [otus.tensor(key, x.shape, dtype) for key, x in data.items()]
    if expected is None:
        with pytest.raises(otus.DTypeError):
            run(getattr(OTUS, name)(*tensors), data, backend)
        return
    made = getattr(OTUS, name)(*tensors)
    assert made.dtype == str(expected.dtype)
    actual = run(made, data, backend)
    tolerance = {"float16": 2e-3, "float32": 2e-6, "complex64": 2e-6}.get(str(expected.dtype), 1e-14)
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


REDUCED = ("sum", "prod", "max", "min", "mean", "var", "any", "all", "cumsum")


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, dtype) for name in REDUCED for dtype in DTYPES if name not in ("max", "min") or "complex" not in dtype],
)
def test_reductions(name: str, dtype: str) -> None:
    kind = np.dtype(dtype).kind
    data = {"x": np.array([VALUES[kind], VALUES[kind][::-1]], dtype)}
    x = otus.tensor("x", (2, 3), dtype)
    expected = getattr(np, name)(data["x"], axis=1)
    made = getattr(otus, name)(x, axis=1)
    assert made.dtype == str(expected.dtype)
    for backend in BACKENDS:
        actual = run(made, data, backend)
        tolerance = {"float16": 2e-3, "complex64": 2e-6}.get(dtype, 1e-13)
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("first", DTYPES)
@pytest.mark.parametrize("second", ["bool", "int32", "uint64", "float16", "float32", "complex64"])
def test_mixed_operands_promote_as_in_numpy(first: str, second: str) -> None:
    data = {"x": arrays(first, 1)["x0"], "y": arrays(second, 2)["x1"]}
    x, y = (otus.tensor(name, value.shape, str(value.dtype)) for name, value in data.items())
    a, b = data["x"], data["y"]
    expected = {
        "add": a + b,
        "multiply": a * b,
        "less": a.real < b.real,
        "where": np.where(a != 0, a, b),
        "stack": np.stack([a, b]),
    }
    made = {
        "add": x + y,
        "multiply": x * y,
        "less": otus.real(x) < otus.real(y),
        "where": otus.where(x != 0, x, y),
        "stack": otus.stack([x, y]),
    }
    for backend in BACKENDS:
        for name, actual in run(made, data, backend).items():
            assert made[name].dtype == str(expected[name].dtype)
            np.testing.assert_allclose(actual, expected[name], rtol=1e-3 if "float16" in (first, second) else 1e-6)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "float16", "float32", "complex64"])
def test_python_numbers_adapt(dtype: str) -> None:
    data = {"x": arrays(dtype, 1)["x0"]}
    x = otus.tensor("x", (3,), dtype)
    cases: list[Any] = [lambda x: x + 1, lambda x: 2 * x, lambda x: x * 0.5, lambda x: x - 0.25, lambda x: x / 2,
                        lambda x: x + 1j, lambda x: x * True, lambda x: 3 - x, lambda x: x**2]  # fmt: skip
    for case in cases:
        if dtype == "uint8" and case is cases[7]:
            data = {"x": np.minimum(data["x"], 3)}
        expected = case(data["x"])
        made = case(x)
        assert made.dtype == str(expected.dtype)
        np.testing.assert_allclose(run(made, data), expected, rtol=2e-3 if dtype == "float16" else 1e-6)


POWERS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "b ** 2": lambda module, b, i: b**2,
    "b ** 3": lambda module, b, i: b**3,
    "b ** 1": lambda module, b, i: b**1,
    "b ** 0": lambda module, b, i: b**0,
    "b ** 0.5": lambda module, b, i: b**0.5,
    "b ** True": lambda module, b, i: b**True,
    "b ** False": lambda module, b, i: b**False,
    "True ** b": lambda module, b, i: True**b,
    "2 ** b": lambda module, b, i: 2**b,
    "b ** b": lambda module, b, i: b**b,
    "b ** i": lambda module, b, i: b**i,
    "i ** b": lambda module, b, i: i**b,
    "power(b, 2)": lambda module, b, i: module.power(b, 2),
    "power(b, b)": lambda module, b, i: module.power(b, b),
}


@pytest.mark.parametrize("text", POWERS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_powers_of_booleans(text: str, backend: str) -> None:
    data = {"b": np.array([True, False]), "i": np.array([2, 3], "int8")}
    expected = np.asarray(POWERS[text](np, data["b"], data["i"]))
    powers = POWERS[text](otus, otus.tensor("b", (2,), dtype="bool"), otus.tensor("i", (2,), dtype="int8"))
    assert powers.dtype == expected.dtype.name
    result = run(powers, data, backend)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


def test_a_program_squares_booleans_as_numpy_does() -> None:
    assert otus.parse("tensor b[n] : bool\ny = b ^ 2")["y"].dtype == "int8"


def test_integer_powers() -> None:
    x = otus.tensor("x", (3,), "int64")
    data = {"x": np.array([-3, 0, 5])}
    assert run(x**3, data).tolist() == [-27, 0, 125]
    with pytest.raises(otus.DTypeError, match="int64 has no power -1; cast the tensor to a floating dtype first"):
        run(x**-1, data)


REFUSED: dict[str, tuple[Any, str]] = {
    "booleans minus": (lambda b, z: b - b, "booleans cannot be subtracted; use x != y for exclusive or, or cast first"),
    "minus boolean": (lambda b, z: -b, "a boolean has no negative; use otus.where or compare with == False"),
    "floor of complex": (lambda b, z: otus.floor(z), "floor is defined for real operands only, not complex ones"),
    "sigmoid of complex": (lambda b, z: otus.sigmoid(z), "sigmoid is defined for real operands only, not complex ones"),
    "arctan2 of complex": (
        lambda b, z: otus.arctan2(z, z), "arctan2 is defined for real operands only, not complex ones"
    ),
    "unknown gelu": (
        lambda b, z: otus.gelu(otus.real(z), "fast"), "gelu: approximate='fast' is unknown; use 'none' or 'tanh'"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refusals(what: str) -> None:
    call, message = REFUSED[what]
    with pytest.raises(otus.DTypeError) as caught:
        call(otus.tensor("b", (2,), "bool"), otus.tensor("z", (2,), "complex128"))
    assert str(caught.value) == message
