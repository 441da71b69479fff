"""Random data have the shape, the dtype and every fact that their type declares."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from otus.ir import DTypeError, NamingError, ShapeError, make_type
from otus.runtime.facts import check_facts
from otus.runtime.random_data import random_array

SQUARE_FACTS = (
    "symmetric",
    "orthonormal",
    "positive_definite",
    "diagonal",
    "nonnegative",
    "sums_to_one",
)


def draw(*shape: Any, dtype: Any = "float64", away: Any = 0.0, seed: Any = 0, **facts: Any) -> Any:
    type = make_type(shape, dtype, **facts)
    array = random_array(type, {"i": 4, "j": 3}, np.random.default_rng(seed), away)
    assert array.dtype.name == dtype
    check_facts(array, type.facts, "x")
    return array


@pytest.mark.parametrize(
    "dtype",
    ["bool", "int8", "uint8", "int64", "float16", "float32", "float64", "complex64", "complex128"],
)
@pytest.mark.parametrize("shape", [(), ("i", "j"), (0, 3), (1,), ("i+1", "2*j", 2)])
def test_shapes_and_dtypes(shape: tuple[Any, ...], dtype: str) -> None:
    x = draw(*shape, dtype=dtype)
    sizes = {"i": 4, "j": 3, "i+1": 5, "2*j": 6}
    assert x.shape == tuple(sizes.get(size, size) for size in shape)
    if x.size > 10:
        assert len(np.unique(x)) > (1 if dtype == "bool" else 3)
    assert np.all(np.abs(x) <= (4 if x.dtype.kind in "iu" else 8))


def test_the_seed_decides() -> None:
    assert np.array_equal(draw("i", seed=1), draw("i", seed=1))
    assert not np.array_equal(draw("i", seed=1), draw("i", seed=2))


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128", "int64"])
@pytest.mark.parametrize("facts", [f for n in (1, 2, 3) for f in itertools.combinations(SQUARE_FACTS, n)])
def test_facts_of_square_matrices_and_their_combinations(facts: tuple[str, ...], dtype: str) -> None:
    for shape in (("i", "i"), (1, 1), ("i", "j", "j")):
        symmetric = ((len(shape) - 2, len(shape) - 1),) if "symmetric" in facts else ()
        draw(*shape, dtype=dtype, **{**dict.fromkeys(facts, True), "symmetric": symmetric})


@pytest.mark.parametrize("fact", SQUARE_FACTS)
def test_single_facts_leave_the_rest_random(fact: str) -> None:
    x = draw(4, 4, **{fact: True})
    assert len(np.unique(np.abs(x))) >= 4


def test_symmetry_groups_of_higher_order() -> None:
    x = draw("i", "i", "i", "j", "j", symmetric=((0, 1, 2), (3, 4)))
    assert np.array_equal(x, x.transpose(2, 0, 1, 4, 3))
    assert len(np.unique(x)) == 20 * 6
    draw(3, 3, 3, dtype="int64", symmetric=True)


def test_positive_definite_matrices_are_well_conditioned() -> None:
    eigenvalues = np.linalg.eigvalsh(draw(30, 30, positive_definite=True))
    assert eigenvalues.min() >= 1
    assert eigenvalues.max() < 10


def test_orthonormal_columns() -> None:
    q = draw("i", "j", orthonormal=True)
    assert len(np.unique(np.abs(q))) == 12
    with pytest.raises(ShapeError, match=r"no data of shape \(3, 4\) .* found with orthonormal=True"):
        draw("j", "i", orthonormal=True)


def test_sums_to_one_of_an_empty_axis_is_impossible() -> None:
    with pytest.raises(ShapeError, match="no data of shape"):
        draw(2, 0, sums_to_one=True)
    assert draw(0, 2, sums_to_one=True).shape == (0, 2)
    assert np.array_equal(np.sort(draw(3, 4, dtype="int64", sums_to_one=True)), [[0, 0, 0, 1]] * 3)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "float32", "float64", "complex128"])
def test_away_from_zero(dtype: str) -> None:
    x = draw(40, 40, dtype=dtype, away=0.5)
    assert np.abs(x).min() >= 0.5
    assert np.abs(draw(9, 9, dtype=dtype, away=0.5, symmetric=True)).min() >= 0.5


def test_refusals() -> None:
    with pytest.raises(NamingError, match="dim k has no size"):
        draw("k")
    with pytest.raises(DTypeError, match="NumPy has no int4"):
        draw("i", dtype="int4")
