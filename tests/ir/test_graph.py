"""Nodes, traversal, verification, cost, and the graph as NetworkX sees it."""

from __future__ import annotations

import copy
import gc
import itertools
import math
import pickle
from dataclasses import replace
from typing import Any

import networkx
import numpy as np
import pytest
from evaluation import assert_round_trip

import otus
from otus.ir import (
    Graph,
    NamingError,
    Node,
    ShapeError,
    VerificationError,
    build,
    cost,
    dump,
    inputs_of,
    make,
    parse_ir,
    specialise,
    substitute,
    topological,
    verify,
)
from otus.ir import operations as ops
from otus.ir.traverse import count_uses, dependents
from otus.passes import parse_pipeline
from otus.runtime.reference import evaluate

x = otus.tensor("x", ("n",))
A = otus.tensor("A", ("m", "n"))


# --- interning -------------------------------------------------------------------------------------


def test_the_same_expression_is_the_same_object() -> None:
    assert otus.exp(A @ x) + 1 is otus.exp(A @ x) + 1
    assert otus.einsum("ij,jk->ik", A, A.T) is otus.einsum("ab,bc->ac", A, A.T)
    assert otus.einsum(A, [7, 3], x, [3], [7]) is otus.einsum("ij,j->i", A, x)
    assert x + x is 2 * x
    assert (x * 2) * 1 is x * 2
    assert otus.simplify(x.reshape(1, -1).reshape(-1)) is x
    assert otus.simplify(A.T.T) is A
    assert otus.tensor("x", ("n",)) is x
    assert otus.tensor("x", ("n",), "float32") is not x


def test_copies_and_pickles_are_the_same_object() -> None:
    y = otus.softmax(A @ x)
    assert copy.copy(y) is y
    assert copy.deepcopy({"y": y})["y"] is y
    assert pickle.loads(pickle.dumps(y)) is y
    assert pickle.loads(pickle.dumps(y.node)) is y.node


def test_nodes_are_immutable_and_collected() -> None:
    with pytest.raises(AttributeError, match="nodes are immutable; op cannot be set"):
        x.node.op = A.node.op
    from otus.ir.node import _interned

    gc.collect()
    before = len(_interned)
    y = otus.exp(x + 12345.0) * otus.tensor("only here", ("n",))
    assert len(_interned) > before
    del y
    gc.collect()
    assert len(_interned) == before


# --- traversal ---------------------------------------------------------------------------------------


def chain(length: int) -> Node:
    node = otus.tensor("x", (2,)).node
    weights = otus.tensor("w", (2,)).node
    for _ in range(length // 2):
        node = build.linear_combination([0.5, 1.0], [build.apply("sin", node), weights])
    return node


@pytest.mark.slow
def test_deep_graphs_do_not_recurse() -> None:
    """Two hundred thousand operations, one after another."""
    node = chain(200_000)
    order = topological([node])
    assert len(order) == 200_002
    places = {each: k for k, each in enumerate(order)}
    assert all(places[operand] < places[each] for each in order for operand in each.operands)
    verify(Graph.of([node]))
    assert len(inputs_of([node])) == 2
    assert parse_ir(dump(node)) is node
    assert cost([node])({}).flops == 2 * (100_000 * 1 + 100_000 * 2)


def test_deep_graphs_are_evaluated_and_pickled() -> None:
    node = chain(20_000)
    (value,) = evaluate([node], {"x": np.ones(2), "w": np.zeros(2)})
    expected = np.ones(2)
    for _ in range(10_000):
        expected = np.sin(expected) * 0.5
    np.testing.assert_array_equal(value, expected)
    assert pickle.loads(pickle.dumps(node)) is node


def test_deep_graphs_go_through_the_pipeline() -> None:
    """Gradient, passes and all; the graph stays linear in the chain."""
    node = chain(4000)
    loss = otus.Expression.of(node).sum()
    gradient = otus.grad(loss, otus.tensor("x", (2,)))
    graph, _ = parse_pipeline("expand,simplify").run(Graph.of([gradient.node]))
    assert len(graph.nodes()) < 5 * 4000


def test_shared_subexpressions_are_visited_once() -> None:
    """Doubling sixty times over: 2⁶⁰ paths, few nodes."""
    y = otus.tensor("s", ())
    for _ in range(60):
        y = otus.sin(y) * otus.cos(y)
    assert len(topological([y.node])) < 200
    assert_round_trip([y.node])
    gradient = parse_pipeline("expand,simplify").run(Graph.of([otus.grad(y, otus.tensor("s", ())).node]))[0]
    assert len(gradient.nodes()) < 2000


def test_uses_dependents_and_substitution() -> None:
    y, z = otus.sin(x), otus.tensor("z", ("n",))
    whole = (y * y + z).node
    assert count_uses([whole])[y.node] == 2
    order = topological([whole])
    assert dependents(order, [z.node]) == {z.node, whole}
    (replaced,) = substitute([whole], {y.node: z.node})
    assert replaced is (z * z + z).node


def test_specialise_replaces_sizes_and_checks_them() -> None:
    y = otus.tensor("x", ("n",))[otus.Dim("n") - 3 :].reshape(3)
    fixed = specialise([y.node], {"n": 5})[y.node]
    assert fixed is otus.tensor("x", (5,))[2:].node
    with pytest.raises(ShapeError, match="slice: position -1 is outside axis 0 of size 2"):
        specialise([y.node], {"n": 2})


# --- verification ------------------------------------------------------------------------------------


def test_verify_refuses_broken_graphs() -> None:
    node = otus.exp(x).node
    with pytest.raises(VerificationError, match="1 outputs have 2 names"):
        verify(replace(Graph.of([node]), names=("a", "b")))
    with pytest.raises(NamingError, match=r"output names \('a', 'a'\) are not distinct"):
        verify(Graph.of([node, node], ["a", "a"]))
    with pytest.raises(NamingError) as caught:
        verify(Graph.of([node, otus.tensor("x", (3,), "float32").node]))
    assert str(caught.value) == "two different tensors are called 'x': f64[n] and f32[3]; rename one of them"
    with pytest.raises(VerificationError, match="inv takes 1 operands, not 2"):
        make(ops.Inverse(), A.node, A.node)
    forged = object.__new__(Node)
    for name, value in (("op", node.op), ("operands", node.operands), ("type", A.node.type)):
        object.__setattr__(forged, name, value)
    with pytest.raises(VerificationError, match=r"map is typed f64\[m,n\], its rule says f64\[n\]"):
        verify(Graph.of([forged]))


# --- cost ----------------------------------------------------------------------------------------------

SIZED: dict[str, tuple[Any, int, int]] = {
    # what: (expression, flops, bytes)
    "matrix product": (lambda a, b, v: a @ b, 2 * 2 * 3 * 4, 8 * (6 + 12 + 8)),
    "product without sum": (lambda a, b, v: a * v, 6, 8 * (6 + 3 + 6)),
    "three at once": (lambda a, b, v: otus.einsum("ij,jk,j->ik", a, b, v), 3 * 24, 8 * (6 + 12 + 3 + 8)),
    "sum": (lambda a, b, v: a.sum(), 6, 8 * (6 + 1)),
    "exp": (lambda a, b, v: otus.exp(a), 6, 8 * 12),
    "sum of three": (lambda a, b, v: a + 2 * a * v + v, 6 + 4 * 6, None),
    "maximum": (lambda a, b, v: a.max(axis=0), 6, 8 * (6 + 3)),
    "cumsum": (lambda a, b, v: otus.cumsum(a, 1), 6, 8 * 12),
    "view": (lambda a, b, v: a.reshape(3, 2), 0, 0),
}  # fmt: skip


@pytest.mark.parametrize("what", SIZED)
def test_cost_counts_operations(what: str) -> None:
    expression, flops, traffic = SIZED[what]
    a, b, v = otus.tensor("a", (2, 3)), otus.tensor("b", (3, 4)), otus.tensor("v", (3,))
    found = cost([expression(a, b, v).node])({})
    if what != "sum of three":
        assert found.flops == flops
    if traffic is not None:
        assert found.bytes == traffic


@pytest.mark.parametrize("seed", range(20))
def test_einsum_cost_against_a_loop_that_counts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = {letter: int(rng.integers(1, 4)) for letter in "abcde"}
    terms = ["".join(rng.choice(list(sizes), int(rng.integers(0, 4)))) for _ in range(int(rng.integers(1, 4)))]
    used = sorted(set("".join(terms)))
    output = [x for x in used if rng.random() < 0.5]
    tensors = [otus.tensor(f"t{k}", [sizes[x] for x in term]) for k, term in enumerate(terms)]
    node = otus.einsum(f"{','.join(terms)}->{''.join(output)}", *tensors).node
    if not isinstance(node.op, ops.Einsum):
        return  # nothing is left to do
    counted = 0
    for _ in itertools.product(*(range(sizes[x]) for x in used)):
        counted += len(terms) - 1 + (len(output) < len(used))
    assert cost([node])({}).flops == counted


def test_cost_is_a_polynomial_and_agrees_with_its_sizes() -> None:
    B = otus.tensor("B", ("n", "k"))
    y = otus.exp(A @ B) @ otus.ones(("k",))
    symbolic = otus.cost(y)
    assert str(symbolic.flops) in ("2*k*m*n + 3*k*m", "2*k*m*n + 2*k*m + k*m")
    sized = {"m": 3, "n": 5, "k": 7}
    fixed = otus.cost(otus.Expression.of(specialise([y.node], sized)[y.node]))({})
    assert symbolic(sized) == fixed
    assert symbolic(m=3, n=5, k=7).flops == 2 * 3 * 5 * 7 + 3 * 3 * 7
    with pytest.raises(NamingError, match="dim k has no size"):
        symbolic(m=3, n=5)


def most_live(outputs: list[Node]) -> int:
    """How many nodes are live at once, counted step by step: inputs and outputs always, others until last read."""
    order = topological(outputs)
    most = 0
    for step, made in enumerate(order):
        later = {operand for each in order[step:] for operand in each.operands}
        live = {each for each in order[:step] if each in later or each in outputs} | {made}
        most = max(most, len(live | {each for each in order if isinstance(each.op, ops.Input)}))
    return most


def test_peak_is_the_most_that_is_live_at_once() -> None:
    a = otus.tensor("a", (100,))
    node = a
    for _ in range(5):
        node = otus.sin(node)
    assert cost([node.node])({}).peak_bytes == 3 * 800  # the input, and two at a time
    wide = sum((otus.sin(a * (k + 2)) for k in range(3)), start=otus.cos(a))
    assert cost([wide.node])({}).peak_bytes == 800 * most_live([wide.node])
    assert cost([wide.node, otus.sin(a).node])({}).peak_bytes == 800 * most_live([wide.node, otus.sin(a).node])
    views = a.reshape(10, 10)[::2].reshape(50)
    assert cost([views.node])({}).peak_bytes == 800


def test_shared_parts_cost_once() -> None:
    y = otus.exp(A)
    assert cost([(y * y).node, y.node])(m=2, n=3).flops == 12


# --- NetworkX ------------------------------------------------------------------------------------------


def test_to_networkx() -> None:
    y = otus.exp(A @ x) * (A @ x)
    graph = otus.to_networkx([y, x])
    assert isinstance(graph, networkx.DiGraph)
    assert networkx.is_directed_acyclic_graph(graph)
    assert len(graph) == len(topological([y.node]))
    by_operation = {data["op"]: name for name, data in graph.nodes(data=True) if data["op"] in ("map", "input")}
    assert graph.nodes["A"]["shape"] == ("m", "n")
    assert graph.nodes["x"]["output"]
    assert graph.nodes["A"]["text"] == '%A: f64[m,n] = input "A"'
    assert graph.nodes["A"]["dtype"] == "float64"
    assert graph.nodes["A"]["name"] == "A"
    product = next(name for name in graph if set(graph.predecessors(name)) == {"A", "x"})
    assert graph.edges["A", product]["operand"] == (0,)
    assert graph.edges[product, by_operation["map"]]["operand"] == (0,)
    squared = otus.to_networkx(otus.einsum("i,i->", x, x))
    ((_, _, edge),) = squared.edges(data=True)
    assert edge["operand"] == (0, 1)
    text = "\n".join(squared.nodes[name]["text"] for name in networkx.topological_sort(squared))
    assert text == dump(otus.einsum("i,i->", x, x).node).rpartition("return")[0].strip()


def test_elements_of_a_cost_text() -> None:
    from otus.ir import human_bytes

    assert [human_bytes(n) for n in (0, 1023, 1024, 1536 * 1024, 3 * 2**40, 2**60)] == [
        "0 B", "1023 B", "1 KiB", "1.5 MiB", "3 TiB", f"{2**20:.4g} TiB"
    ]  # fmt: skip
    assert math.isclose(float(human_bytes(123456789).split()[0]), 123456789 / 2**20, rel_tol=1e-3)
