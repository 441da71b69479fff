"""A program's values and derivatives: compiled, by the reference interpreter, and by JAX."""

from __future__ import annotations

from typing import Any

import numpy as np
from evaluation import assert_close, run
from function_cases import JAX
from oracles import jax
from random_programs.outputs import SMALL_RESULT, TOLERANCE, is_small, otus_outputs, vectors
from random_programs.programs import Program

from otus.structures import flatten


def jax_outputs(program: Program, compiled: bool = True) -> dict[str, Any]:
    places = tuple(range(len(program.inputs)))

    def loss(*inputs: Any) -> Any:
        return program.loss(JAX, list(inputs)) + 0.0 * sum(each.sum() for each in inputs)

    def last(*inputs: Any) -> Any:
        return program.results(JAX, list(inputs))[-1]

    def outputs(*x: Any) -> dict[str, Any]:
        gradient = jax.grad(loss, places)
        found = {"values": program.results(JAX, list(x)), "gradient": gradient(*x)}
        if is_small(program):
            v = tuple(vectors(program))
            y, pushed = jax.jvp(last, x, v)
            found["hvp"] = jax.jvp(gradient, x, v)[1]
            found["jtjvp"] = jax.vjp(last, *x)[1](pushed)
            found["hessian"] = jax.jacfwd(gradient, places)(*x)
            if np.prod(y.shape) <= SMALL_RESULT:
                found["jacobian"] = jax.jacrev(last, places)(*x)
        return found

    x = tuple(map(jax.numpy.asarray, program.data.values()))
    return (jax.jit(outputs) if compiled else outputs)(*x)


def compare(program: Program) -> None:
    """Raise ``AssertionError`` where anything differs by more than 1e-8 relative.

    JAX compiles the program whole.  Where that differs, JAX operation by operation decides: XLA of
    jaxlib 0.10 fuses the gradient of the program with seed 20426 (a scatter and a cumulative sum) to a
    wrong value, which JAX's eager mode and finite differences contradict.
    """
    outputs = otus_outputs(program)
    actual = {"compiled": run(outputs, program.data), "reference": run(outputs, program.data, "reference")}
    try:
        _assert_equal(actual, jax_outputs(program))
    except AssertionError:
        _assert_equal(actual, jax_outputs(program, compiled=False))


def _assert_equal(actual: dict[str, dict[str, Any]], expected: dict[str, Any]) -> None:
    for kind, outputs in actual.items():
        for name, values in outputs.items():
            wanted = jax.tree.leaves(expected[name])
            for got, want in zip(flatten(values, _is_array), wanted, strict=True):
                assert_close(got, want, TOLERANCE, TOLERANCE, f"{kind} {name}")


def _is_array(value: object) -> bool:
    return not isinstance(value, (list, tuple, dict))
