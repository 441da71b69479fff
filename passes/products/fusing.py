"""A program in which contractions and the work around them are one kernel where that takes less time.

This is the last step of lowering for GPUs.  It knows sizes, and so does nothing where a size is not known.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ...ir import DType
from ...ir.dims import evaluate
from ...ir.dtypes import EIGHTS
from ...ir.kernels import BlockLoop, Contraction, FusedProduct, ProductTile
from ...ir.product_form import ProductForm
from ...ir.program import KernelCall, Program, planned_peak, verify_program
from ...ir.scalar import Call, Scalar, postorder
from .groups import Group, Groups, read_bytes, remarked
from .stored import with_stored_operands
from .tiles import BYTES_A_SECOND, LAUNCH_SECONDS, LONG_SERIES, SERIES, WORTHWHILE, ProductSize, best_tiles

# Functions that are one instruction or two, and those that take several series; the others take one.
_CHEAP = frozenset(
    ("add", "sub", "mul", "neg", "maximum", "minimum", "where", "relu", "square", "abs", "eq", "ne", "lt", "le", "gt",
     "ge", "logical_and", "logical_or", "logical_not")
)  # fmt: skip
_LONG = frozenset(("erfc", "erf", "arcsin", "arccos", "arctan", "arctan2", "softplus", "logaddexp", "log1p"))


# As many cheap functions as a conversion of an element counts for.
_CONVERSION = 2
# Of a program and sizes, the seconds that a call takes; None where that cannot be measured.
Measure = Callable[[Program, Mapping[str, int]], float | None]
_TRIED = 8  # tiles that are measured


@dataclass(frozen=True)
class ProductOptions:
    """How products are chosen.

    ``save_memory`` keeps the planned peak, and sums whole.  ``measure`` decides instead of the plan, among the tiles
    that it finds best and the separate steps.  ``tf32`` says that float32 is multiplied on tensor cores.
    """

    save_memory: bool = False
    measure: Measure | None = None
    tf32: bool = False


_DEFAULT = ProductOptions()


def fuse_products(program: Program, sizes: Mapping[str, int], options: ProductOptions = _DEFAULT) -> Program:
    """``program`` with a :class:`FusedProduct` for each contraction that gains by it, by planned time.

    A product with nothing around it stays the library's, unless that would need copies of what is stored in fewer bits.
    Products of conversions to float32 are those of what is stored (:mod:`.stored`).

    >>> import otus
    >>> from otus.ir.program import program_text
    >>> from otus.passes.lower import lower
    >>> x, w = (otus.tensor(name, (512, 512), dtype="bfloat16") for name in "xw")
    >>> print(program_text(fuse_products(lower(otus.ir.Graph.of([otus.relu(x @ w).node])), {})))
    program kernel(x: bf16[512,512], w: bf16[512,512]) -> out0
      out0: bf16[512,512] = product of t0 by tiles of ...: moves 1.5 MiB, not 2.5 MiB, planned ... µs, not ... µs ...
        program body(x: bf16[512,512], w: bf16[512,512]) -> out0
          t0: bf16[512,512] = contract "ij,jk->ik" by matrix: ...
          out0: bf16[512,512] = apply map   t0   # 512 KiB, epilogue of t0, frees t0
    <BLANKLINE>
    """
    program = found = with_stored_operands(program)
    if any(binding.symbol not in sizes for binding in program.dims):
        return program
    for name in [call.outputs[0] for call in program.calls]:
        call = next((each for each in found.calls if each.outputs[0] == name), None)
        if call is None:
            continue  # it is in a fused product by now
        if isinstance(call.kernel, BlockLoop) and not call.kernel.concurrent:
            found = _with_body(found, call, sizes, options)
        elif isinstance(call.kernel, Contraction) and call.kernel.method == "matrix":
            found = _chosen(found, call, sizes, options)
    if found is not program:
        verify_program(found)
    return found


def _with_body(program: Program, call: KernelCall, sizes: Mapping[str, int], options: ProductOptions) -> Program:
    """The program with the products of a loop's body fused."""
    assert isinstance(call.kernel, BlockLoop)
    body = fuse_products(call.kernel.body, call.kernel.block_sizes(sizes), options)
    if body is call.kernel.body:
        return program
    return _with_call(program, call, dataclasses.replace(call, kernel=dataclasses.replace(call.kernel, body=body)))


def _with_call(program: Program, call: KernelCall, new: KernelCall) -> Program:
    return dataclasses.replace(program, calls=tuple(new if each is call else each for each in program.calls))


@dataclass(frozen=True)
class _Contest:
    """A group, its best tiles with their planned seconds, and the bytes and planned seconds of its separate steps."""

    group: Group
    size: ProductSize
    tiles: tuple[tuple[ProductTile, float], ...]
    moved: int
    separately: float

    @property
    def saved(self) -> float:
        """Planned seconds that the kernel saves."""
        return self.separately - self.tiles[0][1]

    def kernel(self, tile: ProductTile, seconds: float, separately: float, measured: bool = False) -> FusedProduct:
        """The kernel with a tile, and why."""
        form, moved = self.group.form, (self.size.moved, self.moved)
        numbers = form.numbers if {form.numbers.left, form.numbers.right} != {form.dtypes[form.product]} else None
        return FusedProduct(self.group.body, form.product, tile, numbers, moved, (seconds, separately), measured)


def _chosen(program: Program, call: KernelCall, sizes: Mapping[str, int], options: ProductOptions) -> Program:
    """The program with the group of a contraction that saves most as one kernel, or as it was, with the reason."""
    contests = list(_contests(program, call, sizes, options))
    if not contests:
        return program
    contest = max(contests, key=lambda each: each.saved)
    kernel = _planned(contest) if options.measure is None else _measured(contest, sizes, options.measure)
    if kernel.seconds[0] > WORTHWHILE * kernel.seconds[1]:
        word = "measured" if kernel.measured else "planned"
        fused, separately = (f"{x * 1e6:.3g} µs" for x in kernel.seconds)
        return _with_call(
            program, call, dataclasses.replace(call, choice=f"not fused: {word} {fused}, separately {separately}")
        )
    new = _with_kernel(program, contest.group, kernel)
    if options.save_memory and planned_peak(new, sizes) > planned_peak(program, sizes):
        return program
    return new


def _contests(
    program: Program, call: KernelCall, sizes: Mapping[str, int], options: ProductOptions
) -> Iterator[_Contest]:
    """The groups of a contraction for which there are tiles."""
    count = {name: evaluate(buffer.bytes, sizes) for name, buffer in program.buffer_map().items()}
    for group in Groups(program).around(call):
        size = _product_size(group, sizes, count, options.tf32)
        tiles = best_tiles(size, not options.save_memory, _TRIED) if size is not None else ()
        if size is not None and tiles:
            yield _Contest(group, size, tiles, *_separately(group, size, count, options.tf32))


def _planned(contest: _Contest) -> FusedProduct:
    return contest.kernel(*contest.tiles[0], contest.separately)


def _measured(contest: _Contest, sizes: Mapping[str, int], measure: Measure) -> FusedProduct:
    """The fastest of the best tiles, by measurement; by plan where nothing can be measured."""
    body = contest.group.body
    separately = measure(body, sizes)
    found = [(seconds, k) for k, (tile, _) in enumerate(contest.tiles)
             if (seconds := measure(_alone(contest.kernel(tile, 0, 0)), sizes)) is not None]  # fmt: skip
    if separately is None or not found:
        return _planned(contest)
    seconds, best = min(found)
    return contest.kernel(contest.tiles[best][0], seconds, separately, measured=True)


def _alone(kernel: FusedProduct) -> Program:
    """A program of this kernel alone."""
    body = kernel.body
    buffers = tuple(each for each in body.buffers if each.name in (*body.inputs, *body.outputs))
    call = KernelCall(kernel, body.inputs, body.outputs, body.calls[-1].node, body.calls[-1].text)
    return dataclasses.replace(body, buffers=buffers, calls=(call,))


def _product_size(group: Group, sizes: Mapping[str, int], count: Mapping[str, int], tf32: bool) -> ProductSize | None:
    """What a kernel for the group has to do; None where there is nothing to do."""
    form = group.form
    extent = {name: math.prod(evaluate(form.sizes[x], sizes) for x in labels) for name, labels in form.groups.items()}
    if 0 in extent.values():
        return None
    sides = _functions_before(form)
    after = sum(_functions(each.step.expression) for each in form.after)
    moved = read_bytes([*group.body.inputs, *group.body.outputs], count)
    numbers = form.numbers
    return ProductSize(
        extent["batch"],
        extent["rows"],
        extent["columns"],
        extent["inner"],
        numbers.factors,
        moved,
        _has_cores(numbers.factors, tf32),
        sides,
        after,
        form.whole,
        stored=(numbers.left.bits, numbers.right.bits),
    )


def _has_cores(dtype: DType, tf32: bool) -> bool:
    """Whether tensor cores multiply such numbers."""
    return tf32 or dtype is not DType.float32


def _functions_before(form: ProductForm) -> tuple[int, int]:
    """The functions for each element of the left and of the right operand."""
    made = {each.step.buffer: each for each in form.before}
    totals = []
    for (name, _), stored in ((form.left, form.numbers.left), (form.right, form.numbers.right)):
        total, wanted = 0 if stored is form.numbers.factors else _CONVERSION, [name]
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


def _separately(group: Group, size: ProductSize, count: Mapping[str, int], tf32: bool) -> tuple[int, float]:
    """The bytes and the planned seconds of the calls one by one."""
    moved = [read_bytes([*call.inputs, *call.outputs], count) for call in group.calls]
    place = [call.outputs[0] for call in group.calls].index(group.form.product)
    copies = _library_copies(group, group.calls[place], count)
    around = sum(moved) - moved[place] + sum(copies)
    dtype = _library_dtype(group, group.calls[place])
    alone = dataclasses.replace(size, dtype=dtype, cores=_has_cores(dtype, tf32), stored=(dtype.bits, dtype.bits))
    seconds = dataclasses.replace(alone, moved=moved[place]).library_seconds
    launches = len(moved) - 1 + len(copies)
    seconds += LAUNCH_SECONDS * launches + max(around / BYTES_A_SECOND, size.functions_seconds)
    return sum(moved) + sum(copies), seconds


def _library_dtype(group: Group, contraction: KernelCall) -> DType:
    """What the library multiplies in: 8-bit floats as float32, unless they are said to be factors of another dtype."""
    assert isinstance(contraction.kernel, Contraction)
    if contraction.kernel.numbers is not None:
        return contraction.kernel.numbers.factors
    dtype = group.form.dtypes[group.form.product]
    return DType.float32 if dtype in EIGHTS else dtype


def _library_copies(group: Group, contraction: KernelCall, count: Mapping[str, int]) -> list[int]:
    """The bytes that are read and written for each operand, or result, that the library needs in another dtype."""
    dtype, copies = _library_dtype(group, contraction), []
    for name in dict.fromkeys((*contraction.inputs, *contraction.outputs)):
        its = group.body.buffer_map()[name].type.dtype
        if its is not dtype and (name in contraction.inputs or its in EIGHTS):
            copies.append(count[name] + count[name] * dtype.bits // its.bits)
    return copies


def _with_kernel(program: Program, group: Group, kernel: FusedProduct) -> Program:
    """The program with a group as one call, in the place of its last."""
    body = kernel.body
    own = {id(call) for call in group.calls}
    text = "; ".join(call.text for call in group.calls)
    fused = KernelCall(kernel, body.inputs, body.outputs, group.calls[-1].node, text)
    calls: list[KernelCall] = []
    for call in program.calls:
        if call is group.calls[-1]:
            calls.append(fused)
        elif id(call) not in own:
            calls.append(call)
    gone = {name for call in group.calls for name in call.outputs if name not in body.outputs}
    buffers = tuple(buffer for buffer in program.buffers if buffer.name not in gone)
    return dataclasses.replace(program, calls=remarked(calls), buffers=buffers)
