"""``otus demo``: the main job, on measured tensors."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..examples import cp_decomposition as cp
from ..examples import pictures
from ..ir import OtusError
from .console import show, write, write_json
from .options import AsJson, one_of

_MAXIMUM = 200  # iterations of either method


class Which(StrEnum):
    """The tensors to decompose."""

    kinetic = "kinetic"
    indian_pines = "indian_pines"
    both = "both"


EXAMPLE = """\b
Example:
  otus demo
  otus demo --data kinetic --rank 3 --out pictures
"""


def demo(
    data: Annotated[Which, one_of("--data", Which, "Which of the two tensors.")] = Which.both,
    rank: Annotated[int, typer.Option("--rank", metavar="NUMBER", min=1, help="Components to fit.")] = 4,
    seed: Annotated[int, typer.Option("--seed", metavar="NUMBER", min=0, help="Seed of the first factors.")] = 0,
    tolerance: Annotated[
        float,
        typer.Option("--tolerance", metavar="NUMBER", help="Least gain in fit of an iteration worth going on for."),
    ] = 1e-6,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Where pictures go; a folder for temporary files by default.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decompose two measured tensors, in under a minute.

    The loss of cpd.otus is minimised with the gradients that Otus derives, by SciPy's L-BFGS-B, on a
    fluorescence experiment and a hyperspectral image that TensorLy ships. The fit stands beside that
    of TensorLy's own parafac, from the same start and with the same tolerance. A picture of the
    factors is saved where matplotlib is installed.
    """
    names = [Which.kinetic, Which.indian_pines] if data is Which.both else [data]
    folder = picture_folder(out)
    records = []
    with cp.one_thread():
        for name in names:
            loaded = cp.load_data(name.value)
            records.append(_decompose(loaded, rank, seed, tolerance, folder, quiet=as_json))
    if as_json:
        write_json({"rank": rank, "tolerance": tolerance, "seed": seed, "results": records})


def picture_folder(out: Path | None) -> Path | None:
    """The folder for pictures, made if need be; None without matplotlib."""
    if not pictures.matplotlib_is_installed():
        return None
    folder = out if out is not None else Path(tempfile.gettempdir()) / "otus-demo"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OtusError(f"pictures cannot be saved in {folder}: {error.strerror or error}") from None
    return folder


def _decompose(
    data: cp.Data, rank: int, seed: int, tolerance: float, folder: Path | None, quiet: bool
) -> dict[str, object]:
    initial = cp.initial_factors(data, rank, seed)
    if not quiet:
        write(f"{data.title}: {' × '.join(map(str, data.tensor.shape))}{_measured(data)}, rank {rank}, {data.program}")
        sys.stdout.flush()
    with _watching(f"{data.title} with Otus", _MAXIMUM) as watch:
        mine = cp.decompose(data, initial, tolerance, _MAXIMUM, watch)
    with _watching(f"{data.title} with TensorLy", None):
        theirs = cp.decompose_with_tensorly(data, initial, tolerance, _MAXIMUM)
    picture = None
    if folder is not None:
        picture = folder / f"{data.name}.png"
        pictures.draw_factors(data, mine.factors, f"{data.title}, rank {rank}, fit {mine.fit:.4f}", picture)
    if not quiet:
        show(_table(mine, theirs))
        write(f"  factors: {picture or 'no picture, since matplotlib is not installed (pip install matplotlib)'}\n")
    return {
        "data": data.name,
        "shape": list(data.tensor.shape),
        "program": data.program,
        "otus": _record(mine),
        "tensorly": _record(theirs),
        "picture": None if picture is None else str(picture),
    }


def _measured(data: cp.Data) -> str:
    if data.weights is None:
        return ""
    missing = data.weights.size - int(data.weights.sum())
    return f" ({missing} entries missing)"


def _table(mine: cp.Decomposition, theirs: cp.Decomposition) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("")
    for heading in ("fit", "iterations", "seconds"):
        table.add_column(heading, justify="right")
    for name, found in (("Otus gradients, L-BFGS-B", mine), ("TensorLy parafac", theirs)):
        table.add_row(name, f"{found.fit:.4f}", str(found.iterations), f"{found.seconds:.1f}")
    return table


def _record(found: cp.Decomposition) -> dict[str, object]:
    return {"fit": found.fit, "iterations": found.iterations, "seconds": found.seconds}


@contextmanager
def _watching(title: str, maximum: int | None) -> Iterator[Callable[[int, float], None]]:
    """A line on stderr with the iteration, the fit and the time, once a second has passed and on a terminal."""
    if not sys.stderr.isatty():
        yield lambda iteration, fit: None
        return
    console = Console(stderr=True, highlight=False)
    start = time.perf_counter()
    with console.status(f"{title} …") as status:

        def watch(iteration: int, fit: float) -> None:
            passed = time.perf_counter() - start
            status.update(f"{title}: iteration {iteration} of at most {maximum}, fit {fit:.5f}, {passed:.0f} s")

        yield watch
