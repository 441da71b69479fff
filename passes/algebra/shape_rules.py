"""Rules about reshapes and axes of size 1, so that they do not stand between operations."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir import Node, Size, build
from ...ir.dims import product
from ...ir.dtypes import DType, to_numpy_dtype
from ...ir.operations import Broadcast, Cast, Constant, Einsum, LinearCombination, Map, Reduce, Reshape
from ..rewrite import Context, Rule, Status, rule


@rule(Reshape)
def merge_reshape(node: Node, context: Context) -> Node | None:
    """reshape(reshape(a)) -> reshape(a); a reshape to the same shape is dropped."""
    assert isinstance(node.op, Reshape)
    inner = node.operands[0]
    if isinstance(inner.op, Reshape) and product(node.op.shape) == product(inner.type.shape):
        inner = inner.operands[0]
    return build.reshape(inner, node.op.shape)


@rule(Broadcast)
def merge_broadcast(node: Node, context: Context) -> Node | None:
    """broadcast(broadcast(a)) -> broadcast(a)."""
    assert isinstance(node.op, Broadcast)
    inner = node.operands[0]
    if not isinstance(inner.op, Broadcast):
        return None
    axes = [node.op.axes[axis] for axis in inner.op.axes]
    return build.broadcast(inner.operands[0], axes, node.op.shape)


@rule(Cast)
def cast_inside(node: Node, context: Context) -> Node | None:
    """cast(broadcast(a)) -> broadcast(cast(a)); a constant is converted at once, but not to bfloat16."""
    assert isinstance(node.op, Cast)
    inner = node.operands[0]
    if isinstance(inner.op, Broadcast):
        return build.broadcast(build.cast(inner.operands[0], node.op.dtype), inner.op.axes, inner.op.shape)
    has_array = inner.type.dtype.kind != "complex" and node.op.dtype is not DType.bfloat16
    if isinstance(inner.op, Constant) and has_array:
        return build.constant(inner.op.array.astype(to_numpy_dtype(node.op.dtype)))
    return None


@rule(Broadcast)
def unit_broadcast(node: Node, context: Context) -> Node | None:
    """broadcast along new axes of size 1 -> reshape."""
    assert isinstance(node.op, Broadcast)
    axes = node.op.axes
    new = [size for axis, size in enumerate(node.op.shape) if axis not in axes]
    if list(axes) != sorted(axes) or any(size != 1 for size in new):
        return None
    return build.reshape(node.operands[0], node.op.shape)


def _kept_axes(reshape: Node) -> list[int] | None:
    """The result axes that a reshape keeps, where it only adds axes of size 1; else None."""
    old = list(reshape.operands[0].type.shape)
    kept: list[int] = []
    for axis, size in enumerate(reshape.type.shape):
        if len(kept) < len(old) and size == old[len(kept)]:
            kept.append(axis)
        elif size != 1:
            return None
    return kept if len(kept) == len(old) else None


def _without_units(node: Node, inputs: Sequence[Sequence[int]]) -> tuple[list[Node], list[list[int]]] | None:
    """Operands with added axes of size 1 taken off again, and their labels; None where there are none."""
    operands, labels, changed = [], [], False
    for operand, names in zip(node.operands, inputs, strict=True):
        kept = _kept_axes(operand) if isinstance(operand.op, Reshape) else None
        if kept is not None and len(kept) < operand.ndim:
            operands.append(operand.operands[0])
            labels.append([names[axis] for axis in kept])
            changed = True
        else:
            operands.append(operand)
            labels.append(list(names))
    return (operands, labels) if changed else None


@rule(Einsum, status=Status.REASSOCIATES)
def einsum_without_units(node: Node, context: Context) -> Node | None:
    """einsum("ijk->jik", reshape(a, (i, j, 1))) -> reshape(einsum("ij->ji", a), (j, i, 1))."""
    assert isinstance(node.op, Einsum)
    found = _without_units(node, node.op.inputs)
    if found is None:
        return None
    operands, labels = found
    present = {x for names in labels for x in names}
    core = build.einsum(operands, labels, [x for x in node.op.output if x in present])
    return build.reshape(core, node.type.shape)


@rule(Map, LinearCombination)
def aligned_without_units(node: Node, context: Context) -> Node | None:
    """map "exp(a)" of reshape(a, (i, 1)) -> reshape(map "exp(a)" of a, (i, 1))."""
    assert isinstance(node.op, (Map, LinearCombination))
    found = _without_units(node, node.op.inputs)
    if found is None:
        return None
    operands, labels = found
    covered = sorted({axis for names in labels for axis in names})
    lost: list[Size] = [size for axis, size in enumerate(node.type.shape) if axis not in covered]
    if any(size != 1 for size in lost):
        return None
    renamed = [[covered.index(axis) for axis in names] for names in labels]
    if isinstance(node.op, Map):
        core = build.map_node(node.op.expression, operands, renamed, len(covered))
    else:
        core = build.linear_combination(node.op.coefficients, operands, renamed, len(covered))
    return build.reshape(core, node.type.shape)


@rule(Reduce)
def reduce_without_units(node: Node, context: Context) -> Node | None:
    """max(reshape(a, (1, n)), 1) -> reshape(max(a, 0), (1,)), where an axis of ``a`` itself is reduced."""
    assert isinstance(node.op, Reduce)
    (inner,) = node.operands
    kept = _kept_axes(inner) if isinstance(inner.op, Reshape) else None
    if kept is None or len(kept) == inner.ndim:
        return None
    axes = [place for place, axis in enumerate(kept) if axis in node.op.axes]
    if not axes:
        return None
    return build.reshape(build.reduce_node(node.op.kind, inner.operands[0], axes), node.type.shape)


@rule(Reduce)
def reduce_one_element(node: Node, context: Context) -> Node | None:
    """max(a, 1) of an axis of size 1 -> reshape(a), and so for min, prod and logsumexp: each of one element is it."""
    assert isinstance(node.op, Reduce)
    (inner,) = node.operands
    if node.op.kind not in ("max", "min", "prod", "logsumexp") or node.type.dtype != inner.type.dtype:
        return None
    if any(inner.type.shape[axis] != 1 for axis in node.op.axes):
        return None
    return build.reshape(inner, node.type.shape)


SHAPE_RULES: tuple[Rule, ...] = (
    merge_reshape,
    merge_broadcast,
    cast_inside,
    unit_broadcast,
    einsum_without_units,
    aligned_without_units,
    reduce_without_units,
    reduce_one_element,
)
