"""The same program gives the same text in every process, and the same normal form wherever it stands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from random_programs.outputs import otus_outputs
from random_programs.programs import random_program

import otus
from otus.structures import flatten

_SCRIPT = Path(__file__).with_name("dump_programs.py")


def _printed(hash_seed: int, order: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    command = [sys.executable, str(_SCRIPT), order]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_processes_agree_to_the_byte() -> None:
    """Other hash seeds, and other programs built before, change no dump and no source."""
    first = _printed(0, "forwards")
    assert first.count("# program ") >= 15
    assert "def kernel(" in first
    for hash_seed, order in ((1, "forwards"), (2026, "backwards")):
        assert _printed(hash_seed, order) == first, (hash_seed, order)


def test_twice_in_one_process() -> None:
    x, w = otus.tensor("X", ("n", "d")), otus.tensor("w", ("d",))
    texts = {otus.dump(otus.optimize(otus.hessian(otus.softplus(x @ w).sum(), w))) for _ in range(3)}
    sources = {otus.compile(otus.hessian(otus.softplus(x @ w).sum(), w)).source for _ in range(3)}
    assert len(texts) == len(sources) == 1


# --- the root, the middle, a leaf ---------------------------------------------------------------


def _after(e: otus.Expression) -> otus.Expression:
    """An operation that no rule looks through."""
    return otus.cumsum(e, axis=0)


PLACES: dict[str, Callable[[otus.Expression], otus.Expression]] = {
    "under the root": _after,
    "in the middle": lambda e: otus.exp(_after(_after(e))),
    "in two places": lambda e: otus.concatenate([_after(e), e], axis=0),
}


@pytest.mark.parametrize("place", PLACES)
def test_the_normal_form_does_not_depend_on_the_place(place: str) -> None:
    for seed in range(40):
        for e in _outputs(seed):
            if e.ndim:
                expected = PLACES[place](otus.simplify(e))
                assert otus.simplify(PLACES[place](e)) is expected, f"seed {seed}:\n{otus.dump(e)}"


def test_simplifying_again_changes_nothing() -> None:
    for seed in range(40):
        for e in _outputs(seed):
            once = otus.simplify(e)
            assert otus.simplify(once) is once, f"seed {seed}:\n{otus.dump(once)}"


def _outputs(seed: int) -> list[otus.Expression]:
    return flatten(otus_outputs(random_program(seed, length=3)), lambda x: isinstance(x, otus.Expression))
