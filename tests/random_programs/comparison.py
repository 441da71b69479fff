"""A program's values and derivatives: compiled, by the reference interpreter, and by JAX."""

from __future__ import annotations

from typing import Any

import numpy as np
from evaluation import assert_close, run
from function_cases import JAX, OTUS
from oracles import jax
from random_programs.programs import Program

import otus
from otus.structures import flatten

_SMALL_INPUT, _SMALL_RESULT = 12, 30
TOLERANCE = 1e-8


def is_small(program: Program) -> bool:
    """Whether explicit Jacobians and Hessians are compared as well."""
    return sum(int(np.prod(shape)) for shape in program.inputs) <= _SMALL_INPUT


def vectors(program: Program) -> list[np.ndarray]:
    rng = np.random.default_rng([program.seed, 7])
    return [rng.standard_normal(shape) for shape in program.inputs]


def otus_outputs(program: Program) -> dict[str, Any]:
    x = [otus.tensor(f"x{k}", shape) for k, shape in enumerate(program.inputs)]
    results = program.results(OTUS, x)
    loss = program.loss(OTUS, x)
    outputs: dict[str, Any] = {"values": results, "gradient": otus.grad(loss, x)}
    if is_small(program):
        v, y = vectors(program), results[-1]
        outputs["hvp"] = otus.hvp(loss, x, v)
        outputs["jtjvp"] = otus.jtjvp(y, x, v)
        outputs["hessian"] = otus.hessian(loss, x)
        if np.prod(y.shape) <= _SMALL_RESULT:
            outputs["jacobian"] = otus.jacobian(y, x)
    return outputs


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
            if np.prod(y.shape) <= _SMALL_RESULT:
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
