"""Every command in README.md and docs/ prints what the page says.

In a ``console`` block, a line ``$ otus …`` is run and what follows is what it prints; ``...`` stands for
anything.  Programs are the blocks that start with a line ``# NAME.otus: …``.
"""

from __future__ import annotations

import doctest
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from otus.cli.main import main
from otus.ir import OPERATIONS
from otus.passes import PASSES

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("README.md"), *(ROOT / "docs").rglob("*.md")])
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROGRAM = re.compile(r"# (\w+\.otus)\b")
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def commands(block: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with what it should print."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(command, printed) for command, _, printed in (part.partition("\n") for part in parts)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_print_what_the_page_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    for language, text in _BLOCK.findall(page.read_text("utf-8")):
        if name := _PROGRAM.match(text):
            Path(name[1]).write_text(text, encoding="utf-8")
        if language == "console":
            for command, expected in commands(text):
                printed = run(command, capsys)
                assert doctest.OutputChecker().check_output(expected, printed, _FLAGS), (
                    f"{page.name}: $ {command}\nprinted\n{printed}\nand not\n{expected}"
                )


def test_every_operation_and_every_pass_is_on_the_page() -> None:
    page = (ROOT / "docs" / "ir.md").read_text("utf-8")
    for name in (*OPERATIONS, *PASSES):
        assert re.search(rf"`{name}[`{{]", page), f"docs/ir.md says nothing of {name}"


def run(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    program, *arguments = shlex.split(command)
    if program == "otus":
        main(arguments)
        captured = capsys.readouterr()
        return captured.out + captured.err
    assert program == "python", f"pages show otus and python, not {command!r}"
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    return done.stdout
