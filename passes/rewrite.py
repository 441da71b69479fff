"""The rewrite engine: local rules applied to every node until none fires.

A rule is a function from a node to an equal node, or None where it does not apply, with a docstring
``before -> after`` and a status: *exact* (the same value for the same arithmetic), *reassociates*
(equal in exact arithmetic, so rounding may differ) or *approximates* (never without being asked).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum

from ..ir import Graph, Node, Operation, VerificationError
from ..ir.traverse import count_uses, rebuild


class Status(Enum):
    """What a rule may do to rounding."""

    EXACT = "exact"
    REASSOCIATES = "reassociates"


@dataclass
class Context:
    """What a rule may ask about the graph around a node."""

    uses: dict[Node, int]

    def is_shared(self, node: Node) -> bool:
        """Whether more than one place reads ``node``, so that absorbing it would compute it twice."""
        return self.uses.get(node, 1) > 1


Rewrite = Callable[[Node, Context], Node | None]


@dataclass(frozen=True)
class Rule:
    """A rewrite with its name, the operations at whose nodes it may fire, and its status."""

    name: str
    operations: tuple[type[Operation], ...]
    status: Status
    rewrite: Rewrite

    @property
    def description(self) -> str:
        """The first line of the docstring: ``before -> after``."""
        return (self.rewrite.__doc__ or "").strip().splitlines()[0]


def rule(*operations: type[Operation], status: Status = Status.EXACT) -> Callable[[Rewrite], Rule]:
    """Declare a rule for nodes of these operations."""

    def declare(rewrite: Rewrite) -> Rule:
        return Rule(getattr(rewrite, "__name__", "rule").strip("_"), operations, status, rewrite)

    return declare


@dataclass(frozen=True)
class Firing:
    """One firing of a rule: the node that it was given and the node that it returned, which must be equal."""

    rule: Rule
    before: Node
    after: Node


_record: ContextVar[list[Firing] | None] = ContextVar("firings", default=None)


@contextmanager
def recorded_firings() -> Iterator[list[Firing]]:
    """Every firing of every rewriter within the block, in order; what checks rules one by one reads it."""
    firings: list[Firing] = []
    token = _record.set(firings)
    try:
        yield firings
    finally:
        _record.reset(token)


@dataclass
class Rewriter:
    """Applies rules over whole graphs; counts how often each fired."""

    rules: Sequence[Rule]
    fired: Counter[str] = field(default_factory=Counter)
    max_sweeps: int = 200
    max_steps: int = 1000

    def run(self, graph: Graph) -> Graph:
        """Sweep, operands first, until nothing changes.

        Raises ``VerificationError`` where the rules do not come to rest, which is a bug in a rule.
        """
        table = _by_operation(self.rules)
        for _ in range(self.max_sweeps):
            changed = self._sweep(graph, table)
            if changed.outputs == graph.outputs:
                return changed
            graph = changed
        raise self._restless()

    def _sweep(self, graph: Graph, table: dict[type[Operation], list[Rule]]) -> Graph:
        uses = count_uses(graph.outputs)
        context = Context(uses)

        def change(node: Node, operands: Sequence[Node]) -> Node:
            new = self._rewrite(rebuild(node, operands), table, context)
            if new is not node:
                uses[new] = uses.get(new, 0) + uses[node]
            return new

        return graph.transform(change)

    def _rewrite(self, node: Node, table: dict[type[Operation], list[Rule]], context: Context) -> Node:
        record = _record.get()
        for _ in range(self.max_steps):
            for each in table.get(type(node.op), ()):
                new = each.rewrite(node, context)
                if new is not None and new is not node:
                    self.fired[each.name] += 1
                    if record is not None:
                        record.append(Firing(each, node, new))
                    node = new
                    break
            else:
                return node
        raise self._restless()

    def _restless(self) -> VerificationError:
        return VerificationError(f"rules do not come to rest; fired so far: {dict(self.fired)}")


def _by_operation(rules: Iterable[Rule]) -> dict[type[Operation], list[Rule]]:
    table: dict[type[Operation], list[Rule]] = {}
    for each in rules:
        for operation in each.operations:
            table.setdefault(operation, []).append(each)
    return table
