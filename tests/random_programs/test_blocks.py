"""Random programs whose elementwise work runs in loops of a few positions, in NumPy and in C, give the same values.

``OTUS_RANDOM_PROGRAMS=1000 OTUS_FIRST_SEED=5000 pytest tests/random_programs/test_blocks.py`` runs that many from
that seed; the default is few, since each takes the C compiler a moment.
"""

from __future__ import annotations

import os
import shutil

import pytest
from evaluation import assert_close
from random_programs.outputs import TOLERANCE, otus_outputs
from random_programs.programs import random_program

import otus
from otus.passes import DEFAULT_PIPELINE
from otus.structures import flatten

COUNT = int(os.environ.get("OTUS_RANDOM_PROGRAMS", "40"))
FIRST = int(os.environ.get("OTUS_FIRST_SEED", "0"))
TINY_BLOCKS = DEFAULT_PIPELINE.replace("block", "block{large=2,elements=3}")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_blocks_keep_values(seed: int) -> None:
    program = random_program(seed)
    outputs = otus_outputs(program)
    leaves = flatten(list(outputs.values()), lambda x: isinstance(x, otus.Expression))
    expected = _run(leaves, program.data, "numpy", DEFAULT_PIPELINE.replace(",block", ""))
    backends = ["numpy", "c"] if shutil.which("cc") else ["numpy"]
    for backend in backends:
        values = _run(leaves, program.data, backend, TINY_BLOCKS)
        for position, (value, other) in enumerate(zip(values, expected, strict=True)):
            assert_close(value, other, TOLERANCE, TOLERANCE, f"seed {seed}, output {position}, backend {backend}")


def _run(leaves, data, backend, pipeline):  # type: ignore[no-untyped-def]
    function = otus.compile(leaves, backend=backend, pipeline=pipeline)
    return function(**{name: data[name] for name in function.inputs})
