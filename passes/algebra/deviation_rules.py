"""Rules about deviations from a mean, ``x - sum(x)/n``, whose sum over the same indices is 0."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...ir import Node, build
from ...ir.operations import Einsum, LinearCombination
from ..rewrite import Context, Rule, Status, rule

Labels = tuple[int, ...]
_ROUNDING = 1e-12  # of the coefficient of a mean


@rule(Einsum, status=Status.REASSOCIATES)
def drop_summed_deviation(node: Node, context: Context) -> Node | None:
    """sum(a + c·(x - mean(x))) -> sum(a), where the sum is over the indices of the mean and c has none of these.

    So the gradient of a normalisation waits for one sum less.  What is left out is 0 but for rounding.
    """
    assert isinstance(node.op, Einsum)
    if len(node.operands) != 1 or not isinstance((whole := node.operands[0]).op, LinearCombination):
        return None
    op, (labels,) = whole.op, node.op.inputs
    if len(set(labels)) < len(labels) or not node.type.dtype.is_inexact:
        return None
    summed = {axis for axis, label in enumerate(labels) if label not in node.op.output}
    terms = zip(whole.operands, op.inputs, strict=True)
    kept = [k for k, (term, inputs) in enumerate(terms) if not _sums_to_nothing(term, inputs, summed)]
    if len(kept) in (0, len(whole.operands)) or {axis for k in kept for axis in op.inputs[k]} != set(range(op.rank)):
        return None
    rest = build.linear_combination(
        [op.coefficients[k] for k in kept],
        [whole.operands[k] for k in kept],
        [op.inputs[k] for k in kept],
        op.rank,
    )
    return build.einsum([rest], [labels], node.op.output)


def _sums_to_nothing(term: Node, labels: Labels, summed: set[int]) -> bool:
    """Whether a term is a deviation, or a product with one whose indices no other factor has, summed over these."""
    if isinstance(term.op, Einsum):
        inner, output = term.op.inputs, term.op.output
        if any(len(set(x)) < len(x) for x in (*inner, output)):
            return False
        ended = {label for axis, label in zip(labels, output, strict=True) if axis in summed}
        ended |= {label for each in inner for label in each} - set(output)
        factors = list(zip(term.operands, inner, strict=True))
    else:
        ended, factors = summed, [(term, labels)]
    for k, (factor, its) in enumerate(factors):
        gone = {its[axis] for axis in _mean_axes(factor)}
        others = {label for j, (_, each) in enumerate(factors) if j != k for label in each}
        if gone and gone <= ended and not gone & others:
            return True
    return False


def _mean_axes(node: Node) -> Sequence[int]:
    """The axes over which ``x - mean(x)`` takes the mean; none for another node."""
    if not isinstance(node.op, LinearCombination) or len(node.operands) != 2:
        return ()
    every = tuple(range(node.ndim))
    for k in (0, 1):
        x, total = node.operands[k], node.operands[1 - k]
        if node.op.inputs[k] != every or not isinstance(total.op, Einsum) or total.operands != (x,):
            continue
        (inner,), output = total.op.inputs, total.op.output
        if len(set(inner)) < len(inner):
            continue
        gone = [axis for axis, label in enumerate(inner) if label not in output]
        kept = tuple(inner.index(label) for label in output)
        sizes = [x.type.shape[axis] for axis in gone]
        count = math.prod(size for size in sizes if isinstance(size, int))
        ratio = node.op.coefficients[1 - k] / node.op.coefficients[k] if node.op.coefficients[k] else 0
        if (
            gone
            and all(isinstance(size, int) for size in sizes)
            and node.op.inputs[1 - k] == kept
            and abs(ratio * count + 1) < _ROUNDING
        ):
            return gone
    return ()


DEVIATION_RULES: tuple[Rule, ...] = (drop_summed_deviation,)
