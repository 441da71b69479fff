"""Functions that make nodes in normal form.

Each does the little that makes equal things the same object (canonical index names, identities
dropped); everything that needs a choice is a pass.  None looks through its operands: any node may be
the point of a derivative, so what is built from it must read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .dims import Size
from .dtypes import DType, to_numpy_dtype
from .node import Node, label_sizes, make
from .operations import (
    Broadcast,
    Cast,
    Constant,
    Delta,
    Einsum,
    Extent,
    Input,
    Iota,
    LinearCombination,
    Map,
    Operation,
    Pad,
    Reduce,
    Reshape,
    Slice,
)
from .operations.algebra import IndexLists
from .scalar import (
    Argument,
    Number,
    Scalar,
    argument,
    call,
    canonical_number,
    infer_dtype,
    substitute_arguments,
    used_arguments,
)
from .types import TensorType

Labels = Sequence[int]


def input_node(label: str, type: TensorType) -> Node:
    """The tensor that the caller gives under the name ``label``."""
    return make(Input(label, type))


def constant(value: Any, dtype: DType | None = None) -> Node:
    """A tensor known in advance, from a number or an array; of a dtype that NumPy has not, a cast of one."""
    if dtype is not None and not dtype.in_numpy:
        return cast(make(Constant.of(np.asarray(value, np.float64))), dtype)
    array = np.asarray(value, None if dtype is None else to_numpy_dtype(dtype))
    return make(Constant.of(array))


def full(shape: Sequence[Size], value: Number, dtype: DType) -> Node:
    """A tensor whose elements are all ``value``."""
    return broadcast(constant(value, dtype), (), shape)


def zeros_like(node: Node) -> Node:
    """Zeros of the shape and dtype of ``node``."""
    return full(node.type.shape, 0, node.type.dtype)


def constant_value(node: Node) -> Number | None:
    """The number that every element of ``node`` is, when that is known, else None."""
    while isinstance(node.op, (Broadcast, Reshape, Slice, Cast)):
        if isinstance(node.op, Cast) and node.op.dtype.kind != node.operands[0].type.dtype.kind:
            return None
        node = node.operands[0]
    if isinstance(node.op, Constant) and node.op.array.size == 1:
        return node.op.array.item()  # type: ignore[no-any-return]
    return None


def delta(size: Size, dtype: DType) -> Node:
    """The identity matrix."""
    return make(Delta(size, dtype))


def iota(size: Size, dtype: DType = DType.int64) -> Node:
    """The integers from 0."""
    return make(Iota(size, dtype))


def extent(size: Size, dtype: DType) -> Node:
    """A size as a scalar of ``dtype``; a constant where the size is known."""
    return constant(size, dtype) if isinstance(size, int) else make(Extent(size, dtype))


def einsum(operands: Sequence[Node], inputs: Sequence[Labels], output: Labels) -> Node:
    """The sum of products; labels are any integers, renamed in order of appearance."""
    if len(operands) == 1 and tuple(inputs[0]) == tuple(output) and len(set(output)) == len(output):
        return operands[0]
    names: dict[int, int] = {}
    canonical: IndexLists = tuple(tuple(names.setdefault(x, len(names)) for x in labels) for labels in inputs)
    return make(Einsum(canonical, tuple(names.get(x, -1) for x in output)), *operands)


def contract(
    operands: Sequence[Node], inputs: Sequence[Labels], output: Labels, sizes: Mapping[int, Size] | None = None
) -> Node:
    """An einsum whose output may also repeat an index or name one that no operand has.

    A repeated index embeds a diagonal, through a delta; a missing one (its size in ``sizes``)
    broadcasts.
    """
    known = {**(sizes or {}), **label_sizes(operands, inputs)}
    present = {label for labels in inputs for label in labels}
    nodes, terms, result, kept, axes = list(operands), list(inputs), [], [], []
    fresh = max([*known, *output, 0]) + 1
    for axis, label in enumerate(output):
        if label in output[:axis]:
            nodes.append(delta(known[label], operands[0].type.dtype))
            terms.append((label, fresh + axis))
            present |= {label, fresh + axis}
            result.append(fresh + axis)
        else:
            result.append(label)
    for axis, label in enumerate(result):
        if label in present:
            kept.append(label)
            axes.append(axis)
    shape = [known[label] for label in output]
    return broadcast(einsum(nodes, terms, kept), axes, shape)


def transpose(node: Node, order: Labels) -> Node:
    """Axes of ``node`` in a new order: result axis ``k`` is axis ``order[k]``."""
    return einsum([node], [range(node.ndim)], order)


def sum_axes(node: Node, axes: Iterable[int]) -> Node:
    """The sum over ``axes``."""
    gone = set(axes)
    return einsum([node], [range(node.ndim)], [axis for axis in range(node.ndim) if axis not in gone])


def multiply(*operands: Node) -> Node:
    """The elementwise product of operands of one shape."""
    labels = range(operands[0].ndim)
    return einsum(operands, [labels] * len(operands), labels)


def map_node(
    expression: Scalar, operands: Sequence[Node], inputs: Sequence[Labels] | None = None, rank: int | None = None
) -> Node:
    """Apply ``expression`` elementwise; without ``inputs`` the operands share one shape.

    Operands that occur twice are read once, operands that the expression does not read are
    dropped, and axes that no operand has left are broadcast.
    """
    if rank is None:
        rank = operands[0].ndim
    labels = [tuple(x) for x in inputs] if inputs is not None else [tuple(range(rank))] * len(operands)
    sizes = label_sizes(operands, labels)
    if not used_arguments(expression):
        # Literals alone: the same value everywhere, computed once from a 1 of the right dtype.
        one = constant(1, infer_dtype(expression, []))
        scalar = make(Map(call("mul", expression, argument(0)), ((),), 0), one)
        return broadcast(scalar, (), [sizes[axis] for axis in range(rank)])
    kept: dict[tuple[Node, tuple[int, ...]], int] = {}
    values: list[Scalar] = [argument(0)] * len(operands)
    for position in used_arguments(expression):
        place = kept.setdefault((operands[position], labels[position]), len(kept))
        values[position] = argument(place)
    expression = substitute_arguments(expression, values)
    covered = sorted({axis for _, names in kept for axis in names})
    renamed = tuple(tuple(covered.index(axis) for axis in names) for _, names in kept)
    aligned = covered == list(range(rank))
    if isinstance(expression, Argument) and (not renamed or renamed[0] == tuple(range(len(covered)))):
        result = next(iter(kept))[0]
    else:
        result = make(Map(expression, renamed, len(covered)), *(x for x, _ in kept))
    return result if aligned else broadcast(result, covered, [sizes[axis] for axis in range(rank)])


def apply(function: str, *operands: Node) -> Node:
    """Apply a scalar function to operands of one shape."""
    return map_node(call(function, *(argument(k) for k in range(len(operands)))), operands)


def conjugate(node: Node) -> Node:
    """The complex conjugate; ``node`` itself where it is real."""
    return apply("conj", node) if node.type.dtype.kind == "complex" else node


def linear_combination(
    coefficients: Sequence[Number],
    operands: Sequence[Node],
    inputs: Sequence[Labels] | None = None,
    rank: int | None = None,
    keep: bool = False,
) -> Node:
    """The sum of ``coefficients[k] · operands[k]``; equal operands are collected.

    Coefficients take the operands' kind of number, and terms whose coefficient is 0 vanish, unless
    ``keep``: what a user wrote goes on reading its tensors, and so knows their sizes.
    """
    if rank is None:
        rank = operands[0].ndim
    dtype = operands[0].type.dtype
    labels = [tuple(x) for x in inputs] if inputs is not None else [tuple(range(rank))] * len(operands)
    collected: dict[tuple[Node, tuple[int, ...]], Number] = {}
    for coefficient, operand, names in zip(coefficients, operands, labels, strict=True):
        key = (operand, names)
        collected[key] = collected.get(key, 0) + coefficient
    sizes = label_sizes(operands, labels)
    shape = [sizes[axis] for axis in range(rank)]
    terms = [(k, number_of_kind(c, dtype)) for k, c in collected.items() if keep or c != 0]
    if not terms:
        return full(shape, 0, dtype)
    covered = sorted({axis for (_, names), _ in terms for axis in names})
    renamed = tuple(tuple(covered.index(axis) for axis in names) for (_, names), _ in terms)
    if len(terms) == 1 and terms[0][1] == 1 and renamed[0] == tuple(range(len(covered))):
        result = terms[0][0][0]
    else:
        op = LinearCombination(tuple(c for _, c in terms), renamed, len(covered))
        result = make(op, *(x for (x, _), _ in terms))
    return result if len(covered) == rank else broadcast(result, covered, shape)


def number_of_kind(value: Number, dtype: DType) -> Number:
    """``value`` as the Python number that elements of ``dtype`` are."""
    if dtype.kind == "complex":
        return canonical_number(complex(value))
    if dtype.kind == "float":
        return canonical_number(float(value.real))
    return int(value.real)


def add(*operands: Node) -> Node:
    """The sum of operands of one shape and dtype."""
    return operands[0] if len(operands) == 1 else linear_combination([1] * len(operands), operands)


def scale(factor: Number, node: Node) -> Node:
    """``factor · node``."""
    return linear_combination([factor], [node])


def broadcast(node: Node, axes: Labels, shape: Sequence[Size]) -> Node:
    """Repeat ``node`` along new axes; its axis ``k`` becomes axis ``axes[k]`` of ``shape``."""
    if tuple(axes) == tuple(range(len(shape))):
        return node
    return make(Broadcast(tuple(axes), tuple(shape)), node)


def reshape(node: Node, shape: Sequence[Size]) -> Node:
    """The same elements in row-major order under another shape."""
    if tuple(shape) == node.type.shape:
        return node
    return make(Reshape(tuple(shape)), node)


def cast(node: Node, dtype: DType) -> Node:
    """The same values in another dtype."""
    if node.type.dtype is dtype:
        return node
    return make(Cast(dtype), node)


def slice_node(node: Node, starts: Sequence[Size], sizes: Sequence[Size], steps: Sequence[int]) -> Node:
    """Strided ranges along every axis; the whole tensor is ``node`` itself."""
    if tuple(sizes) == node.type.shape and not any(starts) and all(step == 1 for step in steps):
        return node
    return make(Slice(tuple(starts), tuple(sizes), tuple(steps)), node)


def pad_node(node: Node, starts: Sequence[Size], shape: Sequence[Size], steps: Sequence[int]) -> Node:
    """Zeros of ``shape`` around the elements of ``node``."""
    if tuple(shape) == node.type.shape and not any(starts) and all(step == 1 for step in steps):
        return node
    return make(Pad(tuple(starts), tuple(shape), tuple(steps)), node)


def reduce_node(kind: str, node: Node, axes: Iterable[int]) -> Node:
    """Reduce over ``axes``; over none, the result is ``node`` itself where that is its value."""
    gone = tuple(sorted(axes))
    if not gone and kind in ("max", "min", "prod", "logsumexp"):
        return node
    return make(Reduce(kind, gone), node)


def apply_operation(op: Operation, operands: Sequence[Node]) -> Node:
    """``op`` on ``operands``, in the normal form that the functions of this module give."""
    match op:
        case Einsum(inputs=inputs, output=output):
            return einsum(operands, inputs, output)
        case Map(expression=expression, inputs=inputs, rank=rank):
            return map_node(expression, operands, inputs, rank)
        case LinearCombination(coefficients=coefficients, inputs=inputs, rank=rank):
            return linear_combination(coefficients, operands, inputs, rank)
        case Broadcast(axes=axes, shape=shape):
            return broadcast(operands[0], axes, shape)
        case Reshape(shape=shape):
            return reshape(operands[0], shape)
        case Cast(dtype=dtype):
            return cast(operands[0], dtype)
    return make(op, *operands)
