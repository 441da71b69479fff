"""The order of a compiled function's inputs: of first use, as listed, or as a program declares them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import otus

A, x = otus.tensor("A", ("m", "n")), otus.tensor("x", ("n",))
PROGRAM = "tensor C[k,j], A[i,j], unused[i], B[j]\ny = B @ C.T\nz = A @ B"


def test_inputs_may_be_listed_as_names_or_tensors() -> None:
    for listed in (["x", "A"], [x, A], (x, "A"), iter([x, A])):
        f = otus.compile(A @ x, inputs=listed)  # type: ignore[arg-type]
        assert f.inputs == ("x", "A")
    np.testing.assert_array_equal(f(np.ones(2), np.eye(2)), np.ones(2))


REFUSED: dict[str, tuple[Any, str]] = {
    "a text": ("Ax", "inputs= takes a list of names or tensors, such as ['A', 'x'], not 'Ax'"),
    "one tensor": (x, "inputs= takes a list of names or tensors, such as ['A', 'x'], not <f64[n] = input 'x'>"),
    "a number": ([3], "inputs= takes a list of names or tensors, such as ['A', 'x']; 3 is neither"),
    "a product": (
        [A @ x],
        "inputs= takes a list of names or tensors, such as ['A', 'x']; <f64[m] = einsum> is neither",
    ),
    "no list": (3, "inputs= takes a list of names or tensors, such as ['A', 'x'], not 3"),
    "a misspelt name": (["A", "y"], "inputs= names 'y', which no output reads; the expression has A, x"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused(name: str) -> None:
    listed, message = REFUSED[name]
    with pytest.raises(otus.OtusError, match=re.escape(message)):
        otus.compile(A @ x, inputs=listed)


def test_the_repr_of_an_input_shows_its_name() -> None:
    assert repr(x) == "<f64[n] = input 'x'>"


@pytest.mark.parametrize("backend", ["numpy", "reference"])
def test_a_program_takes_its_inputs_in_the_order_of_their_declaration(backend: str) -> None:
    module = otus.parse(PROGRAM)
    f = otus.compile(module, backend=backend)
    assert f.inputs == ("C", "A", "B")
    assert f.outputs == ("y", "z")
    result = f(np.ones((2, 3)), np.eye(3), np.ones(3))
    np.testing.assert_array_equal(result["y"], [3, 3])
    assert otus.compile(dict(module.outputs)).inputs == ("B", "C", "A")


def test_listed_inputs_of_a_program_come_first() -> None:
    module = otus.parse(PROGRAM)
    assert otus.compile(module, inputs=["B", "A", "C"]).inputs == ("B", "A", "C")


def test_a_compiled_program_knows_where_its_statements_stand() -> None:
    f = otus.compile(otus.parse("tensor x[n]\ny = exp(x)"))
    assert any(str(each.position).startswith("<text>:2:") for each in f.provenance)
