"""What structured requests allocate, measured."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import otus


@pytest.mark.parametrize("form", ["diagonal of the Hessian", "diagonal of the compressed Hessian"])
def test_diagonal_of_a_logistic_hessian_stays_far_below_the_hessian(form: str) -> None:
    """800 MB dense; the diagonal takes one array of the size of the data beside them."""
    points, features = 1_000, 10_000
    x, y, w = otus.tensor("X", (points, features)), otus.tensor("y", (points,)), otus.tensor("w", (features,))
    margin = x @ w
    hessian = otus.hessian(otus.sum(otus.log(1 + otus.exp(margin)) - y * margin), w)
    diagonal = otus.diagonal(hessian) if form == "diagonal of the Hessian" else otus.compress(hessian).diagonal()
    kernel = otus.compile(diagonal)
    rng = np.random.default_rng(0)
    data = {"X": rng.standard_normal((points, features)), "w": rng.standard_normal(features) / 100}
    tracemalloc.start()
    value = kernel(**data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
    probability = 1 / (1 + np.exp(-data["X"] @ data["w"]))
    np.testing.assert_allclose(value, (probability * (1 - probability)) @ data["X"] ** 2, rtol=1e-10)
