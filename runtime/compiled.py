"""Compiled functions: a graph, planned and emitted, that takes and returns arrays."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..codegen import Emitted, emit_numpy
from ..ir import Cost, Graph, NamingError, Node, OtusError, UnsupportedError, cost, specialise
from ..ir.errors import nearest
from ..ir.operations import Input
from ..ir.program import Program
from ..ir.specialise import free_symbols
from ..ir.types import shape_text
from ..passes import Checker, Pipeline, Report, graph_text
from ..passes.lower import lower
from .arrays import as_numpy, convert_result, result_kind
from .binding import bind_sizes
from .executable import load_function
from .facts import check_facts
from .looking import show
from .memory import check_memory_limit
from .reference import evaluate
from .settings import settings


@dataclass(frozen=True)
class Provenance:
    """Lines ``first`` to ``last`` of the source, the IR line they carry out, and the user's text.

    ``position`` is where the user wrote the operation, where it came from text, else None.
    """

    first: int
    last: int
    statement: str
    ir: str
    position: Any


@dataclass(frozen=True)
class Plan:
    """One order of contractions, and the code for it."""

    graph: Graph
    report: Report
    program: Program | None
    emitted: Emitted | None
    run: Callable[..., Sequence[Any]]


@dataclass(frozen=True)
class Request:
    """What is to be compiled, and how."""

    graph: Graph
    pipeline: Pipeline
    backend: str = "numpy"
    memory_limit: int | str | None = None
    inputs: tuple[str, ...] | None = None
    function_name: str = "kernel"
    description: str = ""
    positions: Mapping[Node, Any] = field(default_factory=dict)
    check: Checker | None = None
    unflatten: Callable[[list[Any]], Any] = list


class CompiledFunction:
    """A function of arrays.  Call it with inputs by name, or in the order of ``inputs``.

    It is correct for every size of the symbolic dims, and plans the contraction order anew for sizes at
    which another is cheaper.  Calls may come from several threads.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._lock = threading.Lock()
        self._plans: dict[tuple[tuple[str, int], ...], Plan] = {}
        self._all_inputs = {_label(node): node for node in request.graph.inputs}
        self._prefix, self._suffix = _split(request.pipeline)
        self._staged, self._staged_report = self._prefix.run(request.graph, check=request.check)
        self._plan = self._make_plan({})
        self._symbolic = bool(free_symbols(self._plan.graph.outputs))
        self._inputs = self._input_nodes()
        if request.memory_limit is not None and not self._symbolic:
            check_memory_limit(self._plan.graph.outputs, request.memory_limit, {})
        show(self._plan.report, self._plan.emitted.source if self._plan.emitted else "")

    # --- what can be looked at -----------------------------------------------------------------

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs, in the order in which they may be passed."""
        return tuple(_label(node) for node in self._inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs, in order."""
        return self._request.graph.names

    @property
    def source(self) -> str:
        """The emitted module; raises ``UnsupportedError`` for a backend that emits none."""
        return self._emitted.source

    @property
    def provenance(self) -> tuple[Provenance, ...]:
        """For each emitted statement, its IR line and where the user wrote it."""
        return tuple(
            Provenance(s.first, s.last, s.text, s.ir, self._position(s.node)) for s in self._emitted.statements
        )

    @property
    def ir(self) -> str:
        """The final IR text."""
        return graph_text(self._plan.graph)

    @property
    def report(self) -> Report:
        """Every pass: time, rules fired, cost and IR before and after."""
        return self._plan.report

    @property
    def cost(self) -> Cost:
        """What a call costs, as planned."""
        return cost(self._plan.graph.outputs)

    @property
    def program(self) -> Program:
        """The kernel calls; raises ``UnsupportedError`` for a backend that has none."""
        if self._plan.program is None:
            raise UnsupportedError(f"the {self._request.backend} backend makes no program; use backend='numpy'")
        return self._plan.program

    def save(self, path: str | Path) -> None:
        """Write the stand-alone module to ``path``."""
        Path(path).write_text(self.source, encoding="utf-8")

    def __repr__(self) -> str:
        types = ", ".join(f"{_label(node)}: {node.type}" for node in self._inputs)
        return f"<otus function ({types}) -> {', '.join(self.outputs)}>"

    @property
    def _emitted(self) -> Emitted:
        if self._plan.emitted is None:
            raise UnsupportedError(f"the {self._request.backend} backend emits no source; use backend='numpy'")
        return self._plan.emitted

    def _position(self, node: Node) -> Any:
        return self._request.positions.get(self._plan.graph.origin(node))

    # --- running -------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Check the inputs, run, and return the outputs in the structure they were compiled in."""
        values = self._named(args, kwargs)
        given = [values[_label(node)] for node in self._inputs]
        arrays = [as_numpy(value, node.type, _label(node)) for value, node in zip(given, self._inputs, strict=True)]
        sizes = bind_sizes(self._inputs, arrays)
        if settings().check:
            for node, array in zip(self._inputs, arrays, strict=True):
                check_facts(array, node.type.facts, _label(node))
        kind = result_kind(given)
        results = self._plan_for(sizes).run(*arrays)
        return self._request.unflatten([convert_result(result, kind) for result in results])

    def _named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs by name; names that only the original expression reads are dropped."""
        names = self.inputs
        if len(args) > len(names):
            raise NamingError(f"{len(args)} inputs were given in order; the function takes {_listed(names)}")
        values = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name in values:
                raise NamingError(f"input {name!r} was given twice, in order and by name")
            if name not in names and name not in self._all_inputs:
                raise NamingError(f"unknown input {name!r}{nearest(name, names) or f'; inputs are {_listed(names)}'}")
            values[name] = value
        missing = [name for name in names if name not in values]
        if missing:
            shown = ", ".join(f"{name} {shape_text(self._all_inputs[name].type.shape)}" for name in missing)
            raise NamingError(f"missing input {shown}; the function takes {_listed(names)}")
        return values

    # --- planning ------------------------------------------------------------------------------

    def _input_nodes(self) -> tuple[Node, ...]:
        if self._request.inputs is not None:
            unknown = [name for name in self._request.inputs if name not in self._all_inputs]
            if unknown:
                raise NamingError(f"inputs= names {unknown[0]!r}{nearest(unknown[0], self._all_inputs)}, which no output reads")
            order = list(self._request.inputs)
        else:
            order = list(self._all_inputs)
        if self._plan.program is not None:
            read = set(self._plan.program.inputs)
        else:
            read = set(self._all_inputs)
        left_out = [name for name in read if name not in order]
        if left_out:
            raise NamingError(f"inputs= leaves out {left_out[0]!r}, which the outputs read")
        wanted = order if self._request.inputs is not None else [name for name in order if name in read]
        return tuple(self._all_inputs[name] for name in wanted)

    def _plan_for(self, sizes: Mapping[str, int]) -> Plan:
        if not self._symbolic:
            return self._plan
        key = tuple(sorted(sizes.items()))
        with self._lock:
            if key not in self._plans:
                specialise(self._plan.graph.outputs, sizes)  # raises where a size does not fit
                self._plans[key] = self._make_plan(sizes)
            return self._plans[key]

    def _make_plan(self, sizes: Mapping[str, int]) -> Plan:
        request = self._request
        graph, report = self._suffix.run(self._staged, sizes, request.check)
        if sizes and graph.outputs == self._plan.graph.outputs:
            plan = self._plan
        else:
            plan = self._emit(graph, (*self._staged_report, *report))
        if sizes and request.memory_limit is not None:
            check_memory_limit(graph.outputs, request.memory_limit, sizes)
        return plan

    def _emit(self, graph: Graph, report: Report) -> Plan:
        request = self._request
        if request.backend == "reference":
            return Plan(graph, report, None, None, self._reference(graph))
        program = lower(graph, request.graph.inputs)
        emitted = emit_numpy(program, request.function_name, request.description)
        function = load_function(emitted)
        single = len(program.outputs) == 1
        order = program.inputs

        def run(*arrays: Any) -> Sequence[Any]:
            named = dict(zip(self.inputs, arrays, strict=True))
            result = function(*(named[name] for name in order))
            return [result] if single else list(result)

        return Plan(graph, report, program, emitted, run)

    def _reference(self, graph: Graph) -> Callable[..., Sequence[Any]]:
        def run(*arrays: Any) -> Sequence[Any]:
            values = dict(zip(self.inputs, arrays, strict=True))
            return evaluate(graph.outputs, values, bind_sizes(self._inputs, arrays))

        return run


def _split(pipeline: Pipeline) -> tuple[Pipeline, Pipeline]:
    """The passes that do not depend on sizes, and the rest from the first that does."""
    for position, each in enumerate(pipeline.passes):
        if each.with_sizes({"": 1}) is not each:
            return Pipeline(pipeline.passes[:position]), Pipeline(pipeline.passes[position:])
    return pipeline, Pipeline(())


def _label(node: Node) -> str:
    assert isinstance(node.op, Input)
    return node.op.label


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def require_backend(name: str) -> None:
    """Raise ``OtusError`` unless the backend exists and can run here."""
    known = backend_states()
    if name not in known:
        raise OtusError(f"unknown backend {name!r}{nearest(name, known) or f'; backends are {_listed(list(known))}'}")
    if known[name] is not None:
        raise UnsupportedError(f"backend {name!r} cannot run: {known[name]}; use 'numpy'")


def backend_states() -> dict[str, str | None]:
    """Each backend, and why it cannot run here (None where it can)."""
    return {"numpy": None, "triton": "this version has no Triton emitter", "reference": None}
