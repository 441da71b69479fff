"""tensorgrad as a peer: what it is asked for, and rows where it is missing; test_suites.py compares its answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import gradients, hessians
from benchmarks.harness import Row, UnavailableError, numbers
from benchmarks.peers import MODULES, need
from benchmarks.tensorgrad_peer import FACTORISATION, POISSON, tensorgrad_call

ROWS = [*hessians.ROWS, *gradients.ROWS]
NAMES = ("tensorgrad", "tensorgrad, torch.compile")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_rows_name_it_where_it_is_missing(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODULES, "tensorgrad", "no_module_of_this_name")
    need.cache_clear()
    peers = row.build(*row.tiny).peers
    for name in NAMES:
        with pytest.raises(UnavailableError, match="not installed"):
            peers[name]()


def test_axes_keep_their_order() -> None:
    """By hand, from the formula: the Hessian of ‖T - U Vᵀ‖² in U is 2 δ VᵀV, with axes i, r, i, r."""
    pytest.importorskip("tensorgrad")
    generator = np.random.default_rng(0)
    data = {name: generator.normal(size=shape) for name, shape in (("U", (4, 2)), ("V", (3, 2)), ("T", (4, 3)))}
    (found,) = numbers(tensorgrad_call(FACTORISATION, data, ("U",), "hessian")())
    expected = 2 * np.einsum("ij,kr,ks->irjs", np.eye(4), data["V"], data["V"])
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("points", [3, 5])  # as many as features, too: axes of one length are no one axis
def test_a_newton_step(points: int) -> None:
    pytest.importorskip("tensorgrad")
    generator = np.random.default_rng(1)
    data: dict[str, Any] = {"w": generator.normal(size=3), "X": generator.normal(size=(points, 3))}
    data["y"] = generator.poisson(1.0, points).astype(float)
    (found,) = numbers(tensorgrad_call(POISSON, data, ("w",), "newton")())
    mean = np.exp(data["X"] @ data["w"])
    hessian = data["X"].T @ (mean[:, None] * data["X"]) + np.eye(3)
    expected = np.linalg.solve(hessian, data["X"].T @ (mean - data["y"]) + data["w"])
    np.testing.assert_allclose(found, expected, rtol=1e-10)
