"""Every fenced example in README.md and docs/ runs, and prints what it says.

A page is one program: its ``python`` blocks run in order and share their names; lines with ``>>>``
are compared with what they print.  An ``otus`` block is parsed.  ``<!--- skip: next -->`` before a
block leaves it out, ``<!--- skip: next if(condition, reason="...") -->`` where the condition holds.
"""

from __future__ import annotations

import doctest
import shutil
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

import otus

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("README.md"), *(ROOT / "docs").rglob("*.md")])


def _parse(example: Example) -> None:
    otus.parse(example.parsed)


SYBIL = Sybil(
    parsers=[
        PythonCodeBlockParser(doctest_optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE),
        CodeBlockParser(language="otus", evaluator=_parse),
        SkipParser(),
    ]
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, beside which only ``examples/`` stands, as in the checkout."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    for example in SYBIL.parse(page).examples():
        example.evaluate()
