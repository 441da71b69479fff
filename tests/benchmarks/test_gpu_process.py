"""Rows of the suite for GPUs in a process of their own: what goes wrong with one costs no other its figures."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

from benchmarks.gpu import process
from benchmarks.gpu.device import Host
from benchmarks.gpu.process import Process
from benchmarks.gpu.rows import ROWS
from benchmarks.harness import Row

(GOOD,) = [row for row in ROWS if row.name.startswith("MTTKRP")]
BAD = {
    "ValueError: invalid literal for int": Row("fails", int, (), ("x",)),
    "the process that measured it ended with exit status 3": Row("ends", os._exit, (), (3,)),
    "no answer in 20 s": Row("waits", time.sleep, (), (60,)),
}


def test_a_row_that_goes_wrong_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    with Process(interpret=True, repetitions=2, longest=20.0) as measuring:
        for reason, row in BAD.items():
            found = measuring.measured(row).outcome
            assert found.reasons["Otus"].startswith(reason)
            assert not found.timings
        monkeypatch.setattr(measuring, "_longest", 240.0)
        assert "Otus" in measuring.measured(GOOD).outcome.timings


class Pipe:
    """One end of a connection, from which rows come."""

    def __init__(self, *rows: Row) -> None:
        self.rows, self.sent = list(rows), list[Any]()

    def recv(self) -> Row:
        if not self.rows:
            raise EOFError
        return self.rows.pop(0)

    def send(self, what: Any) -> None:
        self.sent.append(what)


@pytest.mark.parametrize("sound", [True, False])
def test_a_broken_device_is_given_up_after_its_row(sound: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Device(Host):
        def is_sound(self) -> bool:
            return sound

    monkeypatch.setattr(process, "_device", lambda interpret: Device())
    pipe: Any = Pipe(BAD["ValueError: invalid literal for int"], BAD["ValueError: invalid literal for int"])
    process._work(pipe, True, 2, None)
    machine, *found = pipe.sent
    assert machine.interpreted
    assert [each for _, each in found] == ([True, True] if sound else [False])
