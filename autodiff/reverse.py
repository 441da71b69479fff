"""Reverse accumulation: from the cotangent of one node to those of the nodes it depends on."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir import Node, build, topological
from ..ir.traverse import dependents
from .rules import pull_back


def cotangents(y: Node, points: Sequence[Node], seed: Node, extra: int = 0) -> dict[Node, Node | None]:
    """The cotangent of each point, given ``seed`` as that of ``y``; None where ``y`` does not depend on it.

    The first ``extra`` axes of ``seed``, and of the results, are the caller's own.  Every node is
    visited once, and only where it lies between a point and ``y``; its cotangents are added in a
    fixed order, so that equal requests give equal graphs.
    """
    order = topological([y])
    active = dependents(order, [x for x in points if x.type.dtype.is_inexact])
    collected: dict[Node, list[Node]] = {y: [seed]}
    found: dict[Node, Node | None] = dict.fromkeys(points)
    for node in reversed(order):
        if node not in active or node not in collected:
            continue
        total = build.add(*collected.pop(node))
        if node in found:
            found[node] = total
        for position, operand in enumerate(node.operands):
            if operand in active and operand.type.dtype.is_inexact:
                part = pull_back(node, position, total, extra)
                if part is not None:
                    collected.setdefault(operand, []).append(part)
    return found
