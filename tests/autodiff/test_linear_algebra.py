"""Matrix operations where JAX has no derivative, or no finite one, and Hessians; first: ``test_functions``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from against_jax import expressions, same_gradient, same_hessian, values_of
from evaluation import assert_close
from function_cases import OTUS

import otus
from otus.runtime.differences import Estimate, directional_derivative, numerical_gradient

rng = np.random.default_rng(23)
C = rng.standard_normal((5, 5))
D = rng.standard_normal((5, 5))
I = 1j * D
ROTATION = np.linalg.qr(C)[0]
OTHER_ROTATION = np.linalg.qr(D)[0]
UNITARY = np.linalg.qr(C + I)[0]

Function = Callable[..., Any]


def weighted(xp: Any, x: Any) -> Any:
    """A real number in which no two elements count the same."""
    weights = np.resize(C, x.shape)
    return (xp.real(x) * weights).sum() + (xp.real(x) ** 2 * np.resize(D, x.shape)).sum() + xp.imag(x).sum()


def squared(xp: Any, x: Any) -> Any:
    return xp.real(x * xp.conj(x)).sum()


def assert_within(actual: Any, estimate: Estimate, floor: float = 1e-8) -> None:
    """Equal to a finite difference, within ten times its error estimate and ``floor`` of the largest element."""
    assert np.shape(actual) == estimate.value.shape
    scale = 1 + np.abs(estimate.value).max(initial=0)
    assert np.isfinite(actual).all(), actual
    worst = np.max(np.abs(actual - estimate.value) - 10 * estimate.error, initial=0.0)
    assert worst <= floor * scale, f"{actual} is not {estimate.value} ± {estimate.error}"


@functools.cache
def compiled(function: Function, shape: tuple[int, ...], dtype: str) -> tuple[Any, Any, Any]:
    """What differences are taken of, the function and its gradient, by the reference interpreter; then that gradient,
    the Hessian-vector product and, of real points, the explicit Hessian, compiled."""
    x, v = otus.tensor("x", shape, dtype), otus.tensor("v", shape, dtype)
    loss = function(OTUS, x)
    wanted = {"gradient": otus.grad(loss, x), "hvp": otus.hvp(loss, [x], [v])[0]}
    if dtype == "float64":
        wanted["hessian"] = otus.hessian(loss, x)
    value, gradient = (otus.compile(each, backend="reference") for each in (loss, wanted["gradient"]))
    return value, gradient, otus.compile(wanted)


def check(function: Function, point: np.ndarray, floor: float = 1e-8) -> None:
    """The derivatives of a function at a point, against finite differences and each other."""
    value, gradient, derivatives = compiled(function, point.shape, str(point.dtype))
    v = np.random.default_rng(5).standard_normal(point.shape) * (1 + (0.5j if np.iscomplexobj(point) else 0))
    found = derivatives(x=point, v=v)
    assert_within(found["gradient"], numerical_gradient(lambda a: value(x=a), point), floor)
    assert_within(found["hvp"], directional_derivative(lambda a: gradient(x=a), point, v), floor)
    if "hessian" in found:
        assert_close(np.tensordot(found["hessian"], v, v.ndim), found["hvp"], 1e-8, what="hessian")


# --- QR ----------------------------------------------------------------------------------------

WIDE = {"real": C[:2, :4], "complex": (C + I)[:3, :5], "batched": rng.standard_normal((2, 2, 3)) + np.eye(2, 3)}


def both(mode: str) -> Function:
    """Q and R of wide matrices, in one number."""

    def function(xp: Any, a: Any) -> Any:
        q, r = xp.qr(a, mode=mode)
        return weighted(xp, q) + 2 * weighted(xp, r)

    return function


@pytest.mark.parametrize("mode", ["reduced", "complete"])
@pytest.mark.parametrize("what", WIDE)
def test_qr_of_wide_matrices(what: str, mode: str) -> None:
    check(both(mode), WIDE[what])


def test_qr_of_a_wide_matrix_by_hand() -> None:
    """The first columns are factorised, the others are Qᵀ times their own: ``∂ΣR[:, 2:]/∂A[:, 2:] = Q·1``."""
    data, (x,) = expressions((C[:2, :4],))
    gradient = values_of(otus.grad(otus.qr(x).R[:, 2:].sum(), x), data)
    q = np.linalg.qr(C[:2, :2])[0]
    assert_close(gradient[:, 2:], np.repeat(q.sum(axis=1, keepdims=True), 2, axis=1))


@pytest.mark.parametrize("point", [C[:4, :2], (C + I)[:4, :2], C[:3, :3]], ids=["real", "complex", "square"])
def test_r_of_a_complete_qr(point: np.ndarray) -> None:
    check(lambda xp, a: weighted(xp, xp.qr(a, mode="complete")[1]), point)


def test_q_of_a_complete_qr_of_a_square_matrix() -> None:
    check(lambda xp, a: weighted(xp, xp.qr(a, mode="complete")[0]), C[:3, :3])


def test_qr_where_rows_are_a_symbol() -> None:
    x, fixed = otus.tensor("x", ("n", "n")), otus.tensor("x", (3, 3))
    gradients = [otus.grad((otus.cos(otus.qr(each).R) * otus.exp(otus.qr(each).Q)).sum(), each) for each in (x, fixed)]
    found = [values_of(gradient, {"x": C[:3, :3]}) for gradient in gradients]
    assert_close(found[0], found[1])


def refusal(expression: otus.Expression, x: otus.Expression) -> str:
    with pytest.raises(otus.UnsupportedError) as caught:
        otus.compile(otus.grad((expression**2).sum(), x))
    return str(caught.value)


def test_qr_refuses_what_it_cannot_know() -> None:
    x = otus.tensor("x", ("m", "n"))
    assert "depends on whether it has more rows (m) than columns (n), which is not known" in refusal(otus.qr(x).R, x)


def test_arbitrary_columns_have_no_derivative() -> None:
    x = otus.tensor("x", (4, 2))
    assert refusal(otus.qr(x, mode="complete").Q, x) == (
        "the derivative of the q of a complete qr of f64[4,2] does not exist: q[..., 2:] is arbitrary; "
        "use mode='reduced', or only q[..., :2]"
    )
    assert refusal(otus.svd(x).U, x) == (
        "the derivative of the u of a full svd of f64[4,2] does not exist: u[..., 2:] is arbitrary; "
        "use full_matrices=False, or only u[..., :2]"
    )
    assert "the vh of a full svd of f64[2,4]" in refusal(otus.svd(otus.transpose(x)).Vh, x)


@pytest.mark.parametrize("point", [C[:4, :2], (C + I)[:4, :2]], ids=["real", "complex"])
def test_columns_that_are_not_arbitrary_may_be_sliced(point: np.ndarray) -> None:
    check(lambda xp, a: weighted(xp, xp.qr(a, mode="complete")[0][:, :2]), point)
    check(lambda xp, a: weighted(xp, abs(xp.svd(a)[0][:, :2])), point)
    check(lambda xp, a: weighted(xp, abs(xp.svd(xp.transpose(a))[2][:2])), point)


# --- singular values ---------------------------------------------------------------------------


@pytest.mark.parametrize("point", [C[:4, :2], (C + I)[:4, :2]], ids=["real", "complex"])
def test_a_full_svd_has_the_derivatives_that_exist(point: np.ndarray) -> None:
    """Of a tall matrix, the values and the right vectors; of a wide one, the left."""
    check(lambda xp, a: weighted(xp, xp.svd(a)[1]) + weighted(xp, abs(xp.svd(a)[2])), point)
    check(lambda xp, a: weighted(xp, abs(xp.svd(xp.transpose(a))[0])), point)


def rebuilt(f: Function) -> Function:
    """``U f(s) Vᴴ``."""

    def function(xp: Any, a: Any) -> Any:
        u, s, vh = xp.svd(a, full_matrices=False)
        return xp.einsum("...ij,...j,...jk->...ik", u, f(xp, s), vh)

    return function


def identity(xp: Any, x: Any) -> Any:
    return x


def orthogonal(left: np.ndarray, values: Any, right: np.ndarray) -> np.ndarray:
    """``left · diag(values) · rightᴴ`` of the columns that there are values for."""
    count = len(values)
    return left[:, :count] @ np.diag(values) @ right[:, :count].conj().T


SMALL_ROTATION = np.linalg.qr(C[:3, :3])[0]
LARGE_ROTATION = np.linalg.qr(D[:4, :4])[0]
SMALL_UNITARY = np.linalg.qr((C + I)[:3, :3])[0]
LARGE_UNITARY = np.linalg.qr((D + 1j * C)[:4, :4])[0]

COINCIDING = {
    "a pair": orthogonal(LARGE_ROTATION, [2, 1, 1], SMALL_ROTATION),
    "all": orthogonal(LARGE_ROTATION, [1, 1, 1], SMALL_ROTATION),
    "rank 2": orthogonal(LARGE_ROTATION, [1, 1, 0], SMALL_ROTATION),
    "rank 1": orthogonal(LARGE_ROTATION, [2, 0, 0], SMALL_ROTATION),
    "zero": np.zeros((4, 3)),
    "wide": orthogonal(LARGE_ROTATION, [1, 1, 0], SMALL_ROTATION).T,
    "square": orthogonal(SMALL_ROTATION, [1, 1, 0], SMALL_ROTATION),
    "complex pair": orthogonal(LARGE_UNITARY, [2, 1, 1], SMALL_UNITARY),
    "complex, rank 1": orthogonal(LARGE_UNITARY, [2, 0, 0], SMALL_UNITARY),
    "batched": np.stack([orthogonal(SMALL_ROTATION, s, SMALL_ROTATION) for s in ([3, 2, 1], [1, 1, 0])]),
}


SINGULAR_FUNCTIONS: dict[str, Function] = {
    "fourth powers": lambda xp, a: (xp.svd(a, compute_uv=False) ** 4).sum(),
    "cubes": lambda xp, a: weighted(xp, rebuilt(lambda xp, s: s**3)(xp, a)),
    "the matrix rebuilt": lambda xp, a: weighted(xp, rebuilt(identity)(xp, a)),
}


@pytest.mark.parametrize("function", SINGULAR_FUNCTIONS)
@pytest.mark.parametrize("what", COINCIDING)
def test_coinciding_singular_values(what: str, function: str) -> None:
    """Functions that do not depend on the basis, odd in the singular values and so smooth at 0."""
    check(SINGULAR_FUNCTIONS[function], COINCIDING[what])


# --- eigenvalues -------------------------------------------------------------------------------


def hermitian(xp: Any, a: Any) -> Any:
    return (a + xp.conj(xp.einsum("...ij->...ji", a))) / 2


def spectral(f: Function) -> Function:
    """``V f(w) Vᴴ``."""

    def function(xp: Any, a: Any) -> Any:
        w, v = xp.eigh(hermitian(xp, a))
        return xp.einsum("...ij,...j,...kj->...ik", v, f(xp, w), xp.conj(v))

    return function


def exponential(xp: Any, x: Any) -> Any:
    return xp.exp(x)


EQUAL_EIGENVALUES = {
    "identity": np.eye(4),
    "zero": np.zeros((4, 4)),
    "a pair": orthogonal(LARGE_ROTATION, [1, 1, 2, 3], LARGE_ROTATION),
    "two pairs": orthogonal(LARGE_ROTATION, [1, 1, -2, -2], LARGE_ROTATION),
    "three": orthogonal(LARGE_ROTATION, [1, 1, 1, -2], LARGE_ROTATION),
    "complex": orthogonal(LARGE_UNITARY, [1, 1, 1, -2], LARGE_UNITARY),
    "complex identity": np.eye(4) + 0j,
    "batched": np.stack([orthogonal(SMALL_ROTATION, w, SMALL_ROTATION) for w in ([1, 2, 3], [1, 1, 3])]),
}
BASIS_FREE: dict[str, Function] = {
    "sum of squares": lambda xp, a: (xp.eigh(hermitian(xp, a))[0] ** 2).sum(),
    "trace of exp": lambda xp, a: xp.exp(xp.eigh(hermitian(xp, a))[0]).sum(),
    "squares of the matrix rebuilt": lambda xp, a: squared(xp, spectral(identity)(xp, a)),
    "exp": lambda xp, a: weighted(xp, spectral(exponential)(xp, a)),
    "eigenvalues and exp": lambda xp, a: (
        weighted(xp, spectral(exponential)(xp, a)) * (xp.eigh(hermitian(xp, a))[0] ** 3).sum()
    ),
}


@pytest.mark.parametrize("function", BASIS_FREE)
@pytest.mark.parametrize("what", EQUAL_EIGENVALUES)
def test_equal_eigenvalues(what: str, function: str) -> None:
    check(BASIS_FREE[function], EQUAL_EIGENVALUES[what], floor=1e-7)


def test_a_projection_onto_equal_eigenvalues() -> None:
    """``PP`` of the first two vectors is smooth as long as the third value is apart."""

    def function(xp: Any, a: Any) -> Any:
        v = xp.eigh(hermitian(xp, a))[1][:, :2]
        return weighted(xp, v @ xp.transpose(v))

    check(function, orthogonal(SMALL_ROTATION, [1, 1, 3], SMALL_ROTATION))


def test_hessian_of_squared_eigenvalues_at_the_identity() -> None:
    """``Σ w²`` is ``Σ A_ij²`` of the symmetric part."""
    data, (x,) = expressions((np.eye(3),))
    hessian = values_of(otus.hessian((otus.eigh(x).eigenvalues ** 2).sum(), x), data)
    delta = np.eye(3)
    expected = np.einsum("ik,jl->ijkl", delta, delta) + np.einsum("il,jk->ijkl", delta, delta)
    assert_close(hessian, expected)


def test_third_derivatives_of_a_trace() -> None:
    """``Σ w³`` is ``tr A³``."""
    data, (x,) = expressions((np.eye(2),))
    symmetric = (x + otus.transpose(x)) / 2
    found = otus.derivative((otus.eigh(x).eigenvalues ** 3).sum(), x, order=3)
    expected = otus.derivative(otus.trace(symmetric @ symmetric @ symmetric), x, order=3)
    assert_close(values_of(found, data), values_of(expected, data), 1e-8)


def test_third_derivatives_through_eigenvectors() -> None:
    """Those of ``V exp(w) Vᴴ``, where eigenvalues are apart; where they coincide, not a number."""
    function = BASIS_FREE["exp"]
    x, v = otus.tensor("x", (4, 4)), otus.tensor("v", (4, 4))
    second = function(OTUS, x)
    for _ in range(2):
        second = (otus.grad(second, x) * v).sum()
    third = (otus.grad(second, x) * v).sum()
    compiled_second, compiled_third = otus.compile(second), otus.compile(third)
    point, along = C[:4, :4], D[:4, :4]
    estimate = directional_derivative(lambda a: compiled_second(x=a, v=along), point, along)
    assert_within(compiled_third(x=point, v=along), estimate)
    assert np.isnan(compiled_third(x=np.eye(4), v=along))


# --- Hessians beside JAX's ---------------------------------------------------------------------

HESSIANS: dict[str, tuple[Any, ...]] = {
    "cholesky": (lambda xp, a: weighted(xp, xp.cholesky(a @ xp.transpose(a) + np.eye(3))), C[:3, :3]),
    "exp of a symmetric matrix": (lambda xp, a: weighted(xp, spectral(exponential)(xp, a)), C[:3, :3]),
    "exp of many": (lambda xp, a: weighted(xp, spectral(exponential)(xp, a)), rng.standard_normal((2, 3, 3))),
    "qr": (lambda xp, a: weighted(xp, xp.qr(a)[0]) * weighted(xp, xp.qr(a)[1]), C[:4, :2]),
    "svd": (lambda xp, a: weighted(xp, rebuilt(exponential)(xp, a)), C[:4, :2]),
    "svd of many": (lambda xp, a: weighted(xp, rebuilt(exponential)(xp, a)), rng.standard_normal((2, 2, 3))),
    "pinv": (lambda xp, a: weighted(xp, xp.pinv(a)), C[:4, :2]),
    "lstsq": (lambda xp, a, b: weighted(xp, xp.lstsq(a, b)), C[:4, :2], D[:4, :2]),
    "det": (lambda xp, a: xp.exp(xp.det(a) / 10), C[:4, :4]),
    "slogdet": (lambda xp, a: xp.slogdet(a @ xp.transpose(a))[1] ** 2, C[:3, :3]),
}


@pytest.mark.parametrize("what", HESSIANS)
def test_hessian_is_jaxs(what: str) -> None:
    function, *operands = HESSIANS[what]
    same_gradient(function, *operands)
    same_hessian(function, *operands)


COMPLEX_HESSIANS: dict[str, tuple[Function, np.ndarray]] = {
    "cholesky": (
        lambda xp, a: weighted(xp, xp.cholesky(a @ xp.conj(xp.transpose(a)) + np.eye(2))), (C + I)[:2, :2]),
    "eigh": (lambda xp, a: weighted(xp, spectral(exponential)(xp, a)), (C + I)[:2, :2]),
    "qr": (lambda xp, a: weighted(xp, xp.qr(a)[0]) * weighted(xp, xp.qr(a)[1]), (C + I)[:3, :2]),
    "svd": (lambda xp, a: weighted(xp, rebuilt(exponential)(xp, a)), (C + I)[:3, :2]),
    "pinv": (lambda xp, a: weighted(xp, xp.pinv(a)), (C + I)[:3, :2]),
    "lstsq": (lambda xp, a: weighted(xp, xp.lstsq(a, np.eye(3, 1) + 0j)), (C + I)[:3, :2]),
    "det": (lambda xp, a: weighted(xp, xp.det(a)), (C + I)[:4, :4]),
    "slogdet": (lambda xp, a: weighted(xp, xp.slogdet(a)[0]) + xp.slogdet(a)[1] ** 2, (C + I)[:3, :3]),
}  # fmt: skip


@pytest.mark.parametrize("what", COMPLEX_HESSIANS)
def test_hessian_by_real_and_imaginary_parts(what: str) -> None:
    function, a = COMPLEX_HESSIANS[what]
    same_hessian(lambda xp, re, im: function(xp, re + 1j * im), a.real, a.imag)
