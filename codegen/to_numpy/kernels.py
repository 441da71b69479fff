"""Kernels of index algebra as NumPy source: contractions, sums, diagonals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...ir import DType, Size, UnsupportedError
from ...ir.kernels import (
    BlockLoop,
    Contraction,
    Copy,
    DiagonalEmbedding,
    DiagonalUpdate,
    Direct,
    Factorisation,
    Kernel,
    Rearrangement,
)
from ...ir.program import KernelCall
from ...ir.subscripts import LETTERS
from ..coefficients import signed_coefficient
from ..source import aligned, new_axes, permuted, size_of
from .linear_algebra import factorisation_lines
from .loops import loop_lines
from .operations import OPERATION_RULES
from .places import place_lines
from .source import NumpySource, dtype_source, number_source
from .steps import step_lines

Labels = tuple[int, ...]


def kernel_lines(call: KernelCall, source: NumpySource) -> list[str]:
    """The statements of one kernel call, after those of the memory that is planned for it."""
    rule = KERNEL_RULES[type(call.kernel)]
    return [*place_lines(call, source), *rule(call.kernel, call, source)]


def _assigned(call: KernelCall, source: NumpySource, expression: str) -> list[str]:
    return [f"{source.target(call)} = {expression}"]


def _direct(kernel: Direct, call: KernelCall, source: NumpySource) -> list[str]:
    if call.scratch is not None:
        return step_lines(call, source)
    result = OPERATION_RULES[type(kernel.operation)](kernel.operation, call, source)
    return _assigned(call, source, result) if isinstance(result, str) else result


def _loop(kernel: BlockLoop, call: KernelCall, source: NumpySource) -> list[str]:
    return loop_lines(kernel, call, source, kernel_lines)


def _copy(kernel: Copy, call: KernelCall, source: NumpySource) -> list[str]:
    return _assigned(call, source, f"np.array({source.operands(call)[0]})")


def _factorisation(kernel: Factorisation, call: KernelCall, source: NumpySource) -> list[str]:
    targets = [source.buffers[name] for name in call.outputs]
    return factorisation_lines(kernel, source.operands(call)[0], targets)


# --- one operand -------------------------------------------------------------------------------


def _rearrange(kernel: Rearrangement, call: KernelCall, source: NumpySource) -> list[str]:
    (name,), labels = source.operands(call), kernel.labels
    distinct = tuple(dict.fromkeys(labels))
    if distinct != labels:
        name = f"np.einsum({subscripts([labels], distinct)}, {name})"
    summed = [axis for axis, label in enumerate(distinct) if label not in kernel.output]
    kept = [label for label in distinct if label in kernel.output]
    arguments = sum_arguments(summed, len(distinct), source.types(call)[0].dtype)
    if source.has_place(call.outputs[0]):
        target = permuted(source.target(call), [kernel.output.index(label) for label in kept])
        return [f"{name}.sum({arguments}{', ' if arguments else ''}out={target})"]
    if summed:
        name = f"{name}.sum({arguments})"
    return _assigned(call, source, permuted(name, [kept.index(label) for label in kernel.output]))


def sum_arguments(axes: Sequence[int], rank: int, dtype: Any) -> str:
    """The arguments of ``sum`` or ``prod``; narrow integers keep their dtype."""
    parts = []
    if len(axes) < rank:
        parts.append(f"axis={axes[0] if len(axes) == 1 else tuple(axes)}")
    if dtype.kind in ("bool", "int", "uint") and dtype.value not in ("int64", "uint64"):
        parts.append(f"dtype={dtype_source(dtype)}")
    return ", ".join(parts)


def subscripts(inputs: Sequence[Labels], output: Labels) -> str:
    """Subscripts for ``np.einsum``; raises ``UnsupportedError`` past its 52 letters."""
    order = list(dict.fromkeys(label for labels in inputs for label in labels))
    if len(order) > len(LETTERS):
        raise UnsupportedError(
            f"an einsum that ties {len(order)} indices is more than NumPy can name; {len(LETTERS)} are accepted"
        )
    start = LETTERS.index("i")
    letters = {label: LETTERS[(start + k) % len(LETTERS)] for k, label in enumerate(order)}
    texts = ["".join(letters[label] for label in labels) for labels in (*inputs, output)]
    return f'"{",".join(texts[:-1])}->{texts[-1]}"'


def _embed(kernel: DiagonalEmbedding, call: KernelCall, source: NumpySource) -> list[str]:
    target, result = source.target(call), source.target_type(call)
    distinct = tuple(dict.fromkeys(kernel.output))
    value = aligned(source.operands(call)[0], kernel.labels, distinct) if call.inputs else "1"
    zeros = f"{target} = np.zeros({source.shape(result.shape)}, {dtype_source(result.dtype)})"
    return [
        f"{target}[...] = 0" if source.has_place(call.outputs[0]) else zeros,
        f"np.einsum({subscripts([kernel.output], distinct)}, {target})[...] = {value}",
    ]


def _add_diagonal(kernel: DiagonalUpdate, call: KernelCall, source: NumpySource) -> list[str]:
    target, dtype = source.target(call), source.target_type(call).dtype
    base, *tensors = source.operands(call)
    lines = [f"{target} = {base}" if kernel.in_place else f"{target} = np.array({base})"]
    for term in kernel.terms:
        distinct = tuple(dict.fromkeys(term.output))
        value = "1" if term.labels is None else aligned(tensors.pop(0), term.labels, distinct)
        negative, factor = signed_coefficient(term.coefficient, dtype)
        scaled = (
            value if factor == 1 else number_source(factor) if value == "1" else f"{number_source(factor)} * {value}"
        )
        place = f"np.einsum({subscripts([term.output], distinct)}, {target})[...]"
        lines.append(f"{place} {'-=' if negative else '+='} {scaled}")
    return lines


# --- two operands ------------------------------------------------------------------------------


def _contract(kernel: Contraction, call: KernelCall, source: NumpySource) -> list[str]:
    left, right = source.operands(call)
    placed = source.has_place(call.outputs[0])
    if kernel.method == "product":
        if call.scratch is not None:
            return step_lines(call, source)
        axes = kernel.output
        left, right = aligned(left, kernel.left, axes), aligned(right, kernel.right, axes)
        if placed:
            return [f"np.multiply({left}, {right}, out={source.target(call)})"]
        return _assigned(call, source, f"{left} * {right}")
    if kernel.method == "sum":
        spec = subscripts([kernel.left, kernel.right], kernel.output)
        if placed:
            return [f"np.einsum({spec}, {left}, {right}, out={source.target(call)})"]
        return _assigned(call, source, f"np.einsum({spec}, {left}, {right})")
    if call.scratch is not None or placed:
        return _MatrixProduct(kernel, call, source).lines()
    return _assigned(call, source, _MatrixProduct(kernel, call, source).expression())


class _MatrixProduct:
    """``matmul`` of two operands, each with batch axes first and one axis for each merged group."""

    def __init__(self, kernel: Contraction, call: KernelCall, source: NumpySource) -> None:
        self.kernel, self.source, self.call = kernel, source, call
        self.copies: list[str] = []
        self.names = source.operands(call)
        self.sizes: dict[int, Size] = {}
        for type, labels in zip(source.types(call), (kernel.left, kernel.right), strict=True):
            self.sizes |= size_of(type, labels)
        self.dtype = source.target_type(call).dtype
        self.leading, self.inner = kernel.leading, kernel.inner_merged
        self.rows, self.columns = kernel.rows_merged, kernel.columns_merged

    def _groups(self) -> tuple[list[Labels], list[Labels]]:
        """The groups of axes that each operand has as one axis, after the leading ones."""
        inner = self.inner
        left = [self.rows, inner] if self.rows or self._leads(self.kernel.left) else [inner]
        right = [inner, self.columns] if self.columns or self._leads(self.kernel.right) else [inner]
        return left, right

    def lines(self) -> list[str]:
        """The product where its result has a place, or its operands' copies have."""
        target = self.source.target(self.call)
        if not self.source.has_place(self.call.outputs[0]):
            expression = self.expression()
            return [*self.copies, f"{target} = {expression}"]
        left_groups, right_groups = self._groups()
        left = self._operand(0, self.kernel.left, left_groups)
        right = self._operand(1, self.kernel.right, right_groups)
        groups = [*((label,) for label in self.leading), *left_groups[:-1], *right_groups[1:]]
        order = [label for group in groups for label in group]
        target = permuted(target, [self.kernel.output.index(label) for label in order])
        target = self.source.grouped(target, [[self.sizes[x] for x in group] for group in groups])
        return [*self.copies, f"np.matmul({left}, {right}, out={target})"]

    def expression(self) -> str:
        """The product, with its axes in the order of the result."""
        left_groups, right_groups = self._groups()
        left = self._operand(0, self.kernel.left, left_groups)
        right = self._operand(1, self.kernel.right, right_groups)
        if len(left_groups) == len(right_groups) == 1:
            return f"np.dot({left}, {right})"
        plain = self._is_plain()
        product = f"{left}.dot({right})" if plain else f"{left} @ {right}"
        groups = left_groups[:-1] + right_groups[1:]
        order = self.leading + self.rows + self.columns
        if any(len(group) != 1 for group in groups):
            product = (
                f"{product if plain else f'({product})'}.reshape({self.source.listed(self.sizes[x] for x in order)})"
            )
        elif not plain and (self.kernel.split or self.kernel.output != order):
            product = f"({product})"
        if self.kernel.split:
            places = [order.index(label) for label in self.kernel.split]
            product = f"{product}.sum({sum_arguments(places, len(order), self.dtype)})"
            order = tuple(label for label in order if label not in self.kernel.split)
        return permuted(product, [order.index(label) for label in self.kernel.output])

    def _is_plain(self) -> bool:
        """Whether ``dot`` takes it: one product by BLAS, where it begins sooner than ``@`` (0.5 µs on small arrays)."""
        return not self.leading and self.dtype in (DType.float32, DType.float64, DType.complex64, DType.complex128)

    def _leads(self, labels: Labels) -> bool:
        return any(label in labels for label in self.leading)

    def _operand(self, position: int, labels: Labels, groups: Sequence[Labels]) -> str:
        present = [label for label in self.leading if label in labels]
        wanted: list[Labels] = [*((label,) for label in present), *groups]
        if position in self.kernel.turned:
            wanted[-2:] = wanted[:-3:-1]
        name = self._merged(position, labels, wanted)
        if position in self.kernel.turned:
            name = permuted(name, [*range(len(present)), len(present) + 1, len(present)])
        if not present:
            return name
        return name + new_axes([*(label in labels for label in self.leading), *(True for _ in groups)])

    def _merged(self, position: int, labels: Labels, groups: Sequence[Labels]) -> str:
        """The operand with one axis for each group: merged first where the groups are neighbours as they stand."""
        name, packed = self.names[position], position in self.kernel.packed
        natural = sorted(groups, key=lambda group: labels.index(group[0]) if group else -1)
        if [group for group in natural if group] == [group for group in groups if group]:
            natural = list(groups)  # an axis of size one stands wherever it is wanted
        if not packed and tuple(x for group in natural for x in group) == labels:
            name = self.source.grouped(name, [[self.sizes[x] for x in group] for group in natural])
            return permuted(name, [natural.index(group) for group in groups])
        name = permuted(name, [labels.index(x) for group in groups for x in group])
        if packed and self.call.scratch is not None:
            copy = self.source.buffers[self.call.scratch[self.kernel.packed.index(position)]]
            self.copies.append(f"np.copyto({copy}, {name})")
            name = copy
        elif packed:
            name = f"np.ascontiguousarray({name})"
        return self.source.grouped(name, [[self.sizes[x] for x in group] for group in groups])


KERNEL_RULES: dict[type[Kernel], Callable[[Any, KernelCall, NumpySource], list[str]]] = {
    Contraction: _contract,
    Rearrangement: _rearrange,
    DiagonalEmbedding: _embed,
    DiagonalUpdate: _add_diagonal,
    Direct: _direct,
    Factorisation: _factorisation,
    BlockLoop: _loop,
    Copy: _copy,
}
