"""Diagonals added to dense tensors: in place where the memory is the sum's own, never into what others read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import otus
from otus.ir import Graph, VerificationError, build
from otus.ir.kernels import DiagonalEmbedding, DiagonalTerm, DiagonalUpdate
from otus.ir.program import KernelCall, Program, planned_peak, verify_program
from otus.passes.lower import lower

A, B = otus.tensor("A", ("n", "n")), otus.tensor("B", ("n", "n"))
v, w = otus.tensor("v", ("n",)), otus.tensor("w", ("n",))
P = otus.tensor("P", ("m", "n"))
T = otus.tensor("T", ("n", "m", "n", "m"))
s = otus.tensor("s", ())


def diagonal(x: otus.Expression) -> otus.Expression:
    return otus.einsum("i->ii", x)


EXPRESSIONS: dict[str, Callable[[], list[otus.Expression]]] = {
    "outer": lambda: [diagonal(v) - otus.outer(v, v)],
    "input": lambda: [A + diagonal(v)],
    "input that is read again": lambda: [A + diagonal(v), A @ A],
    "temporary that is read again": lambda: [otus.exp(A) + diagonal(v), otus.exp(A).sum(0)],
    "temporary that is an output": lambda: [otus.exp(A) + diagonal(v), otus.exp(A)],
    "temporary of which a view is an output": lambda: [otus.exp(A) + diagonal(v), otus.exp(A).T],
    "twice the same": lambda: [A @ B + diagonal(v), A @ B + diagonal(w)],
    "the sum is read again": lambda: [(A @ B + diagonal(v)) @ w, otus.exp(A @ B + diagonal(v))],
    "chain": lambda: [otus.exp(A @ B + diagonal(v)) + diagonal(w)],
    "transposed": lambda: [(A @ B).T + diagonal(v)],
    "view of an input": lambda: [A.T + diagonal(v)],
    "identity": lambda: [A @ A.T + 0.5 * otus.eye(A.shape[0])],
    "scaled identity": lambda: [A @ A.T - s * otus.eye(A.shape[0])],
    "coefficients": lambda: [3 * A - 2 * diagonal(v) + B - 0.25 * otus.eye(A.shape[0])],
    "spread": lambda: [v + diagonal(w)],
    "spread over both": lambda: [otus.broadcast_to(v, A.shape) + diagonal(w)],
    "batched": lambda: [otus.einsum("bi->bii", P) - otus.einsum("bi,bj->bij", P, P)],
    "batch last": lambda: [otus.einsum("bi->iib", P) - otus.einsum("bi,bj->ijb", P, P)],
    "block": lambda: [T @ otus.eye(P.shape[0]) + otus.einsum("ij,rs->irjs", otus.eye(A.shape[0]), P @ P.T)],
    "diagonals alone": lambda: [diagonal(v) + 2 * diagonal(w), diagonal(v) - otus.eye(A.shape[0])],
    "derivative": lambda: [otus.hessian(otus.logsumexp(v) + (v**4).sum(), v)],
    "softmax": lambda: [otus.jacobian(otus.softmax(P, axis=1), P)],
}


def data(function: Any, n: int, m: int, dtype: str) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    shapes = {"A": (n, n), "B": (n, n), "v": (n,), "w": (n,), "P": (m, n), "T": (n, m, n, m), "s": ()}
    return {name: np.asarray(generator.normal(size=shapes[name])).astype(dtype) for name in function.inputs}


@pytest.mark.parametrize(("n", "m"), [(3, 2), (1, 1), (0, 2)])
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_values(name: str, n: int, m: int) -> None:
    outputs = EXPRESSIONS[name]()
    function = otus.compile(outputs)
    arrays = data(function, n, m, "float64")
    before = {key: array.copy() for key, array in arrays.items()}
    if n == 0 and name == "derivative":
        return
    results = function(**arrays)
    expected = otus.compile(outputs, backend="reference")(**arrays)
    for value, other in zip(results, expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-12, atol=1e-12)
    for key, array in arrays.items():
        np.testing.assert_array_equal(array, before[key], err_msg=f"{key} was written into")


@pytest.mark.parametrize("dtype", ["float32", "complex64", "complex128", "int8", "uint8", "int64"])
def test_dtypes(dtype: str) -> None:
    a, x = otus.tensor("A", (3, 3), dtype=dtype), otus.tensor("v", (3,), dtype=dtype)
    outputs = [otus.outer(x, x) - 3 * diagonal(x), a - diagonal(x), -otus.outer(x, x) + diagonal(x)]
    function = otus.compile(outputs)
    generator = np.random.default_rng(1)
    arrays = {"A": generator.integers(0, 100, (3, 3)).astype(dtype), "v": generator.integers(0, 100, 3).astype(dtype)}
    expected = otus.compile(outputs, backend="reference")(**arrays)
    for value, other in zip(function(**arrays), expected, strict=True):
        assert value.dtype == other.dtype == dtype
        np.testing.assert_allclose(value, other, rtol=1e-6)


def program(*outputs: otus.Expression) -> Program:
    found = otus.optimize(list(outputs))
    return lower(Graph.of([x.node for x in found]))


def updates(lowered: Program) -> list[bool]:
    return [call.kernel.in_place for call in lowered.calls if isinstance(call.kernel, DiagonalUpdate)]


def test_in_place_only_where_nothing_else_reads_the_memory() -> None:
    assert updates(program(diagonal(v) - otus.outer(v, v))) == [True]
    assert updates(program(A + diagonal(v))) == [False]
    assert updates(program(A @ B + diagonal(v), A @ B + diagonal(w))) == [False, False]
    assert updates(program(otus.exp(A) + diagonal(v), otus.exp(A))) == [False]


def test_no_diagonal_is_made() -> None:
    lowered = program(diagonal(v) - otus.outer(v, v))
    assert not any(isinstance(call.kernel, DiagonalEmbedding) for call in lowered.calls)
    n = 1000
    assert planned_peak(lowered, {"n": n}) <= 8 * n**2 + 4 * 8 * n


def test_a_program_that_writes_into_what_is_read_is_refused() -> None:
    value = build.input_node("A", A.node.type)
    lowered = lower(Graph.of([build.apply("exp", value)]))
    (call,) = lowered.calls
    kernel = DiagonalUpdate((DiagonalTerm(None, (0, 0), 1.0),), in_place=True)
    buffers = tuple(x for x in lowered.buffers if x.role == "input")
    output = next(x for x in lowered.buffers if x.role == "output")
    wrong = KernelCall(kernel, ("A",), (output.name,), call.node, call.text)
    bad = Program("k", ("A",), (output.name,), (*buffers, output), (), (wrong,), lowered.dims, ("out0",))
    with pytest.raises(VerificationError, match="add_diagonal writes into input 'A'"):
        verify_program(bad)
