"""The contraction order: right on every einsum, cheap on the ones that are known to be hard."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import numpy as np
import pytest
from programs import leaf

from otus.ir import Graph, Node, OtusError, build, cost, dump, verify
from otus.ir.operations import Delta, Einsum
from otus.passes.contract import ContractionOrder
from otus.passes.contraction.einsum_parts import is_pairwise
from otus.passes.contraction.path import find_path, path_cost
from otus.passes.manager import graph_text
from otus.runtime.reference import evaluate


def ordered(node: Node, optimizer: str = "auto", **sizes: int) -> Graph:
    graph = ContractionOrder(optimizer, sizes=sizes).run(Graph.of([node]))
    verify(graph)
    for each in graph.nodes():
        if isinstance(each.op, Einsum):
            assert is_pairwise(each.op, each.operands), dump(graph.outputs)
    assert ContractionOrder(optimizer, sizes=sizes).run(graph).outputs == graph.outputs
    return graph


def flops(node: Node, **sizes: int) -> int:
    return cost(ordered(node, **sizes).outputs)(sizes).flops


def largest(graph: Graph, **sizes: int) -> int:
    return max(
        int(np.prod([int(str(n)) if str(n).isdigit() else sizes[str(n)] for n in x.type.shape])) for x in graph.nodes()
    )


def test_random_einsums_keep_their_value() -> None:
    chooser = random.Random(0)
    sizes = [2, 3, 4, 2, 5, 1]
    for trial in range(500):
        nodes, inputs = [], []
        for position in range(chooser.randint(1, 6)):
            if chooser.random() < 0.3:
                first = chooser.randrange(6)
                second = chooser.choice([k for k in range(6) if sizes[k] == sizes[first]])
                nodes.append(build.delta(sizes[first], leaf("x").type.dtype))
                inputs.append((first, second))
            else:
                labels = tuple(chooser.randrange(6) for _ in range(chooser.randint(0, 3)))
                nodes.append(leaf(f"T{position}", *(sizes[k] for k in labels)))
                inputs.append(labels)
        used = sorted({k for labels in inputs for k in labels})
        output = chooser.sample(used, chooser.randint(0, len(used)))
        node = build.einsum(nodes, inputs, output)
        graph = ordered(node)
        rng = np.random.default_rng(trial)
        values = {f"T{k}": rng.standard_normal([sizes[x] for x in labels]) for k, labels in enumerate(inputs)}
        np.testing.assert_allclose(
            evaluate(graph.outputs, values)[0], evaluate([node], values)[0], rtol=1e-9, atol=1e-9
        )


def test_an_index_on_three_tensors_is_planned_exactly() -> None:
    """opt_einsum's exhaustive search makes a 500³ intermediate here."""
    I, J, K, L = (leaf(name, 500, 500) for name in "IJKL")
    node = build.einsum([I, J, K, L], [(0, 1), (1, 2), (2, 3), (1, 2)], (0, 3))
    graph = ordered(node)
    assert largest(graph) == 250_000
    assert cost(graph.outputs)().flops == 4 * 500**3 + 500**2


def exhaustive_flops(inputs: Sequence[tuple[int, ...]], output: tuple[int, ...], sizes: dict[int, int]) -> int:
    """The cheapest of all orders, by trying every one."""
    best = None
    stack = [((), tuple(inputs))]
    while stack:
        path, left = stack.pop()
        if len(left) == 1:
            total = path_cost(path, inputs, output, sizes).flops
            best = total if best is None else min(best, total)
            continue
        for first, second in itertools.combinations(range(len(left)), 2):
            kept = tuple(set(left[first]) | set(left[second]))
            rest = [x for k, x in enumerate(left) if k not in (first, second)]
            rest.insert(first, kept)
            stack.append(((*path, (first, second)), tuple(rest)))
    assert best is not None
    return best


def test_small_products_are_planned_within_a_tenth_of_the_best() -> None:
    chooser = random.Random(4)
    for _ in range(60):
        count = chooser.randint(3, 5)
        while True:
            inputs = [tuple(sorted(chooser.sample(range(5), chooser.randint(1, 3)))) for _ in range(count)]
            output = tuple(sorted(chooser.sample(range(5), 2)))
            used = [x for labels in inputs for x in labels]
            if all(used.count(x) > 1 or x in output for x in used) and set(output) <= set(used):
                break
        sizes = {k: chooser.choice([2, 3, 10, 30]) for k in range(5)}
        path = find_path(inputs, output, sizes)
        assert path_cost(path, inputs, output, sizes).flops <= 1.1 * exhaustive_flops(inputs, output, sizes)


def test_sizes_decide() -> None:
    A, B, C = leaf("A", "i", "j"), leaf("B", "j", "k"), leaf("C", "k", "l")
    node = build.einsum([A, B, C], [(0, 1), (1, 2), (2, 3)], (0, 3))
    assert flops(node, i=1, j=100, k=100, l=100) == 2 * (100 * 100 + 100 * 100)
    assert flops(node, i=100, j=100, k=100, l=1) == 2 * (100 * 100 + 100 * 100)


def test_what_one_operand_alone_has_is_summed_out_first() -> None:
    A, b = leaf("A", "i", "j", "j"), leaf("b", "k")
    text = dump(ordered(build.einsum([A, b], [(0, 1, 1), (2,)], (2,))).outputs)
    assert 'einsum "ijj->"' in text
    assert 'einsum "k,->k" %b' in text


def test_scalar_factors_go_where_they_cost_least() -> None:
    A, B, s = leaf("A", 100, 100), leaf("B", 100, 100), leaf("s")
    v = leaf("v", 100)
    assert cost(ordered(build.einsum([A, B, s], [(0, 1), (1, 2), ()], (0, 2))).outputs)().flops == 2 * 10**6 + 10**4
    assert cost(ordered(build.einsum([A, v, s], [(0, 1), (1,), ()], (0,))).outputs)().flops == 2 * 10**4 + 100
    assert cost(ordered(build.einsum([A, B, s], [(0, 1), (0, 1), ()], ())).outputs)().flops == 2 * 10**4 + 1


def test_deltas_are_never_made_where_an_index_is_summed() -> None:
    A, x = leaf("A", "i", "j"), leaf("x", "j")
    d = build.delta(x.type.shape[0], x.type.dtype)
    for node in (
        build.einsum([A, d, x], [(0, 1), (1, 2), (2,)], (0,)),
        build.einsum([d], [(0, 1)], ()),
        build.einsum([d, x], [(0, 1), (1,)], (0,)),
        build.einsum([d, d, A], [(0, 1), (1, 2), (3, 0)], (3, 2)),
    ):
        graph = ordered(node)
        assert not any(isinstance(each.op, Delta) for each in graph.nodes())


def test_diagonals_that_stay_are_embedded_last() -> None:
    A, B = leaf("A", "i", "r"), leaf("B", "i", "s")
    d = build.delta(A.type.shape[0], A.type.dtype)
    node = build.einsum([A, B, d], [(0, 1), (0, 2), (0, 3)], (0, 1, 3, 2))
    lines = dump(ordered(node).outputs).splitlines()
    assert 'einsum "irs,ia->iras"' in lines[-2] or 'einsum "irs,ia->iras"' in lines[-3]


def test_equal_products_of_two_outputs_are_shared() -> None:
    X, A, B, C = leaf("X", "i", "j", "k"), leaf("A", "i", "r"), leaf("B", "j", "r"), leaf("C", "k", "r")
    loss = build.einsum([X, A, B, C], [(0, 1, 2), (0, 3), (1, 3), (2, 3)], ())
    gradient = build.einsum([X, B, C], [(0, 1, 2), (1, 3), (2, 3)], (0, 3))
    graph = ContractionOrder().run(Graph.of([loss, gradient]))
    assert len([x for x in graph.nodes() if isinstance(x.op, Einsum)]) == 3


def test_labels_and_origins_survive() -> None:
    A, B, C = (leaf(name, 3, 3) for name in "ABC")
    node = build.einsum([A, B, C], [(0, 1), (1, 2), (2, 3)], (0, 3))
    graph = ContractionOrder().run(Graph((node,), ("y",), {node: "chain"}))
    assert graph.labels[graph.outputs[0]] == "chain"
    assert all(graph.origin(x) is node for x in graph.nodes() if isinstance(x.op, Einsum))


def test_more_than_52_indices() -> None:
    ring = [leaf(f"M{k}", f"a{k}", f"a{k + 1}", f"b{k}") for k in range(30)]
    ends = [(k, k + 1, 100 + k) for k in range(30)]
    vectors = [leaf(f"v{k}", f"b{k}") for k in range(30)]
    node = build.einsum([*ring, *vectors], [*ends, *((100 + k,) for k in range(30))], (0, 30))
    values = {f"M{k}": np.eye(2)[:, :, None] for k in range(30)} | {f"v{k}": np.ones(1) for k in range(30)}
    np.testing.assert_array_equal(evaluate(ordered(node).outputs, values)[0], np.eye(2))


def test_plans_are_deterministic_and_leave_the_random_state_alone() -> None:
    chooser = random.Random(5)
    terms = [tuple(sorted(chooser.sample(range(14), 3))) for _ in range(24)]
    nodes = [leaf(f"T{k}", *(f"n{x}" for x in labels)) for k, labels in enumerate(terms)]
    random.seed(7)
    state = random.getstate()
    node = build.einsum(nodes, terms, ())
    first = graph_text(ordered(node))
    assert random.getstate() == state
    random.seed(8)
    assert graph_text(ordered(node)) == first


def test_an_unknown_optimizer() -> None:
    A = leaf("A", 2, 2)
    node = build.einsum([A, A, A], [(0, 1), (1, 2), (2, 3)], (0, 3))
    with pytest.raises(OtusError, match=r"unknown contraction optimizer 'gredy'; did you mean 'greedy'\?"):
        ordered(node, "gredy")
