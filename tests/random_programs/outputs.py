"""What is compiled of a random program: its values and derivatives.  Nothing here needs an oracle's library."""

from __future__ import annotations

from typing import Any

import numpy as np
from function_cases import OTUS
from random_programs.programs import Program

import otus

_SMALL_INPUT, SMALL_RESULT = 12, 30
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
        if np.prod(y.shape) <= SMALL_RESULT:
            outputs["jacobian"] = otus.jacobian(y, x)
    return outputs
