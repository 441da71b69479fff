"""Kernels of index algebra as torch source: contractions, sums, diagonals.

Contractions are ``torch.matmul`` over merged groups of indices, which is cuBLAS on a GPU: a kernel of our own
would not beat it on plain matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...ir import Size
from ...ir.kernels import (
    Contraction,
    Copy,
    DiagonalEmbedding,
    DiagonalUpdate,
    Direct,
    Factorisation,
    Kernel,
    Rearrangement,
)
from ...ir.operations import QR, SVD, HermitianEigen
from ...ir.program import KernelCall
from ..coefficients import signed_coefficient
from ..source import new_axes, size_of
from .eights import float32_lines, takes_eights
from .operations import TORCH_RULES, sum_of
from .source import TorchSource, torch_aligned, torch_dtype, torch_number, torch_permuted

Labels = tuple[int, ...]


def torch_lines(call: KernelCall, source: TorchSource) -> list[str]:
    """The statements of one kernel call."""
    if not takes_eights(call.kernel) and (lines := float32_lines(call, source, _plain_lines)):
        return lines
    return _plain_lines(call, source)


def _plain_lines(call: KernelCall, source: TorchSource) -> list[str]:
    return KERNEL_RULES[type(call.kernel)](call.kernel, call, source)


def _assigned(call: KernelCall, source: TorchSource, expression: str) -> list[str]:
    return [f"{source.target(call)} = {expression}"]


def _direct(kernel: Direct, call: KernelCall, source: TorchSource) -> list[str]:
    result = TORCH_RULES[type(kernel.operation)](kernel.operation, call, source)
    return _assigned(call, source, result) if isinstance(result, str) else result


def _copy(kernel: Copy, call: KernelCall, source: TorchSource) -> list[str]:
    return _assigned(call, source, f"{source.operands(call)[0]}.clone(memory_format=torch.contiguous_format)")


# --- one operand -------------------------------------------------------------------------------


def _rearrange(kernel: Rearrangement, call: KernelCall, source: TorchSource) -> list[str]:
    name, labels = _distinct(source.operands(call)[0], kernel.labels)
    summed = [axis for axis, label in enumerate(labels) if label not in kernel.output]
    if summed:
        name = sum_of(name, summed, source.types(call)[0].dtype)
    kept = [label for label in labels if label in kernel.output]
    return _assigned(call, source, torch_permuted(name, [kept.index(label) for label in kernel.output]))


def _distinct(name: str, labels: Sequence[int]) -> tuple[str, Labels]:
    """A view in which every label has one axis: the diagonals of those that are repeated, at the end."""
    left = list(labels)
    while repeated := [x for x in left if left.count(x) > 1]:
        first = left.index(repeated[0])
        second = left.index(repeated[0], first + 1)
        name = f"{name}.diagonal(0, {first}, {second})"
        left = [x for k, x in enumerate(left) if k not in (first, second)] + [repeated[0]]
    return name, tuple(left)


def _embed(kernel: DiagonalEmbedding, call: KernelCall, source: TorchSource) -> list[str]:
    target, result = source.target(call), source.target_type(call)
    view, labels = _distinct(target, kernel.output)
    made = f"{target} = {source.made('zeros', source.shape(result.shape), result.dtype)}"
    if not call.inputs:
        return [made, f"{view}.fill_(1)"]
    return [made, f"{view}.copy_({torch_aligned(source.operands(call)[0], kernel.labels, labels)})"]


def _add_diagonal(kernel: DiagonalUpdate, call: KernelCall, source: TorchSource) -> list[str]:
    target, dtype = source.target(call), source.target_type(call).dtype
    base, *tensors = source.operands(call)
    lines = [f"{target} = {base if kernel.in_place else f'{base}.clone()'}"]
    for term in kernel.terms:
        view, labels = _distinct(target, term.output)
        value = "1" if term.labels is None else torch_aligned(tensors.pop(0), term.labels, labels)
        negative, factor = signed_coefficient(term.coefficient, dtype)
        scaled = value if factor == 1 else torch_number(factor) if value == "1" else f"{torch_number(factor)} * {value}"
        lines.append(f"{view}.{'sub_' if negative else 'add_'}({scaled})")
    return lines


def _factorisation(kernel: Factorisation, call: KernelCall, source: TorchSource) -> list[str]:
    op, (name,) = kernel.operation, source.operands(call)
    chosen = dict(zip(kernel.results, (source.buffers[each] for each in call.outputs), strict=True))
    results: tuple[str, ...]
    match op:
        case HermitianEigen(uplo=uplo):
            results, text = ("eigenvalues", "eigenvectors"), f'eigh({name}, UPLO="{uplo}")'
        case QR(complete=complete):
            results, text = ("q", "r"), f'qr({name}, mode="{"complete" if complete else "reduced"}")'
        case SVD(full_matrices=full):
            results, text = ("u", "s", "vh"), f"svd({name}, full_matrices={full})"
        case _:
            results, text = ("sign", "logabsdet"), f"slogdet({name})"
    return [f"{', '.join(chosen.get(each, '_') for each in results)} = torch.linalg.{text}"]


# --- two operands ------------------------------------------------------------------------------


def _contract(kernel: Contraction, call: KernelCall, source: TorchSource) -> list[str]:
    left, right = source.operands(call)
    dtype = source.target_type(call).dtype
    if kernel.method == "matrix" and dtype.is_inexact:
        return _assigned(call, source, _MatrixProduct(kernel, call, source).expression())
    # A plain product, or one of integers, which torch does not multiply as matrices on a GPU.
    left, left_labels = _distinct(left, kernel.left)
    right, right_labels = _distinct(right, kernel.right)
    summed = [x for x in dict.fromkeys((*left_labels, *right_labels)) if x not in kernel.output]
    axes = (*kernel.output, *summed)
    product = f"{torch_aligned(left, left_labels, axes)} * {torch_aligned(right, right_labels, axes)}"
    if summed:
        places = range(len(kernel.output), len(axes))
        product = sum_of(f"({product})", places, dtype)
    return _assigned(call, source, product)


class _MatrixProduct:
    """``matmul`` of two operands, each with batch axes first and one axis for each merged group."""

    def __init__(self, kernel: Contraction, call: KernelCall, source: TorchSource) -> None:
        self.kernel, self.source = kernel, source
        self.names = source.operands(call)
        self.sizes: dict[int, Size] = {}
        for type, labels in zip(source.types(call), (kernel.left, kernel.right), strict=True):
            self.sizes |= size_of(type, labels)
        self.leading = kernel.batch + kernel.looped
        self.rows = tuple(x for x in kernel.rows if x not in kernel.looped)
        self.columns = tuple(x for x in kernel.columns if x not in kernel.looped)

    def expression(self) -> str:
        """The product, with its axes in the order of the result."""
        inner = self.kernel.inner
        left = self._operand(0, self.kernel.left, [self.rows, inner])
        right = self._operand(1, self.kernel.right, [inner, self.columns])
        order = self.leading + self.rows + self.columns
        shape = self.source.shape(self.sizes[x] for x in order)
        wanted = [order.index(label) for label in self.kernel.output]
        product = f"torch.matmul({left}, {right})"
        if self.kernel.numbers is not None:
            self.source.helpers.add("_wide_product")
            product = f"_wide_product({left}, {right}, {torch_dtype(self.kernel.numbers.factors)})"
        if len(self.rows) != 1 or len(self.columns) != 1:
            product += f".reshape({shape})"
        return torch_permuted(product, wanted)

    def _operand(self, position: int, labels: Labels, groups: Sequence[Labels]) -> str:
        present = [label for label in self.leading if label in labels]
        wanted: list[Labels] = [*((label,) for label in present), *groups]
        order = [labels.index(x) for group in wanted for x in group]
        name = torch_permuted(self.names[position], order)
        if any(len(group) != 1 for group in groups):
            sizes = [self._product(group) for group in wanted]
            name = f"{name}.reshape({self.source.shape(sizes)})"
        if not present:
            return name
        return name + new_axes([*(label in labels for label in self.leading), *(True for _ in groups)])

    def _product(self, group: Labels) -> Size:
        total: Size = 1
        for label in group:
            total = total * self.sizes[label]
        return total


KERNEL_RULES: dict[type[Kernel], Callable[[Any, KernelCall, TorchSource], list[str]]] = {
    Contraction: _contract,
    Rearrangement: _rearrange,
    DiagonalEmbedding: _embed,
    DiagonalUpdate: _add_diagonal,
    Direct: _direct,
    Factorisation: _factorisation,
    Copy: _copy,
}
