"""``otus diff``: the operations in which two IR texts differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import otus as package

Otus = Any  # the fixture of conftest.py

FIRST = """\
%x: f64[n] = input "x"
%y: f64[n] = input "y"
%0: f64[n] = map "exp(a)" "n->n" %x
%1: f64[n] = einsum "n,n->n" %0, %y
%s: f64[] = einsum "n->" %1
return {"s": %s}
"""
# The same product under other numbers and in another order, then another sum of it.
SECOND = """\
%y: f64[n] = input "y"
%x: f64[n] = input "x"
%7: f64[n] = map "exp(a)" "n->n" %x
%3: f64[n] = einsum "n,n->n" %7, %y
%s: f64[] = reduce {kind="max", axes=(0,)} %3
return {"s": %s}
"""


@pytest.fixture
def texts(folder: Path) -> tuple[str, str]:
    Path("a.ir").write_text(FIRST, encoding="utf-8")
    Path("b.ir").write_text(SECOND, encoding="utf-8")
    return "a.ir", "b.ir"


def test_only_what_differs_is_shown(otus: Otus, texts: tuple[str, str]) -> None:
    result = otus("diff", *texts)
    assert result.status == 0
    assert result.out == (
        '- %s: f64[] = einsum "n->" %1\n'
        '+ %s: f64[] = reduce {kind="max", axes=(0,)} %1\n'
        "4 operations equal, 1 removed, 1 added; flops 3·n; bytes moved 48·n + …; peak bytes 32·n\n"
    )


def test_sizes_give_numbers(otus: Otus, texts: tuple[str, str]) -> None:
    summary = otus("diff", *texts, "--dim", "n=1024").out.splitlines()[-1]
    assert summary == "4 operations equal, 1 removed, 1 added; flops 3,072; bytes moved 48.01 KiB; peak bytes 32 KiB"


def test_numbers_order_and_outputs_names_do_not_count(otus: Otus, texts: tuple[str, str]) -> None:
    renumbered = FIRST.replace("%1", "%41").replace("%0", "%40")
    Path("c.ir").write_text(renumbered, encoding="utf-8")
    assert otus("diff", "a.ir", "c.ir").out == "the same: 5 operations equal\n"
    Path("c.ir").write_text(renumbered.replace('{"s"', '{"total"'), encoding="utf-8")
    assert otus("diff", "a.ir", "c.ir").out == "the same: 5 operations equal, called s -> total\n"
    assert otus("diff", "a.ir", "c.ir").status == 0


def test_other_outputs_of_equal_operations(otus: Otus, texts: tuple[str, str]) -> None:
    Path("a.ir").write_text(FIRST.replace('{"s": %s}', "[%s, %0]"), encoding="utf-8")
    Path("b.ir").write_text(FIRST.replace('{"s": %s}', "[%0, %s]"), encoding="utf-8")
    assert otus("diff", "a.ir", "b.ir").out.splitlines()[:2] == [
        '- return {"out0": %s, "out1": %0}',
        '+ return {"out0": %0, "out1": %s}',
    ]
    assert "5 operations equal, 0 removed, 0 added, other outputs" in otus("diff", "a.ir", "b.ir").out


def test_a_change_far_down_shows_every_operation_above_it_with_its_operands(otus: Otus, folder: Path) -> None:
    Path("a.ir").write_text(FIRST, encoding="utf-8")
    Path("b.ir").write_text(FIRST.replace("exp", "sin"), encoding="utf-8")
    lines = otus("diff", "a.ir", "b.ir").out.splitlines()
    assert [line[0] for line in lines[:-1]] == ["-", "-", "-", "+", "+", "+"]
    assert lines[2].endswith("%1") and lines[1].startswith("- %1:")  # noqa: PT018  one statement about two lines
    assert lines[-1].startswith("2 operations equal, 3 removed, 3 added")


def test_what_a_pass_did(otus: Otus, folder: Path) -> None:
    for stage in ("parsed", "expanded", "optimized"):
        Path(f"{stage}.ir").write_text(otus("dump", "form.otus", "--stage", stage).out, encoding="utf-8")
    lines = otus("diff", "parsed.ir", "expanded.ir").out.splitlines()
    assert any(line.startswith('- %g: f64[n] = derivative {kind="grad"} %f, %x') for line in lines)
    assert "derivatives not expanded yet in the first, in the other flops " in lines[-1]
    assert otus("diff", "parsed.ir", "parsed.ir").out.startswith("the same: ")
    assert " -> " in otus("diff", "expanded.ir", "optimized.ir").out.splitlines()[-1]


def test_loops_are_shown_whole(otus: Otus, folder: Path) -> None:
    """Their lines are indented, and repeat names that stand outside."""
    Path("big.otus").write_text("tensor A[900,5]\ny = exp(A @ A.T).sum(axis=1)\n", encoding="utf-8")
    Path("whole.ir").write_text(otus("dump", "big.otus").out, encoding="utf-8")
    Path("sliced.ir").write_text(
        otus("dump", "big.otus", "--pipeline", f"{package.pipeline()},slice{{memory=1MiB}}").out, encoding="utf-8"
    )
    result = otus("diff", "whole.ir", "sliced.ir")
    assert result.status == 0
    *lines, summary = result.out.splitlines()
    assert all(line[:2] in ("- ", "+ ") for line in lines)
    assert any("= blockwise {" in line for line in lines)
    assert "peak bytes" in summary
    assert otus("diff", "sliced.ir", "sliced.ir").out.startswith("the same: ")


def test_json(otus: Otus, texts: tuple[str, str]) -> None:
    found = json.loads(otus("diff", *texts, "--json", "--dim", "n=10").out)
    assert (found["before"], found["after"]) == texts
    assert (found["same"], found["equal"]) == (False, 4)
    assert (found["removed"], found["added"]) == (
        ['%s: f64[] = einsum "n->" %1'],
        ['%s: f64[] = reduce {kind="max", axes=(0,)} %1'],
    )
    assert found["cost_before"]["flops"] == {"symbolic": "3*n", "value": 30}
    assert json.loads(otus("diff", *texts, "--json").out)["cost_after"]["flops"] == {"symbolic": "3*n", "value": None}


def test_wrong_input(otus: Otus, texts: tuple[str, str]) -> None:
    result = otus("diff", "a.ir", "form.otus")
    assert result.status == 1
    assert result.err == (
        "otus: form.otus is not IR text: line 1: 'dim n' is not '%name: dtype[shape] = operation …'; "
        "`otus dump FILE` writes what is\n"
    )
    assert otus("diff", "a.ir", "missing.ir").err == "otus: missing.ir cannot be read: No such file or directory\n"
    Path("c.ir").write_bytes(b"\xff\xfe")
    assert "c.ir is not UTF-8 text" in otus("diff", "a.ir", "c.ir").err
    assert otus("diff", "a.ir").status == 2
