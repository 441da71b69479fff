"""Known programs by size, for planned costs (`planned`), planning times (`planning_time`) and their tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import otus
from otus.ir import Node
from otus.ir.traverse import substitute

LETTERS, RANKS = "ijklm", "abcde"


def factors(name: str, order: int, size: int, rank: int) -> list[otus.Expression]:
    """The factor matrices of a decomposition."""
    return [otus.tensor(f"{name}{k}", (size, rank)) for k in range(order)]


def cp_model(matrices: Sequence[otus.Expression]) -> otus.Expression:
    """The tensor that a CP decomposition stands for."""
    modes = LETTERS[: len(matrices)]
    return otus.einsum(",".join(f"{x}r" for x in modes) + f"->{modes}", *matrices)


def cp_loss(order: int, size: int, rank: int) -> tuple[otus.Expression, list[otus.Expression]]:
    """The squared distance of a CP decomposition from a tensor ``X``, and its factors."""
    matrices = factors("A", order, size, rank)
    return otus.sum((otus.tensor("X", (size,) * order) - cp_model(matrices)) ** 2), matrices


def cp_hessian(order: int, size: int, rank: int) -> list[otus.Expression]:
    """Every block of the Hessian of a CP decomposition."""
    return [block for row in otus.hessian(*cp_loss(order, size, rank)) for block in row]


def cp_products(order: int, size: int, rank: int) -> list[otus.Expression]:
    """The products with the tensor (MTTKRPs) of a sweep, each reading the factors that are already new."""
    modes = LETTERS[:order]
    tensor = otus.tensor("X", (size,) * order)
    old, new = factors("A", order, size, rank), factors("B", order, size, rank)
    outputs = []
    for mode in range(order):
        others = [k for k in range(order) if k != mode]
        terms = ",".join(f"{modes[k]}r" for k in others)
        chosen = [new[k] if k < mode else old[k] for k in others]
        outputs.append(otus.einsum(f"{modes},{terms}->{modes[mode]}r", tensor, *chosen))
    return outputs


def cp_products_flops(order: int, size: int, rank: int) -> int:
    """Two passes over the tensor, and products with what they leave."""
    return 2 * rank * sum((order - k + 2) * size**k for k in range(2, order + 1))


def alternating_updates(loss: otus.Expression, blocks: Sequence[otus.Expression]) -> list[otus.Expression]:
    """The Newton step of every block, each reading the blocks that are already new."""
    steps = otus.simplify([x - otus.tensorsolve(otus.hessian(loss, x), otus.grad(loss, x)) for x in blocks])
    new: dict[Node, Node] = {}
    for block, step in zip(blocks, steps, strict=True):
        (new[block.node],) = substitute([step.node], new) if new else [step.node]
    return [otus.Expression.of(x) for x in new.values()]


def tucker_updates(order: int, size: int, rank: int) -> list[otus.Expression]:
    """Each factor spans the leading eigenvectors of the Gram matrix of its projected unfolding; last the core."""
    tensor = otus.tensor("X", (size,) * order)
    factors = [otus.tensor(f"A{k}", (size, rank)) for k in range(order)]
    modes, ranks = LETTERS[:order], RANKS[:order]
    for mode in range(order):
        others = [k for k in range(order) if k != mode]
        terms = ",".join(modes[k] + ranks[k] for k in others)
        output = "".join(modes[k] if k == mode else ranks[k] for k in range(order))
        product = otus.einsum(f"{modes},{terms}->{output}", tensor, *(factors[k] for k in others))
        other = output.replace(modes[mode], "z")
        _, vectors = otus.eigh(otus.einsum(f"{output},{other}->{modes[mode]}z", product, product))
        factors[mode] = vectors[:, size - rank :]
    terms = ",".join(x + y for x, y in zip(modes, ranks, strict=True))
    return [*factors, otus.einsum(f"{modes},{terms}->{ranks}", tensor, *factors)]


def gauss_newton_products(order: int, size: int, rank: int) -> list[otus.Expression]:
    """JᵀJv of a CP decomposition."""
    blocks, vectors = factors("A", order, size, rank), factors("V", order, size, rank)
    return otus.jtjvp(cp_model(blocks), blocks, vectors)


def logistic_hessian(points: int, features: int) -> otus.Expression:
    """The Hessian of logistic regression, its loss written without care."""
    x, y, w = otus.tensor("X", (points, features)), otus.tensor("y", (points,)), otus.tensor("w", (features,))
    margin = x @ w
    return otus.hessian(otus.sum(otus.log(1 + otus.exp(margin)) - y * margin), w)


def quadratic_hessian(size: int) -> otus.Expression:
    """The Hessian of ``xᵀAx``."""
    x = otus.tensor("x", (size,))
    return otus.hessian(x @ otus.tensor("A", (size, size)) @ x, x)


def factorisation_loss(size: int, rank: int) -> tuple[otus.Expression, otus.Expression]:
    """``‖T − UVᵀ‖²``, and U."""
    u, v = otus.tensor("U", (size, rank)), otus.tensor("V", (size, rank))
    return otus.sum((otus.tensor("T", (size, size)) - u @ v.T) ** 2), u


def triple_index(size: int) -> otus.Expression:
    """An index on three tensors, where planning pairs of tensors by index alone goes wrong."""
    return otus.einsum("ij,jk,kl,jk->il", *(otus.tensor(name, (size, size)) for name in "IJKL"))


def matrix_product_state(sites: int, bond: int = 8, physical: int = 2) -> list[otus.Expression]:
    """The tensors of a matrix product state with open ends."""
    ends = [1, *[bond] * (sites - 1), 1]
    return [otus.tensor(f"A{k}", (ends[k], physical, ends[k + 1])) for k in range(sites)]


def norm_gradients(sites: int) -> list[otus.Expression]:
    """The gradients of the squared norm of a matrix product state with respect to all its tensors."""
    tensors = matrix_product_state(sites)
    lower = [x for k, a in enumerate(tensors) for x in (a, [3 * k, 3 * k + 1, 3 * k + 3])]
    upper = [x for k, a in enumerate(tensors) for x in (a, [3 * k + 2, 3 * k + 1, 3 * k + 5])]
    return otus.grad(otus.einsum(*lower, *upper, []), tensors)


def energy_and_gradients(sites: int) -> list[otus.Expression]:
    """The energy of a matrix product state under a matrix product operator, and all gradients."""
    bond, operator_bond, physical = 16, 5, 2
    tensors = matrix_product_state(sites, bond, physical)
    ends = [1, *[operator_bond] * (sites - 1), 1]
    terms: list[Any] = []
    for k, a in enumerate(tensors):
        operator = otus.tensor(f"W{k}", (ends[k], ends[k + 1], physical, physical))
        terms += [operator, [5 * k, 5 * k + 5, 5 * k + 1, 5 * k + 2]]
        terms += [a, [5 * k + 3, 5 * k + 1, 5 * k + 8], a, [5 * k + 4, 5 * k + 2, 5 * k + 9]]
    energy = otus.einsum(*terms, [])
    return [energy, *otus.grad(energy, tensors)]


def transformer(blocks: int, tokens: int, width: int, heads: int) -> list[otus.Expression]:
    """The value of a sequence of transformer blocks and its gradient in every weight."""
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
