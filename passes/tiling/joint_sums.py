"""Sums of scores that are only added to one another, and so are gathered in one place.

Products with a Hessian have sums of two products with scores, such as ``dS K + S dK``.  In a pass that computes both
they are one sum, of the terms of both.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...ir import Graph, Node, build
from ...ir import operations as ops
from ...ir.scalar import Argument, Call, Scalar, argument, postorder, replace_parts, used_arguments
from ...ir.traverse import rebuild
from .scores import Scores, users_of


def with_joint_sums(graph: Graph, scores: Scores) -> Graph:
    """An equal graph in which what a map adds up of such sums is a node of its own."""
    single = read_once(graph, scores)

    def change(node: Node, operands: Sequence[Node]) -> Node:
        found = _added(node, single)
        return rebuild(node, operands) if found is None else _with_sum(node, *found, operands)

    return graph.transform(change)


def read_once(graph: Graph, scores: Scores) -> frozenset[Node]:
    """The exits that are sums and that one node reads."""
    users, outputs = users_of(graph), set(graph.outputs)
    return frozenset(
        node
        for node in scores.exits
        if isinstance(node.op, ops.Einsum) and len(users.get(node, ())) == 1 and node not in outputs
    )


def is_joint_sum(node: Node, single: Collection[Node]) -> bool:
    """Whether a node is the sum of some of these, axis by axis."""
    op = node.op
    return (
        isinstance(op, ops.LinearCombination)
        and len(node.operands) > 1
        and all(x in single for x in node.operands)
        and all(x == 1 for x in op.coefficients)
        and all(x == tuple(range(node.ndim)) for x in op.inputs)
    )


def _added(node: Node, single: Collection[Node]) -> tuple[Scalar, int, int] | None:
    """The part of a map that adds two operands of which it reads nothing else, and these operands."""
    if not isinstance(node.op, ops.Map):
        return None
    for part in postorder(node.op.expression):
        match part:
            case Call(function="add", arguments=(Argument(position=left), Argument(position=right))):
                whole = [node.op.inputs[k] == tuple(range(node.ndim)) for k in (left, right)]
                rest = used_arguments(replace_parts(node.op.expression, {part: argument(len(node.operands))}))
                are_single = {node.operands[left], node.operands[right]} <= set(single)
                if all(whole) and are_single and left != right and not {left, right} & set(rest):
                    return part, left, right
    return None


def _with_sum(node: Node, part: Scalar, left: int, right: int, operands: Sequence[Node]) -> Node:
    assert isinstance(node.op, ops.Map)
    expression = replace_parts(node.op.expression, {part: argument(len(operands))})
    total = build.add(operands[left], operands[right])
    return build.map_node(expression, [*operands, total], [*node.op.inputs, tuple(range(node.ndim))], node.ndim)
