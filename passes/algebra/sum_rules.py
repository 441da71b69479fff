"""Rules that add what has fewest axes first, once products are in order."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...ir import Node, Size, build
from ...ir.operations import Delta, Einsum, LinearCombination
from ..planned_sizes import UNKNOWN_SIZE
from ..rewrite import Context, Rule, Status, rule


@rule(LinearCombination, status=Status.REASSOCIATES)
def narrow_terms_first(node: Node, context: Context) -> Node | None:
    """M + v + s + t -> M + (v + (s + t)), where v, s and t have fewer axes and are results of rounding.

    A number that is read, or the largest of some, stays apart: ``x − m`` may be exact where they are close
    (Sterbenz), and ``(x − m) − l`` then is what ``x − (m + l)`` is not.  What is itself a sum or a product was
    rounded as coarsely as the sum of such terms is.
    """
    assert isinstance(node.op, LinearCombination)
    whole = _volume(node.type.shape)
    narrow = [
        k
        for k, (labels, term) in enumerate(zip(node.op.inputs, node.operands, strict=True))
        if _volume(term.type.shape) < whole and len(set(labels)) == len(labels) and _is_rounded(term)
    ]
    group = _largest_group(node, narrow)
    return _grouped(node, group) if len(group) > 1 else None


def _largest_group(node: Node, narrow: Sequence[int]) -> list[int]:
    """The terms that are added over the axes of one of them: the widest that has any within its axes."""
    assert isinstance(node.op, LinearCombination)
    axes = [set(labels) for labels in node.op.inputs]
    groups = [[k for k in narrow if axes[k] <= axes[widest]] for widest in narrow]
    return max(groups, key=len, default=[])


def _grouped(node: Node, group: Sequence[int]) -> Node:
    assert isinstance(node.op, LinearCombination)
    op = node.op
    covered = sorted({axis for k in group for axis in op.inputs[k]})
    part = build.linear_combination(
        [op.coefficients[k] for k in group],
        [node.operands[k] for k in group],
        [[covered.index(axis) for axis in op.inputs[k]] for k in group],
        len(covered),
    )
    rest = [k for k in range(len(node.operands)) if k not in group]
    return build.linear_combination(
        [*(op.coefficients[k] for k in rest), 1],
        [*(node.operands[k] for k in rest), part],
        [*(op.inputs[k] for k in rest), covered],
        op.rank,
    )


def _is_rounded(node: Node) -> bool:
    if isinstance(node.op, LinearCombination):
        return len(node.operands) > 1
    if not isinstance(node.op, Einsum):
        return False
    summed = {x for labels in node.op.inputs for x in labels} > set(node.op.output)
    return summed or sum(not isinstance(x.op, Delta) for x in node.operands) > 1


def _volume(shape: Sequence[Size]) -> int:
    return math.prod(max(size, 1) if isinstance(size, int) else UNKNOWN_SIZE for size in shape)


SUM_RULES: tuple[Rule, ...] = (narrow_terms_first,)
