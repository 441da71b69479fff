"""Loops within loops as the indices of one kernel, and the tiles that its values are.

The outer loops of a nest are spread over the programs: those over one position at a time give each program one, and
the innermost of them a block of *rows*.  The loop within goes through *columns*, block by block.  All other indices
are whole in the tile, or come strip by strip while products sum them.  A tile has its rows first, then its columns,
then the rest in the order of their axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ...ir import Size
from ...ir.dims import dim, evaluate
from ...ir.kernels import BlockLoop
from ...ir.loop_steps import NoForm
from ...ir.program import KernelCall

LEAST_SIDE = 16  # of what matrix units multiply


@dataclass(frozen=True)
class Dimension:
    """A dimension of tiles: ``count`` positions in all, of which a tile has ``block``, and ``part`` of it."""

    name: str
    part: str
    count: Size
    block: int

    @property
    def constant(self) -> str:
        """The name of the kernel's parameter that says how many positions the tile has."""
        return f"BLOCK_{self.name.upper()}"

    @property
    def is_partial(self) -> bool:
        """Whether a tile may overhang."""
        return not isinstance(self.count, int) or self.count % self.block != 0


@dataclass(frozen=True)
class Batch:
    """An index of which a program has one position."""

    name: str
    count: Size


@dataclass(frozen=True)
class NestLoops:
    """The loops of a nest, from the outermost to that over columns, each with the call of the next one in its body."""

    spread: tuple[BlockLoop, ...]
    calls: tuple[KernelCall, ...]

    @property
    def rows(self) -> BlockLoop:
        """The loop whose blocks are those of the programs."""
        return self.spread[-1]

    @property
    def columns(self) -> BlockLoop:
        """The loop within a program."""
        inner = self.calls[-1].kernel
        assert isinstance(inner, BlockLoop)
        return inner


def loops_of_nest(loop: BlockLoop) -> NestLoops:
    """The loops of a nest; raises ``NoForm`` where they are not one within the other."""
    spread, calls, current = [loop], [], loop
    while True:
        inner = [call for call in current.body.calls if isinstance(call.kernel, BlockLoop)]
        if len(inner) != 1:
            raise NoForm(f"{len(inner)} loops side by side")
        kernel = inner[0].kernel
        assert isinstance(kernel, BlockLoop)
        calls.append(inner[0])
        if not kernel.concurrent:
            return NestLoops(tuple(spread), tuple(calls))
        if len(current.body.calls) != 1 or current.block != 1:
            raise NoForm("work between two loops over programs")
        spread.append(kernel)
        current = kernel


class NestIndices:
    """What each size in the bodies of a nest is an index of."""

    def __init__(self, loops: NestLoops, sizes: Mapping[str, int]) -> None:
        self.sizes = sizes
        self.batch = [Batch(f"b{k}", each.size) for k, each in enumerate(loops.spread[:-1])]
        self.rows = Dimension("row", "rows", loops.rows.size, loops.rows.block)
        self.columns = Dimension("column", "columns", loops.columns.size, loops.columns.block)
        self.inner: dict[Size, Dimension] = {}
        self.strips: dict[Size, Dimension] = {}
        self._at_hand: dict[Size, Dimension] = {}
        self._cut: dict[Size, Batch | Dimension] = {
            dim(loop.symbol): each for loop, each in zip(loops.spread[:-1], self.batch, strict=True)
        }
        self._cut[dim(loops.rows.symbol)] = self.rows
        self._cut[dim(loops.columns.symbol)] = self.columns

    def of(self, size: Size) -> Batch | Dimension:
        """The index that an axis of this size runs along."""
        found = self._cut.get(size) or self._at_hand.get(size)
        if found is not None:
            return found
        if size not in self.inner:
            planned = evaluate(size, self.sizes)
            block = 1 if size == 1 else max(LEAST_SIDE, 1 << max(planned - 1, 0).bit_length())
            self.inner[size] = Dimension(f"i{len(self.inner)}", "inner", size, block)
        return self.inner[size]

    def long_of(self, size: Size) -> Dimension | None:
        """The rows or the columns, if an axis of this size runs along one of these."""
        found = self._cut.get(size)
        return found if isinstance(found, Dimension) else None

    def is_longer(self, size: Size, strip: int) -> bool:
        """Whether an index that is not cut has more positions than a strip."""
        return size not in self._cut and evaluate(size, self.sizes) > strip

    @contextmanager
    def in_strips(self, size: Size, strip: int) -> Iterator[Dimension]:
        """While tiles have a strip of the positions of an index."""
        if size not in self.strips:
            self.strips[size] = Dimension(f"s{len(self.strips)}", "strips", size, strip)
        self._at_hand = {size: self.strips[size]}
        yield self.strips[size]
        self._at_hand = {}

    def batch_of(self, size: Size) -> Batch | None:
        """The index with one position in a program that an axis of this size runs along, if it does."""
        found = self._cut.get(size)
        return found if isinstance(found, Batch) else None

    def tile(self, sizes: Sequence[Size]) -> list[tuple[int, Dimension]]:
        """The axes of a tile in its order, with their dimensions; batch indices are none."""
        found = [(axis, each) for axis, size in enumerate(sizes) if isinstance(each := self.of(size), Dimension)]
        order = {"rows": 0, "columns": 1, "inner": 2, "strips": 2}
        return sorted(found, key=lambda item: (order[item[1].part], item[0]))
