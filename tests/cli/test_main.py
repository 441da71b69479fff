"""The command as a whole: help, exit status, streams, and real processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from otus.cli import doctor, main

Otus = Any  # the fixture of conftest.py

ROOT = Path(__file__).parent.parent.parent
COMMANDS = ("run", "compile", "dump", "check", "demo", "doctor")


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "otus.cli", *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, **environment}, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(otus: Otus, command: str) -> None:
    for flag in ("--help", "-h"):
        result = otus(command, flag)
        assert (result.status, result.err) == (0, "")
        assert re.search(rf"Example:\n +otus {command}\b", result.out)
        assert "\x1b" not in result.out
    assert f"  {command} " in otus("--help").out


def test_usage_mistakes_are_status_2(otus: Otus, folder: Path) -> None:
    for arguments, words in {
        (): "Usage: otus",
        ("rum",): "No such command 'rum'",
        ("run",): "Missing argument 'FILE'",
        ("run", "form.otus", "--inn", "x=ones"): "No such option: --inn",
        ("run", "form.otus", "--in", "ones"): "'ones' is not NAME=VALUE; write --in X=x.npy",
        ("run", "form.otus", "--in", "x=ones", "--in", "x=zeros"): "'x' is given twice: ones and zeros",
        (
            "run",
            "form.otus",
            "--dim",
            "n=three",
        ): "the size of n is a whole number from 0, not 'three'",
        ("run", "form.otus", "--dim", "n=-1"): "the size of n is a whole number from 0, not '-1'; write --dim n=8",
        (
            "dump",
            "form.otus",
            "--stage",
            "parse",
        ): "Invalid value for --stage: 'parse' is not one of parsed, expanded, optimized, program, source; did you "
        "mean 'parsed'?",
        ("dump", "form.otus", "--format", "pdf"): "--format: 'pdf' is not one of text, formula, dot, json",
        ("demo", "--data", "cats"): "--data: 'cats' is not one of kinetic, indian_pines, both",
        ("compile", "form.otus", "--name", "a b"): "'a b' is not a name that Python accepts; write --name kernel",
    }.items():
        result = otus(*arguments)
        assert result.status == 2, arguments
        assert words in result.out + result.err


def test_mistakes_in_a_program_are_shown_with_carets(otus: Otus, folder: Path) -> None:
    Path("typo.otus").write_text("tensor x[3]\nf = sum(y ^ 2)\ng = sofmax(x)\n")
    for command in ("run", "compile", "dump", "check"):
        result = otus(command, "typo.otus")
        assert (result.status, result.out) == (1, "")
        assert result.err.startswith("typo.otus:2:9: unknown name 'y'\n    2 | f = sum(y ^ 2)\n      |         ^\n")
        assert result.err.endswith(
            "typo.otus:3:5: unknown function 'sofmax'\n    3 | g = sofmax(x)\n      |     ^^^^^^\n"
            "  hint: did you mean 'softmax'?\n"
        )


def test_mistakes_in_json(otus: Otus, folder: Path) -> None:
    Path("typo.otus").write_text("tensor x[3]\ny = sofmax(x)\n")
    result = otus("run", "typo.otus", "--json")
    assert json.loads(result.out)["diagnostics"] == [
        {
            "message": "unknown function 'sofmax'", "hint": "did you mean 'softmax'?", "file": "typo.otus",
            "line": 2, "column": 5, "end_line": 2, "end_column": 11,
        }
    ]  # fmt: skip
    assert json.loads(otus("run", "none.otus", "--json").out)["diagnostics"] == []


def test_files_that_are_no_programs(otus: Otus, folder: Path) -> None:
    assert otus("run", "zebra.otus").err == "otus: zebra.otus does not exist\n"
    assert otus("run", "from.otus").err == "otus: from.otus does not exist; did you mean 'form.otus'?\n"
    assert otus("run", ".").err == "otus: . is a folder; give a file, such as program.otus\n"
    Path("empty.otus").write_text("dim n\n")
    assert otus("run", "empty.otus").err == (
        "otus: empty.otus computes nothing; assign something, as in: loss = sum(x ^ 2)\n"
    )
    Path("binary.otus").write_bytes(bytes(range(256)))
    result = otus("run", "binary.otus")
    assert result.status == 1
    assert "binary.otus" in result.err


def test_wrong_settings_are_the_user_s_mistake(otus: Otus, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTUS_DEBUG", "9")
    for arguments in (("doctor",), ("run", "form.otus", "--dim", "n=2", "--in", "x=ones", "--in", "H=ones")):
        result = otus(*arguments)
        assert result.status == 1
        assert result.err.startswith("otus: environment variable OTUS_DEBUG is '9'; 0, 1, 2, 3 or 4 is accepted")


def test_a_bug_leaves_a_file_that_reproduces_it(
    otus: Otus, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise KeyError("a pass")

    monkeypatch.setattr("otus.cli.dump.graph_text", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = otus("dump", "form.otus")
    assert (result.status, result.out) == (3, "")
    assert result.err.startswith("otus: this is a bug in Otus: KeyError: 'a pass'\n")
    assert "Please report it" in result.err
    assert "Traceback" not in result.err
    saved = Path(result.err.split()[-1])
    text = saved.read_text("utf-8")
    for words in ("command: otus dump form.otus", "numpy: ", "Traceback", "KeyError: 'a pass'", "g = grad(f, x)"):
        assert words in text


def test_a_graph_that_breaks_its_own_rules_is_a_bug(otus: Otus, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from otus.ir import VerificationError

    def broken(*args: object, **kwargs: object) -> None:
        raise VerificationError("pass simplify changed output f")

    monkeypatch.setattr("otus.cli.dump.graph_text", broken)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    assert otus("dump", "form.otus").status == 3


def test_doctor(otus: Otus) -> None:
    result = otus("doctor")
    assert (result.status, result.err) == (0, "")
    for words in ("Backends", "numpy", "Cache: ", "OTUS_DEBUG", "Self-test: passed", "matplotlib"):
        assert words in result.out
    facts = json.loads(otus("doctor", "--json").out)
    assert facts["backends"]["numpy"] == "available"
    assert facts["required"]["numpy"]
    assert facts["self_test"] == doctor.self_test() == "passed"


def test_doctor_lists_what_the_project_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert list(doctor.REQUIRED) == list(map(distribution, project["dependencies"]))
    extras = {distribution(each) for wanted in project["optional-dependencies"].values() for each in wanted}
    assert set(doctor.OPTIONAL) <= extras
    assert {distribution(each) for each in project["optional-dependencies"]["examples"]} <= set(doctor.OPTIONAL)


def distribution(requirement: str) -> str:
    """The name of a requirement, without its versions."""
    return re.split(r"[<>=;\s]", requirement)[0]


def test_version(otus: Otus) -> None:
    import otus as package

    assert otus("--version").out == f"otus {package.__version__}\n"


# --- real processes ----------------------------------------------------------------------------


def test_a_process_writes_results_to_stdout_alone(folder: Path) -> None:
    done = process("run", "form.otus", "--dim", "n=2", "--in", "x=ones", "--in", "H=ones")
    assert (done.returncode, done.stdout, done.stderr) == (0, "f: f64[] = 4.0\ng: f64[2] = [4. 4.]\n", "")


def test_a_process_exits_with_the_status(folder: Path) -> None:
    assert process("run", "none.otus").returncode == 1
    assert process("run").returncode == 2


def test_no_colour_without_a_terminal_or_with_no_color(folder: Path) -> None:
    Path("typo.otus").write_text("y = x")
    for environment in ({}, {"NO_COLOR": "1"}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}):
        assert "\x1b[3" not in process("run", "typo.otus", **environment).stderr


def test_a_reader_that_goes_away_is_no_mistake(folder: Path) -> None:
    lines = "".join(f"y{k} = x + {k}\n" for k in range(1500))  # more than a pipe holds
    Path("long.otus").write_text(f"tensor x[3]\n{lines}")
    command = f"{sys.executable} -m otus.cli dump long.otus --stage parsed | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, '%x: f64[3] = input "x"\n', "")


def test_terminals_without_utf_8_see_everything(folder: Path) -> None:
    Path("greek.otus").write_text("tensor α[2]\nβ = 2 * α\n", encoding="utf-8")
    done = process("run", "greek.otus", "--in", "α=ones", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (done.returncode, done.stdout) == (0, "\\u03b2: f64[2] = [2. 2.]\n")


def test_interrupted(otus: Otus, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("otus.cli.dump.load_program", interrupt)
    assert main.main(["dump", "form.otus"]) == 130
