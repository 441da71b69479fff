"""Rules about sums: flattening, dropping zeros, and maps that are linear or products."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir import Node, build
from ...ir.operations import Broadcast, Cast, Einsum, LinearCombination, Map, Reshape
from ...ir.scalar import Argument, Call, Literal, Number, Scalar, postorder
from ..rewrite import Context, Rule, Status, rule
from .ranges import are_products_in_range


@rule(LinearCombination)
def drop_zero_term(node: Node, context: Context) -> Node | None:
    """a + 0 + 0·b -> a."""
    assert isinstance(node.op, LinearCombination)
    terms = zip(node.op.coefficients, node.operands, strict=True)
    kept = [k for k, (c, x) in enumerate(terms) if c != 0 and build.constant_value(x) != 0]
    if len(kept) == len(node.operands):
        return None
    return _select(node, kept)


def _select(node: Node, kept: Sequence[int]) -> Node:
    assert isinstance(node.op, LinearCombination)
    if not kept:
        return build.zeros_like(node)
    covered = sorted({axis for k in kept for axis in node.op.inputs[k]})
    inputs = [[covered.index(axis) for axis in node.op.inputs[k]] for k in kept]
    coefficients = [node.op.coefficients[k] for k in kept]
    rest = build.linear_combination(coefficients, [node.operands[k] for k in kept], inputs, len(covered))
    return build.broadcast(rest, covered, node.type.shape)


@rule(LinearCombination, status=Status.REASSOCIATES)
def flatten_sum(node: Node, context: Context) -> Node | None:
    """2·(a + b) + c -> 2·a + 2·b + c, where the inner sum has no other reader or is one scaled term."""
    assert isinstance(node.op, LinearCombination)
    coefficients: list[Number] = []
    operands: list[Node] = []
    inputs: list[tuple[int, ...]] = []
    changed = False
    for coefficient, operand, labels in zip(node.op.coefficients, node.operands, node.op.inputs, strict=True):
        inner = operand.op
        if (
            isinstance(inner, LinearCombination)
            and (len(operand.operands) == 1 or not context.is_shared(operand))
            and are_products_in_range(coefficient, inner.coefficients, node.type.dtype)
        ):
            changed = True
            for c, x, names in zip(inner.coefficients, operand.operands, inner.inputs, strict=True):
                coefficients.append(coefficient * c)
                operands.append(x)
                inputs.append(tuple(labels[axis] for axis in names))
        elif isinstance(inner, Broadcast):
            changed = True
            coefficients.append(coefficient)
            operands.append(operand.operands[0])
            inputs.append(tuple(labels[axis] for axis in inner.axes))
        else:
            coefficients.append(coefficient)
            operands.append(operand)
            inputs.append(labels)
    if not changed:
        return None
    return _aligned_sum(coefficients, operands, inputs, node)


def _aligned_sum(
    coefficients: Sequence[Number], operands: Sequence[Node], inputs: Sequence[tuple[int, ...]], like: Node
) -> Node:
    covered = sorted({axis for labels in inputs for axis in labels})
    renamed = [[covered.index(axis) for axis in labels] for labels in inputs]
    total = build.linear_combination(coefficients, operands, renamed, len(covered))
    return build.broadcast(total, covered, like.type.shape)


@rule(LinearCombination, status=Status.REASSOCIATES)
def scaled_reshape(node: Node, context: Context) -> Node | None:
    """2·reshape(a + b) -> reshape(2·a + 2·b), where nothing else reads the sum."""
    assert isinstance(node.op, LinearCombination)
    inner = node.operands[0]
    if len(node.operands) != 1 or not isinstance(inner.op, Reshape) or context.is_shared(inner):
        return None
    total = inner.operands[0]
    whole = tuple(range(inner.ndim))
    if not isinstance(total.op, LinearCombination) or context.is_shared(total) or node.op.inputs != (whole,):
        return None
    if not are_products_in_range(node.op.coefficients[0], total.op.coefficients, node.type.dtype):
        return None
    coefficients = [node.op.coefficients[0] * c for c in total.op.coefficients]
    scaled = build.linear_combination(coefficients, total.operands, total.op.inputs, total.op.rank)
    return build.reshape(scaled, node.type.shape)


@rule(Einsum)
def transpose_sum(node: Node, context: Context) -> Node | None:
    """einsum("ij->ji", a + b) -> einsum("ij->ji", a) + einsum("ij->ji", b), where nothing else reads the sum."""
    assert isinstance(node.op, Einsum)
    inner = node.operands[0]
    if len(node.operands) != 1 or not isinstance(inner.op, LinearCombination) or context.is_shared(inner):
        return None
    labels = node.op.inputs[0]
    whole = tuple(range(inner.ndim))
    if sorted(labels) != sorted(node.op.output) or any(x != whole for x in inner.op.inputs):
        return None
    moved = [build.einsum([x], [labels], node.op.output) for x in inner.operands]
    return build.linear_combination(inner.op.coefficients, moved)


@rule(LinearCombination, status=Status.REASSOCIATES)
def scale_number(node: Node, context: Context) -> Node | None:
    """2·full(3) + full(1) -> full(7)."""
    assert isinstance(node.op, LinearCombination)
    values = [build.constant_value(x) for x in node.operands]
    if any(value is None for value in values) or not node.type.dtype.is_inexact:
        return None
    total = sum(c * value for c, value in zip(node.op.coefficients, values, strict=True) if value is not None)
    return build.full(node.type.shape, total, node.type.dtype)


@rule(LinearCombination, status=Status.REASSOCIATES)
def add_numbers(node: Node, context: Context) -> Node | None:
    """a + 3 − 1 -> a + 2."""
    assert isinstance(node.op, LinearCombination)
    op = node.op
    values = [build.constant_value(x) if x.ndim == 0 else None for x in node.operands]
    numbers = [k for k, value in enumerate(values) if value is not None]
    if len(numbers) < 2 or not node.type.dtype.is_inexact:
        return None
    total = sum(c * value for c, value in zip(op.coefficients, values, strict=True) if value is not None)
    kept = [k for k in range(len(values)) if k not in numbers]
    return _aligned_sum(
        [*(op.coefficients[k] for k in kept), 1],
        [*(node.operands[k] for k in kept), build.constant(total, node.type.dtype)],
        [*(op.inputs[k] for k in kept), ()],
        node,
    )


@rule(Map, status=Status.REASSOCIATES)
def linear_map(node: Node, context: Context) -> Node | None:
    """map "2 * a - b" -> linear_combination {2, -1}, where every operand has the result's dtype."""
    assert isinstance(node.op, Map)
    dtype = node.type.dtype
    if not dtype.is_inexact or any(x.type.dtype is not dtype for x in node.operands):
        return None
    coefficients = _linear_coefficients(node.op.expression, len(node.operands))
    if coefficients is None:
        return None
    return build.linear_combination(coefficients, node.operands, node.op.inputs, node.op.rank)


def _linear_coefficients(expression: Scalar, count: int) -> list[Number] | None:
    """The coefficient of each operand where the expression is a sum of multiples of operands."""
    forms: dict[Scalar, dict[int, Number] | Number | None] = {}
    for part in postorder(expression):
        if isinstance(part, Argument):
            forms[part] = {part.position: 1}
        elif isinstance(part, Literal):
            forms[part] = part.value
        elif isinstance(part, Call):
            forms[part] = _linear_call(part.function, [forms[x] for x in part.arguments])
    form = forms[expression]
    return [form.get(k, 0) for k in range(count)] if isinstance(form, dict) else None


def _linear_call(function: str, operands: list[dict[int, Number] | Number | None]) -> dict[int, Number] | Number | None:
    match function, operands:
        case "neg", [dict() as x]:
            return {k: -c for k, c in x.items()}
        case (("add" | "sub"), [dict() as x, dict() as y]):
            sign = 1 if function == "add" else -1
            return {k: x.get(k, 0) + sign * y.get(k, 0) for k in {**x, **y}}
        case "mul", ([dict() as x, (bool() | int() | float() | complex()) as c] | [
            (bool() | int() | float() | complex()) as c, dict() as x]):  # fmt: skip
            return {k: c * v for k, v in x.items()}
    return None


@rule(Map, status=Status.REASSOCIATES)
def scaled_map(node: Node, context: Context) -> Node | None:
    """map "-exp(a)" -> -1·map "exp(a)"; numbers multiplied at the root become coefficients."""
    assert isinstance(node.op, Map)
    if not node.type.dtype.is_inexact:
        return None
    factor, rest = _split_factor(node.op.expression)
    if rest is node.op.expression or not isinstance(rest, Call):
        return None
    inner = build.map_node(rest, node.operands, node.op.inputs, node.op.rank)
    return build.scale(factor, inner) if inner.type == node.type else None


def _split_factor(expression: Scalar) -> tuple[Number, Scalar]:
    factor: Number = 1
    while isinstance(expression, Call):
        match expression.function, expression.arguments:
            case "neg", (inner,):
                factor, expression = -factor, inner
            case "mul", (Literal(value=value), inner) | (inner, Literal(value=value)):
                factor, expression = factor * value, inner
            case _:
                break
    return factor, expression


@rule(Map, status=Status.REASSOCIATES)
def product_map(node: Node, context: Context) -> Node | None:
    """map "a * b" -> einsum "ij,ij->ij"."""
    assert isinstance(node.op, Map)
    expression, dtype = node.op.expression, node.type.dtype
    if not (isinstance(expression, Call) and expression.function == "mul" and dtype.is_inexact):
        return None
    if not all(isinstance(x, Argument) for x in expression.arguments):
        return None
    if any(x.type.dtype is not dtype for x in node.operands):
        return None
    positions = [x.position for x in expression.arguments if isinstance(x, Argument)]
    operands = [node.operands[k] for k in positions]
    return build.einsum(operands, [node.op.inputs[k] for k in positions], range(node.op.rank))


@rule(Map)
def map_of_broadcast(node: Node, context: Context) -> Node | None:
    """map "exp(a)" of broadcast(b) -> broadcast(map "exp(a)" of b)."""
    assert isinstance(node.op, Map)
    if not any(isinstance(x.op, Broadcast) for x in node.operands):
        return None
    operands, inputs = [], []
    for x, labels in zip(node.operands, node.op.inputs, strict=True):
        if isinstance(x.op, Broadcast):
            operands.append(x.operands[0])
            inputs.append(tuple(labels[axis] for axis in x.op.axes))
        else:
            operands.append(x)
            inputs.append(labels)
    covered = sorted({axis for labels in inputs for axis in labels})
    renamed = [[covered.index(axis) for axis in labels] for labels in inputs]
    smaller = build.map_node(node.op.expression, operands, renamed, len(covered))
    return build.broadcast(smaller, covered, node.type.shape)


@rule(Cast)
def merge_cast(node: Node, context: Context) -> Node | None:
    """cast(cast(a)) -> cast(a), where the inner cast loses nothing."""
    from ...ir.dtypes import can_cast_safely

    assert isinstance(node.op, Cast)
    inner = node.operands[0]
    if not isinstance(inner.op, Cast) or not can_cast_safely(inner.operands[0].type.dtype, inner.op.dtype):
        return None
    return build.cast(inner.operands[0], node.op.dtype)


LINEAR_RULES: tuple[Rule, ...] = (
    drop_zero_term,
    scaled_reshape,
    transpose_sum,
    scale_number,
    add_numbers,
    flatten_sum,
    map_of_broadcast,
    scaled_map,
    linear_map,
    product_map,
    merge_cast,
)
