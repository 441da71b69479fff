"""Where the time of a row goes: ``python -m benchmarks.gaps --suite gradients --rows mixture``.

Each statement of the emitted module is timed, and stands beside what its program plans at rates that are measured
here first, on the same cores: matrix products by their operations, passes over arrays by their bytes, functions
such as exp by their elements, matrix algebra by its operations.  Planned figures know of no call, no fresh memory
and no unfavourable shape: what they lack is the gap.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from .harness import OWN, Row
from .machine import cores
from .problem import OtusCall
from .report import seconds_text

KINDS = ("products", "passes", "functions", "matrix algebra")
SUITES = ("hessians", "gradients", "products", "elementwise")
_CACHED_BYTES, _SHARED_BYTES = 1 << 20, 1 << 24
_ROUNDS = 30


@dataclass(frozen=True)
class Rates:
    """Operations and bytes a second on all cores, and the seconds of each function on one element."""

    products: float
    algebra: float
    copies: tuple[float, float, float]
    functions: dict[str, float]

    def copied(self, moved: int) -> float:
        """Seconds to read and write so many bytes, from the cache of a core, a shared one, or memory."""
        return moved / self.copies[(moved > _CACHED_BYTES) + (moved > _SHARED_BYTES)]

    def text(self) -> str:
        """One line."""
        listed = ", ".join(f"{name} {1e9 * seconds:.2g}" for name, seconds in self.functions.items())
        return (
            f"{cores()} cores: products {self.products / 1e9:.3g} Gflop/s, inverses {self.algebra / 1e9:.3g} Gflop/s, "
            f"copies {' / '.join(f'{rate / 1e9:.3g}' for rate in self.copies)} GB/s within a core's cache, "
            f"a shared one, from memory; ns an element: {listed}"
        )


def measured_rates(functions: Sequence[str] = ("exp", "log", "tanh", "sin", "sqrt")) -> Rates:
    """The machine's own, by NumPy."""
    square = np.random.default_rng(0).normal(size=(1000, 1000))
    sample = np.random.default_rng(1).uniform(0.1, 1.0, size=1 << 15)
    out = np.empty_like(sample)
    each = {name: _function_seconds(getattr(np, name), sample, out) for name in functions}
    return Rates(
        2e9 / _least(lambda: square @ square),
        8e9 / 3 / _least(lambda: np.linalg.inv(square)),
        (_copy_rate(1 << 14), _copy_rate(1 << 18), _copy_rate(1 << 22)),
        each,
    )


def _copy_rate(elements: int) -> float:
    """Bytes read and written a second, each core copying an array of its own."""
    pairs = [(np.ones(elements), np.empty(elements)) for _ in range(cores())]
    repeat = max((1 << 20) // elements, 1)

    def copy(pair: Any) -> None:
        for _ in range(repeat):
            np.copyto(pair[1], pair[0])

    with ThreadPoolExecutor(cores()) as pool:
        return 16 * elements * repeat * cores() / _least(lambda: list(pool.map(copy, pairs)))


def _function_seconds(function: Any, sample: Any, out: Any) -> float:
    """Of one element, where all cores have some."""
    return _least(lambda: function(sample, out)) / sample.size / cores()


def _least(call: Callable[[], object]) -> float:
    call()
    found = []
    for _ in range(9):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


# --- planned -----------------------------------------------------------------------------------


def planned(program: Any, rates: Rates) -> list[Counter[str]]:
    """Seconds by kind, for each call of a program whose sizes are known."""
    buffers = program.buffer_map()
    return [_planned_call(call, buffers, rates) for call in program.calls]


def _planned_call(call: Any, buffers: Any, rates: Rates) -> Counter[str]:
    from otus.ir.cost import flops
    from otus.ir.dims import evaluate
    from otus.ir.kernels import BlockLoop, Contraction, Factorisation
    from otus.ir.operations import linear_algebra

    if call.kernel.view:
        return Counter()
    moved = sum(_bytes(buffers[name]) for name in dict.fromkeys((*call.inputs, *call.outputs)))
    passing = rates.copied(moved)
    if isinstance(call.kernel, BlockLoop):
        return Counter({"passes": passing, "functions": _loop_functions(call.kernel, rates)})
    operations = evaluate(flops(call.node), {})
    if isinstance(call.kernel, Contraction) and call.kernel.method == "matrix":
        return Counter({"products": max(operations / rates.products, passing)})
    if isinstance(call.kernel, Factorisation) or type(call.node.op).__module__ == linear_algebra.__name__:
        return Counter({"matrix algebra": operations / rates.algebra})
    return Counter({"passes": passing, "functions": _functions(call.node, {}, rates)})


def _bytes(buffer: Any) -> int:
    return int(np.prod(buffer.type.shape, dtype=np.int64)) * max(buffer.type.dtype.bits // 8, 1)


def _functions(node: Any, sizes: dict[str, int], rates: Rates) -> float:
    """The seconds of the functions that a map evaluates."""
    from otus.ir.dims import evaluate, product
    from otus.ir.operations import Map
    from otus.ir.scalar import Call, postorder

    if not isinstance(node.op, Map):
        return 0.0
    names = [part.function for part in postorder(node.op.expression) if isinstance(part, Call)]
    return evaluate(product(node.type.shape), sizes) * sum(_seconds_of(name, rates) for name in names)


# What functions that NumPy does not have are made of.
_MADE_OF = {
    **dict.fromkeys(("sigmoid", "erf", "erfc", "expm1"), ("exp",)),
    **dict.fromkeys(("softplus", "logaddexp", "pow"), ("exp", "log")),
    "log1p": ("log",),
    "cos": ("sin",),
    "rsqrt": ("sqrt",),
}


def _seconds_of(name: str, rates: Rates) -> float:
    return sum(rates.functions.get(part, 0.0) for part in _MADE_OF.get(name, (name,)))


def _loop_functions(loop: Any, rates: Rates) -> float:
    sizes = {loop.symbol: loop.block}
    share = loop.size / loop.block
    return share * sum(_functions(call.node, sizes, rates) for call in loop.body.calls)


# --- achieved ----------------------------------------------------------------------------------


def achieved(call: OtusCall) -> list[float]:
    """Median seconds of each statement of the emitted module, in order; of what is between them at the end."""
    function = call.function
    lines = function.source.splitlines()
    for statement in reversed(function.provenance):
        lines.insert(statement.last, "    _marks.append(_clock())")
    marks: list[float] = []
    namespace: dict[str, Any] = {"__name__": "timed", "_marks": marks, "_clock": time.perf_counter}
    exec(compile("\n".join(lines), "<timed>", "exec"), namespace)
    run, arguments = namespace[function.plan_for({}).emitted.function], [call.arrays[x] for x in function.inputs]
    rounds = []
    for _ in range(_ROUNDS):
        marks.clear()
        start = time.perf_counter()
        run(*arguments)
        rounds.append([*np.diff([start, *marks]), time.perf_counter() - marks[-1]])
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def analysed(call: OtusCall, rates: Rates) -> tuple[Counter[str], Counter[str]]:
    """Planned and achieved seconds by kind; a statement's time is shared out as its plan is."""
    calls = planned(call.function.program, rates)
    *times, rest = achieved(call)
    plan, found = Counter[str](), Counter[str]({"calls and release": rest})
    for each, seconds in zip(calls, times, strict=True):
        plan.update(each)
        total = sum(each.values())
        for kind, share in each.items():
            found[kind] += seconds * (share / total)
        if not total:
            found["calls and release"] += seconds
    return plan, found


# --- the table ---------------------------------------------------------------------------------


def rows(suites: Sequence[str], text: str) -> Iterator[Row]:
    """The rows that have one compiled function."""
    import importlib

    for suite in suites:
        for row in importlib.import_module(f"{__package__}.{suite}").ROWS:
            if text.lower() in row.name.lower():
                yield row


def lines_of(row: Row, rates: Rates, sizes: Sequence[Any]) -> Iterator[str]:
    """A line for each of Otus's contenders."""
    case = row.build(*sizes)
    for name, build in zip(OWN, (case.otus, case.in_c), strict=True):
        call = build() if build is not None else None
        if isinstance(call, OtusCall) and hasattr(call.function, "program"):
            plan, found = analysed(call, rates)
            cells = [f"{_text(found[kind])} of {_text(plan[kind])}" for kind in KINDS]
            total = f"{_text(sum(found.values()))} of {_text(sum(plan.values()))}"
            ratio = sum(plan.values()) / sum(found.values())
            yield f"| {row.name}, {name} | {total} | {ratio:.2f} | " + " | ".join(cells) + " |"


def _text(seconds: float) -> str:
    return seconds_text(seconds) if seconds >= 1e-7 else "0"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gaps", description=__doc__.partition("\n")[0])
    parser.add_argument("--suite", choices=SUITES, help="all that have compiled functions unless told")
    parser.add_argument("--rows", metavar="TEXT", default="", help="only rows whose name contains this")
    arguments = parser.parse_args()
    os.environ["OTUS_CACHE"] = "0"
    rates = measured_rates()
    print(rates.text(), "\n", flush=True)
    print("| row | took, of planned | planned / took | " + " | ".join(KINDS) + " |")
    print("|---" * (3 + len(KINDS)) + "|")
    for row in rows((arguments.suite,) if arguments.suite else SUITES, arguments.rows):
        for line in lines_of(row, rates, row.sizes):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
