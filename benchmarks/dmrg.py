"""Ground-state energy of the Heisenberg chain by two-site DMRG, without conserved charges.

Otus compiles the contractions (effective Hamiltonian and environments, bonds symbolic); the loop around
them, Lanczos steps by ARPACK and truncated SVDs, is written here.  A sweep goes right and left again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from .harness import Call, Case
from .peers import need
from .problem import Array

_CUTOFF = 1e-10
_KRYLOV, _EIGEN_TOLERANCE = 4, 1e-3  # quimb's own


def heisenberg(sites: int, bond: int, sweeps: int) -> Case:
    """The energies agree; each library starts from the Néel state."""
    return Case(
        lambda: _otus(sites, bond, sweeps),
        {"quimb": lambda: _quimb(sites, bond, sweeps), "TeNPy": lambda: _tenpy(sites, bond, sweeps)},
        answer=np.atleast_1d,
        tolerance=1e-6,
    )


def _otus(sites: int, bond: int, sweeps: int) -> Call:
    chain = Chain(sites, bond)
    return lambda: chain.energy(sweeps)


class Chain:
    """Two-site DMRG whose contractions are compiled once, for all sizes of the bonds."""

    def __init__(self, sites: int, bond: int) -> None:
        self.sites, self.bond = sites, bond
        self.operators = _heisenberg_operators(sites)
        self._product, self._to_right, self._to_left = _kernels()

    def energy(self, sweeps: int) -> float:
        """The energy after ``sweeps`` sweeps right and left, from the Néel state."""
        self.tensors = [np.eye(2)[None, k % 2, :, None] for k in range(self.sites)]
        edge = np.ones((1, 1, 1))
        self.left, self.right = [edge] * self.sites, [edge] * self.sites
        for k in range(self.sites - 1, 1, -1):
            self.right[k - 1] = self._to_left(self.right[k], self.tensors[k], self.operators[k])
        value = 0.0
        for _ in range(sweeps):
            for k in range(self.sites - 1):
                value = self._step(k, to_right=True)
            for k in range(self.sites - 2, -1, -1):
                value = self._step(k, to_right=False)
        return value

    def _step(self, k: int, to_right: bool) -> float:
        pair = np.tensordot(self.tensors[k], self.tensors[k + 1], 1)
        value, pair = self._ground_state(pair, k)
        rows = pair.shape[0] * 2
        u, s, v = np.linalg.svd(pair.reshape(rows, -1), full_matrices=False)
        kept = min(self.bond, max(1, int((s > _CUTOFF * s[0]).sum())))
        u, s, v = u[:, :kept], s[:kept] / np.linalg.norm(s[:kept]), v[:kept]
        u, v = (u, s[:, None] * v) if to_right else (u * s, v)
        self.tensors[k] = np.ascontiguousarray(u).reshape(-1, 2, kept)
        self.tensors[k + 1] = np.ascontiguousarray(v).reshape(kept, 2, -1)
        if to_right:
            self.left[k + 1] = self._to_right(self.left[k], self.tensors[k], self.operators[k])
        else:
            self.right[k] = self._to_left(self.right[k + 1], self.tensors[k + 1], self.operators[k + 1])
        return value

    def _ground_state(self, pair: Array, k: int) -> tuple[float, Array]:
        around = self.left[k], self.operators[k], self.operators[k + 1], self.right[k + 1]

        def apply(x: Array) -> Array:
            return np.asarray(self._product(x.reshape(pair.shape), *around)).ravel()

        if pair.size <= 2 * _KRYLOV:
            matrix = np.stack([apply(x) for x in np.eye(pair.size)], axis=1)
            values, vectors = np.linalg.eigh(matrix)
        else:
            operator = LinearOperator((pair.size, pair.size), matvec=apply, dtype=np.float64)
            values, vectors = eigsh(operator, 1, which="SA", v0=pair.ravel(), ncv=_KRYLOV, tol=_EIGEN_TOLERANCE)
        return float(values[0]), np.ascontiguousarray(vectors[:, 0]).reshape(pair.shape)


def _kernels() -> tuple[Any, Any, Any]:
    """The product with the effective Hamiltonian, and the environments one site further."""
    import otus

    left, right = otus.tensor("L", ("a", "w", "x")), otus.tensor("R", ("b", "u", "y"))
    pair = otus.tensor("T", ("a", 2, 2, "b"))
    first, second = otus.tensor("V", ("w", "v", 2, 2)), otus.tensor("W", ("v", "u", 2, 2))
    site, operator = otus.tensor("A", ("a", 2, "b")), otus.tensor("W", ("w", "u", 2, 2))
    product = otus.einsum("apqb,awx,wvps,vuqt,buy->xsty", pair, left, first, second, right)
    to_right = otus.einsum("awx,apb,wups,xsy->buy", otus.tensor("L", ("a", "w", "a")), site, operator, site)
    to_left = otus.einsum("buy,apb,wups,xsy->awx", otus.tensor("R", ("b", "u", "b")), site, operator, site)
    return (
        otus.compile(product, inputs=["T", "L", "V", "W", "R"]),
        otus.compile(to_right, inputs=["L", "A", "W"]),
        otus.compile(to_left, inputs=["R", "A", "W"]),
    )


def _heisenberg_operators(sites: int) -> list[Array]:
    """S·S between neighbours, real because Sx Sx + Sy Sy = (S⁺S⁻ + S⁻S⁺)/2; axes: bonds, then spin in and out."""
    up, z, one = np.array([[0.0, 1.0], [0.0, 0.0]]), np.diag([0.5, -0.5]), np.eye(2)
    bulk = np.zeros((5, 5, 2, 2))
    bulk[0, 0] = bulk[4, 4] = one
    for k, (first, second) in enumerate(((up / 2, up.T), (up.T / 2, up), (z, z)), start=1):
        bulk[0, k], bulk[k, 4] = first, second
    return [bulk[:1], *[bulk] * (sites - 2), bulk[:, 4:]]


def _quimb(sites: int, bond: int, sweeps: int) -> Call:
    need("quimb")
    from quimb import tensor

    operator = tensor.MPO_ham_heis(sites)
    neel = tensor.MPS_computational_state("01" * (sites // 2), dtype="float64")

    def run() -> float:
        solver = tensor.DMRG2(operator, bond_dims=bond, cutoffs=_CUTOFF, p0=neel)
        solver.solve(tol=0.0, max_sweeps=2 * sweeps, sweep_sequence="RL", verbosity=0)
        return float(np.real(solver.energy))

    return run


def _tenpy(sites: int, bond: int, sweeps: int) -> Call:
    need("physics-tenpy")
    import logging

    from tenpy.algorithms.dmrg import TwoSiteDMRGEngine
    from tenpy.models.spins import SpinChain
    from tenpy.networks.mps import MPS

    logging.getLogger("tenpy").setLevel(logging.ERROR)
    couplings = {"Jx": 1.0, "Jy": 1.0, "Jz": 1.0}
    model = SpinChain({"L": sites, "S": 0.5, "bc_MPS": "finite", "conserve": None, **couplings})
    options = {
        "mixer": False,
        "min_sweeps": sweeps,
        "max_sweeps": sweeps,
        "N_sweeps_check": 1,
        "trunc_params": {"chi_max": bond, "svd_min": _CUTOFF},
    }

    def run() -> float:
        state = MPS.from_product_state(model.lat.mps_sites(), ["up", "down"] * (sites // 2), bc="finite")
        return float(TwoSiteDMRGEngine(state, model, dict(options)).run()[0])

    return run
