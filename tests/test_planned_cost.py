"""Planned cost of known programs: at most what a specialist's code takes.

Two operations per multiply-add.  *s* is a mode's size, *R* a rank, *N* the order, *D* a bond dimension,
*w* that of a matrix product operator, *d* a physical dimension.  Where a bound speaks of leading terms,
the lower-order work (sums of results, Hadamard products of small matrices) is allowed a few per cent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

import otus
from benchmarks.programs import (
    LETTERS,
    alternating_updates,
    cp_loss,
    cp_products,
    cp_products_flops,
    factorisation_loss,
    factors,
    gauss_newton_products,
    logistic_hessian,
    norm_gradients,
    quadratic_hessian,
    transformer,
    triple_index,
)
from otus.ir import Node, topological
from otus.ir.operations import Input, Solve


def optimised(outputs: Any) -> list[Node]:
    found = otus.optimize(outputs)
    return [x.node for x in (found if isinstance(found, list) else [found])]


def flops(nodes: Sequence[Node]) -> int:
    return otus.cost([otus.Expression.of(x) for x in nodes])().flops


def volume(node: Node) -> int:
    return math.prod(int(str(size)) for size in node.type.shape)


def largest_intermediate(nodes: Sequence[Node]) -> int:
    return max(volume(x) for x in topological(nodes) if not isinstance(x.op, Input))


@pytest.mark.parametrize(("order", "size", "rank"), [(3, 30, 7), (3, 200, 50), (4, 50, 20)])
def test_products_of_a_cp_sweep(order: int, size: int, rank: int) -> None:
    assert flops(optimised(cp_products(order, size, rank))) <= cp_products_flops(order, size, rank)


def test_a_whole_sweep_of_alternating_least_squares() -> None:
    """Derived from the loss: two passes over the tensor, Gram matrices once a sweep, one R × R solve a mode."""
    size, rank = 60, 5
    nodes = optimised(alternating_updates(*cp_loss(3, size, rank)))
    tensor = otus.tensor("X", (size,) * 3)
    assert sum(tensor.node in x.operands for x in topological(nodes)) == 2
    solves = [x.operands[0].type.shape for x in topological(nodes) if isinstance(x.op, Solve)]
    assert solves == [(rank, rank)] * 3
    # N + 2 Gram matrices are read: those of the old B and C, and of the new A and B (C's is for the next sweep).
    lower = 4 * 2 * size * rank**2 + 3 * (3 * rank**3 + 2 * size * rank**2) + 4 * size * rank
    assert flops(nodes) <= cp_products_flops(3, size, rank) + lower
    assert largest_intermediate(nodes) <= size**2 * rank


def test_the_loss_beside_a_sweep_needs_no_further_pass() -> None:
    """‖X‖² − 2⟨MTTKRP, C⟩ + ⟨Gram, Gram⟩, written so: the last product of the sweep is what it reads."""
    size, rank = 40, 6
    tensor, (a, b, c) = otus.tensor("X", (size,) * 3), factors("A", 3, size, rank)
    norm = otus.tensor("norm", ())
    product = otus.einsum("ijk,ir,jr->kr", tensor, a, b)
    loss = norm - 2 * otus.einsum("ijk,ir,jr,kr->", tensor, a, b, c)
    loss = loss + otus.einsum("ir,is,jr,js,kr,ks->", a, a, b, b, c, c)
    together = flops(optimised([product, loss]))
    assert together - flops(optimised([product])) <= 4 * 2 * size * rank**2


@pytest.mark.parametrize(("order", "size", "rank"), [(3, 50, 20), (4, 40, 10)])
def test_gauss_newton_product_of_cp(order: int, size: int, rank: int) -> None:
    nodes = optimised(gauss_newton_products(order, size, rank))
    lower = 3 * order * size * rank + 4 * order**2 * rank**2
    assert flops(nodes) <= 8 * order * size * rank**2 + lower
    assert largest_intermediate(nodes) <= max(size * rank, rank**2)


@pytest.mark.parametrize(("order", "size", "rank"), [(3, 60, 8), (4, 20, 5)])
def test_products_of_a_tucker_sweep(order: int, size: int, rank: int) -> None:
    modes, ranks = LETTERS[:order], "abcd"[:order]
    tensor = otus.tensor("X", (size,) * order)
    old, new = factors("A", order, size, rank), factors("B", order, size, rank)
    outputs = []
    for mode in range(order):
        others = [k for k in range(order) if k != mode]
        terms = ",".join(modes[k] + ranks[k] for k in others)
        output = "".join(modes[k] if k == mode else ranks[k] for k in range(order))
        chosen = [new[k] if k < mode else old[k] for k in others]
        outputs.append(otus.einsum(f"{modes},{terms}->{output}", tensor, *chosen))
    bound = 2 * sum((order - k + 2) * size**k * rank ** (order - k + 1) for k in range(2, order + 1))
    assert flops(optimised(outputs)) <= bound


def two_site_products(sites: int, bond: int, operator_bond: int, physical: int) -> list[otus.Expression]:
    """The effective Hamiltonians of a sweep to the right, each applied to its two-site tensor."""
    size = [min(bond, physical**k, physical ** (sites - k)) for k in range(sites + 1)]
    edge = [1, *[operator_bond] * (sites - 1), 1]
    old = [otus.tensor(f"A{k}", (size[k], physical, size[k + 1])) for k in range(sites)]
    new = [otus.tensor(f"B{k}", (size[k], physical, size[k + 1])) for k in range(sites)]
    operators = [otus.tensor(f"W{k}", (edge[k], edge[k + 1], physical, physical)) for k in range(sites)]
    outputs = []
    for site in range(sites - 1):
        terms: list[Any] = []
        for k in range(sites):
            terms += [operators[k], [f"w{k}", f"w{k + 1}", f"p{k}", f"q{k}"]]
            if k not in (site, site + 1):
                tensor = (new if k < site else old)[k]
                terms += [tensor, [f"a{k}", f"p{k}", f"a{k + 1}"], tensor, [f"b{k}", f"q{k}", f"b{k + 1}"]]
        pair = otus.tensor(f"T{site}", (size[site], physical, physical, size[site + 2]))
        terms += [pair, [f"a{site}", f"p{site}", f"p{site + 1}", f"a{site + 2}"]]
        output = [f"q{site}", f"q{site + 1}"]
        output = ([f"b{site}"] if site else []) + output + ([f"b{site + 2}"] if site < sites - 2 else [])
        names: dict[str, int] = {}
        numbered = [[names.setdefault(x, len(names)) for x in y] if isinstance(y, list) else y for y in terms]
        outputs.append(otus.einsum(*numbered, [names[x] for x in output]))
    return outputs


def test_a_sweep_of_two_site_dmrg() -> None:
    sites, bond, operator_bond, physical = 14, 16, 5, 2
    nodes = optimised(two_site_products(sites, bond, operator_bond, physical))
    environment = 2 * bond**3 * operator_bond * physical + bond**2 * operator_bond**2 * physical**2
    product = 2 * bond**3 * operator_bond * physical**2 + 2 * bond**2 * operator_bond**2 * physical**3
    # The right environments are those of the sweep before, made here along with the left ones.
    assert flops(nodes) <= 2 * (sites - 1) * (2 * environment + product)
    assert largest_intermediate(nodes) < bond**4


def test_gradients_of_a_matrix_product_state() -> None:
    assert flops(optimised(norm_gradients(64))) / flops(optimised(norm_gradients(32))) <= 2.2


def test_hessian_of_logistic_regression_is_a_symmetric_product() -> None:
    points, features = 512, 64
    hessian = logistic_hessian(points, features)
    assert flops(optimised(hessian)) <= points * features**2 + 6 * points * features


def test_hessian_of_a_quadratic_form_does_not_read_its_point() -> None:
    nodes = optimised(quadratic_hessian(30))
    assert flops(nodes) == 30**2
    assert [y.op.label for y in topological(nodes) if isinstance(y.op, Input)] == ["A"]


def test_hessian_of_matrix_factorisation() -> None:
    size, rank = 128, 5
    hessian = otus.compress(otus.hessian(*factorisation_loss(size, rank)))
    assert hessian.core.shape == (rank, rank)
    assert flops(optimised(hessian.core)) <= 2 * size * rank**2


def test_gradient_of_a_residual_does_not_make_the_model() -> None:
    size, rank = 50, 4
    nodes = optimised(otus.grad(*factorisation_loss(size, rank)))
    assert flops(nodes) <= 2 * size**2 * rank + 4 * size * rank**2 + 4 * size * rank
    assert largest_intermediate(nodes) <= size * rank


def test_a_square_is_not_multiplied_out() -> None:
    """‖T − UVᵀ‖² from its parts loses all digits of a small loss."""
    nodes = optimised(factorisation_loss(50, 4)[0])
    assert largest_intermediate(nodes) == 50**2


def test_an_index_on_three_tensors() -> None:
    size = 500
    nodes = optimised(triple_index(size))
    assert largest_intermediate(nodes) <= size**2


def test_gradients_of_twelve_transformer_blocks() -> None:
    """Nothing larger than the largest activation of one head times the heads; work grows with the blocks."""
    tokens, width, heads = 32, 64, 4
    nodes = optimised(transformer(12, tokens, width, heads))
    assert largest_intermediate(nodes) <= tokens * max(width, tokens) * heads
    few, some = (
        flops(optimised(transformer(3, tokens, width, heads))),
        flops(optimised(transformer(6, tokens, width, heads))),
    )
    assert flops(nodes) - some <= 2.01 * (some - few)


def test_a_smaller_part_of_what_is_made_may_be_the_better_one() -> None:
    """``A·U·Vᵀ`` is made, but ``A·U·VᵀV`` is best taken from the ``A·U`` in it."""
    size, rank = 100, 8
    a, u, v = otus.tensor("A", (size, size)), otus.tensor("U", (size, rank)), otus.tensor("V", (size, rank))
    nodes = optimised([otus.einsum("ab,bc,dc->ad", a, u, v), otus.einsum("ab,bc,dc,de->ae", a, u, v, v)])
    assert flops(nodes) <= 4 * size**2 * rank + size * rank * (rank + 1) + 2 * size * rank**2


def test_a_sum_of_products_beside_its_products_with_thin_matrices() -> None:
    """``AX + XB`` for ``X = UVᵀ``, and it times U and V: they go through r × r matrices, not through the sum."""
    size, rank = 100, 8
    a, b = (otus.tensor(name, (size, size)) for name in "AB")
    u, v = (otus.tensor(name, (size, rank)) for name in "UV")
    x = u @ v.T
    total = a @ x + x @ b
    nodes = optimised([total, u.T @ total, total @ v])
    lower = 2 * size * rank * (rank + 1) + 6 * 2 * size * rank**2 + 2 * size * rank
    assert flops(nodes) <= 4 * 2 * size**2 * rank + size**2 + lower


def test_a_factor_that_the_cheapest_orders_hide() -> None:
    """``A·B·C + A·D`` with thin B and C: ``A·(B·C + D)``, though ``(A·B)·C`` is the cheapest order of the first."""
    size, rank = 64, 8
    a, d = (otus.tensor(name, (size, size)) for name in "AD")
    b, c = otus.tensor("B", (size, rank)), otus.tensor("C", (rank, size))
    assert flops(optimised(a @ b @ c + a @ d)) <= 2 * size**3 + 2 * size**2 * rank + size**2
    # Where the product without the factor is needed anyhow, or the factor saves nothing, nothing changes.
    alone = flops(optimised([a @ b @ c, a @ d]))
    assert flops(optimised([a @ b @ c + a @ d, a @ b])) <= alone + size**2
    assert flops(optimised(a @ b @ c + b @ c @ a)) <= 2 * 4 * size**2 * rank + size**2


def gaussian_process(points: int) -> tuple[otus.Expression, otus.Expression]:
    """The marginal likelihood of a squared-exponential kernel with noise, and its parameters."""
    places, values = otus.tensor("x", (points, 3)), otus.tensor("y", (points,))
    parameters = otus.tensor("p", (3,))
    scale = otus.exp(parameters)
    distances = ((places[:, None] - places[None]) ** 2).sum(2)
    kernel = scale[1] * otus.exp(-0.5 * distances / scale[0]) + scale[2] * otus.eye(points)
    return 0.5 * values @ otus.solve(kernel, values) + 0.5 * otus.logdet(kernel), parameters


def test_gradient_of_a_gaussian_process_factors_its_kernel_once() -> None:
    n = 500
    loss, parameters = gaussian_process(n)
    nodes = optimised(otus.grad(loss, parameters))
    factored = [x.op.name for x in topological(nodes) if x.op.name in ("solve", "inv", "slogdet", "cholesky")]
    assert factored == ["solve"]
    assert flops(nodes) <= 8 * n**3 / 3 + 40 * n**2


def test_likelihood_and_gradient_of_a_gaussian_process() -> None:
    n = 500
    loss, parameters = gaussian_process(n)
    nodes = optimised([loss, otus.grad(loss, parameters)])
    assert flops(nodes) <= 10 * n**3 / 3 + 40 * n**2


def test_a_kernel_that_is_not_known_to_be_symmetric_is_factored_once_too() -> None:
    n = 500
    kernel, values = otus.tensor("K", (n, n)), otus.tensor("y", (n,))
    loss = values @ otus.solve(kernel, values) + otus.logdet(kernel)
    nodes = optimised(otus.grad(loss, [kernel, values]))
    assert sum(x.op.name in ("solve", "inv", "slogdet") for x in topological(nodes)) == 1
    assert flops(nodes) <= 8 * n**3 / 3 + 20 * n**2


def test_hessian_of_logsumexp_is_one_pass_over_the_result() -> None:
    x = otus.tensor("x", (2048,))
    nodes = optimised(otus.hessian(otus.logsumexp(x), x))
    assert flops(nodes) <= 2048**2 + 10 * 2048


def test_log_determinant_of_a_matrix_declared_positive_definite_is_a_cholesky_factorisation() -> None:
    matrix = otus.tensor("K", (500, 500), positive_definite=True)
    assert flops(optimised(otus.logdet(matrix))) <= 500**3 / 3 + 10 * 500
