"""Small programs as CUDA graphs: what a call launches is recorded once, and replayed by later calls.

The host takes some microseconds for each launch, and the GPU less than that for small tensors: it would wait.  A
recording is one launch.  It reads and writes memory of its own, so a call copies its inputs there, replays, and
copies the results out: results of one call are never overwritten by the next.

When.  :func:`is_worthwhile` says it of a program: it launches more than the copies do, and nothing in it waits for
the GPU, as linear algebra does that reports singular matrices.  :class:`Replays` records with the second call of the
same shapes and strides on the same GPU, with products of the same precision, so that what is called once is not
recorded, and only where inputs and results are small.  That call waits for the GPU, once, as torch does before it
records.  A program that cannot be recorded (a warning says why) is run launch by launch from then on, as is a call
while the caller records a graph: it becomes part of that one.  ``OTUS_CUDA_GRAPHS=0`` turns recording off.

Threads and streams.  A recording has one set of memory.  Calls take it one after another: on the host by a lock, which
is held while work is queued and not while it runs, and on the GPU by an event, for which a call on another stream
waits.  Recording itself is one at a time in the process.
"""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ..ir.kernels import BlockLoop, Direct, Factorisation
from ..ir.operations import Cholesky, Determinant, Inverse, LeastSquares, PseudoInverse, Solve
from ..ir.program import Program
from .devices import multiplies_in_tf32

MOST_BYTES = 4 * 2**20  # of inputs and results together, which are copied
_KEPT_SIGNATURES = 64
_ONCE, _NEVER = "called once", "not to be recorded"
_COPIES = 2  # launches that inputs take; each result takes one more
_WAITING = (Inverse, Solve, Cholesky, Determinant, PseudoInverse, LeastSquares)
_one_at_a_time = threading.Lock()

Signature = tuple[Any, ...]
Work = Callable[[], Any]


class Graphs(Protocol):
    """CUDA graphs, as far as recordings need them; tests have some that need no GPU."""

    def is_recording(self) -> bool:
        """Whether the caller's stream is being recorded."""

    def record(self, work: Work) -> tuple[Callable[[], None], Any]:
        """What replays the work, and its result, which lies where each replay writes it anew."""

    def turn(self, memory: Sequence[Any]) -> AbstractContextManager[None]:
        """Entered by each call that uses ``memory``: its work on the GPU comes after that of the call before."""


def is_worthwhile(program: Program) -> bool:
    """Whether calls of a program are faster as a replay, where its tensors are small."""
    return not _waits(program) and launches(program) > len(program.outputs) + _COPIES


def launches(program: Program) -> int:
    """How many kernels a call launches at least: one for each call of the program that is no view."""
    found = 0
    for kernel in (call.kernel for call in program.calls):
        if isinstance(kernel, BlockLoop) and not kernel.concurrent:
            found += launches(kernel.body)
        else:
            found += not kernel.view
    return found


def _waits(program: Program) -> bool:
    """Whether a kernel of the program makes the host wait for the GPU."""
    kernels = [call.kernel for call in program.calls]
    return any(
        isinstance(kernel, Factorisation)
        or (isinstance(kernel, Direct) and isinstance(kernel.operation, _WAITING))
        or (isinstance(kernel, BlockLoop) and _waits(kernel.body))
        for kernel in kernels
    )


class Replays:
    """A function of tensors on a GPU, whose calls of shapes that come again are replayed."""

    def __init__(self, run: Callable[..., Any], graphs: Graphs | None = None) -> None:
        self._run, self._graphs = run, graphs or TorchGraphs()
        self._lock = threading.Lock()
        self._known: OrderedDict[Signature, _Recording | str] = OrderedDict()

    def __call__(self, *tensors: Any) -> Any:
        """The function's result, in memory that is the caller's."""
        if self._graphs.is_recording():
            return self._run(*tensors)
        signature = (multiplies_in_tf32(), *[(x.shape, x.stride(), x.device) for x in tensors])
        found = self._known.get(signature)
        if isinstance(found, _Recording):
            return found.replayed(tensors)
        if found == _ONCE:
            return self._recorded(signature, tensors)
        result = self._run(*tensors)
        if found is None:
            small = _bytes([*tensors, *_listed(result)]) <= MOST_BYTES
            self._keep(signature, _ONCE if small else _NEVER)
        return result

    def _recorded(self, signature: Signature, tensors: Sequence[Any]) -> Any:
        """The second call: record, unless another thread has, and replay."""
        with self._lock:
            found = self._known.get(signature, _ONCE)
            if found == _ONCE:
                try:
                    found = _Recording(self._run, tensors, self._graphs)
                except RuntimeError as error:
                    text = f"no CUDA graph could be recorded, so kernels are launched one by one: {error}"
                    warnings.warn(text, RuntimeWarning, stacklevel=2)
                    found = _NEVER
                self._known[signature] = found
        return found.replayed(tensors) if isinstance(found, _Recording) else self._run(*tensors)

    def _keep(self, signature: Signature, state: str) -> None:
        with self._lock:
            self._known.setdefault(signature, state)
            if len(self._known) > _KEPT_SIGNATURES:
                self._known.popitem(last=False)


class _Recording:
    """One recording, and the memory that it reads and writes."""

    def __init__(self, run: Callable[..., Any], tensors: Sequence[Any], graphs: Graphs) -> None:
        import torch

        self._lock = threading.Lock()
        self._inputs = [torch.empty_like(x) for x in tensors]
        _copy(self._inputs, tensors)
        # Kernels are compiled for how memory is aligned, and a library sets itself up, which cannot be recorded.
        run(*self._inputs)
        with _one_at_a_time:
            self._replay, self._result = graphs.record(lambda: run(*self._inputs))
        self._turn = graphs.turn(self._inputs)

    def replayed(self, tensors: Sequence[Any]) -> Any:
        """The result for these inputs."""
        with self._lock, self._turn:
            _copy(self._inputs, tensors)
            self._replay()
            if isinstance(self._result, tuple):
                return tuple([each.clone() for each in self._result])
            return self._result.clone()


class TorchGraphs:
    """CUDA graphs through torch."""

    def is_recording(self) -> bool:
        """Whether torch records on the current stream."""
        import torch

        return bool(torch.cuda.is_current_stream_capturing())

    def record(self, work: Work) -> tuple[Callable[[], None], Any]:
        """Recorded on a stream of torch's, with memory of the graph's own; other threads may go on."""
        import torch

        graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        # cuBLAS keeps its memory by stream: without this, recordings made on one stream would share it.
        torch._C._cuda_clearCublasWorkspaces()
        try:
            # A stream of this very GPU: torch would take one of the GPU on which it first recorded.
            with torch.cuda.graph(graph, stream=torch.cuda.Stream(), capture_error_mode="thread_local"):
                result = work()
        finally:
            torch.cuda.set_stream(before)  # where recording fails, torch stays on the stream that it recorded
            torch._C._cuda_clearCublasWorkspaces()
        return graph.replay, result

    def turn(self, memory: Sequence[Any]) -> AbstractContextManager[None]:
        """By an event after each call's work."""
        return _Turn(memory)


class _Turn(AbstractContextManager[None]):
    """What a call queues on its stream comes after what the call before queued on another."""

    def __init__(self, memory: Sequence[Any]) -> None:
        import torch

        self._torch, self._memory = torch, memory
        self._stream: Any = None
        self._done = torch.cuda.Event()

    def __enter__(self) -> None:
        stream = self._torch.cuda.current_stream()
        if stream == self._stream:
            return
        if self._stream is not None:
            stream.wait_event(self._done)
        for each in self._memory:  # freed, it must not be given away before this stream is done with it
            each.record_stream(stream)
        self._stream = stream

    def __exit__(self, *_: object) -> None:
        self._done.record(self._stream)


def _copy(targets: Sequence[Any], tensors: Sequence[Any]) -> None:
    if targets:
        import torch

        torch._foreach_copy_(list(targets), list(tensors))


def _listed(result: Any) -> Sequence[Any]:
    return result if isinstance(result, tuple) else (result,)


def _bytes(tensors: Sequence[Any]) -> int:
    return sum(x.numel() * x.element_size() for x in tensors)
