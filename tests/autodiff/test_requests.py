"""Requests: shapes, dtypes, structural zeros, nesting, intermediates, higher orders, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from against_jax import expressions, same, values_of
from evaluation import assert_close, run
from function_cases import JAX, OTUS
from oracles import jax

import otus

rng = np.random.default_rng(7)
A = rng.standard_normal((2, 3))
X = rng.standard_normal(3)
SPD = np.eye(3) * 3 + rng.standard_normal((3, 3)) * 0.2


def tensor(name: str, *shape: Any, dtype: str = "float64") -> otus.Expression:
    return otus.tensor(name, shape, dtype)


# --- shapes and dtypes ---------------------------------------------------------------------------


def test_shapes() -> None:
    x, z = tensor("x", "n", 3), tensor("z", "k")
    y = otus.einsum("nj,mj->mn", x, tensor("B", "m", 3)) * z.sum()
    assert otus.jacobian(y, x).shape == (*y.shape, *x.shape)
    assert [j.shape for j in otus.jacobian(y, [x, z])] == [(*y.shape, *x.shape), (*y.shape, *z.shape)]
    loss = y.sum()
    assert otus.grad(loss, x).shape == x.shape
    assert otus.hessian(loss, x).shape == (*x.shape, *x.shape)
    blocks = otus.hessian(loss, [x, z])
    assert [[block.shape for block in row] for row in blocks] == [
        [(*a.shape, *b.shape) for b in (x, z)] for a in (x, z)
    ]
    assert otus.jvp(y, [x], [x]).shape == y.shape
    assert [p.shape for p in otus.vjp(y, [x, z], [y])] == [x.shape, z.shape]
    assert [p.shape for p in otus.hvp(loss, [x, z], [x, z])] == [x.shape, z.shape]
    assert [p.shape for p in otus.jtjvp(y, [x, z], [x, z])] == [x.shape, z.shape]
    assert otus.derivative(y, z, order=2).shape == (*y.shape, "k", "k")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_is_the_points(dtype: str) -> None:
    x = tensor("x", 3, dtype=dtype)
    y = otus.exp(x) * 2 + otus.softmax(x) / 3 + otus.cumsum(x) * otus.norm(x)
    loss = (y * y).sum() + otus.logsumexp(x) + x.prod() + otus.inv(otus.outer(x, x) + otus.eye(3, dtype=dtype)).sum()
    outputs = [
        otus.grad(loss, x), otus.hessian(loss, x), otus.jacobian(y, x), otus.jvp(y, [x], [x]),
        *otus.hvp(loss, [x], [x]), *otus.jtjvp(y, [x], [x]),
    ]  # fmt: skip
    assert {output.dtype for output in outputs} == {dtype}
    data = {"x": np.array([0.5, -1.0, 2.0], dtype)}
    for value in values_of(outputs, data):
        assert value.dtype == dtype


def test_mixed_precision_has_the_points_dtype_too() -> None:
    """As in JAX's reverse mode."""
    x, w = tensor("x", 3, dtype="float32"), tensor("w", 3)
    y = otus.sin(x) * w
    assert y.dtype == "float64"
    found = values_of([otus.jacobian(y, x), otus.grad(y.sum(), w)], {"x": X.astype("float32"), "w": X})
    assert [value.dtype for value in found] == ["float32", "float64"]
    assert_close(found[0], np.diag(np.cos(X) * X), 1e-6, 1e-6)
    assert otus.jacobian(y, x).dtype == "float32"


# --- structural zeros ------------------------------------------------------------------------------


def test_a_derivative_by_something_unrelated_is_zero_of_the_right_shape() -> None:
    x, z = tensor("x", 3), tensor("z", 2, 2)
    y = otus.sin(x)
    outputs = {
        "grad": otus.grad(y.sum(), z),
        "jacobian": otus.jacobian(y, z),
        "hessian": otus.hessian(y.sum(), [x, z]),
        "linear": otus.hessian(x.sum(), x),
        "jvp": otus.jvp(y, [z], [z]),
        "vjp": otus.vjp(y, [x, z], [x]),
        "hvp": otus.hvp(y.sum(), [x, z], [x, z]),
        "jtjvp": otus.jtjvp(y, [z], [z]),
        "third": otus.derivative((x * x).sum(), x, order=3),
        "of a constant": otus.grad(otus.constant(2.0), x),
        "of a comparison": otus.grad((x > 0).astype("float64").sum(), x),
        "of floor": otus.grad(otus.floor(x).sum(), x),
    }
    values = values_of(outputs, {"x": X, "z": np.ones((2, 2))})
    shapes = {"grad": (2, 2), "jacobian": (3, 2, 2), "linear": (3, 3), "jvp": (3,), "third": (3, 3, 3),
              "of a constant": (3,), "of a comparison": (3,), "of floor": (3,)}  # fmt: skip
    for name, shape in shapes.items():
        assert_close(values[name], np.zeros(shape), what=name)
    assert_close(values["hessian"][0][1], np.zeros((3, 2, 2)))
    assert_close(values["hessian"][1][0], np.zeros((2, 2, 3)))
    assert_close(values["hessian"][1][1], np.zeros((2, 2, 2, 2)))
    assert_close(values["vjp"][1], np.zeros((2, 2)))
    assert_close(values["hvp"][1], np.zeros((2, 2)))
    assert_close(values["jtjvp"][0], np.zeros((2, 2)))


def test_structural_zeros_read_no_input() -> None:
    """They never cost: the simplified expression is a broadcast number."""
    x, z = tensor("x", "n"), tensor("z", "n")
    for zero in (otus.jacobian(otus.sin(x), z), otus.hessian(x.sum(), x), otus.derivative((x * x).sum(), x, order=3)):
        assert otus.compile(zero, dims={"n": 4}).inputs == ()


# --- points ------------------------------------------------------------------------------------------


def test_by_an_intermediate_expression() -> None:
    x = tensor("x", 3)
    inner = otus.sin(x)
    y = (inner**2).sum() + (x * 5).sum()
    found = values_of({"inner": otus.grad(y, inner), "hessian": otus.hessian(y, inner), "x": otus.grad(y, x)}, {"x": X})
    assert_close(found["inner"], 2 * np.sin(X))
    assert_close(found["hessian"], 2 * np.eye(3))
    assert_close(found["x"], 2 * np.sin(X) * np.cos(X) + 5)


def test_by_a_reshaped_point() -> None:
    x = tensor("x", 2, 3)
    flat = x.reshape(6)
    loss = (otus.exp(flat) * flat).sum()
    assert_close(values_of(otus.grad(loss, flat), {"x": A}), (np.exp(A) * (1 + A)).ravel())
    assert_close(values_of(otus.hessian(loss, flat), {"x": A}), np.diag((np.exp(A) * (2 + A)).ravel()))


def test_by_itself() -> None:
    x = tensor("x", 2)
    s = (x * x).sum()
    assert_close(run(otus.jacobian(x, x), {"x": X[:2]}), np.eye(2))
    assert_close(run(otus.grad(s, s), {"x": X[:2]}), 1.0)
    assert_close(run(otus.jvp(x, [x], [3 * x]), {"x": X[:2]}), 3 * X[:2])


def test_the_same_point_twice() -> None:
    x = tensor("x", 3)
    first, second = values_of(otus.grad(otus.sin(x).sum(), [x, x]), {"x": X})
    assert_close(first, np.cos(X))
    assert_close(second, np.cos(X))


def test_two_tensors_of_one_shape_are_two_points() -> None:
    x, z = tensor("x", 3), tensor("z", 3)
    found = values_of(otus.hessian((x * z * z).sum(), [x, z]), {"x": X, "z": X + 1})
    assert_close(found[0][0], np.zeros((3, 3)))
    assert_close(found[0][1], np.diag(2 * (X + 1)))
    assert_close(found[1][1], np.diag(2 * X))


def test_a_vector_may_depend_on_the_point() -> None:
    """It is held: the product differentiates the function only."""
    x = tensor("x", 3)
    found = values_of(
        {"jvp": otus.jvp(otus.sin(x), [x], [x * x]), "hvp": otus.hvp(otus.exp(x).sum(), [x], [x])}, {"x": X}
    )
    assert_close(found["jvp"], np.cos(X) * X * X)
    assert_close(found["hvp"][0], np.exp(X) * X)


def test_the_hessian_times_the_gradient() -> None:
    """Twice: the gradient may itself be a request, and the product differentiated again."""
    x = tensor("x", 3)
    loss = otus.logsumexp(x) + (x**4).sum()
    (product,) = otus.hvp(loss, [x], [otus.grad(loss, x)])

    def jax_product(x: Any) -> Any:
        gradient = jax.grad(lambda x: jax.nn.logsumexp(x) + (x**4).sum())
        return jax.jvp(gradient, (x,), (gradient(x),))[1]

    found = values_of({"product": product, "jacobian": otus.jacobian(product, x)}, {"x": X})
    assert_close(found["product"], jax_product(X))
    assert_close(found["jacobian"], jax.jacrev(jax_product)(X))


# --- nesting -----------------------------------------------------------------------------------------

NESTED: dict[str, Any] = {
    "gradient of a gradient's norm": lambda d, xp, x: d.grad(
        lambda x: (d.grad(lambda x: xp.sin(x).prod(), x) ** 2).sum(), x
    ),
    "gradient of a hessian's trace": lambda d, xp, x: d.grad(
        lambda x: xp.trace(d.hessian(lambda x: xp.exp(x @ x / 5) + (x**4).sum(), x)), x
    ),
    "jacobian of a jacobian": lambda d, xp, x: d.jacobian(
        lambda x: d.jacobian(lambda x: xp.tanh(x * x[0]) + xp.cumsum(x), x), x
    ),
    "newton's step": lambda d, xp, x: xp.solve(
        d.hessian(lambda x: xp.logsumexp(x) + x @ x, x), d.grad(lambda x: xp.logsumexp(x) + x @ x, x)
    ),
    "derivative of newton's step": lambda d, xp, x: d.jacobian(
        lambda x: xp.solve(
            d.hessian(lambda x: xp.logsumexp(x) + x @ x, x), d.grad(lambda x: xp.logsumexp(x) + x @ x, x)
        ), x
    ),
    "log determinant of a hessian": lambda d, xp, x: d.grad(
        lambda x: xp.slogdet(d.hessian(lambda x: (x**4).sum() + xp.sin(x).sum() + 3 * x @ x, x))[1], x
    ),
    "third derivative": lambda d, xp, x: d.jacobian(lambda x: d.hessian(lambda x: (x**3).sum() * x.sum(), x), x),
    "fourth derivative": lambda d, xp, x: d.hessian(
        lambda x: (d.hessian(lambda x: xp.exp(x).sum() * x[0], x) ** 2).sum(), x
    ),
}  # fmt: skip


class Otus:
    """Derivatives of functions by way of expressions, so that they nest as JAX's do."""

    @staticmethod
    def grad(f: Any, x: Any) -> Any:
        return otus.grad(f(x), x)

    @staticmethod
    def hessian(f: Any, x: Any) -> Any:
        return otus.hessian(f(x), x)

    @staticmethod
    def jacobian(f: Any, x: Any) -> Any:
        return otus.jacobian(f(x), x)


class Jax:
    @staticmethod
    def grad(f: Any, x: Any) -> Any:
        return jax.grad(f)(x)

    @staticmethod
    def hessian(f: Any, x: Any) -> Any:
        return jax.hessian(f)(x)

    @staticmethod
    def jacobian(f: Any, x: Any) -> Any:
        return jax.jacrev(f)(x)


@pytest.mark.parametrize("what", NESTED)
def test_nested(what: str) -> None:
    data, (x,) = expressions((X,))
    found = values_of(NESTED[what](Otus, OTUS, x), data)
    same(found, jax.jit(lambda x: NESTED[what](Jax, JAX, x))(X), 1e-8)


def test_orders() -> None:
    x = tensor("x", 2)
    y = otus.sin(x) * x[0]
    point = X[:2]
    wanted: Any = lambda x: jax.numpy.sin(x) * x[0]  # noqa: E731
    for order in range(5):
        assert_close(values_of(otus.derivative(y, x, order=order), {"x": point}), wanted(point))
        wanted = jax.jacfwd(wanted)


def test_third_derivative_of_a_cubic_form() -> None:
    T, x = tensor("T", "n", "n", "n"), tensor("x", "n")
    cubic = otus.einsum("ijk,i,j,k->", T, x, x, x)
    t = rng.standard_normal((3, 3, 3))
    found = values_of(otus.derivative(cubic, x, order=3), {"T": t, "x": X})
    wanted = sum(t.transpose(order) for order in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
    assert_close(found, wanted)


# --- symbolic sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 5])
def test_symbolic_sizes(size: int) -> None:
    x = tensor("x", "n")
    loss = otus.logsumexp(otus.outer(x, x).reshape(-1)) + otus.mean(x * x) + otus.var(x) + x[1:].sum() + x[::-1] @ x
    value = rng.standard_normal(size)

    def wanted(x: Any) -> Any:
        outer = jax.numpy.outer(x, x).ravel()
        return jax.nn.logsumexp(outer) + (x * x).mean() + x.var() + x[1:].sum() + x[::-1] @ x

    found = values_of({"grad": otus.grad(loss, x), "hessian": otus.hessian(loss, x)}, {"x": value})
    assert_close(found["grad"], jax.grad(wanted)(value))
    assert_close(found["hessian"], jax.hessian(wanted)(value))


# --- errors --------------------------------------------------------------------------------------------


def test_error_messages() -> None:
    x, n = tensor("x", 3), otus.tensor("k", (3,), "int64")
    cases: list[tuple[Any, type[Exception], str]] = [
        (lambda: otus.grad(x, x), otus.ShapeError,
         "grad needs a scalar, but the function has shape (3,); use jacobian or vjp, or reduce it with sum"),
        (lambda: otus.grad((x * n).sum(), n), otus.DTypeError,
         "grad: i64[3] has no derivative; cast it to a floating dtype"),
        (lambda: otus.grad(n.sum(), x), otus.DTypeError, "grad: i64[] has no derivative; cast it to a floating dtype"),
        (lambda: otus.jvp(x * x, [x], [np.ones(2)]), otus.ShapeError,
         "jvp: vectors have shapes (2,); (3,) are needed"),
        (lambda: otus.jvp(x * x, [x], [x, x]), otus.ShapeError, "jvp: 2 vectors were given for 1 tensors"),
        (lambda: otus.hvp(x, [x], [x]), otus.ShapeError,
         "hvp needs a scalar, but the function has shape (3,); use jacobian or vjp, or reduce it with sum"),
        (lambda: otus.vjp(x * x, [x], [np.ones(3) * 1j]), otus.DTypeError,
         "a complex vector cannot multiply the derivative of a float64 tensor"),
        (lambda: otus.derivative(x, x, order=-1), otus.ShapeError,
         "order=-1 is not a count of derivatives; use 0, 1, 2, …"),
    ]  # fmt: skip
    for call, kind, message in cases:
        with pytest.raises(kind) as caught:
            call()
        assert str(caught.value) == message


def test_integer_indices_have_no_derivative_but_do_not_stand_in_the_way() -> None:
    x, k = tensor("x", 4), otus.tensor("k", (3,), "int64")
    loss = (otus.take(x, k) ** 2).sum() + (otus.scatter_add(x, k, x[:3]) ** 3).sum()
    at = np.array([0, 0, -1])

    def wanted(x: Any) -> Any:
        return (x[at] ** 2).sum() + (x.at[at].add(x[:3]) ** 3).sum()

    point = rng.standard_normal(4)
    found = values_of({"grad": otus.grad(loss, x), "hessian": otus.hessian(loss, x)}, {"x": point, "k": at})
    assert_close(found["grad"], jax.grad(wanted)(point))
    assert_close(found["hessian"], jax.hessian(wanted)(point))
