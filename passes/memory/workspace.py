"""What kernels allocate beside their results, as array libraries without fusion carry them out.

These are upper bounds: NumPy reuses some temporaries, and writes some results in place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ...ir import operations as ops
from ...ir.dims import evaluate
from ...ir.evaluation import elementwise_form, evaluation
from ...ir.kernels import Contraction, DiagonalUpdate, Direct, Factorisation, Rearrangement
from ...ir.program import Buffer, KernelCall
from ...ir.scalar import Argument, Call, Scalar, postorder
from ...ir.types import TensorType

# Arrays of the operand's size that a scalar function has at once within itself, beside its result.
_WITHIN = {"sigmoid": 3, "softplus": 3, "erf": 8, "erfc": 8, "rsqrt": 1, "relu": 1, "where": 1}
# Copies of its matrix that a LAPACK routine works on, its own workspace counted as more of them.
_MATRIX_COPIES: dict[type[ops.Operation], int] = {
    ops.Inverse: 2, ops.Solve: 1, ops.Cholesky: 1, ops.Determinant: 1, ops.SignedLogDeterminant: 1,
    ops.HermitianEigen: 4, ops.QR: 2, ops.SVD: 5, ops.PseudoInverse: 6, ops.LeastSquares: 6,
}  # fmt: skip

# NumPy's iterators have buffers of so many elements, and none for so few indices.
_BUFFER_ELEMENTS = 8192
_MERGING_INDICES = 3


def workspace(call: KernelCall, buffers: Mapping[str, Buffer], strided: set[str], sizes: Mapping[str, int]) -> int:
    """The most bytes that a call has allocated at once beside its results.

    ``strided`` are the buffers whose axes do not all merge: views that skip elements.
    """
    return _own(call, buffers, strided, sizes) + _iterator(call, buffers, strided, sizes)


def _iterator(call: KernelCall, buffers: Mapping[str, Buffer], strided: set[str], sizes: Mapping[str, int]) -> int:
    """The buffers through which NumPy runs over operands of which one is strided."""
    products = isinstance(call.kernel, Contraction) and call.kernel.method == "product"
    runs = products or isinstance(call.kernel, (Rearrangement, Direct))
    if not runs or buffers[call.outputs[0]].base is not None or strided.isdisjoint(call.inputs):
        return 0
    types = [buffers[name].type for name in (*call.inputs, *call.outputs)]
    elements = max(_count([evaluate(size, sizes) for size in type.shape]) for type in types)
    return len(call.inputs) * min(elements, _BUFFER_ELEMENTS) * max(type.dtype.bits // 8 for type in types)


def _own(call: KernelCall, buffers: Mapping[str, Buffer], strided: set[str], sizes: Mapping[str, int]) -> int:
    operands = [buffers[name] for name in call.inputs]
    nbytes = [tensor_bytes(operand.type, sizes) for operand in operands]
    match call.kernel:
        case Contraction() as kernel:
            packed = kernel.packed if call.scratch is None else ()
            copied = {*packed, *_unmerged(kernel, call, strided)}
            parts = tensor_bytes(buffers[call.outputs[0]].type, sizes) * _points(kernel.split, kernel, operands, sizes)
            copies = sum(nbytes[k] for k in copied) + _buffering(kernel, operands, sizes)
            return copies + (parts if kernel.split else 0)
        case Factorisation(operation=operation):
            return _MATRIX_COPIES[type(operation)] * nbytes[0]
        case DiagonalUpdate(terms=terms):
            result = buffers[call.outputs[0]].type
            return max(2 * _diagonal_bytes(term.output, result, sizes) for term in terms)
        case Direct() if call.scratch is not None:
            return _conditions(call, operands, buffers[call.outputs[0]].type, sizes)
        case Direct(operation=operation):
            return _direct(operation, nbytes, tensor_bytes(buffers[call.outputs[0]].type, sizes), operands, sizes)
    return 0


def _conditions(call: KernelCall, operands: Sequence[Buffer], result: TensorType, sizes: Mapping[str, int]) -> int:
    """The arrays of booleans of a kernel that is carried out function by function."""
    form = elementwise_form(call.kernel)
    assert form is not None
    found = evaluation(form, [operand.type.dtype for operand in operands], result.dtype)
    return 0 if found is None else found.conditions * _count([evaluate(size, sizes) for size in result.shape])


def _diagonal_bytes(output: Sequence[int], type: TensorType, sizes: Mapping[str, int]) -> int:
    """Bytes of the elements of a tensor at which equal labels have equal positions."""
    extents = {label: evaluate(size, sizes) for label, size in zip(output, type.shape, strict=True)}
    return _count(list(extents.values())) * max(type.dtype.bits // 8, 1)


def tensor_bytes(type: TensorType, sizes: Mapping[str, int]) -> int:
    """Bytes of the elements of a dense tensor at these sizes."""
    return math.prod(evaluate(size, sizes) for size in type.shape) * max(type.dtype.bits // 8, 1)


def _unmerged(kernel: Contraction, call: KernelCall, strided: set[str]) -> list[int]:
    """The operands that are copied to merge axes which are planned to be neighbours and are not."""
    if kernel.method != "matrix":
        return []
    merged = any(len([x for x in group if x not in kernel.looped]) > 1
                 for group in (kernel.rows, kernel.columns, kernel.inner))  # fmt: skip
    return [k for k, name in enumerate(call.inputs) if merged and name in strided]


def _points(labels: Sequence[int], kernel: Contraction, operands: Sequence[Buffer], sizes: Mapping[str, int]) -> int:
    """The points that indices of a contraction span."""
    extents = _extents(kernel, operands, sizes)
    return math.prod(extents[label] for label in labels)


def _extents(kernel: Contraction, operands: Sequence[Buffer], sizes: Mapping[str, int]) -> dict[int, int]:
    return {
        label: evaluate(size, sizes)
        for labels, buffer in zip((kernel.left, kernel.right), operands, strict=True)
        for label, size in zip(labels, buffer.type.shape, strict=True)
    }


def _buffering(kernel: Contraction, operands: Sequence[Buffer], sizes: Mapping[str, int]) -> int:
    """What ``einsum`` copies piece by piece, where indices are many and do not merge."""
    extents = _extents(kernel, operands, sizes)
    if kernel.method != "sum" or len(extents) <= _MERGING_INDICES:
        return 0
    itemsize = max(operands[0].type.dtype.bits // 8, 1)
    return len(operands) * min(_count(list(extents.values())), _BUFFER_ELEMENTS) * itemsize


def _direct(
    op: ops.Operation, operands: Sequence[int], result: int, buffers: Sequence[Buffer], sizes: Mapping[str, int]
) -> int:
    match op:
        case ops.Map(expression=expression, inputs=inputs):
            shape = [1] * op.rank
            for labels, buffer in zip(inputs, buffers, strict=True):
                for axis, size in zip(labels, buffer.type.shape, strict=True):
                    shape[axis] = evaluate(size, sizes)
            widest = max([result, *(_full(shape, buffer) for buffer in buffers)])
            return _map_workspace(expression, inputs, shape, widest // max(_count(shape), 1)) - result
        case ops.LinearCombination(coefficients=coefficients):
            scaled = sum(abs(c) != 1 for c in coefficients)
            return min(len(coefficients) - 1, scaled > 0) * result + (len(coefficients) > 2) * result
        case ops.Reduce(kind="logsumexp"):
            return operands[0] + 4 * result
        case ops.Reduce(kind="shift"):
            return 3 * result
        case ops.Take():
            return operands[1]
        case _ if type(op) in _MATRIX_COPIES:
            return _MATRIX_COPIES[type(op)] * operands[0] + (operands[1] if len(operands) > 1 else 0)
    return 0


def _count(shape: Sequence[int]) -> int:
    return math.prod(shape)


def _full(shape: Sequence[int], buffer: Buffer) -> int:
    return _count(shape) * max(buffer.type.dtype.bits // 8, 1)


def _map_workspace(expression: Scalar, inputs: Sequence[tuple[int, ...]], shape: Sequence[int], itemsize: int) -> int:
    """The most bytes of intermediate arrays, the result included, evaluating operands from left to right.

    An operand is free when its only reader has run; one with several readers lives to the end.
    """
    axes: dict[Scalar, frozenset[int]] = {}
    uses: dict[Scalar, int] = {}
    for part in postorder(expression):
        axes[part] = _axes(part, inputs, axes)
        for argument in part.arguments if isinstance(part, Call) else ():
            uses[argument] = uses.get(argument, 0) + 1

    def size(part: Scalar) -> int:
        return _count([shape[axis] for axis in axes[part]]) * itemsize if isinstance(part, Call) else 0

    live = peak = 0
    for part in postorder(expression):
        if isinstance(part, Call):
            peak = max(peak, live + size(part) * (1 + _WITHIN.get(part.function, 0)))
            live += size(part) - sum(size(x) for x in set(part.arguments) if uses[x] == 1)
    return peak


def _axes(part: Scalar, inputs: Sequence[tuple[int, ...]], known: Mapping[Scalar, frozenset[int]]) -> frozenset[int]:
    if isinstance(part, Argument):
        return frozenset(inputs[part.position])
    return frozenset().union(*(known[x] for x in part.arguments)) if isinstance(part, Call) else frozenset()
