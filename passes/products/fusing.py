"""A program in which contractions and the work around them are one kernel where that takes less time.

This is the last step of lowering for GPUs.  It knows sizes, and so does nothing where a size is not known.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...ir.dims import evaluate, product
from ...ir.kernels import BlockLoop, Contraction, FusedProduct
from ...ir.product_form import ProductForm
from ...ir.program import KernelCall, Program, planned_peak, verify_program
from ...ir.scalar import Call, Scalar, postorder
from .groups import Group, Groups, read_bytes, remarked
from .tiles import BYTES_A_SECOND, LAUNCH_SECONDS, LONG_SERIES, SERIES, WORTHWHILE, ProductSize, best_tile

# Functions that are one instruction or two, and those that take several series; the others take one.
_CHEAP = frozenset(
    ("add", "sub", "mul", "neg", "maximum", "minimum", "where", "relu", "square", "abs", "eq", "ne", "lt", "le", "gt",
     "ge", "logical_and", "logical_or", "logical_not")
)  # fmt: skip
_LONG = frozenset(("erfc", "erf", "arcsin", "arccos", "arctan", "arctan2", "softplus", "logaddexp", "log1p"))


@dataclass(frozen=True)
class _Choice:
    group: Group
    kernel: FusedProduct


def fuse_products(program: Program, sizes: Mapping[str, int], save_memory: bool = False) -> Program:
    """``program`` with a :class:`FusedProduct` for each contraction that gains by it, by planned time.

    A product with nothing around it stays the library's.  ``save_memory`` keeps the planned peak, and sums whole.

    >>> import otus
    >>> from otus.ir.program import program_text
    >>> from otus.passes.lower import lower
    >>> x, w = (otus.tensor(name, (512, 512), dtype="bfloat16") for name in "xw")
    >>> print(program_text(fuse_products(lower(otus.ir.Graph.of([otus.relu(x @ w).node])), {})))
    program kernel(x: bf16[512,512], w: bf16[512,512]) -> out0
      out0: bf16[512,512] = product of t0 by tiles of ...: moves 1.5 MiB, not 2.5 MiB, planned ... µs, not ... µs   x, w   # 512 KiB
        program body(x: bf16[512,512], w: bf16[512,512]) -> out0
          t0: bf16[512,512] = contract "ij,jk->ik" by matrix: ...
          out0: bf16[512,512] = apply map   t0   # 512 KiB, epilogue of t0, frees t0
    <BLANKLINE>
    """
    if any(binding.symbol not in sizes for binding in program.dims):
        return program
    found = program
    for call in program.calls:
        if isinstance(call.kernel, BlockLoop) and not call.kernel.concurrent:
            found = _with_body(found, call, sizes, save_memory)
        elif isinstance(call.kernel, Contraction) and call.kernel.method == "matrix" and call in found.calls:
            choice = _best(found, call, sizes, may_split=not save_memory)
            if choice is not None:
                fused = _with_choice(found, choice)
                if not save_memory or planned_peak(fused, sizes) <= planned_peak(found, sizes):
                    found = fused
    if found is not program:
        verify_program(found)
    return found


def _with_body(program: Program, call: KernelCall, sizes: Mapping[str, int], save_memory: bool) -> Program:
    """The program with the products of a loop's body fused."""
    assert isinstance(call.kernel, BlockLoop)
    body = fuse_products(call.kernel.body, call.kernel.block_sizes(sizes), save_memory)
    if body is call.kernel.body:
        return program
    new = dataclasses.replace(call, kernel=dataclasses.replace(call.kernel, body=body))
    return dataclasses.replace(program, calls=tuple(new if each is call else each for each in program.calls))


def _best(program: Program, call: KernelCall, sizes: Mapping[str, int], may_split: bool) -> _Choice | None:
    """The group of a contraction that saves most, with its kernel; None where the separate steps are as good."""
    count = {name: evaluate(buffer.bytes, sizes) for name, buffer in program.buffer_map().items()}
    best: tuple[float, _Choice] | None = None
    for group in Groups(program).around(call):
        size = product_size(group, sizes, count)
        tile = best_tile(size, may_split) if size is not None else None
        if size is None or tile is None:
            continue
        moved, separate = _separately(group, size, count)
        saved = separate - tile[1]
        if saved > (1 - WORTHWHILE) * separate and (best is None or saved > best[0]):
            kernel = FusedProduct(
                group.body, group.form.product, tile[0], moved=(size.moved, moved), seconds=(tile[1], separate)
            )
            best = saved, _Choice(group, kernel)
    return None if best is None else best[1]


def product_size(group: Group, sizes: Mapping[str, int], count: Mapping[str, int]) -> ProductSize | None:
    """What a kernel for the group has to do; None where there is nothing to do."""
    form = group.form
    extent = {
        name: math.prod(evaluate(form.sizes[x], sizes) for x in labels) for name, labels in form.groups.items()
    }
    if 0 in extent.values():
        return None
    sides = _functions_before(form)
    after = sum(_functions(each.step.expression) for each in form.after)
    moved = read_bytes([*group.body.inputs, *group.body.outputs], count)
    dtype = form.dtypes[form.product]
    return ProductSize(
        extent["batch"], extent["rows"], extent["columns"], extent["inner"], dtype, moved, sides, after, form.whole
    )


def _functions_before(form: ProductForm) -> tuple[int, int]:
    """The functions for each element of the left and of the right operand."""
    made = {each.step.buffer: each for each in form.before}
    totals = []
    for name, _ in (form.left, form.right):
        total, wanted = 0, [name]
        while wanted:
            each = made.get(wanted.pop())
            if each is not None:
                total += _functions(each.step.expression)
                wanted += [x.buffer for x in each.step.operands]
        totals.append(total)
    return totals[0], totals[1]


def _functions(expression: Scalar) -> int:
    """The functions of a scalar expression; those that take a series count as several."""
    return sum(
        1 if part.function in _CHEAP else LONG_SERIES if part.function in _LONG else SERIES
        for part in postorder(expression)
        if isinstance(part, Call)
    )


def _separately(group: Group, size: ProductSize, count: Mapping[str, int]) -> tuple[int, float]:
    """The bytes and the planned seconds of the calls one by one."""
    total, seconds = 0, 0.0
    for call in group.calls:
        moved = read_bytes([*call.inputs, *call.outputs], count)
        total += moved
        if call.outputs[0] == group.form.product:
            seconds += dataclasses.replace(size, moved=moved, whole=frozenset()).library_seconds
        else:
            seconds += LAUNCH_SECONDS + moved / BYTES_A_SECOND
    return total, seconds


def _with_choice(program: Program, choice: _Choice) -> Program:
    """The program with a group as one call, in the place of its last."""
    group, body = choice.group, choice.kernel.body
    own = {id(call) for call in group.calls}
    text = "; ".join(call.text for call in group.calls)
    fused = KernelCall(choice.kernel, body.inputs, body.outputs, group.calls[-1].node, text)
    calls: list[KernelCall] = []
    for call in program.calls:
        if call is group.calls[-1]:
            calls.append(fused)
        elif id(call) not in own:
            calls.append(call)
    gone = {name for call in group.calls for name in call.outputs if name not in body.outputs}
    buffers = tuple(buffer for buffer in program.buffers if buffer.name not in gone)
    return dataclasses.replace(program, calls=remarked(calls), buffers=buffers)


def separated(program: Program, call: KernelCall) -> Program:
    """The program with the steps of a fused product as calls of their own again."""
    assert isinstance(call.kernel, FusedProduct)
    at = program.calls.index(call)
    known = {buffer.name for buffer in program.buffers}
    inner = tuple(buffer for buffer in call.kernel.body.buffers if buffer.name not in known)
    calls = (*program.calls[:at], *call.kernel.body.calls, *program.calls[at + 1 :])
    return dataclasses.replace(program, buffers=(*program.buffers, *inner), calls=calls)


def with_tile(program: Program, call: KernelCall, kernel: FusedProduct) -> Program:
    """The program with another kernel for a fused product."""
    new = dataclasses.replace(call, kernel=kernel)
    return dataclasses.replace(program, calls=tuple(new if each is call else each for each in program.calls))


def fused_calls(calls: Sequence[KernelCall]) -> list[KernelCall]:
    """The calls that are fused products."""
    return [call for call in calls if isinstance(call.kernel, FusedProduct)]


def batch_of(form: ProductForm, sizes: Mapping[str, int]) -> int:
    """How many products there are."""
    return evaluate(product(form.sizes[x] for x in form.groups["batch"]), sizes)
