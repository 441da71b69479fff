"""Rows measured one by one: answers first, then rounds in which all contenders take their turn."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..harness import Outcome, Row, Timing, UnavailableError
from .device import Gpu, Host, Limits, precision
from .problem import Call, Problem, listed, made
from .rows import COPY

Device = Gpu | Host
BY_HAND = (COPY, "torch by hand")
_BETWEEN = 2**28  # bytes that the sets of inputs have together, so that none stays in a cache
_FEWEST, _MOST_SETS = 2, 8
_SLOW = 3.0  # seconds from which a call is timed once
_WARM = 3


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
    """Build, compare and time a row's contenders; what cannot run has its reason."""
    problem: Problem = row.build(*(row.tiny if tiny else row.sizes))
    size = sum(each.bytes for each in problem.data.values())
    sets = made(problem, min(max(_BETWEEN // size, _FEWEST), _MOST_SETS) if not tiny else _FEWEST, device.name)
    with precision(problem.arithmetic):
        calls, errors, peaks, reasons, moved = _compared(problem, sets[0], device)
        wrong = tuple(name for name, error in errors.items() if not error <= problem.tolerance)
        for name in wrong:
            reasons[name] = f"its answer differs from that in float64 by {errors[name]:.1e} relative"
            del calls[name]
        if moved:
            calls[COPY] = _copy(moved, device)
        timings = _timed(calls, sets, device, repetitions)
    outcome = Outcome(row, timings, reasons, BY_HAND, wrong)
    return Measured(outcome, errors, peaks, moved, problem.flops, problem.arithmetic)


# --- answers -----------------------------------------------------------------------------------


def _compared(
    problem: Problem, tensors: Mapping[str, Any], device: Device
) -> tuple[dict[str, Call], dict[str, float], dict[str, int], dict[str, str], float]:
    """The calls, errors of their answers, peaks of memory, why some have none, and the bytes that Otus moves."""
    calls: dict[str, Call] = {}
    errors: dict[str, float] = {}
    peaks: dict[str, int] = {}
    reasons: dict[str, str] = {}
    moved = 0.0
    try:
        expected = _expected(problem, tensors)
    except Exception as error:  # noqa: BLE001  such as too little memory: the row says so, and the others follow
        device.forget()
        return (
            calls,
            errors,
            peaks,
            {"Otus": f"not compared, since there is no answer in float64: {_reason(error)}"},
            moved,
        )
    for name, build in problem.contenders(device.interpret).items():
        try:
            call = build()
            found = list(listed(call(tensors)))
            errors[name] = error_of(problem.answer(_sliced(found, problem.slices)), expected)
        except Exception as error:  # noqa: BLE001  a contender may fail in any way; the table says how
            reasons[name] = _reason(error)
        else:
            calls[name] = call
            if name != "JAX":  # whose memory torch does not see; again, since the first call may have compiled
                peaks[name] = device.peak(lambda call=call: call(tensors))[1]  # type: ignore[misc]
            if name == "Otus":
                moved = float(sum(_bytes(x) for x in (*tensors.values(), *found)))
            del found
        device.forget()
    return calls, errors, peaks, reasons, moved


def _reason(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    lead = "" if isinstance(error, UnavailableError) else f"{type(error).__name__}: "
    return lead + text.splitlines()[0][:200]


def _expected(problem: Problem, tensors: Mapping[str, Any]) -> Sequence[Any]:
    """The answer in float64, of as much of the inputs as is compared."""
    parts = dict(zip(tensors, _sliced(list(tensors.values()), problem.slices), strict=True))
    wide = {name: x.double() if x.is_floating_point() else x for name, x in parts.items()}
    return problem.answer(list(listed((problem.exact or problem.torch_call())(wide))))


def _sliced(tensors: Sequence[Any], slices: int | None) -> list[Any]:
    return [x if slices is None else x[:slices] for x in tensors]


def error_of(answer: Sequence[Any], expected: Sequence[Any]) -> float:
    """The largest difference relative to the largest element; infinite where shapes differ or a NaN is met."""
    if [x.shape for x in answer] != [x.shape for x in expected]:
        return math.inf
    worst = 0.0
    for one, other in zip(answer, expected, strict=True):
        if other.numel():
            scale = float(other.abs().max()) or 1.0
            error = float((one.double() - other).abs().max()) / scale
            worst = max(worst, error if math.isfinite(error) else math.inf)
    return worst


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
    calls: Mapping[str, Call], sets: Sequence[Mapping[str, Any]], device: Device, repetitions: int
) -> dict[str, Timing]:
    """A sample a round: the mean over the sets of inputs.  The order rotates from round to round."""
    once = {name: _warmed(call, sets, device, name == "JAX") for name, call in calls.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for number in range(repetitions):
        shift = number % max(1, len(names))
        for name in names[shift:] + names[:shift]:
            if once[name] > _SLOW:
                continue
            call = calls[name]
            found = [device.seconds(lambda each=each, call=call: call(each), name == "JAX") for each in sets]  # type: ignore[misc]
            samples[name].append(statistics.mean(found))
    return {name: Timing(tuple(found) or (once[name],)) for name, found in samples.items()}


def _warmed(call: Call, sets: Sequence[Mapping[str, Any]], device: Device, by_host: bool) -> float:
    """Every set a few times, so that what is compiled or recorded for it is; the last time is given."""
    seconds = 0.0
    for _ in range(_WARM):
        for each in sets:
            seconds = device.seconds(lambda each=each: call(each), by_host)  # type: ignore[misc]
            if seconds > _SLOW:
                return seconds
    return seconds
