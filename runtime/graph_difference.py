"""What differs between two graphs, node by node.

Equal operations on equal operands are one node, so the difference is exact: it does not depend on
how either graph is numbered or in which order it is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest

from ..ir import Graph, Node, topological
from ..ir.operations import Input
from ..ir.printer import is_identifier, line, node_names

EQUAL, REMOVED, ADDED = " ", "-", "+"


@dataclass(frozen=True)
class DifferenceLine:
    """One line of IR text, and whether it is ``EQUAL``, ``REMOVED`` or ``ADDED``."""

    mark: str
    text: str


@dataclass(frozen=True)
class GraphDifference:
    """The operations of two graphs, operands before users.

    ``lines`` are those of both graphs, with one name for each node that they share (a loop takes several
    lines); the lines ``return`` stand last where they differ.
    """

    lines: tuple[DifferenceLine, ...] = field(repr=False)
    equal: int
    removed: int
    added: int
    same_values: bool

    @property
    def is_empty(self) -> bool:
        """Whether both graphs return the same values under the same names."""
        return not any(each.mark != EQUAL for each in self.lines)


def difference(before: Graph, after: Graph) -> GraphDifference:
    """Compare two graphs by identity of their nodes.

    >>> from otus.ir import build, make_type
    >>> x = build.input_node("x", make_type(("n",)))
    >>> found = difference(Graph.of([build.apply("exp", x)]), Graph.of([build.apply("sin", x)]))
    >>> for each in found.lines:
    ...     print(each.mark, each.text)
      %x: f64[n] = input "x"
    - %0: f64[n] = map "exp(a)" "n->n" %x
    + %1: f64[n] = map "sin(a)" "n->n" %x
    - return {"out0": %0}
    + return {"out0": %1}
    """
    old, new = set(before.nodes()), set(after.nodes())
    pairs = zip_longest(before.outputs, after.outputs)
    order = topological(node for node in chain.from_iterable(pairs) if node is not None)
    names = _joint_names(before, after, order, old & new)
    lines = [DifferenceLine(_mark(node, old, new), text) for node in order for text in line(node, names).splitlines()]
    returned = [f"return {_returned(graph, names)}" for graph in (before, after)]
    if returned[0] != returned[1]:
        lines += [DifferenceLine(REMOVED, returned[0]), DifferenceLine(ADDED, returned[1])]
    return GraphDifference(
        tuple(lines), len(old & new), len(old - new), len(new - old), before.outputs == after.outputs
    )


def _mark(node: Node, old: set[Node], new: set[Node]) -> str:
    return EQUAL if node in old and node in new else REMOVED if node in old else ADDED


def _joint_names(old: Graph, new: Graph, order: Sequence[Node], shared: set[Node]) -> dict[Node, str]:
    """A name for each node: shared ones first, so that no other node has theirs.

    A value that was replaced under one name keeps it, on its line in either graph.
    """
    unshared = [node for node in order if node not in shared]
    names = node_names([*(node for node in order if node in shared), *unshared], {**new.labels, **old.labels})
    common = {names[node] for node in shared}
    for graph in (old, new):
        taken = set(common)
        inside = set(graph.nodes())
        for node in unshared:
            label = node.op.label if isinstance(node.op, Input) else graph.labels.get(node, "")
            if node in inside and is_identifier(label) and label not in taken:
                names[node] = label
                taken.add(label)
    return names


def _returned(graph: Graph, names: Mapping[Node, str]) -> str:
    pairs = zip(graph.names, graph.outputs, strict=True)
    return f"{{{', '.join(f'{json.dumps(name)}: %{names[node]}' for name, node in pairs)}}}"
