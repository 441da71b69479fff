"""Gradients of what people train and fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from .harness import Case, Goal, Row
from .problem import Array, Problem
from .tensorgrad_peer import AUTOENCODER, DIFFUSION, ELEMENTWISE, GAUSSIAN_PROCESS, MIXTURE

Tensors = Mapping[str, Any]


def gaussian_mixture(points: int, features: int, components: int) -> Case:
    """Log-likelihood with full covariances, as in ADBench: inverse Cholesky factors with exponential diagonals."""
    generator = np.random.default_rng(0)
    data = {
        "a": generator.normal(size=components),
        "m": generator.normal(size=(components, features)),
        "q": 0.1 * generator.normal(size=(components, features)),
        "L": 0.1 * generator.normal(size=(components, features, features)),
        "X": generator.normal(size=(points, features)),
        "mask": np.tril(np.ones((features, features)), -1),
    }

    def loss(library: Any, t: Tensors) -> Any:
        centred = t["X"][:, None, :] - t["m"]
        white = library.exp(t["q"]) * centred + library.einsum("kde,de,nke->nkd", t["L"], t["mask"], centred)
        terms = t["a"] + library.sum(t["q"], axis=1) - 0.5 * library.sum(library.square(white), axis=2)
        return library.sum(library.logsumexp(terms, 1)) - points * library.logsumexp(t["a"], 0)

    return Problem(loss, data, ("a", "m", "q", "L"), named=MIXTURE).case("grad")


def elementwise(name: str, rows: int, columns: int) -> Case:
    """Of a weighted sum of the function's values, in its argument (and the parameters of layer norm)."""
    generator = np.random.default_rng(1)
    data = {"x": generator.normal(size=(rows, columns)), "c": generator.normal(size=(rows, columns))}
    if name == "layer norm":
        data |= {"g": generator.normal(size=columns), "b": generator.normal(size=columns)}
    wrt = tuple(key for key in data if key != "c")

    def weighted(library: Any, t: Tensors) -> Any:
        return library.sum(t["c"] * _FUNCTIONS[name](library, t))

    return Problem(weighted, data, wrt, named=ELEMENTWISE[name]).case("grad")


def layer_norm(library: Any, t: Tensors) -> Any:
    centred = t["x"] - library.mean(t["x"], axis=1, keepdims=True)
    variance = library.mean(library.square(centred), axis=1, keepdims=True)
    return centred / library.sqrt(variance + 1e-5) * t["g"] + t["b"]


_FUNCTIONS: dict[str, Callable[[Any, Tensors], Any]] = {
    "layer norm": layer_norm,
    "GELU": lambda library, t: library.gelu(t["x"]),
    "softmax": lambda library, t: library.softmax(t["x"], 1),
}


def gaussian_process(points: int) -> Case:
    """Negative log marginal likelihood, in the logarithms of length, amplitude and noise."""
    generator = np.random.default_rng(2)
    places = generator.normal(size=(points, 3))
    data = {
        "p": np.array([0.1, 0.2, -1.0]),
        "D": np.square(places[:, None] - places[None]).sum(2),
        "I": np.eye(points),
        "y": generator.normal(size=points),
    }

    def loss(library: Any, t: Tensors) -> Any:
        scale = library.exp(t["p"])
        covariance = scale[1] * library.exp(-0.5 * t["D"] / scale[0]) + scale[2] * t["I"]
        return 0.5 * t["y"] @ library.solve(covariance, t["y"]) + 0.5 * library.logdet(covariance)

    return Problem(loss, data, ("p",), named=GAUSSIAN_PROCESS).case("grad")


def _weights(generator: np.random.Generator, *sizes: int) -> list[Array]:
    return [generator.normal(size=(m, n)) / m**0.5 for m, n in pairwise(sizes)]


def autoencoder(batch: int, pixels: int, hidden: int, latent: int) -> Case:
    """A variational autoencoder with Bernoulli pixels, all weights, the noise given."""
    generator = np.random.default_rng(3)
    encoder = _weights(generator, pixels, hidden, latent)
    decoder = _weights(generator, latent, hidden, pixels)
    (spread,) = _weights(generator, hidden, latent)
    data = {"E": encoder[0], "M": encoder[1], "S": 0.1 * spread, "D": decoder[0], "F": decoder[1]}
    data |= {"x": generator.uniform(size=(batch, pixels)), "noise": generator.normal(size=(batch, latent))}

    def loss(library: Any, t: Tensors) -> Any:
        state = library.tanh(t["x"] @ t["E"])
        mean, log_variance = state @ t["M"], state @ t["S"]
        code = mean + t["noise"] * library.exp(0.5 * log_variance)
        logits = library.tanh(code @ t["D"]) @ t["F"]
        fit = library.sum(library.softplus(logits) - t["x"] * logits)
        return fit + 0.5 * library.sum(library.square(mean) + library.exp(log_variance) - log_variance - 1)

    return Problem(loss, data, ("E", "M", "S", "D", "F"), named=AUTOENCODER).case("grad")


def diffusion(batch: int, features: int, hidden: int) -> Case:
    """One step of denoising training: noise is added by a schedule, a SiLU network predicts it."""
    generator = np.random.default_rng(4)
    first, second, third = _weights(generator, features, hidden, hidden, features)
    data = {"A": first, "B": second, "C": third, "T": generator.normal(size=(8, hidden))}
    data |= {
        "x": generator.normal(size=(batch, features)),
        "noise": generator.normal(size=(batch, features)),
        "alpha": generator.uniform(0.05, 0.95, size=(batch, 1)),
        "time": generator.normal(size=(batch, 8)),
    }

    def silu(library: Any, x: Any) -> Any:
        return x * library.sigmoid(x)

    def loss(library: Any, t: Tensors) -> Any:
        noisy = library.sqrt(t["alpha"]) * t["x"] + library.sqrt(1 - t["alpha"]) * t["noise"]
        state = silu(library, noisy @ t["A"] + t["time"] @ t["T"])
        return library.mean(library.square(silu(library, state @ t["B"]) @ t["C"] - t["noise"]))

    return Problem(loss, data, ("A", "B", "C", "T"), named=DIFFUSION).case("grad")


_GOALS = (Goal(1.2),)
ROWS = (
    Row("gradient of a Gaussian mixture, 2000×50×10", gaussian_mixture, (2000, 50, 10), (7, 3, 2), _GOALS),
    *(
        Row(f"gradient of {name}, 256×1024", elementwise, (name, 256, 1024), (name, 3, 4), _GOALS)
        for name in _FUNCTIONS
    ),
    Row("gradient of a Gaussian process's likelihood, 500", gaussian_process, (500,), (6,), _GOALS),
    Row("gradient of a variational autoencoder, 128×784", autoencoder, (128, 784, 200, 20), (3, 5, 4, 2), _GOALS),
    Row("gradient of a diffusion step, 256×64", diffusion, (256, 64, 256), (3, 4, 5), _GOALS),
)
