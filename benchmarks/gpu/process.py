"""Rows measured in a process of their own, so that one that breaks the GPU, or never ends, costs no other its figures.

After some errors of a kernel nothing computes any more in the process that launched it.  Then, and when the process
ends or gives no answer for long, the next row gets a new one.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from ..harness import Row
from .device import Gpu, Host, Limits
from .suite import Device, Measured, not_measured, run_row

_START, _LONGEST = 300.0, 240.0  # seconds


@dataclass(frozen=True)
class Machine:
    """What rows are measured on: the device, as it describes itself, and what it can do at most."""

    device: dict[str, Any]
    limits: Limits
    interpreted: bool


class Process:
    """Measures rows, in a process that is started again where it has to be."""

    def __init__(self, interpret: bool, repetitions: int, longest: float = _LONGEST) -> None:
        self._interpret, self._repetitions, self._longest = interpret, repetitions, longest
        self.machine: Machine = self._start(None)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def measured(self, row: Row) -> Measured:
        """The row's figures, or why there are none."""
        if self._process is None:
            self._start(self.machine)
        try:
            self._connection.send(row)
            if not self._connection.poll(self._longest):
                self.stop()
                return not_measured(row, f"no answer in {self._longest:.0f} s")
            found, sound = self._connection.recv()
        except (EOFError, OSError):
            code = self.stop()
            return not_measured(row, f"the process that measured it ended with exit status {code}")
        if not sound:
            self.stop()
        return found

    def stop(self) -> int | None:
        """End the process, whatever it is doing; its exit status."""
        if self._process is None:
            return None
        self._connection.close()
        self._process.join(1.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(10.0)
        code, self._process = self._process.exitcode, None
        return code

    def _start(self, known: Machine | None) -> Machine:
        """A new process that is ready for rows, and what it measures on."""
        context = multiprocessing.get_context("spawn")  # a GPU does not survive a fork
        self._connection, theirs = context.Pipe()
        arguments = (theirs, self._interpret, self._repetitions, known)
        self._process: Any = context.Process(target=_work, args=arguments)
        self._process.start()
        theirs.close()  # so that the end of the process is the end of what comes from it
        if not self._connection.poll(_START):
            self.stop()
            raise SystemExit(f"no answer from the device in {_START:.0f} s")
        try:
            return self._connection.recv()  # type: ignore[no-any-return]
        except EOFError:
            raise SystemExit("the device cannot be measured; what its process says is above") from None


def _work(connection: Connection, interpret: bool, repetitions: int, known: Machine | None) -> None:
    """Measure the device, unless it is known, and then each row that comes."""
    device = _device(interpret)
    connection.send(known or Machine(device.describe(), device.limits(), device.interpret))
    while True:
        try:
            row = connection.recv()
        except EOFError:
            return
        found = run_row(row, device, repetitions, tiny=device.interpret)
        sound = device.is_sound()
        connection.send((found, sound))
        if not sound:
            return


def _device(interpret: bool) -> Device:
    """The GPU; where there is none, or it is not to be used, the host."""
    import torch

    return Host() if interpret or not torch.cuda.is_available() else Gpu()
