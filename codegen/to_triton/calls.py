"""Calls of Triton kernels from a function over torch tensors: memory for results, the launch, second reductions."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...ir import Size
from ...ir.kernels import BlockLoop
from ...ir.loop_steps import NoForm
from ...ir.program import KernelCall
from ..names import comment
from ..to_torch.kernels import torch_lines
from ..to_torch.operations import reduced
from ..to_torch.source import TorchSource, torch_permuted, torch_rounded
from .loops import TritonKernel
from .narrow import given as as_argument
from .scalars import computed_dtype
from .tiles import Dimension, Tiling

_INDENT = "    "
_LINE = 100


def loop_lines(
    loop: BlockLoop, call: KernelCall, source: TorchSource, sizes: Mapping[str, int], tiling: Tiling
) -> list[str]:
    """A loop as one kernel; as statements of torch, under the reason, where it has no kernel."""
    outside = dict(zip(loop.body.inputs, (source.buffers[x] for x in call.inputs), strict=True))
    outside |= dict(zip(loop.body.outputs, (source.buffers[x] for x in call.outputs), strict=True))
    name = source.kernel_name("block_kernel")
    try:
        kernel = TritonKernel(loop, name, outside, source, sizes, tiling, anywhere(loop, call, source))
        lines = kernel.function()
    except NoForm as reason:
        return [
            comment(f"torch's own operations, since Triton has none here for {reason}"),
            *_in_torch(loop, call, source),
        ]
    source.kernels.append(lines)
    source.kernel_helpers |= kernel.helpers
    return _Launch(kernel, call, source).lines()


def anywhere(loop: BlockLoop, call: KernelCall, source: TorchSource) -> list[str]:
    """The operands that need not be without gaps: what callers give, and views."""
    known = source.program.buffer_map()
    given = zip(loop.body.inputs, (known[name] for name in call.inputs), strict=True)
    return [inner for inner, outer in given if outer.role == "input" or outer.base is not None]


class _Launch:
    """One launch of a kernel."""

    def __init__(self, kernel: TritonKernel, call: KernelCall, source: TorchSource) -> None:
        self.kernel, self.source, self.loop = kernel, source, kernel.loop
        self.operands = dict(zip(self.loop.body.inputs, (source.buffers[x] for x in call.inputs), strict=True))
        self.results = dict(zip(self.loop.body.outputs, (source.buffers[x] for x in call.outputs), strict=True))

    def lines(self) -> list[str]:
        """Memory, the launch, and what combines the programs' parts."""
        made, after, given = [], [], []
        for buffer, operand in self.operands.items():
            known = self.kernel.buffers[buffer]
            if buffer in self.kernel.memory.strides:
                self.source.helpers.add("_in_place")
                near = ", ".join(map(str, self.kernel.memory.near_axes(buffer)))
                made.append(f"{operand} = _in_place({operand}, {near})")
            elif known.type.shape:
                operand = self._laid_out(operand, known.layout)
            given.append(as_argument(operand, known.type.dtype, self.source))
        for buffer, target in self.results.items():
            how, type = self.kernel.axes.parts.get(buffer), self.kernel.buffers[buffer].type
            if how is None:
                made.append(f"{target} = {self._whole(buffer)}")
                given.append(as_argument(target, type.dtype, self.source))
                continue
            parts = self.source.temporary(f"{target}_parts")
            shape = self.source.shape_of_parts(self._programs(), self.kernel.memory.whole_shape(buffer))
            dtype = computed_dtype(type.dtype)  # rounded to fewer bits only once all parts are combined
            made.append(f"{parts} = {self.source.made('empty', shape, dtype)}")
            given.append(parts)
            after.append(f"{target} = {torch_rounded(reduced(how, parts, [0], dtype, self.source), dtype, type.dtype)}")
        arguments = ", ".join([*given, *self._arguments(), f"num_warps={self.kernel.tile.warps}"])
        launch = [f"{self.kernel.name}[({self._grid()},)]({arguments})"]
        if len(launch[0]) > _LINE:
            wrapped = textwrap.wrap(arguments, _LINE, initial_indent=_INDENT, subsequent_indent=_INDENT)
            launch = [f"{self.kernel.name}[({self._grid()},)](", *wrapped, ")"]
        counts = [x.count for x in self.kernel.tile.dimensions if x.is_counted]  # of none there are no programs
        if counts:
            some = " and ".join(self.source.factor(x) for x in counts)
            return [*made, f"if {some}:", *(_INDENT + text for text in launch), *after]
        return [*made, *launch, *after]

    @staticmethod
    def _laid_out(operand: str, layout: Sequence[int]) -> str:
        """The operand without gaps, its axes in the planned order: itself where it lies so."""
        return f"{torch_permuted(operand, layout)}.contiguous()"

    def _whole(self, buffer: str) -> str:
        """Memory for a result, its axes in the planned order."""
        known = self.kernel.buffers[buffer]
        sizes = self.kernel.memory.whole_shape(buffer)
        stored = self.source.shape(sizes[axis] for axis in known.layout)
        made = self.source.made("empty", stored, known.type.dtype)
        return torch_permuted(made, [known.layout.index(axis) for axis in range(len(sizes))])

    # --- how many programs ---------------------------------------------------------------------

    def _programs(self) -> str:
        """How many programs take parts of the combined index."""
        combined = self.kernel.tile.part("combined")
        assert combined is not None
        return self._blocks(combined, combined.planned * self.kernel.tile.iterations)

    def _grid(self) -> str:
        spread = (self.kernel.tile.part(part) for part in ("parallel", "across"))
        counts = [self._blocks(each, each.planned) for each in spread if each]
        counts += [self._programs()] if self.kernel.tile.part("combined") else []
        if all(each.isdecimal() for each in counts):
            total = 1
            for each in counts:
                total *= int(each)
            return str(total)
        return " * ".join(counts)

    def _blocks(self, each: Dimension, block: int) -> str:
        if isinstance(each.count, int):
            return str(-(-each.count // block))
        return f"triton.cdiv({self.source.size(each.count)}, {block})"

    def _arguments(self) -> list[str]:
        """The kernel's numbers, in the order of its parameters."""
        dimensions = self.kernel.tile.dimensions
        given = [self.source.size(x.count) for x in dimensions if x.is_counted]
        flat = {buffer: self._is_flat(buffer) for buffer in self.kernel.memory.flat}
        for buffer, names in self.kernel.memory.strides.items():
            # What is not read is one number for all sizes, which take one kernel then.
            unless = f"0 if {flat[buffer]} else " if buffer in flat and self._is_symbolic(buffer) else ""
            given += [f"{name}={unless}{self.operands[buffer]}.stride({axis})" for axis, name in enumerate(names)]
        given += [f"{name}={flat[buffer]}" for buffer, name in self.kernel.memory.flat.items()]
        for name, symbol in self.kernel.used.items():
            self.source.used_dims.add(symbol)
            size = self.source.dims[symbol]
            readers = [flat[x] for x in flat if symbol in self.kernel.divided.get(x, ())]
            all_flat = " and ".join(readers)
            given.append(f"{name}={size if self.kernel.needs(symbol) else f'1 if {all_flat} else {size}'}")
        if self.kernel.memory.is_wide is None:
            operands = [x for x in (*self.operands.values(), *self.results.values()) if x.isidentifier()]
            known = [x for x in operands if x not in self._parts()]
            given.append(f"WIDE=max({', '.join(f'{x}.numel()' for x in known)}, 0) >= {2**30}")
        return given + [f"{x.constant}={self._constant(x)}" for x in dimensions]

    def _is_flat(self, buffer: str) -> str:
        """Whether an operand has no gaps, its axes in the planned order."""
        return f"{torch_permuted(self.operands[buffer], self.kernel.buffers[buffer].layout)}.is_contiguous()"

    def _is_symbolic(self, buffer: str) -> bool:
        return not all(isinstance(size, int) for size in self.kernel.memory.whole_shape(buffer))

    def _parts(self) -> set[str]:
        return {target for buffer, target in self.results.items() if buffer in self.kernel.axes.parts}

    def _constant(self, each: Dimension) -> str:
        if each.block is not None or isinstance(each.count, int):
            return str(each.planned)
        return self.source.whole_block(each.count, 1, each.most)


def _in_torch(loop: BlockLoop, call: KernelCall, source: TorchSource) -> list[str]:
    """The loop's body on whole tensors."""
    names = dict(zip(loop.body.inputs, (source.buffers[x] for x in call.inputs), strict=True))
    names |= dict(zip(loop.body.outputs, (source.buffers[x] for x in call.outputs), strict=True))
    for buffer in loop.body.buffers:
        if buffer.name not in names:
            names[buffer.name] = source.temporary(buffer.name)
    whole: Size = loop.size
    dims = {**source.dims, loop.symbol: source.factor(whole)}
    inner = replace(source, program=loop.body, buffers=names, dims=dims)
    lines = []
    for each in loop.body.calls:
        lines += [comment(each.text), *torch_lines(each, inner)]
    source.uses_device |= inner.uses_device
    return lines
