"""Outcomes on a GPU as lines of a Markdown table, and as records for JSON; and the suite as a whole."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any

from ..machine import describe
from ..report import record as plain_record
from ..report import seconds_text, sorted_timings
from .device import Gpu, Host, Limits
from .rows import ROWS
from .suite import BY_HAND, Device, Measured, run_row

_HEADINGS = ("row", "Otus", "peers", "bytes", "memory", "of the limit", "error", "ratio", "goal", "")
_MET = {True: "met", False: "missed", None: "–"}


def measure(arguments: argparse.Namespace) -> int:
    """Run the rows one by one, print each when it is done, and keep the JSON up to date."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX would take most of the memory for itself
    device = _device(arguments.interpret)
    rows = [row for row in ROWS if arguments.rows.lower() in row.name.lower()]
    if arguments.list:
        print("\n".join(f"gpu: {row.name}" for row in rows))
        return 0
    start = time.perf_counter()
    machine, limits = {**describe(), "device": device.describe()}, device.limits()
    print(head(machine, limits), flush=True)
    records: list[dict[str, Any]] = []
    wrong: list[str] = []
    for row in rows:
        found = run_row(row, device, arguments.repetitions, tiny=device.interpret)
        wrong += [f"{row.name}: {name}: {found.outcome.reasons[name]}" for name in found.outcome.wrong]
        if "Otus" in found.outcome.reasons and "Otus" not in found.outcome.wrong:
            wrong.append(f"{row.name}: Otus: {found.outcome.reasons['Otus']}")
        records.append(record(found, limits))
        print(line(found, limits, judged=not device.interpret), flush=True)
        device.forget()
        if arguments.json is not None:  # after every row, so that a run that is cut short leaves its figures
            report = {"machine": machine, "limits": {"copy": limits.copy, "products": limits.products}}
            report |= {"interpreted": device.interpret, "repetitions": arguments.repetitions}
            report |= {"seconds": time.perf_counter() - start, "rows": records}
            arguments.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"\n{len(records)} rows in {time.perf_counter() - start:.0f} s")
    for each in wrong:
        print(f"answers differ or are missing: {each}", file=sys.stderr)
    return 1 if wrong else 0


def _device(interpret: bool) -> Device:
    """The GPU; where there is none, or it is not to be used, the host."""
    import torch

    return Host() if interpret or not torch.cuda.is_available() else Gpu()


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
        "errors": found.errors,
        "peak_bytes": found.peaks,
        "bytes": found.moved,
        "flops": found.flops,
        "least_seconds": limits.seconds(found.moved, found.flops, found.arithmetic),
        "share_of_limit": found.share(limits),
        "by_hand": list(BY_HAND),
    }
