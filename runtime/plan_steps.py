"""The kernel calls of a program, with what each of them costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..ir import Node, Size
from ..ir.cost import flops
from ..ir.dims import evaluate
from ..ir.kernels import Contraction, Copy
from ..ir.program import KernelCall, Program
from ..ir.types import TensorType


@dataclass(frozen=True)
class Step:
    """One kernel call: the buffers that it makes with their types, what runs, the IR line it carries out.

    ``flops`` are the scalar operations that it takes, ``bytes`` the memory that it makes.
    """

    made: Mapping[str, TensorType]
    kernel: str
    ir: str
    flops: Size
    bytes: Size
    node: Node = field(repr=False)

    @property
    def result(self) -> str:
        """The buffers with their types, as text."""
        return ", ".join(f"{name}: {type}" for name, type in self.made.items())


def plan_steps(program: Program) -> tuple[Step, ...]:
    """The calls of a program in order.

    A call is charged for its own operation and for those below it that no other call computes, so
    that the steps together are all the work there is.
    """
    buffers = program.buffer_map()
    charged: set[Node] = {sibling for call in program.calls for sibling in _siblings(call, program)}
    called = {call.node for call in program.calls if not isinstance(call.kernel, Copy)}
    steps = []
    for call in program.calls:
        work: Size = 0
        size: Size = 0
        for node in () if isinstance(call.kernel, Copy) else _own_work(call.node, called, charged):
            work = work + flops(node)
        for name in call.outputs:
            size = size + (buffers[name].elements_bytes if buffers[name].base is None else 0)
        made = {name: buffers[name].type for name in call.outputs}
        steps.append(Step(made, _kernel_text(call), call.text, work, size, call.node))
    return tuple(steps)


def _siblings(call: KernelCall, program: Program) -> list[Node]:
    """The other results of a call that makes several: one factorisation gives them all."""
    if len(call.outputs) == 1:
        return []
    users = [operand for other in program.calls for operand in (other.node, *other.node.operands)]
    return [x for x in users if x is not call.node and type(x.op) is type(call.node.op) and _same_source(x, call.node)]


def _same_source(first: Node, second: Node) -> bool:
    return first.operands == second.operands


def _own_work(node: Node, called: set[Node], charged: set[Node]) -> list[Node]:
    """``node``, and what it reads that neither a call of its own nor an earlier one computes."""
    found, stack = [], [node]
    while stack:
        current = stack.pop()
        if current not in charged:
            charged.add(current)
            found.append(current)
            stack.extend(operand for operand in current.operands if operand not in called)
    return found


def _kernel_text(call: KernelCall) -> str:
    kernel = call.kernel
    if isinstance(kernel, Contraction):
        return f"{kernel.name} by {kernel.method}"
    return f"{kernel.name} {kernel.text}".rstrip() if kernel.name == "apply" else kernel.name


def largest_intermediate(program: Program, sizes: Mapping[str, int]) -> str | None:
    """The name of the largest buffer that is neither input nor output; None where there is none."""
    made = [buffer for buffer in program.buffers if buffer.role == "temporary" and buffer.base is None]
    if not made:
        return None
    return max(made, key=lambda buffer: evaluate(buffer.elements_bytes, sizes)).name
