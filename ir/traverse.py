"""Walking and rebuilding graphs.  Nothing here recurses: graphs may have millions of nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from .build import apply_operation
from .node import Node
from .operations import Input


def topological(outputs: Iterable[Node]) -> list[Node]:
    """Every node that ``outputs`` need, operands before users, in a deterministic order."""
    order: list[Node] = []
    seen: set[Node] = set()
    stack: list[tuple[Node, bool]] = [(node, False) for node in reversed(list(outputs))]
    while stack:
        node, ready = stack.pop()
        if ready:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((operand, False) for operand in reversed(node.operands) if operand not in seen)
    return order


def count_uses(outputs: Sequence[Node]) -> dict[Node, int]:
    """How many operand places and outputs read each node."""
    uses = dict.fromkeys(topological(outputs), 0)
    for node in list(uses):
        for operand in node.operands:
            uses[operand] += 1
    for output in outputs:
        uses[output] += 1
    return uses


def input_label(node: Node) -> str:
    """The name of an input node."""
    assert isinstance(node.op, Input)
    return node.op.label


def inputs_of(outputs: Iterable[Node]) -> list[Node]:
    """The input nodes that ``outputs`` read, in order of first use."""
    return [node for node in topological(outputs) if isinstance(node.op, Input)]


def dependents(order: Sequence[Node], sources: Iterable[Node]) -> set[Node]:
    """The nodes of ``order`` (operands first) that depend on a source; sources included."""
    marked = set(sources)
    for node in order:
        if node not in marked and any(operand in marked for operand in node.operands):
            marked.add(node)
    return marked


def rebuild(node: Node, operands: Sequence[Node]) -> Node:
    """The same operation on other operands, in normal form."""
    if all(new is old for new, old in zip(operands, node.operands, strict=True)):
        return node
    return apply_operation(node.op, operands)


def transform(outputs: Sequence[Node], change: Callable[[Node, Sequence[Node]], Node]) -> dict[Node, Node]:
    """Replace every node, operands first, by ``change(node, new_operands)``; the mapping comes back."""
    new: dict[Node, Node] = {}
    for node in topological(outputs):
        new[node] = change(node, [new[operand] for operand in node.operands])
    return new


def substitute(outputs: Sequence[Node], values: Mapping[Node, Node]) -> list[Node]:
    """``outputs`` with each node of ``values`` replaced, whatever it depends on."""
    new = transform(outputs, lambda node, operands: values.get(node) or rebuild(node, operands))
    return [new[output] for output in outputs]
