"""Derivatives come out as a person would have written them, and what they build is small."""

from __future__ import annotations

import numpy as np
import pytest

import otus


def t(name: str, *shape: object, **facts: object) -> otus.Expression:
    return otus.tensor(name, shape, **facts)


def _operations(expression: object) -> list[str]:
    graph = otus.to_networkx(expression)
    return [data["op"] for _, data in graph.nodes(data=True) if data["op"] not in ("input", "constant", "delta")]


def _cp_loss(scale: float = 1.0) -> tuple[otus.Expression, otus.Expression, otus.Expression, otus.Expression]:
    a, b, c, x = t("A", "i", "r"), t("B", "j", "r"), t("C", "k", "r"), t("X", "i", "j", "k")
    return scale * ((otus.einsum("ir,jr,kr->ijk", a, b, c) - x) ** 2).sum(), a, b, c


def test_hessian_of_a_quadratic_form_does_not_read_the_point() -> None:
    x, h = t("x", "n"), t("H", "n", "n")
    assert otus.simplify(otus.hessian(x @ h @ x, x)) is h + h.T


def test_hessian_of_a_symmetric_quadratic_form() -> None:
    x, h = t("x", "n"), t("H", "n", "n", symmetric=True)
    assert otus.simplify(otus.hessian(x @ h @ x, x)) is 2 * h
    assert otus.formula(otus.grad(x @ h @ x, x), name="g") == "g[n] = 2 x[n'] H[n,n']"


FORMULAS = {
    "logistic regression": lambda x, w: (otus.softplus(x @ w).sum(), w),
    "cubic": lambda x, w: ((w**3).sum(), w),
    "logsumexp from parts": lambda x, w: (otus.log(otus.exp(w).sum()), w),
}
EXPECTED = {
    "logistic regression": "H[d,d'] = X[n,d] sigmoid(X[n,d''] w[d'']) sigmoid(-X[n,d''] w[d'']) X[n,d']",
    "cubic": "H[d,d'] = 6 δ[d,d'] w[d']",
    "logsumexp from parts": "t0[d] = exp(w[d] - logsumexp[d'](w[d']))\nH[d,d'] = δ[d,d'] t0[d'] - t0[d] t0[d']",
}


@pytest.mark.parametrize("name", FORMULAS)
def test_hessian_formula(name: str) -> None:
    x, w = t("X", "n", "d"), t("w", "d")
    loss, point = FORMULAS[name](x, w)
    assert otus.formula(otus.hessian(loss, point), name="H") == EXPECTED[name]


def test_logistic_hessian_is_one_contraction() -> None:
    x, w = t("X", "n", "d"), t("w", "d")
    hessian = otus.simplify(otus.hessian(otus.softplus(x @ w).sum(), w))
    assert _operations(hessian) == ["einsum", "map", "einsum"]


def test_cross_entropy_written_from_exp_and_log() -> None:
    z, y = t("Z", "b", "n"), t("Y", "b", "n", sums_to_one=True)
    probabilities = otus.exp(z) / otus.exp(z).sum(-1, keepdims=True)
    loss = -(y * otus.log(probabilities)).sum()
    hessian = otus.hessian(loss, z)
    assert otus.formula(hessian, name="H") == (
        "t0[b,n] = exp(Z[b,n] - logsumexp[n'](Z[b,n']))\n"
        "H[b,n,b',n'] = δ[b,b'] δ[n,n'] t0[b',n'] - δ[b,b'] t0[b',n] t0[b',n']"
    )
    compressed = otus.compress(hessian)
    assert compressed.deltas == ((0, 2),)
    assert [part.shape for part in compressed.parts] == [z.shape]
    product = otus.simplify(otus.hvp(loss, [z], [t("V", "b", "n")])[0])
    largest = max(data["shape"] for _, data in otus.to_networkx(product).nodes(data=True) if len(data["shape"]) == 2)
    assert largest == z.shape
    assert {d["name"] for _, d in otus.to_networkx(product).nodes(data=True) if d["op"] == "input"} == {"V", "Z"}


def test_cp_hessian_block_and_products() -> None:
    loss, a, b, _ = _cp_loss()
    assert otus.formula(otus.hessian(loss, a), name="H") == "H[i,r,i',r'] = 2 δ[i,i'] B[j,r] C[k,r] B[j,r'] C[k,r']"
    product = otus.simplify(otus.hvp(loss, [a], [t("V", "i", "r")])[0])
    assert otus.formula(product, name="Hv") == "Hv[i,r] = 2 V[i,r'] B[j,r'] C[k,r'] B[j,r] C[k,r]"
    cross = otus.simplify(otus.jacobian(otus.grad(loss, a), b))
    assert cross.shape == (*a.shape, *b.shape)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_alternating_step_solves_one_small_matrix(scale: float) -> None:
    loss, a, b, _ = _cp_loss(scale)
    step = a - otus.tensorsolve(otus.hessian(loss, a), otus.grad(loss, a))
    solves = [d for _, d in otus.to_networkx(otus.simplify(step)).nodes(data=True) if d["op"] == "solve"]
    assert [d["shape"] for d in solves] == [(b.shape[1], a.shape[0])]
    generator = np.random.default_rng(0)
    data = {"A": (3, 2), "B": (4, 2), "C": (5, 2), "X": (3, 4, 5)}
    arrays = {name: generator.standard_normal(shape) for name, shape in data.items()}
    gram = (arrays["B"].T @ arrays["B"]) * (arrays["C"].T @ arrays["C"])
    projected = np.einsum("ijk,jr,kr->ir", arrays["X"], arrays["B"], arrays["C"])
    np.testing.assert_allclose(otus.compile(step)(**arrays), np.linalg.solve(gram, projected.T).T, rtol=1e-9)


def test_alternating_step_is_the_textbook_update_whatever_the_scale() -> None:
    steps = []
    for scale in (0.5, 1.0, 3.0):
        loss, a, _, _ = _cp_loss(scale)
        steps.append(otus.simplify(a - otus.tensorsolve(otus.hessian(loss, a), otus.grad(loss, a))))
    assert steps[0] is steps[1] is steps[2]
    assert otus.dump(steps[0]) == (
        '%B: f64[j,r] = input "B"\n'
        '%C: f64[k,r] = input "C"\n'
        '%0: f64[r,r] = einsum "jr,kr,ja,ka->ra" %B, %C, %B, %C\n'
        '%X: f64[i,j,k] = input "X"\n'
        '%1: f64[r,i] = einsum "ijk,jr,kr->ri" %X, %B, %C\n'
        "%2: f64[r,i] = solve %0, %1\n"
        '%3: f64[i,r] = einsum "ri->ir" %2\n'
        "return %3\n"
    )


@pytest.mark.parametrize("commutes", [True, False])
def test_a_solve_cancels_its_own_matrix_only(commutes: bool) -> None:
    m, w, z = t("M", 4, 4), t("W", 4, 4), t("Z", 4, 3)
    expression = otus.solve(m @ w, (m @ w if commutes else w @ m) @ z)
    assert ("solve" in _operations(otus.simplify(expression))) is not commutes
    generator = np.random.default_rng(0)
    arrays = {"M": (4, 4), "W": (4, 4), "Z": (4, 3)}
    data = {name: generator.standard_normal(shape) for name, shape in arrays.items()}
    product = data["M"] @ data["W"]
    right = (product if commutes else data["W"] @ data["M"]) @ data["Z"]
    value = otus.compile(expression)(**{k: v for k, v in data.items() if k in otus.compile(expression).inputs})
    np.testing.assert_allclose(value, np.linalg.solve(product, right), rtol=1e-9, atol=1e-11)


def test_inverse_of_a_scaled_kronecker_product_keeps_the_scalar() -> None:
    p, q = t("P", 3, 3), t("Q", 4, 4)
    inverse = otus.tensorinv(7 * otus.einsum("ij,kl->ikjl", p, q))
    assert _operations(otus.simplify(inverse)).count("inv") == 2
    generator = np.random.default_rng(0)
    arrays = {"P": generator.standard_normal((3, 3)), "Q": generator.standard_normal((4, 4))}
    expected = np.einsum("ij,kl->ikjl", np.linalg.inv(arrays["P"]), np.linalg.inv(arrays["Q"])) / 7
    np.testing.assert_allclose(otus.compile(inverse)(**arrays), expected, rtol=1e-9, atol=1e-12)


def test_what_is_no_kronecker_product_is_not_split() -> None:
    p, q = t("P", 3, 3), t("Q", 3, 3)
    total = otus.einsum("ij,kl->ikjl", p, q) + otus.einsum("ij,kl->ikjl", q, p)
    inverse = otus.tensorinv(total)
    arrays = {name: np.random.default_rng(k).standard_normal((3, 3)) for k, name in enumerate("PQ")}
    dense = np.kron(arrays["P"], arrays["Q"]) + np.kron(arrays["Q"], arrays["P"])
    value = otus.compile(inverse)(**arrays)
    np.testing.assert_allclose(value.reshape(9, 9), np.linalg.inv(dense), rtol=1e-8, atol=1e-10)


def test_cross_blocks_of_separable_functions_are_zero() -> None:
    x, y = t("x", 3), t("y", 4)
    blocks = otus.hessian(otus.exp(x).sum() + otus.sin(y).sum(), [x, y])
    cross = otus.simplify(blocks[0][1])
    assert cross is otus.zeros((3, 4))


def test_third_derivative_of_a_cubic_form() -> None:
    x = t("x", "n")
    third = otus.formula(otus.derivative((x**3).sum(), x, 3), name="D")
    assert third == "D[n,n',n''] = 6 δ[n,n''] δ[n',n'']"


@pytest.mark.parametrize("depth", [2, 20])
def test_a_deep_chain_stays_polynomial(depth: int) -> None:
    x = t("x", 8)
    hidden = x
    for layer in range(depth):
        hidden = otus.tanh(t(f"W{layer}", 8, 8) @ hidden)
    graph = otus.to_networkx(otus.simplify(otus.hessian((hidden**2).sum(), x)))
    assert graph.number_of_nodes() < 60 * depth
    assert max(int(np.prod(data["shape"])) for _, data in graph.nodes(data=True)) <= 8 * 8 * 8


@pytest.mark.parametrize("ridge", [0.1, 0.3, "tensor"])
def test_a_regularised_alternating_step_does_not_read_its_point(ridge: float | str) -> None:
    """The ridge in the matrix cancels against that in the gradient: solve(2G + 2λI, 2 X·(B⊙C))."""
    loss, a, *_ = _cp_loss()
    weight = t("w") if ridge == "tensor" else ridge
    loss = loss + weight * (a**2).sum()
    step = otus.simplify(a - otus.tensorsolve(otus.hessian(loss, a), otus.grad(loss, a)))
    assert "A" not in otus.compile(step).inputs
    rng = np.random.default_rng(0)
    data = {"B": rng.standard_normal((5, 3)), "C": rng.standard_normal((6, 3)),
            "X": rng.standard_normal((4, 5, 6)), "w": np.array(0.7)}  # fmt: skip
    strength = 0.7 if ridge == "tensor" else ridge
    gram = (data["B"].T @ data["B"]) * (data["C"].T @ data["C"]) + strength * np.eye(3)
    right = np.einsum("ijk,jr,kr->ri", data["X"], data["B"], data["C"])
    kernel = otus.compile(step)
    got = kernel(**{name: data[name] for name in kernel.inputs})
    np.testing.assert_allclose(got, np.linalg.solve(gram, right).T, rtol=1e-10)


def test_a_sum_cancels_only_where_every_part_of_the_matrix_is_there() -> None:
    g, a = t("G", 4, 4), t("A", 4, 3)
    matrix = g + 0.1 * otus.eye(4)
    assert otus.simplify(otus.solve(matrix, g @ a + 0.1 * a)) is a
    assert "solve" in _operations(otus.simplify(otus.solve(matrix, g @ a + 0.2 * a)))
    assert "solve" in _operations(otus.simplify(otus.solve(matrix, g @ a + 0.1 * t("B", 4, 3))))
    assert "solve" in _operations(otus.simplify(otus.solve(matrix, g @ a)))
