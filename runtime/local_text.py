"""IR text of a rewrite by itself: what the node before and the node after share stands as an input."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir import Node, build, dump, make, topological
from ..ir.operations import Constant, Input

_LINES = 40


def local_text(before: Node, after: Node) -> tuple[str, str]:
    """The text of both nodes, with the largest parts that they share as inputs of the same type.

    The names of those inputs are ``t0``, ``t1``, …, but for tensors of the user's, which keep theirs.

    >>> from otus.ir import make_type
    >>> x = build.apply("exp", build.apply("sin", build.input_node("x", make_type(("n",)))))
    >>> print(local_text(build.apply("neg", x), build.apply("abs", x))[0], end="")
    %t0: f64[n] = input "t0"
    %0: f64[n] = map "neg(a)" "n->n" %t0
    return %0
    """
    shared = (set(topological([before])) & set(topological([after]))) - {before, after}
    cut = _cut(before, after, shared)
    return _excerpt(_rebuilt(before, cut)), _excerpt(_rebuilt(after, cut))


def _cut(before: Node, after: Node, shared: set[Node]) -> dict[Node, Node]:
    """An input for every shared node that something unshared reads."""
    taken = {x.op.label for x in topological([before, after]) if isinstance(x.op, Input)}
    names = (f"t{k}" for k in range(len(taken) + len(shared) + 1) if f"t{k}" not in taken)
    unshared = [x for x in topological([before, after]) if x not in shared]
    cut: dict[Node, Node] = {}
    for node in (operand for x in unshared for operand in x.operands):
        if node in shared and node not in cut:
            leaf = isinstance(node.op, (Input, Constant)) or not node.operands
            cut[node] = node if leaf else build.input_node(next(names), node.type)
    return cut


def _rebuilt(root: Node, cut: dict[Node, Node]) -> Node:
    """The node over the inputs of ``cut``, every operation as it stands and not in normal form."""
    new: dict[Node, Node] = dict(cut)
    for node in topological([root]):
        if node not in new:
            new[node] = make(node.op, *(new[x] for x in node.operands))
    return new[root]


def _excerpt(node: Node) -> str:
    return "\n".join(_limited(dump(node).splitlines())) + "\n"


def _limited(lines: list[str]) -> Iterator[str]:
    if len(lines) > _LINES:
        yield f"# {len(lines) - _LINES} lines before these are left out"
    yield from lines[-_LINES:]
