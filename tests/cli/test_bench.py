"""``otus bench``: who takes part, and what is said; times are not looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otus.cli import bench

Otus = Any  # the fixture of conftest.py


def test_contenders(otus: Otus, folder: Path) -> None:
    result = otus("bench", "form.otus", "--dim", "n=4", "--repetitions", "2", "--json")
    assert result.status == 0, result.err
    found = json.loads(result.out)
    assert found["sizes"] == {"n": 4}
    assert [x["name"] for x in found["contenders"]] == ["compiled", "unoptimised", "reference"]
    assert all(len(x["seconds"]) == 2 for x in found["contenders"])
    assert found["contenders"][0]["times_compiled"] == 1


def test_the_table(otus: Otus, folder: Path) -> None:
    np.save("x.npy", np.ones(3))
    result = otus("bench", "form.otus", "--in", "x=x.npy", "--repetitions", "2")
    lines = result.out.splitlines()
    assert result.status == 0, result.err
    assert lines[0].split() == ["median", "spread", "times", "compiled"]
    assert [line.split()[0] for line in lines[1:4]] == ["compiled", "unoptimised", "reference"]
    assert lines[4].startswith("2 rounds, sizes n=3; compiled in ")


def test_the_reference_is_not_waited_for(otus: Otus, folder: Path) -> None:
    result = otus("bench", "form.otus", "--dim", "n=9000", "--repetitions", "2")
    assert result.status == 0, result.err
    assert "reference: left out: more than 1e+08 operations" in result.out


def test_answers_that_differ_are_not_timed(otus: Otus, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "relative_error", lambda *_: 0.5)
    result = otus("bench", "form.otus", "--dim", "n=4")
    assert (result.status, result.out) == (1, "")
    assert result.err == (
        "otus: nothing is timed: output 'f' of the compiled program differs from that of the unoptimised one by "
        "5.0e-01 relative, and 1e-08 is accepted; `otus check` looks for the reason\n"
    )


def test_a_size_that_nothing_says(otus: Otus, folder: Path) -> None:
    result = otus("bench", "form.otus")
    assert result.status == 1
    assert "nothing says the size of n; add for example --dim n=8" in result.err
    assert otus("bench", "form.otus", "--repetitions", "1").status == 2
