"""Replaying small programs: when, and that results are the caller's own; with graphs that need no GPU."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from triton_kernels import WITHOUT_TILES

import otus
from otus.runtime import cuda_graphs
from otus.runtime.cuda_graphs import Replays, is_worthwhile, launches


class HostGraphs:
    """Graphs that compute again on the host what they recorded, into the memory of the first time."""

    def __init__(self, error: Exception | None = None) -> None:
        self.recording, self.error = False, error
        self.recorded = self.replayed = 0
        self.inside: list[int] = []
        self.most_inside = 0

    def is_recording(self) -> bool:
        return self.recording

    def record(self, work: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        if self.error is not None:
            raise self.error
        self.recorded += 1
        result = work()

        def replay() -> None:
            self.replayed += 1
            for target, value in zip(_tuple(result), _tuple(work()), strict=True):
                target.copy_(value)

        return replay, result

    def turn(self, memory: Sequence[Any]) -> HostGraphs:
        return self

    def __enter__(self) -> None:
        self.inside.append(1)
        self.most_inside = max(self.most_inside, len(self.inside))

    def __exit__(self, *_: object) -> None:
        self.inside.pop()


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def both(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x * 2 + y, (x * y).sum()


def test_the_second_call_records_and_later_ones_replay() -> None:
    graphs = HostGraphs()
    run = Replays(both, graphs)
    for number in range(5):
        x, y = torch.randn(3, 4), torch.randn(4)
        for found, wanted in zip(run(x, y), both(x, y), strict=True):
            torch.testing.assert_close(found, wanted)
        assert (graphs.recorded, graphs.replayed) == (number >= 1, max(number, 0))


def test_results_are_the_callers() -> None:
    run = Replays(both, HostGraphs())
    results, expected = [], []
    for _ in range(4):
        x, y = torch.randn(3), torch.randn(3)
        results.append(run(x, y))
        expected.append(both(x, y))
    for one, other in zip(results, expected, strict=True):
        torch.testing.assert_close(one[0], other[0])
        one[0].zero_()
    x = torch.ones(3)
    torch.testing.assert_close(run(x, x)[0], torch.full((3,), 3.0))


def test_each_shape_and_stride_is_recorded_by_itself() -> None:
    graphs = HostGraphs()
    run = Replays(lambda x: x.sum(0), graphs)
    for x in (torch.randn(3, 4), torch.randn(4, 3), torch.randn(4, 3).T, torch.randn(0, 4)):
        for _ in range(3):
            torch.testing.assert_close(run(x), x.sum(0))
    assert graphs.recorded == 4


def test_each_precision_of_products_is_recorded_by_itself() -> None:
    """What is recorded multiplies as torch was set to then."""
    graphs = HostGraphs()
    run = Replays(lambda x: x + 1, graphs)
    before = torch.get_float32_matmul_precision()
    try:
        for kind in ("highest", "high", "highest"):
            torch.set_float32_matmul_precision(kind)
            for _ in range(3):
                run(torch.zeros(2))
    finally:
        torch.set_float32_matmul_precision(before)
    assert (graphs.recorded, graphs.replayed) == (2, 2 + 2 + 3)


def test_large_tensors_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "MOST_BYTES", 100)
    graphs = HostGraphs()
    run = Replays(lambda x: x + 1, graphs)
    for _ in range(3):
        run(torch.zeros(20))
        run(torch.zeros(2))
    assert (graphs.recorded, graphs.replayed) == (1, 2)


def test_within_a_recording_of_the_caller_nothing_is_recorded() -> None:
    graphs = HostGraphs()
    graphs.recording = True
    run = Replays(lambda x: x + 1, graphs)
    for _ in range(3):
        torch.testing.assert_close(run(torch.zeros(2)), torch.ones(2))
    assert graphs.recorded == 0


def test_what_cannot_be_recorded_is_launched() -> None:
    run = Replays(lambda x: x + 1, HostGraphs(RuntimeError("not while capturing")))
    run(torch.zeros(2))
    with pytest.warns(RuntimeWarning, match="no CUDA graph could be recorded.*not while capturing"):
        torch.testing.assert_close(run(torch.zeros(2)), torch.ones(2))
    torch.testing.assert_close(run(torch.zeros(2)), torch.ones(2))  # without a warning, which would be an error here


def test_where_recording_fails_the_stream_is_the_callers_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is with torch's own graphs, which stay on the stream that they record."""
    streams = ["the caller's"]

    class Failing:
        def __init__(self, graph: Any, stream: str, capture_error_mode: str) -> None:
            self.stream = stream

        def __enter__(self) -> None:
            streams.append(self.stream)

        def __exit__(self, *_: object) -> None:
            raise RuntimeError("capture was invalidated")

    fakes: dict[str, Any] = {"CUDAGraph": lambda: None, "graph": Failing, "Stream": lambda: "a new one",
                             "current_stream": lambda: streams[-1], "set_stream": streams.append}  # fmt: skip
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None, raising=False)
    with pytest.raises(RuntimeError, match="invalidated"):
        cuda_graphs.TorchGraphs().record(lambda: None)
    assert streams == ["the caller's", "a new one", "the caller's"]


def test_signatures_that_were_first_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "_KEPT_SIGNATURES", 2)
    graphs = HostGraphs()
    run = Replays(lambda x: x + 1, graphs)
    for size in (1, 2, 3, 1, 1):
        torch.testing.assert_close(run(torch.zeros(size)), torch.ones(size))
    assert graphs.recorded == 1


def test_threads_take_turns() -> None:
    graphs = HostGraphs()
    run = Replays(both, graphs)
    wrong: list[int] = []

    def work(number: int) -> None:
        for k in range(50):
            x = torch.full((5,), float(100 * number + k))
            if not torch.equal(run(x, x)[0], 3 * x):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert wrong == []
    assert graphs.recorded == 1
    assert graphs.most_inside == 1


# --- which programs ----------------------------------------------------------------------------

A, B = otus.tensor("a", (4, 4)), otus.tensor("b", (4, 4))


def chain(length: int, start: Any = A) -> Any:
    """One launch each: a product and the function of it."""
    for _ in range(length):
        start = otus.tanh(start @ B)
    return start


def program(outputs: Any) -> Any:
    return otus.compile(outputs, backend="triton", interpret=True, pipeline=WITHOUT_TILES).program


def test_programs_of_several_launches_are_worth_it() -> None:
    assert launches(program(chain(6))) == 6
    assert is_worthwhile(program(chain(6)))
    assert not is_worthwhile(program(otus.tanh(A) * B))


def test_programs_that_wait_are_not() -> None:
    assert not is_worthwhile(program(chain(6, otus.inv(A))))
    assert not is_worthwhile(program(chain(6, otus.eigh(A @ B)[1])))


def test_plans_say_it() -> None:
    chains = otus.compile(chain(6), backend="triton", interpret=True, pipeline=WITHOUT_TILES)
    assert chains.plan_for().replayed
    assert not otus.compile(chain(6)).plan_for().replayed
