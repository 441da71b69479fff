"""Comparisons that need scores to be the same number each time: such regions stay whole.

The derivative of a maximum goes to the elements that equal it.  In tiles the scores are computed anew for each pass, as
other products of other blocks, and differ in the last digits from those that the maximum was taken of: no element, or
another one, would equal it.  A comparison with numbers or tensors that do not come from the scores is only as
uncertain as the scores are.
"""

from __future__ import annotations

from ...ir import Graph, Node
from ...ir.operations import Map
from ...ir.scalar import Argument, Call, Scalar, postorder
from .scores import NotTiled, Scores

_STEPS = frozenset({"eq", "ne", "lt", "le", "gt", "ge", "sign", "floor", "mod"})


def refuse_ties(graph: Graph, scores: Scores) -> None:
    """Raise ``NotTiled`` where a step function meets both scores and what a sum or maximum of scores gives."""
    inside, outside = _dependents(graph, scores)
    for node in scores.members:
        if isinstance(node.op, Map) and any(
            read & inside and read & outside for read in _read_by_steps(node.op.expression, node)
        ):
            raise NotTiled("a score is compared with what is made of the scores")


def _dependents(graph: Graph, scores: Scores) -> tuple[set[Node], set[Node]]:
    """The scores that are computed with rounding, or from such, and what depends on an exit of them.

    One that does both, a difference of scores and their maximum for one, is in both.
    """
    inside = {node for node in scores.members if node.type.dtype.is_inexact}
    outside = set[Node]()
    for node in graph.nodes():
        if node in scores.members and inside & set(node.operands):
            inside.add(node)
        if (node in scores.exits and inside & set(node.operands)) or outside & set(node.operands):
            outside.add(node)
    return inside, outside


def _read_by_steps(expression: Scalar, node: Node) -> list[set[Node]]:
    """What the arguments of each step function read."""
    return [
        {node.operands[x.position] for x in postorder(part) if isinstance(x, Argument)}
        for part in postorder(expression)
        if isinstance(part, Call) and part.function in _STEPS
    ]
