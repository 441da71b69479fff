"""Complex derivatives in JAX's convention: no conjugation, ``∂f/∂Re(z) − i·∂f/∂Im(z)`` for real functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from against_jax import expressions, same, same_gradient, same_jacobian, values_of
from function_cases import JAX, OTUS
from oracles import jax

import otus
from otus.runtime.differences import numerical_gradient

rng = np.random.default_rng(11)
Z = rng.standard_normal((2, 3)) + 1j * rng.standard_normal((2, 3))
W = rng.standard_normal((3, 2)) + 1j * rng.standard_normal((3, 2))
SQUARE = 3 * np.eye(3) + rng.standard_normal((3, 3)) + 1j * rng.standard_normal((3, 3))
REAL = rng.standard_normal((2, 3))
MANY = 2 * np.eye(3) + rng.standard_normal((2, 3, 3)) + 1j * rng.standard_normal((2, 3, 3))
TALL = rng.standard_normal((4, 3)) + 1j * rng.standard_normal((4, 3))
WEIGHT = rng.standard_normal((4, 4)) + 1j * rng.standard_normal((4, 4))


def adjoint(xp: Any, a: Any) -> Any:
    return xp.conj(xp.einsum("...ij->...ji", a))


def hermitian(xp: Any, a: Any) -> Any:
    return a + adjoint(xp, a)


def positive(xp: Any, a: Any) -> Any:
    return a @ adjoint(xp, a) + np.eye(a.shape[-1])


def weighted(xp: Any, x: Any) -> Any:
    """A real number in which no two elements count the same, and phases count."""
    rows, columns = x.shape[-2:]
    return (xp.real(x * WEIGHT[:rows, :columns]) ** 2).sum()


def absolute(xp: Any, x: Any) -> Any:
    """A real number in which no two elements count the same, and phases do not count."""
    rows, columns = x.shape[-2:]
    return (abs(x) ** 2 * WEIGHT[:rows, :columns].real).sum()


def turned(xp: Any, a: Any, f: Any) -> Any:
    """``V f(w) Vᴴ`` of a Hermitian matrix."""
    w, v = xp.eigh(a)
    return xp.einsum("...ij,...j,...kj->...ik", v, f(w), xp.conj(v))


def singular(xp: Any, a: Any, f: Any) -> Any:
    """``U f(s) Vᴴ``."""
    u, s, vh = xp.svd(a, full_matrices=False)
    return xp.einsum("...ij,...j,...jk->...ik", u, f(s), vh)


# Real functions of complex tensors.
REAL_VALUED: dict[str, tuple[Any, ...]] = {
    "abs squared": (lambda xp, z: (abs(z) ** 2).sum(), Z),
    "abs": (lambda xp, z: abs(z).sum(), Z),
    "abs at 0": (lambda xp, z: abs(z).sum(), np.array([0j, 3 + 4j])),
    "real": (lambda xp, z: (xp.real(z) ** 2).sum(), Z),
    "imag": (lambda xp, z: (xp.imag(z) * xp.real(z)).sum(), Z),
    "product with the conjugate": (lambda xp, z: xp.real(z * xp.conj(z)).sum(), Z),
    "real part of a square": (lambda xp, z: xp.real(z * z).sum(), Z),
    "imaginary part of exp": (lambda xp, z: xp.imag(xp.exp(z)).sum(), Z),
    "matmul": (lambda xp, z, w: (abs(z @ w) ** 2).sum(), Z, W),
    "vdot": (lambda xp, z, w: xp.real(xp.vdot(z, xp.transpose(w))), Z, W),
    "with a real tensor": (lambda xp, z, x: (abs(z * x + x) ** 2).sum(), Z, REAL),
    "of a real tensor": (lambda xp, x: xp.real(xp.exp(1j * x) * (2 + 1j)).sum(), REAL),
    "norm": (lambda xp, z: xp.norm(z), Z),
    "var": (lambda xp, z: xp.var(z), Z),
    "quadratic form": (lambda xp, z, a: xp.real(xp.einsum("bi,ij,bj->", xp.conj(z), a, z)), Z, SQUARE),
    "where": (lambda xp, z: (abs(xp.where(np.array([[True], [False]]), z, 2 * z)) ** 2).sum(), Z),
    "take": (lambda xp, z: (abs(z[:, [0, 0, -1]]) ** 2).sum(), Z),
    "inv": (lambda xp, a: (abs(xp.inv(a)) ** 2).sum(), SQUARE),
    "solve": (lambda xp, a, z: (abs(xp.solve(a, xp.transpose(z))) ** 2).sum(), SQUARE, Z),
    "det": (lambda xp, a: abs(xp.det(a)) ** 2, SQUARE),
    "slogdet": (lambda xp, a: xp.slogdet(a)[1], SQUARE),
    "cumsum and prod": (lambda xp, z: xp.real(xp.prod(xp.cumsum(z, axis=1))), Z),
    "reciprocal and sqrt": (lambda xp, z: (abs(xp.sqrt(xp.reciprocal(z) + 3)) ** 2).sum(), Z),
    "to real and back": (lambda xp, z: (abs(xp.cast(xp.real(z), "complex128") * z) ** 2).sum(), Z),
    "power": (lambda xp, z: (abs(z**3) + xp.real(z**-1)).sum(), Z),
    "slogdet sign": (lambda xp, a: xp.real(xp.slogdet(a)[0] * (2 - 1j)), SQUARE),
    "slogdet sign, batched": (lambda xp, a: (xp.imag(xp.slogdet(a)[0]) * np.array([1.0, 2.0])).sum(), MANY),
    "det, batched": (lambda xp, a: (abs(xp.det(a)) ** 2).sum(), MANY),
    "cholesky": (lambda xp, a: weighted(xp, xp.cholesky(positive(xp, a))), SQUARE),
    "cholesky, batched": (lambda xp, a: weighted(xp, xp.cholesky(positive(xp, a))), MANY),
    "eigenvalues": (lambda xp, a: (xp.eigh(hermitian(xp, a))[0] ** 3).sum(), SQUARE),
    "eigenvectors": (lambda xp, a: absolute(xp, xp.eigh(hermitian(xp, a))[1]), SQUARE),
    "eigenvectors, batched": (lambda xp, a: absolute(xp, xp.eigh(hermitian(xp, a))[1]), MANY),
    "function of a Hermitian matrix": (lambda xp, a: weighted(xp, turned(xp, hermitian(xp, a), xp.sin)), SQUARE),
    "qr, q": (lambda xp, a: weighted(xp, xp.qr(a)[0]), SQUARE),
    "qr, r": (lambda xp, a: weighted(xp, xp.qr(a)[1]), SQUARE),
    "qr, tall": (lambda xp, a: weighted(xp, xp.qr(a)[0]) + weighted(xp, xp.qr(a)[1]), TALL),
    "qr, batched": (lambda xp, a: weighted(xp, xp.qr(a)[0]) + weighted(xp, xp.qr(a)[1]), MANY),
    "singular values": (lambda xp, a: (xp.svd(a, compute_uv=False) ** 3).sum(), TALL),
    "left singular vectors": (lambda xp, a: absolute(xp, xp.svd(a, full_matrices=False)[0]), TALL),
    "right singular vectors": (
        lambda xp, a: absolute(xp, xp.svd(xp.transpose(a), full_matrices=False)[2]), TALL),
    "singular vectors, batched": (
        lambda xp, a: absolute(xp, xp.svd(a)[0]) - 2 * absolute(xp, xp.svd(a)[2]), MANY),
    "function of singular values": (lambda xp, a: weighted(xp, singular(xp, a, xp.sin)), TALL),
    "function of singular values, batched": (lambda xp, a: weighted(xp, singular(xp, a, xp.sin)), MANY),
    "pinv": (lambda xp, a: weighted(xp, xp.pinv(a)), TALL),
    "pinv, wide": (lambda xp, a: weighted(xp, xp.pinv(xp.transpose(a))), TALL),
    "pinv, batched": (lambda xp, a: weighted(xp, xp.pinv(a[:, :, :2])), MANY),
    "lstsq": (lambda xp, a, b: weighted(xp, xp.lstsq(a, b)), TALL, WEIGHT[:, :2]),
    "lstsq, wide": (lambda xp, a, b: weighted(xp, xp.lstsq(xp.transpose(a), b)), TALL, WEIGHT[:3, :2]),
    "cast of a real": (lambda xp, x: (abs(xp.cast(x, "complex128") * (1 + 2j)) ** 2).sum(), REAL),
}  # fmt: skip


@pytest.mark.parametrize("what", REAL_VALUED)
def test_gradient_of_a_real_function(what: str) -> None:
    function, *operands = REAL_VALUED[what]
    same_gradient(function, *operands)


@pytest.mark.parametrize("what", [name for name in REAL_VALUED if "at 0" not in name])
def test_gradient_is_that_of_finite_differences(what: str) -> None:
    function, *operands = REAL_VALUED[what]
    data, x = expressions(tuple(operands))
    loss = function(OTUS, *x)
    value, gradients = otus.compile(loss), values_of(otus.grad(loss, x), data)
    for name, gradient in zip(data, gradients, strict=True):
        estimate = numerical_gradient(lambda point, name=name: value(**{**data, name: point}), data[name])
        np.testing.assert_allclose(gradient, estimate.value, rtol=1e-7, atol=1e-7 * np.abs(estimate.value).max())


@pytest.mark.parametrize("what", [name for name in REAL_VALUED if "at 0" not in name])
def test_products(what: str) -> None:
    """jvp and hvp with complex vectors."""
    function, *operands = REAL_VALUED[what]
    data, x = expressions(tuple(operands))
    generator = np.random.default_rng(3)
    v = [
        generator.standard_normal(a.shape) + (1j * generator.standard_normal(a.shape) if np.iscomplexobj(a) else 0)
        for a in operands
    ]
    loss = function(OTUS, *x)
    found = values_of({"jvp": otus.jvp(loss, x, v), "hvp": otus.hvp(loss, x, v)}, data)

    def wanted(*points: Any) -> dict[str, Any]:
        def call(*inner: Any) -> Any:
            return function(JAX, *inner)

        gradient = jax.grad(call, tuple(range(len(points))))
        return {"jvp": jax.jvp(call, points, tuple(v))[1], "hvp": jax.jvp(gradient, points, tuple(v))[1]}

    same(found, jax.jit(wanted)(*operands))


HOLOMORPHIC: dict[str, Any] = {
    name: (lambda xp, z, name=name: getattr(xp, name)(z))
    for name in ("exp", "log", "sin", "cos", "sqrt", "tanh", "sinh", "cosh", "square", "reciprocal", "expm1", "log1p",
                 "arctan", "tan", "arcsin", "arccos")
} | {
    "matmul": lambda xp, z: z @ W,
    "einsum": lambda xp, z: xp.einsum("ij,ik->jk", z, z),
    "cube": lambda xp, z: z**3,
    "complex power": lambda xp, z: xp.power(z, 2 - 1j),
    "division": lambda xp, z: 1 / (z + 5),
    "prod": lambda xp, z: xp.prod(z, axis=1),
    "solve": lambda xp, z: xp.solve(SQUARE, xp.transpose(z)),
}  # fmt: skip


@pytest.mark.parametrize("what", HOLOMORPHIC)
def test_jacobian_of_a_holomorphic_function(what: str) -> None:
    same_jacobian(HOLOMORPHIC[what], Z / 3, holomorphic=True)


def test_jacobian_of_a_real_function_of_a_complex_tensor() -> None:
    same_jacobian(lambda xp, z: abs(z) ** 2 + xp.real(z), Z)


def test_jacobian_of_a_complex_function_of_a_real_tensor() -> None:
    """Forward mode is the mode that JAX has here."""
    data, (x,) = expressions((REAL,))

    def function(xp: Any, x: Any) -> Any:
        return xp.exp((1 + 2j) * x) * x

    y = function(OTUS, x)
    v = np.ones(REAL.shape)
    found = values_of({"jacobian": otus.jacobian(y, x), "jvp": otus.jvp(y, [x], [v])}, data)
    wanted = jax.jacfwd(lambda x: function(JAX, x))(REAL)
    same(found["jacobian"], wanted)
    assert found["jacobian"].dtype == np.complex128
    same(found["jvp"], np.tensordot(wanted, v, 2))


def test_gauss_newton_product_is_hermitian() -> None:
    """``JᴴJv``: real and nonnegative along v."""
    data, (z,) = expressions((Z,))
    v = Z * (2 - 1j)
    y = otus.sin(z) @ W
    (found,) = values_of(otus.jtjvp(y, [z], [v]), data)
    jacobian = jax.jacrev(lambda z: jax.numpy.sin(z) @ W, holomorphic=True)(Z).reshape(4, 6)
    same(found, (jacobian.conj().T @ (jacobian @ v.ravel())).reshape(Z.shape))
    inner = np.vdot(v, found)
    assert inner.real > 0
    assert abs(inner.imag) < 1e-9 * inner.real


def test_a_complex_loss_is_refused() -> None:
    z = otus.tensor("z", (2,), "complex128")
    with pytest.raises(otus.DTypeError, match="grad needs a real function, not complex128; take its real part or abs"):
        otus.grad((z * z).sum(), z)


def test_complex64_stays_complex64() -> None:
    z = otus.tensor("z", (2,), "complex64")
    gradient = otus.grad((abs(z) ** 2).sum(), z)
    assert gradient.dtype == "complex64"
    value = values_of(gradient, {"z": np.array([1 + 2j, 3j], np.complex64)})
    assert value.dtype == np.complex64
