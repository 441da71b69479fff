"""The reference interpreter: what every operation means, in plain NumPy, one at a time.

It is the oracle that optimised programs are compared with: slow, obvious, and independent of
the emitters.  ``REFERENCE`` has one row for each operation of ``otus.ir.operations``.

>>> from otus.ir import build, make_type
>>> a = build.input_node("A", make_type(("i", "j")))
>>> evaluate([build.sum_axes(a, [1])], {"A": [[1.0, 2.0], [3.0, 4.0]]})
[array([3., 7.])]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..ir import Node, Operation, Size, VerificationError, inputs_of, topological
from ..ir import operations as ops
from ..ir.dims import evaluate as evaluate_size
from ..ir.dtypes import to_numpy_dtype
from ..ir.errors import NamingError, ShapeError, nearest
from ..ir.graph import check_input_names
from ..ir.traverse import input_label
from .arrays import as_numpy
from .binding import bind_sizes
from .reference_linear_algebra import LINEAR_ALGEBRA_REFERENCE
from .reference_loops import evaluate_loop
from .reference_scalars import evaluate_scalar

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Context:
    """What evaluation knows beside the operands: the inputs by name, the sizes of dims, and the blocks at work."""

    values: Mapping[str, Array]
    sizes: Mapping[str, int]
    blocks: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def size(self, size: Size) -> int:
        """The integer that ``size`` is here; raises ``NamingError`` for an unbound dim."""
        return evaluate_size(size, self.sizes)

    def shape(self, sizes: Sequence[Size]) -> tuple[int, ...]:
        """The integers that ``sizes`` are here."""
        return tuple(self.size(size) for size in sizes)


Evaluator = Callable[[Any, Sequence[Array], Context], Any]
# What adds up many numbers, in float32 where they are float16: in eleven bits a sum soon stops growing.
_SUMS = (ops.Einsum, ops.Reduce, ops.CumulativeSum, ops.ScatterAdd)


def evaluate(outputs: Sequence[Node], values: Mapping[str, Any], sizes: Mapping[str, int] | None = None) -> list[Array]:
    """The values of ``outputs`` as fresh arrays of exactly their nodes' shapes and dtypes.

    ``values`` maps input names to anything :func:`otus.runtime.arrays.as_numpy` takes; names that
    no output reads are ignored.  Symbolic dims are bound from the arrays and from ``sizes``.

    Raises ``NamingError`` for a missing input or a dim without size, ``ShapeError`` and
    ``DTypeError`` where data do not fit, ``VerificationError`` for a derivative that is not
    expanded, and NumPy's ``LinAlgError`` where a factorisation does not exist.
    """
    check_input_names(outputs)
    interpreter = Interpreter(inputs_of(outputs), values, sizes)
    return [interpreter.value(node).copy() for node in outputs]


class Interpreter:
    """The values of nodes on one set of data, each evaluated once and kept.

    ``inputs`` are the tensors that nodes may read; ``disturb`` changes inputs and what
    every operation on operands but a view returns.  Raises as :func:`evaluate` does.
    """

    def __init__(
        self,
        inputs: Sequence[Node],
        values: Mapping[str, Any],
        sizes: Mapping[str, int] | None = None,
        disturb: Callable[[Array], Array] | None = None,
    ) -> None:
        arrays = [_given(node, values) for node in inputs]
        named = {input_label(node): array for node, array in zip(inputs, arrays, strict=True)}
        self._context = Context(named, bind_sizes(inputs, arrays, sizes))
        self._disturb = disturb
        self._known: dict[Node, Array] = {}

    def value(self, node: Node) -> Array:
        """The value of a node, which belongs to the interpreter: copy it before writing to it."""
        with np.errstate(all="ignore"):
            stack = [node]
            while stack:
                missing = [x for x in stack[-1].operands if x not in self._known]
                if missing:
                    stack += missing
                else:
                    part = stack.pop()
                    if part not in self._known:
                        self._known[part] = self._evaluate(part)
        return self._known[node]

    def _evaluate(self, node: Node) -> Array:
        value = _evaluate_node(node, [self._known[x] for x in node.operands], self._context)
        made = bool(node.operands) or isinstance(node.op, ops.Input)
        return self._disturb(value) if self._disturb is not None and made and not node.op.view else value


def _given(node: Node, values: Mapping[str, Any]) -> Array:
    label = input_label(node)
    if label not in values:
        hint = nearest(label, values) or f"; given are {', '.join(values) or 'none'}"
        raise NamingError(f"tensor {label!r} of type {node.type} has no value{hint}")
    return as_numpy(values[label], node.type, label)


def _evaluate_node(node: Node, operands: Sequence[Array], context: Context) -> Array:
    if type(node.op) not in REFERENCE:
        raise VerificationError(
            f"the reference interpreter has no rule for {node.op.name!r}; "
            f"it has {', '.join(cls.name for cls in REFERENCE)}"
        )
    if isinstance(node.op, _SUMS):
        operands = [x.astype(np.float32) if x.dtype == np.float16 else x for x in operands]
    value = np.asarray(REFERENCE[type(node.op)](node.op, operands, context))
    expected = context.shape(node.type.shape)
    if value.shape != expected:
        raise VerificationError(f"{node.op.name} of type {node.type} has shape {value.shape}, not {expected}")
    return value.astype(to_numpy_dtype(node.type.dtype), copy=False)


# --- leaves ------------------------------------------------------------------------------------


def _input(op: ops.Input, operands: Sequence[Array], context: Context) -> Array:
    return context.values[op.label]


def _constant(op: ops.Constant, operands: Sequence[Array], context: Context) -> Array:
    return op.array


def _delta(op: ops.Delta, operands: Sequence[Array], context: Context) -> Array:
    return np.eye(context.size(op.size))


def _iota(op: ops.Iota, operands: Sequence[Array], context: Context) -> Array:
    return np.arange(context.size(op.size))


def _extent(op: ops.Extent, operands: Sequence[Array], context: Context) -> Array:
    return np.asarray(context.size(op.size))


# --- arithmetic --------------------------------------------------------------------------------


def _einsum(op: ops.Einsum, operands: Sequence[Array], context: Context) -> Array:
    """Multiply the operands up from the left; sum an index once nothing further names it.

    Each step is one plain ``np.einsum`` over at most two arrays with its own letters, so that the
    number of indices of the whole is not limited.
    """
    value, labels = operands[0], op.inputs[0]
    for position in range(len(operands)):
        later = {x for names in op.inputs[position + 1 :] for x in names} | set(op.output)
        arrays, names = [value], [labels]
        if position > 0:
            arrays, names = [value, operands[position]], [labels, op.inputs[position]]
        labels = tuple(dict.fromkeys(x for part in names for x in part if x in later))
        value = _einsum_step(arrays, names, labels)
    return _einsum_step([value], [labels], op.output)


def _einsum_step(arrays: Sequence[Array], inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> Array:
    local: dict[int, int] = {}
    arguments: list[Any] = []
    for array, labels in zip(arrays, inputs, strict=True):
        arguments += [array, [local.setdefault(x, len(local)) for x in labels]]
    return np.asarray(np.einsum(*arguments, [local[x] for x in output], optimize=False))


def _align(array: Array, axes: Sequence[int], rank: int) -> Array:
    """``array`` with its axis ``k`` at place ``axes[k]`` of ``rank`` axes, the others of size 1."""
    ordered = array.transpose([list(axes).index(axis) for axis in sorted(axes)])
    sizes = dict(zip(axes, array.shape, strict=True))
    return ordered.reshape([sizes.get(axis, 1) for axis in range(rank)])


def _map(op: ops.Map, operands: Sequence[Array], context: Context) -> Array:
    aligned = [_align(x, axes, op.rank) for x, axes in zip(operands, op.inputs, strict=True)]
    shape = np.broadcast_shapes(*(x.shape for x in aligned))
    return np.broadcast_to(evaluate_scalar(op.expression, aligned), shape)


def _linear_combination(op: ops.LinearCombination, operands: Sequence[Array], context: Context) -> Array:
    terms = []
    for coefficient, x, axes in zip(op.coefficients, operands, op.inputs, strict=True):
        if x.dtype.kind in "iu" and coefficient != int(coefficient.real):
            raise VerificationError(f"linear_combination: coefficient {coefficient} does not fit dtype {x.dtype}")
        terms.append(np.asarray(coefficient).astype(x.dtype) * _align(x, axes, op.rank))
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _reduce(op: ops.Reduce, operands: Sequence[Array], context: Context) -> Any:
    (x,) = operands
    if op.kind == "logsumexp":
        return _logsumexp(x, op.axes)
    if op.kind == "shift":
        largest = np.max(x, axis=op.axes, initial=-np.inf)
        return np.where(np.isfinite(largest), largest, 0)
    if op.kind in ("any", "all"):
        return (np.any if op.kind == "any" else np.all)(x != 0, axis=op.axes)
    if op.kind == "prod":
        return np.prod(x, axis=op.axes, dtype=x.dtype)
    if any(x.shape[axis] == 0 for axis in op.axes):
        raise ShapeError(
            f"{op.kind} over axes {op.axes} of shape {x.shape} has no value; sizes of at least 1 are accepted"
        )
    return (np.max if op.kind == "max" else np.min)(x, axis=op.axes)


def _logsumexp(x: Array, axes: tuple[int, ...]) -> Array:
    """log Σ exp(x), shifted by the largest element where that is finite; -inf for no elements."""
    largest = np.max(x, axis=axes, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(largest), largest, 0).astype(x.dtype)
    total = np.sum(np.exp(x - shift), axis=axes, keepdims=True, dtype=x.dtype)
    return np.asarray(np.squeeze(np.log(total) + shift, axis=axes))


def _cumulative_sum(op: ops.CumulativeSum, operands: Sequence[Array], context: Context) -> Array:
    (x,) = operands
    if op.reverse:
        return np.flip(np.cumsum(np.flip(x, op.axis), op.axis, dtype=x.dtype), op.axis)
    return np.cumsum(x, op.axis, dtype=x.dtype)


def _cast(op: ops.Cast, operands: Sequence[Array], context: Context) -> Array:
    (x,) = operands
    target = to_numpy_dtype(op.dtype)
    return (x.real if x.dtype.kind == "c" and target.kind not in "cb" else x).astype(target)


# --- movement ----------------------------------------------------------------------------------


def _broadcast(op: ops.Broadcast, operands: Sequence[Array], context: Context) -> Array:
    return np.broadcast_to(_align(operands[0], op.axes, len(op.shape)), context.shape(op.shape))


def _reshape(op: ops.Reshape, operands: Sequence[Array], context: Context) -> Array:
    return operands[0].reshape(context.shape(op.shape))


def _places(
    op: ops.Slice | ops.Pad, sizes: Sequence[int], extents: Sequence[int], context: Context
) -> tuple[Array, ...]:
    """Open-mesh indices of the elements at ``starts + k·steps``; raises ``ShapeError`` outside."""
    places = []
    for axis, (size, extent) in enumerate(zip(sizes, extents, strict=True)):
        place = context.size(op.starts[axis]) + op.steps[axis] * np.arange(size)
        if size < 0 or np.any((place < 0) | (place >= extent)):
            raise ShapeError(
                f"{op.name}: {size} positions from {context.size(op.starts[axis])} in steps of "
                f"{op.steps[axis]} are not all inside axis {axis} of size {extent}"
            )
        places.append(place)
    return np.ix_(*places)


def _slice(op: ops.Slice, operands: Sequence[Array], context: Context) -> Any:
    (x,) = operands
    return x[_places(op, context.shape(op.sizes), x.shape, context)]


def _pad(op: ops.Pad, operands: Sequence[Array], context: Context) -> Array:
    (x,) = operands
    result = np.zeros(context.shape(op.shape), x.dtype)
    result[_places(op, x.shape, result.shape, context)] = x
    return result


def _concatenate(op: ops.Concatenate, operands: Sequence[Array], context: Context) -> Array:
    return np.concatenate(list(operands), op.axis)


def _checked_indices(op: ops.Take | ops.ScatterAdd, x: Array, indices: Array) -> Array:
    """Indices from 0; negative ones count from the end, others outside raise ``ShapeError``."""
    size = x.shape[op.axis]
    outside = indices[(indices < -size) | (indices >= size)]
    if outside.size:
        accepted = f"{-size} to {size - 1} are accepted" if size else "an empty axis accepts none"
        raise ShapeError(f"{op.name}: index {outside[0]} is outside axis {op.axis} of size {size}; {accepted}")
    places = indices.astype(np.int64)
    return np.where(places < 0, places + size, places)


def _take(op: ops.Take, operands: Sequence[Array], context: Context) -> Array:
    x, indices = operands
    return np.take(x, _checked_indices(op, x, indices), op.axis)


def _scatter_add(op: ops.ScatterAdd, operands: Sequence[Array], context: Context) -> Array:
    x, indices, updates = operands
    result = x.copy()
    places: Any = (slice(None),) * op.axis + (_checked_indices(op, x, indices),)
    np.add.at(result, places, updates)
    return result


def _blockwise(op: ops.Blockwise, operands: Sequence[Array], context: Context) -> Array:
    def evaluate_body(body: Sequence[Node], parts: Mapping[str, Array], block: tuple[int, int]) -> list[Array]:
        sizes = {**context.sizes, op.symbol: block[1] - block[0]}
        inner = Context(parts, sizes, {**context.blocks, op.symbol: block})
        known: dict[Node, Array] = {}
        for node in topological(body):
            known[node] = _evaluate_node(node, [known[x] for x in node.operands], inner)
        return [known[node] for node in body]

    return evaluate_loop(op, operands, context.size(op.size), context.blocks, evaluate_body)


def _derivative(op: ops.Derivative, operands: Sequence[Array], context: Context) -> Array:
    raise VerificationError(
        f"a {op.kind} is still in the graph, and the reference interpreter differentiates nothing; "
        "expand derivatives first (pass 'expand')"
    )


REFERENCE: dict[type[Operation], Evaluator] = {
    ops.Input: _input,
    ops.Constant: _constant,
    ops.Delta: _delta,
    ops.Iota: _iota,
    ops.Extent: _extent,
    ops.Einsum: _einsum,
    ops.Map: _map,
    ops.LinearCombination: _linear_combination,
    ops.Reduce: _reduce,
    ops.CumulativeSum: _cumulative_sum,
    ops.Cast: _cast,
    ops.Broadcast: _broadcast,
    ops.Reshape: _reshape,
    ops.Slice: _slice,
    ops.Pad: _pad,
    ops.Concatenate: _concatenate,
    ops.Take: _take,
    ops.ScatterAdd: _scatter_add,
    ops.Derivative: _derivative,
    ops.Blockwise: _blockwise,
    **LINEAR_ALGEBRA_REFERENCE,
}
