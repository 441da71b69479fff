"""Calls of the kernels of fused products: memory for results and parts, operands as they lie, the launch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...ir import DType, Size
from ...ir.dims import product
from ...ir.kernels import FusedProduct
from ...ir.loop_steps import MOST_WHOLE, NoForm
from ...ir.program import KernelCall
from ..names import comment
from ..to_torch.operations import reduced
from ..to_torch.source import TorchSource, torch_permuted, torch_rounded
from .narrow import given as as_argument
from .nest_indices import LEAST_SIDE
from .products import ProductKernel, listed
from .scalars import computed_dtype

_INDENT = "    "
_LINE = 100
PrintCall = Callable[[KernelCall, TorchSource], list[str]]


def product_lines(fused: FusedProduct, call: KernelCall, source: TorchSource, print_call: PrintCall) -> list[str]:
    """A fused product as one kernel, or two where its sum is split; as its steps, under the reason, where it has none.

    ``print_call`` prints one of the steps.
    """
    operands = {name: source.buffers[name] for name in (*call.inputs, *call.outputs)}
    name = source.kernel_name("product_kernel")
    try:
        kernels = [ProductKernel(fused, name, operands, source)]
        if fused.tile.splits > 1:
            kernels.append(ProductKernel(fused, source.kernel_name("sum_kernel"), operands, source, summing=True))
        functions = [kernel.function() for kernel in kernels]
    except NoForm as reason:
        return [
            comment(f"steps of their own, since Triton has none here for {reason}"),
            *_steps(fused, source, print_call),
        ]
    for kernel, lines in zip(kernels, functions, strict=True):
        source.kernels.append(lines)
        source.kernel_helpers |= kernel.helpers
    return _Launch(fused, kernels, source).lines()


def _steps(fused: FusedProduct, source: TorchSource, print_call: PrintCall) -> list[str]:
    """The calls of the body, one by one."""
    names = dict(source.buffers)
    for buffer in fused.body.buffers:
        if buffer.name not in names:
            names[buffer.name] = source.temporary(buffer.name)
    inner = replace(source, program=fused.body, buffers=names)
    lines: list[str] = []
    for each in fused.body.calls:
        lines += [comment(each.text), *print_call(each, inner)]
    source.uses_device |= inner.uses_device
    return lines


class _Launch:
    """The launch of a product's kernels."""

    def __init__(self, fused: FusedProduct, kernels: list[ProductKernel], source: TorchSource) -> None:
        self.fused, self.kernels, self.source = fused, kernels, source
        self.last = kernels[-1]
        self.buffers = fused.body.buffer_map()
        self.given: dict[str, str] = {}
        self.parts = source.temporary("parts") if len(kernels) > 1 else ""

    def lines(self) -> list[str]:
        """Memory, the launches, and what combines the programs' parts."""
        made, after = self._operands(), []
        tensors = list(self.given.values())
        for buffer in self.fused.body.outputs:
            target, type = self.source.buffers[buffer], self.buffers[buffer].type
            parts = self.last.form.parts.get(buffer)
            if parts is None:
                made.append(f"{target} = {self._whole(buffer)}")
                self.given[buffer] = target
                tensors.append(target)
                continue
            how, over = parts
            name = self.given[buffer] = self.source.temporary(f"{target}_parts")
            blocks = " * ".join(self._block_count(self.last, group) for group in ("rows", "columns") if group in over)
            inside = "".join(f", {self.source.size(size)}" for size in type.shape)
            dtype = computed_dtype(type.dtype)  # half precision only once all parts are added up
            shape = f"({blocks}{inside or ','})"
            made.append(f"{name} = {self.source.made('empty', shape, dtype)}")
            after.append(f"{target} = {torch_rounded(reduced(how, name, [0], dtype, self.source), dtype, type.dtype)}")
        made += self._workspace()
        self.source.helpers.add("_is_wide")
        wide = self.source.temporary("wide")
        tensors += [self.parts] if len(self.kernels) > 1 else []
        made.append(f"{wide} = _is_wide({', '.join(tensors)})")
        launches = [line for kernel in self.kernels for line in self._launch(kernel, wide)]
        counts = [x for g in ("batch", "rows", "columns") if not isinstance(x := self.last.axes.count(g), int)]
        if counts:  # of none there are no programs
            some = " and ".join(self.source.factor(x) for x in counts)
            return [*made, f"if {some}:", *(_INDENT + text for text in launches), *after]
        return [*made, *launches, *after]

    def _operands(self) -> list[str]:
        """Operands with neighbouring axes merged: views unless their strides forbid it."""
        lines = []
        indices = dict(self.last.form.accesses(self.fused.body))
        for buffer in self.fused.body.inputs:
            name = self.source.buffers[buffer]
            parts = self.last.axes.parts(indices[buffer])
            if any(len(axes) > 1 for _, axes in parts):
                shape = self.buffers[buffer].type.shape
                merged = self.source.shape(product(shape[axis] for axis in axes) for _, axes in parts)
                flat = self.source.temporary(f"{name}_flat")
                lines.append(f"{flat} = {name}.reshape({merged})")
                name = flat
            self.given[buffer] = name
        return lines

    def _whole(self, buffer: str) -> str:
        """Memory for a result, its axes in the planned order."""
        known = self.buffers[buffer]
        layout = known.layout if len(known.layout) == len(known.type.shape) else range(len(known.type.shape))
        made = self.source.made("empty", self.source.shape(known.type.shape[x] for x in layout), known.type.dtype)
        return torch_permuted(made, [list(layout).index(axis) for axis in range(len(known.type.shape))])

    def _workspace(self) -> list[str]:
        """Memory for the parts of split sums."""
        if len(self.kernels) == 1:
            return []
        sizes: list[Size] = [self.last.axes.count(group) for group in ("batch", "rows", "columns")]
        dtype = DType.float64 if self.last.form.dtypes[self.fused.product] is DType.float64 else DType.float32
        shape = self.source.shape([self.fused.tile.splits, *sizes])
        return [f"{self.parts} = {self.source.made('empty', shape, dtype)}"]

    def _launch(self, kernel: ProductKernel, wide: str) -> list[str]:
        given = [self._pointer(buffer) for buffer in kernel.pointers]
        given += [self.parts] if len(self.kernels) > 1 else []
        given += [expression.format(tensor=self.given[buffer]) for buffer, expression in kernel.strides]
        given += [self.source.size(kernel.axes.count(group)) for group in kernel.counts]
        for name, symbol in kernel.used.items():
            self.source.used_dims.add(symbol)
            given.append(f"{name}={self.source.dims[symbol]}")
        given.append(f"WIDE={wide}")
        if kernel.takes_precision:
            self.source.helpers.add("_precision")
            given.append("PRECISION=_precision()")
        given += [f"{name}={self._constant(value, kernel)}" for name, value in kernel.constants().items()]
        given.append(f"num_warps={kernel.tile.warps}")
        given += [f"num_stages={kernel.tile.stages}"] if not kernel.summing else []
        return listed(f"{kernel.name}[({self._grid(kernel)},)](", given, ")", _LINE)

    def _pointer(self, buffer: str) -> str:
        """A tensor as an argument."""
        tensor = self.given[buffer]
        is_part = buffer in self.last.form.parts
        return tensor if is_part else as_argument(tensor, self.buffers[buffer].type.dtype, self.source)

    def _constant(self, value: str, kernel: ProductKernel) -> str:
        """A number of the tile; the length of a side that is a whole group depends on the sizes at the call."""
        if value not in ("rows", "columns"):
            return value
        return self.source.whole_block(kernel.axes.count(value), LEAST_SIDE, MOST_WHOLE)

    def _grid(self, kernel: ProductKernel) -> str:
        """How many programs there are."""
        counts = [self._block_count(kernel, group) for group in ("rows", "columns")]
        batch = kernel.axes.count("batch")
        counts += [self.source.factor(batch)] if batch != 1 else []
        counts += [str(kernel.tile.splits)] if len(self.kernels) > 1 and not kernel.summing else []
        numbers = [int(each) for each in counts if each.isdecimal()]
        total = 1
        for each in numbers:
            total *= each
        others = [each for each in counts if not each.isdecimal()]
        programs = " * ".join([*([str(total)] if total != 1 or not others else []), *others])
        if not kernel.is_persistent:
            return programs
        self.source.helpers.add("_processors")
        return f"min({programs}, _processors({next(iter(self.given.values()))}))"

    def _block_count(self, kernel: ProductKernel, group: str) -> str:
        known = kernel.blocks(group)
        if known is not None:
            return str(known)
        planned = kernel.tile.rows if group == "rows" else kernel.tile.columns
        return f"triton.cdiv({self.source.size(kernel.axes.count(group))}, {planned})"
