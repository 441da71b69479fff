"""Every function of the contract against NumPy (SciPy, PyTorch), on odd shapes, layouts and dtypes."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from evaluation import BACKENDS, assert_close, run
from function_cases import CASES, ELSEWHERE, NUMPY, OTUS, Case, draw

import otus

TOLERANCE = {"float64": (1e-11, 1e-12), "float32": (2e-5, 2e-5)}


def contiguous(array: np.ndarray) -> np.ndarray:
    return array


def strided(array: np.ndarray) -> np.ndarray:
    """Every second element of a larger array, along every axis."""
    wide = np.zeros([2 * size for size in array.shape], array.dtype)
    view = wide[(..., *(slice(None, None, 2),) * array.ndim)]
    np.copyto(view, array)
    return view


def reversed_strides(array: np.ndarray) -> np.ndarray:
    backward = (slice(None, None, -1),) * array.ndim
    return array[backward].copy()[backward]


def transposed(array: np.ndarray) -> np.ndarray:
    return array.T.copy().T


def operands(each: Case, dtype: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(zlib.crc32(str(each).encode()))
    return {f"x{k}": draw(x, rng, dtype) for k, x in enumerate(each.operands)}


def expression(each: Case, data: dict[str, np.ndarray]) -> otus.Expression:
    return each.call(OTUS, *(otus.tensor(name, x.shape, str(x.dtype)) for name, x in data.items()))


def check(each: Case, data: dict[str, np.ndarray], dtype: str, backend: str) -> None:
    with np.errstate(all="ignore"):
        expected: Any = np.asarray(each.call(NUMPY, *data.values()))
    made = expression(each, data)
    assert made.shape == expected.shape
    if each.dtype_as_numpy:
        assert made.dtype == str(expected.dtype)
    actual = run(made, data, backend)
    assert str(actual.dtype) == made.dtype
    rtol, atol = TOLERANCE[dtype]
    assert_close(actual, expected, rtol, atol)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("each", CASES, ids=str)
def test_value_and_dtype_are_numpys(each: Case, dtype: str, backend: str) -> None:
    check(each, operands(each, dtype), dtype, backend)


@pytest.mark.parametrize("layout", [strided, reversed_strides, transposed])
@pytest.mark.parametrize("each", [c for c in CASES if any(len(x.shape) for x in c.operands)], ids=str)
def test_value_on_other_memory_layouts(each: Case, layout: Any) -> None:
    data = {name: layout(x) for name, x in operands(each, "float64").items()}
    check(each, data, "float64", "numpy")


def test_every_function_has_a_row() -> None:
    from otus.frontend import FUNCTIONS

    covered = {each.name for each in CASES} | set(ELSEWHERE)
    assert set(FUNCTIONS) - covered == set()
    assert covered - set(FUNCTIONS) == set(), "rows for functions that do not exist"
    assert all(ELSEWHERE.values())
