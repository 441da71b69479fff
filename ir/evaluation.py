"""Elementwise kernels carried out function by function, each written into memory that is there already.

An expression over large arrays makes an array for every function in it.  Here its functions become steps, each of
which writes a register: register 0 is the result, the others are arrays of the same shape and dtype.  How many
there are, and which step writes which, follows from when values are last read (the order is that of Sethi and
Ullman, J. ACM 17 (1970), 715: what needs more registers comes first).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from . import operations as ops
from .dtypes import DType
from .kernels import Contraction, Direct, Kernel
from .scalar import (
    SCALAR_FUNCTIONS,
    Argument,
    Call,
    Literal,
    Number,
    Scalar,
    argument,
    call,
    depth_first,
    postorder,
    replace_parts,
    substitute_arguments,
    sum_of_multiples,
)

# Functions that can write their result into an array that is given to them.
STEP_FUNCTIONS = frozenset(
    {
        "add", "sub", "mul", "div", "neg", "reciprocal", "rsqrt", "pow", "square", "abs", "exp", "expm1", "log",
        "log1p", "sqrt", "sin", "cos", "tan", "arcsin", "arccos", "arctan", "arctan2", "sinh", "cosh", "tanh",
        "relu", "floor", "sign", "maximum", "minimum", "logaddexp", "where",
    }
)  # fmt: skip
_PRODUCTS = {*range(3, 9), *range(-8, -1)}  # exponents for which products are as exact as a power, and cost less


@dataclass(frozen=True)
class Elementwise:
    """A scalar expression over operands; ``inputs[k]`` are the axes of the result that operand ``k`` has."""

    expression: Scalar
    inputs: tuple[tuple[int, ...], ...]
    rank: int


@dataclass(frozen=True)
class Step:
    """``register = function(operands)``.

    Operands are expressions over the kernel's operands, after which argument ``len(inputs) + r`` is register ``r``.
    They are single arguments and numbers, or are evaluated as they stand: what is smaller than the result, or a
    condition.
    """

    function: str
    operands: tuple[Scalar, ...]
    register: int


@dataclass(frozen=True)
class Evaluation:
    """Steps in order; ``registers`` counts those beside the result, and ``conditions`` the arrays of booleans."""

    steps: tuple[Step, ...]
    registers: int
    conditions: int


def elementwise_form(kernel: Kernel) -> Elementwise | None:
    """An elementwise kernel as one scalar expression; None for any other kernel."""
    match kernel:
        case Direct(operation=ops.Map(expression=expression, inputs=inputs, rank=rank)):
            return Elementwise(expression, inputs, rank)
        case Direct(operation=ops.LinearCombination(coefficients=coefficients, inputs=inputs, rank=rank)):
            return Elementwise(_sum(coefficients), inputs, rank)
        case Contraction(method="product", left=left, right=right, output=output):
            place = {label: axis for axis, label in enumerate(output)}
            axes = tuple(tuple(place[label] for label in labels) for labels in (left, right))
            return Elementwise(call("mul", argument(0), argument(1)), axes, len(output))
    return None


def _sum(coefficients: Sequence[complex]) -> Scalar:
    """A linear combination that begins with a term which is added, where there is one."""
    order = sorted(range(len(coefficients)), key=lambda k: coefficients[k] == -1)
    return substitute_arguments(sum_of_multiples([coefficients[k] for k in order]), [argument(k) for k in order])


def evaluation(form: Elementwise, dtypes: Sequence[DType], result: DType, over: int | None = None) -> Evaluation | None:
    """The steps of a kernel over float32 or float64; None where a function of it cannot write into given memory.

    ``over`` is the operand that lies where the result does: its elements are register 0 until they are last read.

    >>> from otus.ir.scalar import parse_scalar, scalar_text
    >>> form = Elementwise(parse_scalar("exp(a) * b + sin(a)"), ((0,), (0,)), 1)
    >>> found = evaluation(form, [DType.float64] * 2, DType.float64)
    >>> found.registers
    1
    >>> for step in found.steps:
    ...     print(step.register, step.function, *(scalar_text(x) for x in step.operands))
    0 exp a
    0 mul c b
    1 sin a
    0 add c d
    """
    if result not in (DType.float32, DType.float64):
        return None
    expression = _written_out(form.expression)
    parts = _Parts(expression, form, dtypes, result)
    if expression not in parts.steps or not parts.have_forms():
        return None
    return _Allocation(parts, form, over).evaluation()


def _written_out(expression: Scalar) -> Scalar:
    """The expression over functions that NumPy has, small powers as products: they share what they can."""
    new: dict[Scalar, Scalar] = {}
    for part in postorder(expression):
        if not isinstance(part, Call):
            new[part] = part
            continue
        operands = [new[x] for x in part.arguments]
        match part.function:
            case "pow":
                new[part] = _power(*operands)
            case "sigmoid":
                new[part] = call("reciprocal", call("add", 1, call("exp", _negative(operands[0]))))
            case "softplus":
                tail = call("log1p", call("exp", call("neg", call("abs", operands[0]))))
                new[part] = call("add", call("relu", operands[0]), tail)
            case _:
                new[part] = call(part.function, *operands)
    return new[expression]


def _negative(x: Scalar) -> Scalar:
    return x.arguments[0] if isinstance(x, Call) and x.function == "neg" else call("neg", x)


def _power(base: Scalar, exponent: Scalar) -> Scalar:
    value = exponent.value if isinstance(exponent, Literal) else None
    if isinstance(value, (bool, complex)) or value is None:
        return call("pow", base, exponent)
    if value == 2:
        return call("square", base)
    if value == 0.5:
        return call("sqrt", base)
    if value == -1:
        return call("reciprocal", base)
    return _products(base, int(value)) if value in _PRODUCTS else call("pow", base, exponent)


def _products(base: Scalar, exponent: int) -> Scalar:
    total, factor, power = None, base, abs(exponent)
    while True:
        if power % 2:
            total = factor if total is None else call("mul", total, factor)
        power //= 2
        if not power:
            break
        factor = call("square", factor)
    assert total is not None
    return total if exponent > 0 else call("reciprocal", total)


@dataclass
class _Parts:
    """The parts of an expression: which of them are steps, and of what kind each is."""

    expression: Scalar
    form: Elementwise
    dtypes: Sequence[DType]
    result: DType
    steps: set[Scalar] = field(default_factory=set)
    conditions: set[Scalar] = field(default_factory=set)
    kinds: dict[Scalar, DType | Number] = field(default_factory=dict)

    def __post_init__(self) -> None:
        axes: dict[Scalar, frozenset[int]] = {}
        everything = frozenset(range(self.form.rank))
        for part in postorder(self.expression):
            if isinstance(part, Argument):
                self.kinds[part], axes[part] = self.dtypes[part.position], frozenset(self.form.inputs[part.position])
            elif isinstance(part, Literal):
                self.kinds[part], axes[part] = part.value, frozenset()
            elif isinstance(part, Call):
                self.kinds[part] = SCALAR_FUNCTIONS[part.function].dtype([self.kinds[x] for x in part.arguments])
                axes[part] = frozenset().union(*(axes[x] for x in part.arguments))
                if axes[part] == everything:
                    (self.conditions if self.kinds[part] is DType.bool else self.steps).add(part)

    def have_forms(self) -> bool:
        """Whether every step is a function over the result's dtype."""
        return all(self._has_form(part) for part in self.steps)

    def _has_form(self, part: Scalar) -> bool:
        assert isinstance(part, Call)
        operands = part.arguments[1:] if part.function == "where" else part.arguments
        fits = all(self.kinds[x] is self.result or not isinstance(self.kinds[x], DType) for x in (part, *operands))
        return part.function in STEP_FUNCTIONS and fits

    def below(self, part: Scalar) -> list[Scalar]:
        """The steps whose values a step reads, through conditions too."""
        assert isinstance(part, Call)
        found: list[Scalar] = []
        stack = list(reversed(part.arguments))
        while stack:
            each = stack.pop()
            if each in self.steps:
                found.append(each)
            elif isinstance(each, Call):
                stack.extend(reversed(each.arguments))
        return list(dict.fromkeys(found))

    def leaves(self, part: Scalar) -> list[Scalar]:
        """The arguments that a step reads, outside of other steps."""
        assert isinstance(part, Call)
        found, stack = [], list(part.arguments)
        while stack:
            each = stack.pop()
            if isinstance(each, Argument):
                found.append(each)
            elif isinstance(each, Call) and each not in self.steps:
                stack.extend(each.arguments)
        return list(dict.fromkeys(found))

    def in_order(self) -> list[Scalar]:
        """The steps, each after what it reads; what needs more registers first."""
        needs: dict[Scalar, int] = {}
        for part in postorder(self.expression):
            if part in self.steps:
                below = sorted((needs[x] for x in self.below(part)), reverse=True)
                needs[part] = max([1, *(need + place for place, need in enumerate(below))])
        return depth_first(self.expression, lambda part: sorted(self.below(part), key=lambda x: -needs[x]))


class _Allocation:
    """Registers for the steps in order: each is free again once its value was last read."""

    def __init__(self, parts: _Parts, form: Elementwise, over: int | None) -> None:
        self.parts, self.inputs = parts, len(form.inputs)
        self.order = parts.in_order()
        self.held: dict[Scalar, int] = {}
        if over is not None:
            self.held[argument(over)] = 0
        self.last = {x: place for place, part in enumerate(self.order)
                     for x in (*parts.below(part), *parts.leaves(part))}  # fmt: skip
        self.count = 1

    def evaluation(self) -> Evaluation:
        """The steps with their registers."""
        steps, conditions = [], 0
        for place, part in enumerate(self.order):
            assert isinstance(part, Call)
            names: Mapping[Scalar, Scalar] = {x: argument(self.inputs + r) for x, r in self.held.items()}
            operands = tuple(replace_parts(x, names) for x in part.arguments)
            inline = [x for x in part.arguments if x in self.parts.conditions]
            conditions = max(conditions, sum(isinstance(y, Call) for x in inline for y in postorder(x)))
            self.held = {x: register for x, register in self.held.items() if self.last.get(x, -1) > place}
            self.held[part] = self._free() if place < len(self.order) - 1 else 0
            steps.append(Step(part.function, operands, self.held[part]))
        return Evaluation(tuple(steps), self.count - 1, conditions)

    def _free(self) -> int:
        """The lowest register whose value nothing reads any more."""
        taken = set(self.held.values())
        register = next(k for k in range(self.count + 1) if k not in taken)
        self.count = max(self.count, register + 1)
        return register
