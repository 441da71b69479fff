"""The body of a loop as steps, all of one form: a scalar expression over an index space, some of it reduced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from . import operations as ops
from .dims import Size, substitute
from .dtypes import DType
from .kernels import BlockLoop, Contraction, Copy, Direct, Kernel, Rearrangement
from .program import KernelCall, Program
from .scalar import Scalar, argument, call, sum_of_multiples
from .types import TensorType

# Positions of an index that a tile of matrix products holds whole, at most.
MOST_WHOLE = 256


class NoForm(Exception):
    """A kernel, function or dtype that a target's loops have no form for; what it says is printed in the module."""


@dataclass(frozen=True)
class Operand:
    """A tensor that a step reads; ``axes[k]`` is the axis of the step's space that its axis ``k`` runs along."""

    buffer: str
    axes: tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """``buffer[result] = reduction over the other axes of expression(operands)``.

    ``sizes`` are those of the index space.  ``reduction`` is None where nothing is reduced.  ``text`` is the
    line of IR that this carries out.
    """

    buffer: str
    sizes: tuple[Size, ...]
    operands: tuple[Operand, ...]
    expression: Scalar
    result: tuple[int, ...]
    reduction: str | None = None
    text: str = ""

    @property
    def reduced(self) -> tuple[int, ...]:
        """The axes of the space that the result lacks."""
        return tuple(axis for axis in range(len(self.sizes)) if axis not in self.result)


def steps_of(body: Program) -> list[Step]:
    """The steps of a program of elementwise kernels and reductions; raises ``NoForm`` for any other."""
    types = {name: buffer.type for name, buffer in body.buffer_map().items()}
    steps = [_step(each.kernel, each, [types[name] for name in each.inputs]) for each in body.calls]
    return [replace(step, text=each.text) for step, each in zip(steps, body.calls, strict=True)]


def opened_steps(body: Program) -> tuple[list[Step], dict[str, DType]]:
    """The steps of a program, those of its loops over blocks among them, and the dtype of every buffer.

    What a loop keeps to itself is called after the loop's first result.  Raises ``NoForm`` as :func:`steps_of` does,
    and where the blocks of a loop depend on one another, or are combined in another way than by one reduction.
    """
    dtypes = {name: buffer.type.dtype for name, buffer in body.buffer_map().items()}
    steps: list[Step] = []
    for each in body.calls:
        if isinstance(each.kernel, BlockLoop):
            found, inner = _of_loop(each.kernel, each)
            steps += found
            dtypes |= inner
        else:
            types = [body.buffer_map()[name].type for name in each.inputs]
            steps.append(replace(_step(each.kernel, each, types), text=each.text))
    return steps, dtypes


def _of_loop(loop: BlockLoop, made: KernelCall) -> tuple[list[Step], dict[str, DType]]:
    """The steps of a loop on whole tensors, under the names that these have outside of it."""
    if not loop.concurrent:
        raise NoForm("a loop whose blocks wait for one another")
    names = {name: f"{made.outputs[0]}.{name}" for name in loop.body.buffer_map()}
    names |= dict(zip(loop.body.inputs, made.inputs, strict=True))
    names |= dict(zip(loop.body.outputs, made.outputs, strict=True))
    block, joins = {loop.symbol: loop.size}, dict(zip(loop.body.outputs, loop.join, strict=True))
    found = []
    for step in steps_of(loop.body):
        join = joins.get(step.buffer, 0)
        if isinstance(join, str) and join != step.reduction:
            raise NoForm(f"blocks combined by {join}, in {step.text}")
        operands = tuple(Operand(names[x.buffer], x.axes) for x in step.operands)
        sizes = tuple(substitute(size, block) for size in step.sizes)
        found.append(replace(step, buffer=names[step.buffer], operands=operands, sizes=sizes))
    return found, {names[name]: buffer.type.dtype for name, buffer in loop.body.buffer_map().items()}


def _step(kernel: Kernel, made: KernelCall, types: Sequence[TensorType]) -> Step:
    match kernel:
        case Copy():
            every = tuple(range(len(types[0].shape)))
            return Step(made.outputs[0], types[0].shape, _operands(made, [every]), argument(0), every)
        case Direct(operation=operation):
            return _direct(operation, made, types)
        case Rearrangement(labels=labels, output=output):
            return _contracted(made, types, [labels], output, argument(0))
        case Contraction(left=left, right=right, output=output):
            return _contracted(made, types, [left, right], output, call("mul", argument(0), argument(1)))
    raise NoForm(f"{kernel.name} {kernel.text}")


def _contracted(
    made: KernelCall,
    types: Sequence[TensorType],
    inputs: Sequence[tuple[int, ...]],
    output: tuple[int, ...],
    expression: Scalar,
) -> Step:
    order = list(dict.fromkeys([*output, *(label for labels in inputs for label in labels)]))
    found = {label: size for labels, type in zip(inputs, types, strict=True)
             for label, size in zip(labels, type.shape, strict=True)}  # fmt: skip
    operands = tuple(
        Operand(name, tuple(order.index(label) for label in labels))
        for name, labels in zip(made.inputs, inputs, strict=True)
    )
    reduction = "sum" if len(output) < len(order) else None
    sizes = tuple(found[label] for label in order)
    return Step(made.outputs[0], sizes, operands, expression, tuple(range(len(output))), reduction)


def _direct(operation: ops.Operation, made: KernelCall, types: Sequence[TensorType]) -> Step:
    name = made.outputs[0]
    shape = made.node.type.shape
    every = tuple(range(len(shape)))
    match operation:
        case ops.Map(expression=expression, inputs=inputs):
            return Step(name, shape, _operands(made, inputs), expression, every)
        case ops.LinearCombination(coefficients=coefficients, inputs=inputs):
            return Step(name, shape, _operands(made, inputs), sum_of_multiples(coefficients), every)
        case ops.Cast():
            return Step(name, shape, _operands(made, [every]), argument(0), every)
        case ops.Broadcast(axes=axes):
            return Step(name, shape, _operands(made, [axes]), argument(0), every)
        case ops.Reduce(kind=kind, axes=axes):
            space = types[0].shape
            kept = tuple(axis for axis in range(len(space)) if axis not in axes)
            return Step(name, space, _operands(made, [tuple(range(len(space)))]), argument(0), kept, kind)
    raise NoForm(operation.name)


def _operands(made: KernelCall, inputs: Sequence[Sequence[int]]) -> tuple[Operand, ...]:
    return tuple(Operand(name, tuple(labels)) for name, labels in zip(made.inputs, inputs, strict=True))
