"""``otus dump``: every stage, every form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import otus as package
from otus.passes import PASSES

Otus = Any  # the fixture of conftest.py

PARSED = """\
%x: f64[n] = input "x"
%H: f64[n,n] = input "H"
%f: f64[] = einsum "n,na,a->" %x, %H, %x
%g: f64[n] = derivative {kind="grad"} %f, %x
return {"f": %f, "g": %g}
"""


def test_as_written(otus: Otus, folder: Path) -> None:
    assert otus("dump", "form.otus", "--stage", "parsed").out == PARSED


@pytest.mark.parametrize("stage", ["parsed", "expanded", "optimized"])
def test_the_text_of_a_graph_is_read_back(otus: Otus, folder: Path, stage: str) -> None:
    text = otus("dump", "form.otus", "--stage", stage).out
    found = package.parse_ir(text)
    assert list(found) == ["f", "g"]
    assert ("derivative" in text) == (stage == "parsed")


def test_the_default_is_the_end_of_the_pipeline(otus: Otus, folder: Path) -> None:
    assert otus("dump", "form.otus").out == otus("dump", "form.otus", "--stage", "optimized").out


def test_after_a_pass(otus: Otus, folder: Path) -> None:
    assert otus("dump", "form.otus", "--after", "expand").out == otus("dump", "form.otus", "--stage", "expanded").out
    for name in PASSES:
        if name in package.pipeline():
            assert otus("dump", "form.otus", "--after", name).status == 0
    result = otus("dump", "form.otus", "--after", "simplfy")
    assert (result.status, result.err) == (1, "otus: the pipeline has no pass 'simplfy'; did you mean 'simplify'?\n")


def test_program_and_source(otus: Otus, folder: Path) -> None:
    assert otus("dump", "form.otus", "--stage", "program").out.startswith("program kernel(x: f64[n], H: f64[n,n])")
    source = otus("dump", "form.otus", "--stage", "source").out
    assert source == otus("compile", "form.otus").out
    assert json.loads(otus("dump", "form.otus", "--stage", "source", "--json").out)["text"] == source


def test_everything_into_a_folder(otus: Otus, folder: Path) -> None:
    result = otus("dump", "form.otus", "--all", "stages")
    assert result.status == 0
    assert sorted(result.out.split()) == sorted(map(str, Path("stages").iterdir()))
    names = package.pipeline().split(",")
    index = Path("stages/index.txt").read_text().splitlines()
    assert [line.partition(":")[0].rpartition(".")[0] or line.partition(":")[0] for line in index] == [
        f"{number:02d}-{name}" for number, name in enumerate(["parsed", *names, "program", "source"])
    ]
    assert {"00-parsed.ir", "01-stabilise: changed nothing", "02-expand.ir"} <= set(index)
    written = {path.name for path in Path("stages").iterdir()} - {"index.txt"}
    assert written == {line for line in index if not line.endswith(": changed nothing")}
    assert Path("stages/00-parsed.ir").read_text() == otus("dump", "form.otus", "--stage", "parsed").out


def test_a_folder_holds_one_run_and_keeps_what_is_not_ours(otus: Otus, folder: Path) -> None:
    assert otus("dump", "form.otus", "--all", "stages").status == 0
    (Path("stages") / "notes.txt").write_text("mine")
    assert otus("dump", "form.otus", "--all", "stages", "--pipeline", "expand").status == 0
    assert sorted(path.name for path in Path("stages").iterdir()) == [
        "00-parsed.ir", "01-expand.ir", "02-program.txt", "03-source.py", "index.txt", "notes.txt",
    ]  # fmt: skip


def test_folders_that_cannot_be(otus: Otus, folder: Path) -> None:
    assert otus("dump", "form.otus", "--all", "form.otus").err == (
        "otus: form.otus is a file; give a folder to write the stages to\n"
    )
    result = otus("dump", "form.otus", "--all", "form.otus/stages")
    assert result.status == 1
    assert "the stages cannot be written to form.otus/stages: Not a directory" in result.err


def test_a_pipeline_that_leaves_derivatives_has_no_program(otus: Otus, folder: Path) -> None:
    for arguments in (("--all", "stages"), ("--stage", "source")):
        result = otus("dump", "form.otus", *arguments, "--pipeline", "simplify")
        assert result.status == 1
        assert result.err.endswith("which no kernel computes; add the pass 'expand'\n")


def test_formulas(otus: Otus, folder: Path) -> None:
    result = otus("dump", "form.otus", "--stage", "parsed", "--format", "formula")
    assert result.out.startswith("f = x[n] H[n,n'] x[n']\n")
    assert otus("dump", "form.otus", "--format", "formula").out.splitlines()[-1].startswith("g[n] = ")


def test_dot_is_a_graph(otus: Otus, folder: Path) -> None:
    lines = otus("dump", "form.otus", "--stage", "parsed", "--format", "dot").out.splitlines()
    assert lines[0] == "digraph otus {"
    assert lines[-1] == "}"
    assert lines.count('  "x" -> "f";') == 2
    assert '  "H" [label="%H: f64[n,n] = input \\"H\\"", shape=box];' in lines
    assert any(line.startswith('  "g" [') and "peripheries=2" in line for line in lines)


def test_json_says_where_the_program_asks_for_each_node(otus: Otus, folder: Path) -> None:
    found = json.loads(otus("dump", "form.otus", "--json").out)
    assert found == json.loads(otus("dump", "form.otus", "--format", "json").out)
    nodes = {node["name"]: node for node in found["nodes"]}
    assert found["outputs"] == {"f": "f", "g": "g"}
    assert nodes["H"] == {
        "name": "H", "op": "input", "shape": ["n", "n"], "dtype": "float64", "operands": [],
        "text": '%H: f64[n,n] = input "H"', "position": {"file": "form.otus", "line": 2, "column": 14},
    }  # fmt: skip
    assert nodes["g"]["position"] == {"file": "form.otus", "line": 4, "column": 5}


def test_a_program_has_no_graph_to_draw(otus: Otus, folder: Path) -> None:
    for form in ("dot", "formula"):
        assert otus("dump", "form.otus", "--stage", "source", "--format", form).err == (
            f"otus: --stage source is no graph, so it has no {form}; use --format text or json\n"
        )


def test_sizes(otus: Otus, folder: Path) -> None:
    result = otus("dump", "form.otus", "--stage", "parsed", "--dim", "n=3")
    assert result.out.startswith('%x: f64[3] = input "x"\n%H: f64[3,3] = input "H"\n%f: f64[] = einsum ')
