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
from otus.ir import Node, topological
from otus.ir.operations import Input, Solve
from otus.ir.traverse import substitute

LETTERS = "ijklm"


def optimised(outputs: Any) -> list[Node]:
    found = otus.optimize(outputs)
    return [x.node for x in (found if isinstance(found, list) else [found])]


def flops(nodes: Sequence[Node]) -> int:
    return otus.cost([otus.Expression.of(x) for x in nodes])().flops


def volume(node: Node) -> int:
    return math.prod(int(str(size)) for size in node.type.shape)


def largest_intermediate(nodes: Sequence[Node]) -> int:
    return max(volume(x) for x in topological(nodes) if not isinstance(x.op, Input))


def factors(name: str, order: int, size: int, rank: int) -> list[otus.Expression]:
    return [otus.tensor(f"{name}{k}", (size, rank)) for k in range(order)]


def cp_model(matrices: Sequence[otus.Expression]) -> otus.Expression:
    modes = LETTERS[: len(matrices)]
    return otus.einsum(",".join(f"{x}r" for x in modes) + f"->{modes}", *matrices)


def cp_sweep(order: int, size: int, rank: int) -> int:
    return 2 * rank * sum((order - k + 2) * size**k for k in range(2, order + 1))


@pytest.mark.parametrize(("order", "size", "rank"), [(3, 30, 7), (3, 200, 50), (4, 50, 20)])
def test_products_of_a_cp_sweep(order: int, size: int, rank: int) -> None:
    modes = LETTERS[:order]
    tensor = otus.tensor("X", (size,) * order)
    old, new = factors("A", order, size, rank), factors("B", order, size, rank)
    outputs = []
    for mode in range(order):
        others = [k for k in range(order) if k != mode]
        terms = ",".join(f"{modes[k]}r" for k in others)
        chosen = [new[k] if k < mode else old[k] for k in others]
        outputs.append(otus.einsum(f"{modes},{terms}->{modes[mode]}r", tensor, *chosen))
    assert flops(optimised(outputs)) <= cp_sweep(order, size, rank)


def als_sweep(loss: otus.Expression, blocks: Sequence[otus.Expression]) -> list[Node]:
    """The Newton step of every block, each reading the blocks that are already new."""
    steps = [x - otus.tensorsolve(otus.hessian(loss, x), otus.grad(loss, x)) for x in blocks]
    plain = [x.node for x in otus.simplify(steps)]
    new: dict[Node, Node] = {}
    for block, step in zip(blocks, plain, strict=True):
        (new[block.node],) = substitute([step], new) if new else [step]
    return list(new.values())


def test_a_whole_sweep_of_alternating_least_squares() -> None:
    """Derived from the loss: two passes over the tensor, Gram matrices once a sweep, one R × R solve a mode."""
    size, rank = 60, 5
    tensor, blocks = otus.tensor("X", (size,) * 3), factors("A", 3, size, rank)
    loss = otus.sum((tensor - cp_model(blocks)) ** 2)
    nodes = optimised([otus.Expression.of(x) for x in als_sweep(loss, blocks)])
    assert sum(tensor.node in x.operands for x in topological(nodes)) == 2
    solves = [x.operands[0].type.shape for x in topological(nodes) if isinstance(x.op, Solve)]
    assert solves == [(rank, rank)] * 3
    # N + 2 Gram matrices are read: those of the old B and C, and of the new A and B (C's is for the next sweep).
    lower = 4 * 2 * size * rank**2 + 3 * (3 * rank**3 + 2 * size * rank**2) + 4 * size * rank
    assert flops(nodes) <= cp_sweep(3, size, rank) + lower
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
    blocks, vectors = factors("A", order, size, rank), factors("V", order, size, rank)
    nodes = optimised(otus.jtjvp(cp_model(blocks), blocks, vectors))
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
    def work(sites: int, bond: int = 8, physical: int = 2) -> int:
        ends = [1, *[bond] * (sites - 1), 1]
        tensors = [otus.tensor(f"A{k}", (ends[k], physical, ends[k + 1])) for k in range(sites)]
        lower = [x for k, a in enumerate(tensors) for x in (a, [3 * k, 3 * k + 1, 3 * k + 3])]
        upper = [x for k, a in enumerate(tensors) for x in (a, [3 * k + 1000, 3 * k + 1, 3 * k + 1003])]
        return flops(optimised(otus.grad(otus.einsum(*lower, *upper, []), tensors)))

    assert work(64) / work(32) <= 2.2


def test_hessian_of_logistic_regression_is_a_symmetric_product() -> None:
    points, features = 512, 64
    x, y = otus.tensor("X", (points, features)), otus.tensor("y", (points,))
    weights = otus.tensor("w", (features,))
    margin = x @ weights
    loss = otus.sum(otus.log(1 + otus.exp(margin)) - y * margin)
    assert flops(optimised(otus.hessian(loss, weights))) <= points * features**2 + 6 * points * features


def test_hessian_of_a_quadratic_form_does_not_read_its_point() -> None:
    x, a = otus.tensor("x", (30,)), otus.tensor("A", (30, 30))
    nodes = optimised(otus.hessian(x @ a @ x, x))
    assert flops(nodes) == 30**2
    assert [y.node for y in (a,)] == [y for y in topological(nodes) if isinstance(y.op, Input)]


def test_hessian_of_matrix_factorisation() -> None:
    size, rank = 128, 5
    target = otus.tensor("T", (size, size))
    u, v = otus.tensor("U", (size, rank)), otus.tensor("V", (size, rank))
    hessian = otus.compress(otus.hessian(otus.sum((target - u @ v.T) ** 2), u))
    assert hessian.core.shape == (rank, rank)
    assert flops(optimised(hessian.core)) <= 2 * size * rank**2


def test_gradient_of_a_residual_does_not_make_the_model() -> None:
    size, rank = 50, 4
    target = otus.tensor("T", (size, size))
    u, v = otus.tensor("U", (size, rank)), otus.tensor("V", (size, rank))
    nodes = optimised(otus.grad(otus.sum((target - u @ v.T) ** 2), u))
    assert flops(nodes) <= 2 * size**2 * rank + 4 * size * rank**2 + 4 * size * rank
    assert largest_intermediate(nodes) <= size * rank


def test_a_square_is_not_multiplied_out() -> None:
    """‖T − UVᵀ‖² from its parts loses all digits of a small loss."""
    target = otus.tensor("T", (50, 50))
    u, v = otus.tensor("U", (50, 4)), otus.tensor("V", (50, 4))
    nodes = optimised(otus.sum((target - u @ v.T) ** 2))
    assert largest_intermediate(nodes) == 50**2


def test_an_index_on_three_tensors() -> None:
    size = 500
    tensors = [otus.tensor(name, (size, size)) for name in "IJKL"]
    nodes = optimised(otus.einsum("ij,jk,kl,jk->il", *tensors))
    assert largest_intermediate(nodes) <= size**2


def transformer(blocks: int, tokens: int, width: int, heads: int) -> list[otus.Expression]:
    """The loss of a sequence of transformer blocks, and its gradient in every weight."""
    state = otus.tensor("x", (tokens, width))
    weights: list[otus.Expression] = []
    for block in range(blocks):
        split = (width, heads, width // heads)
        query, key, value = (otus.tensor(f"{name}{block}", split) for name in "qkv")
        out = otus.tensor(f"o{block}", (heads, width // heads, width))
        up, down = otus.tensor(f"u{block}", (width, 2 * width)), otus.tensor(f"d{block}", (2 * width, width))
        weights += [query, key, value, out, up, down]
        q, k, v = (otus.einsum("nd,dhe->hne", state, x) for x in (query, key, value))
        scores = otus.softmax(otus.einsum("hne,hme->hnm", q, k) / (width // heads) ** 0.5, axis=-1)
        state = state + otus.einsum("hnm,hme,hed->nd", scores, v, out)
        centred = state - state.mean(axis=-1, keepdims=True)
        normal = centred / otus.sqrt(otus.var(state, axis=-1, keepdims=True) + 1e-5)
        state = state + otus.gelu(normal @ up) @ down
    loss = (state * state).sum()
    return [loss, *otus.grad(loss, weights)]


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
