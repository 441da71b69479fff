"""Determinants are polynomials: their derivatives at singular matrices, against minors."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from against_jax import expressions, same_gradient, values_of
from evaluation import assert_close

import otus

rng = np.random.default_rng(29)
C = rng.standard_normal((5, 5))
D = rng.standard_normal((5, 5))
I = 1j * D


def orthogonal(left: np.ndarray, values: Any, right: np.ndarray) -> np.ndarray:
    """``left · diag(values) · rightᴴ``."""
    return left @ np.diag(values) @ right.conj().T


def minor(a: np.ndarray, rows: tuple[int, ...], columns: tuple[int, ...]) -> Any:
    """The derivative of det by those entries: the determinant with ones there and zeros beside them."""
    if len(set(rows)) < len(rows) or len(set(columns)) < len(columns):
        return 0.0
    b = a.copy()
    b[list(rows)] = 0
    b[:, list(columns)] = 0
    b[list(rows), list(columns)] = 1
    return np.linalg.det(b)


def det_derivative(a: np.ndarray, order: int) -> np.ndarray:
    size = len(a)
    result = np.zeros((size,) * (2 * order), a.dtype)
    for place in itertools.product(range(size), repeat=2 * order):
        result[place] = minor(a, place[::2], place[1::2])
    return result


def matrices(size: int) -> dict[str, np.ndarray]:
    left, right = np.linalg.qr(C[:size, :size])[0], np.linalg.qr(D[:size, :size])[0]
    complexes = [np.linalg.qr((C + s * I)[:size, :size])[0] for s in (1, -2)]
    up = [float(k) for k in range(1, size + 1)]
    real = {f"rank {size - k}": orthogonal(left, up[: size - k] + [0.0] * k, right) for k in range(min(size, 3) + 1)}
    return {
        **real,
        "zero": np.zeros((size, size)),
        "ones in a row": np.eye(size)[:1].T * np.ones(size),
        "equal values and a 0": orthogonal(left, [1.0] * (size - 1) + [0.0], right),
        "nearly singular": orthogonal(left, [*up[:-1], 1e-7], right),
        "not quite equal values and a 0": orthogonal(left, [*(1 + 1e-9 * np.arange(size - 1)), 0.0], right),
        "orthogonal": left,
        "complex": orthogonal(complexes[0], up, complexes[1]),
        "complex, singular": orthogonal(complexes[0], [*up[:-1], 0.0], complexes[1]),
        "complex, rank less": orthogonal(complexes[0], [*up[:-2], 0.0, 0.0][-size:], complexes[1]),
    }


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_determinants_have_derivatives_at_singular_matrices(size: int) -> None:
    for dtype in ("float64", "complex128"):
        x = otus.tensor("x", (size, size), dtype)
        y = otus.det(x)
        outputs = {1: otus.jacobian(y, x), 2: otus.jacobian(otus.jacobian(y, x), x)}
        compiled = [otus.compile(outputs, backend=backend) for backend in ("numpy", "reference")]
        for what, a in matrices(size).items():
            if a.dtype == dtype:
                for f, (order, power) in itertools.product(compiled, ((1, 1e-12), (2, 1e-10))):
                    assert_close(f(x=a)[order], det_derivative(a, order), power, power, f"{what}, order {order}")


def test_third_derivative_of_a_determinant() -> None:
    x = otus.tensor("x", (4, 4))
    third = otus.compile(otus.derivative(otus.det(x), x, order=3))
    for what in ("rank 4", "rank 3", "rank 2", "equal values and a 0", "zero"):
        a = matrices(4)[what]
        assert_close(third(x=a), det_derivative(a, 3), 1e-9, what=what)


def test_what_is_not_right_is_not_a_number() -> None:
    """A fourth derivative of det: the matrix itself counts at regular ones, and at singular ones of distinct values."""
    x, v = otus.tensor("x", (4, 4)), otus.tensor("v", (4, 4))
    y = otus.det(x)
    for _ in range(4):
        y = (otus.grad(y, x) * v).sum()
    fourth = otus.compile(y)
    for what in ("rank 4", "rank 3", "orthogonal"):
        assert_close(fourth(x=matrices(4)[what], v=D[:4, :4]), 24 * np.linalg.det(D[:4, :4]), 1e-8)
    assert np.isnan(fourth(x=matrices(4)["equal values and a 0"], v=D[:4, :4]))


def test_gradient_of_det_of_a_large_matrix() -> None:
    """What is computed of the branch that is not taken neither overflows nor warns."""
    a = np.random.default_rng(1).standard_normal((300, 300)) / 300**0.5
    x = otus.tensor("x", a.shape)
    with np.errstate(all="raise", under="ignore"):
        gradient = otus.compile(otus.grad(otus.det(x), x))(x=a)
    wanted = np.linalg.det(a) * np.linalg.inv(a).T  # of 1e-66, whose small elements are as exact as the large ones
    np.testing.assert_allclose(gradient, wanted, rtol=1e-10, atol=1e-12 * np.abs(wanted).max())


def test_determinants_of_a_batch_of_singular_and_other_matrices() -> None:
    batch = np.stack([matrices(4)[what] for what in ("rank 4", "rank 3", "rank 2", "orthogonal")])
    data, (x,) = expressions((batch,))
    found = values_of({"grad": otus.grad(otus.det(x).sum(), x), "hessian": otus.hessian(otus.det(x).sum(), x)}, data)
    for k, a in enumerate(batch):
        assert_close(found["grad"][k], det_derivative(a, 1))
        assert_close(found["hessian"][k, :, :, k], det_derivative(a, 2))


def test_a_determinant_of_symbolic_size() -> None:
    x = otus.tensor("x", ("n", "n"))
    gradient = values_of(otus.grad(otus.det(x), x), {"x": np.diag([1.0, 2.0, 0.0, 3.0])})
    assert_close(gradient, np.diag([0.0, 0.0, 6.0, 0.0]))


def test_gradient_of_det_is_jaxs_where_the_rank_lacks_one() -> None:
    same_gradient(lambda xp, a: xp.det(a), matrices(4)["rank 3"])


def test_logarithms_of_determinants_take_no_singular_values() -> None:
    """Gaussian likelihoods pay for an inverse, not for what singular matrices need."""
    x = otus.tensor("x", (5, 5))
    for y in (otus.logdet(x), otus.slogdet(x)[1]):
        assert "svd" not in otus.compile(otus.grad(y, x)).source
