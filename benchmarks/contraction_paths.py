"""Planned operations and planning time of Otus's contraction orders beside cotengra's and opt_einsum's.

``python -m benchmarks.contraction_paths --seed 0 --budget 1.0`` prints a row for every network: the best
count of operations found (two per multiply-add, one per product of elements), and for every planner its
ratio to that and the seconds that it took.  ``--budget`` is what cotengra's searches may take; Otus's
are bounded by counts.  Networks are the families below, of 8 to 300 tensors.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import random
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import opt_einsum

from otus.passes.contraction.path import Labels, Path, find_path, path_cost, path_in_place

Planner = Callable[["Case"], Path]

SIZES = (8, 12, 20, 30, 50, 100, 200, 300)
# opt_einsum's dynamic programming can take minutes beyond (137 s for one network of 20).
DYNAMIC_TERMS = 15


@dataclass(frozen=True)
class Case:
    """One product of many tensors."""

    name: str
    inputs: list[Labels]
    output: Labels
    sizes: dict[int, int]

    def flops(self, path: Path) -> int:
        return path_cost(path, self.inputs, self.output, self.sizes).flops

    def symbols(self) -> tuple[list[str], str, dict[str, int]]:
        """The same, as opt_einsum and cotengra take it."""
        letter = opt_einsum.get_symbol
        inputs = ["".join(map(letter, labels)) for labels in self.inputs]
        return inputs, "".join(map(letter, self.output)), {letter(k): size for k, size in self.sizes.items()}


# --- networks ----------------------------------------------------------------------------------


def case(name: str, inputs: Sequence[Sequence[int]], output: Sequence[int], sizes: Mapping[int, int]) -> Case:
    """The case, without the indices that one tensor alone has: Otus sums those out beforehand."""
    flat = [label for labels in inputs for label in set(labels)]
    shared = {label for label in flat if flat.count(label) > 1 or label in output}
    return Case(name, [tuple(x for x in labels if x in shared) for labels in inputs], tuple(output), dict(sizes))


def hypergraph(count: int, seed: int) -> Case:
    """Three bonds a tensor at random; a tenth of the indices on three to five; two in the result, one of them batch."""
    chooser = random.Random(seed)
    inputs: list[list[int]] = [[] for _ in range(count)]
    label = 0
    for here in range(1, count):  # connected, and then more bonds
        for tensor in (here, chooser.randrange(here)):
            inputs[tensor].append(label)
        label += 1
    while sum(map(len, inputs)) < 3 * count:
        width = chooser.randint(3, 5) if chooser.random() < 0.1 else 2
        for tensor in chooser.sample(range(count), width):
            inputs[tensor].append(label)
        label += 1
    sizes = {k: chooser.choice((1, 2, 3, 4)) for k in range(label + 1)}
    for tensor in chooser.sample(range(count), count // 2):
        inputs[tensor].append(label)
    return case(f"hypergraph {count}", inputs, [chooser.randrange(label), label], sizes)


def regular(count: int, seed: int) -> Case:
    """A random graph with three bonds a tensor, all of size 2: an expander, the hardest there is."""
    chooser = random.Random(seed)
    stubs = [tensor for tensor in range(count) for _ in range(3)]
    chooser.shuffle(stubs)
    inputs: list[list[int]] = [[] for _ in range(count)]
    for label, (first, second) in enumerate(zip(stubs[::2], stubs[1::2], strict=False)):
        if first != second:
            inputs[first].append(label)
            inputs[second].append(label)
    return case(f"regular {count}", inputs, [], dict.fromkeys(range(len(stubs)), 2))


def lattice(count: int, seed: int) -> Case:
    """A square lattice, bonds of 2 to 4."""
    chooser = random.Random(seed)
    width = round(math.sqrt(count))
    inputs: list[list[int]] = [[] for _ in range(count)]
    label = 0
    for tensor in range(count):
        for other in (tensor + 1 if (tensor + 1) % width else count, tensor + width):
            if other < count:
                inputs[tensor].append(label)
                inputs[other].append(label)
                label += 1
    return case(f"lattice {count}", inputs, [], {k: chooser.choice((2, 3, 4)) for k in range(label)})


def factors(count: int, seed: int) -> Case:
    """What derivatives of decompositions look like: matrices and tensors on few large indices, many on one rank."""
    chooser = random.Random(seed)
    modes = list(range(max(4, count // 3)))
    ranks = [len(modes), len(modes) + 1]
    inputs = [[chooser.choice(modes), chooser.choice(ranks)] for _ in range(count - 2)]
    inputs += [chooser.sample(modes, 3) for _ in range(2)]
    sizes = {k: chooser.choice((10, 30, 50)) for k in modes} | {ranks[0]: 8, ranks[1]: 20}
    present = {label for labels in inputs for label in labels}
    return case(f"factors {count}", inputs, [x for x in (0, ranks[0]) if x in present], sizes)


FAMILIES = (hypergraph, regular, lattice, factors)

# --- planners ----------------------------------------------------------------------------------


def otus(optimizer: str) -> Planner:
    return lambda case: find_path(case.inputs, case.output, case.sizes, optimizer, minimize="flops")


def dynamic(case: Case) -> Path:
    inputs, output, sizes = case.symbols()
    search = opt_einsum.DynamicProgramming(minimize="flops", search_outer=len(inputs) <= 8)
    return path_in_place(search([*map(frozenset, inputs)], frozenset(output), sizes), len(inputs))


def random_greedy(case: Case) -> Path:
    inputs, output, sizes = case.symbols()
    search = opt_einsum.RandomGreedy(max_repeats=128, minimize="flops")
    return path_in_place(search([*map(frozenset, inputs)], frozenset(output), sizes), len(inputs))


def cotengra_best(budget: float) -> Planner:
    """The best of cotengra's searches, each with the whole budget."""
    import cotengra

    def plan(case: Case) -> Path:
        inputs, output, sizes = case.symbols()
        optimizers = [
            cotengra.HyperOptimizer(
                minimize="flops", max_time=budget, max_repeats=10**6, parallel=False, reconf_opts={}
            ),
            cotengra.RandomGreedyOptimizer(max_repeats=128, seed=0, parallel=False),
            cotengra.AutoHQOptimizer(minimize="flops", max_time=budget, parallel=False),
        ]
        paths = []
        for optimizer in optimizers:
            found = cotengra.array_contract_path(
                [*map(tuple, inputs)], tuple(output), size_dict=sizes, optimize=optimizer, cache=False
            )
            paths.append(path_in_place(found, len(inputs)))
        return min(paths, key=case.flops)

    return plan


def planners(budget: float) -> dict[str, Planner]:
    found = {"Otus": otus("auto")}
    if importlib.util.find_spec("cotengra"):
        found |= {"Otus+cotengra": otus("cotengra"), "cotengra": cotengra_best(budget)}
    return found | {"random-greedy-128": random_greedy, "dp": dynamic}


def measure(case: Case, budget: float) -> dict[str, tuple[int, float]]:
    """Operations and seconds by planner; a planner that is not for such a network is left out."""
    results = {}
    for name, planner in planners(budget).items():
        if name == "dp" and len(case.inputs) > DYNAMIC_TERMS:
            continue
        start = time.perf_counter()
        path = planner(case)
        results[name] = case.flops(path), time.perf_counter() - start
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=float, default=1.0, help="seconds for each of cotengra's searches")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--families", nargs="*", default=[family.__name__ for family in FAMILIES])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    names = list(planners(arguments.budget))
    print(f"{'network':<16}{'best flops':>11}" + "".join(f"{name:>22}" for name in names))
    for count in arguments.sizes:
        for family in FAMILIES:
            if family.__name__ not in arguments.families:
                continue
            network = family(count, arguments.seed)
            results = measure(network, arguments.budget)
            best = min(flops for flops, _ in results.values())
            row = f"{network.name:<16}{_power(best):>11}"
            for name in names:
                row += f"{_cell(*results[name], best):>22}" if name in results else f"{'':>22}"
            print(row, flush=True)


def _power(number: int) -> str:
    exponent = len(str(number)) - 1
    return f"{number / 10**exponent:.2f}e{exponent}"


def _cell(flops: int, seconds: float, best: int) -> str:
    ratio = flops / best
    return f"{ratio:.3f} {seconds:7.3f}s" if ratio < 1000 else f"10^{math.log10(ratio):.1f} {seconds:7.3f}s"


if __name__ == "__main__":
    main()
