"""Expressions that read an input no more, but whose sizes it says: calls pass it by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import otus

U, V = otus.tensor("U", ("n", "k")), otus.tensor("V", ("m", "k"))
T = otus.tensor("T", ("n", "m"))
DATA = {
    "U": np.random.default_rng(1).normal(size=(4, 2)),
    "V": np.random.default_rng(2).normal(size=(3, 2)),
    "T": np.ones((4, 3)),
}
GRAM = DATA["V"].T @ DATA["V"]
DENSE = 2 * np.einsum("ij,rs->irjs", np.eye(4), GRAM)
HESSIAN = otus.hessian(((T - U @ V.T) ** 2).sum(), U)

CASES: dict[str, tuple[Callable[[Any], otus.Expression], Any]] = {
    "to_dense": (lambda h: h.to_dense(), DENSE),
    "diagonal": (lambda h: h.diagonal(), np.tile(2 * np.diag(GRAM), (4, 1))),
    "trace": (lambda h: h.trace(), 8 * np.trace(GRAM)),
    "logdet": (lambda h: h.logdet(), 4 * np.linalg.slogdet(2 * GRAM)[1]),
    "built further": (lambda h: otus.exp(h.trace() * 0.01) + 1, np.exp(0.08 * np.trace(GRAM)) + 1),
    "simplified": (lambda h: otus.simplify(HESSIAN), DENSE),
    "simplified twice": (lambda h: otus.simplify(otus.simplify(HESSIAN) * 3), 3 * DENSE),
    "compressed again": (lambda h: otus.compress(otus.simplify(HESSIAN)).trace(), 8 * np.trace(GRAM)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_point_says_the_sizes(name: str) -> None:
    build, expected = CASES[name]
    f = otus.compile(build(otus.compress(HESSIAN)))
    np.testing.assert_allclose(f(**DATA), expected, rtol=1e-12)


def test_the_point_is_enough() -> None:
    f = otus.compile(otus.compress(HESSIAN).trace())
    np.testing.assert_allclose(f(U=DATA["U"], V=DATA["V"]), 8 * np.trace(GRAM), rtol=1e-12)


def test_known_sizes_ask_for_no_point() -> None:
    f = otus.compile(otus.compress(HESSIAN).trace(), dims={"n": 4})
    assert f.inputs == ("V",)
    np.testing.assert_allclose(f(**DATA), 8 * np.trace(GRAM), rtol=1e-12)


def test_an_expression_of_nothing_still_asks_for_its_sizes() -> None:
    otus.compress(otus.hessian((U * U).sum() / 2, U)).to_dense()
    with pytest.raises(otus.OtusError, match="no input determines the size of dim n"):
        otus.compile(otus.eye("n"))
