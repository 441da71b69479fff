"""Plans: for given sizes, the order of contractions, the program, and a function that runs it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..ir import Graph, Node, UnsupportedError, formula, specialise
from ..ir.program import Program
from ..ir.specialise import UnfitSizeError, free_symbols
from ..ir.traverse import input_label
from ..passes import Checker, Pipeline, Report
from ..passes.lower import lower
from ..passes.memory.peak import allocated
from ..passes.memory.places import with_places
from ..passes.nominal_sizes import LONG, nominal_sizes
from ..passes.products.fusing import ProductOptions, fuse_products
from .binding import bind_sizes
from .cuda_graphs import is_worthwhile
from .devices import multiplies_in_tf32
from .executable import Executable
from .failures import unfit
from .memory import keeping, parse_bytes
from .settings import settings
from .torch_functions import TorchFunction, measured_device

if TYPE_CHECKING:
    from ..codegen import Emitted, Otherwise

_KEPT_PLANS = 256
_READABLE_NODES = 40

Runner = Callable[..., Any]


@dataclass(frozen=True)
class Request:
    """What is to be compiled, and how.

    ``inputs`` is the order of inputs (by default that of first use), ``positions`` says where nodes
    stand in the user's text, ``check`` compares values before and after each pass, and ``unflatten``
    puts a flat list of results into the structure that was asked for.  ``size_inputs`` are inputs that
    the outputs do not read, but whose shapes may be needed.  ``declared`` orders those inputs that are
    read, as far as ``inputs`` does not.  ``interpret`` runs Triton's kernels in its interpreter; ``device`` is the GPU
    for inputs on the host, and ``graphs`` allows CUDA graphs.  ``spare`` is the memory that calls leave for later
    ones, at whatever sizes.
    """

    graph: Graph
    pipeline: Pipeline
    backend: str = "numpy"
    memory_limit: int | str | None = None
    inputs: tuple[str, ...] | None = None
    function_name: str = "kernel"
    description: str = ""
    positions: Mapping[Node, Any] = field(default_factory=dict)
    check: Checker | None = None
    unflatten: Callable[[Sequence[Any]], Any] = list
    size_inputs: tuple[Node, ...] = ()
    declared: tuple[str, ...] = ()
    interpret: bool = False
    spare: list[Any] = field(default_factory=list, repr=False, compare=False)
    device: str | None = None
    graphs: bool = True


@dataclass(frozen=True)
class Plan:
    """One order of contractions, the program for it, and the code.

    ``reads`` are the names of the inputs in the order that ``run`` takes them; ``run`` returns the
    output, or a sequence of them where there are several.  ``replayed`` says that, on a GPU, calls with small tensors
    are replayed as CUDA graphs.
    """

    graph: Graph
    report: Report
    program: Program | None
    emitted: Emitted | None
    reads: tuple[str, ...]
    run: Runner
    executable: Executable | None = None
    replayed: bool = False

    @property
    def source(self) -> str:
        """The emitted module; raises ``UnsupportedError`` for a backend that emits none."""
        if self.emitted is None:
            raise UnsupportedError("the reference backend emits no source; use backend='numpy'")
        return self.emitted.source


class Planner:
    """Makes plans for sizes, and keeps them.

    Passes that do not depend on sizes run once.  Sizes that lead to the same program share a plan.
    """

    def __init__(self, request: Request, inputs: Sequence[Node]) -> None:
        self._request, self._inputs = request, tuple(inputs)
        self._lock = threading.Lock()
        self._by_sizes: dict[tuple[tuple[str, int], ...], Plan] = {}
        self._by_program: dict[tuple[Program, str], Plan] = {}
        prefix, self._suffix = split_pipeline(keeping(request.memory_limit, request.pipeline))
        self._staged, self._staged_report = prefix.run(request.graph, check=request.check)
        self.is_symbolic = bool(free_symbols(self._staged.outputs))
        self.general = self._for_any_size()

    def plan(self, sizes: Mapping[str, int]) -> Plan:
        """The plan for these sizes; raises ``ShapeError`` or ``MemoryLimitError`` where they do not fit."""
        if not self.is_symbolic:
            return self.general
        key = tuple(sorted(sizes.items()))
        with self._lock:
            found = self._by_sizes.get(key)
            if found is None:
                self._check_sizes(sizes)
                found = self._make(sizes)
                if len(self._by_sizes) >= _KEPT_PLANS:
                    self._by_sizes.pop(next(iter(self._by_sizes)))
                self._by_sizes[key] = found
            return found

    def _for_any_size(self) -> Plan:
        """What is shown and saved where sizes are symbols: the kernels of a GPU are planned for likely sizes.

        Their module has a second program, for sizes that the tiles of these kernels do not hold.
        """
        if self._request.backend != "triton" or not self.is_symbolic or self._request.memory_limit is not None:
            return self._make({})
        sizes = nominal_sizes(self._staged)
        long = dict.fromkeys(sizes, LONG)

        def otherwise() -> tuple[Program, Mapping[str, int]]:
            graph, _ = self._suffix.run(self._staged, long, self._request.check)
            return self._lowered(graph, long, measured=False), long

        return self._make(sizes, otherwise)

    def _check_sizes(self, sizes: Mapping[str, int]) -> None:
        graph, positions = self.general.graph, self._request.positions
        try:
            specialise(graph.outputs, sizes)
        except UnfitSizeError as error:
            raise unfit(error, graph, lambda node: positions.get(graph.origin(node))) from error

    def _make(self, sizes: Mapping[str, int], otherwise: Otherwise | None = None) -> Plan:
        request = self._request
        graph, report = self._suffix.run(self._staged, sizes, request.check)
        whole = (*self._staged_report, *report)
        if request.backend == "reference":
            return self._reference(graph, whole)
        return self._emitted(graph, whole, sizes, otherwise)

    def _formulas(self) -> list[str]:
        """What each output is, in index notation, where the whole is small enough to read."""
        if len(self._staged.nodes()) > _READABLE_NODES:
            return []
        named = zip(self._staged.outputs, self._staged.names, strict=True)
        lines = [text for node, name in named for text in formula.formula(node, name).splitlines()]
        return lines if len(self._staged.outputs) == 1 or not any(x.startswith("t0") for x in lines) else []

    def _lowered(self, graph: Graph, sizes: Mapping[str, int], measured: bool) -> Program:
        """The program; nothing is measured at sizes that no call has."""
        program = lower(graph, self._inputs, sizes, self._request.function_name)
        if self._request.backend == "triton":
            return self._with_products(program, sizes, measured)
        return self._with_places(program, sizes)

    def _emitted(
        self, graph: Graph, report: Report, sizes: Mapping[str, int], otherwise: Otherwise | None = None
    ) -> Plan:
        program = self._lowered(graph, sizes, measured=otherwise is None)
        # Tiles of a GPU's kernels differ between sizes that share a program; for others it says all.
        emitted = self._emit(program, sizes, otherwise) if self._request.backend == "triton" else None
        key = program, emitted.source if emitted is not None else ""
        known = self._by_program.get(key)
        if known is not None:
            return known
        emitted = emitted or self._emit(program, sizes)
        code = Executable.of(emitted.source, emitted.function)
        replayed = self._request.backend == "triton" and is_worthwhile(program)
        run = loaded(code, self._request, replayed)
        plan = Plan(graph, report, program, emitted, program.inputs, run, code, replayed)
        self._by_program[key] = plan
        return plan

    def _with_products(self, program: Program, sizes: Mapping[str, int], measured: bool) -> Program:
        """The program with products of a GPU fused, as planned, or as ``measured`` where the user asks for that."""
        timer = None
        if measured and measured_device(self._request.interpret) is not None:
            from .tuning import gpu_timer

            current = settings()
            timer = gpu_timer(current.cache_folder if current.cache else None)
        saving = self._request.memory_limit is not None
        return fuse_products(program, sizes, ProductOptions(saving, timer, multiplies_in_tf32()))

    def _with_places(self, program: Program, sizes: Mapping[str, int]) -> Program:
        """The program with places for large temporaries, unless a limit leaves no room for all of them at once."""
        backend, limit = self._request.backend, self._request.memory_limit
        placed = with_places(program, sizes, loops_in_c=backend == "c")
        fits = limit is None or placed is program or allocated(placed, sizes) <= parse_bytes(limit)
        return placed if fits else program

    def _emit(self, program: Program, sizes: Mapping[str, int], otherwise: Otherwise | None = None) -> Emitted:
        from ..codegen import emit_numpy, emit_triton

        backend, description = self._request.backend, self._request.description
        if backend == "triton":
            return emit_triton(program, None, description, self._formulas(), sizes, otherwise=otherwise)
        return emit_numpy(program, None, description, self._formulas(), loops_in_c=backend == "c")

    def _reference(self, graph: Graph, report: Report) -> Plan:
        from .reference import evaluate

        nodes = self._inputs or tuple(graph.inputs)
        names = tuple(input_label(node) for node in nodes)

        def run(*arrays: Any) -> Any:
            values = evaluate(graph.outputs, dict(zip(names, arrays, strict=True)), bind_sizes(nodes, arrays))
            return values if len(values) > 1 else values[0]

        return Plan(graph, report, None, None, names, run)


def loaded(code: Executable, request: Request, replayed: bool = False) -> Runner:
    """The function of an emitted module, over the arrays of the request's backend."""
    if request.backend != "triton":
        return code.load(request.spare)
    return TorchFunction(code, request.interpret, request.device, replayed and request.graphs)


def split_pipeline(pipeline: Pipeline) -> tuple[Pipeline, Pipeline]:
    """The passes that do not depend on sizes, and the rest from the first that does."""
    for position, each in enumerate(pipeline.passes):
        if each.with_sizes({"": 1}) is not each:
            return Pipeline(pipeline.passes[:position]), Pipeline(pipeline.passes[position:])
    return pipeline, Pipeline(())
