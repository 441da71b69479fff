"""Explanations: steps that add up, differences with clear names, costs as text."""

from __future__ import annotations

import pytest

import otus
from otus.ir import Graph
from otus.ir.dims import dim
from otus.passes import SIMPLIFY_RULES
from otus.passes.rule_descriptions import _STEPS, describe_rule
from otus.passes.stabilise import SCALAR_PATTERNS
from otus.runtime.explanation import explain
from otus.runtime.graph_difference import EQUAL, difference
from otus.runtime.plan_steps import plan_steps
from otus.runtime.quantities import change_text, human_count, leading_terms

A, B, x = otus.tensor("A", ("i", "j")), otus.tensor("B", ("j", "k")), otus.tensor("x", ("n",))


def test_the_steps_are_all_the_work_there_is() -> None:
    loss = otus.exp(A @ B).sum()
    function = otus.compile([loss, otus.grad(loss, A), otus.grad(loss, B)])
    total = sum((step.flops for step in plan_steps(function.program)), 0)
    assert total == function.cost.work


def test_a_factorisation_is_charged_once() -> None:
    u, s, vh = otus.svd(A)
    steps = plan_steps(otus.compile([u, s, vh]).program)
    assert [str(step.flops) for step in steps if step.flops != 0] == ["14*i*j*min(i, j)"]


def test_an_explanation_without_passes() -> None:
    plan = otus.compile(otus.exp(x), pipeline="").plan_for(n=10)
    assert plan.program is not None
    found = explain(plan.report, plan.graph, plan.program, {"n": 10}, ["x", "y"])
    assert (found.passes, found.starts_expanded, found.unread, found.largest) == ((), True, ("y",), None)
    assert found.initial is found.final
    assert found.planned_peak == 160


def test_a_name_stands_for_one_operation_on_each_side() -> None:
    old, new = otus.exp(x), otus.sin(x)
    before = Graph((old.node, (old + 1).node), ("y", "z"), {old.node: "y"})
    after = Graph((new.node, (new + 1).node), ("y", "z"), {new.node: "y"})
    lines = [f"{each.mark} {each.text}" for each in difference(before, after).lines if each.mark != EQUAL]
    made = [line.partition(":")[0] for line in lines if "return" not in line]
    assert {"- %y", "+ %y"} <= set(made)
    assert len(set(made)) == len(made) == 4
    assert len({name[2:] for name in made}) == 3, "only y stands for another operation on either side"


def test_equal_graphs_do_not_differ() -> None:
    graph = Graph.of([otus.exp(x).node])
    found = difference(graph, graph)
    assert found.is_empty
    assert found.same_values
    assert (found.equal, found.removed, found.added) == (2, 0, 0)


def test_every_rule_is_described() -> None:
    for name in (*SCALAR_PATTERNS, *(rule.name for rule in SIMPLIFY_RULES), *_STEPS):
        assert describe_rule(name), name
    assert describe_rule("no_such_rule") == ""


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0"),
        (dim("i"), "i"),
        (dim("i") - dim("j"), "i - j"),
        (-1 * dim("i"), "-i"),
        (-2 * dim("i") * dim("i") + dim("i"), "-2·i² + …"),
        ((dim("i") + 1) * (dim("j") + 2), "i·j + …"),
        (3 * dim("n") // 4, "3/4·n"),
        (dim("a") + dim("b") + dim("c") + dim("d"), "a + b + c + …"),
    ],
)
def test_leading_terms(size: object, text: str) -> None:
    assert leading_terms(size) == text  # type: ignore[arg-type]  sizes are ints or dims


def test_counts() -> None:
    assert [human_count(n) for n in (0, 9_999, 10_000, 999_499, 999_500, 10**21)] == [
        "0", "9,999", "10 k", "999 k", "1 M", "1e+03 E",
    ]  # fmt: skip


def test_changes() -> None:
    assert [change_text(*pair) for pair in ((0, 0), (5, 0), (0, 5), (1000, 999), (999, 1000), (100, 51))] == [
        "the same", "nothing left", "5 more", "under 1 % less", "under 1 % more", "49 % less",
    ]  # fmt: skip
