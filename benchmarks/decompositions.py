"""Sweeps of decompositions, Otus's updates derived from the loss; two-site DMRG.

The seconds of AutoHOOT are those that were reported for one thread of a comparable core.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .dmrg import heisenberg
from .harness import Call, Case, Goal, Row
from .peers import need
from .problem import Array

SWEEPS = 5


def cp_als(order: int, size: int, rank: int) -> Case:
    """Sweeps of alternating least squares from one start."""
    generator = np.random.default_rng(0)
    data = generator.normal(size=(size,) * order)
    start = [generator.normal(size=(size, rank)) for _ in range(order)]

    def tensorly() -> Call:
        decomposition = _decomposition()
        weights = np.ones(rank)

        def run() -> list[Array]:
            found = decomposition.parafac(data, rank, n_iter_max=SWEEPS, init=(weights, list(start)), tol=0)
            return list(found.factors)

        return run

    return Case(lambda: _repeated(_cp_sweep(order, size, rank), data, start), {"TensorLy": tensorly}, tolerance=1e-6)


def _cp_sweep(order: int, size: int, rank: int) -> Any:
    """The Newton step of the loss in each factor, reading the factors that are already new."""
    import otus

    from .programs import alternating_updates, cp_loss

    return otus.compile(alternating_updates(*cp_loss(order, size, rank)))


def _repeated(function: Any, data: Array, start: Sequence[Array]) -> Call:
    """``SWEEPS`` sweeps from the start; the factors are called A0, A1, …"""

    def run() -> list[Array]:
        factors = list(start)
        for _ in range(SWEEPS):
            named = {f"A{k}": x for k, x in enumerate(factors) if f"A{k}" in function.inputs}
            results = function(X=data, **named)
            factors = results[: len(factors)]
        return [*results]

    return run


def tucker(order: int, size: int, rank: int) -> Case:
    """Sweeps of higher-order orthogonal iteration; of the factors, their spans are compared."""
    generator = np.random.default_rng(1)
    core = generator.normal(size=(rank,) * order)
    start = [np.linalg.qr(generator.normal(size=(size, rank)))[0] for _ in range(order)]
    data = core
    for k in range(order):
        data = np.moveaxis(np.tensordot(generator.normal(size=(size, rank)), data, (1, k)), 0, k)
    data = data + 0.1 * generator.normal(size=data.shape)

    def tensorly() -> Call:
        decomposition = _decomposition()
        zero = np.zeros((rank,) * order)

        def run() -> list[Array]:
            core, factors = decomposition.tucker(
                data, [rank] * order, n_iter_max=SWEEPS, init=(zero, list(start)), tol=0
            )
            return [*factors, core]

        return run

    return Case(
        lambda: _repeated(_tucker_sweep(order, size, rank), data, start), {"TensorLy": tensorly}, _spans, tolerance=1e-6
    )


def _tucker_sweep(order: int, size: int, rank: int) -> Any:
    import otus

    from .programs import tucker_updates

    return otus.compile(tucker_updates(order, size, rank))


def _spans(answer: Sequence[Array]) -> list[Array]:
    """What does not depend on the basis of each factor: its projector, and the norm of the core."""
    return [*(x @ x.T for x in answer[:-1]), np.atleast_1d(np.linalg.norm(answer[-1]))]


def _decomposition() -> Any:
    need("tensorly")
    from tensorly import decomposition

    return decomposition


_GOALS = (Goal(2.0, "TensorLy"),)


def _row(name: str, build: Any, sizes: tuple[int, int, int], tiny: tuple[int, int, int], autohoot: float) -> Row:
    order, size, rank = sizes
    title = f"{name}, {SWEEPS} sweeps, order {order}, {size}, R = {rank}"
    return Row(title, build, sizes, tiny, _GOALS, {"AutoHOOT": SWEEPS * autohoot})


ROWS = (
    _row("CP-ALS", cp_als, (3, 200, 50), (3, 6, 2), 44e-3),
    _row("CP-ALS", cp_als, (4, 50, 20), (4, 5, 2), 37e-3),
    _row("Tucker", tucker, (3, 100, 20), (3, 6, 2), 6.5e-3),
    _row("Tucker", tucker, (4, 40, 10), (4, 5, 2), 9.6e-3),
    Row("DMRG, Heisenberg, L = 20, χ = 64, 6 sweeps", heisenberg, (20, 64, 6), (6, 8, 4), (Goal(1.2),)),
)
