"""Where the tensors of a loop's kernel lie in memory: pointers, strides, and the addresses of a tile's elements."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property

from ...ir import Size
from ...ir.dims import dim, product
from ...ir.kernels import BlockLoop
from ...ir.program import Buffer
from ..names import Names
from ..typed_scalars import within
from .axes import Axes, Index, PlacedStep
from .tiles import Dimension, Tile

_WIDE = 2**30  # elements from which on positions take 64 bits; those of a tile's overhang count


class LoopMemory:
    """The tensors of one kernel, called as ``operands`` says, and their places; ``size`` gives a size as source.

    Operands that may lie ``anywhere`` are read by their strides.  Where two of their axes are one in the tile, which
    takes divisions, a flag of ``flat`` says at the call that one has no gaps, and is read without.
    """

    def __init__(
        self,
        loop: BlockLoop,
        axes: Axes,
        tile: Tile,
        names: Names,
        operands: Mapping[str, str],
        anywhere: Collection[str],
        size: Callable[[Size], str],
    ) -> None:
        self.loop, self.axes, self.tile, self.size = loop, axes, tile, size
        self.buffers = loop.body.buffer_map()
        self.place = {index: k for k, each in enumerate(tile.dimensions) for index in each.indices}
        self.parameters = {
            buffer: names.identifier(f"{operands.get(buffer, buffer)}_ptr")
            for buffer in dict.fromkeys((*loop.body.inputs, *loop.body.outputs))
        }
        self.strides = {
            buffer: [names.identifier(f"{operands.get(buffer, buffer)}_stride{axis}") for axis in range(rank)]
            for buffer in anywhere
            if (rank := len(self.buffers[buffer].type.shape))
        }
        self.flat = {
            buffer: names.identifier(f"{operands.get(buffer, buffer)}_flat")
            for buffer in self.strides
            if not self._is_plain(buffer)
        }

    def _is_plain(self, buffer: str) -> bool:
        """Whether reading an operand by its strides takes no division that reading one without gaps does not.

        So it is where each of its axes is a dimension of the tile by itself, and of vectors.
        """
        if len(self.buffers[buffer].type.shape) == 1:
            return True
        read = [
            placed.operand(k)
            for placed in self.axes.steps
            for k, operand in enumerate(placed.step.operands)
            if operand.buffer == buffer
        ]
        used = [self.tile.dimensions[self.place[x]] for indices in read for x in indices if x is not None]
        return all(len(x.indices) == 1 for x in used)

    @cached_property
    def is_wide(self) -> bool | None:
        """Whether positions take 64 bits; None where that is known at the call only."""
        most = [product(self.whole_shape(each)) for each in self.parameters]
        if all(isinstance(each, int) for each in most):
            return any(isinstance(each, int) and each >= _WIDE for each in most)
        return None

    def whole_shape(self, buffer: str) -> list[Size]:
        """The shape of a tensor of which the body sees blocks."""
        block = dim(self.loop.symbol)
        return [self.loop.size if size == block else size for size in self.buffers[buffer].type.shape]

    def address(self, buffer: str, indices: Sequence[Index | None]) -> str:
        """The elements of a tensor in memory: by its strides, or without gaps, in the planned order of its axes."""
        if buffer in self.strides and buffer not in self.flat:
            return self.strided_address(buffer, indices)
        shape, layout = self.whole_shape(buffer), self._layout(self.buffers[buffer])
        strides: dict[Index, Size] = {}
        stride: Size = 1
        for axis in reversed(layout):
            index = indices[axis]
            if index is not None:
                strides[index] = stride
            stride = stride * shape[axis]
        ordered = [index for axis in layout if (index := indices[axis]) is not None]
        return self._address(self.parameters[buffer], ordered, strides)

    def strided_address(self, buffer: str, indices: Sequence[Index | None]) -> str:
        """The elements of a tensor in memory, by the stride of each of its axes."""
        terms = [self.parameters[buffer]]
        for index, name in zip(indices, self.strides[buffer], strict=True):
            if index is not None:
                dimension = self.tile.dimensions[self.place[index]]
                start = dimension.indices.index(index)
                terms.append(f"{within(self._position(dimension, start, start + 1))} * {name}")
        return " + ".join(terms)

    def near_axes(self, buffer: str) -> list[int]:
        """The axes of an operand of which one should have near neighbours in memory: the innermost as planned.

        In a tile with two dimensions over programs, what is innermost in either will do as well.
        """
        last = {each.indices[-1] for each in self.tile.dimensions if self.tile.part("across")}
        also = {
            axis
            for placed in self.axes.steps
            for k, operand in enumerate(placed.step.operands)
            if operand.buffer == buffer
            for axis, index in enumerate(placed.operand(k))
            if index in last
        }
        return sorted({*also, self._layout(self.buffers[buffer])[-1]})

    @staticmethod
    def _layout(buffer: Buffer) -> Sequence[int]:
        return buffer.layout if len(buffer.layout) == len(buffer.type.shape) else range(len(buffer.type.shape))

    def _address(self, pointer: str, ordered: Sequence[Index], strides: Mapping[Index, Size]) -> str:
        terms = []
        while ordered:
            dimension = self.tile.dimensions[self.place[ordered[0]]]
            start = dimension.indices.index(ordered[0])
            length = 1
            while length < len(ordered) and dimension.indices[start : start + length + 1] == tuple(
                ordered[: length + 1]
            ):
                length += 1
            position = self._position(dimension, start, start + length)
            stride = strides[ordered[length - 1]]
            terms.append(position if stride == 1 else f"{within(position)} * {self.size(stride)}")
            ordered = ordered[length:]
        return " + ".join([pointer, *terms])

    def _position(self, dimension: Dimension, start: int, stop: int) -> str:
        """The flattened position of neighbouring indices ``start`` to ``stop`` of a dimension."""
        sizes = [self.axes.sizes[x] for x in dimension.indices]
        text = dimension.name
        if stop < len(sizes):
            text = f"{text} // {self.size(product(sizes[stop:]))}"
        if start > 0:
            text = f"{within(text)} % {self.size(product(sizes[start:stop]))}"
        return text

    def part_address(self, placed: PlacedStep, program: str) -> str:
        """The part of the program of that number: one result after another, each with its axes in order."""
        strides: dict[Index, Size] = {}
        stride: Size = 1
        for index in reversed([x for x in placed.result if x is not None]):
            strides[index] = stride
            stride = stride * self.axes.sizes[index]
        first = f"{program} * {self.size(stride)}" if stride != 1 else program
        ordered = [x for x in placed.result if x is not None]
        address = self._address(f"{self.parameters[placed.step.buffer]} + {first}", ordered, strides)
        if not ordered:
            address += f" + tl.zeros([{', '.join('1' for _ in self.tile.dimensions)}], tl.int32)"
        return address
