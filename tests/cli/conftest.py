"""What the tests of the command share: calls in this process, and a folder with a program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from otus.cli.main import main

PROGRAM = """\
dim n
tensor x[n], H[n,n]
f = x[i] * H[i,j] * x[j]
g = grad(f, x)
output f, g
"""


@dataclass(frozen=True)
class Result:
    """The exit status and what was printed."""

    status: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture
def otus(capsys: pytest.CaptureFixture[str]) -> Command:
    """``otus("run", "f.otus")`` runs the command in this process."""

    def call(*arguments: object) -> Result:
        status = main([str(x) for x in arguments])
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return call


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with the program ``form.otus``."""
    (tmp_path / "form.otus").write_text(PROGRAM, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path
