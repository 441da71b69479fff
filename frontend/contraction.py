"""Products of tensors that are contractions: matmul, dot, tensordot and their kin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir import Node, ShapeError, build
from ..ir.types import shape_text
from .axes import normalise_axis
from .broadcasting import as_nodes, broadcast_shapes, operand
from .einsum import contract, einsum
from .expression import Expression, TensorLike, as_expression, as_node


def _pair(x: TensorLike, y: TensorLike) -> tuple[Node, Node]:
    first, second = as_nodes([operand(x), operand(y)])
    return first, second


def _contract(nodes: Sequence[Node], labels: Sequence[Sequence[Any]], output: Sequence[Any]) -> Expression:
    terms = [item for pair in zip(map(Expression.of, nodes), map(list, labels), strict=True) for item in pair]
    return einsum(*terms, list(output))


def _mismatch(name: str, x: Node, y: Node, first: Any, second: Any) -> ShapeError:
    return ShapeError(
        f"{name}: shapes {shape_text(x.type.shape)} and {shape_text(y.type.shape)} do not fit: the summed "
        f"axes have sizes {first} and {second}"
    )


def matmul(x: TensorLike, y: TensorLike) -> Expression:
    """``x @ y``: the matrix product of the last two axes, batched over the others."""
    a, b = _pair(x, y)
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError("matmul takes no scalars; use * instead")
    inner = b.type.shape[-2 if b.ndim > 1 else 0]
    if a.type.shape[-1] != inner:
        raise _mismatch("matmul", a, b, a.type.shape[-1], inner)
    rank = len(broadcast_shapes([a.type.shape[:-2], b.type.shape[:-2]]))
    batch_a = [f"batch{k}" for k in range(rank - max(a.ndim - 2, 0), rank)]
    batch_b = [f"batch{k}" for k in range(rank - max(b.ndim - 2, 0), rank)]
    rows = ["row"] if a.ndim > 1 else []
    columns = ["column"] if b.ndim > 1 else []
    output = [*(f"batch{k}" for k in range(rank)), *rows, *columns]
    return _contract([a, b], [[*batch_a, *rows, "sum"], [*batch_b, "sum", *columns]], output)


def dot(x: TensorLike, y: TensorLike) -> Expression:
    """The sum over the last axis of ``x`` and the second-last (or only) axis of ``y``, as in NumPy."""
    a, b = _pair(x, y)
    if a.ndim == 0 or b.ndim == 0:
        return as_expression(x) * y
    summed = b.ndim - 2 if b.ndim > 1 else 0
    return _tensordot("dot", a, b, [a.ndim - 1], [summed])


def tensordot(x: TensorLike, y: TensorLike, axes: Any = 2) -> Expression:
    """The sum over paired axes: the last ``axes`` of ``x`` with the first of ``y``, or two lists."""
    a, b = _pair(x, y)
    if hasattr(axes, "__index__"):
        count = int(axes)
        if not 0 <= count <= min(a.ndim, b.ndim):
            raise ShapeError(f"tensordot: axes={count}, but the operands have {a.ndim} and {b.ndim} axes")
        return _tensordot("tensordot", a, b, list(range(a.ndim - count, a.ndim)), list(range(count)))
    left, right = ([item] if hasattr(item, "__index__") else list(item) for item in axes)
    if len(left) != len(right):
        raise ShapeError(f"tensordot: {len(left)} axes of x cannot pair with {len(right)} axes of y")
    return _tensordot(
        "tensordot", a, b, [normalise_axis(k, a.ndim) for k in left], [normalise_axis(k, b.ndim) for k in right]
    )


def _tensordot(name: str, a: Node, b: Node, left: Sequence[int], right: Sequence[int]) -> Expression:
    labels_a: list[Any] = [("a", k) for k in range(a.ndim)]
    labels_b: list[Any] = [("b", k) for k in range(b.ndim)]
    for k, m in zip(left, right, strict=True):
        if a.type.shape[k] != b.type.shape[m]:
            raise _mismatch(name, a, b, a.type.shape[k], b.type.shape[m])
        labels_b[m] = labels_a[k]
    output = [x for x in labels_a if x not in labels_b] + [x for x in labels_b if x not in labels_a]
    return Expression.of(contract([a, b], [labels_a, labels_b], output))


def vdot(x: TensorLike, y: TensorLike) -> Expression:
    """The sum of ``conj(x) * y`` over all elements of two tensors of one size."""
    from .elementwise import conj
    from .shaping import reshape

    a, b = reshape(conj(x), -1), reshape(y, -1)
    if a.shape != b.shape:
        raise _mismatch("vdot", as_node(x), as_node(y), a.shape[0], b.shape[0])
    return dot(a, b)


def outer(x: TensorLike, y: TensorLike) -> Expression:
    """``out[i, j] = x[i] * y[j]`` of the flattened operands."""
    from .shaping import reshape

    return reshape(x, (-1, 1)) * reshape(y, (1, -1))


def kron(x: TensorLike, y: TensorLike) -> Expression:
    """The Kronecker product; the operand of lower rank gets leading axes of size 1."""
    a, b = _pair(x, y)
    rank = max(a.ndim, b.ndim)
    a = build.reshape(a, (1,) * (rank - a.ndim) + a.type.shape)
    b = build.reshape(b, (1,) * (rank - b.ndim) + b.type.shape)
    interleaved = [axis for k in range(rank) for axis in (k, rank + k)]
    paired = contract([a, b], [range(rank), range(rank, 2 * rank)], interleaved)
    shape = [m * n for m, n in zip(a.type.shape, b.type.shape, strict=True)]
    return Expression.of(build.reshape(paired, shape))


def trace(x: TensorLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Expression:
    """The sum of the diagonal of two axes."""
    from .reductions import sum

    return sum(diagonal(x, offset, axis1, axis2), -1)


def diagonal(x: TensorLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Expression:
    """The diagonal of two axes, ``offset`` above it, as the last axis of the result."""
    from ..ir.dims import maximum, minimum

    node = as_node(x)
    if node.ndim < 2:
        raise ShapeError(f"a diagonal needs two axes, not shape {shape_text(node.type.shape)}")
    first, second = normalise_axis(axis1, node.ndim), normalise_axis(axis2, node.ndim)
    if first == second:
        raise ShapeError(f"a diagonal needs two different axes, not {axis1} twice")
    starts = [0] * node.ndim
    starts[second if offset > 0 else first] = abs(offset)
    sizes = list(node.type.shape)
    length = maximum(0, minimum(sizes[first] - starts[first], sizes[second] - starts[second]))
    sizes[first] = sizes[second] = length
    if length == 0:
        starts = [0] * node.ndim
    square = build.slice_node(node, starts, sizes, [1] * node.ndim)
    labels = [first if k == second else k for k in range(node.ndim)]
    return Expression.of(
        contract([square], [labels], [k for k in range(node.ndim) if k not in (first, second)] + [first])
    )


def diag(x: TensorLike, k: int = 0) -> Expression:
    """The matrix with ``x`` on its ``k``-th diagonal, or the ``k``-th diagonal of a matrix ``x``."""
    node = as_node(x)
    if node.ndim == 2:
        return diagonal(x, k)
    if node.ndim != 1:
        raise ShapeError(f"diag takes a vector or a matrix, not shape {shape_text(node.type.shape)}")
    embedded = contract([node], [[0]], [0, 0])
    size = node.type.shape[0] + abs(k)
    return Expression.of(build.pad_node(embedded, (max(-k, 0), max(k, 0)), (size, size), (1, 1)))
