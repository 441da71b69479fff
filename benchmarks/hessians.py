"""Explicit Hessians, against those that JAX and torch assemble column by column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from .harness import Call, Case, Goal, Row, UnavailableError
from .problem import Array, Problem, otus_call
from .tensorgrad_peer import FACTORISATION, LOGISTIC, LOGSUMEXP, NETWORK, POISSON, QUADRATIC

Tensors = Mapping[str, Any]


def logistic_loss(library: Any, t: Tensors) -> Any:
    margin = t["X"] @ t["w"]
    return library.sum(library.softplus(margin) - t["y"] * margin)


def factorisation_loss(library: Any, t: Tensors) -> Any:
    return library.sum((t["T"] - t["U"] @ t["V"].T) ** 2)


def network_loss(library: Any, t: Tensors) -> Any:
    state = library.relu(library.relu(t["X"] @ t["W0"]) @ t["W1"])
    return -library.sum(t["Y"] * library.log_softmax(state @ t["W2"], -1))


def quadratic_form(library: Any, t: Tensors) -> Any:
    return t["x"] @ (t["A"] @ t["x"])


def log_of_sum(library: Any, t: Tensors) -> Any:
    return library.logsumexp(t["x"], 0)


def poisson_loss(library: Any, t: Tensors) -> Any:
    rate = t["X"] @ t["w"]
    return library.sum(library.exp(rate) - t["y"] * rate) + 0.5 * library.sum(t["w"] ** 2)


def logistic(points: int, features: int) -> Case:
    """Labels 0 and 1; by hand as a specialist writes it: one symmetric product of the weighted data."""
    generator = np.random.default_rng(0)
    data = {
        "w": generator.normal(size=features) / features**0.5,
        "X": generator.normal(size=(points, features)),
        "y": generator.integers(0, 2, points).astype(float),
    }

    def by_hand() -> Array:
        from scipy.special import expit

        probability = expit(data["X"] @ data["w"])
        weighted = data["X"] * np.sqrt(probability * (1 - probability))[:, None]
        return weighted.T @ weighted

    return Problem(logistic_loss, data, ("w",), named=LOGISTIC).case("hessian", by_hand=lambda: by_hand)


def matrix_factorisation(size: int, rank: int, compressed: bool) -> Case:
    """In one factor; compressed, Otus's result is its entries and ties, of which the dense array is compared."""
    generator = np.random.default_rng(1)
    data = {
        "U": generator.normal(size=(size, rank)),
        "V": generator.normal(size=(size, rank)),
        "T": generator.normal(size=(size, size)),
    }

    def by_hand() -> Array:
        result = np.zeros((size, rank, size, rank))
        np.einsum("irik->irk", result)[...] = 2 * (data["V"].T @ data["V"])
        return result

    problem = Problem(factorisation_loss, data, ("U",), named=FACTORISATION)
    case = problem.case("hessian", by_hand=lambda: by_hand)
    if not compressed:
        return case
    return Case(lambda: otus_call(problem, "hessian", compress=True), case.peers, by_hand=case.by_hand)


def network(points: int, features: int, hidden: int, classes: int) -> Case:
    """Three layers, ReLU and softmax with cross entropy; the Hessian in the first layer's weights."""
    generator = np.random.default_rng(2)
    sizes = (features, hidden, hidden, classes)
    data: dict[str, Array] = {
        f"W{k}": generator.normal(size=(sizes[k], sizes[k + 1])) / sizes[k] ** 0.5 for k in range(3)
    }
    data["X"] = generator.normal(size=(points, features))
    data["Y"] = np.eye(classes)[generator.integers(0, classes, points)]

    return Problem(network_loss, data, ("W0",), named=NETWORK).case("hessian")


def quadratic(size: int) -> Case:
    generator = np.random.default_rng(3)
    data = {"x": generator.normal(size=size), "A": generator.normal(size=(size, size))}

    def by_hand() -> Array:
        return data["A"] + data["A"].T

    case = Problem(quadratic_form, data, ("x",), named=QUADRATIC).case("hessian", by_hand=lambda: by_hand)
    return replace(case, peers={**case.peers, "torch": case.peers["torch"] if size < 1000 else _too_slow})


def _too_slow() -> Call:
    raise UnavailableError("left out: torch.func.hessian takes a minute at this size")


def logsumexp(size: int) -> Case:
    data = {"x": np.random.default_rng(4).normal(size=size)}

    def by_hand() -> Array:
        weights = np.exp(data["x"] - data["x"].max())
        weights /= weights.sum()
        result = np.multiply.outer(-weights, weights)
        result.ravel()[:: size + 1] += weights
        return result

    return Problem(log_of_sum, data, ("x",), named=LOGSUMEXP).case("hessian", by_hand=lambda: by_hand)


def newton_step(points: int, features: int) -> Case:
    """Poisson regression with its canonical link."""
    generator = np.random.default_rng(5)
    data = {
        "w": generator.normal(size=features) / features**0.5,
        "X": generator.normal(size=(points, features)),
        "y": generator.poisson(1.0, points).astype(float),
    }

    def by_hand() -> Array:
        mean = np.exp(data["X"] @ data["w"])
        weighted = data["X"] * np.sqrt(mean)[:, None]
        hessian = weighted.T @ weighted
        hessian.ravel()[:: features + 1] += 1.0
        return np.linalg.solve(hessian, data["X"].T @ (mean - data["y"]) + data["w"])

    return Problem(poisson_loss, data, ("w",), named=POISSON).case("newton", by_hand=lambda: by_hand)


_LOGISTIC = (Goal(2.5, "JAX"), Goal(1.0, "NumPy by hand"))
ROWS = (
    Row("Hessian of logistic regression, 1024×512", logistic, (1024, 512), (9, 4), _LOGISTIC),
    Row("Hessian of logistic regression, 2000×1000", logistic, (2000, 1000), (9, 4), _LOGISTIC),
    *(
        Row(
            f"Hessian of matrix factorisation {size}×{rank}, {'compressed' if compressed else 'dense'}",
            matrix_factorisation,
            (size, rank, compressed),
            (5, 2, compressed),
            (Goal(100),),
        )
        for size, rank in ((128, 5), (200, 10))
        for compressed in (True, False)
    ),
    Row("Hessian of a 3-layer network, first layer 20×20", network, (128, 20, 20, 10), (5, 4, 3, 2), (Goal(2),)),
    Row("Hessian of a 3-layer network, first layer 40×40", network, (256, 40, 40, 10), (5, 4, 3, 2), (Goal(2),)),
    Row("Hessian of xᵀAx, 2048", quadratic, (2048,), (5,), (Goal(2),)),
    Row("Hessian of logsumexp, 2048", logsumexp, (2048,), (5,), (Goal(2),)),
    Row("Newton step of Poisson regression, 2048×256", newton_step, (2048, 256), (9, 3), (Goal(2),)),
)
