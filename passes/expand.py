"""The pass that replaces requests for derivatives by the graphs that compute them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..autodiff import expand_together
from ..ir import Graph, Node
from ..ir.operations import Derivative
from ..ir.traverse import rebuild
from .manager import Pass


@dataclass(frozen=True)
class Expand(Pass):
    """Derivative requests in; none out.  The number of requests decreases.

    Requests inside requests are expanded first, one level at a time; requests for derivatives of one
    tensor share a sweep.  ::

        %1: f64[] = einsum "i,i->" %x, %x
        %2: f64[i] = derivative {kind="grad"} %1, %x

    becomes the sum of two products with 1, which ``simplify`` makes ``2·x``.
    """

    name: ClassVar[str] = "expand"

    def run(self, graph: Graph) -> Graph:
        """Expand until no request is left."""
        while ready := innermost_requests(graph):
            graph = _replaced(graph, expand_together(ready))
        return graph


def _replaced(graph: Graph, new: Mapping[Node, Node]) -> Graph:
    return graph.transform(lambda node, operands: new.get(node) or rebuild(node, operands))


def innermost_requests(graph: Graph) -> list[Node]:
    """The requests none of whose operands depend on a request."""
    pending: set[Node] = set()
    ready = []
    for node in graph.nodes():
        if any(operand in pending for operand in node.operands):
            pending.add(node)
        elif isinstance(node.op, Derivative):
            pending.add(node)
            ready.append(node)
    return ready
