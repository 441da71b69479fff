"""Symmetry that is found, against what random numbers say."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from evaluation import assert_close
from random_programs.outputs import otus_outputs
from random_programs.programs import random_program

import otus
from otus.ir import Node, topological
from otus.passes.algebra.symmetry import exchange_sign
from otus.runtime.random_data import random_inputs
from otus.runtime.reference import evaluate

A, B, x, y = (otus.tensor(*x) for x in (("A", (4, 4)), ("B", (4, 4)), ("x", (4, 3)), ("y", (4,))))
Z = otus.tensor("Z", (4, 4), dtype="complex128")
H = otus.tensor("H", (3, 3), symmetric=True)
k = otus.tensor("k", (4,), dtype="uint8")

FOUND: dict[str, tuple[int, Callable[[], otus.Expression]]] = {
    "distances": (1, lambda: ((x[:, None] - x[None]) ** 2).sum(2)),
    "kernel": (1, lambda: 2 * otus.exp(-((x[:, None] - x[None]) ** 2).sum(2) / 3) + 0.1 * otus.eye(4)),
    "distances by products": (1, lambda: (x * x).sum(1)[:, None] + (x * x).sum(1) - 2 * x @ x.T),
    "Gram": (1, lambda: x @ x.T),
    "weighted": (1, lambda: x @ H @ x.T),
    "outer": (1, lambda: otus.outer(y, y) + y[:, None] + y),
    "symmetric part": (1, lambda: A + A.T),
    "complex": (1, lambda: otus.exp(Z + Z.T)),
    "Hadamard": (1, lambda: A * A.T),
    "antisymmetric part": (-1, lambda: A - A.T),
    "odd": (-1, lambda: otus.sin(A - A.T)),
    "odd times even": (-1, lambda: (A + A.T) * otus.tanh(2 * A - 2 * A.T)),
    "square": (1, lambda: (A - A.T) @ (A - A.T)),
    "inverse": (1, lambda: otus.inv(A @ A.T)),
    "maximum": (1, lambda: otus.maximum(A, A.T) / (1 + otus.abs(A - A.T))),
}
NOT_FOUND: dict[str, Callable[[], otus.Expression]] = {
    "matrix": lambda: A,
    "product": lambda: A @ A,
    "two": lambda: A @ B.T,
    "comparison": lambda: otus.where(A > A.T, A + A.T, 0.0),
    "exponential": lambda: otus.exp(A - A.T),
    "Hermitian": lambda: Z @ otus.conj(Z).T,
    "wrapping": lambda: otus.abs(k[:, None] - k),
    "half": lambda: A + 0.5 * A.T,
    "row": lambda: y[:, None] + 0 * A,
}


def actual_sign(node: Node, first: int, second: int) -> int:
    """What three draws of data say of exchanging two axes; 2 where they say both (zeros)."""
    same = opposite = True
    for seed in range(3):
        (value,) = evaluate([node], random_inputs([node], {}, seed))
        other = np.swapaxes(value, first, second)
        scale = 1e-12 * (1 + np.abs(value).max(initial=0))
        same &= bool(np.all(np.abs(value * 1.0 - other) <= scale))
        opposite &= bool(np.all(np.abs(value * 1.0 + other) <= scale))
    return 2 if same and opposite else int(same) - int(opposite)


@pytest.mark.parametrize("name", FOUND)
def test_is_found(name: str) -> None:
    sign, make = FOUND[name]
    node = otus.simplify(make()).node
    assert exchange_sign(node, 0, 1) == sign
    assert actual_sign(node, 0, 1) == sign


@pytest.mark.parametrize("name", NOT_FOUND)
def test_is_not_claimed(name: str) -> None:
    node = otus.simplify(NOT_FOUND[name]()).node
    assert exchange_sign(node, 0, 1) == 0


@pytest.mark.parametrize("seed", range(60))
def test_of_random_programs(seed: int) -> None:
    """Whatever is claimed of any pair of axes of any tensor, Hessians among them, holds for its data."""
    program = random_program(seed, length=4)
    found = otus_outputs(program)
    outputs = [*found["values"], *found["gradient"], *(row[k] for k, row in enumerate(found.get("hessian", [])))]
    for node in topological([x.node for x in otus.simplify(outputs)]):
        pairs = [(a, b) for a, b in combinations(range(node.ndim), 2) if node.type.shape[a] == node.type.shape[b]]
        claims = {pair: sign for pair in pairs if (sign := exchange_sign(node, *pair))}
        if claims:
            (value,) = evaluate([node], program.data)
            for (first, second), sign in claims.items():
                other = np.swapaxes(value, first, second)
                assert_close(value, sign * other, 1e-9, 1e-9, f"axes {first}, {second}, seed {seed}")
