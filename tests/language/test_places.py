"""Errors of a call name the statement of the program that they come from."""

from __future__ import annotations

import numpy as np
import pytest

import otus

TEXT = """tensor X[n], w[k], A[n,n]
y = 2 * X[5:]
last = X[7]
dim p = 4
u[p] = X[p+k] * w[k] + 1
v = inv(A)
"""
DATA = {"X": np.ones(3), "w": np.ones(2), "A": np.zeros((3, 3))}
EXPECTED = {
    "y": "slice: axis 0 of size 3 has no -2 elements from 5, in %0: f64[n-5] = slice {starts=(5,), sizes=(n-5,), "
    "steps=(1,)} %X, from model.otus:2:9: X[5:]",
    "last": "slice: position 7 is outside axis 0 of size 3, in %0: f64[1] = slice {starts=(7,), sizes=(1,), "
    "steps=(1,)} %X, from model.otus:3:8: X[7]",
    "u": "index 3 is out of bounds for axis 0 with size 3, in %3: f64[4,k] = take {axis=0} %X, %2, from "
    "model.otus:5:8: X[p+k]",
    "v": "Singular matrix, in %0: f64[n,n] = inv %A, from model.otus:6:5: inv(A)",
}


@pytest.mark.parametrize("name", EXPECTED)
def test_errors_of_a_call_name_the_statement(name: str) -> None:
    f = otus.compile(otus.parse(TEXT, "model.otus")[name])
    with pytest.raises(otus.OtusError) as caught:
        f(**{key: DATA[key] for key in f.inputs})
    assert str(caught.value) == EXPECTED[name]


@pytest.mark.parametrize("name", ["y", "last"])
def test_errors_of_sizes_that_are_fixed_name_the_statement(name: str) -> None:
    with pytest.raises(otus.ShapeError) as caught:
        otus.compile(otus.parse(TEXT, "model.otus")[name], dims={"n": 3})
    assert str(caught.value) == EXPECTED[name]


def test_provenance_keeps_positions_where_sizes_are_fixed() -> None:
    f = otus.compile(otus.parse(TEXT, "model.otus")["v"], dims={"n": 2})
    assert [str(each.position) for each in f.provenance] == ["model.otus:6:5"]


def test_errors_of_expressions_from_python_name_the_operation() -> None:
    f = otus.compile(otus.exp(otus.tensor("X", ("n",))[9:]))
    with pytest.raises(otus.ShapeError) as caught:
        f(np.ones(3))
    assert str(caught.value) == (
        "slice: axis 0 of size 3 has no -6 elements from 9, in %0: f64[n-9] = slice {starts=(9,), sizes=(n-9,), "
        "steps=(1,)} %X"
    )
