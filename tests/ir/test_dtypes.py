"""Promotion and casts against NumPy, and JAX for what NumPy lacks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from oracles import jax

from otus.ir import DType, DTypeError, as_dtype, promote
from otus.ir.dtypes import can_cast_safely, to_numpy_dtype

NUMPYS = [x for x in DType if x.in_numpy]
WEAK = (True, 3, 2.5, 1j)


@pytest.mark.parametrize(("a", "b"), itertools.product(NUMPYS, NUMPYS))
def test_pairs_promote_as_in_numpy(a: DType, b: DType) -> None:
    assert promote(a, b) == np.result_type(np.dtype(a), np.dtype(b)).name
    assert can_cast_safely(a, b) == np.can_cast(a.value, b.value, "safe")


@pytest.mark.parametrize(("a", "number"), itertools.product(NUMPYS, WEAK))
def test_python_numbers_are_weak(a: DType, number: complex) -> None:
    assert promote(a, number) == np.result_type(np.dtype(a), number).name


BEYOND = ["bfloat16", "float16", "float32", "float64", "float8_e4m3", "float8_e5m2", "int8", "int32", "complex64"]


@pytest.mark.parametrize(("a", "b"), [(a, b) for a, b in itertools.product(BEYOND, BEYOND) if "bfloat16" in (a, b)])
def test_bfloat16_promotes_as_in_jax(a: str, b: str) -> None:
    if any("float8" in x for x in (a, b)):
        assert promote(DType(a), DType(b)) == "bfloat16"  # JAX refuses; the wider type of the kind holds both
        return
    wanted = jax.numpy.promote_types(a, b).name
    assert promote(DType(a), DType(b)) == wanted


SHORT = ("float8_e4m3fn", "float8_e5m2", "bfloat16", "float16", "int8", "uint8", "int16", "uint16")


@pytest.mark.parametrize(("source", "target"), [(a, b) for a, b in itertools.product(SHORT, SHORT) if "float" in b])
def test_casts_that_lose_nothing_are_those_of_all_numbers(source: str, target: str) -> None:
    """Every number of a type to another and back to float32, by ml_dtypes, which JAX's types are."""
    first, second = (np.dtype(getattr(jax.numpy, name)) for name in (source, target))
    numbers = np.arange(2 ** (8 * first.itemsize)).astype(f"uint{8 * first.itemsize}").view(first)
    with np.errstate(all="ignore"):
        exact, found = numbers.astype(np.float32), numbers.astype(second).astype(np.float32)
    is_exact = bool(np.array_equal(exact, found, equal_nan=True))
    assert can_cast_safely(as_dtype(source), as_dtype(target)) == is_exact


@pytest.mark.parametrize("narrow", [x for x in DType if not x.in_numpy])
def test_narrow_types_give_way_and_have_no_array(narrow: DType) -> None:
    assert promote(narrow, narrow) is narrow
    wide = {"float": DType.float64, "int": DType.int64, "uint": DType.uint64}[narrow.kind]
    assert promote(narrow, wide) is wide
    with pytest.raises(DTypeError, match=f"NumPy has no {narrow}; cast to float32 or int8 first"):
        to_numpy_dtype(narrow)


@pytest.mark.parametrize("each", DType)
def test_names(each: DType) -> None:
    assert as_dtype(each.short) is each
    assert as_dtype(each.value) is each
    assert each == each.value
    if each.in_numpy:
        array = np.zeros(1, each.value)
        assert as_dtype(array.dtype) is each
        assert array.itemsize * 8 == each.bits
        assert each.kind == {"b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex"}[array.dtype.kind]
        assert np.dtype(each.real.value) == array.real.dtype


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flaot32", "unknown dtype 'flaot32'; did you mean 'float32'?"),
        ("object", "unknown dtype 'object'; known types are "),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(DTypeError) as caught:
        as_dtype(name)
    assert str(caught.value).startswith(message)
