"""``otus bench``: how long the compiled program takes, beside the same program unoptimised."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from ..checking import relative_error
from ..frontend.language import Module
from ..ir import OtusError, cost
from ..runtime.compiled import CompiledFunction
from .compile import compile_module
from .console import note, progress, show, write, write_json
from .inputs import read_inputs
from .options import AsJson, Pipeline, ProgramFile, Sizes, read_pairs, read_sizes
from .program import check_sizes, graph_of, load_program, sized_outputs
from .run_program import Sources

# The least that makes kernels of a program: its requests for derivatives expanded, its products taken in pairs.
UNOPTIMISED = "expand,contract{optimizer=greedy}"
_COMPILED, _PLAIN, _REFERENCE = "compiled", "unoptimised", "reference"
_REFERENCE_FLOPS = 10**8  # beyond, the reference interpreter is not waited for
_TOLERANCE = {"float32": 1e-3, "complex64": 1e-3, "float16": 1e-1}
_SHORTEST_SAMPLE = 2e-3  # seconds, so that the clock does not count

EXAMPLE = """\b
Example:
  otus bench cpd.otus --dim i=100 --dim j=100 --dim k=100 --dim r=10
  otus bench cpd.otus --in X=x.npy --dim r=10 --json
"""


@dataclass(frozen=True)
class Contender:
    """One way to run the program: its seconds a call, one for each round, or why there are none."""

    name: str
    planning: float
    seconds: tuple[float, ...] = ()
    reason: str = ""

    @property
    def median(self) -> float:
        """Seconds of a call."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half of the distance between the quartiles, relative to the median."""
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return (high - low) / 2 / self.median


def bench(
    file: ProgramFile,
    data: Sources = None,
    dim: Sizes = None,
    pipeline: Pipeline = None,
    repetitions: Annotated[
        int, typer.Option("--repetitions", metavar="NUMBER", min=2, help="Rounds; in each, every contender runs.")
    ] = 7,
    as_json: AsJson = False,
) -> None:
    """Time a program beside itself unoptimised, and beside the reference interpreter where that is quick.

    The contenders take turns in one process, after their answers were compared. Tensors without
    data are random; --dim says the sizes that no file settles.
    """
    sources, sizes = read_pairs(data, "--in", "X=x.npy"), read_sizes(dim)
    module = load_program(file)
    check_sizes(module, sizes)
    with progress(f"compiling {file}"), np.errstate(all="ignore"):
        start = time.perf_counter()
        function = compile_module(module, "numpy", sizes, pipeline)
        planning = time.perf_counter() - start
        plain = compile_module(module, "numpy", sizes, UNOPTIMISED)
    needed = dict.fromkeys((*function.inputs, *plain.inputs))
    made = {name: f"random:{seed}" for seed, name in enumerate(needed) if name not in sources}
    inputs = read_inputs(module, {**made, **sources}, sizes, list(needed))
    with progress(f"timing {file}"), np.errstate(all="ignore"):
        found = _contend(module, function, planning, plain, inputs.arrays, inputs.sizes, sizes, repetitions)
    _report(str(file), found, inputs.sizes, as_json)


def _contend(
    module: Module,
    function: CompiledFunction,
    planning: float,
    plain: CompiledFunction,
    arrays: Mapping[str, Any],
    bound: Mapping[str, int],
    sizes: Mapping[str, int],
    repetitions: int,
) -> list[Contender]:
    """Compare the answers of all, then time them."""
    functions = {_COMPILED: function, _PLAIN: plain}
    skipped = []
    if _flops(module, bound) <= _REFERENCE_FLOPS:
        functions[_REFERENCE] = compile_module(module, "reference", dict(sizes), None)
    else:
        skipped.append(Contender(_REFERENCE, 0.0, reason=f"left out: more than {_REFERENCE_FLOPS:.0e} operations"))
    calls = {name: _call(each, arrays) for name, each in functions.items()}
    start = time.perf_counter()
    expected = calls[_COMPILED]()  # the first call plans for these sizes
    first = time.perf_counter() - start
    for name, call in calls.items():
        if name != _COMPILED:
            _check_same(name, expected, call())
    seconds = time_in_turns(calls, repetitions)
    planned = {_COMPILED: planning + max(0.0, first - statistics.median(seconds[_COMPILED]))}
    return [*(Contender(name, planned.get(name, 0.0), seconds[name]) for name in calls), *skipped]


def _call(function: CompiledFunction, arrays: Mapping[str, Any]) -> Callable[[], Any]:
    chosen = {name: arrays[name] for name in function.inputs}
    return lambda: function(**chosen)


def _flops(module: Module, sizes: Mapping[str, int]) -> int:
    """Operations of the program as it is written, each einsum one loop over all its indices."""
    from ..passes import parse_pipeline

    graph, _ = parse_pipeline("expand").run(graph_of(module, sized_outputs(module, dict(sizes))))
    return int(cost(graph.outputs, ()).flops)


def _check_same(name: str, expected: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    for output, value in values.items():
        error = relative_error(expected[output], value)
        allowed = _TOLERANCE.get(value.dtype.name, 1e-8)
        if not error <= allowed:
            raise OtusError(
                f"nothing is timed: output {output!r} of the compiled program differs from that of the {name} one by "
                f"{error:.1e} relative, and {allowed:.0e} is accepted; `otus check` looks for the reason"
            )


def time_in_turns(calls: Mapping[str, Callable[[], Any]], repetitions: int) -> dict[str, tuple[float, ...]]:
    """Seconds a call, by contender: rounds in which each runs once untimed and then timed."""
    loops = {name: max(1, round(_SHORTEST_SAMPLE / max(_seconds(call, 1), 1e-7))) for name, call in calls.items()}
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repetitions):
        for name, call in calls.items():
            call()
            found[name].append(_seconds(call, loops[name]))
    return {name: tuple(seconds) for name, seconds in found.items()}


def _seconds(call: Callable[[], Any], loops: int) -> float:
    start = time.perf_counter()
    for _ in range(loops):
        call()
    return (time.perf_counter() - start) / loops


# --- what is shown -----------------------------------------------------------------------------


def _report(file: str, found: list[Contender], sizes: Mapping[str, int], as_json: bool) -> None:
    if as_json:
        write_json({"file": file, "sizes": dict(sizes), "contenders": [_record(each, found[0]) for each in found]})
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("", "median", "spread", "times compiled"):
        table.add_column(heading, justify="right" if heading else "left")
    for each in found:
        if each.seconds:
            ratio = each.median / found[0].median
            table.add_row(each.name, _duration(each.median), f"±{each.spread:.0%}", f"{ratio:.2f}")
    show(table)
    for each in found:
        if each.reason:
            write(f"{each.name}: {each.reason}")
    listed = ", ".join(f"{name}={size}" for name, size in sorted(sizes.items()))
    rounds = f"{len(found[0].seconds)} rounds{', sizes ' + listed if listed else ''}"
    write(f"{rounds}; compiled in {found[0].planning:.2f} s")
    if len(found) > 1 and found[0].median > 1.05 * found[1].median:
        note("the compiled program is slower than the unoptimised one at these sizes")


def _record(each: Contender, first: Contender) -> dict[str, Any]:
    if not each.seconds:
        return {"name": each.name, "reason": each.reason}
    measured = {"median": each.median, "spread": each.spread, "seconds": list(each.seconds)}
    ratio = each.median / first.median
    planning = {"planning": each.planning} if each is first else {}
    return {"name": each.name, **measured, "times_compiled": ratio, **planning}


def _duration(seconds: float) -> str:
    """Seconds in the unit in which they are easiest to read.

    >>> _duration(0.00123)
    '1.23 ms'
    """
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"
