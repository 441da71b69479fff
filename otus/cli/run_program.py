"""``otus run``: compile a program and run it on data."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from . import results
from .compile import compile_module
from .console import progress, write, write_json
from .inputs import read_inputs
from .options import AsJson, Backend, Pipeline, ProgramFile, Sizes, read_pairs, read_sizes
from .program import check_sizes, load_program

Sources = Annotated[
    list[str] | None,
    typer.Option(
        "--in",
        metavar="TENSOR=SOURCE",
        help="Data of a tensor: a file .npy, .npz:name, .csv, .mtx, .pt:name or .safetensors:name; "
        "random[:seed], which has the facts that the tensor declares; zeros; ones; or a number. Repeat for more.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="PATH", help="Save the outputs as .npz, or a single one as .npy.", show_default=False
    ),
]

EXAMPLE = """\b
Example:
  otus run cpd.otus --in X=x.npy --in A=random:0 --in B=random:1 --in C=random:2
  otus run quadratic.otus --dim n=3 --in H=random:0 --in x=ones --out gradient.npz
"""


def run(
    file: ProgramFile,
    data: Sources = None,
    dim: Sizes = None,
    out: Out = None,
    backend: Backend = "numpy",
    pipeline: Pipeline = None,
    as_json: AsJson = False,
) -> None:
    """Compile a program and run it on data.

    Prints each output: its elements where they are few, else its norm and range. Sizes come from
    the data; --dim says those that no file settles.
    """
    sources, sizes = read_pairs(data, "--in", "X=x.npy"), read_sizes(dim)
    module = load_program(file)
    check_sizes(module, sizes)
    if out is not None:
        results.check_target(out, list(module.outputs))
    with progress(f"compiling {file}"):
        function = compile_module(module, backend, sizes, pipeline)
    inputs = read_inputs(module, sources, sizes, function.inputs)
    start = time.perf_counter()
    with progress(f"running {file}"), np.errstate(all="ignore"):
        outputs = function(**{name: inputs.arrays[name] for name in function.inputs})
    seconds = time.perf_counter() - start
    if out is not None:
        results.save(outputs, out)
    if as_json:
        write_json(_report(file, backend, inputs.sizes, seconds, outputs, out))
    else:
        write(f"saved {', '.join(outputs)} to {out}" if out is not None else results.summarise(outputs))


def _report(
    file: Path, backend: str, sizes: dict[str, int], seconds: float, outputs: dict[str, Any], out: Path | None
) -> dict[str, Any]:
    return {
        "file": str(file),
        "backend": backend,
        "sizes": sizes,
        "seconds": seconds,
        "saved": None if out is None else str(out),
        "outputs": results.describe(outputs),
    }
