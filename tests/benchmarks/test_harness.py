"""How contenders are compared and timed, on made-up ones."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

import otus
from benchmarks.compiling import CP_HESSIAN, _renamed_copy
from benchmarks.harness import Call, Case, Goal, Outcome, Row, Seconds, Timing, UnavailableError, difference, run_row
from benchmarks.report import line, record


def takes(seconds: float, answer: Any = 1.0) -> Call:
    def call() -> Any:
        time.sleep(seconds)
        return answer

    return call


def missing() -> Call:
    raise UnavailableError("not installed")


def broken() -> Call:
    raise ValueError("no compiler\nand much more")


def outcome(*goals: Goal) -> Outcome:
    peers = {"slow": lambda: takes(0.02), "other": lambda: takes(0, 2.0), "absent": missing, "broken": broken}
    row = Row("made up", lambda: Case(lambda: takes(0.0), peers), goals=goals)
    return run_row(row, repetitions=2, pause=0)


def test_what_is_not_timed_has_its_reason() -> None:
    found = outcome(Goal())
    assert set(found.timings) == {"Otus", "slow"}
    assert found.reasons == {
        "other": "its answer differs from that of Otus by 1.0e+00 relative",
        "absent": "not installed",
        "broken": "ValueError: no compiler",
    }
    assert found.wrong == ("other",)


def test_goals() -> None:
    found = outcome(Goal(1.5), Goal(1.0, "absent"), Goal(against="slow", extra=1.0))
    assert [found.met(goal) for goal in found.row.goals] == [True, None, True]
    assert [x["met"] for x in record(found)["goals"]] == [True, None, True]
    assert line(found).endswith(
        "| ≥ 1.5 of the best peer; ≥ 1 of absent; ≤ 1e+06 µs over slow | met; –; met | –; –; – |"
    )


def test_what_is_written_by_hand_is_no_library() -> None:
    timings = {"Otus": Timing((2.0,)), "by hand": Timing((1.0,)), "library": Timing((4.0, 6.0))}
    found = Outcome(Row("", Case), timings, {}, ("by hand",))
    assert found.best_peer() == "library"
    assert found.ratio(Goal()) == 2.5
    assert found.ratio(Goal(1.0, "by hand")) == 0.5


def test_a_call_that_times_itself() -> None:
    row = Row("", lambda: Case(lambda: lambda: Seconds(3.0), {"peer": lambda: lambda: Seconds(6.0)}))
    found = run_row(row, repetitions=2, pause=0)
    assert found.ratio(Goal()) == 2.0


@pytest.mark.parametrize(("one", "other"), [([0.0], [np.nan]), ([np.nan], [0.0]), ([1.0, 2.0], [1.0])])
def test_answers_that_cannot_be_compared_differ(one: list[float], other: list[float]) -> None:
    assert difference([np.array(one)], [np.array(other)]) == np.inf


def test_the_renamed_copy_is_the_same_program() -> None:
    program = CP_HESSIAN.format(s=3, r=2)
    module, copy = otus.parse(program), otus.parse(_renamed_copy(program))
    assert not set(module.tensors) & set(copy.tensors)
    data = {name: np.random.default_rng(k).normal(size=x.shape) for k, (name, x) in enumerate(module.tensors.items())}
    first = otus.compile(module)(**data)
    second = otus.compile(copy)(**{f"other{name}": array for name, array in data.items()})
    for name, value in first.items():
        np.testing.assert_allclose(value, second[name])
