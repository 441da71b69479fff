"""Every program of examples/ is read, checked and run; the values of some against NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import otus
from otus.cli.main import main
from otus.examples import cp_decomposition as cp
from otus.examples.pictures import upright

EXAMPLES = sorted(Path(cp.__file__).parent.glob("*.otus"))
RANDOM = np.random.default_rng(0)


def run(name: str, **data: Any) -> dict[str, Any]:
    """The outputs of an example."""
    found: dict[str, Any] = otus.compile(dict(cp.load_program(name).outputs))(**data)
    return found


def test_there_are_examples() -> None:
    assert {"cpd.otus", "quadratic.otus", "logistic.otus"} <= {path.name for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_passes_its_check(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(path)]) == 0, capsys.readouterr().out
    assert path.read_text("utf-8").startswith("# "), "an example says at its head what it shows"


def test_cpd() -> None:
    a, b, c = (RANDOM.normal(size=(size, 2)) for size in (3, 4, 5))
    x = RANDOM.normal(size=(3, 4, 5))
    residual = np.einsum("ir,jr,kr->ijk", a, b, c) - x
    found = run("cpd.otus", X=x, A=a, B=b, C=c)
    np.testing.assert_allclose(found["loss"], (residual**2).sum())
    np.testing.assert_allclose(found["gA"], 2 * np.einsum("ijk,jr,kr->ir", residual, b, c))
    np.testing.assert_allclose(found["gB"], 2 * np.einsum("ijk,ir,kr->jr", residual, a, c))
    np.testing.assert_allclose(found["gC"], 2 * np.einsum("ijk,ir,jr->kr", residual, a, b))


def test_missing_entries_count_nowhere() -> None:
    factors = {name: RANDOM.normal(size=(size, 2)) for name, size in zip("ABCD", (3, 4, 5, 2), strict=True)}
    x = RANDOM.normal(size=(3, 4, 5, 2))
    w = (RANDOM.random(x.shape) > 0.3).astype(float)
    found = run("cpd_missing.otus", X=x, W=w, **factors)
    other = run("cpd_missing.otus", X=x + 100 * (1 - w), W=w, **factors)
    for name, value in found.items():
        np.testing.assert_allclose(other[name], value, rtol=1e-12)


def test_quadratic() -> None:
    h = RANDOM.normal(size=(4, 4))
    h = h @ h.T + np.eye(4)
    x, b = RANDOM.normal(size=(2, 4))
    found = run("quadratic.otus", x=x, b=b, H=h)
    np.testing.assert_allclose(found["f"], x @ h @ x / 2 - b @ x)
    np.testing.assert_allclose(found["g"], h @ x - b)
    np.testing.assert_allclose(x - found["step"], np.linalg.solve(h, b))


def test_logistic() -> None:
    x, w = RANDOM.normal(size=(6, 3)), RANDOM.normal(size=3)
    y = np.sign(RANDOM.normal(size=6))
    found = run("logistic.otus", X=x, w=w, y=y)
    p = 1 / (1 + np.exp(-y * (x @ w)))
    np.testing.assert_allclose(found["loss"], -np.log(p).sum() + 0.1 * w @ w)
    np.testing.assert_allclose(found["gw"], -x.T @ (y * (1 - p)) + 0.2 * w)
    np.testing.assert_allclose(found["Hw"], x.T * (p * (1 - p)) @ x + 0.2 * np.eye(3))


def test_softmax() -> None:
    q, k, v = (RANDOM.normal(size=shape) for shape in ((3, 2), (4, 2), (4, 5)))
    weight = np.exp(q @ k.T)
    weight /= weight.sum(1, keepdims=True)
    np.testing.assert_allclose(run("softmax.otus", Q=q, K=k, V=v)["out"], weight @ v)


# --- the demo's parts ----------------------------------------------------------------------------


def data(sizes: tuple[int, ...], rank: int = 2, missing: float = 0.0) -> cp.Data:
    generator = np.random.default_rng(1)
    tensor = cp.product([generator.random((size, rank)) for size in sizes])
    weights = (generator.random(sizes) >= missing).astype(float) if missing else None
    return cp.normalised("small", "Small", tensor, weights, ("i",) * len(sizes), [range(size) for size in sizes])


@pytest.mark.parametrize(("sizes", "missing"), [((6, 5, 4), 0.0), ((5, 4, 3, 6), 0.1)])
def test_a_tensor_of_low_rank_is_found_again(sizes: tuple[int, ...], missing: float) -> None:
    problem = data(sizes, missing=missing)
    watched = []
    found = cp.decompose(
        problem, cp.initial_factors(problem, 2), tolerance=1e-9, watch=lambda number, fit: watched.append((number, fit))
    )
    assert found.fit > 0.99
    assert found.iterations == len(watched) == watched[-1][0]
    np.testing.assert_allclose(found.fit, watched[-1][1], atol=1e-6)
    np.testing.assert_allclose(found.fit, cp.fit(problem, found.factors))


def test_the_first_factors_are_scaled_to_fit_best() -> None:
    problem = data((6, 5, 4))
    factors = cp.initial_factors(problem, 3, seed=5)
    best = cp.fit(problem, factors)
    for change in (0.9, 1.1):
        assert cp.fit(problem, [factors[0] * change, *factors[1:]]) < best
    np.testing.assert_allclose(np.linalg.norm(factors[0]), np.linalg.norm(factors[2]))


def test_columns_stand_upright_in_pictures() -> None:
    np.testing.assert_array_equal(upright(np.array([[-2.0, 0.0], [-1.0, 0.0]])), [[1.0, 0.0], [0.5, 0.0]])
