"""Rules that put numbers where multiplying by them takes least, once products are in order."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...ir import Node, build
from ...ir.operations import Delta, Einsum, LinearCombination
from ...ir.scalar import Number
from ..planned_sizes import UNKNOWN_SIZE
from ..rewrite import Context, Rule, Status, rule
from .ranges import are_products_in_range


@rule(LinearCombination, status=Status.REASSOCIATES)
def common_coefficient(node: Node, context: Context) -> Node | None:
    """2·a − 2·b -> 2·(a − b)."""
    assert isinstance(node.op, LinearCombination)
    coefficients = node.op.coefficients
    magnitude = abs(coefficients[0])
    if len(coefficients) < 2 or magnitude in (0, 1) or any(abs(c) != magnitude for c in coefficients):
        return None
    if any(isinstance(c, complex) for c in coefficients):
        return None
    signs: list[Number] = [1 if c == coefficients[0] else -1 for c in coefficients]
    total = build.linear_combination(signs, node.operands, node.op.inputs, node.op.rank)
    return build.scale(coefficients[0], total)


@rule(LinearCombination, status=Status.REASSOCIATES)
def scaled_product(node: Node, context: Context) -> Node | None:
    """2·(a·b) -> (2·a)·b, where a is smaller than the result; the deltas of an embedding are never made."""
    assert isinstance(node.op, LinearCombination)
    product = node.operands[0]
    if len(node.operands) != 1 or node.op.inputs != (tuple(range(node.ndim)),) or abs(node.op.coefficients[0]) == 1:
        return None
    if not isinstance(product.op, Einsum) or context.is_shared(product) or not node.type.dtype.is_inexact:
        return None
    if product.operands.count(product.operands[0]) > 1:
        return None
    places = [k for k, x in enumerate(product.operands) if not isinstance(x.op, Delta)]
    smallest = min(places, key=lambda k: _volume(product.operands[k]), default=None)
    if smallest is None or _volume(product.operands[smallest]) >= _volume(product):
        return None
    operands = list(product.operands)
    operands[smallest] = _scaled(node.op.coefficients[0], operands[smallest], context)
    return build.einsum(operands, product.op.inputs, product.op.output)


def _scaled(number: Number, node: Node, context: Context) -> Node:
    """``number · node``; into its coefficients where it is a sum that nothing else reads."""
    if (
        isinstance(node.op, LinearCombination)
        and not context.is_shared(node)
        and are_products_in_range(number, node.op.coefficients, node.type.dtype)
    ):
        coefficients: Sequence[Number] = [number * c for c in node.op.coefficients]
        return build.linear_combination(coefficients, node.operands, node.op.inputs, node.op.rank)
    return build.scale(number, node)


def _volume(node: Node) -> int:
    return math.prod(max(size, 1) if isinstance(size, int) else UNKNOWN_SIZE for size in node.type.shape)


NUMBER_RULES: tuple[Rule, ...] = (common_coefficient, scaled_product)
