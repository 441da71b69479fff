"""The adversarial cases hold: values, what is stated of the graph, and every pass by value."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from adversarial import CASES, STABLE
from evaluation import BACKENDS, assert_close, assert_round_trip

import otus
from otus.optimisation import run_pipeline


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_values(name: str, backend: str) -> None:
    if name in STABLE and backend == "reference":
        pytest.skip("the reference backend computes what is written, stable or not")
    case = CASES[name]
    compiled = otus.compile(list(case.build()), backend=backend)
    values = compiled(**case.data)
    with np.errstate(all="ignore"):
        expected = case.expected(**case.data)
    for value, wanted in zip(values, expected, strict=True):
        assert_close(value, wanted, case.tolerance, case.tolerance, name)
        if backend == "numpy":
            assert np.asarray(value).dtype == np.asarray(wanted).dtype, name


@pytest.mark.parametrize("name", CASES)
def test_what_is_stated_of_the_graph(name: str) -> None:
    case = CASES[name]
    nodes = [x.node for x in otus.optimize(list(case.build()))]
    assert_round_trip(nodes)
    assert case.holds(nodes), otus.ir.dump(nodes)


@pytest.mark.parametrize("name", CASES)
def test_every_pass_by_value(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_pipeline(list(CASES[name].build()), otus.pipeline(), check=True)


def test_products_of_deltas_inside_products_are_ordered_without_algebra() -> None:
    """They become deltas, or scalars on a diagonal, only while products are ordered."""
    d, a = otus.delta(2), otus.tensor("A", (2, 2))
    data = np.arange(4.0).reshape(2, 2)
    cases = {
        "ij,jk,kl->il": (otus.einsum("aa,ba,aa->ba", d, d, d), data @ data),
        "ij,jk,kj->i": (otus.einsum("ab,cd,ef,bc,de->af", d, d, d, d, d), np.sum(data * data.T, axis=1)),
        "ij,kl,lm->ijkm": (otus.einsum("ab,cc->ab", d, d), np.einsum("ij,km->ijkm", 2 * np.eye(2), data @ data)),
    }
    for subscripts, (inner, expected) in cases.items():
        for pipeline in ("expand,contract", otus.pipeline()):
            compiled = otus.compile(otus.einsum(subscripts, inner, a, a), pipeline=pipeline)
            assert_close(compiled(data), expected, 1e-12, 1e-12, f"{subscripts}, {pipeline}")


def test_two_tensors_of_one_name_are_refused() -> None:
    for other in (otus.tensor("A", ("n", "m")), otus.tensor("A", ("n",), dtype="float32")):
        with pytest.raises(otus.OtusError, match="two different tensors are called 'A'"):
            otus.compile(otus.tensor("A", ("n",)).sum() + other.sum())
    with pytest.raises(otus.OtusError, match="two different tensors are called 'H'"):
        otus.simplify([otus.tensor("H", ("n", "n")), otus.tensor("H", ("n", "n"), symmetric=True)])


def test_algebra_is_that_of_finite_numbers() -> None:
    """``x·0`` and ``x − x`` are 0 by algebra, also where x is infinite; only ``expand`` alone computes them."""
    x = otus.tensor("x", ("n",))
    data = np.array([1.0, np.inf, np.nan])
    for value in otus.compile([x * 0, x - x, otus.einsum("i,->i", x, otus.constant(0.0))])(data):
        np.testing.assert_array_equal(value, np.zeros(3))
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(otus.compile(x * 0, pipeline="expand")(data), [0.0, np.nan, np.nan])


def test_what_is_no_algebra_follows_numpy_at_infinity() -> None:
    x = otus.tensor("x", ("n",))
    data = np.array([1.0, np.inf, -np.inf, np.nan, 0.0])
    with np.errstate(all="ignore"):
        values = otus.compile([x / x, x * x, 2 * x, x + 1, otus.where(x > 0, x, 0.0), otus.maximum(x, 0.0), 1 / x])(
            data
        )
        expected = [
            data / data, data * data, 2 * data, data + 1, np.where(data > 0, data, 0), np.maximum(data, 0), 1 / data,
        ]  # fmt: skip
    for value, wanted in zip(values, expected, strict=True):
        np.testing.assert_array_equal(value, wanted)


@pytest.mark.parametrize("pipeline", [None, "expand,simplify", "expand"])
def test_numbers_are_not_multiplied_out_of_range(pipeline: str | None) -> None:
    """1e38·(10·x) is in the range of float32, where 1e39 is none of its numbers; 1e-30·(1e-30·x) where x is large."""
    x = otus.tensor("x", ("n",), "float32")
    data = np.array([0.1, -0.0, 1e30], np.float32)
    large, small = otus.compile([(x * 1e38) * 10, (x * 1e-30) * 1e-30], pipeline=pipeline)(
        np.where(data > 1, 0.2, data)
    )
    np.testing.assert_allclose(large, np.float32([1e38, -0.0, 2e38]), rtol=1e-6)
    np.testing.assert_allclose(small, np.float32([0, 0, 0]), atol=1e-38)
    _, kept = otus.compile([x, (x * 1e-30) * 1e-10], pipeline=pipeline)(data)
    np.testing.assert_allclose(kept[2], 1e-10, rtol=1e-6)
