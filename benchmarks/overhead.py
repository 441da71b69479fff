"""What a call costs beside the arithmetic: programs on 4×4 inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import expit

from .harness import Case, Goal, Row
from .problem import Array, Problem

Tensors = Mapping[str, Any]


def product(size: int) -> Case:
    generator = np.random.default_rng(0)
    data = {name: generator.normal(size=(size, size)) for name in "ABC"}

    def by_hand() -> Array:
        return np.asarray(data["A"] @ data["B"] + data["C"])

    problem = Problem(lambda library, t: t["A"] @ t["B"] + t["C"], data, ("A",))
    return problem.case("value", compiled=False, by_hand=lambda: by_hand)


def gradient(size: int) -> Case:
    """Of the loss of logistic regression."""
    generator = np.random.default_rng(0)
    data = {"w": generator.normal(size=size), "X": generator.normal(size=(size, size)), "y": np.ones(size)}

    def loss(library: Any, t: Tensors) -> Any:
        margin = t["X"] @ t["w"]
        return library.sum(library.softplus(margin) - t["y"] * margin)

    def by_hand() -> Array:
        return np.asarray((expit(data["X"] @ data["w"]) - data["y"]) @ data["X"])

    return Problem(loss, data, ("w",)).case("grad", compiled=False, by_hand=lambda: by_hand)


_GOALS = (Goal(against="NumPy by hand", extra=3e-6), Goal(1.0, "JAX"))
ROWS = (
    Row("call of A·B + C, 4×4", product, (4,), (4,), _GOALS),
    Row("call of a logistic gradient, 4×4", gradient, (4,), (4,), _GOALS),
)
