"""A graph: named outputs over nodes, what a pass takes and returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .errors import NamingError, VerificationError
from .node import Node
from .operations import Input
from .traverse import inputs_of, topological, transform


@dataclass(frozen=True)
class Graph:
    """Named outputs, with the user's names for inner nodes and the node each one came from.

    ``labels`` and ``origins`` are side tables: they change no value.  ``origins`` maps a node made
    by a pass to the node of the user's expression that it computes a part of.
    """

    outputs: tuple[Node, ...]
    names: tuple[str, ...]
    labels: Mapping[Node, str] = field(default_factory=dict)
    origins: Mapping[Node, Node] = field(default_factory=dict)

    @classmethod
    def of(cls, outputs: Sequence[Node], names: Sequence[str] | None = None) -> Graph:
        """A graph of ``outputs``, called ``out0``, ``out1``, … unless named."""
        return cls(tuple(outputs), tuple(names or (f"out{k}" for k in range(len(outputs)))))

    @property
    def inputs(self) -> list[Node]:
        """The input nodes, in order of first use."""
        return inputs_of(self.outputs)

    def nodes(self) -> list[Node]:
        """Every node, operands before users."""
        return topological(self.outputs)

    def origin(self, node: Node) -> Node:
        """The node of the user's expression that ``node`` computes a part of."""
        return self.origins.get(node, node)

    def transform(self, change: Callable[[Node, Sequence[Node]], Node]) -> Graph:
        """Replace every node, operands first, by ``change(node, new_operands)``.

        Labels move to the replacements, and nodes that appear only now come from the node
        whose replacement they are part of.
        """
        return self.replaced(transform(self.outputs, change))

    def replaced(self, new: Mapping[Node, Node]) -> Graph:
        """The graph after each node became ``new[node]``."""
        labels: dict[Node, str] = {}
        origins = dict(self.origins)
        known = set(new)
        for old, node in new.items():
            if old in self.labels:
                labels.setdefault(node, self.labels[old])
            for fresh in _fresh(node, known):
                known.add(fresh)
                origins.setdefault(fresh, self.origin(old))
        return Graph(tuple(new[x] for x in self.outputs), self.names, labels, origins)


def _fresh(node: Node, known: set[Node]) -> list[Node]:
    found, stack = [], [node]
    while stack:
        part = stack.pop()
        if part not in known:
            known.add(part)
            found.append(part)
            stack.extend(part.operands)
    return found


def verify(graph: Graph) -> None:
    """Check that every type is what its operation infers and that names mean one thing.

    Raises ``NamingError`` where two different inputs share a name, ``VerificationError`` where a
    pass has broken the graph.
    """
    if len(graph.outputs) != len(graph.names):
        raise VerificationError(f"{len(graph.outputs)} outputs have {len(graph.names)} names")
    if len(set(graph.names)) != len(graph.names):
        raise NamingError(f"output names {graph.names} are not distinct")
    for node in graph.nodes():
        node.op.check_arity(len(node.operands))
        inferred = node.op.infer(tuple(x.type for x in node.operands))
        if inferred != node.type:
            raise VerificationError(f"{node.op.name} is typed {node.type}, its rule says {inferred}")
    check_input_names(graph.outputs)


def check_input_names(outputs: Sequence[Node]) -> None:
    """Raise ``NamingError`` where two different tensors have one name; it shows both."""
    named: dict[str, Node] = {}
    for node in inputs_of(outputs):
        assert isinstance(node.op, Input)
        other = named.setdefault(node.op.label, node)
        if other is not node:
            raise NamingError(
                f"two different tensors are called {node.op.label!r}: {_describe(other)} and "
                f"{_describe(node)}; rename one of them"
            )


def _describe(node: Node) -> str:
    facts = ", ".join(f"{name}={value}" for name, value in node.type.facts.items())
    return f"{node.type}" + (f" ({facts})" if facts else "")
