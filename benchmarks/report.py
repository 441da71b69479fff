"""Outcomes as lines of a Markdown table, and as records for JSON."""

from __future__ import annotations

from typing import Any

from .harness import IN_C, OWN, Goal, Outcome, Timing

_HEADINGS = ("row", "Otus", "loops in C", "peers", "ratio", "in C", "goal", "", "in C")
_MET = {True: "met", False: "missed", None: "–"}


def head(machine: dict[str, Any]) -> str:
    """The machine in a line, and the head of the table."""
    versions = ", ".join(f"{name} {version or 'not installed'}" for name, version in machine["versions"].items())
    load = "" if machine["load"] is None else f", load average {machine['load'][0]:.1f}"
    first = f"{machine['processor']}, {machine['cores']} cores{load}; Python {machine['python']}; {versions}"
    return f"{first}\n\n| {' | '.join(_HEADINGS)} |\n|{'---|' * len(_HEADINGS)}"


def line(outcome: Outcome) -> str:
    """One row of the table: medians, half the distance between the quartiles, and every goal."""
    peers = [f"{name} {_time(timing)}" for name, timing in sorted_timings(outcome) if name not in OWN]
    peers += [f"{name} ({seconds_text(seconds)} reported elsewhere)" for name, seconds in outcome.row.quoted.items()]
    peers += [f"{name}: {reason}" for name, reason in outcome.reasons.items() if name not in OWN]
    goals = outcome.row.goals
    cells = (
        outcome.row.name,
        *(_own(outcome, name) for name in OWN),
        "; ".join(peers),
        *("; ".join(_ratio(outcome, goal, name) for goal in goals) for name in OWN),
        "; ".join(goal.text() for goal in goals),
        *("; ".join(_MET[outcome.met(goal, name)] for goal in goals) for name in OWN),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _own(outcome: Outcome, name: str) -> str:
    """Otus's time, or why there is none."""
    return _time(outcome.timings[name]) if name in outcome.timings else outcome.reasons.get(name, "–")


def sorted_timings(outcome: Outcome) -> list[tuple[str, Timing]]:
    """Fastest first."""
    return sorted(outcome.timings.items(), key=lambda item: item[1].median)


def _time(timing: Timing) -> str:
    return f"{seconds_text(timing.median)} ±{timing.spread:.0%}" + (
        "" if len(timing.samples) >= 7 else f" ({len(timing.samples)})"
    )


def seconds_text(seconds: float) -> str:
    """Three digits with a unit.

    >>> seconds_text(0.01234)
    '12.3 ms'
    """
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}" if seconds / scale < 1000 else f"{seconds / scale:.0f} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def _ratio(outcome: Outcome, goal: Goal, own: str) -> str:
    """The ratio of medians, and that of least times where other work on the machine makes them differ."""
    found, least = outcome.ratio(goal, own=own), outcome.ratio(goal, least=True, own=own)
    if found is None or least is None:
        return "–"
    if goal.extra is not None:
        return f"{found * 1e6:+.2f} µs"
    return f"{found:.3g}" + ("" if 0.8 < least / found < 1.25 else f" (least times: {least:.3g})")


def record(outcome: Outcome) -> dict[str, Any]:
    """All figures of a row."""
    return {
        "name": outcome.row.name,
        "sizes": list(outcome.row.sizes),
        "seconds": {
            name: {
                "median": timing.median,
                "spread": timing.spread,
                "least": timing.least,
                "samples": list(timing.samples),
            }
            for name, timing in outcome.timings.items()
        },
        "not_measured": outcome.reasons,
        "reported_elsewhere": dict(outcome.row.quoted),
        "best_peer": outcome.best_peer(),
        "goals": [
            {
                "text": goal.text(),
                "found": outcome.ratio(goal),
                "of_least": outcome.ratio(goal, least=True),
                "met": outcome.met(goal),
                "found_in_c": outcome.ratio(goal, own=IN_C),
                "met_in_c": outcome.met(goal, IN_C),
            }
            for goal in outcome.row.goals
        ],
    }
