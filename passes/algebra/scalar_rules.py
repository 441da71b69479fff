"""Rules that make the scalar expressions of maps cheaper without losing a digit.

A table of our own rather than a computer algebra system: one that is asked to simplify expands, cancels and
reorders for looks, turns ``expm1`` into ``exp(x) - 1`` and takes longer to load than most programs to compile.  Every
row here is an identity of the reals that is exact in floating point, or rounds and overflows no worse than what
it replaces.  Products of exponentials, for one, are no rows: ``exp(x + y)`` loses digits where x + y is large.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...ir import DType, Node, build
from ...ir.operations import Cast, Map
from ...ir.scalar import (
    Argument,
    Call,
    Literal,
    Scalar,
    argument,
    call,
    infer_dtype,
    literal,
    postorder,
    replace_parts,
    use_counts,
)
from ..fusion.scalar_weights import scalar_weight
from ..rewrite import Context, Status, rule

ScalarRule = Callable[[Call], "Scalar | None"]
# Constants whose product is folded: far from the ends of every floating dtype.
_SMALLEST, _LARGEST = 1e-3, 1e3


def scalar_cost(expression: Scalar) -> tuple[int, int]:
    """The weight of all distinct calls, and their number."""
    calls = [part.function for part in postorder(expression) if isinstance(part, Call)]
    return sum(map(scalar_weight, calls)), len(calls)


def rewritten(expression: Scalar, rules: Sequence[ScalarRule]) -> Scalar:
    """The expression after one sweep of rules from the leaves, if that makes it cheaper; else as it is.

    A sum or product that stands there with its operands exchanged becomes the one that comes first.
    """
    new: dict[Scalar, Scalar] = {}
    sides: dict[tuple[str, frozenset[Scalar]], Scalar] = {}
    for part in postorder(expression):
        found = part
        if isinstance(part, Call):
            found = _matched(call(part.function, *(new[x] for x in part.arguments)), rules)
            if isinstance(found, Call) and found.function in ("add", "mul"):
                found = sides.setdefault((found.function, frozenset(found.arguments)), found)
        new[part] = found
    after = new[expression]
    return after if scalar_cost(after) < scalar_cost(expression) else expression


def _matched(part: Call, rules: Sequence[ScalarRule]) -> Scalar:
    for attempt in rules:
        found = attempt(part)
        if found is not None:
            return _matched(found, rules) if isinstance(found, Call) else found
    return part


def _of(x: Scalar, function: str) -> Scalar | None:
    """The ``e`` of ``function(e)``."""
    return x.arguments[0] if isinstance(x, Call) and x.function == function else None


# --- exact in every bit ------------------------------------------------------------------------


def double_negation(part: Call) -> Scalar | None:
    """neg(neg(x)) -> x."""
    return _of(part.arguments[0], "neg") if part.function == "neg" else None


def sign_into_sum(part: Call) -> Scalar | None:
    """x + neg(y) -> x - y, neg(x) + y -> y - x, x - neg(y) -> x + y."""
    if part.function not in ("add", "sub"):
        return None
    first, second = part.arguments
    taken = _of(second, "neg")
    if taken is not None:
        return call("sub" if part.function == "add" else "add", first, taken)
    taken = _of(first, "neg") if part.function == "add" else None
    return None if taken is None else call("sub", second, taken)


def signs_of_product(part: Call) -> Scalar | None:
    """neg(x) · neg(y) -> x · y, and the same of a quotient."""
    if part.function not in ("mul", "div"):
        return None
    first, second = (_of(x, "neg") for x in part.arguments)
    return None if first is None or second is None else call(part.function, first, second)


def sign_of_even(part: Call) -> Scalar | None:
    """square(neg(x)) -> square(x), abs(neg(x)) -> abs(x)."""
    inner = _of(part.arguments[0], "neg") if part.function in ("square", "abs") else None
    return None if inner is None else call(part.function, inner)


def choice(part: Call) -> Scalar | None:
    """where(c, x, x) -> x, and a choice by the same condition inside of a choice is made."""
    if part.function != "where":
        return None
    condition, first, second = part.arguments
    if first is second and not isinstance(first, Literal):
        return first
    if isinstance(first, Call) and first.function == "where" and first.arguments[0] is condition:
        return call("where", condition, first.arguments[1], second)
    if isinstance(second, Call) and second.function == "where" and second.arguments[0] is condition:
        return call("where", condition, first, second.arguments[2])
    return None


def same_factors(part: Call) -> Scalar | None:
    """x · x -> square(x)."""
    first = part.arguments[0]
    if part.function != "mul" or first is not part.arguments[1] or isinstance(first, Literal):
        return None
    return call("square", first)


# --- no worse than what they replace -----------------------------------------------------------


def root_of_square(part: Call) -> Scalar | None:
    """sqrt(square(x)) and square(x) ** 0.5 -> abs(x), which neither rounds nor overflows."""
    halved = part.function == "pow" and isinstance(part.arguments[1], Literal) and part.arguments[1].value == 0.5
    inner = _of(part.arguments[0], "square") if halved or part.function == "sqrt" else None
    return None if inner is None else call("abs", inner)


def small_power(part: Call) -> Scalar | None:
    """x ** 1 -> x, x ** 2 -> square(x), x ** 3 -> square(x) · x, x ** (-1) -> reciprocal(x)."""
    if part.function != "pow" or not isinstance(part.arguments[1], Literal):
        return None
    base, exponent = part.arguments[0], part.arguments[1].value
    if isinstance(base, Literal) or isinstance(exponent, (bool, complex)):
        return None
    match exponent:
        case 1:
            return base
        case 2:
            return call("square", base)
        case 3:
            return call("mul", call("square", base), base)
        case -1:
            return call("reciprocal", base)
    return None


def constants_of_product(part: Call) -> Scalar | None:
    """(x · c) · d -> x · (c · d), for numbers of moderate size."""
    outer = _scaled(part)
    inner = None if outer is None or not isinstance(outer[0], Call) else _scaled(outer[0])
    if outer is None or inner is None:
        return None
    x, c, d = inner[0], inner[1], outer[1]
    return call("mul", x, literal(c * d)) if _SMALLEST <= abs(c * d) <= _LARGEST else None


def _scaled(part: Call) -> tuple[Scalar, float] | None:
    """``x`` and ``c`` of ``x · c`` or ``c · x``."""
    if part.function != "mul":
        return None
    for x, c in (part.arguments, part.arguments[::-1]):
        if isinstance(c, Literal) and isinstance(c.value, float) and not isinstance(x, Literal):
            return (x, c.value) if _SMALLEST <= abs(c.value) <= _LARGEST else None
    return None


EXACT_SCALAR_RULES: tuple[ScalarRule, ...] = (
    double_negation, sign_into_sum, signs_of_product, sign_of_even, choice, same_factors,
)  # fmt: skip
CLOSE_SCALAR_RULES: tuple[ScalarRule, ...] = (root_of_square, small_power, constants_of_product)


# --- of maps -----------------------------------------------------------------------------------


def _with(node: Node, rules: Sequence[ScalarRule]) -> Node | None:
    assert isinstance(node.op, Map)
    dtype = node.type.dtype
    if dtype.kind != "float" or any(x.type.dtype.kind != "float" for x in node.operands):
        return None
    expression = rewritten(node.op.expression, rules)
    if expression is node.op.expression or isinstance(expression, (Argument, Literal)):
        return None
    if infer_dtype(expression, [x.type.dtype for x in node.operands]) is not dtype:
        return None
    new = build.map_node(expression, node.operands, node.op.inputs, node.op.rank)
    return new if new.type == node.type else None


@rule(Map)
def cheaper_scalars(node: Node, context: Context) -> Node | None:
    """map "sigmoid(neg(neg(a)))" -> map "sigmoid(a)": signs, choices and equal work, exactly."""
    return _with(node, EXACT_SCALAR_RULES)


@rule(Map, status=Status.REASSOCIATES)
def cheaper_powers(node: Node, context: Context) -> Node | None:
    """map "sqrt(square(a)) + b ** 3" -> map "abs(a) + (square(b) * b)"; numbers of a product are multiplied."""
    return _with(node, (*EXACT_SCALAR_RULES, *CLOSE_SCALAR_RULES))


@rule(Map)
def truth_of_cast(node: Node, context: Context) -> Node | None:
    """map "where(a != 0, b, c)" of a cast boolean -> map "where(a, b, c)" of the boolean itself."""
    assert isinstance(node.op, Map)
    uses = use_counts(node.op.expression)
    for position, x in enumerate(node.operands):
        if not isinstance(x.op, Cast) or x.operands[0].type.dtype is not DType.bool:
            continue
        number = argument(position)
        tests = [part for part in postorder(node.op.expression) if _is_truth(part, number)]
        if tests and uses[number] == len(tests):
            expression = replace_parts(node.op.expression, dict.fromkeys(tests, number))
            operands = [*node.operands[:position], x.operands[0], *node.operands[position + 1 :]]
            return build.map_node(expression, operands, node.op.inputs, node.op.rank)
    return None


def _is_truth(part: Scalar, of: Scalar) -> bool:
    """Whether a part is ``of != 0``."""
    if not isinstance(part, Call) or part.function != "ne" or part.arguments[0] is not of:
        return False
    return isinstance(part.arguments[1], Literal) and part.arguments[1].value == 0


SCALAR_RULES = (cheaper_scalars, cheaper_powers, truth_of_cast)
