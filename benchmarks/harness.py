"""Contenders timed side by side: the answers compared first, then rounds in which each takes its turn.

Every round gives each contender a pause, in which the threads of the one before come to rest (OpenBLAS
and OpenMP spin for some milliseconds), one untimed call, which brings caches and threads back, and then
the timed ones.  The order rotates from round to round.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Call = Callable[[], Any]
Builder = Callable[[], Call]
Array = npt.NDArray[Any]

IN_C = "Otus, loops in C"
OWN = ("Otus", IN_C)

REPETITIONS = 7
SLOW_REPETITIONS = 3  # of a contender that takes longer than _SLOW; the table says how many
_SLOW = 1.0  # seconds
_ONCE = 8.0  # seconds from which the call before the rounds is the only sample
_SHORTEST_SAMPLE = 2e-3
_PAUSE = 0.03
_NO_WARM_UP = 0.5  # from here on a call is its own warm-up


class UnavailableError(Exception):
    """A contender cannot run here; the message says why."""


@dataclass(frozen=True)
class Case:
    """Otus and its peers on one set of data: each builder compiles, and returns a call without arguments.

    ``answer`` brings what calls return into a form in which equal answers are equal; ``by_hand`` names
    contenders that are no library, which do not count for the best peer.  ``in_c`` is Otus with the backend
    ``"c"``, where the program has elementwise work for it.
    """

    otus: Builder
    peers: Mapping[str, Builder]
    answer: Callable[[Any], Any] = lambda value: value
    tolerance: float = 1e-7
    by_hand: tuple[str, ...] = ()
    in_c: Builder | None = None

    def builders(self) -> dict[str, Builder]:
        own = {"Otus": self.otus} if self.in_c is None else {"Otus": self.otus, IN_C: self.in_c}
        return {**own, **self.peers}


@dataclass(frozen=True)
class Goal:
    """What a row should reach: ``ratio`` of the time of ``against`` (the best library if empty) to Otus's.

    With ``extra`` instead: Otus takes at most so many seconds more.
    """

    ratio: float = 1.0
    against: str = ""
    extra: float | None = None

    def text(self) -> str:
        peer = self.against or "the best peer"
        return f"≥ {self.ratio:g} of {peer}" if self.extra is None else f"≤ {self.extra * 1e6:g} µs over {peer}"


@dataclass(frozen=True)
class Row:
    """One line of a table: ``build(*sizes)`` makes the case; ``tiny`` are sizes for a test."""

    name: str
    build: Callable[..., Any]
    sizes: tuple[Any, ...] = ()
    tiny: tuple[Any, ...] = ()
    goals: tuple[Goal, ...] = (Goal(),)
    quoted: Mapping[str, float] = field(default_factory=dict)  # seconds that others report, elsewhere measured


@dataclass(frozen=True)
class Timing:
    """Seconds of single calls, one sample a round."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def least(self) -> float:
        """What other work on the machine disturbed least."""
        return min(self.samples)

    @property
    def spread(self) -> float:
        """Half of the distance between the quartiles, relative to the median."""
        if len(self.samples) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return (high - low) / 2 / self.median


@dataclass(frozen=True)
class Outcome:
    """A measured row: a timing by contender, or the reason why there is none."""

    row: Row
    timings: dict[str, Timing]
    reasons: dict[str, str]
    by_hand: tuple[str, ...]
    wrong: tuple[str, ...] = ()  # contenders whose answer differs from Otus's

    def best_peer(self) -> str | None:
        libraries = [x for x in self.timings if x not in OWN and x not in self.by_hand]
        return min(libraries, key=lambda x: self.timings[x].median, default=None)

    def ratio(self, goal: Goal, least: bool = False, own: str = "Otus") -> float | None:
        """Peer's time over Otus's (seconds more than the peer for a goal with ``extra``), None if not measured.

        Of medians, by which goals are judged; or of each contender's least time.  ``own`` is one of ``OWN``.
        """
        peer = goal.against or self.best_peer()
        if peer not in self.timings or own not in self.timings:
            return None
        ours, theirs = (x.least if least else x.median for x in (self.timings[own], self.timings[peer]))
        return theirs / ours if goal.extra is None else ours - theirs

    def met(self, goal: Goal, own: str = "Otus") -> bool | None:
        """Whether the goal is reached with one of ``OWN``; None if not measured."""
        found = self.ratio(goal, own=own)
        if found is None:
            return None
        return found >= goal.ratio if goal.extra is None else found <= goal.extra


def run_row(row: Row, repetitions: int = REPETITIONS, tiny: bool = False, pause: float = _PAUSE) -> Outcome:
    """Build, compare and time the contenders of a row."""
    case = row.build(*(row.tiny if tiny else row.sizes))
    calls, answers, reasons = _built(case)
    wrong = []
    if "Otus" in answers:
        for name, answer in answers.items():
            error = difference(answer, answers["Otus"])
            if not error <= case.tolerance:
                wrong.append(name)
                reasons[name] = f"its answer differs from that of Otus by {error:.1e} relative"
                del calls[name]
    del answers
    timings = time_calls(calls, repetitions, pause)
    return Outcome(row, timings, reasons, case.by_hand, tuple(wrong))


def _built(case: Case) -> tuple[dict[str, Call], dict[str, list[Array]], dict[str, str]]:
    """Calls and answers; and why some contenders have none: that is a result of a benchmark, not its failure."""
    calls, answers, reasons = {}, {}, {}
    for name, build in case.builders().items():
        try:
            call = build()
            answers[name] = numbers(case.answer(call()))
        except Exception as error:  # noqa: BLE001  a peer may fail in any way; the table says how
            text = str(error).strip() or type(error).__name__
            lead = "" if isinstance(error, UnavailableError) else f"{type(error).__name__}: "
            reasons[name] = lead + text.splitlines()[0][:200]
        else:
            calls[name] = call
    return calls, answers, reasons


# --- answers -----------------------------------------------------------------------------------


def numbers(value: Any) -> list[Array]:
    """The arrays of an answer, in order, whatever library and structure they come in."""
    if hasattr(value, "to_dense") and hasattr(value, "core"):
        return [np.asarray(value.to_dense())]
    if isinstance(value, dict):
        return [array for item in value.values() for array in numbers(item)]
    if isinstance(value, (list, tuple)):
        return [array for item in value for array in numbers(item)]
    return [np.asarray(value.detach() if hasattr(value, "detach") else value)]


def difference(answer: Sequence[Array], expected: Sequence[Array]) -> float:
    """The largest difference relative to the largest element; infinite where shapes differ or a NaN is met.

    >>> difference([np.array([1.0, 2.0])], [np.array([1.0, 1.0])])
    1.0
    """
    if [x.shape for x in answer] != [x.shape for x in expected]:
        return math.inf
    worst = 0.0
    for one, other in zip(answer, expected, strict=True):
        if other.size:
            scale = float(np.abs(other).max()) or 1.0
            error = float(np.abs(one - other).max()) / scale
            if not math.isfinite(error):
                return math.inf
            worst = max(worst, error)
    return worst


# --- times -------------------------------------------------------------------------------------


def time_calls(calls: Mapping[str, Call], repetitions: int, pause: float = _PAUSE) -> dict[str, Timing]:
    """A timing for each call, in interleaved rounds."""
    single = {name: seconds_of(call, 1) for name, call in calls.items()}
    loops = {name: max(1, math.ceil(_SHORTEST_SAMPLE / max(x, 1e-7))) for name, x in single.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for round_number in range(repetitions):
        shift = round_number % max(1, len(names))
        for name in names[shift:] + names[:shift]:
            if single[name] > _ONCE or (single[name] > _SLOW and round_number >= SLOW_REPETITIONS):
                continue
            time.sleep(pause)
            if single[name] < _NO_WARM_UP:
                calls[name]()
            samples[name].append(seconds_of(calls[name], loops[name]))
    return {name: Timing(tuple(found) or (single[name],)) for name, found in samples.items()}


def seconds_of(call: Call, loops: int) -> float:
    """Mean seconds of ``loops`` calls in a row; a call that returns :class:`Seconds` timed itself."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = time.perf_counter()
        for _ in range(loops):
            value = call()
        elapsed = (time.perf_counter() - start) / loops
    finally:
        if collecting:
            gc.enable()
    return value.seconds if isinstance(value, Seconds) else elapsed


@dataclass(frozen=True)
class Seconds:
    """What a call returns that measured itself, as one that works in another process."""

    seconds: float

    def __array__(self, *_: object, **__: object) -> Array:
        """No answer: times are never equal, and nothing is compared."""
        return np.zeros(())
