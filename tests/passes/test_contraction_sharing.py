"""What the einsums of a graph share beside whole products: sums, powers, and the products of scalars."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from evaluation import run

import otus
from otus.ir import Graph, cost
from otus.passes import parse_pipeline
from otus.passes.contraction.scalars import multiplied_up


def flops(*outputs: otus.Expression) -> int:
    graph = Graph.of([x.node for x in outputs])
    return cost(parse_pipeline("simplify,contract").run(graph)[0].outputs)().flops


A, B = otus.tensor("A", (10, 20)), otus.tensor("B", (10, 20))
v, s, t = otus.tensor("v", (20,)), otus.tensor("s", ()), otus.tensor("t", ())


def test_a_coarser_sum_is_taken_from_a_finer_one() -> None:
    assert flops(otus.einsum("ij->i", A), otus.einsum("ij->", A)) == 200 + 10
    assert flops(otus.einsum("ij,ij->", A, B), otus.einsum("ij,ij->j", B, A)) == 2 * 200 + 20
    assert (
        flops(otus.einsum("ijk->ij", otus.tensor("X", (2, 3, 4))), otus.einsum("ijk->ji", otus.tensor("X", (2, 3, 4))))
        == 24
    )


def test_an_index_of_size_one_is_not_summed() -> None:
    X = otus.tensor("X", (1, 20, 5))
    assert flops(otus.einsum("aij->ij", X)) == 0
    assert flops(otus.einsum("aij,ai->j", X, otus.tensor("y", (1, 20)))) == 2 * 100


@pytest.mark.parametrize(("power", "products"), [(2, 1), (3, 2), (5, 3), (6, 3), (8, 3), (16, 4)])
def test_powers_are_squared(power: int, products: int) -> None:
    assert flops(otus.einsum(",".join("j" * power) + "->j", *[v] * power)) == 20 * products
    assert flops(otus.einsum("," * (power - 1) + "->", *[s] * power)) == products


def test_scalars_meet_the_smallest_tensor_on_their_way() -> None:
    assert flops(otus.einsum("ij,ij,,k->k", A, B, s, v)) == 2 * 200 + 1 + 20
    assert flops(otus.einsum("ij,ij,,->", A, B, s, t)) == 2 * 200 + 2


def test_products_of_scalars_share_what_they_have_in_common() -> None:
    chooser = random.Random(0)
    for _ in range(100):
        products = {k: [chooser.randrange(4) for _ in range(chooser.randint(1, 7))] for k in range(4)}
        steps, results = multiplied_up(products)
        values = dict(enumerate((2, 3, 5, 7)))
        for number, (first, second) in steps.items():
            values[number] = values[first] * values[second]
        assert {k: values[number] for k, number in results.items()} == {
            k: math.prod((2, 3, 5, 7)[x] for x in numbers) for k, numbers in products.items()
        }
        assert len(steps) <= sum(len(numbers) - 1 for numbers in products.values())


@pytest.mark.parametrize("kind", ["max", "min", "prod", "logsumexp"])
def test_one_element_is_not_reduced(kind: str) -> None:
    x = otus.tensor("x", (3, 1))
    node = getattr(otus, kind)(x, axis=1)
    assert otus.dump(otus.simplify(node)).count("reduce") == 0
    data = {"x": np.array([[np.inf], [-np.inf], [2.5]])}
    np.testing.assert_array_equal(run([otus.simplify(node)], data)[0], data["x"][:, 0])


def test_a_difference_that_may_be_exact_is_taken_first() -> None:
    """``(x − m) − l`` and not ``x − (m + l)``, where m is read; sums that were rounded may be added first."""
    x, m, l = otus.tensor("x", (3, 4)), otus.tensor("m", (4,)), otus.tensor("l", (4,))
    data = {"x": np.full((3, 4), 1e16 + 4), "m": np.full(4, 1e16), "l": np.full(4, 0.5)}
    np.testing.assert_array_equal(run([x - m - l], data)[0], np.full((3, 4), 3.5))
