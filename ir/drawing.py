"""The graph as a NetworkX object, for looking at and for graph algorithms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .node import Node
from .printer import line, node_names
from .traverse import topological

if TYPE_CHECKING:
    import networkx


def to_networkx(outputs: Sequence[Node], labels: Mapping[Node, str] | None = None) -> networkx.DiGraph[Any]:
    """A ``DiGraph`` with an edge from each operand to each user.

    Nodes are keyed by name and carry ``op``, ``shape``, ``dtype``, ``text`` and ``name``; edges carry
    ``operand``, the operand's places at the user (a tuple, since one tensor may stand at several).
    """
    import networkx

    order = topological(outputs)
    names = node_names(order, labels)
    graph: networkx.DiGraph[Any] = networkx.DiGraph()
    for node in order:
        graph.add_node(
            names[node], op=node.op.name, shape=node.type.shape, dtype=node.type.dtype,
            text=line(node, names), name=names[node], output=node in outputs,
        )  # fmt: skip
        for operand in dict.fromkeys(node.operands):
            places = tuple(k for k, x in enumerate(node.operands) if x is operand)
            graph.add_edge(names[operand], names[node], operand=places)
    return graph
