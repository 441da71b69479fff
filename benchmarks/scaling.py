"""Time against size, Otus beside its peers: ``python -m benchmarks.scaling --json FILE --picture docs/scaling.svg``.

Each panel is one program at growing sizes, measured as the tables are: answers compared, then rounds in which all
take their turn.  A contender that took longer than a second at one size is left out of the larger ones.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .decompositions import cp_als
from .elementwise import chain
from .gradients import elementwise
from .harness import IN_C, Case, Row, run_row
from .hessians import logistic, matrix_factorisation
from .machine import cores, describe
from .products import attention, network

ROUNDS = 5
_TOO_LONG = 1.0  # seconds
_STYLES = {"Otus": ("#c0392b", "o"), IN_C: ("#e67e22", "s"), "NumPy by hand": ("0.6", "x"), "JAX": ("#2980b9", "^"),
           "torch": ("#8e44ad", "v"), "torch.compile": ("#27ae60", "D"), "TensorLy": ("#16a085", "P"),
           "NumExpr": ("#7f8c8d", "*"), "opt_einsum": ("#2c3e50", "<"), "cotengra": ("#d35400", ">"),
           "torch.einsum": ("#8e44ad", "v"), "bare GEMMs": ("0.6", "x"), "tensorgrad": ("#b7950b", "p"),
           "tensorgrad, torch.compile": ("#6e2c00", "h")}  # fmt: skip

Sizes = tuple[Any, ...]
Seconds = dict[str, dict[int, float]]


@dataclass(frozen=True)
class Panel:
    """A program at several sizes: ``build(*sizes(n))`` for each ``n`` of ``lengths``."""

    name: str
    axis: str
    build: Callable[..., Case]
    sizes: Callable[[int], Sizes]
    lengths: tuple[int, ...]
    tiny: int


def _mttkrp(n: int) -> Sizes:
    return ("ijk,jr,kr->ir", (n, n, n), (n, 20), (n, 20))


PANELS = (
    Panel("Hessian of logistic regression", "features d, 2d points", logistic,
          lambda n: (2 * n, n), (16, 32, 64, 128, 256, 512, 1024), 3),
    Panel("Hessian of matrix factorisation n×n, rank 5, compressed", "n", matrix_factorisation,
          lambda n: (n, 5, True), (8, 16, 32, 64, 128, 256), 3),
    Panel("HVP of attention, width 64, 4 heads", "tokens", attention,
          lambda n: ("hvp", n, 64, 4), (16, 32, 64, 128, 256, 512), 3),
    Panel("MTTKRP of n³, R = 20", "n", network, _mttkrp, (8, 16, 32, 64, 128, 256), 3),
    Panel("CP-ALS, 5 sweeps, n³, R = 10", "n", cp_als, lambda n: (3, n, 10), (10, 20, 40, 80, 160), 4),
    Panel("gradient of layer norm, n×1024", "n", elementwise,
          lambda n: ("layer norm", n, 1024), (1, 4, 16, 64, 256, 1024), 2),
    Panel("exp(−x²/2)·sin(3x) + y", "elements", chain,
          lambda n: ("exp(−x²/2)·sin(3x) + y", n), (100, 1000, 10_000, 100_000, 1_000_000, 4_000_000), 10),
)  # fmt: skip


def measured(panel: Panel, lengths: Sequence[int], rounds: int = ROUNDS) -> Seconds:
    """Median seconds of each contender at each length."""
    found: Seconds = {}
    slow: set[str] = set()
    for length in lengths:
        row = Row(f"{panel.name}: {length}", _without(panel.build, slow), panel.sizes(length))
        outcome = run_row(row, rounds)
        if outcome.wrong:
            raise SystemExit(f"{row.name}: {', '.join(f'{x}: {outcome.reasons[x]}' for x in outcome.wrong)}")
        for name, timing in outcome.timings.items():
            found.setdefault(name, {})[length] = timing.median
            if timing.median > _TOO_LONG:
                slow.add(name)
    return found


def _without(build: Callable[..., Case], names: set[str]) -> Callable[..., Case]:
    def made(*sizes: Any) -> Case:
        case = build(*sizes)
        return replace(case, peers={name: peer for name, peer in case.peers.items() if name not in names})

    return made


def draw(panels: Mapping[str, tuple[str, Seconds]], title: str, path: Path) -> None:
    """One panel for each program, on logarithmic axes, as SVG whose text stays text."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "otus", "font.size": 9})
    columns = 2
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(10, 3.4 * rows), layout="constrained")
    FigureCanvasSVG(figure)
    places = [place for line in figure.subplots(rows, columns, squeeze=False) for place in line]
    for place, (name, (axis, seconds)) in zip(places, panels.items(), strict=False):
        _draw_panel(place, name, axis, seconds)
    for place in places[len(panels) :]:
        place.set_axis_off()
    figure.suptitle(title, fontsize=9)
    figure.savefig(path, metadata={"Date": None})


def _draw_panel(place: Any, name: str, axis: str, seconds: Seconds) -> None:
    from matplotlib.ticker import NullFormatter

    for contender, found in seconds.items():
        colour, marker = _STYLES.get(contender, ("0.4", "."))
        width = 2.0 if contender.startswith("Otus") else 1.1
        place.loglog(list(found), list(found.values()), color=colour, marker=marker, markersize=4, linewidth=width,
                     label=contender)  # fmt: skip
    place.set_title(name, fontsize=9)
    place.set_xlabel(axis)
    place.set_ylabel("seconds")
    place.xaxis.set_minor_formatter(NullFormatter())
    place.grid(visible=True, which="major", linewidth=0.3)
    place.legend(fontsize=7, frameon=False)


def results(panels: Sequence[Panel]) -> Iterator[tuple[Panel, Seconds]]:
    """Each panel when it is measured."""
    for panel in panels:
        yield panel, measured(panel, panel.lengths)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw them here (needs matplotlib)")
    parser.add_argument("--rows", metavar="TEXT", default="", help="only programs whose name contains this")
    arguments = parser.parse_args()
    os.environ["OTUS_CACHE"] = "0"
    warnings.simplefilter("ignore")  # of the peers, about what they are asked to do
    machine = describe()
    shown: dict[str, tuple[str, Seconds]] = {}
    for panel, seconds in results([x for x in PANELS if arguments.rows.lower() in x.name.lower()]):
        shown[panel.name] = panel.axis, seconds
        print(panel.name, flush=True)
        for name, found in seconds.items():
            print(f"  {name}: {', '.join(f'{length}: {value:.3g} s' for length, value in found.items())}", flush=True)
    if arguments.json is not None:
        report = {"machine": machine, "threads": cores(), "panels": {name: x[1] for name, x in shown.items()}}
        arguments.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if arguments.picture is not None:
        title = f"median seconds; {machine['processor']}, {machine['cores']} cores, float64"
        draw(shown, title, arguments.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
