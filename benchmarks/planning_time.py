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

from .programs import cp_hessian, energy_and_gradients, transformer

PROGRAMS: dict[str, tuple[Callable[[int], list[otus.Expression]], Sequence[int]]] = {
    "Hessian of CP, order": (lambda order: cp_hessian(order, 30, 8), (3, 4)),
    "matrix product state with all gradients, sites": (energy_and_gradients, (10, 20, 40)),
    "transformer with all gradients, blocks": (lambda blocks: transformer(blocks, 64, 128, 4), (3, 6, 12, 24)),
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
