"""Canonical polyadic decomposition of measured tensors, with a loss and gradients from a program.

``cpd.otus`` says what is minimised; Otus derives the gradients and compiles them; SciPy's L-BFGS-B
minimises.  TensorLy brings the data, and its alternating least squares (``parafac``) is the comparison:
it starts from the same factors and stops by the same rule.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module, resources
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

import otus

Array = npt.NDArray[Any]
Watch = Callable[[int, float], None]
"""Called after each iteration with its number and the fit."""


@dataclass(frozen=True)
class Data:
    """A tensor to decompose, of norm 1.

    ``weights`` are 1 where it was measured and 0 elsewhere, or None where everything was.  ``modes`` and
    ``ticks`` name the axes and their positions, for pictures.
    """

    name: str
    title: str
    tensor: Array
    weights: Array | None
    modes: tuple[str, ...]
    ticks: tuple[Array, ...]

    @property
    def program(self) -> str:
        """The program of ``examples/`` whose loss fits."""
        return "cpd.otus" if self.weights is None else "cpd_missing.otus"


@dataclass(frozen=True)
class Decomposition:
    """Factor matrices, one for each axis, and how they were found.

    ``fit`` is 1 - ‖X - model‖ / ‖X‖ over the measured entries.
    """

    factors: tuple[Array, ...]
    fit: float
    iterations: int
    seconds: float


def load_data(name: str) -> Data:
    """``"kinetic"`` (fluorescence of reacting mixtures) or ``"indian_pines"`` (a hyperspectral image).

    Needs TensorLy, which ships both; raises ``otus.UnsupportedError`` without it.
    """
    try:
        from tensorly import datasets
    except ImportError:
        raise otus.UnsupportedError(
            "the demo decomposes tensors that TensorLy ships, and TensorLy is not installed; "
            "type: pip install tensorly matplotlib"
        ) from None
    if name == "kinetic":
        found = datasets.load_kinetic()
        measured = 1.0 - np.asarray(found.missing_values_position, np.float64)
        # The tensor's axes are measurement, emission, excitation and time, as are the ticks.
        return normalised(
            name, "Kinetic fluorescence", found.tensor, measured, tuple(found.ticks_labels), tuple(found.ticks)
        )
    found = datasets.load_indian_pines()
    tensor = np.asarray(found.tensor, np.float64)
    rows, columns, _ = tensor.shape
    ticks = (range(rows), range(columns), found.ticks[1])
    return normalised(name, "Indian Pines", tensor, None, ("Row", "Column", "Wavelength (nm)"), ticks)


def normalised(
    name: str, title: str, tensor: Array, weights: Array | None, modes: tuple[str, ...], ticks: Sequence[Any]
) -> Data:
    """The data divided by the norm of what was measured, so that one tolerance suits every tensor."""
    known = np.asarray(tensor, np.float64) * (1.0 if weights is None else weights)
    places = tuple(np.asarray(x, np.float64) for x in ticks)
    return Data(name, title, known / np.linalg.norm(known), weights, modes, places)


def load_program(name: str) -> otus.Module:
    """A program of this folder.

    >>> list(load_program("cpd.otus").outputs)
    ['loss', 'gA', 'gB', 'gC']
    """
    with resources.as_file(resources.files(__package__).joinpath(name)) as path:
        return otus.load(path)


def initial_factors(data: Data, rank: int, seed: int = 0) -> tuple[Array, ...]:
    """Random nonnegative factors of equal norms whose product is scaled to fit best."""
    generator = np.random.default_rng(seed)
    factors = [generator.random((size, rank)) for size in data.tensor.shape]
    factors = [x / np.linalg.norm(x) for x in factors]
    model = product(factors) * (1.0 if data.weights is None else data.weights)
    scale = float(np.vdot(model, data.tensor) / np.vdot(model, model))
    return tuple(x * math.copysign(abs(scale) ** (1 / len(factors)), scale) for x in factors)


def product(factors: Sequence[Array]) -> Array:
    """The tensor that the factors stand for: a sum over columns of outer products.

    >>> product([np.ones((2, 3)), np.ones((4, 3))])[0, 0]
    np.float64(3.0)
    """
    rest = factors[0]
    for factor in factors[1:-1]:
        rest = rest[..., None, :] * factor
    model: Array = rest @ factors[-1].T
    return model


def fit(data: Data, factors: Sequence[Array]) -> float:
    """1 - ‖X - model‖ / ‖X‖ over the measured entries."""
    residual = product(factors) - data.tensor
    return 1 - float(np.linalg.norm(residual if data.weights is None else residual * data.weights))


def decompose(
    data: Data,
    initial: Sequence[Array],
    tolerance: float = 1e-6,
    max_iterations: int = 200,
    watch: Watch | None = None,
) -> Decomposition:
    """Minimise the program's loss by L-BFGS-B with the gradients that Otus derives.

    Stops once an iteration lowers the relative error by less than ``tolerance``.
    """
    from scipy.optimize import minimize

    kernel = otus.compile(dict(load_program(data.program).outputs))
    names = [chr(ord("A") + axis) for axis in range(len(initial))]
    given = {"X": data.tensor} if data.weights is None else {"X": data.tensor, "W": data.weights}
    errors: list[float] = []

    def objective(point: Array) -> tuple[float, Array]:
        values = kernel(**given, **dict(zip(names, _split(point, initial), strict=True)))
        return float(values["loss"]), np.concatenate([values[f"g{name}"].ravel() for name in names])

    def after_iteration(intermediate_result: Any) -> None:
        errors.append(math.sqrt(max(intermediate_result.fun, 0.0)))
        if watch is not None:
            watch(len(errors), 1 - errors[-1])
        if len(errors) > 1 and errors[-2] - errors[-1] < tolerance:
            raise StopIteration

    start = time.perf_counter()
    found = minimize(
        objective,
        np.concatenate([x.ravel() for x in initial]),
        jac=True,
        method="L-BFGS-B",
        callback=after_iteration,
        options={"maxiter": max_iterations, "maxfun": 2 * max_iterations, "maxcor": 20, "ftol": 0.0, "gtol": 0.0},
    )
    seconds = time.perf_counter() - start
    factors = _split(found.x, initial)
    return Decomposition(factors, fit(data, factors), len(errors), seconds)


def _split(point: Array, like: Sequence[Array]) -> tuple[Array, ...]:
    """A vector as matrices of the shapes of ``like``."""
    parts = np.split(point, np.cumsum([x.size for x in like])[:-1])
    return tuple(part.reshape(x.shape) for part, x in zip(parts, like, strict=True))


def decompose_with_tensorly(
    data: Data, initial: Sequence[Array], tolerance: float = 1e-6, max_iterations: int = 200
) -> Decomposition:
    """TensorLy's ``parafac`` from the same factors, with the same rule for stopping."""
    from tensorly.decomposition import parafac

    mask = {} if data.weights is None else {"mask": data.weights}
    start = time.perf_counter()
    (weights, factors), errors = parafac(
        data.tensor,
        initial[0].shape[1],
        n_iter_max=max_iterations,
        tol=tolerance,
        init=(None, [x.copy() for x in initial]),
        return_errors=True,
        **mask,
    )
    seconds = time.perf_counter() - start
    found = (np.asarray(factors[0]) * np.asarray(weights), *map(np.asarray, factors[1:]))
    return Decomposition(found, fit(data, found), len(errors), seconds)


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS on one thread where threadpoolctl is installed: these products are too small to share."""
    if find_spec("threadpoolctl") is None:
        yield
        return
    with import_module("threadpoolctl").threadpool_limits(1, user_api="blas"):
        yield
