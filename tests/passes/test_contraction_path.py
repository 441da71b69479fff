"""Contraction orders: the exact optimum for a few tensors, good and repeatable orders for hundreds."""

from __future__ import annotations

import concurrent.futures
import functools
import itertools
import math
import random
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import opt_einsum
import pytest

from otus.ir import OtusError
from otus.passes.contraction import path as contraction_path
from otus.passes.contraction.exact import cheapest_merges
from otus.passes.contraction.measure import MEASURES
from otus.passes.contraction.network import Network, merges_of, path_of
from otus.passes.contraction.path import find_path, path_cost, path_in_place
from otus.passes.contraction.tree import Tree

Labels = tuple[int, ...]
Case = tuple[list[Labels], Labels, dict[int, int]]


def network(count: int, seed: int, extents: tuple[int, ...] = (1, 2, 3, 7, 20)) -> Case:
    """Tensors with indices on two, three and more of them, scalars, repeated operands, and a batch index at times."""
    chooser = random.Random(seed)
    inputs: list[list[int]] = [[] for _ in range(count)]
    labels = range(max(2, count + chooser.randint(-1, 2)))
    for label in labels:
        for tensor in chooser.sample(range(count), min(count, chooser.choice((2, 2, 2, 3, 4)))):
            inputs[tensor].append(label)
    if chooser.random() < 0.3:
        inputs[-1] = list(inputs[0])
    used = [x for terms in inputs for x in terms]
    output = [x for x in labels if x in used and (used.count(x) == 1 or chooser.random() < 0.2)]
    return [tuple(x) for x in inputs], tuple(output), {x: chooser.choice(extents) for x in labels}


# --- every binary tree, from the definition ----------------------------------------------------

Node = int | tuple["Node", "Node"]


def trees(leaves: tuple[int, ...]) -> Iterator[Node]:
    if len(leaves) == 1:
        yield leaves[0]
        return
    first, rest = leaves[0], leaves[1:]
    for size in range(len(rest)):
        for beside in itertools.combinations(rest, size):
            other = tuple(x for x in rest if x not in beside)
            yield from itertools.product(trees((first, *beside)), trees(other))


def definition(tree: Node, case: Case) -> tuple[int, int]:
    """Operations, and elements of the largest product."""
    inputs, output, sizes = case
    flops, largest = 0, 0

    def visit(node: Node) -> tuple[set[int], set[int]]:
        nonlocal flops, largest
        if isinstance(node, int):
            return set(inputs[node]), {node}
        (left, some), (right, others) = map(visit, node)
        leaves = some | others
        joined = left | right
        kept = {x for x in joined if x in output or any(x in inputs[k] for k in range(len(inputs)) if k not in leaves)}
        flops += (1 if kept == joined else 2) * math.prod(sizes[x] for x in joined)
        largest = max(largest, math.prod(sizes[x] for x in kept))
        return kept, leaves

    visit(tree)
    return flops, largest


@functools.cache
def all_costs(count: int, seed: int) -> list[tuple[int, int]]:
    case = network(count, seed)
    return [definition(tree, case) for tree in trees(tuple(range(count)))]


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_the_fewest_operations_of_all_binary_trees(count: int) -> None:
    for seed in range(12 if count == 6 else 40):
        inputs, output, sizes = network(count, seed)
        path = find_path(inputs, output, sizes, minimize="flops")
        assert path_cost(path, inputs, output, sizes).flops == min(flops for flops, _ in all_costs(count, seed)), seed


@pytest.mark.parametrize("name", ["flops", "time"])
def test_the_cheapest_of_all_trees_by_either_measure(name: str) -> None:
    """By the measure's scalar form; the search evaluates arrays of logarithms."""
    for seed in range(20):
        inputs, output, sizes = network(4, seed)
        graph = Network.of(inputs, output, sizes)
        best = Tree(graph, cheapest_merges(graph, graph.terms, graph.output, MEASURES[name]), MEASURES[name]).cost
        paths = itertools.product(*(itertools.combinations(range(left), 2) for left in (4, 3, 2)))
        costs = [Tree(graph, merges_of(path, 4), MEASURES[name]).cost for path in paths]
        assert best == pytest.approx(min(costs), rel=1e-9)


def test_values_along_a_path() -> None:
    for seed in range(30):
        inputs, output, sizes = network(7, seed, (1, 2, 3))
        rng = np.random.default_rng(seed)
        arrays = [rng.standard_normal([sizes[x] for x in labels]) for labels in inputs]
        operands = [x for pair in zip(arrays, inputs, strict=True) for x in pair]
        expected = np.einsum(*operands, output)
        left = list(zip(arrays, inputs, strict=True))
        for first, second in find_path(inputs, output, sizes):
            (a, x), (b, y) = left[first], left.pop(second)
            rest = {label for k, (_, labels) in enumerate(left) if k != first for label in labels}
            kept = tuple(label for label in dict.fromkeys((*x, *y)) if label in rest or label in output)
            left[first] = np.einsum(a, x, b, y, kept), kept
        assert len(left) == 1
        np.testing.assert_allclose(np.einsum(left[0][0], left[0][1], output), expected, rtol=1e-10, atol=1e-10)


def test_cost_of_a_path_is_the_definition() -> None:
    for seed in range(30):
        case = network(5, seed)
        for tree in itertools.islice(trees(tuple(range(5))), 0, None, 7):
            merges: list[tuple[int, int]] = []

            def number(node: Node, merges: list[tuple[int, int]] = merges) -> int:
                if isinstance(node, int):
                    return node
                pair = number(node[0]), number(node[1])
                merges.append(pair)
                return 4 + len(merges)

            number(tree)
            cost = path_cost(path_of(merges, 5), *case)
            assert (cost.flops, cost.largest) == definition(tree, case)


# --- beyond a dozen tensors --------------------------------------------------------------------


def test_the_search_finds_the_optimum_where_it_is_known() -> None:
    ratios = []
    for seed in range(6):
        inputs, output, sizes = network(13, seed, (2, 3, 4))
        found, best = (
            path_cost(find_path(inputs, output, sizes, name, minimize="flops"), inputs, output, sizes).flops
            for name in ("auto", "optimal")
        )
        ratios.append(found / best)
    assert max(ratios) <= 1.05
    assert min(ratios) >= 1


@pytest.mark.parametrize("count", [20, 40])
def test_no_worse_than_opt_einsum(count: int) -> None:
    for seed in range(2):
        case = network(count, seed, (2, 3))
        ours = path_cost(find_path(*case, minimize="flops"), *case).flops
        assert ours <= path_cost(find_path(*case, "random-greedy"), *case).flops
        assert ours <= path_cost(find_path(*case, "greedy"), *case).flops


def test_three_hundred_tensors() -> None:
    """Far more indices than letters."""
    case = network(300, 0, (2, 3))
    path = find_path(*case)
    assert len(path) == 299
    terms = [frozenset(map(opt_einsum.get_symbol, labels)) for labels in case[0]]
    sizes = {opt_einsum.get_symbol(label): size for label, size in case[2].items()}
    greedy = opt_einsum.paths.greedy(terms, frozenset(map(opt_einsum.get_symbol, case[1])), sizes)
    assert path_cost(path, *case).flops < path_cost(path_in_place(greedy, 300), *case).flops / 10


def test_a_chain_of_two_hundred_matrices() -> None:
    inputs = [(k, k + 1) for k in range(200)]
    sizes = dict.fromkeys(range(201), 10) | {0: 1}
    cost = path_cost(find_path(inputs, (0, 200), sizes), inputs, (0, 200), sizes)
    assert cost.flops == 199 * 2 * 100


# --- sizes and shapes at the edge --------------------------------------------------------------


def test_an_index_on_three_tensors() -> None:
    inputs, output = [(0, 1), (1, 2), (2, 3), (1, 2)], (0, 3)
    sizes = dict.fromkeys(range(4), 500)
    cost = path_cost(find_path(inputs, output, sizes), inputs, output, sizes)
    assert cost.largest == 250_000
    assert cost.flops == 4 * 500**3 + 500**2


@pytest.mark.parametrize("count", [1, 2, 3, 9, 20])
@pytest.mark.parametrize("size", [0, 1, 2, 10**60])
def test_any_size(count: int, size: int) -> None:
    """10**60 to the power of the indices is far beyond a float."""
    inputs, output, sizes = network(count, 3)
    path = find_path(inputs, output, dict.fromkeys(sizes, size))
    assert len(path) == count - 1
    assert path_cost(path, inputs, output, dict.fromkeys(sizes, size)).flops >= 0


def test_sizes_beyond_floats_are_still_compared() -> None:
    """A matrix chain, whose best order starts at the thin end."""
    for count in (6, 30):
        inputs = [(k, k + 1) for k in range(count)]
        sizes = dict.fromkeys(range(count + 1), 10**200) | {0: 1}
        cost = path_cost(find_path(inputs, (0, count), sizes), inputs, (0, count), sizes)
        assert cost.flops == 2 * (count - 1) * 10**400


@pytest.mark.parametrize("count", [5, 40])
def test_scalars_and_parts_that_share_nothing(count: int) -> None:
    inputs: list[Labels] = [(), *((k // 2,) for k in range(count - 2)), ()]
    sizes = dict.fromkeys(range(count), 5)
    path = find_path(inputs, (), sizes)
    assert len(path) == count - 1
    parts = math.ceil((count - 2) / 2)
    assert path_cost(path, inputs, (), sizes).flops <= 5 * 2 * parts + count


def test_one_index_on_hundreds_of_tensors() -> None:
    inputs: list[Labels] = [(0,)] * 200 + [(0, 1), (1,)]
    sizes = {0: 10, 1: 10}
    assert path_cost(find_path(inputs, (), sizes), inputs, (), sizes).flops <= 200 * 10 + 2 * 100 + 100
    assert len(find_path([(0, k) for k in range(1, 60)] * 2, (0,), dict.fromkeys(range(60), 3))) == 117


# --- promises ----------------------------------------------------------------------------------

_PLAN = """
import random, sys
from otus.passes.contraction.path import find_path
chooser = random.Random(1)
inputs = [[] for _ in range(60)]
for label in range(90):
    for tensor in chooser.sample(range(60), chooser.choice((2, 2, 3))):
        inputs[tensor].append(label)
print(find_path([tuple(x) for x in inputs], (0, 1), {k: 2 + k % 3 for k in range(90)}))
print([name for name in ("opt_einsum", "cotengra", "optuna") if name in sys.modules])
"""


def test_the_same_path_in_every_process_and_no_library_loaded() -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-c", _PLAN], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert outputs[0].splitlines()[1] == "[]"


def test_the_global_generator_is_left_alone() -> None:
    case = network(30, 5)
    random.seed(7)
    expected = random.Random(7).random()
    find_path(*case)
    find_path(*case, "random-greedy")
    assert random.random() == expected


def test_paths_are_shared_between_renamed_products() -> None:
    inputs, output, sizes = network(8, 11)
    path = find_path(inputs, output, sizes)
    renamed = [tuple(70 - x for x in labels) for labels in inputs]
    again = find_path(renamed, tuple(70 - x for x in reversed(output)), {70 - x: size for x, size in sizes.items()})
    assert again is path
    assert contraction_path._planned.cache_info().maxsize is not None
    assert find_path(inputs, output, sizes | {inputs[1][0]: 1000}) is not path


def test_plans_from_many_threads_agree() -> None:
    cases = [network(count, 21) for count in (9, 15, 20)] * 4
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda case: find_path(*case), cases))
    assert paths == [find_path(*case) for case in cases]


def test_time_costs_few_operations_more() -> None:
    """An order is never taken for the sake of bytes where it has over 5 % more operations."""
    differ = 0
    for seed in range(60):
        case = network(7, seed)
        fewest, fastest = (path_cost(find_path(*case, minimize=name), *case) for name in ("flops", "time"))
        assert fewest.flops <= fastest.flops <= 1.05 * fewest.flops
        differ += fewest != fastest
    assert differ > 0


def test_unknown_names() -> None:
    inputs: list[Labels] = [(0, 1), (1, 2), (2, 3)]
    sizes = dict.fromkeys(range(4), 2)
    with pytest.raises(OtusError, match=r"^unknown contraction optimizer 'greed'; did you mean 'greedy'\?$"):
        find_path(inputs, (0, 3), sizes, "greed")
    with pytest.raises(OtusError, match=r"^unknown measure 'tim' of a contraction order; did you mean 'time'\?$"):
        find_path(inputs, (0, 3), sizes, minimize="tim")
    with pytest.raises(OtusError, match=r"tries every order of at most 14 tensors, and here are 15; 'auto' searches"):
        find_path(*network(15, 0), "optimal")


@pytest.mark.parametrize("optimizer", ["dp", "greedy", "random-greedy", "cotengra"])
def test_searches_of_libraries(optimizer: str) -> None:
    if optimizer == "cotengra":
        pytest.importorskip("cotengra")
    for count in (6, 20):
        case = network(count, 2, (2, 3))
        path = find_path(*case, optimizer)
        assert len(path) == count - 1
        assert path_cost(path, *case).flops >= 0.9 * path_cost(find_path(*case, minimize="flops"), *case).flops
