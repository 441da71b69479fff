"""The plans of one compiled function: those that are kept where there are any, else made and kept."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from ..ir import Node
from ..ir.traverse import input_label
from ..passes import PASSES, Pass, Pipeline
from .cache import PlanCache, StoredPlan, versions
from .canonical import Canonical, canonicalise
from .memory import keeping
from .planning import Plan, Planner, Request, Runner, loaded
from .settings import Settings, settings
from .torch_functions import gpu_options


@dataclass(frozen=True)
class Runnable:
    """Code and the names of the inputs that it takes, in order; ``plan`` where it was made here.

    ``source`` is that of the code where it is written with the names of this program.
    """

    run: Runner
    reads: tuple[str, ...]
    symbolic: bool
    plan: Plan | None = None
    source: str | None = None


class Plans:
    """What runs, by sizes.

    Code that is kept from an equal program, whatever its names, is run as it is.  Everything that shows
    names (source, IR, reports, errors) comes from :attr:`planner`, which is made when it is first asked for;
    the source of a program with the very same names is what was kept.
    """

    def __init__(self, request: Request, inputs: Sequence[Node]) -> None:
        self._request, self._inputs = request, tuple(inputs)
        self._lock = threading.Lock()
        self._made: Planner | None = None
        self._kept = _kept_plans(request, self._inputs)
        self.general = self._find(None)

    @property
    def planner(self) -> Planner:
        """The planner under the user's names."""
        with self._lock:
            if self._made is None:
                self._made = Planner(self._request, self._inputs)
            return self._made

    @property
    def source(self) -> str:
        """The emitted module, planned without knowing sizes; raises ``UnsupportedError`` where there is none."""
        kept = self.general.source
        return self.planner.general.source if kept is None else kept

    def at(self, sizes: Mapping[str, int]) -> Runnable:
        """What runs at these sizes; raises ``ShapeError`` or ``MemoryLimitError`` where they do not fit."""
        return self._find(sizes) if self.general.symbolic else self.general

    def _find(self, sizes: Mapping[str, int] | None) -> Runnable:
        if self._kept is not None:
            found = self._kept.find(sizes)
            if found is not None:
                return found
        planner = self.planner
        plan = planner.general if sizes is None else planner.plan(sizes)
        if self._kept is not None:
            self._kept.keep(sizes, plan, planner.is_symbolic)
        return Runnable(plan.run, plan.reads, planner.is_symbolic, plan)


@dataclass(frozen=True)
class _KeptPlans:
    """The part of the cache that belongs to one program."""

    cache: PlanCache
    canonical: Canonical
    options: str
    names: str
    request: Request

    def find(self, sizes: Mapping[str, int] | None) -> Runnable | None:
        stored = self.cache.find(self._key(sizes))
        if stored is None:
            return None
        reads = tuple(input_label(self.canonical.inputs[number]) for number in stored.reads)
        source = stored.executable.source if stored.names == self.names else None
        return Runnable(loaded(stored.executable, self.request, stored.replayed), reads, stored.symbolic, source=source)

    def keep(self, sizes: Mapping[str, int] | None, plan: Plan, symbolic: bool) -> None:
        if plan.executable is None:
            return
        numbers = {input_label(node): number for number, node in enumerate(self.canonical.inputs)}
        reads = tuple(numbers[name] for name in plan.reads)
        self.cache.keep(self._key(sizes), StoredPlan(plan.executable, reads, symbolic, self.names, plan.replayed))

    def _key(self, sizes: Mapping[str, int] | None) -> str:
        known = "none" if sizes is None else [sizes.get(name) for name in self.canonical.dims]
        return f"{self.options}\n{self.canonical.text}\nsizes {known}"


def _kept_plans(request: Request, inputs: Sequence[Node]) -> _KeptPlans | None:
    """The kept plans of this program; None where it is to be planned afresh, or cannot be kept."""
    current = settings()
    canonical = canonicalise(request.graph, inputs) if _may_keep(request, current) else None
    if canonical is None:
        return None
    version = versions()
    folder = current.cache_folder if version is not None else None
    options = f"{version}\n{request.backend} {keeping(request.memory_limit, request.pipeline)}"
    if request.backend == "triton":
        options += f" {gpu_options(request.interpret)}"
    return _KeptPlans(PlanCache(folder), canonical, options, _names(request, canonical), request)


def _names(request: Request, canonical: Canonical) -> str:
    """All the names that source is written with: those of inner values beside their place in the graph."""
    graph = request.graph
    inputs = [input_label(node) for node in canonical.inputs]
    inner = [(place, graph.labels[node]) for place, node in enumerate(graph.nodes()) if node in graph.labels]
    return repr((inputs, canonical.dims, graph.names, inner, request.function_name, request.description))


def _may_keep(request: Request, current: Settings) -> bool:
    """Whether nothing looks at the passes while they run, and the text of the pipeline says all about it."""
    looking = current.debug or current.dump is not None or current.check or request.check is not None
    if looking or not current.cache or request.backend == "reference":
        return False
    names = request.graph.names
    return len(set(names)) == len(names) and _is_its_text(request.pipeline)


def _is_its_text(pipeline: Pipeline) -> bool:
    """Whether the pipeline's text says all about it: passes of Otus without hidden options."""
    return all(
        PASSES.get(each.name) is type(each) and not any(getattr(each, name) for name in _hidden_options(each))
        for each in pipeline.passes
    )


def _hidden_options(each: Pass) -> list[str]:
    """The fields of a pass that its text leaves out, such as the sizes of a call."""
    return [field.name for field in fields(each) if not (field.init and field.repr)]
