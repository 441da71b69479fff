"""Operations of the graph that are one NumPy statement as they stand: a rule for each."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from ...ir import DType, Size
from ...ir import operations as ops
from ...ir.operations import Operation
from ...ir.program import KernelCall
from ..coefficients import signed_coefficient
from ..source import aligned, forward_range
from .linear_algebra import least_squares, pseudo_inverse
from .scalars import ScalarPrinter, silences_warnings
from .source import NumpySource, dtype_source, number_source

_IDENTIFIER = re.compile(r"[^\W\d]\w*")

Rule = Callable[[Any, KernelCall, NumpySource], "str | list[str]"]


# --- elementwise -------------------------------------------------------------------------------


def _map(op: ops.Map, call: KernelCall, source: NumpySource) -> list[str]:
    operands = [aligned(x, labels, range(op.rank)) for x, labels in zip(source.operands(call), op.inputs, strict=True)]
    printer = ScalarPrinter(source, operands, [x.dtype for x in source.types(call)])
    whole = printer.print(op.expression)
    lines = _freed([*printer.statements, f"{source.target(call)} = {whole}"], printer.temporaries)
    if silences_warnings(op.expression):
        lines = ['with np.errstate(all="ignore"):', *(f"    {text}" for text in lines)]
    return lines


def _freed(statements: list[str], temporaries: Sequence[str]) -> list[str]:
    """The statements, with each temporary deleted after the last one that reads it."""
    last: dict[str, int] = {}
    for position, text in enumerate(statements):
        last.update(dict.fromkeys(_IDENTIFIER.findall(text), position))
    lines = []
    for position, text in enumerate(statements):
        gone = [name for name in temporaries if last[name] == position]
        lines += [text, f"del {', '.join(gone)}"] if gone else [text]
    return lines


def _linear_combination(op: ops.LinearCombination, call: KernelCall, source: NumpySource) -> str:
    dtype = source.target_type(call).dtype
    text = ""
    signed = [signed_coefficient(coefficient, dtype) for coefficient in op.coefficients]
    terms = list(zip(signed, source.operands(call), op.inputs, strict=True))
    if len(terms) > 1 and signed[0][0] and not signed[1][0]:
        terms[:2] = terms[1], terms[0]
    for (negative, factor), operand, labels in terms:
        name = aligned(operand, labels, range(op.rank))
        term = name if factor == 1 else f"{number_source(factor)} * {name}"
        if text:
            text += f" {'-' if negative else '+'} {term}"
        elif negative:
            text = f"-{term}" if factor == 1 or dtype.kind != "uint" else f"-({term})"
        else:
            text = term
    return text


def _cast(op: ops.Cast, call: KernelCall, source: NumpySource) -> str | list[str]:
    (name,), (type,) = source.operands(call), source.types(call)
    part = ".real" if type.dtype.kind == "complex" and op.dtype.kind not in ("complex", "bool") else ""
    if source.has_place(call.outputs[0]):
        return [f'np.copyto({source.target(call)}, {name}{part}, casting="unsafe")']
    return f"{name}{part}.astype({dtype_source(op.dtype)})"


# --- reductions --------------------------------------------------------------------------------


def _reduce(op: ops.Reduce, call: KernelCall, source: NumpySource) -> str | list[str]:
    (name,), (type,) = source.operands(call), source.types(call)
    axis = f"axis={op.axes[0] if len(op.axes) == 1 else op.axes}"
    if op.kind in ("logsumexp", "shift"):
        source.helpers.add(f"_{op.kind}")
        return f"_{op.kind}({name}, {axis})"
    arguments = [name] if len(op.axes) == type.ndim else [name, axis]
    if op.kind == "prod":
        arguments.append(f"dtype={dtype_source(type.dtype)}")
    if source.has_place(call.outputs[0]):
        return [f"np.{op.kind}({', '.join(arguments)}, out={source.target(call)})"]
    return f"np.{op.kind}({', '.join(arguments)})"


def _cumulative_sum(op: ops.CumulativeSum, call: KernelCall, source: NumpySource) -> str:
    (name,) = source.operands(call)
    dtype = dtype_source(source.target_type(call).dtype)
    if not op.reverse:
        return f"np.cumsum({name}, axis={op.axis}, dtype={dtype})"
    return f"np.flip(np.cumsum(np.flip({name}, {op.axis}), axis={op.axis}, dtype={dtype}), {op.axis})"


# --- movement ----------------------------------------------------------------------------------


def _broadcast(op: ops.Broadcast, call: KernelCall, source: NumpySource) -> str:
    value = aligned(source.operands(call)[0], op.axes, range(len(op.shape)))
    return f"np.broadcast_to({value}, {source.shape(op.shape)})"


def _reshape(op: ops.Reshape, call: KernelCall, source: NumpySource) -> str:
    return f"{source.operands(call)[0]}.reshape({source.listed(op.shape)})"


def _ranges(
    starts: Sequence[Size], sizes: Sequence[Size], steps: Sequence[int], extents: Sequence[Size], source: NumpySource
) -> str:
    """The index of strided ranges; backward ones are taken forward first, then turned around."""
    axes = list(zip(starts, sizes, steps, extents, strict=True))
    if not axes:
        return "[()]"
    forward = [forward_range(*axis, source) for axis in axes]
    turned = ["::-1" if step < 0 else ":" for step in steps]
    if all(part == ":" for part in forward):
        forward, turned = turned, [":"]
    second = _index(turned) if "::-1" in turned else ""
    return _index(forward) + second


def _index(parts: Sequence[str]) -> str:
    kept = list(parts)
    while len(kept) > 1 and kept[-1] == ":":
        kept.pop()
    return f"[{', '.join(kept)}]"


def _slice(op: ops.Slice, call: KernelCall, source: NumpySource) -> str:
    extents = source.types(call)[0].shape
    return source.operands(call)[0] + _ranges(op.starts, op.sizes, op.steps, extents, source)


def _pad(op: ops.Pad, call: KernelCall, source: NumpySource) -> list[str]:
    target, (type,) = source.target(call), source.types(call)
    index = _ranges(op.starts, type.shape, op.steps, op.shape, source)
    place = index if index.count("[") == 1 else f"{index}[...]"
    zeros = f"{target} = np.zeros({source.shape(op.shape)}, {dtype_source(type.dtype)})"
    return [
        f"{target}[...] = 0" if source.has_place(call.outputs[0]) else zeros,
        f"{target}{place} = {source.operands(call)[0]}",
    ]


def _concatenate(op: ops.Concatenate, call: KernelCall, source: NumpySource) -> str:
    operands = source.operands(call)
    return f"np.concatenate(({', '.join(operands)}{',' if len(operands) == 1 else ''}), axis={op.axis})"


def _indices(name: str, dtype: DType) -> str:
    """Indices as NumPy takes them: it refuses unsigned 64-bit ones."""
    return f"{name}.astype(np.int64)" if dtype is DType.uint64 else name


def _take(op: ops.Take, call: KernelCall, source: NumpySource) -> str:
    name, indices = source.operands(call)
    return f"np.take({name}, {_indices(indices, source.types(call)[1].dtype)}, axis={op.axis})"


def _scatter_add(op: ops.ScatterAdd, call: KernelCall, source: NumpySource) -> list[str]:
    target, (name, indices, updates) = source.target(call), source.operands(call)
    place = ", ".join([*["slice(None)"] * op.axis, _indices(indices, source.types(call)[1].dtype)])
    return [
        f"{target} = np.array({name})",
        f"np.add.at({target}, {f'({place})' if op.axis else place}, {updates})",
    ]


# --- leaves ------------------------------------------------------------------------------------


def _delta(op: ops.Delta, call: KernelCall, source: NumpySource) -> str:
    return f"np.eye({source.size(op.size)}, dtype={dtype_source(op.dtype)})"


def _iota(op: ops.Iota, call: KernelCall, source: NumpySource) -> str:
    size, dtype = source.size(op.size), dtype_source(op.dtype)
    return f"np.arange({size}).astype({dtype})" if op.dtype is DType.bool else f"np.arange({size}, dtype={dtype})"


def _extent(op: ops.Extent, call: KernelCall, source: NumpySource) -> str:
    return f"{dtype_source(op.dtype)}({source.size(op.size)})"


# --- linear algebra ----------------------------------------------------------------------------


def _library(function: str) -> Rule:
    def rule(op: Operation, call: KernelCall, source: NumpySource) -> str:
        return f"np.linalg.{function}({', '.join(source.operands(call))})"

    return rule


OPERATION_RULES: dict[type[Operation], Rule] = {
    ops.Map: _map,
    ops.LinearCombination: _linear_combination,
    ops.Cast: _cast,
    ops.Reduce: _reduce,
    ops.CumulativeSum: _cumulative_sum,
    ops.Broadcast: _broadcast,
    ops.Reshape: _reshape,
    ops.Slice: _slice,
    ops.Pad: _pad,
    ops.Concatenate: _concatenate,
    ops.Take: _take,
    ops.ScatterAdd: _scatter_add,
    ops.Delta: _delta,
    ops.Iota: _iota,
    ops.Extent: _extent,
    ops.Inverse: _library("inv"),
    ops.Solve: _library("solve"),
    ops.Cholesky: _library("cholesky"),
    ops.Determinant: _library("det"),
    ops.PseudoInverse: lambda op, call, source: pseudo_inverse(op, source.operands(call)),
    ops.LeastSquares: lambda op, call, source: least_squares(op, source.operands(call)),
}
