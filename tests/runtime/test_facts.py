"""Facts checked on data: what passes, and what a failure says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from otus.ir import OtusError, TensorType, make_type
from otus.runtime.facts import FactError, check_facts, satisfies, tolerance

RNG = np.random.default_rng(3)
Q = np.linalg.qr(RNG.standard_normal((50, 8)))[0]


def square(**facts: Any) -> TensorType:
    return make_type((3, 3), **facts)


def check(array: Any, type: TensorType) -> None:
    check_facts(np.asarray(array), type.facts, "H")


def test_no_facts_hold_always() -> None:
    check([np.nan], make_type((1,)))


def test_tolerances_follow_the_dtype() -> None:
    assert 1e-11 < tolerance(np.dtype("float64")) == tolerance(np.dtype("complex128")) < 1e-10
    assert 1e-5 < tolerance(np.dtype("float32")) < 1e-4
    assert tolerance(np.dtype("int8")) == 0


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_rounding_passes_and_mistakes_do_not(dtype: str) -> None:
    wide = make_type((50, 8), orthonormal=True)
    factor = RNG.standard_normal((3, 9))
    gram = (1e6 * factor @ factor.T).astype(dtype)
    gram[0, 1] *= 1 + 8 * np.finfo(dtype).eps
    check(gram, square(symmetric=True))
    check(Q.astype(dtype), wide)
    gram[0, 1] *= 1.01
    with pytest.raises(FactError, match=r"symmetric in axes \(0, 1\)"):
        check(gram, square(symmetric=True))
    with pytest.raises(FactError, match="orthonormal"):
        check((1.01 * Q).astype(dtype), wide)


def test_symmetry_groups_mean_every_permutation() -> None:
    x = RNG.standard_normal((2, 2, 2, 3, 3))
    facts = make_type(x.shape, symmetric=((0, 1, 2), (3, 4)))
    with pytest.raises(FactError, match=r"symmetric in axes \(0, 1, 2\)"):
        check(x, facts)
    x = x + x.transpose(1, 0, 2, 3, 4)
    with pytest.raises(FactError, match=r"symmetric in axes \(0, 1, 2\)"):
        check(x, facts)
    x = x + x.transpose(2, 1, 0, 3, 4) + x.transpose(0, 2, 1, 3, 4)
    with pytest.raises(FactError, match=r"symmetric in axes \(3, 4\)"):
        check(x, facts)
    check(x + x.swapaxes(3, 4), facts)


def test_the_text_of_a_failure() -> None:
    x = np.eye(3)
    x[2, 0] = 0.5
    with pytest.raises(OtusError) as caught:
        check(x, square(symmetric=True))
    assert str(caught.value) == (
        "tensor 'H' is declared symmetric in axes (0, 1), but deviates by 0.5 at index (0, 2); "
        "deviations up to 3.67e-11 are accepted"
    )


def test_symmetric_infinities_and_integers() -> None:
    x = np.array([[0, np.inf], [np.inf, 0]])
    check(x, make_type((2, 2), symmetric=True))
    with pytest.raises(FactError, match="deviates by inf"):
        check(np.array([[0, np.inf], [1, 0]]), make_type((2, 2), symmetric=True))
    with pytest.raises(FactError, match="deviates by 255"):
        check(np.array([[0, 255], [0, 0]], np.uint8), make_type((2, 2), symmetric=True))
    check(np.array([[False, True], [True, False]]), make_type((2, 2), symmetric=True))


def test_nan_has_no_fact() -> None:
    x = np.full((3, 3), np.nan)
    for fact in ("symmetric", "orthonormal", "nonnegative", "sums_to_one", "diagonal"):
        with pytest.raises(FactError):
            check(x, square(**{fact: True}))


def test_positive_definite() -> None:
    check(np.eye(3), square(positive_definite=True))
    check(np.zeros((0, 0)), make_type((0, 0), positive_definite=True))
    stack = np.stack([np.eye(3), np.diag([1.0, -0.25, 1.0])])
    with pytest.raises(FactError, match=r"smallest eigenvalue is -0.25 at index \(1\); eigenvalues"):
        check(stack, make_type((2, 3, 3), positive_definite=True))
    with pytest.raises(FactError, match="smallest eigenvalue is 0"):
        check(np.zeros((3, 3), np.int64), square(positive_definite=True))
    with pytest.raises(FactError, match=r"symmetric|finite"):
        check(np.diag([1, np.nan, 1]), square(positive_definite=True))


def test_diagonal_nonnegative_and_sums_to_one() -> None:
    check(np.diag([1.0, -2, 0]), square(diagonal=True))
    with pytest.raises(FactError, match="diagonal"):
        check(np.eye(3) + 1e-3, square(diagonal=True))
    check(np.zeros(2), make_type((2,), nonnegative=True))
    with pytest.raises(FactError, match=r"nonnegative, but deviates by 1e-30 at index \(1\)"):
        check([0, -1e-30], make_type((2,), nonnegative=True))
    with pytest.raises(FactError, match="deviates by 2"):
        check([1 + 2j], make_type((1,), "complex128", nonnegative=True))
    check(np.full((2, 3), 1 / 3, np.float32), make_type((2, 3), sums_to_one=True))
    with pytest.raises(FactError, match=r"sums_to_one, but deviates by 0.5 at index \(1\)"):
        check([[1, 0], [1, 0.5]], make_type((2, 2), sums_to_one=True))


def test_satisfies() -> None:
    assert satisfies(np.eye(2), make_type((2, 2), diagonal=True).facts)
    assert not satisfies(np.ones((2, 2)), make_type((2, 2), diagonal=True).facts)
