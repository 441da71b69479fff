"""Compiled functions: a graph, planned and emitted, that takes and returns arrays."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..ir import Cost, NamingError, Node, OtusError, UnsupportedError, cost
from ..ir.errors import nearest
from ..ir.program import Program
from ..ir.specialise import free_symbols
from ..ir.traverse import input_label
from ..passes import Report, graph_text
from .arrays import result_kind
from .binding import bind_sizes
from .exchange import exchange_for
from .facts import check_facts
from .failures import DATA_ERRORS, explained
from .looking import show
from .planning import Plan, Request, Runner
from .plans import Plans, Runnable
from .prologue import make_entrance, make_picker
from .settings import settings
from .torch_functions import why_no_triton

__all__ = ["CompiledFunction", "Provenance", "Request", "backend_states", "only", "require_backend"]

_KEPT_SIGNATURES = 1024


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


class CompiledFunction:
    """A function of arrays.  Call it with inputs by name, or in the order of ``inputs``.

    It is correct for every size of the symbolic dims, and plans the contraction order anew for sizes at
    which another is cheaper.  Results are fresh arrays, 0-dimensional for scalars; inputs are never
    written to.  Calls may come from several threads.  ``OTUS_CHECK=1``, read when the function is
    compiled, checks declared facts on the inputs of every call.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._all = {input_label(node): node for node in (*request.graph.inputs, *request.size_inputs)}
        self._plans = Plans(request, self._ordered_inputs())
        self._inputs = self._read_inputs()
        self._names = tuple(input_label(node) for node in self._inputs)
        self._single = len(request.graph.outputs) == 1
        self._unflatten = request.unflatten
        self._check_facts = settings().check
        self._known: dict[tuple[tuple[int, ...], ...], Runner] = {}
        self._pick = make_picker(self._names)
        self._finish = _finish(request.unflatten, self._single)
        self._exchange = exchange_for(request.backend, request.interpret, request.device)
        self._enter: Runner = self._first_call
        if self._plans.general.plan is not None:
            show(self._plans.general.plan, request.function_name)

    # --- what can be looked at -----------------------------------------------------------------

    @property
    def _plan(self) -> Plan:
        """The plan that was made without knowing sizes, under the user's names."""
        return self._plans.planner.general

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs, in the order in which they may be passed."""
        return self._names

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs, in order."""
        return self._request.graph.names

    @property
    def source(self) -> str:
        """The emitted module, planned without knowing sizes; raises ``UnsupportedError`` where there is none."""
        return self._plans.source

    @property
    def provenance(self) -> tuple[Provenance, ...]:
        """For each emitted statement, its IR line and where the user wrote it."""
        if self._plan.emitted is None:
            raise UnsupportedError("the reference backend emits no source; use backend='numpy'")
        return tuple(
            Provenance(s.first, s.last, s.text, s.ir, self._position(s.node)) for s in self._plan.emitted.statements
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
        return cost(self._plan.graph.outputs, free_symbols(self._all.values()))

    @property
    def program(self) -> Program:
        """The kernel calls; raises ``UnsupportedError`` for a backend that has none."""
        if self._plan.program is None:
            raise UnsupportedError("the reference backend makes no program; use backend='numpy'")
        return self._plan.program

    def plan_for(self, sizes: Mapping[str, int] | None = None, /, **dims: int) -> Plan:
        """What runs at these sizes: ``.source``, ``.program``, ``.graph``; every dim needs a size."""
        return self._plans.planner.plan({**(sizes or {}), **dims})

    def save(self, path: str | Path) -> None:
        """Write the stand-alone module to ``path``; it needs NumPy and nothing else."""
        Path(path).write_text(self.source, encoding="utf-8")

    def __repr__(self) -> str:
        types = ", ".join(f"{input_label(node)}: {node.type}" for node in self._inputs)
        return f"<otus function ({types}) -> {', '.join(self.outputs)}>"

    def _position(self, node: Node) -> Any:
        return self._request.positions.get(self._plan.graph.origin(node))

    # --- running -------------------------------------------------------------------------------

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Check the inputs, run, and return the outputs in the structure they were compiled in.

        Raises ``NamingError`` for missing, unknown or repeated names, ``ShapeError`` and ``DTypeError``
        where data do not fit, before anything is computed; ``EvaluationError`` naming the operation where
        the data have no result (a singular matrix, an index out of range).
        """
        if not kwargs:
            if len(args) == len(self._names):
                return self._enter(*args)
        elif not args and len(kwargs) == len(self._names):
            values = self._pick(kwargs)
            if values is not None:
                return self._enter(*values)
        return self._enter(*self._ordered(args, kwargs))

    def _first_call(self, *values: Any) -> Any:
        """Make the entrance, which may import the backend's library."""
        names = self._exchange.names(self._inputs)
        self._enter = make_entrance(
            len(self._inputs), self._exchange.ready, names, self._known, self._finish, self._failed, self._checked_call
        )
        return self._enter(*values)

    def _checked_call(self, values: tuple[Any, ...]) -> Any:
        """A call whose inputs are not known to fit: they are converted and checked first."""
        kind = result_kind(values)
        arrays = self._exchange.taken(values, self._inputs, kind)
        shapes = tuple([tuple(array.shape) for array in arrays])
        run = self._known.get(shapes) or self._prepared(arrays, shapes)
        try:
            result = run(*arrays)
        except DATA_ERRORS as error:
            result = self._failed(error, arrays)
        leaves = (result,) if self._single else result
        return self._unflatten(self._exchange.given(leaves, kind))

    def _prepared(self, arrays: Sequence[Any], shapes: tuple[tuple[int, ...], ...]) -> Runner:
        """What runs for these arrays, which are checked; it is known from then on unless facts are to be checked."""
        sizes = bind_sizes(self._inputs, arrays)
        if self._check_facts:
            for node, array, name in zip(self._inputs, arrays, self._names, strict=True):
                check_facts(self._exchange.as_numpy(array), node.type.facts, name)
        run = _taking(self._plans.at(sizes), self._names)
        if not self._check_facts:
            if len(self._known) >= _KEPT_SIGNATURES:
                self._known.clear()
            self._known[shapes] = run
        return run

    def _failed(self, error: Exception, arrays: Sequence[Any]) -> Any:
        """Raise an error about data as one that names the operation and its place.

        Code that is kept from another program has other names: the data are given to code of this one.
        """
        sizes = bind_sizes(self._inputs, arrays)
        plan = self._plans.at(sizes).plan
        if plan is None:
            plan = self._plans.planner.plan(sizes)
            try:
                return plan.run(*(arrays[self._names.index(name)] for name in plan.reads))
            except DATA_ERRORS as same:
                error = same
        raise explained(
            error, plan.emitted, lambda node: self._request.positions.get(plan.graph.origin(node))
        ) from error

    # --- names ---------------------------------------------------------------------------------

    def _ordered(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """The inputs in order; names that only the original expression reads are dropped."""
        names = self._names
        if len(args) > len(names):
            raise NamingError(f"{len(args)} inputs were given in order; the function takes {_listed(names)}")
        values = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name in values:
                raise NamingError(f"input {name!r} was given twice, in order and by name; give it once")
            if name not in self._all:
                hint = nearest(name, self._all) or f"; inputs are {_listed(names)}"
                raise NamingError(f"unknown input {name!r}{hint}")
            values[name] = value
        missing = [f"{name!r} ({self._all[name].type})" for name in names if name not in values]
        if missing:
            raise NamingError(f"missing input {', '.join(missing)}; the function takes {_listed(names)}")
        return [values[name] for name in names]

    def _ordered_inputs(self) -> list[Node]:
        """Every input of the expression, those of ``inputs=`` first and in that order."""
        wanted = self._request.inputs or ()
        for name in wanted:
            if name not in self._all:
                hint = nearest(name, self._all) or f"; the expression has {_listed(tuple(self._all))}"
                raise NamingError(f"inputs= names {name!r}, which no output reads{hint}")
        if len(set(wanted)) != len(wanted):
            raise NamingError(f"inputs= names a tensor twice: {_listed(wanted)}")
        declared = [name for name in self._request.declared if name in self._all]
        return [self._all[name] for name in dict.fromkeys((*wanted, *declared, *self._all))]

    def _read_inputs(self) -> tuple[Node, ...]:
        """The inputs that the plan reads; with ``inputs=``, exactly those."""
        wanted = self._request.inputs
        reads = self._plans.general.reads
        if wanted is None:
            return tuple(self._all[name] for name in reads)
        left_out = [name for name in reads if name not in wanted]
        if left_out and self._request.backend != "reference":
            raise NamingError(f"inputs= leaves out {left_out[0]!r}, which the outputs read; add it")
        return tuple(self._all[name] for name in wanted)


def _taking(runnable: Runnable, names: tuple[str, ...]) -> Runner:
    """The code as a function of arrays in the order of ``names``."""
    if runnable.reads == names:
        return runnable.run
    run, places = runnable.run, [names.index(name) for name in runnable.reads]
    return lambda *arrays: run(*[arrays[place] for place in places])


def _finish(unflatten: Callable[[Any], Any], single: bool) -> Callable[[Any], Any] | None:
    """What puts the code's result (an array, or a tuple of them) into the structure; None where it is that."""
    if unflatten is (only if single else tuple):
        return None
    return (lambda result: unflatten([result])) if single else unflatten


def only(leaves: Sequence[Any]) -> Any:
    """The value of a function whose structure is one tensor."""
    return leaves[0]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def require_backend(name: str, interpret: bool = False) -> None:
    """Raise ``OtusError`` unless the backend exists and can run here.

    ``interpret`` asks for Triton's interpreter, which no other backend has.
    """
    if interpret and name != "triton":
        raise OtusError(f"interpret=True runs Triton's kernels, and backend {name!r} has none; use backend='triton'")
    if name not in _BACKENDS:
        hint = nearest(name, _BACKENDS) or f"; backends are {_listed(tuple(_BACKENDS))}"
        raise OtusError(f"unknown backend {name!r}{hint}")
    reason = _BACKENDS[name](interpret)
    if reason is not None:
        raise UnsupportedError(f"backend {name!r} cannot run: {reason}; backend='numpy' runs everywhere")


def backend_states() -> dict[str, str | None]:
    """Each backend, and why it cannot run here (None where it can)."""
    return {name: why_not(False) for name, why_not in _BACKENDS.items()}


def _why_no_compiler(interpret: bool) -> str | None:
    compiler = os.environ.get("CC", "cc")
    return None if shutil.which(compiler) else f"there is no C compiler {compiler!r}; install one, or set CC"


# Why a backend cannot run here, or None where it can; only what is asked for is looked at.
_BACKENDS: dict[str, Callable[[bool], str | None]] = {
    "numpy": lambda interpret: None,
    "c": _why_no_compiler,
    "triton": why_no_triton,
    "reference": lambda interpret: None,
}
