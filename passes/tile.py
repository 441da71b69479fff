"""The pass that keeps values with two long indices in tiles: attention and its kin, in memory linear in the length."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

from ..ir import DType, Graph, Node, Size
from ..ir.dims import evaluate
from ..ir.dtypes import NARROW
from ..ir.specialise import free_symbols
from ..ir.traverse import rebuild
from .lower import pairwise
from .manager import Pass
from .tiling.blocks import Blocks, block_sizes, fit_tiles
from .tiling.elements import Region
from .tiling.exits import with_plain_exits
from .tiling.joint_sums import with_joint_sums
from .tiling.known_sums import with_known_sums
from .tiling.levels import Levels, levels_of
from .tiling.nests import Cut, Nest
from .tiling.scores import NotTiled, Scores, Seed, Users, scores_around, seeds, users_of
from .tiling.spaces import Labels
from .tiling.sweeps import Sweep, sweeps_of
from .tiling.ties import refuse_ties
from .tiling.traffic import elements, fits_tiles, inner_sizes, needed_members, repeated_flops, saved_bytes
from .tiling.windows import Windows

_PROGRAMS = 64  # that keep half of a GPU busy


@dataclass(frozen=True)
class Tile(Pass):
    """Graph in; equal graph in which chains of products through two long indices run tile by tile.

    A region is what carries both indices: scores, made by a product with a short inner index, then elementwise
    work and reductions, and products that sum one of the long indices.  Nothing of a region is ever whole in memory.
    Each pass over it is a loop over blocks of the index that its results keep, with a loop over blocks of the other
    inside; scores are computed anew in every pass.  Softmax takes one pass, since sums relative to a maximum are
    rescaled as it grows.  Derivatives of any order take a few more.

    A region is left as it is where the bytes that tiles save, at ``flops_per_byte`` operations of float32 each (four
    times as many of halves, a quarter of float64), are worth less than the products that are computed again; where an
    inner index is long; where few programs would have much to do; and where a score is needed whole.
    Blocks that a mask by positions hides whole are not visited (``window``; conditions in ``tiling/windows.py``).
    Where sizes are not known yet, nothing changes. ::

        %0: f32[n,m] = einsum "nd,md->nm" %Q, %K
        %1: f32[n] = reduce {kind="shift", axes=(1,)} %0
        %2: f32[n,m] = map "exp(a - b)" "nm,n->nm" %0, %1
        %3: f32[n] = einsum "nm->n" %2
        %4: f32[n,m] = map "a / b" "nm,n->nm" %2, %3
        %5: f32[n,d] = einsum "nm,md->nd" %4, %V

    becomes ::

        %0: f32[n,d] = blockwise {size=n, block=64, cut=(0, None, None), join=(0,), symbol="rows", …} %Q, %K, %V do
          %0: f32[rows] = blockwise {size=m, block=64, …, join=("max", "relative 0", "relative 0")} %x0, %x1, %x2 do
            …
    """

    name: ClassVar[str] = "tile"
    flops_per_byte: int = 64
    sizes: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)

    def run(self, graph: Graph) -> Graph:
        """Tile for the sizes at hand."""
        return self.run_counting(graph)[0]

    def run_counting(self, graph: Graph) -> tuple[Graph, Counter[str]]:
        """The graph, and the number of loops in it that are new."""
        if free_symbols(graph.outputs) - self.sizes.keys():
            return graph, Counter()
        counted: Counter[str] = Counter()
        done: set[Node] = set()
        while (found := self._next(graph, done)) is not None:
            graph, sweeps = found
            counted["sweep"] += len(sweeps)
        return graph, +counted

    def with_sizes(self, sizes: Mapping[str, int]) -> Tile:
        """The same pass, for these sizes."""
        return dataclasses.replace(self, sizes={**self.sizes, **sizes}) if sizes else self

    def _next(self, graph: Graph, done: set[Node]) -> tuple[Graph, Sequence[Sweep]] | None:
        """The graph with one more region in tiles; ``done`` are the seeds that led to none."""
        graph = pairwise(graph, self.sizes)
        order = graph.nodes()
        counts = {node: elements(node, self.sizes) for node in order}
        lengths = {node: [evaluate(size, self.sizes) for size in node.type.shape] for node in order}
        users = users_of(graph)
        for seed in seeds(graph, counts, lengths):
            if seed.node in done:
                continue
            done.add(seed.node)
            try:
                return self._tiled(graph, users, seed)
            except NotTiled:
                continue  # the region stays as it is, as do all that no pass has a better form for
        return None

    def _tiled(self, graph: Graph, users: Users, seed: Seed) -> tuple[Graph, Sequence[Sweep]]:
        scores = scores_around(graph, users, seed)
        refuse_ties(graph, scores)
        if not fits_tiles(inner_sizes(scores, (), self.sizes)) or not saved_bytes(scores, self.sizes):
            raise NotTiled("nothing to save, or a long inner index")
        plain = pairwise(with_plain_exits(graph, scores), self.sizes)
        plain = with_known_sums(plain, scores_around(plain, users_of(plain), seed))
        plain = with_joint_sums(plain, scores_around(plain, users_of(plain), seed))
        region = _Region(plain, scores_around(plain, users_of(plain), seed), self.sizes)
        region.check(self.flops_per_byte)
        return region.graph_with_loops(), region.sweeps


class _Region:
    """One region with its sweeps, and the graph with loops in its place."""

    def __init__(self, graph: Graph, scores: Scores, sizes: Mapping[str, int]) -> None:
        self.graph, self.scores, self.sizes = graph, scores, sizes
        self.levels: Levels = levels_of(graph, scores)
        self.sweeps = sweeps_of(graph, scores, self.levels)
        self.extent: dict[int, Size] = {}
        for node, labels in scores.members.items():
            self.extent.update(zip(labels, node.type.shape, strict=True))
        self.new: dict[Node, Node] = {}
        self.wide: dict[Node, Node] = {}

    def check(self, flops_per_byte: int) -> None:
        """Raise ``NotTiled`` where tiles are not possible, or not worth it."""
        nodes = [*self.scores.members, *self.scores.exits]
        if any(x.type.dtype.kind not in ("float", "bool", "int", "uint") for x in nodes):
            raise NotTiled("numbers that are not real")
        if any(0 in x.type.shape for x in nodes) or any(evaluate(x, self.sizes) == 0 for x in self.extent.values()):
            raise NotTiled("nothing to compute")
        for labels in self.scores.exits.values():
            if not set(self.scores.batch) <= set(labels):
                raise NotTiled("a sum lacks an index that the scores have")
        if not fits_tiles(inner_sizes(self.scores, self.sweeps, self.sizes)):
            raise NotTiled("a long inner index")
        saved, repeated = saved_bytes(self.scores, self.sizes), repeated_flops(self.scores, self.sweeps, self.sizes)
        bits = max(16, *(x.type.dtype.bits for x in self.scores.members))
        if not saved or repeated > flops_per_byte * saved * 32**2 // bits**2:  # products of halves are the fastest
            raise NotTiled(f"{repeated} operations for {saved} bytes")
        for sweep in self.sweeps:
            if not fit_tiles(sweep, self.scores, self.sizes):
                raise NotTiled("a third long index")
            if self._is_idle(self._cuts(sweep)):
                raise NotTiled("few programs with much to do one after another")

    def _is_idle(self, cuts: Sequence[Cut]) -> bool:
        """Whether so few programs go through so many blocks that most of a GPU would wait for them."""
        blocks = [-(-evaluate(cut.size, self.sizes) // cut.block) for cut in cuts]
        return math.prod(blocks[:-1]) < _PROGRAMS and blocks[-1] > _PROGRAMS

    def graph_with_loops(self) -> Graph:
        """Level by level: what can be computed before it, then its loops."""
        order = self.graph.nodes()
        inside = {*self.scores.members, *(x for sweep in self.sweeps for x in sweep.values)}
        for level in range(max(self.levels.of.values()) + 2):
            for node in order:
                if node not in inside and node not in self.new and self.levels.ready[node] <= level:
                    self.new[node] = rebuild(node, [self.new[x] for x in node.operands])
            for sweep in self.sweeps:
                if sweep.level == level:
                    self._loop(sweep)
        for node in order:
            if node not in inside and node not in self.new:
                self.new[node] = rebuild(node, [self.new[x] for x in node.operands])
        return self.graph.replaced({node: self.new[node] for node in order if node in self.new})

    def _loop(self, sweep: Sweep) -> None:
        stored, read = self._wanted(sweep)
        wanted = [*stored, *(x for x in read if x not in stored or x.type.dtype in NARROW)]
        types = [x.type.dtype for x in stored]
        types += [DType.float32 if x.type.dtype in NARROW else x.type.dtype for x in wanted[len(stored) :]]
        window = self._windows.of(sweep)
        strip = self._blocks(sweep).strip
        nest = Nest(sweep, self.scores, self.levels, self._cuts(sweep), self.new, self.wide, window, strip)
        made = nest.nodes(wanted, types)
        for position, (node, value) in enumerate(zip(wanted, made, strict=True)):
            if position < len(stored):
                self.new[node] = value
            if node in read:
                self.wide[node] = value

    def _wanted(self, sweep: Sweep) -> tuple[list[Node], list[Node]]:
        """The values that are stored for the rest of the graph, and those that later sweeps read."""
        mine, inside = sweep.values, set(self.scores.members)
        later: set[Node] = set()
        for other in self.sweeps:
            if other is not sweep:
                inside |= set(other.values)
                nodes = {*needed_members(other, self.scores), *other.values}
                later.update(x for node in nodes for x in node.operands if x in mine)
        outside = {x for x in self.graph.outputs if x in mine}
        for node in self.graph.nodes():
            if node not in inside and node not in mine:
                outside.update(x for x in node.operands if x in mine)
        return [x for x in mine if x in outside], [x for x in mine if x in later]

    @cached_property
    def _windows(self) -> Windows:
        rows, columns = self.extent[self.scores.rows], self.extent[self.scores.columns]
        return Windows(Region(self.graph, self.scores, rows, columns))

    @cached_property
    def _symbols(self) -> list[str]:
        """What the dims of blocks are called: like no dim of the graph."""
        taken, number = free_symbols(self.graph.outputs), 1
        while True:
            suffix = f"_{number}" if number > 1 else ""
            batch = [f"batch{suffix}_{k}" for k in range(len(self.scores.batch))]
            names = [*batch, f"rows{suffix}", f"columns{suffix}"]
            if taken.isdisjoint(names):
                return names
            number += 1

    def _cuts(self, sweep: Sweep) -> list[Cut]:
        long: Labels = (sweep.outer, sweep.inner)
        blocks = self._blocks(sweep)[:2]
        *batch, rows, columns = self._symbols
        cuts = [Cut(x, self.extent[x], 1, name) for x, name in zip(self.scores.batch, batch, strict=True)]
        names = (rows, columns)
        return cuts + [Cut(x, self.extent[x], block, name) for x, block, name in zip(long, blocks, names, strict=True)]

    def _blocks(self, sweep: Sweep) -> Blocks:
        lengths = [evaluate(self.extent[x], self.sizes) for x in (sweep.outer, sweep.inner)]
        return block_sizes(sweep, self.scores, lengths, self.sizes)
