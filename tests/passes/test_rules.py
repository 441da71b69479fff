"""Every rule of ``simplify`` alone: it fires on a case of its own, and values stay what they were.

*Exact* rules leave every bit (zeros may change sign); rules that reassociate leave 1e-12 relative.
A rule without a case fails the test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from evaluation import assert_close, assert_round_trip
from random_programs.comparison import otus_outputs
from random_programs.programs import random_program

import otus
from otus.ir import Graph, Node, build, inputs_of, verify
from otus.passes import SIMPLIFY_RULES, Expand
from otus.passes.rewrite import Rewriter, Rule, Status
from otus.runtime.random_data import random_array
from otus.runtime.reference import evaluate

A = otus.tensor("A", (3, 3))
B = otus.tensor("B", (2, 2))
C = otus.tensor("C", (2, 3))
V = otus.tensor("V", (3,))
W = otus.tensor("W", (3,))
H = otus.tensor("H", (3, 3), symmetric=True)
P = otus.tensor("P", (2, 3), sums_to_one=True)
S = otus.tensor("S", (3, 3), positive_definite=True)
K = otus.tensor("K", (3,), dtype="float32")


def einsum(subscripts: str, *operands: otus.Expression) -> Node:
    return otus.einsum(subscripts, *operands).node


def node(expression: otus.Expression) -> Node:
    return expression.node


def kronecker(x: otus.Expression, y: otus.Expression) -> otus.Expression:
    m, n = x.shape[0], y.shape[0]
    return otus.einsum("ij,kl->ikjl", x, y).reshape(m * n, m * n)


CASES: dict[str, Callable[[], Node]] = {
    "zero_factor": lambda: einsum("ij,jk->ik", A, otus.zeros((3, 2))),
    "symmetric_axes": lambda: einsum("ij->ji", H),
    "sum_to_one": lambda: einsum("bn,b->b", P, otus.tensor("w", (2,))),
    "drop_broadcast": lambda: einsum("ij,ij->i", C, otus.broadcast_to(V, (2, 3))),
    "eliminate_delta": lambda: einsum("ij,jk,k->i", A, otus.delta(3), V),
    "fold_number": lambda: einsum("ij,->ij", A, otus.constant(2.5)),
    "pull_out_scale": lambda: einsum("ij,j->i", 3 * A, V),
    "merge_einsum": lambda: einsum("ij,j->i", otus.einsum("ik,kj->ij", A, A), V),
    "drop_zero_term": lambda: node(A + otus.zeros((3, 3))),
    "transpose_sum": lambda: einsum("ij->ji", A + 2 * H),
    "scale_number": lambda: node(3 * otus.full((2, 3), 1.25)),
    "flatten_sum": lambda: node(2 * (V + 3 * W) - V),
    "map_of_broadcast": lambda: node(otus.exp(otus.broadcast_to(V, (2, 3)))),
    "scaled_map": lambda: build.map_node(otus.ir.scalar.parse_scalar("neg(exp(a) * 2.0)"), [V.node]),
    "linear_map": lambda: build.map_node(otus.ir.scalar.parse_scalar("2.0 * a - b"), [V.node, W.node]),
    "product_map": lambda: build.map_node(otus.ir.scalar.parse_scalar("a * b"), [V.node, W.node]),
    "merge_cast": lambda: node(K.astype("float64").astype("float32")),
    "merge_reshape": lambda: otus.ir.make(
        otus.ir.OPERATIONS["reshape"]((6,)), otus.ir.make(otus.ir.OPERATIONS["reshape"]((3, 2)), C.node)
    ),
    "unit_broadcast": lambda: otus.ir.make(otus.ir.OPERATIONS["broadcast"]((1,), (1, 3)), V.node),
    "einsum_without_units": lambda: einsum("ijk->jik", C.reshape(2, 3, 1)),
    "aligned_without_units": lambda: node(otus.exp(V.reshape(3, 1)) + 2.0),
    "solve_by_parts": lambda: node(otus.solve(kronecker(otus.delta(2), S), otus.tensor("r", (6, 2)))),
    "invert_by_parts": lambda: node(otus.inv(kronecker(3 * S, otus.tensor("Q", (2, 2), positive_definite=True)))),
    "determinant_by_parts": lambda: node(
        otus.slogdet(kronecker(S, otus.tensor("Q", (2, 2), positive_definite=True)))[1]
    ),
    "scale_out_of_solve": lambda: node(otus.solve(2 * S, 3 * A)),
    "cancel_solve": lambda: node(otus.solve(S, S @ A + H)),
}

MORE: dict[str, Sequence[Callable[[], Node]]] = {
    "eliminate_delta": (
        lambda: einsum("ii->", otus.delta(3)),
        lambda: einsum("ij,ij->", otus.delta(3), otus.delta(3)),
        lambda: einsum("ij,ij,jk->ik", otus.delta(3), A, A),
        lambda: einsum("ij,kl,jk->il", otus.delta(3), otus.delta(3), A),
        lambda: einsum("ij->i", otus.delta(3)),
        lambda: einsum("ij,j->ij", otus.delta(3), V),
        lambda: einsum("ij,jk,ki->", otus.delta(3), otus.delta(3), otus.delta(3)),
    ),
    "drop_broadcast": (
        lambda: einsum("ij->", otus.broadcast_to(V, (2, 3))),
        lambda: einsum("ij,jk->ik", otus.broadcast_to(V, (2, 3)), otus.broadcast_to(W, (3, 3))),
        lambda: einsum("ii->i", otus.broadcast_to(V, (3, 3))),
        lambda: einsum("ij->j", otus.broadcast_to(otus.constant(2.0), (2, 3))),
    ),
    "merge_einsum": (
        lambda: einsum("ij,jk->", otus.einsum("ii->i", A).reshape(1, 3), otus.einsum("i,j->ij", V, W)),
        lambda: einsum("ii->i", otus.einsum("i,j->ij", V, W)),
        lambda: einsum("ij,ij->ij", otus.einsum("ij->ji", A), otus.einsum("ik,kj->ij", A, A)),
    ),
    "symmetric_axes": (
        lambda: einsum("ij,i->j", H, V),
        lambda: einsum("ij,jk->ki", H, A),
        lambda: einsum("ii->i", H),
    ),
    "flatten_sum": (
        lambda: node((V + 1.5) + otus.broadcast_to(otus.constant(2.0), (3,))),
        lambda: node(-(V - (W - V))),
        lambda: node(A + (V - 2 * W)),
    ),
    "scale_out_of_solve": (lambda: node(otus.inv(-4 * S)), lambda: node(otus.solve(S, 0.5 * A))),
    "cancel_solve": (
        lambda: node(otus.solve(S, S @ V)),
        lambda: node(otus.solve(S, 2 * (S @ A) - A @ S)),
        lambda: node(otus.solve(2 * S, S @ A)),
    ),
    "sum_to_one": (lambda: einsum("bn->", P), lambda: einsum("bn->n", P), lambda: einsum("bn,bn->b", P, P)),
}


def data_for(outputs: Sequence[Node]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {x.op.label: random_array(x.type, {}, rng) for x in inputs_of(outputs)}


def apply(rule: Rule, graph: Graph) -> tuple[Graph, int]:
    rewriter = Rewriter([rule])
    after = rewriter.run(graph)
    return after, rewriter.fired[rule.name]


def check_values(rule: Rule, before: Graph, after: Graph) -> None:
    verify(after)
    assert_round_trip(after.outputs)
    data = data_for(before.outputs)
    for old, new in zip(evaluate(before.outputs, data), evaluate(after.outputs, data), strict=True):
        assert old.dtype == new.dtype
        if rule.status is Status.EXACT:
            np.testing.assert_array_equal(new, old, err_msg=rule.name)
        else:
            assert_close(new, old, 1e-12, 1e-12, rule.name)


RULES = {rule.name: rule for rule in SIMPLIFY_RULES}


def test_every_rule_has_a_case_a_name_and_a_description() -> None:
    assert len(RULES) == len(SIMPLIFY_RULES), "two rules of one name"
    assert set(CASES) == set(RULES)
    assert all("->" in rule.description for rule in SIMPLIFY_RULES)


@pytest.mark.parametrize("name", CASES)
def test_fires_and_preserves_values(name: str) -> None:
    before = Graph.of([CASES[name]()])
    after, fired = apply(RULES[name], before)
    assert fired > 0
    check_values(RULES[name], before, after)


@pytest.mark.parametrize(("name", "build_case"), [(name, each) for name, cases in MORE.items() for each in cases])
def test_preserves_values_on_odd_cases(name: str, build_case: Callable[[], Node]) -> None:
    before = Graph.of([build_case()])
    after, _ = apply(RULES[name], before)
    check_values(RULES[name], before, after)


@pytest.mark.parametrize("name", RULES)
def test_preserves_values_inside_derivatives_of_random_programs(name: str) -> None:
    for seed in range(25):
        outputs = otus_outputs(random_program(seed, length=4))
        leaves = [outputs["values"][-1], *outputs["gradient"], *outputs.get("hvp", [])]
        before = Expand().run(Graph.of([x.node for x in leaves]))
        after, fired = apply(RULES[name], before)
        if fired:
            _assert_close_outputs(RULES[name], before, after, seed)


def _assert_close_outputs(rule: Rule, before: Graph, after: Graph, seed: int) -> None:
    verify(after)
    data = random_program(seed, length=4).data
    for old, new in zip(evaluate(before.outputs, data), evaluate(after.outputs, data), strict=True):
        assert_close(new, old, 1e-10, 1e-11, f"{rule.name}, seed {seed}")
