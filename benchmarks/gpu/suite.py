"""Rows measured one by one: answers first, then rounds in which all contenders take their turn."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..harness import Outcome, Row, Timing, UnavailableError
from .device import Gpu, Host, Limits, precision
from .problem import Call, Problem, Tensors, listed, made
from .rows import COPY

Device = Gpu | Host
BY_HAND = (COPY, "torch by hand")
_BETWEEN = 2**28  # bytes that the sets of inputs have together, so that none stays in a cache
_FEWEST, _MOST_SETS = 2, 8
_SLOW = 3.0  # seconds from which a call is timed once
_WARM = 3
_PARTS = 16  # in which answers in float64 are computed
_COMPARED = 2**26  # elements that are compared at once


@dataclass(frozen=True)
class Measured:
    """A row's outcome: ``errors`` relative to float64, ``peaks`` of memory, ``moved`` bytes of inputs and results."""

    outcome: Outcome
    errors: dict[str, float]
    peaks: dict[str, int]
    moved: float
    flops: float
    arithmetic: str

    def share(self, limits: Limits) -> float | None:
        """Of the least time for its bytes and flops, in Otus's; None where that was not measured."""
        ours = self.outcome.timings.get("Otus")
        return None if ours is None else limits.seconds(self.moved, self.flops, self.arithmetic) / ours.median


def run_row(row: Row, device: Device, repetitions: int, tiny: bool) -> Measured:
    """Build, compare and time a row's contenders; what cannot run, up to the row as a whole, has its reason."""
    try:
        return _run(row, device, repetitions, tiny)
    except Exception as error:  # noqa: BLE001  such as too little memory: the row says so, and the others follow
        return not_measured(row, _reason(error))


def not_measured(row: Row, reason: str) -> Measured:
    """The outcome of a row of which there are no figures."""
    return Measured(Outcome(row, {}, {"Otus": reason}, BY_HAND), {}, {}, 0.0, 0.0, "")


def _run(row: Row, device: Device, repetitions: int, tiny: bool) -> Measured:
    problem: Problem = row.build(*(row.tiny if tiny else row.sizes))
    with precision(problem.arithmetic):
        (first,) = made(problem, range(1), device.name)
        found = _Comparison()
        found.compare(problem, first, device)
        wrong = tuple(name for name, error in found.errors.items() if not error <= problem.tolerance)
        for name in wrong:
            found.reasons[name] = f"its answer differs from that in float64 by {found.errors[name]:.1e} relative"
            del found.calls[name]
        if found.moved:
            found.calls[COPY] = _copy(found.moved, device)
        size = sum(each.bytes for each in problem.data.values())
        count = _FEWEST if tiny else min(max(_BETWEEN // size, _FEWEST), _MOST_SETS)
        sets = [first, *made(problem, range(1, count), device.name)]
        timings = _timed(found.calls, sets, device, repetitions, found.reasons)
    outcome = Outcome(row, timings, found.reasons, BY_HAND, wrong)
    return Measured(outcome, found.errors, found.peaks, found.moved, problem.flops, problem.arithmetic)


def _reason(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    lead = "" if isinstance(error, UnavailableError) else f"{type(error).__name__}: "
    return lead + text.splitlines()[0][:200]


# --- answers -----------------------------------------------------------------------------------


@dataclass
class _Comparison:
    """The calls, errors of their answers, peaks of memory, why some have none, and the bytes that Otus moves."""

    calls: dict[str, Call] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    moved: float = 0.0

    def compare(self, problem: Problem, tensors: Mapping[str, Any], device: Device) -> None:
        """Call every contender and compare its answer."""
        try:
            expected = _expected(problem, tensors)
        except Exception as error:  # noqa: BLE001
            self.reasons["Otus"] = f"not compared, since there is no answer in float64: {_reason(error)}"
            return
        for name, build in problem.contenders(device.interpret).items():
            try:
                device.forget()
                self._compare(name, build(), problem, tensors, expected, device)
            except Exception as error:  # noqa: BLE001  a contender may fail in any way; the table says how
                self.calls.pop(name, None)
                self.errors.pop(name, None)
                self.reasons[name] = _reason(error)
        device.forget()

    def _compare(
        self, name: str, call: Call, problem: Problem, tensors: Tensors, expected: Sequence[Any], device: Device
    ) -> None:
        found = list(listed(call(tensors)))
        self.errors[name] = error_of(problem.answer(_sliced(found, problem.slices)), expected)
        self.calls[name] = call
        if name == "Otus":
            self.moved = float(sum(_bytes(x) for x in (*tensors.values(), *found)))
        del found
        if name != "JAX":  # whose memory torch does not see; again, since the first call may have compiled
            self.peaks[name] = device.peak(lambda: call(tensors))[1]


def _expected(problem: Problem, tensors: Tensors) -> Sequence[Any]:
    """The answer in float64, of as much of the inputs as is compared."""
    exact = problem.exact or problem.torch_call()
    if problem.cut:
        return problem.answer(_in_parts(problem, exact, tensors))
    parts = dict(zip(tensors, _sliced(list(tensors.values()), problem.slices), strict=True))
    return problem.answer(list(listed(exact(_in_float64(parts)))))


def _in_parts(problem: Problem, exact: Call, tensors: Tensors) -> list[Any]:
    """The answer in float64, from some rows at a time of the inputs that are cut."""
    import torch

    parts = zip(*(tensors[name].chunk(_PARTS) for name in problem.cut), strict=True)
    given = ({**tensors, **dict(zip(problem.cut, part, strict=True))} for part in parts)
    found = [listed(exact(_in_float64(each))) for each in given]
    has_rows = [True] if problem.kind == "value" else [name in problem.cut for name in problem.wrt]
    return [
        torch.cat(each) if rows else torch.stack(each).sum(0)
        for each, rows in zip(zip(*found, strict=True), has_rows, strict=True)
    ]


def _in_float64(tensors: Tensors) -> dict[str, Any]:
    return {name: x.double() if x.is_floating_point() else x for name, x in tensors.items()}


def _sliced(tensors: Sequence[Any], slices: int | None) -> list[Any]:
    return [x if slices is None else x[:slices] for x in tensors]


def error_of(answer: Sequence[Any], expected: Sequence[Any]) -> float:
    """The largest difference relative to the largest element; infinite where shapes differ or a NaN is met."""
    if [x.shape for x in answer] != [x.shape for x in expected]:
        return math.inf
    return max((_error(one, other) for one, other in zip(answer, expected, strict=True) if other.numel()), default=0.0)


def _error(one: Any, other: Any) -> float:
    """Piece by piece, since the differences of all of it would take several times its memory."""
    pieces = zip(one.reshape(-1).split(_COMPARED), other.reshape(-1).split(_COMPARED), strict=True)
    found = [(float((x.double() - y).abs().max()), float(y.abs().max())) for x, y in pieces]
    error = max(difference for difference, _ in found) / (max(largest for _, largest in found) or 1.0)
    return error if all(math.isfinite(x) for each in found for x in each) else math.inf


def _bytes(tensor: Any) -> int:
    return int(tensor.numel() * tensor.element_size())


# --- times -------------------------------------------------------------------------------------


def _copy(moved: float, device: Device) -> Call:
    """Reads and writes as many bytes."""
    import torch

    source = torch.zeros(max(int(moved) // 2, 1), dtype=torch.int8, device=device.name)
    target = torch.empty_like(source)
    return lambda tensors: target.copy_(source)


def _timed(
    calls: Mapping[str, Call],
    sets: Sequence[Tensors],
    device: Device,
    repetitions: int,
    reasons: dict[str, str],
) -> dict[str, Timing]:
    """A sample a round: the mean over the sets of inputs.  The order rotates from round to round.

    What fails by now has its reason and no time.
    """
    samples: dict[str, list[float]] = {}
    once: dict[str, float] = {}

    def attempt(name: str, measure: Callable[[], float]) -> float | None:
        try:
            return measure()
        except Exception as error:  # noqa: BLE001  such as memory that the first set of inputs left, and all do not
            reasons[name] = _reason(error)
            samples.pop(name, None)
            return None

    for name, call in calls.items():
        found = attempt(name, lambda name=name, call=call: _warmed(call, sets, device, name == "JAX"))  # type: ignore[misc]
        if found is not None:
            once[name], samples[name] = found, []
    names = list(samples)
    for number in range(repetitions):
        shift = number % max(1, len(names))
        for name in names[shift:] + names[:shift]:
            if name not in samples or once[name] > _SLOW:
                continue
            found = attempt(name, lambda name=name: _round(calls[name], sets, device, name == "JAX"))  # type: ignore[misc]
            if found is not None:
                samples[name].append(found)
    return {name: Timing(tuple(found) or (once[name],)) for name, found in samples.items()}


def _round(call: Call, sets: Sequence[Tensors], device: Device, by_host: bool) -> float:
    return statistics.mean(device.seconds(lambda each=each: call(each), by_host) for each in sets)  # type: ignore[misc]


def _warmed(call: Call, sets: Sequence[Tensors], device: Device, by_host: bool) -> float:
    """Every set a few times, so that what is compiled or recorded for it is; the last time is given."""
    seconds = 0.0
    for _ in range(_WARM):
        for each in sets:
            seconds = device.seconds(lambda each=each: call(each), by_host)  # type: ignore[misc]
            if seconds > _SLOW:
                return seconds
    return seconds
