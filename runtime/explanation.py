"""What the optimiser did with a program, and where its cost is now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ..ir import Cost, Graph, Size, SizedCost, cost
from ..ir.dims import evaluate, symbols
from ..ir.operations import Derivative, Einsum, Input
from ..ir.program import Buffer, Program, planned_peak
from ..ir.traverse import input_label
from ..passes import PassRecord, Report, innermost_requests
from ..passes.planned_sizes import UNKNOWN_SIZE
from ..passes.rule_descriptions import describe_rule
from .graph_difference import GraphDifference, difference
from .plan_steps import Step, largest_intermediate, plan_steps
from .quantities import largest, leading_terms


@dataclass(frozen=True)
class RuleExplanation:
    """A rule that fired: its name, how often, and what it does in one line, ``before -> after``.

    Derivatives that were expanded are listed likewise, by their kind.
    """

    name: str
    count: int
    description: str


@dataclass(frozen=True)
class PassExplanation:
    """What one pass did.  A cost is None where derivatives are still requests, which cost nothing yet."""

    record: PassRecord = field(repr=False)
    cost_before: Cost | None
    cost_after: Cost | None
    rules: tuple[RuleExplanation, ...]

    @property
    def name(self) -> str:
        """What pipelines call the pass."""
        return self.record.name

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.record.seconds

    @property
    def changed(self) -> bool:
        """Whether any output is another operation than before."""
        return self.record.changed

    @cached_property
    def nodes_before(self) -> int:
        """The number of operations before, inputs included."""
        return len(self.record.before.nodes())

    @cached_property
    def nodes_after(self) -> int:
        """The number of operations after, inputs included."""
        return len(self.record.after.nodes())

    @cached_property
    def difference(self) -> GraphDifference:
        """The operations that went and came."""
        return difference(self.record.before, self.record.after)


@dataclass(frozen=True)
class Explanation:
    """What each pass did, and the final plan.

    ``sizes`` has a size for every dim that the costs depend on; for those in ``assumed`` nobody gave one,
    and the planner's guess stands there.  ``initial`` is the cost as soon as all derivatives are expanded.
    ``largest`` is the largest intermediate, None where there is none; ``unread`` are inputs that no
    output needs.
    """

    graph: Graph = field(repr=False)
    program: Program = field(repr=False)
    passes: tuple[PassExplanation, ...]
    initial: Cost
    final: Cost
    sizes: Mapping[str, int]
    assumed: tuple[str, ...]
    steps: tuple[Step, ...]
    largest: Buffer | None
    unread: tuple[str, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs."""
        return self.graph.names

    @property
    def has_symbols(self) -> bool:
        """Whether the costs depend on dims."""
        return bool(self.sizes)

    @property
    def starts_expanded(self) -> bool:
        """Whether the program asked for no derivative, so that it had a cost from the start."""
        return not self.passes or self.passes[0].cost_before is not None

    @property
    def counts_loops(self) -> bool:
        """Whether some cost is that of a product of several tensors whose order was not chosen yet."""
        graphs = [x for each in self.passes for x in (each.record.before, each.record.after) if is_expanded(x)]
        return any(isinstance(node.op, Einsum) and len(node.operands) > 2 for x in graphs for node in x.nodes())

    def at_sizes(self, value: Cost) -> SizedCost:
        """A cost at ``sizes``."""
        return value(self.sizes)

    def count(self, size: Size) -> int:
        """A number of operations or bytes at ``sizes``."""
        return evaluate(size, self.sizes)

    def terms(self, value: Cost | None) -> tuple[str, str, str] | None:
        """Leading terms of flops, of bytes, and of the peak at ``sizes``; None without."""
        if value is None:
            return None
        peak = largest(value.live, self.sizes)
        flops, moved, live = (leading_terms(size, self.sizes) for size in (value.work, value.traffic, peak))
        return flops, moved, live

    @cached_property
    def planned_peak(self) -> int:
        """The most bytes that the program has live at once, inputs and outputs too, at ``sizes`` on these cores."""
        from ..codegen.to_numpy.block_helpers import _cores

        return planned_peak(self.program, self.sizes, _cores())


def explain(
    report: Report, graph: Graph, program: Program, sizes: Mapping[str, int], declared: Sequence[str] = ()
) -> Explanation:
    """Explain a plan: its report, its final graph, its program, at ``sizes`` where the caller knows some.

    ``declared`` are inputs that the user has, beside those that the outputs named at the start.
    """
    states = [*(record.before for record in report[:1]), *(record.after for record in report)] or [graph]
    costs = [cost(state.outputs) if is_expanded(state) else None for state in states]
    expanded = [each for each in costs if each is not None]
    final = expanded[-1] if expanded else cost(graph.outputs)
    named = dict.fromkeys([*declared, *map(input_label, states[0].inputs)])
    known = {node.op.label for node in graph.inputs if isinstance(node.op, Input)}
    needed = _symbols(states)
    planned = {name: sizes.get(name, UNKNOWN_SIZE) for name in needed}
    intermediate = largest_intermediate(program, planned)
    return Explanation(
        graph=graph,
        program=program,
        passes=tuple(
            PassExplanation(record, costs[k], costs[k + 1], _rules(record)) for k, record in enumerate(report)
        ),
        initial=expanded[0] if expanded else final,
        final=final,
        sizes=planned,
        assumed=tuple(name for name in needed if name not in sizes),
        steps=plan_steps(program),
        largest=None if intermediate is None else program.buffer_map()[intermediate],
        unread=tuple(name for name in named if name not in known),
    )


def is_expanded(graph: Graph) -> bool:
    """Whether no request for a derivative is left."""
    return not innermost_requests(graph)


def _symbols(states: Sequence[Graph]) -> list[str]:
    sizes = {size for state in states for node in state.nodes() for size in node.type.shape}
    return sorted(set().union(*(symbols(size) for size in sizes if not isinstance(size, int))))


def _rules(record: PassRecord) -> tuple[RuleExplanation, ...]:
    fired = [RuleExplanation(name, count, describe_rule(name)) for name, count in record.rules.items()]
    for kind, count in _expanded(record).items():
        fired.append(RuleExplanation(kind, count, "request -> the operations that compute it"))
    return tuple(sorted(fired, key=lambda each: (-each.count, each.name)))


def _expanded(record: PassRecord) -> Counter[str]:
    """The requests for derivatives that a pass took away, by kind."""
    before, after = (
        Counter(node.op.kind for node in graph.nodes() if isinstance(node.op, Derivative))
        for graph in (record.before, record.after)
    )
    return before - after
