"""The analysis of gaps and the pictures of scaling, at tiny sizes; times are not looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import otus
from benchmarks import gaps, scaling
from benchmarks.gradients import ROWS
from benchmarks.harness import OWN
from benchmarks.problem import OtusCall

RATES = gaps.Rates(1e9, 5e8, (1e10, 1e10, 1e9), {"exp": 1e-9, "log": 1e-9})


def test_planned_seconds_of_a_product_and_a_map() -> None:
    """By hand: 2·200·100·50 operations; an exponential of 200·50 elements, read and written."""
    a, b = otus.tensor("a", (200, 100)), otus.tensor("b", (100, 50))
    product, exponential = gaps.planned(otus.compile(otus.exp(a @ b)).program, RATES)
    assert product == {"products": pytest.approx(2e6 / 1e9)}
    assert exponential == {"passes": pytest.approx(2 * 80_000 / 1e10), "functions": pytest.approx(1e-5)}


def test_planned_seconds_of_an_inverse_and_of_a_view() -> None:
    a = otus.tensor("a", (30, 30))
    inverse, *rest = gaps.planned(otus.compile(otus.inv(a)).program, RATES)
    assert inverse == {"matrix algebra": pytest.approx(8 / 3 * 30**3 / 5e8)}
    assert not rest
    view, _ = gaps.planned(otus.compile(otus.exp(otus.reshape(a, (900,)))).program, RATES)
    assert not view


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_statement_has_a_time_and_a_plan(row: Any) -> None:
    case = row.build(*row.tiny)
    call = case.otus()
    assert isinstance(call, OtusCall)
    assert len(gaps.achieved(call)) == 1 + len(gaps.planned(call.function.program, RATES))
    plan, found = gaps.analysed(call, RATES)
    assert sum(plan.values()) > 0
    assert set(plan) <= set(found) <= {*gaps.KINDS, "calls and release"}
    (line, *_) = gaps.lines_of(row, RATES, row.tiny)
    assert line.startswith(f"| {row.name}, {OWN[0]} | ")


@pytest.mark.parametrize("panel", scaling.PANELS, ids=lambda panel: panel.name)
def test_panels_are_measured(panel: scaling.Panel) -> None:
    slow = {"torch.compile", "tensorgrad, torch.compile", "cotengra", "torch"}
    few = replace(panel, build=scaling._without(panel.build, slow))
    found = scaling.measured(few, [panel.tiny], rounds=2)
    assert panel.tiny in found["Otus"]


def test_the_picture_has_every_panel(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    seconds = {"Otus": {1: 1e-6, 10: 1e-5}, "somebody": {1: 1e-5}}
    path = tmp_path / "scaling.svg"
    scaling.draw({"first": ("n", seconds), "second": ("m", seconds), "third": ("n", seconds)}, "a title", path)
    text = path.read_text()
    assert all(word in text for word in ("first", "second", "third", "somebody", "a title"))
