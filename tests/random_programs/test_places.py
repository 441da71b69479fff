"""Random programs whose temporaries all have places in a workspace, however small, give the same values.

``OTUS_RANDOM_PROGRAMS=1000 OTUS_FIRST_SEED=5000 pytest tests/random_programs/test_places.py`` runs that many from
that seed.
"""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest
from evaluation import assert_close
from random_programs.comparison import TOLERANCE, otus_outputs
from random_programs.programs import random_program

import otus
from otus.passes import DEFAULT_PIPELINE
from otus.passes.memory import places
from otus.structures import flatten

COUNT = int(os.environ.get("OTUS_RANDOM_PROGRAMS", "12"))
FIRST = int(os.environ.get("OTUS_FIRST_SEED", "0"))
WHOLE = DEFAULT_PIPELINE.replace(",block", "")
TINY_BLOCKS = DEFAULT_PIPELINE.replace("block", "block{large=2,elements=3}")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_places_keep_values(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTUS_CACHE", "0")
    program = random_program(seed)
    outputs = otus_outputs(program)
    leaves = flatten(list(outputs.values()), lambda x: isinstance(x, otus.Expression))
    data = program.data
    expected = otus.compile(leaves, pipeline=WHOLE)
    values = expected(**{name: data[name] for name in expected.inputs})
    monkeypatch.setattr(places, "LARGE_BYTES", 1)
    monkeypatch.setattr(places, "_WORTHWHILE_BYTES", 0)
    for pipeline in (WHOLE, TINY_BLOCKS):
        function = otus.compile(leaves, pipeline=pipeline)
        given = {name: data[name] for name in function.inputs}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            first, second = function(**given), function(**given)
        for position, (one, two, other) in enumerate(zip(first, second, values, strict=True)):
            assert_close(one, other, TOLERANCE, TOLERANCE, f"seed {seed}, output {position}, {pipeline}")
            np.testing.assert_array_equal(one, two)
