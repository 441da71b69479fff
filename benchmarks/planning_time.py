"""How long the passes take as programs grow: ``python -m benchmarks.planning_time``.

Prints a table: for each program the nodes of the optimised graph, the seconds of all passes, and the
milliseconds a node.  Each program is planned in a fresh process, so that nothing is cached.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence

import otus
from otus.ir import Graph
from otus.passes import DEFAULT_PIPELINE, parse_pipeline


def cp_hessian(order: int) -> list[otus.Expression]:
    """Every block of the Hessian of a CP decomposition of this order."""
    letters = "ijklm"[:order]
    tensor = otus.tensor("X", (30,) * order)
    factors = [otus.tensor(f"A{k}", (30, 8)) for k in range(order)]
    model = otus.einsum(",".join(f"{x}r" for x in letters) + f"->{letters}", *factors)
    blocks = otus.hessian(((tensor - model) ** 2).sum(), factors)
    return [block for row in blocks for block in row]


def matrix_product_state(sites: int) -> list[otus.Expression]:
    """The energy of a matrix product state under a matrix product operator, and all gradients."""
    bond, operator_bond, physical = 16, 5, 2
    ends = [1, *[bond] * (sites - 1), 1]
    operator_ends = [1, *[operator_bond] * (sites - 1), 1]
    tensors = [otus.tensor(f"A{k}", (ends[k], physical, ends[k + 1])) for k in range(sites)]
    terms: list[object] = []
    for k, a in enumerate(tensors):
        operator = otus.tensor(f"W{k}", (operator_ends[k], operator_ends[k + 1], physical, physical))
        terms += [operator, [5 * k, 5 * k + 5, 5 * k + 1, 5 * k + 2]]
        terms += [a, [5 * k + 3, 5 * k + 1, 5 * k + 8], a, [5 * k + 4, 5 * k + 2, 5 * k + 9]]
    energy = otus.einsum(*terms, [])
    return [energy, *otus.grad(energy, tensors)]


def transformer(blocks: int) -> list[otus.Expression]:
    """The value of a sequence of transformer blocks and its gradient in every weight."""
    tokens, width, heads, hidden = 64, 128, 4, 256
    state = otus.tensor("x", (tokens, width))
    weights: list[otus.Expression] = []
    for block in range(blocks):
        split = (width, heads, width // heads)
        query, key, value = (otus.tensor(f"{name}{block}", split) for name in "qkv")
        out = otus.tensor(f"o{block}", (heads, width // heads, width))
        up, down = otus.tensor(f"u{block}", (width, hidden)), otus.tensor(f"d{block}", (hidden, width))
        weights += [query, key, value, out, up, down]
        q, k, v = (otus.einsum("nd,dhe->hne", state, x) for x in (query, key, value))
        scores = otus.softmax(otus.einsum("hne,hme->hnm", q, k) / (width // heads) ** 0.5, axis=-1)
        state = state + otus.einsum("hnm,hme,hed->nd", scores, v, out)
        centred = state - state.mean(axis=-1, keepdims=True)
        normal = centred / otus.sqrt(otus.var(state, axis=-1, keepdims=True) + 1e-5)
        state = state + otus.gelu(normal @ up) @ down
    loss = (state * state).sum()
    return [loss, *otus.grad(loss, weights)]


PROGRAMS: dict[str, tuple[Callable[[int], list[otus.Expression]], Sequence[int]]] = {
    "Hessian of CP, order": (cp_hessian, (3, 4)),
    "matrix product state with all gradients, sites": (matrix_product_state, (10, 20, 40)),
    "transformer with all gradients, blocks": (transformer, (3, 6, 12, 24)),
}


def measure(case: tuple[str, int]) -> tuple[int, float]:
    """Nodes of the optimised graph, and the seconds that the passes took."""
    name, size = case
    outputs = PROGRAMS[name][0](size)
    pipeline = parse_pipeline(DEFAULT_PIPELINE)
    start = time.perf_counter()
    graph, _ = pipeline.run(Graph.of([x.node for x in outputs]))
    return len(graph.nodes()), time.perf_counter() - start


def main() -> None:
    """Print the table."""
    print("| program | size | nodes | s | ms a node |")
    print("|---|---|---|---|---|")
    context = multiprocessing.get_context("spawn")
    for name, (_, sizes) in PROGRAMS.items():
        for size in sizes:
            with context.Pool(1) as pool:
                nodes, seconds = pool.apply(measure, ((name, size),))
            print(f"| {name} | {size} | {nodes} | {seconds:.2f} | {seconds / nodes * 1e3:.1f} |")


if __name__ == "__main__":
    main()
