"""Planned costs, which are exact: ``python -m benchmarks --suite planned``.

Each program's planned flops beside what a specialist's code takes; the tests assert them, this prints them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import otus

Planned = tuple[Any, int | None]  # outputs, and the flops of a specialist's code


def cp_products(order: int, size: int, rank: int) -> Planned:
    """All MTTKRPs of a sweep: two passes over the tensor."""
    modes = "ijkl"[:order]
    tensor = otus.tensor("X", (size,) * order)
    old, new = ([otus.tensor(f"{name}{k}", (size, rank)) for k in range(order)] for name in "AB")
    outputs = []
    for mode in range(order):
        others = [k for k in range(order) if k != mode]
        terms = ",".join(f"{modes[k]}r" for k in others)
        chosen = [new[k] if k < mode else old[k] for k in others]
        outputs.append(otus.einsum(f"{modes},{terms}->{modes[mode]}r", tensor, *chosen))
    return outputs, 2 * rank * sum((order - k + 2) * size**k for k in range(2, order + 1))


def gauss_newton(size: int, rank: int) -> Planned:
    factors, vectors = ([otus.tensor(f"{name}{k}", (size, rank)) for k in range(3)] for name in "AV")
    model = otus.einsum("ir,jr,kr->ijk", *factors)
    return otus.jtjvp(model, factors, vectors), 8 * 3 * size * rank**2


def logistic(points: int, features: int) -> Planned:
    x, y, w = otus.tensor("X", (points, features)), otus.tensor("y", (points,)), otus.tensor("w", (features,))
    margin = x @ w
    return otus.hessian(otus.sum(otus.softplus(margin) - y * margin), w), points * features**2


def quadratic(size: int) -> Planned:
    x, a = otus.tensor("x", (size,)), otus.tensor("A", (size, size))
    return otus.hessian(x @ a @ x, x), size**2


def factorisation(size: int, rank: int) -> Planned:
    target = otus.tensor("T", (size, size))
    u, v = otus.tensor("U", (size, rank)), otus.tensor("V", (size, rank))
    return otus.compress(otus.hessian(otus.sum((target - u @ v.T) ** 2), u)).core, 2 * size * rank**2


def triple_index(size: int) -> Planned:
    """An index on three tensors, where planning pairs of tensors by index alone goes wrong."""
    return otus.einsum("ij,jk,kl,jk->il", *(otus.tensor(name, (size, size)) for name in "ABCD")), 4 * size**3


def matrix_product_state(sites: int) -> Planned:
    """All gradients of the squared norm."""
    ends = [1, *[8] * (sites - 1), 1]
    tensors = [otus.tensor(f"A{k}", (ends[k], 2, ends[k + 1])) for k in range(sites)]
    terms: list[Any] = []
    for k, a in enumerate(tensors):
        terms += [a, [3 * k, 3 * k + 1, 3 * k + 3], a, [3 * k + 2, 3 * k + 1, 3 * k + 5]]
    return otus.grad(otus.einsum(*terms, []), tensors), None


PROGRAMS: dict[str, tuple[Callable[..., Planned], tuple[int, ...]]] = {
    "products of a CP sweep, 200³, R = 50": (cp_products, (3, 200, 50)),
    "products of a CP sweep, 50⁴, R = 20": (cp_products, (4, 50, 20)),
    "JᵀJv of CP, s = R = 150": (gauss_newton, (150, 150)),
    "Hessian of logistic regression, 2000×1000": (logistic, (2000, 1000)),
    "Hessian of xᵀAx, 2048": (quadratic, (2048,)),
    "Hessian of matrix factorisation, 200×10": (factorisation, (200, 10)),
    "ij,jk,kl,jk->il, 500": (triple_index, (500,)),
    "gradients of a matrix product state, 32 sites": (matrix_product_state, (32,)),
    "gradients of a matrix product state, 64 sites": (matrix_product_state, (64,)),
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
