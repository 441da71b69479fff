"""otus.check finds what is wrong, and passes what is right."""

from __future__ import annotations

import pytest

import otus
from otus.autodiff import scalar_derivatives
from otus.checking import compare_values, value_checker
from otus.ir import Graph, VerificationError
from otus.passes.manager import Application
from otus.passes.simplify import Simplify


def test_right_derivatives_pass() -> None:
    x, w = otus.tensor("X", ("n", "d")), otus.tensor("w", ("d",))
    report = otus.check(otus.softplus(x @ w).sum())
    assert report.passed
    assert {each.name for each in report.comparisons} >= {
        "optimised against reference",
        "gradient with respect to w",
        "Hessian-vector product",
        "symmetry of the Hessian",
    }
    assert report.worst.error < 1e-8


def test_a_wrong_rule_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTUS_CACHE", "0")  # what follows is compiled wrongly
    monkeypatch.setitem(scalar_derivatives.PARTIALS, "sin", lambda x, out: (out,))
    report = otus.check(otus.sin(otus.tensor("wrong_rule_x", (3,))).sum())
    assert not report.passed
    assert "FAIL gradient with respect to wrong_rule_x" in str(report)


def test_only_floating_inputs_can_be_checked() -> None:
    index = otus.tensor("index", (3,), dtype="int64")
    with pytest.raises(otus.OtusError, match="depends on no floating input"):
        otus.check(index.sum())


def test_the_value_checker_names_the_pass() -> None:
    x = otus.tensor("x", (3,))
    before, after = Graph.of([otus.sin(x).node]), Graph.of([otus.cos(x).node])
    with pytest.raises(VerificationError, match="pass simplify changed output out0"):
        compare_values(Application(Simplify(), before, after))


def test_the_value_checker_is_on_where_the_setting_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTUS_CHECK", "1")
    assert value_checker() is compare_values
    x = otus.tensor("x", ("n",))
    assert otus.compile(otus.grad(otus.logsumexp(x), x)).inputs == ("x",)
    monkeypatch.setenv("OTUS_CHECK", "0")
    assert value_checker() is None
