"""Random programs through the whole pipeline, against the reference interpreter and JAX.

``OTUS_RANDOM_PROGRAMS=5000 OTUS_FIRST_SEED=100000 pytest tests/random_programs`` runs that many from
that seed; 500 from seed 0 run by default.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from random_programs.comparison import compare
from random_programs.operations import GROUPS, TABLE
from random_programs.previously_failed import PREVIOUSLY_FAILED
from random_programs.programs import Program, random_program

COUNT = int(os.environ.get("OTUS_RANDOM_PROGRAMS", "250"))
FIRST = int(os.environ.get("OTUS_FIRST_SEED", "0"))
CHUNK = 10


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FIRST, FIRST + COUNT, CHUNK))
def test_values_and_derivatives(first: int) -> None:
    """Values, gradient and, where small, Jacobian, Hessian, hvp and jtjvp, at 1e-8 relative."""
    for seed in range(first, min(first + CHUNK, FIRST + COUNT)):
        program = random_program(seed)
        try:
            compare(program)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}\n{program!r}") from error


@pytest.mark.parametrize("name", PREVIOUSLY_FAILED)
def test_previously_failed(name: str) -> None:
    compare(PREVIOUSLY_FAILED[name])


def test_every_operation_is_drawn() -> None:
    drawn: Counter[str] = Counter()
    for seed in range(500):
        drawn.update(name for name, _, _ in random_program(seed).statements)
    assert set(drawn) == set(TABLE)
    assert {name for names in GROUPS.values() for name in names} == set(TABLE)


def test_a_program_prints_as_python_that_makes_it() -> None:
    program = random_program(1)
    assert eval(repr(program), {"Program": Program}) == program
