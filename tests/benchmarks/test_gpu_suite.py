"""The suite for GPUs starts without one: every row at a tiny size, in Triton's interpreter; times are not looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch
from bare_machine import bare_environment

from benchmarks.gpu.device import Host, Limits
from benchmarks.gpu.report import line, record, write_json
from benchmarks.gpu.rows import COPY, ROWS
from benchmarks.gpu.suite import error_of, run_row
from benchmarks.harness import Row

# Rows that differ in their full sizes alone are one here.
TINY = list({(row.build, row.tiny): row for row in ROWS}.values())


@pytest.mark.parametrize("row", TINY, ids=lambda row: row.name)
def test_rows(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.gpu.suite._WARM", 1)
    found = run_row(row, Host(), 1, tiny=True)
    assert found.outcome.wrong == ()
    assert {"Otus", "torch", COPY} <= set(found.outcome.timings), found.outcome.reasons
    assert found.moved > 0
    json.dumps(record(found, Limits(1e12, {"float64": 1e13})))
    assert line(found, Limits(1e12, {}), judged=False).endswith(f"| {'; '.join('–' for _ in row.goals)} |")


def test_the_limit_is_that_of_bytes_or_of_flops() -> None:
    limits = Limits(copy=1e12, products={"bfloat16": 1e15})
    assert limits.seconds(2e12, 1e15, "bfloat16") == 2.0
    assert limits.seconds(1e12, 4e15, "bfloat16") == 4.0
    assert limits.seconds(1e12, 4e15, "float64") == 1.0


def test_errors_are_relative_to_the_largest_element() -> None:
    expected = torch.tensor([1.0, -4.0], dtype=torch.float64)
    assert error_of([torch.tensor([1.0, -3.0])], [expected]) == 0.25
    assert error_of([torch.tensor([1.0, float("nan")])], [expected]) == float("inf")
    assert error_of([torch.zeros(3)], [expected]) == float("inf")


def test_what_fails_while_it_is_timed_has_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    row = next(row for row in TINY if row.name.startswith("MTTKRP"))
    monkeypatch.setattr("benchmarks.gpu.suite._copy", lambda moved, device: lambda tensors: 1 / 0)
    found = run_row(row, Host(), 2, tiny=True)
    assert found.outcome.reasons[COPY] == "ZeroDivisionError: division by zero"
    assert {"Otus", "torch"} <= set(found.outcome.timings)


def test_reports_are_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    for number in range(2):
        write_json(path, {"rows": [number]})
        assert json.loads(path.read_text("utf-8")) == {"rows": [number]}
    assert list(tmp_path.iterdir()) == [path]


def test_the_command_needs_torch_and_triton_alone(tmp_path: Path) -> None:
    figures = tmp_path / "gpu.json"
    command = [sys.executable, "-m", "benchmarks", "--suite", "gpu", "--interpret", "--repetitions", "2"]
    root = Path(__file__).parent.parent.parent
    done = subprocess.run(
        [*command, "--rows", "MTTKRP", "--json", str(figures)],
        cwd=root, env=bare_environment(tmp_path, root), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 rows in" in done.stdout
    assert "JAX: not installed" in done.stdout
    report = json.loads(figures.read_text("utf-8"))
    assert report["interpreted"]
    (row,) = report["rows"]
    assert row["name"].startswith("MTTKRP")
    assert set(row["seconds"]) == {"Otus", "torch", COPY}
