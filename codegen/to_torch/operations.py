"""Operations of the graph as torch statements: a rule for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...ir import DType, Size, UnsupportedError
from ...ir import operations as ops
from ...ir.dtypes import EIGHTS
from ...ir.operations import Operation
from ...ir.program import KernelCall
from ...ir.scalar import Argument
from ..coefficients import signed_coefficient
from ..source import forward_range
from ..typed_scalars import TypedValue
from .scalars import TorchPrinter
from .source import TorchSource, dims_argument, torch_aligned, torch_dtype, torch_number, torch_rounded

Rule = Callable[[Any, KernelCall, TorchSource], "str | list[str]"]


# --- elementwise -------------------------------------------------------------------------------


def _map(op: ops.Map, call: KernelCall, source: TorchSource) -> list[str]:
    names = [
        torch_aligned(x, labels, range(op.rank)) for x, labels in zip(source.operands(call), op.inputs, strict=True)
    ]
    operands = [TypedValue(name, type.dtype) for name, type in zip(names, source.types(call), strict=True)]
    printer = TorchPrinter(source)
    whole = printer.print(op.expression, operands, source.target_type(call).dtype)
    if isinstance(op.expression, Argument) or whole in names or whole.startswith(("torch.real(", "torch.imag(")):
        whole = f"({whole}).clone()"
    return [*printer.statements, f"{source.target(call)} = {whole}"]


def _linear_combination(op: ops.LinearCombination, call: KernelCall, source: TorchSource) -> str:
    dtype = source.target_type(call).dtype
    text = ""
    for coefficient, operand, labels in zip(op.coefficients, source.operands(call), op.inputs, strict=True):
        negative, factor = signed_coefficient(coefficient, dtype)
        name = torch_aligned(operand, labels, range(op.rank))
        term = name if factor == 1 else f"{torch_number(factor)} * {name}"
        if text:
            text += f" {'-' if negative else '+'} {term}"
        else:
            text = f"-({term})" if negative else term
    return text if len(op.coefficients) > 1 or text != source.operands(call)[0] else f"{text}.clone()"


def _cast(op: ops.Cast, call: KernelCall, source: TorchSource) -> str:
    (name,), (type,) = source.operands(call), source.types(call)
    if type.dtype.kind == "complex" and op.dtype.kind == "bool":
        return f"{name} != 0"
    part = ".real" if type.dtype.kind == "complex" and op.dtype.kind != "complex" else ""
    if op.dtype is DType.float8_e4m3:
        return torch_rounded(f"{name}{part}", type.dtype.real, op.dtype)
    return f"{name}{part}.to({torch_dtype(op.dtype)}, copy=True)"


# --- reductions --------------------------------------------------------------------------------


def sum_of(name: str, axes: Sequence[int], dtype: DType) -> str:
    """A sum that keeps its dtype; of booleans, whether any is true."""
    if dtype is DType.bool:
        return f"{name}.any({dims_argument(axes)})"
    kept = f", dtype={torch_dtype(dtype)}" if not dtype.is_inexact else ""
    return f"{name}.sum({dims_argument(axes)}{kept})"


def reduced(kind: str, name: str, axes: Sequence[int], dtype: DType, source: TorchSource) -> str:
    """A reduction over axes."""
    dims = dims_argument(axes)
    match kind:
        case "sum":
            return sum_of(name, axes, dtype)
        case "prod":
            for axis in sorted(axes, reverse=True):
                name = f"{name}.prod({axis}{f', dtype={torch_dtype(dtype)}' if not dtype.is_inexact else ''})"
            return name
        case "max" | "min":
            return f"torch.a{kind}({name}, {dims})"
        case "any" | "all":
            return f"{name}.{kind}({dims})" if dtype is DType.bool else f"({name} != 0).{kind}({dims})"
        case "logsumexp":
            return f"torch.logsumexp({name}, {dims})"
        case "shift":
            source.helpers.add("_shift")
            return f"_shift({name}, {dims})"
    raise UnsupportedError(f"torch has no reduction {kind}; use backend='numpy'")


def _reduce(op: ops.Reduce, call: KernelCall, source: TorchSource) -> str:
    (name,), (type,) = source.operands(call), source.types(call)
    return reduced(op.kind, name, op.axes, type.dtype, source)


def _cumulative_sum(op: ops.CumulativeSum, call: KernelCall, source: TorchSource) -> str:
    (name,) = source.operands(call)
    dtype = torch_dtype(source.target_type(call).dtype)
    if not op.reverse:
        return f"torch.cumsum({name}, {op.axis}, dtype={dtype})"
    return f"torch.cumsum({name}.flip({op.axis}), {op.axis}, dtype={dtype}).flip({op.axis})"


# --- movement ----------------------------------------------------------------------------------


def _broadcast(op: ops.Broadcast, call: KernelCall, source: TorchSource) -> str:
    value = torch_aligned(source.operands(call)[0], op.axes, range(len(op.shape)))
    return f"{value}.expand({source.shape(op.shape)})"


def _reshape(op: ops.Reshape, call: KernelCall, source: TorchSource) -> str:
    return f"{source.operands(call)[0]}.reshape({source.shape(op.shape)})"


def _ranges(
    starts: Sequence[Size], sizes: Sequence[Size], steps: Sequence[int], extents: Sequence[Size], source: TorchSource
) -> tuple[str, list[int]]:
    """The index of strided ranges, forward as torch wants them, and the axes to turn around after it."""
    forward = [forward_range(*axis, source) for axis in zip(starts, sizes, steps, extents, strict=True)]
    turned = [axis for axis, step in enumerate(steps) if step < 0]
    while forward and forward[-1] == ":":
        forward.pop()
    return (f"[{', '.join(forward)}]" if forward else ""), turned


def _flipped(axes: Sequence[int]) -> str:
    return f".flip({', '.join(map(str, axes))})" if axes else ""


def _slice(op: ops.Slice, call: KernelCall, source: TorchSource) -> str:
    name, extents = source.operands(call)[0], source.types(call)[0].shape
    index, turned = _ranges(op.starts, op.sizes, op.steps, extents, source)
    return f"{name}{index}{_flipped(turned)}"


def _pad(op: ops.Pad, call: KernelCall, source: TorchSource) -> list[str]:
    target, (name,), (type,) = source.target(call), source.operands(call), source.types(call)
    index, turned = _ranges(op.starts, type.shape, op.steps, op.shape, source)
    return [
        f"{target} = {source.made('zeros', source.shape(op.shape), type.dtype)}",
        f"{target}{index or '[...]'} = {name}{_flipped(turned)}",
    ]


def _concatenate(op: ops.Concatenate, call: KernelCall, source: TorchSource) -> str:
    return f"torch.cat(({', '.join(source.operands(call))},), {op.axis})"


def _indices(call: KernelCall, source: TorchSource) -> str:
    """Indices as torch takes them: of 64 bits, since bytes would be a mask."""
    name, type = source.operands(call)[1], source.types(call)[1]
    return name if type.dtype is DType.int64 else f"{name}.to(torch.int64)"


def _take(op: ops.Take, call: KernelCall, source: TorchSource) -> str:
    """One index is taken as a list of one: of a tensor without axes the host would read the value, and give a view."""
    name, indices = source.operands(call)[0], _indices(call, source)
    alone = not source.types(call)[1].shape
    taken = f"{name}[{', '.join([':'] * op.axis + [f'{indices}[None]' if alone else indices])}]"
    return f"{taken}.squeeze({op.axis})" if alone else taken


def _scatter_add(op: ops.ScatterAdd, call: KernelCall, source: TorchSource) -> list[str]:
    """By ``index_put_``, which adds in one order always, and so gives the same bits in every run."""
    target, (name, _, updates) = source.target(call), source.operands(call)
    rank = len(source.types(call)[1].shape)
    place, moved = target, updates
    if op.axis:
        place = f"{target}.movedim({op.axis}, 0)"
        axes = tuple(range(op.axis, op.axis + rank))
        moved = f"{updates}.movedim({axes}, {tuple(range(rank))})" if rank else updates
    return [
        f"{target} = {name}.clone()",
        f"{place}.index_put_(({_indices(call, source)},), {moved}, accumulate=True)",
    ]


# --- leaves ------------------------------------------------------------------------------------


def _delta(op: ops.Delta, call: KernelCall, source: TorchSource) -> str:
    return source.made("eye", source.size(op.size), op.dtype)


def _iota(op: ops.Iota, call: KernelCall, source: TorchSource) -> str:
    if op.dtype is DType.bool or op.dtype in EIGHTS:
        return torch_rounded(source.made("arange", source.size(op.size), DType.int64), DType.int64, op.dtype)
    return source.made("arange", source.size(op.size), op.dtype)


def _extent(op: ops.Extent, call: KernelCall, source: TorchSource) -> str:
    return source.made("full", f"(), {source.size(op.size)}", op.dtype)


# --- linear algebra ----------------------------------------------------------------------------


def _library(function: str) -> Rule:
    def rule(op: Operation, call: KernelCall, source: TorchSource) -> str:
        return f"torch.linalg.{function}({', '.join(source.operands(call))})"

    return rule


def _pseudo_inverse(op: ops.PseudoInverse, call: KernelCall, source: TorchSource) -> str:
    """NumPy's own cutoff unless one is given."""
    return f"torch.linalg.pinv({source.operands(call)[0]}, rtol={1e-15 if op.rcond is None else op.rcond!r})"


def _least_squares(op: ops.LeastSquares, call: KernelCall, source: TorchSource) -> str:
    """By the pseudo-inverse: torch's own routine takes matrices of full rank only, on a GPU."""
    left, right = source.operands(call)
    cutoff = "" if op.rcond is None else f", rtol={op.rcond!r}"
    return f"torch.linalg.pinv({left}{cutoff}) @ {right}"


TORCH_RULES: dict[type[Operation], Rule] = {
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
    ops.PseudoInverse: _pseudo_inverse,
    ops.LeastSquares: _least_squares,
}
