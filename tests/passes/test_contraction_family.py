"""Contractions planned together: values stay, work is shared, and nothing larger is made than before."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from evaluation import run

import otus
from otus.ir import Graph, Node, cost, topological
from otus.passes import parse_pipeline
from otus.passes.contraction.products import ProductTable, Term


def optimised(outputs: Sequence[otus.Expression], pipeline: str = "expand,simplify,contract") -> Graph:
    nodes = [x.node for x in outputs]
    return parse_pipeline(pipeline).run(Graph.of(nodes))[0]


def flops(outputs: Sequence[otus.Expression]) -> int:
    return cost(optimised(outputs).outputs)().flops


def test_random_families_keep_their_values_and_never_take_more_work() -> None:
    chooser = random.Random(0)
    for trial in range(60):
        sizes = [chooser.choice([1, 2, 3, 4]) for _ in range(6)]
        pool = []
        for position in range(5):
            labels = [chooser.randrange(6) for _ in range(chooser.randint(1, 3))]
            pool.append((otus.tensor(f"T{position}", [sizes[k] for k in labels]), labels))
        outputs = []
        for _ in range(chooser.randint(2, 5)):
            chosen = [chooser.choice(pool) for _ in range(chooser.randint(2, 5))]
            used = sorted({k for _, labels in chosen for k in labels})
            kept = chooser.sample(used, chooser.randint(0, min(3, len(used))))
            outputs.append(otus.einsum(*(x for pair in chosen for x in pair), kept))
        rng = np.random.default_rng(trial)
        data = {f"T{k}": rng.standard_normal(x.shape) for k, (x, _) in enumerate(pool)}
        for got, want in zip(run(outputs, data), run(outputs, data, "reference"), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)
        assert flops(outputs) <= sum(flops([x]) for x in outputs)


def mttkrps(order: int, size: int, rank: int) -> list[otus.Expression]:
    """A sweep: mode ``n`` reads the new factors of the modes before it and the old ones of those after."""
    letters = "ijklm"[:order]
    tensor = otus.tensor("X", (size,) * order)
    old = [otus.tensor(f"A{k}", (size, rank)) for k in range(order)]
    new = [otus.tensor(f"B{k}", (size, rank)) for k in range(order)]
    outputs = []
    for mode in range(order):
        others = [k for k in range(order) if k != mode]
        factors = [new[k] if k < mode else old[k] for k in others]
        terms = ",".join([letters, *(f"{letters[k]}r" for k in others)])
        outputs.append(otus.einsum(f"{terms}->{letters[mode]}r", tensor, *factors))
    return outputs


@pytest.mark.parametrize("order", [3, 4, 5])
def test_the_tensor_is_read_twice_a_sweep(order: int) -> None:
    graph = optimised(mttkrps(order, 8, 3))
    (tensor,) = (x for x in graph.inputs if x.ndim == order)
    assert sum(tensor in x.operands for x in graph.nodes()) == 2


def largest(nodes: Sequence[Node]) -> int:
    return max(int(np.prod([int(str(n)) for n in x.type.shape])) for x in topological(nodes))


def test_no_intermediate_is_larger_than_without_sharing() -> None:
    for outputs in (mttkrps(4, 6, 9), chain(12)):
        together = largest(optimised(outputs).outputs)
        assert together <= max(largest(optimised([x]).outputs) for x in outputs)


def chain(sites: int, bond: int = 4) -> list[otus.Expression]:
    """The gradients of the squared norm of a matrix product state."""
    tensors = [otus.tensor(f"A{k}", (1 if k == 0 else bond, 2, 1 if k == sites - 1 else bond)) for k in range(sites)]
    lower = [x for k, a in enumerate(tensors) for x in (a, [3 * k, 3 * k + 1, 3 * k + 3])]
    upper = [x for k, a in enumerate(tensors) for x in (a, [3 * k + 1000, 3 * k + 1, 3 * k + 1003])]
    return otus.grad(otus.einsum(*lower, *upper, []), tensors)


def test_work_for_all_gradients_of_a_chain_is_linear_in_its_length() -> None:
    short, middle, long = (flops(chain(sites)) for sites in (8, 16, 24))
    assert long - middle <= 1.02 * (middle - short)


def test_what_two_einsums_share_up_to_a_transpose_is_made_once() -> None:
    a, b = otus.tensor("a", (5, 4)), otus.tensor("b", (5, 6))
    graph = optimised([a.T @ b, b.T @ a])
    assert sum(len(x.operands) == 2 for x in graph.nodes()) == 1


def test_matrices_that_are_multiplied_in_another_order_are_not_the_same() -> None:
    """tr(AAᵀAAᵀ) is not ‖A‖⁴, though both have four factors A."""
    a = otus.tensor("A", (3, 4))
    trace = otus.einsum("ij,kj,kl,il->", a, a, a, a)
    norm = otus.einsum("ij,ij,kl,kl->", a, a, a, a)
    value = np.random.default_rng(0).standard_normal((3, 4))
    got = run([trace, norm], {"A": value})
    gram = value @ value.T
    np.testing.assert_allclose(got, [np.trace(gram @ gram), np.trace(gram) ** 2], rtol=1e-12)


def test_sharing_is_not_forced_where_it_costs_more() -> None:
    """A·B·v and A·B·w: two pairs of matrix-vector products, not a product of matrices."""
    a, b = otus.tensor("A", (50, 50)), otus.tensor("B", (50, 50))
    v, w = otus.tensor("v", (50,)), otus.tensor("w", (50,))
    assert flops([otus.einsum("ij,jk,k->i", a, b, x) for x in (v, w)]) == 4 * 2 * 50**2


def test_a_product_is_found_where_its_factors_are_tied_alike() -> None:
    table = ProductTable()
    a, b = table.factor("a", (2, 3)), table.factor("b", (3, 4))
    product = table.multiply(Term(a, (0, 1), 1), Term(b, (1, 2), 2), (0, 2))
    tied = [Term(a, (5, 6), 1), Term(b, (6, 7), 2), Term(b, (8, 9), 4)]
    (found,) = table.found_in(tied, (5, 7, 8, 9), {product.number})
    assert found == Term(product.number, (5, 7), 3)
    # The summed index is needed elsewhere, or the factors are not tied: the product is not there.
    assert not table.found_in(tied[:2], (5, 6, 7), {product.number})
    assert not table.found_in([Term(a, (0, 1), 1), Term(b, (2, 3), 2)], (0, 1, 2, 3), {product.number})
