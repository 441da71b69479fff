"""Outcomes on a GPU as lines of a Markdown table, and as records for JSON; and the suite as a whole."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

from ..machine import describe
from ..report import record as plain_record
from ..report import seconds_text, sorted_timings
from .device import Limits
from .process import Process
from .rows import ROWS
from .suite import BY_HAND, Measured

_HEADINGS = ("row", "Otus", "peers", "bytes", "memory", "of the limit", "error", "ratio", "goal", "")
_MET = {True: "met", False: "missed", None: "–"}


def measure(arguments: argparse.Namespace) -> int:
    """Run the rows one by one, print each when it is done, and keep the JSON up to date."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX would take most of the memory for itself
    rows = [row for row in ROWS if arguments.rows.lower() in row.name.lower()]
    if arguments.list:
        print("\n".join(f"gpu: {row.name}" for row in rows))
        return 0
    start = time.perf_counter()
    with Process(arguments.interpret, arguments.repetitions) as process:
        found = process.machine
        machine, limits = {**describe(), "device": found.device}, found.limits
        report: dict[str, Any] = {"machine": machine, "limits": {"copy": limits.copy, "products": limits.products}}
        report |= {"interpreted": found.interpreted, "repetitions": arguments.repetitions, "rows": []}
        write_json(
            arguments.json, report
        )  # now, so that a place that cannot be written to is known before all the work
        print(head(machine, limits), flush=True)
        missing: list[str] = []
        for row in rows:
            begin = time.perf_counter()
            measured = process.measured(row)
            now = time.perf_counter()
            print(line(measured, limits, judged=not found.interpreted), flush=True)
            missing += _missing(measured)
            report["rows"].append({**record(measured, limits), "seconds_taken": now - begin})
            write_json(arguments.json, {**report, "seconds": now - start})
    print(f"\n{len(rows)} rows in {time.perf_counter() - start:.0f} s")
    for each in missing:
        print(f"answers differ or are missing: {each}", file=sys.stderr)
    return 1 if missing else 0


def _missing(found: Measured) -> list[str]:
    """Answers that differ, and Otus's where there is none, with the reasons."""
    outcome = found.outcome
    names = [*outcome.wrong, *(["Otus"] if "Otus" in outcome.reasons and "Otus" not in outcome.wrong else [])]
    return [f"{outcome.row.name}: {name}: {outcome.reasons[name]}" for name in names]


def write_json(path: Path | None, report: dict[str, Any]) -> None:
    """Write a report in one step, after every row, so that a run that is cut short leaves its figures."""
    if path is None:
        return
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(path)


def head(machine: dict[str, Any], limits: Limits) -> str:
    """The machine and its measured limits in a line, and the head of the table."""
    versions = ", ".join(
        f"{name} {machine['versions'][name] or 'not installed'}" for name in ("torch", "triton", "jax")
    )
    rates = ", ".join(f"{kind} products {rate / 1e12:.0f} TFLOP/s" for kind, rate in limits.products.items())
    first = f"{machine['device']['name']}; Python {machine['python']}; {versions}; copies {limits.copy / 1e9:.0f} GB/s"
    return f"{first}{', ' + rates if rates else ''}\n\n| {' | '.join(_HEADINGS)} |\n|{'---|' * len(_HEADINGS)}"


def line(found: Measured, limits: Limits, judged: bool = True) -> str:
    """One row of the table: medians, the bytes that must move, and the share of the least time for these.

    Goals are not ``judged`` where times mean nothing.
    """
    outcome = found.outcome
    peers = [f"{name} {_time(timing)}" for name, timing in sorted_timings(outcome) if name != "Otus"]
    peers += [f"{name}: {reason}" for name, reason in outcome.reasons.items() if name != "Otus"]
    ours, goals = outcome.timings.get("Otus"), outcome.row.goals
    share = found.share(limits) if judged else None
    ratios = [outcome.ratio(goal) if judged else None for goal in goals]
    cells = (
        outcome.row.name,
        outcome.reasons.get("Otus", "–") if ours is None else _time(ours),
        "; ".join(peers),
        f"{found.moved / 1e9:.3g} GB",
        f"{found.peaks['Otus'] / 1e9:.3g} GB" if found.peaks.get("Otus") else "–",
        "–" if share is None else f"{share:.0%}",
        f"{found.errors['Otus']:.0e}" if "Otus" in found.errors else "–",
        "; ".join("–" if ratio is None else f"{ratio:.3g}" for ratio in ratios),
        "; ".join(goal.text() for goal in goals),
        "; ".join(_MET[outcome.met(goal) if judged else None] for goal in goals),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _time(timing: Any) -> str:
    return f"{seconds_text(timing.median)} ±{timing.spread:.0%}"


def record(found: Measured, limits: Limits) -> dict[str, Any]:
    """All figures of a row."""
    return {
        **plain_record(found.outcome),
        "errors": {name: error if math.isfinite(error) else None for name, error in found.errors.items()},
        "peak_bytes": found.peaks,
        "bytes": found.moved,
        "flops": found.flops,
        "least_seconds": limits.seconds(found.moved, found.flops, found.arithmetic),
        "share_of_limit": found.share(limits),
        "by_hand": list(BY_HAND),
    }
