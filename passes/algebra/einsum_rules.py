"""Rules about einsums: merging, dropping trivial factors, eliminating deltas."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir import Node, build
from ...ir.node import label_sizes
from ...ir.operations import Broadcast, Delta, Einsum, LinearCombination
from ...ir.scalar import Number
from ..rewrite import Context, Rule, Status, rule


def _without(node: Node, position: int, factor: Node | None, labels: Sequence[int], missing: Sequence[int]) -> Node:
    """The einsum with operand ``position`` replaced by ``factor``; indices it loses are accounted for.

    A lost index that nothing else carries is broadcast where it is an output, and otherwise
    multiplies the result by its size.
    """
    assert isinstance(node.op, Einsum)
    sizes = label_sizes(node.operands, node.op.inputs)
    operands = [x for k, x in enumerate(node.operands) if k != position]
    inputs = [names for k, names in enumerate(node.op.inputs) if k != position]
    if factor is not None:
        operands.insert(position, factor)
        inputs.insert(position, tuple(labels))
    present = {label for names in inputs for label in names}
    for label in dict.fromkeys(missing):
        if label not in present and label not in node.op.output:
            operands.append(build.extent(sizes[label], node.type.dtype))
            inputs.append(())
    if not operands:
        operands, inputs = [build.constant(1, node.type.dtype)], [()]
    return build.contract(operands, inputs, node.op.output, sizes)


@rule(Einsum, status=Status.REASSOCIATES)
def merge_einsum(node: Node, context: Context) -> Node | None:
    """einsum(…, einsum(a, b), …) -> einsum(…, a, b, …), where the inner one has no other reader.

    The deltas of an inner einsum that is read elsewhere too are taken out of it, so that they are never
    written out as a dense tensor; what they multiply stays shared.
    """
    assert isinstance(node.op, Einsum)
    for position, inner in enumerate(node.operands):
        if not isinstance(inner.op, Einsum):
            continue
        if _may_merge(inner, context):
            return merged(node, position, inner)
        if any(isinstance(x.op, Delta) for x in inner.operands):
            return merged(node, position, _split_deltas(inner))
    return None


def _may_merge(inner: Node, context: Context) -> bool:
    """Merging never repeats work: the inner einsum is read once, or only renames or ties indices."""
    if not context.is_shared(inner):
        return True
    free = [x for x in inner.operands if not isinstance(x.op, Delta)]
    assert isinstance(inner.op, Einsum)
    return len(free) <= 1 and len(inner.op.output) == len({x for names in inner.op.inputs for x in names})


def _split_deltas(inner: Node) -> Node:
    """The same einsum with everything but its deltas in an einsum of its own."""
    assert isinstance(inner.op, Einsum)
    deltas = [k for k, x in enumerate(inner.operands) if isinstance(x.op, Delta)]
    others = [k for k in range(len(inner.operands)) if k not in deltas]
    outside = {x for k in deltas for x in inner.op.inputs[k]} | set(inner.op.output)
    kept = [x for x in dict.fromkeys(x for k in others for x in inner.op.inputs[k]) if x in outside]
    core = build.einsum([inner.operands[k] for k in others], [inner.op.inputs[k] for k in others], kept)
    operands = [core, *(inner.operands[k] for k in deltas)]
    return build.einsum(operands, [kept, *(inner.op.inputs[k] for k in deltas)], inner.op.output)


def merged(node: Node, position: int, inner: Node) -> Node:
    """The einsum with operand ``position`` replaced by the factors of ``inner``, an einsum itself."""
    assert isinstance(node.op, Einsum)
    assert isinstance(inner.op, Einsum)
    outer_labels = node.op.inputs[position]
    names = dict(zip(inner.op.output, outer_labels, strict=True))
    fresh = 1 + max((label for labels in node.op.inputs for label in labels), default=0)
    for labels in inner.op.inputs:
        for label in labels:
            names.setdefault(label, fresh + label)
    moved = [tuple(names[label] for label in labels) for labels in inner.op.inputs]
    operands = [*node.operands[:position], *inner.operands, *node.operands[position + 1 :]]
    inputs = [*node.op.inputs[:position], *moved, *node.op.inputs[position + 1 :]]
    return build.contract(operands, inputs, node.op.output)


@rule(Einsum, status=Status.REASSOCIATES)
def drop_broadcast(node: Node, context: Context) -> Node | None:
    """einsum("ij,ij->ij", a, broadcast(b)) -> einsum("ij,i->ij", a, b)."""
    assert isinstance(node.op, Einsum)
    for position, inner in enumerate(node.operands):
        if isinstance(inner.op, Broadcast):
            labels = node.op.inputs[position]
            kept = [labels[axis] for axis in inner.op.axes]
            return _without(node, position, inner.operands[0], kept, [x for x in labels if x not in kept])
    return None


@rule(Einsum, status=Status.REASSOCIATES)
def eliminate_delta(node: Node, context: Context) -> Node | None:
    """einsum("ij,jk->ik", a, delta) -> einsum("ij->ij", a): a summed index of a delta is the other one."""
    assert isinstance(node.op, Einsum)
    seen: set[frozenset[int]] = set()
    for position, operand in enumerate(node.operands):
        if not isinstance(operand.op, Delta):
            continue
        first, second = node.op.inputs[position]
        pair = frozenset((first, second))
        if first == second or pair in seen:
            return _without(node, position, None, (), (first, second))
        seen.add(pair)
        for gone, kept in ((first, second), (second, first)):
            if gone not in node.op.output:
                return _renamed(node, position, gone, kept)
    return None


def _renamed(node: Node, position: int, gone: int, kept: int) -> Node:
    assert isinstance(node.op, Einsum)
    inputs = [tuple(kept if x == gone else x for x in labels) for labels in node.op.inputs]
    tied = build.einsum(node.operands, inputs, node.op.output)
    # The delta now carries one index twice: it is 1 everywhere, and goes.
    if tied is node or not isinstance(tied.op, Einsum):
        return tied
    return _without(tied, position, None, (), tied.op.inputs[position])


@rule(Einsum, status=Status.REASSOCIATES)
def pull_out_scale(node: Node, context: Context) -> Node | None:
    """einsum(…, 2·a, …) -> 2·einsum(…, a, …)."""
    assert isinstance(node.op, Einsum)
    factor: Number = 1
    operands = list(node.operands)
    for position, inner in enumerate(node.operands):
        if isinstance(inner.op, LinearCombination) and len(inner.operands) == 1:
            (coefficient,), (labels,) = inner.op.coefficients, inner.op.inputs
            if labels == tuple(range(inner.ndim)):
                factor *= coefficient
                operands[position] = inner.operands[0]
    if all(x is y for x, y in zip(operands, node.operands, strict=True)):
        return None
    return build.scale(factor, build.einsum(operands, node.op.inputs, node.op.output))


@rule(Einsum, status=Status.REASSOCIATES)
def fold_number(node: Node, context: Context) -> Node | None:
    """einsum("ij,->ij", a, 2) -> 2·a."""
    assert isinstance(node.op, Einsum)
    factor: Number = 1
    kept = []
    for position, operand in enumerate(node.operands):
        value = build.constant_value(operand) if operand.ndim == 0 else None
        if value is None:
            kept.append(position)
        else:
            factor *= value
    if len(kept) == len(node.operands):
        return None
    if not kept:
        return build.full(node.type.shape, factor, node.type.dtype)
    operands = [node.operands[k] for k in kept]
    return build.scale(factor, build.einsum(operands, [node.op.inputs[k] for k in kept], node.op.output))


@rule(Einsum, status=Status.REASSOCIATES)
def sum_to_one(node: Node, context: Context) -> Node | None:
    """einsum("bn->b", y) -> 1, where y is declared to sum to one over its last axis."""
    assert isinstance(node.op, Einsum)
    for position, operand in enumerate(node.operands):
        if not operand.type.facts.sums_to_one:
            continue
        labels = node.op.inputs[position]
        elsewhere = [x for k, names in enumerate(node.op.inputs) if k != position for x in names]
        if labels.count(labels[-1]) == 1 and labels[-1] not in (*elsewhere, *node.op.output):
            return _without(node, position, None, (), labels[:-1])
    return None


@rule(Einsum, status=Status.REASSOCIATES)
def symmetric_axes(node: Node, context: Context) -> Node | None:
    """einsum("ij->ji", h) -> h, where h is declared symmetric, or a delta: its indices stand in one order."""
    assert isinstance(node.op, Einsum)
    place = {label: position for position, label in enumerate(node.op.output)}
    inputs = []
    for operand, labels in zip(node.operands, node.op.inputs, strict=True):
        ordered = list(labels)
        for group in ((0, 1),) if isinstance(operand.op, Delta) else operand.type.facts.symmetric:
            chosen = sorted((labels[axis] for axis in group), key=lambda x: (place.get(x, len(place)), x))
            for axis, label in zip(group, chosen, strict=True):
                ordered[axis] = label
        inputs.append(tuple(ordered))
    return None if tuple(inputs) == node.op.inputs else build.einsum(node.operands, inputs, node.op.output)


@rule(Einsum)
def zero_factor(node: Node, context: Context) -> Node | None:
    """einsum(…, 0, …) -> 0."""
    if any(build.constant_value(operand) == 0 for operand in node.operands):
        return build.zeros_like(node)
    return None


EINSUM_RULES: tuple[Rule, ...] = (
    zero_factor,
    symmetric_axes,
    sum_to_one,
    drop_broadcast,
    eliminate_delta,
    fold_number,
    pull_out_scale,
    merge_einsum,
)
