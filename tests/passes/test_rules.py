"""Every rewrite rule alone: it fires on a case of its own, and values stay what they were.

*Exact* rules leave every bit (zeros may change sign); rules that reassociate leave 1e-12 relative, or what the
conditioning of the case allows.  A rule anywhere in the optimiser without a case fails the test.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import numpy as np
import pytest
from evaluation import assert_close, assert_round_trip
from random_programs.outputs import otus_outputs
from random_programs.programs import random_program
from rule_cases import CASES, ODD_CASES, Build, Tensors

import otus.passes
from otus.ir import Graph, Node, inputs_of, verify
from otus.passes import SIMPLIFY_RULES, Expand
from otus.passes.rewrite import Rewriter, Rule, Status
from otus.runtime.agreement import Sample
from otus.runtime.random_data import random_inputs
from otus.runtime.reference import evaluate

VARIANTS: dict[str, Tensors] = {
    "small": Tensors(),
    "larger": Tensors(n=4, m=5),
    "ones": Tensors(n=1, m=1),
    "float32": Tensors("float32"),
    "complex": Tensors("complex128"),
}


def _declared_rules() -> Iterator[Rule]:
    """Every rule of every module of the optimiser."""
    for module in pkgutil.walk_packages(otus.passes.__path__, "otus.passes."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, Rule):
                yield value


RULES = {rule.name: rule for rule in dict.fromkeys(_declared_rules())}


def apply(rule: Rule, graph: Graph) -> tuple[Graph, int]:
    rewriter = Rewriter([rule])
    after = rewriter.run(graph)
    return after, rewriter.fired[rule.name]


def check_values(rule: Rule, before: Node, after: Node) -> None:
    """Three draws of data; on each, the rule's status says how close the values are."""
    verify(Graph.of([after]))
    assert_round_trip([after])
    assert after.type.shape == before.type.shape
    for seed in range(3):
        data = random_inputs([before], {}, seed)
        old, new = evaluate([before, after], data)
        assert old.dtype == new.dtype
        if rule.status is Status.EXACT:
            np.testing.assert_array_equal(new, old, err_msg=rule.name)
        elif old.dtype.kind in "fc":
            sample = Sample(inputs_of([before]), data, {}, f"seed {seed}")
            assert sample.disagreement(before, after) is None, (seed, str(sample.disagreement(before, after)))
            single = old.dtype in (np.float32, np.complex64)
            assert_close(new, old, 1e-4 if single else 1e-11, 1e-4 if single else 1e-11, rule.name)
        else:
            np.testing.assert_array_equal(new, old, err_msg=rule.name)


def test_every_rule_has_a_case_a_name_and_a_description() -> None:
    assert len(RULES) == len(set(_declared_rules())), "two rules of one name"
    assert {rule.name for rule in SIMPLIFY_RULES} <= set(RULES)
    assert set(CASES) == set(RULES)
    assert set(ODD_CASES) <= set(RULES)
    assert all("->" in rule.description for rule in RULES.values())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", CASES)
def test_fires_and_preserves_values(name: str, variant: str) -> None:
    before = CASES[name](VARIANTS[variant])
    after, fired = apply(RULES[name], Graph.of([before]))
    assert fired > 0 or variant != "small"
    check_values(RULES[name], before, after.outputs[0])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("name", "build_case"), [(name, each) for name, cases in ODD_CASES.items() for each in cases])
def test_preserves_values_on_odd_cases(name: str, build_case: Build, variant: str) -> None:
    before = build_case(VARIANTS[variant])
    after, _ = apply(RULES[name], Graph.of([before]))
    check_values(RULES[name], before, after.outputs[0])


def test_a_rule_that_has_fired_fires_no_more() -> None:
    for name, build_case in CASES.items():
        after, _ = apply(RULES[name], Graph.of([build_case(Tensors())]))
        assert apply(RULES[name], after)[1] == 0, name


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
