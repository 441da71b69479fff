"""Elementwise kernels as one NumPy statement for each function, which writes memory that is planned."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir import DType
from ...ir.evaluation import Elementwise, Step, elementwise_form, evaluation
from ...ir.program import KernelCall
from ...ir.scalar import Argument, Call, Literal, Scalar, postorder
from ..source import aligned
from .scalars import ScalarPrinter, silences_warnings
from .source import NumpySource, number_source

_NAMES = {"sub": "subtract", "mul": "multiply", "div": "divide", "neg": "negative", "pow": "power"}
# Functions of one operand that are another one with a number: ufunc, then what stands before and after the operand.
_WITH_NUMBER = {"reciprocal": ("divide", "1, ", ""), "relu": ("maximum", "", ", 0")}


def step_lines(call: KernelCall, source: NumpySource) -> list[str]:
    """The statements of an elementwise call that is planned function by function."""
    form = elementwise_form(call.kernel)
    assert form is not None
    assert call.scratch is not None
    printer = _StepPrinter(form, call, source)
    lines = printer.lines()
    if silences_warnings(form.expression):
        return ['with np.errstate(all="ignore"):', *(f"    {text}" for text in lines)]
    if any(isinstance(x, Call) and x.function == "sigmoid" for x in postorder(form.expression)):
        return ['with np.errstate(over="ignore"):', *(f"    {text}" for text in lines)]
    return lines


class _StepPrinter:
    """Prints the steps of one call; the result is a new array where it has no memory yet."""

    def __init__(self, form: Elementwise, call: KernelCall, source: NumpySource) -> None:
        self.source = source
        buffers = source.program.buffer_map()
        result = buffers[call.outputs[0]]
        over = result.place.over if result.place is not None else None
        position = None if over is None else call.inputs.index(over)
        dtypes = [x.dtype for x in source.types(call)]
        found = evaluation(form, dtypes, result.type.dtype, position)
        assert found is not None
        assert call.scratch is not None
        self.steps = found.steps
        registers = [source.target(call), *(source.buffers[name] for name in call.scratch)]
        given = zip(source.operands(call), form.inputs, strict=True)
        operands = [aligned(x, axes, range(form.rank)) for x, axes in given]
        self.codes: list[str] = [*operands, *registers]
        self.dtypes: list[DType] = [*dtypes, *(result.type.dtype for _ in registers)]
        self.registers = registers
        self.is_made = result.place is not None

    def lines(self) -> list[str]:
        """The statements, step by step."""
        return [line for step in self.steps for line in self._step(step)]

    def _step(self, step: Step) -> list[str]:
        before: list[str] = []
        gone: list[str] = []
        codes = [self._operand(x, before, gone) for x in step.operands]
        target = self.registers[step.register]
        if step.function == "where":
            lines = self._where(codes, target, step.register)
        elif step.function == "rsqrt":
            lines = [self._written("np.sqrt", codes, target, step.register), f"np.divide(1, {target}, out={target})"]
        elif step.function in _WITH_NUMBER:
            name, first, last = _WITH_NUMBER[step.function]
            lines = [self._written(f"np.{name}", [f"{first}{codes[0]}{last}"], target, step.register)]
        else:
            name = _NAMES.get(step.function, step.function)
            lines = [self._written(f"np.{name}", codes, target, step.register)]
        return [*before, *lines, *([f"del {', '.join(gone)}"] if gone else [])]

    def _written(self, function: str, codes: Sequence[str], target: str, register: int) -> str:
        if register == 0 and not self.is_made:
            self.is_made = True
            return f"{target} = {function}({', '.join(codes)})"
        return f"{function}({', '.join(codes)}, out={target})"

    def _where(self, codes: Sequence[str], target: str, register: int) -> list[str]:
        condition, chosen, other = codes
        if register == 0 and not self.is_made:
            self.is_made = True
            return [f"{target} = np.where({condition}, {chosen}, {other})"]
        if chosen == target:
            return [f"np.copyto({target}, {other}, where=np.logical_not({condition}))"]
        first = [] if other == target else [f"np.copyto({target}, {other})"]
        return [*first, f"np.copyto({target}, {chosen}, where={condition})"]

    # --- operands ------------------------------------------------------------------------------

    def _operand(self, operand: Scalar, before: list[str], gone: list[str]) -> str:
        """The source of an operand; what is computed for it gets a name, and is deleted after the step."""
        if isinstance(operand, Argument):
            return self.codes[operand.position]
        if isinstance(operand, Literal):
            text = number_source(operand.value)
            return text[1:-1] if text.startswith("(") else text
        printer = ScalarPrinter(self.source, self.codes, self.dtypes)
        code = printer.print(operand)
        name = self.source.temporary("s0")
        before += [*printer.statements, f"{name} = {code}"]
        gone += [*printer.temporaries, name]
        return name
