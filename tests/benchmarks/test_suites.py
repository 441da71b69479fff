"""Every row of the benchmarks at a tiny size: its peers agree with Otus; times are not looked at."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import decompositions, elementwise, gradients, hessians, overhead, products
from benchmarks.harness import Row, UnavailableError, difference, numbers

SUITES = (hessians, gradients, products, elementwise, overhead, decompositions)
# Seconds to compile or to import; the suites themselves compare them.
SLOW = ("torch.compile", "tensorgrad, torch.compile", "TeNPy", "quimb")
ROWS = [row for suite in SUITES for row in suite.ROWS]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_otus_agrees_with_its_peers(row: Row) -> None:
    case = row.build(*row.tiny)
    ours = numbers(case.answer(case.otus()()))
    for name, build in case.peers.items():
        if name not in SLOW:
            theirs = _answer(build)
            assert theirs is None or difference(numbers(case.answer(theirs)), ours) <= case.tolerance, name


def _answer(build: Any) -> Any:
    """What a peer returns; None where it is not installed."""
    try:
        return build()()
    except UnavailableError:
        return None
