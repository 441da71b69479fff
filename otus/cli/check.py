"""``otus check``: derivatives against finite differences, the kernel against the reference interpreter."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from rich.table import Table

from .. import compilation
from ..checking import Comparison, relative_error
from ..frontend.language import Module
from ..runtime.random_data import choose_sizes, random_inputs
from .console import complain, progress, show, write, write_json
from .differences import compare_request, requests_of
from .options import AsJson, ProgramFile, Sizes, read_sizes
from .program import check_sizes, load_program

_VALUE_TOLERANCE = {"float32": 1e-4, "complex64": 1e-4, "float16": 1e-2}


EXAMPLE = """\b
Example:
  otus check cpd.otus
  otus check cpd.otus --dim i=6 --seed 1 --json
"""


def check(
    file: ProgramFile,
    dim: Sizes = None,
    seed: Annotated[int, typer.Option("--seed", metavar="NUMBER", min=0, help="Seed of the random data.")] = 0,
    tolerance: Annotated[
        float, typer.Option("--tolerance", metavar="ERROR", help="Largest relative error of a derivative.")
    ] = 1e-6,
    as_json: AsJson = False,
) -> None:
    """Check a program by value, on random data.

    Every derivative that the program asks for is compared with finite differences, and every
    output of the compiled kernel with the reference interpreter. Dims without a size get a small one.
    """
    sizes = read_sizes(dim)
    module = load_program(file)
    check_sizes(module, sizes)
    nodes = [x.node for x in module.outputs.values()]
    chosen = choose_sizes([*nodes, *(x.node for x in module.tensors.values())], sizes)
    data = random_inputs([*nodes, *(x.node for x in module.tensors.values())], chosen, seed)
    with progress(f"checking {file}"), np.errstate(all="ignore"):
        found = compare_outputs(module, data)
        found += [
            compare_request(request, _where(module, request), data, chosen, seed, tolerance)
            for request in requests_of(nodes)
        ]
    _report(found, chosen, seed, as_json)


def compare_outputs(module: Module, data: dict[str, npt.NDArray[Any]]) -> list[Comparison]:
    """The outputs of the compiled program against those of the reference interpreter, unoptimised."""
    outputs = dict(module.outputs)
    compiled = compilation.compile(outputs)
    reference = compilation.compile(outputs, backend="reference")
    values = compiled(**{name: data[name] for name in compiled.inputs})
    expected = reference(**{name: data[name] for name in reference.inputs})
    return [
        Comparison(
            f"{name}: kernel against reference",
            relative_error(values[name], expected[name]),
            0.0,
            _VALUE_TOLERANCE.get(expected[name].dtype.name, 1e-10),
        )
        for name in outputs
    ]


def _where(module: Module, request: Any) -> str:
    """The name and line of a derivative in the program."""
    span = module.positions.get(request)
    label = module.labels.get(request)
    text = label if label is not None else (span.text if span is not None else request.op.kind)
    return f"{text} (line {span.line})" if span is not None else str(text)


def _report(found: list[Comparison], sizes: dict[str, int], seed: int, as_json: bool) -> None:
    failed = [each for each in found if not each.passed]
    if as_json:
        write_json({"passed": not failed, "sizes": sizes, "seed": seed, "comparisons": [_record(x) for x in found]})
    else:
        show(_table(found))
        listed = ", ".join(f"{name}={size}" for name, size in sorted(sizes.items()))
        write(f"{len(found) - len(failed)} of {len(found)} passed, seed {seed}{', sizes ' + listed if listed else ''}")
    if failed:
        worst = max(failed, key=lambda each: each.error)
        complain(f"{worst.name} is off by {worst.error:.2g} relative, more than {worst.tolerance:.0e}")
        raise typer.Exit(1)


def _table(found: list[Comparison]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading, justify in (("", "left"), ("what", "left"), ("error", "right"), ("allowed", "right")):
        table.add_column(heading, justify="right" if justify == "right" else "left")
    for each in found:
        verdict = "[green]ok[/]" if each.passed else "[bold red]FAIL[/]"
        allowed = each.tolerance + each.uncertainty
        table.add_row(verdict, each.name.replace("[", "\\["), f"{each.error:.1e}", f"{allowed:.1e}")
    return table


def _record(each: Comparison) -> dict[str, object]:
    return {
        "name": each.name,
        "passed": each.passed,
        "error": each.error,
        "tolerance": each.tolerance,
        "uncertainty": each.uncertainty,
    }
