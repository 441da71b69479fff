"""The form that a fused product has: its steps with the indices of the contraction that each of their axes runs along.

Rows, columns and summed indices of the contraction are the dimensions of a kernel's tiles.  A step before the
contraction makes elements of an operand as they are read; one after it works on a tile of the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Union

from .dims import Size
from .dtypes import HALVES, NARROW, DType, can_cast_safely, factor_dtype
from .kernels import Contraction, ProductNumbers
from .loop_steps import NoForm, Step, opened_steps
from .program import KernelCall, Program
from .scalar import Argument, Call, Literal

Index = int
Axes = tuple[Union[Index, None], ...]
GROUPS = ("batch", "rows", "columns", "inner")
DOT_DTYPES = (*NARROW, DType.float32, DType.float64)
# Reductions of which programs can each give a part.
_OF_PARTS = ("sum", "prod", "max", "min", "any", "all")


@dataclass(frozen=True)
class ProductStep:
    """A step, and the index of the contraction that each axis of its space runs along; None for an axis of size 1.

    ``over`` are the groups, of ``"rows"`` and ``"columns"``, that it reduces.
    """

    step: Step
    indices: Axes
    over: frozenset[str]

    def operand(self, position: int) -> Axes:
        """The indices of the axes of an operand."""
        return tuple(self.indices[axis] for axis in self.step.operands[position].axes)

    @property
    def result(self) -> Axes:
        """The indices of the axes of the result."""
        return tuple(self.indices[axis] for axis in self.step.result)


@dataclass(frozen=True)
class ProductForm:
    """What a fused product computes.

    ``left`` and ``right`` are the tensors whose numbers are multiplied and the indices of their axes: the operands of
    the contraction, or what these are conversions of, as ``numbers`` says.  ``before`` are the steps that make either,
    ``after`` what is done to its result ``product``.  ``whole`` are the groups of which a tile
    must have all positions, since what is reduced over them is read again.  ``parts`` are the results of which each
    program gives a part, with the reduction that combines them and the groups that it is over.  ``groups`` has the
    indices of each of ``GROUPS``, those of size 1 left out.
    """

    product: str
    left: tuple[str, Axes]
    right: tuple[str, Axes]
    result: Axes
    before: tuple[ProductStep, ...]
    after: tuple[ProductStep, ...]
    groups: Mapping[str, tuple[Index, ...]]
    sizes: Mapping[Index, Size]
    dtypes: Mapping[str, DType]
    numbers: ProductNumbers
    whole: frozenset[str]
    parts: Mapping[str, tuple[str, frozenset[str]]]

    def accesses(self, body: Program) -> list[tuple[str, Axes]]:
        """What is read and written in memory, with the indices of its axes."""
        outside = {*body.inputs, *body.outputs}
        found = [self.left, self.right, (self.product, self.result)]
        for each in (*self.before, *self.after):
            found += [(x.buffer, each.operand(k)) for k, x in enumerate(each.step.operands)]
            found.append((each.step.buffer, each.result))
        return [each for each in dict.fromkeys(found) if each[0] in outside]


def product_form(body: Program, product: str) -> ProductForm:
    """The form of a program with one contraction, whose result is ``product``; raises ``NoForm`` where it has none.

    It has none where an index of the contraction would be that of two axes of one tensor, where a step has an
    index that the contraction has not, where a dtype is one that ``DOT_DTYPES`` lacks, and where less than
    all rows or all columns are reduced.

    >>> import otus
    >>> from otus.passes.lower import lower
    >>> x, w = otus.tensor("x", (5, 6)), otus.tensor("w", (6, 7))
    >>> program = lower(otus.ir.Graph.of([otus.exp(otus.exp(x) @ w).node]))
    >>> form = product_form(program, "t1")
    >>> [each.step.buffer for each in form.before], [each.step.buffer for each in form.after]
    (['t0'], ['out0'])
    """
    call = next(each for each in body.calls if each.outputs == (product,))
    kernel = call.kernel
    assert isinstance(kernel, Contraction)
    _check(kernel, call, body)
    position = body.calls.index(call)
    before, _ = opened_steps(_part(body, body.calls[:position]))
    after, _ = opened_steps(_part(body, body.calls[position + 1 :]))
    _, dtypes = opened_steps(_part(body, [x for x in body.calls if x is not call]))
    types = {name: buffer.type for name, buffer in body.buffer_map().items()}
    sizes: dict[Index, Size] = {}
    for name, labels in zip(call.inputs, (kernel.left, kernel.right), strict=True):
        sizes.update(zip(labels, types[name].shape, strict=True))
    ties = _Ties(call, kernel, [*before, *after])
    groups = {
        "batch": kernel.batch, "rows": kernel.rows, "columns": kernel.columns, "inner": kernel.inner,
    }  # fmt: skip
    groups = {name: tuple(x for x in labels if sizes[x] != 1) for name, labels in groups.items()}
    if not (groups["rows"] and groups["columns"] and groups["inner"]):
        raise NoForm(f"a product with a vector in {kernel.text}")

    def kept(labels: Sequence[Index]) -> Axes:
        return tuple(None if sizes[x] == 1 else x for x in labels)

    def placed(step: Step, number: int) -> ProductStep:
        indices = kept_axes(ties.labels(number), step, sizes)
        return ProductStep(step, indices, _reduced_groups(step, indices, groups))

    first = tuple(placed(step, k) for k, step in enumerate(before))
    last = tuple(placed(step, k + len(before)) for k, step in enumerate(after))
    if any(each.step.reduction for each in first):
        raise NoForm("a reduction before the product")
    left, right = (call.inputs[0], kept(kernel.left)), (call.inputs[1], kept(kernel.right))
    first, left, right, numbers = _stored(first, left, right, dtypes, dtypes[product])
    return ProductForm(
        product, left, right, kept(kernel.output), first, last, groups, sizes, dtypes, numbers,
        *_whole_and_parts(last, set(body.outputs)),
    )  # fmt: skip


def _stored(
    before: tuple[ProductStep, ...],
    left: tuple[str, Axes],
    right: tuple[str, Axes],
    dtypes: Mapping[str, DType],
    product: DType,
) -> tuple[tuple[ProductStep, ...], tuple[str, Axes], tuple[str, Axes], ProductNumbers]:
    """The steps and the operands without conversions that lose nothing, where halves can be multiplied instead."""
    sides = [_unconverted(side, before, dtypes) for side in (left, right)]
    factors = factor_dtype(dtypes[sides[0][0]], dtypes[sides[1][0]], product)
    if factors in HALVES:
        left, right = sides
    made, wanted, stack = {each.step.buffer: each for each in before}, set[str](), [left[0], right[0]]
    while stack:
        name = stack.pop()
        if name in made and name not in wanted:
            wanted.add(name)
            stack += [x.buffer for x in made[name].step.operands]
    total = DType.float64 if product is DType.float64 else DType.float32
    numbers = ProductNumbers(dtypes[left[0]], dtypes[right[0]], factors, total)
    return tuple(each for each in before if each.step.buffer in wanted), left, right, numbers


def _unconverted(
    side: tuple[str, Axes], before: Sequence[ProductStep], dtypes: Mapping[str, DType]
) -> tuple[str, Axes]:
    """What an operand is a conversion of that loses nothing, or a repetition; else itself."""
    made = {each.step.buffer: each for each in before}
    while (each := made.get(side[0])) is not None and isinstance(each.step.expression, Argument):
        source = each.step.operands[each.step.expression.position].buffer
        if not can_cast_safely(dtypes[source], dtypes[side[0]]):
            break
        side = source, each.operand(each.step.expression.position)
    return side


def kept_axes(labels: Sequence[Index | None], step: Step, sizes: Mapping[Index, Size]) -> Axes:
    """The indices of a step's axes; raises ``NoForm`` for an axis that no index of the contraction is along."""
    found: list[Index | None] = []
    for label, size in zip(labels, step.sizes, strict=True):
        if size == 1:
            found.append(None)
        elif label is None or sizes[label] != size:
            raise NoForm(f"an index that the product lacks, in {step.text}")
        else:
            found.append(label)
    present = [x for x in found if x is not None]
    if len(set(present)) != len(present):
        raise NoForm(f"one index along two axes, in {step.text}")
    return tuple(found)


def _check(kernel: Contraction, call: KernelCall, body: Program) -> None:
    """Raise ``NoForm`` for what is no product of matrices of one dtype, each index with its part in it."""
    types = [body.buffer_map()[name].type.dtype for name in (*call.inputs, *call.outputs)]
    if kernel.numbers is None and (len(set(types)) != 1 or types[0] not in DOT_DTYPES):
        raise NoForm(f"a product of {types[0]} and {types[1]} that is {types[2]}")
    parts = [*kernel.batch, *kernel.rows, *kernel.columns, *kernel.inner]
    sides = ({*kernel.batch, *kernel.rows, *kernel.inner}, {*kernel.batch, *kernel.columns, *kernel.inner})
    plain = all(
        len(set(labels)) == len(labels) and set(labels) == side
        for labels, side in zip((kernel.left, kernel.right), sides, strict=True)
    )
    if not plain or len(set(parts)) != len(parts) or {*kernel.batch, *kernel.rows, *kernel.columns} != {*kernel.output}:
        raise NoForm(f"indices that are neither rows, columns nor summed in {kernel.text}")


def _part(body: Program, calls: Sequence[KernelCall]) -> Program:
    return Program(
        body.name, body.inputs, body.outputs, body.buffers, (), tuple(calls), (), body.output_names,
    )  # fmt: skip


def _reduced_groups(step: Step, indices: Axes, groups: Mapping[str, tuple[Index, ...]]) -> frozenset[str]:
    """The groups that a step reduces."""
    if step.reduction is None:
        return frozenset()
    gone = {x for axis in step.reduced if (x := indices[axis]) is not None}
    over = frozenset(name for name in ("rows", "columns") if gone & {*groups[name]})
    if gone != {x for name in over for x in groups[name]}:
        raise NoForm(f"a reduction over less than all rows or all columns, in {step.text}")
    return over


def _whole_and_parts(
    after: Sequence[ProductStep], results: set[str]
) -> tuple[frozenset[str], dict[str, tuple[str, frozenset[str]]]]:
    """The groups of which a tile must have all positions, and the results that are reduced over the others."""
    whole: set[str] = set()
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for each in after:
        last = _last(each, after, results) if each.over else None
        if last is not None and each.step.reduction in _OF_PARTS:
            found[last] = each.step.reduction, each.over
        else:
            whole |= each.over
    return frozenset(whole), {name: (how, over - whole) for name, (how, over) in found.items() if over - whole}


def _last(each: ProductStep, after: Sequence[ProductStep], results: set[str]) -> str | None:
    """The result that a reduction makes, if nothing reads it: itself, or a multiple of a sum; None where there is none.

    A multiple of a sum is the sum of multiples, but for rounding.
    """
    readers = [x for x in after if each.step.buffer in [operand.buffer for operand in x.step.operands]]
    if each.step.buffer in results:
        return None if readers else each.step.buffer
    if each.step.reduction == "sum" and len(readers) == 1 and _is_multiple(readers[0].step):
        return _last(readers[0], after, results)
    return None


def _is_multiple(step: Step) -> bool:
    """Whether a step is its only operand times a number."""
    expression = step.expression
    if len(step.operands) != 1 or step.reduction is not None:
        return False
    if not isinstance(expression, Call) or expression.function not in ("mul", "neg", "div"):
        return False
    first, *others = expression.arguments
    if expression.function == "mul" and isinstance(first, Literal):
        first, others = others[0], [first]
    return isinstance(first, Argument) and all(isinstance(x, Literal) for x in others)


class _Ties:
    """Axes of steps that are along one index, found by joining what is read with what was made."""

    def __init__(self, call: KernelCall, kernel: Contraction, steps: Sequence[Step]) -> None:
        self.parents: dict[tuple[str, int, int], tuple[str, int, int]] = {}
        self.steps = steps
        self.known: set[Index] = {*kernel.left, *kernel.right}
        made = {step.buffer: [("step", k, axis) for axis in step.result] for k, step in enumerate(steps)}
        made[call.outputs[0]] = [("index", 0, label) for label in kernel.output]
        for name, labels in zip(call.inputs, (kernel.left, kernel.right), strict=True):
            for place, label in zip(made.get(name, ()), labels, strict=name in made):
                self._join(place, ("index", 0, label))
        for k, step in enumerate(steps):
            for operand in step.operands:
                for axis, place in zip(operand.axes, made.get(operand.buffer, ()), strict=operand.buffer in made):
                    self._join(("step", k, axis), place)
        roots = [self._root(("index", 0, label)) for label in self.known]
        if len(set(roots)) != len(roots):
            raise NoForm("a tensor with one index along two axes")
        self.of_root = {self._root(("index", 0, label)): label for label in self.known}

    def labels(self, number: int) -> list[Index | None]:
        """The index that each axis of a step's space is along; None where there is none."""
        step = self.steps[number]
        return [self.of_root.get(self._root(("step", number, axis))) for axis in range(len(step.sizes))]

    def _root(self, place: tuple[str, int, int]) -> tuple[str, int, int]:
        while (parent := self.parents.get(place, place)) != place:
            place = parent
        return place

    def _join(self, one: tuple[str, int, int], other: tuple[str, int, int]) -> None:
        self.parents[self._root(one)] = self._root(other)
