"""Passes, pipelines and reports.

A pass is a frozen dataclass whose fields are its options, with ``run(graph) -> graph``.  A pipeline
is text such as ``"expand,simplify,contract{memory=2GiB}"``.  The manager verifies the graph after
every pass and records time, cost and rules fired; a checker may compare values as well.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..ir import Cost, Graph, ParseError, cost, dump, verify
from ..ir.errors import nearest
from .rewrite import Firing, recorded_firings


@dataclass(frozen=True)
class Pass:
    """Base of passes.  ``name`` is what a pipeline text calls it."""

    name: ClassVar[str] = ""

    def run(self, graph: Graph) -> Graph:
        """Return the rewritten graph; the outputs keep their names, shapes and values."""
        raise NotImplementedError(type(self).__name__)

    def run_counting(self, graph: Graph) -> tuple[Graph, Counter[str]]:
        """The rewritten graph, and how often each rule fired."""
        return self.run(graph), Counter()

    def with_sizes(self, sizes: Mapping[str, int]) -> Pass:
        """The pass with sizes to plan for, where it has use for them."""
        return self


@dataclass(frozen=True)
class PassRecord:
    """What one pass did."""

    name: str
    seconds: float
    before: Graph
    after: Graph
    rules: Counter[str] = field(default_factory=Counter)

    @property
    def changed(self) -> bool:
        """Whether any output is another node than before."""
        return self.before.outputs != self.after.outputs

    @property
    def cost_before(self) -> Cost:
        """The cost before the pass."""
        return cost(self.before.outputs)

    @property
    def cost_after(self) -> Cost:
        """The cost after the pass."""
        return cost(self.after.outputs)

    @property
    def ir_before(self) -> str:
        """IR text before the pass."""
        return graph_text(self.before)

    @property
    def ir_after(self) -> str:
        """IR text after the pass."""
        return graph_text(self.after)


@dataclass(frozen=True)
class Application:
    """One pass applied to a graph, with every firing of a rule in it: what a checker judges."""

    step: Pass
    before: Graph
    after: Graph
    firings: tuple[Firing, ...] = ()


Report = tuple[PassRecord, ...]
Checker = Callable[[Application], None]


def graph_text(graph: Graph) -> str:
    """IR text with the user's names, returning a dict of the outputs."""
    return dump(dict(zip(graph.names, graph.outputs, strict=True)), graph.labels)


@dataclass(frozen=True)
class Pipeline:
    """A sequence of passes."""

    passes: tuple[Pass, ...]

    def __str__(self) -> str:
        return ",".join(map(pass_text, self.passes))

    def run(
        self, graph: Graph, sizes: Mapping[str, int] | None = None, check: Checker | None = None
    ) -> tuple[Graph, Report]:
        """Run every pass; the graph is verified at the start and after each.

        ``sizes`` are sizes to plan for; ``check`` may raise where values differ.
        """
        verify(graph)
        records = []
        for each in self.passes:
            step = each.with_sizes(sizes or {})
            start = time.perf_counter()
            after, fired = step.run_counting(graph) if check is None else _checked(step, graph, check)
            seconds = time.perf_counter() - start
            verify(after)
            records.append(PassRecord(each.name, seconds, graph, after, fired))
            graph = after
        return graph, tuple(records)

    def until(self, name: str) -> Pipeline:
        """The passes up to and including the one called ``name``; raises ``ParseError`` if there is none."""
        names = [each.name for each in self.passes]
        if name not in names:
            hint = nearest(name, names) or f"; the pipeline is {self}"
            raise ParseError(f"the pipeline has no pass {name!r}{hint}")
        return Pipeline(self.passes[: names.index(name) + 1])


def _checked(step: Pass, graph: Graph, check: Checker) -> tuple[Graph, Counter[str]]:
    """Run a pass and have it judged; where it fails, the rules that fired until then are judged first."""
    with recorded_firings() as firings:
        try:
            after, fired = step.run_counting(graph)
            verify(after)
        except Exception:
            # A rule that fired before may be the reason, whatever the error is, and then that rule is to be named.
            # Where every firing was right, the check returns and the error itself goes on.
            check(Application(step, graph, graph, tuple(firings)))
            raise
    check(Application(step, graph, after, tuple(firings)))
    return after, fired


def pass_text(each: Pass) -> str:
    """A pass as pipeline text: its name, and in braces the options that differ from the defaults."""
    options = [
        f"{f.name}={getattr(each, f.name)}"
        for f in dataclasses.fields(each)
        if f.init and f.repr and getattr(each, f.name) != f.default
    ]
    return each.name + (f"{{{', '.join(options)}}}" if options else "")


_PASS = re.compile(r"\s*([A-Za-z_]\w*)\s*(?:\{([^{}]*)\})?\s*(?:,|\Z)")


def parse_pipeline(text: str, known: Mapping[str, type[Pass]]) -> Pipeline:
    """Read pipeline text; raises ``ParseError`` for an unknown pass or option."""
    passes, position = [], 0
    while position < len(text):
        match = _PASS.match(text, position)
        if match is None:
            raise ParseError(f"pipeline {text!r} cannot be read at {text[position:]!r}; write pass{{option=value}},…")
        passes.append(_build(match[1], match[2] or "", known))
        position = match.end()
    return Pipeline(tuple(passes))


def _build(name: str, options: str, known: Mapping[str, type[Pass]]) -> Pass:
    if name not in known:
        hint = nearest(name, known) or f"; passes are {', '.join(known)}"
        raise ParseError(f"unknown pass {name!r}{hint}")
    fields = {f.name: f for f in dataclasses.fields(known[name]) if f.init and f.repr}
    values: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in options.split(","))):
        key, equals, value = (part.strip() for part in item.partition("="))
        if key not in fields or not equals:
            raise ParseError(
                f"pass {name} has no option {item!r}{nearest(key, fields)}; it takes {', '.join(fields) or 'none'}"
            )
        values[key] = _option(f"{name}.{key}", value, fields[key].default)
    return known[name](**values)


def _option(name: str, text: str, default: Any) -> Any:
    """An option's value, of the kind its default has."""
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise ParseError(f"{name} is true or false, not {text!r}")
        return text.lower() == "true"
    if isinstance(default, int):
        if not text.lstrip("-").isdigit():
            raise ParseError(f"{name} is an integer, not {text!r}")
        return int(text)
    return text


def describe(report: Sequence[PassRecord]) -> list[str]:
    """One line a pass: time, number of nodes, rules fired."""
    lines = []
    for record in report:
        nodes = f"{len(record.before.nodes())} -> {len(record.after.nodes())} nodes"
        fired = ", ".join(f"{name}×{count}" for name, count in sorted(record.rules.items()))
        lines.append(f"{record.name:<12} {record.seconds * 1e3:8.2f} ms  {nodes}{'  ' + fired if fired else ''}")
    return lines
