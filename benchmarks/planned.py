"""Planned costs, which are exact: ``python -m benchmarks --suite planned``.

Each program's planned flops beside what a specialist's code takes; the tests assert them, this prints them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import otus

from . import programs

Planned = tuple[Any, int | None]  # outputs, and the flops of a specialist's code


def cp_products(order: int, size: int, rank: int) -> Planned:
    return programs.cp_products(order, size, rank), programs.cp_products_flops(order, size, rank)


def gauss_newton(size: int, rank: int) -> Planned:
    return programs.gauss_newton_products(3, size, rank), 8 * 3 * size * rank**2


def logistic(points: int, features: int) -> Planned:
    return programs.logistic_hessian(points, features), points * features**2


def quadratic(size: int) -> Planned:
    return programs.quadratic_hessian(size), size**2


def factorisation(size: int, rank: int) -> Planned:
    return otus.compress(otus.hessian(*programs.factorisation_loss(size, rank))).core, 2 * size * rank**2


def triple_index(size: int) -> Planned:
    return programs.triple_index(size), 4 * size**3


def norm_gradients(sites: int) -> Planned:
    return programs.norm_gradients(sites), None


PROGRAMS: dict[str, tuple[Callable[..., Planned], tuple[int, ...]]] = {
    "products of a CP sweep, 200³, R = 50": (cp_products, (3, 200, 50)),
    "products of a CP sweep, 50⁴, R = 20": (cp_products, (4, 50, 20)),
    "JᵀJv of CP, s = R = 150": (gauss_newton, (150, 150)),
    "Hessian of logistic regression, 2000×1000": (logistic, (2000, 1000)),
    "Hessian of xᵀAx, 2048": (quadratic, (2048,)),
    "Hessian of matrix factorisation, 200×10": (factorisation, (200, 10)),
    "ij,jk,kl,jk->il, 500": (triple_index, (500,)),
    "gradients of a matrix product state, 32 sites": (norm_gradients, (32,)),
    "gradients of a matrix product state, 64 sites": (norm_gradients, (64,)),
}


def main() -> int:
    """Print the table."""
    print("| program | flops | a specialist's | ratio | bytes | peak bytes |\n|---|---|---|---|---|---|")
    for name, (build, sizes) in PROGRAMS.items():
        outputs, known = build(*sizes)
        cost = otus.cost(otus.optimize(outputs))()
        beside = f"{known:.3g} | {cost.flops / known:.3f}" if known else "– | –"
        print(f"| {name} | {cost.flops:.3g} | {beside} | {cost.bytes:.3g} | {cost.peak_bytes:.3g} |", flush=True)
    return 0
