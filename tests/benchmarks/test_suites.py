"""Every row of the benchmarks at a tiny size: its peers agree with Otus; times are not looked at."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def from_the_checkout(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The benchmarks are not installed; they are imported from the root of the checkout."""
    monkeypatch.syspath_prepend(str(ROOT))
    yield
    for name in [x for x in sys.modules if x == "benchmarks" or x.startswith("benchmarks.")]:
        del sys.modules[name]


def rows(suite: str) -> list[Any]:
    return list(importlib.import_module(f"benchmarks.{suite}").ROWS)


@pytest.mark.parametrize("suite", ["hessians", "gradients", "products"])
def test_otus_agrees_with_every_peer(suite: str) -> None:
    from benchmarks.harness import numbers

    for row in rows(suite):
        case = row.build(*row.tiny)
        ours = numbers(case.answer(case.otus()()))
        for name, build in case.peers.items():
            if name not in ("torch.compile",):
                _compare(row.name, name, ours, numbers(case.answer(build()())), case.tolerance)


def _compare(row: str, peer: str, ours: Any, theirs: Any, tolerance: float) -> None:
    from benchmarks.harness import difference

    assert difference(theirs, ours) <= tolerance, f"{row}: {peer}"
