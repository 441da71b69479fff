"""One derivative rule per operation: how a cotangent passes from a result to an operand.

A rule takes the node, the operand's position and a cotangent whose first ``extra`` axes are the
caller's own, followed by the node's axes; it returns the operand's cotangent with the same extra
axes in front.  Extra axes make the same rules serve gradients (none) and explicit Jacobians (the
axes of the output), after Laue, Mitterreiter and Giesen (arXiv 2010.03313, section 3).

Complex cotangents follow JAX: no conjugation, ``ct_in = ct·∂f/∂z + conj(ct·∂f/∂z̄)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..ir import Node, Operation, Size, UnsupportedError, build, make, promote
from ..ir.node import label_sizes
from ..ir.operations import (
    Broadcast,
    Cast,
    Concatenate,
    CumulativeSum,
    Einsum,
    LinearCombination,
    Map,
    Pad,
    Reduce,
    Reshape,
    ScatterAdd,
    Slice,
    Take,
)
from ..ir.scalar import Literal, Scalar, argument, call, postorder, substitute_arguments, used_arguments
from .linear_algebra_rules import MATRIX_RULES
from .products import cofactors, halved_product
from .scalar_derivatives import ScalarDerivative, differentiate, is_number, selects

Rule = Callable[[Node, int, Node, int], Node | None]


def pull_back(node: Node, position: int, cotangent: Node, extra: int) -> Node | None:
    """The cotangent of operand ``position`` of ``node``; None where it is zero everywhere.

    Raises ``UnsupportedError`` for an operation that has no rule, naming it.
    """
    rule = RULES.get(type(node.op))
    if rule is None:
        reason = NO_RULE.get(type(node.op).name, "it has no derivative rule")
        raise UnsupportedError(f"{node.op.name} cannot be differentiated: {reason}")
    return rule(node, position, cotangent, extra)


def _labels(extra: int, labels: Sequence[int]) -> list[int]:
    """Index labels of a cotangent: extra axes first, numbered below 0."""
    return [*_extra(extra), *labels]


def _extra(extra: int) -> list[int]:
    return [-1 - k for k in range(extra)]


def _einsum(node: Node, position: int, cotangent: Node, extra: int) -> Node:
    """``Y = A·B`` gives ``Ā = Ȳ·B``: the same product with the cotangent in the operand's place."""
    assert isinstance(node.op, Einsum)
    others = [k for k in range(len(node.operands)) if k != position]
    return build.contract(
        [cotangent, *(node.operands[k] for k in others)],
        [_labels(extra, node.op.output), *(node.op.inputs[k] for k in others)],
        _labels(extra, node.op.inputs[position]),
        label_sizes(node.operands, node.op.inputs),
    )


def _linear_combination(node: Node, position: int, cotangent: Node, extra: int) -> Node:
    assert isinstance(node.op, LinearCombination)
    labels = node.op.inputs[position]
    summed = build.einsum([cotangent], [_labels(extra, range(node.op.rank))], _labels(extra, labels))
    return build.scale(node.op.coefficients[position], summed)


def _map(node: Node, position: int, cotangent: Node, extra: int) -> Node | None:
    assert isinstance(node.op, Map)
    operand = node.operands[position]
    is_complex = any(x.type.dtype.kind == "complex" for x in node.operands) or _has_complex(node.op.expression)
    if extra == 0 and not is_complex and selects(node.op.expression):
        return _selected_map(node, position, cotangent)
    if is_complex:  # a real result has complex derivatives
        cotangent = build.cast(cotangent, promote(cotangent.type.dtype, 1j))
    derivative = differentiate(node.op.expression, len(node.operands), is_complex)[position]
    direct = _through(node, position, derivative.direct, cotangent, extra)
    conjugated = _through(node, position, derivative.conjugated, cotangent, extra)
    terms = [x for x in (direct, conjugated and build.apply("conj", conjugated)) if x is not None]
    return _as_operand(build.add(*terms), operand) if terms else None


def _has_complex(expression: Scalar) -> bool:
    return any(isinstance(x, Literal) and isinstance(x.value, complex) for x in postorder(expression))


def _through(node: Node, position: int, derivative: Scalar, cotangent: Node, extra: int) -> Node | None:
    """The cotangent times a scalar derivative, summed over the axes the operand lacks."""
    assert isinstance(node.op, Map)
    target = _labels(extra, node.op.inputs[position])
    source = _labels(extra, range(node.op.rank))
    if is_number(derivative, 0):
        return None
    if isinstance(derivative, Literal):
        return build.scale(derivative.value, build.einsum([cotangent], [source], target))
    local, labels = _local_map(node, derivative)
    return build.einsum([cotangent, build.cast(local, cotangent.type.dtype)], [source, labels], target)


def _local_map(node: Node, derivative: Scalar) -> tuple[Node, list[int]]:
    """A map of the derivative over only the axes of the operands that it reads."""
    assert isinstance(node.op, Map)
    read = used_arguments(derivative)
    if not read:
        return build.map_node(derivative, (), (), 0), []
    axes = sorted({axis for k in read for axis in node.op.inputs[k]})
    inputs = [[axes.index(axis) for axis in node.op.inputs[k]] if k in read else [] for k in range(len(node.operands))]
    used = [node.operands[k] for k in read]
    renamed = {k: argument(place) for place, k in enumerate(read)}
    values = [renamed.get(k, argument(0)) for k in range(len(node.operands))]
    return build.map_node(substitute_arguments(derivative, values), used, [inputs[k] for k in read], len(axes)), axes


def _selected_map(node: Node, position: int, cotangent: Node) -> Node | None:
    """The cotangent inside the scalar expression, so that ``where`` also stops infinities and NaN."""
    assert isinstance(node.op, Map)
    count = len(node.operands)
    derivative: ScalarDerivative = differentiate(node.op.expression, count, False, argument(count))[position]
    if is_number(derivative.direct, 0):
        return None
    axes = range(node.op.rank)
    full = build.map_node(derivative.direct, [*node.operands, cotangent], [*node.op.inputs, axes], node.op.rank)
    full = build.cast(full, cotangent.type.dtype)
    return _as_operand(build.einsum([full], [axes], node.op.inputs[position]), node.operands[position])


def _as_operand(cotangent: Node, operand: Node) -> Node:
    """A cotangent in the operand's dtype; a real operand takes the real part."""
    if cotangent.type.dtype.kind == "complex" and operand.type.dtype.kind != "complex":
        cotangent = build.apply("real", cotangent)
    return build.cast(cotangent, operand.type.dtype)


def _reduce(node: Node, position: int, cotangent: Node, extra: int) -> Node | None:
    assert isinstance(node.op, Reduce)
    (x,) = node.operands
    kept = [axis for axis in range(x.ndim) if axis not in node.op.axes]
    if node.op.kind in ("max", "min"):
        local = _share_of_ties(node, kept)
    elif node.op.kind == "logsumexp":
        local = build.map_node(
            call("exp", call("sub", argument(0), argument(1))), [x, node], [range(x.ndim), kept], x.ndim
        )
    elif node.op.kind == "prod":
        return _through_product(node, cotangent, extra)
    else:
        raise UnsupportedError(f"a {node.op.kind} reduction cannot be differentiated")
    return build.einsum([cotangent, local], [_labels(extra, kept), range(x.ndim)], _labels(extra, range(x.ndim)))


def _share_of_ties(node: Node, kept: Sequence[int]) -> Node:
    """1 over the number of elements that attain the extremum where one does, else 0, as in JAX."""
    assert isinstance(node.op, Reduce)
    (x,) = node.operands
    attains = build.map_node(
        call("where", call("eq", argument(0), argument(1)), 1.0, 0.0), [x, node], [range(x.ndim), kept], x.ndim
    )
    attains = build.cast(attains, x.type.dtype)
    count = build.sum_axes(attains, node.op.axes)
    return build.map_node(call("div", argument(0), argument(1)), [attains, count], [range(x.ndim), kept], x.ndim)


def _through_product(node: Node, cotangent: Node, extra: int) -> Node | None:
    """Differentiate the halved product where sizes are known, else multiply by the cofactors."""
    from .reverse import cotangents

    assert isinstance(node.op, Reduce)
    (x,) = node.operands
    halved = halved_product(node)
    if halved is not None:
        return cotangents(halved, [x], cotangent, extra)[x]
    kept = [axis for axis in range(x.ndim) if axis not in node.op.axes]
    terms = [_labels(extra, kept), range(x.ndim)]
    return build.einsum([cotangent, cofactors(node)], terms, _labels(extra, range(x.ndim)))


def _broadcast(node: Node, position: int, cotangent: Node, extra: int) -> Node:
    assert isinstance(node.op, Broadcast)
    source = _labels(extra, range(node.ndim))
    return build.einsum([cotangent], [source], _labels(extra, node.op.axes))


def _reshape(node: Node, position: int, cotangent: Node, extra: int) -> Node:
    return build.reshape(cotangent, (*cotangent.type.shape[:extra], *node.operands[0].type.shape))


def _slice(node: Node, position: int, cotangent: Node, extra: int) -> Node:
    assert isinstance(node.op, Slice)
    lead = cotangent.type.shape[:extra]
    shape = (*lead, *node.operands[0].type.shape)
    return build.pad_node(cotangent, [0] * extra + [*node.op.starts], shape, [1] * extra + [*node.op.steps])


def _pad(node: Node, position: int, cotangent: Node, extra: int) -> Node:
    assert isinstance(node.op, Pad)
    sizes = (*cotangent.type.shape[:extra], *node.operands[0].type.shape)
    return build.slice_node(cotangent, [0] * extra + [*node.op.starts], sizes, [1] * extra + [*node.op.steps])


def _concatenate(node: Node, position: int, cotangent: Node, extra: int) -> Node:
    assert isinstance(node.op, Concatenate)
    axis = node.op.axis
    start: Size = 0
    for operand in node.operands[:position]:
        start = start + operand.type.shape[axis]
    starts: list[Size] = [0] * cotangent.ndim
    starts[extra + axis] = start
    sizes = (*cotangent.type.shape[:extra], *node.operands[position].type.shape)
    return build.slice_node(cotangent, starts, sizes, [1] * cotangent.ndim)


def _take(node: Node, position: int, cotangent: Node, extra: int) -> Node | None:
    assert isinstance(node.op, Take)
    if position == 1:
        return None
    x, indices = node.operands
    zeros = build.full((*cotangent.type.shape[:extra], *x.type.shape), 0, x.type.dtype)
    return make(ScatterAdd(extra + node.op.axis), zeros, indices, cotangent)


def _scatter_add(node: Node, position: int, cotangent: Node, extra: int) -> Node | None:
    assert isinstance(node.op, ScatterAdd)
    if position == 1:
        return None
    return cotangent if position == 0 else make(Take(extra + node.op.axis), cotangent, node.operands[1])


def _cumulative_sum(node: Node, position: int, cotangent: Node, extra: int) -> Node:
    assert isinstance(node.op, CumulativeSum)
    return make(CumulativeSum(extra + node.op.axis, not node.op.reverse), cotangent)


def _cast(node: Node, position: int, cotangent: Node, extra: int) -> Node | None:
    return _as_operand(cotangent, node.operands[0]) if node.type.dtype.is_inexact else None


RULES: dict[type[Operation], Rule] = {
    Einsum: _einsum,
    LinearCombination: _linear_combination,
    Map: _map,
    Reduce: _reduce,
    CumulativeSum: _cumulative_sum,
    Cast: _cast,
    Broadcast: _broadcast,
    Reshape: _reshape,
    Slice: _slice,
    Pad: _pad,
    Concatenate: _concatenate,
    Take: _take,
    ScatterAdd: _scatter_add,
    **MATRIX_RULES,
}

_LEAF = "it has no operands"
NO_RULE: dict[str, str] = {
    **dict.fromkeys(("input", "constant", "delta", "iota", "extent"), _LEAF),
    "derivative": "it is a request, which the expand pass replaces first",
    "blockwise": "it is a loop that the passes block and slice make, after derivatives are expanded",
}
