"""The calls around a contraction that one kernel may carry out with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...ir.kernels import BlockLoop, Contraction, Direct, Kernel, Rearrangement
from ...ir.loop_steps import NoForm
from ...ir.operations import Cast, LinearCombination, Map, Reduce
from ...ir.product_form import ProductForm, product_form
from ...ir.program import Buffer, KernelCall, Program

# How far behind a contraction its work is looked for, and how many tensors may be within: for planning's sake.
_FARTHEST, _MOST_INSIDE = 64, 8


@dataclass(frozen=True)
class Group:
    """A contraction with what is before and after it, as a program of its own."""

    calls: tuple[KernelCall, ...]
    body: Program
    form: ProductForm


class Groups:
    """The groups that a program's contractions may be in."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.buffers = program.buffer_map()
        self.made = {name: call for call in program.calls for name in call.outputs}
        self.readers: dict[str, list[KernelCall]] = {name: [] for name in self.buffers}
        for call in program.calls:
            for name in dict.fromkeys(call.inputs):
                self.readers[name].append(call)
        self.place = {id(call): k for k, call in enumerate(program.calls)}

    def around(self, contraction: KernelCall) -> Iterator[Group]:
        """Every group of a contraction and more that has a form, in which each more is next to what is in it.

        A contraction alone is one only where it has numbers in other dtypes than they are multiplied in.
        """
        sides = [self._before(name) for name in contraction.inputs]
        choices = (
            [[()], [()]] if len(set(contraction.inputs)) == 1 else [[(), side] if side else [()] for side in sides]
        )
        for left in choices[0]:
            for right in choices[1]:
                after: tuple[KernelCall, ...] = ()
                for following in (None, *self._after(contraction)):
                    after = (*after, following) if following is not None else after
                    if not (left or right or after or _converts(contraction.kernel)):
                        continue
                    group = self._group((*left, *right, contraction, *after), contraction.outputs[0])
                    if group is not None:
                        yield group

    def _before(self, name: str) -> tuple[KernelCall, ...]:
        """The elementwise calls that make an operand for nothing else, first to last."""
        chain: list[KernelCall] = []
        while (call := self.made.get(name)) is not None and self._is_inner(name) and len(self.readers[name]) == 1:
            if len(call.outputs) != 1 or not _is_work(call.kernel, reductions=False):
                break
            chain.insert(0, call)
            # Of several operands, the one that is as large: what it is made from is worth a look.
            shape = self.buffers[name].type.shape
            larger = [x for x in call.inputs if self.buffers[x].type.shape == shape]
            if len(larger) != 1:
                break
            name = larger[0]
        return tuple(chain)

    def _after(self, contraction: KernelCall) -> Iterator[KernelCall]:
        """The calls that read what is made within, in order, up to the first that has to stay outside."""
        inside = set(contraction.outputs)
        for number, call in enumerate(self.program.calls[self.place[id(contraction)] + 1 :]):
            if not inside & {*call.inputs}:
                continue
            if not _is_work(call.kernel, reductions=True) or number >= _FARTHEST or len(inside) >= _MOST_INSIDE:
                return
            yield call
            inside |= {*call.outputs}

    def _is_inner(self, name: str) -> bool:
        return self.buffers[name].role == "temporary" and self.buffers[name].base is None

    def _group(self, calls: Sequence[KernelCall], product: str) -> Group | None:
        ordered = tuple(sorted(calls, key=lambda call: self.place[id(call)]))
        if any(self.buffers[name].base is not None for call in ordered for name in call.outputs):
            return None
        body = self._body(ordered)
        try:
            return Group(ordered, body, product_form(body, product))
        except NoForm:
            return None

    def _body(self, calls: tuple[KernelCall, ...]) -> Program:
        """The calls as a program, which gives what is read outside of it."""
        made = [name for call in calls for name in call.outputs]
        inputs = tuple(dict.fromkeys(name for call in calls for name in call.inputs if name not in made))
        own = {id(call) for call in calls}
        outputs = tuple(
            name
            for name in made
            if name in self.program.outputs or any(id(reader) not in own for reader in self.readers[name])
        )
        roles = {
            **dict.fromkeys(made, "temporary"),
            **dict.fromkeys(inputs, "input"),
            **dict.fromkeys(outputs, "output"),
        }
        buffers = tuple(_as(self.buffers[name], role) for name, role in roles.items())
        return Program("body", inputs, outputs, buffers, (), remarked(calls), (), outputs)


def _converts(kernel: Kernel) -> bool:
    """Whether operands of a contraction are not as they are multiplied."""
    numbers = kernel.numbers if isinstance(kernel, Contraction) else None
    return numbers is not None and {numbers.left, numbers.right} != {numbers.factors}


def _as(buffer: Buffer, role: str) -> Buffer:
    return dataclasses.replace(buffer, role=role, base=None)


def remarked(calls: Sequence[KernelCall]) -> tuple[KernelCall, ...]:
    """The calls, marked as part of a contraction's loop only where that contraction is among them."""
    known = {call.outputs[0] for call in calls if isinstance(call.kernel, Contraction)}
    return tuple(
        dataclasses.replace(
            call,
            prologue_of=call.prologue_of if call.prologue_of in known else None,
            epilogue_of=call.epilogue_of if call.epilogue_of in known else None,
        )
        if {call.prologue_of, call.epilogue_of} - known - {None}
        else call
        for call in calls
    )


def _is_work(kernel: Kernel, reductions: bool) -> bool:
    """Whether a kernel is elementwise, or also a reduction; what more there is to it its form says."""
    match kernel:
        case Direct(operation=operation):
            return isinstance(operation, (Map, LinearCombination, Cast)) or (
                reductions and isinstance(operation, Reduce)
            )
        case Contraction(method=method, inner=inner):
            return method == "product" and not inner
        case BlockLoop(concurrent=concurrent):
            return concurrent
        case Rearrangement(view=view):
            return reductions and not view
    return False


def read_bytes(names: Sequence[str], buffers: Mapping[str, int]) -> int:
    """The bytes of several tensors, each counted once."""
    return sum(buffers[name] for name in dict.fromkeys(names))
