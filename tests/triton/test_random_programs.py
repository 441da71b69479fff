"""Random programs and their derivatives in Triton's interpreter give the reference interpreter's values.

``OTUS_RANDOM_PROGRAMS=1000 OTUS_FIRST_SEED=5000 pytest tests/triton/test_random_programs.py`` runs that many from
that seed.
"""

from __future__ import annotations

import os

import pytest
from evaluation import assert_close
from random_programs.outputs import TOLERANCE, otus_outputs
from random_programs.programs import random_program

pytest.importorskip("torch")
pytest.importorskip("triton")

import otus
from otus.structures import flatten

COUNT = int(os.environ.get("OTUS_RANDOM_PROGRAMS", "15"))
FIRST = int(os.environ.get("OTUS_FIRST_SEED", "0"))


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_values(seed: int) -> None:
    program = random_program(seed)
    leaves = flatten(list(otus_outputs(program).values()), lambda x: isinstance(x, otus.Expression))
    function = otus.compile(leaves, backend="triton", interpret=True)
    reference = otus.compile(leaves, backend="reference")
    values = function(**{name: program.data[name] for name in function.inputs})
    expected = reference(**{name: program.data[name] for name in reference.inputs})
    for position, (value, wanted) in enumerate(zip(values, expected, strict=True)):
        assert_close(value, wanted, TOLERANCE, TOLERANCE, f"seed {seed}, output {position}\n{function.source}")
