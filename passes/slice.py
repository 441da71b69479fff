"""The pass that keeps a memory limit: it cuts indices into blocks until everything fits."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..ir import Graph, Node, human_bytes
from ..ir.cost import total_flops
from ..ir.dims import evaluate
from ..ir.specialise import free_symbols
from .lower import pairwise
from .manager import Pass
from .memory.limit import MemoryLimitError, parse_bytes
from .memory.loops import body_of, grown, in_one_block, loop_operation, loops_of, with_loop
from .memory.peak import OBJECT_BYTES, Held, Moment, moments
from .memory.recompute import recomputed
from .memory.regions import slice_index
from .memory.workspace import tensor_bytes

# How many of the largest tensors that are held at the peak are tried.
_SEEDS = 5
# What counts as large beside the peak, when a region is grown around a tensor.
_LARGE_FRACTIONS = (8, 128)
# What is left free where it can be, for what is not planned: numbers, and copies where an array does not
# lie in memory as planned.
_MARGIN_FRACTION, _MARGIN_BYTES = 24, 65536


@dataclass(frozen=True)
class Slice(Pass):
    """Graph in; equal graph whose program never has more than ``memory`` bytes allocated.

    Where the peak is too high, an index of a tensor that is held then is cut into blocks, in the region of
    the graph that has this index, with the fewest additional operations; the peak decreases.  Without
    ``memory``, where the limit is kept already, and where sizes are not known yet, nothing changes.
    Raises ``MemoryLimitError`` where nothing fits. ::

        %0: f64[900,900] = einsum "ab,cb->ac" %A, %A
        %1: f64[900,900] = map "exp(a)" "ab->ab" %0
        %2: f64[900] = einsum "ab->a" %1

    becomes, under a limit of 1 MiB, ::

        %0: f64[900] = blockwise {size=900, block=70, cut=(0, None), join=(0,)} %A, %A do
          %x0: f64[block,5] = input "x0"
          %x1: f64[900,5] = input "x1"
          %0: f64[block,900] = einsum "ab,cb->ac" %x0, %x1
          %1: f64[block,900] = map "exp(a)" "ab->ab" %0
          %2: f64[block] = einsum "ab->a" %1
          return [%2]
        end
    """

    name: ClassVar[str] = "slice"
    memory: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.memory:
            parse_bytes(self.memory)

    def run(self, graph: Graph) -> Graph:
        """Slice for the sizes at hand."""
        return self.run_counting(graph)[0]

    def run_counting(self, graph: Graph) -> tuple[Graph, Counter[str]]:
        """The graph, and the number of loops in it."""
        if not self.memory or free_symbols(graph.outputs) - self.sizes.keys():
            return graph, Counter()
        limit = parse_bytes(self.memory)
        if _peak(graph, self.sizes).bytes <= limit:
            return graph, Counter()
        sliced = fitted(pairwise(graph, self.sizes), limit, self.sizes)
        return sliced, Counter(slice_index=len(loops_of(sliced)))

    def with_sizes(self, sizes: Mapping[str, int]) -> Slice:
        """The same pass, for these sizes."""
        return dataclasses.replace(self, sizes={**self.sizes, **sizes}) if sizes else self


def fitted(graph: Graph, limit: int, sizes: Mapping[str, int]) -> Graph:
    """The graph with as few and as long blocks as keep ``limit``; raises ``MemoryLimitError`` where none do."""
    for goal in (limit - min(limit // _MARGIN_FRACTION, _MARGIN_BYTES), limit):
        sliced = _Search(sizes, goal).run(graph)
        if (reached := _peak(sliced, sizes)).bytes <= goal:
            return _with_long_blocks(sliced, goal, sizes)
    sliced = _smallest(graph, sizes)
    if (smallest := _peak(sliced, sizes)).bytes > limit:
        raise _refusal(graph, limit, *_least(graph, sizes, smallest, reached.bytes))
    return _with_long_blocks(sliced, limit, sizes)


def _with_long_blocks(graph: Graph, limit: int, sizes: Mapping[str, int]) -> Graph:
    return in_one_block(grown(graph, lambda each: _peak(each, sizes).bytes <= limit, sizes), sizes)


def _smallest(graph: Graph, sizes: Mapping[str, int]) -> Graph:
    """The graph cut as far as each further loop still lowers the peak by a tenth."""
    while True:
        target = _peak(graph, sizes).bytes * 9 // 10
        lower = _Search(sizes, target).run(graph)
        if _peak(lower, sizes).bytes > target:
            return graph
        graph = lower


def _least(graph: Graph, sizes: Mapping[str, int], smallest: Moment, target: int) -> tuple[int, Moment]:
    """The least limit found that is kept when it is asked for, and the peak then, going down from ``target``."""
    least, worst = smallest.bytes, smallest
    while True:
        target = min(target, least * 63 // 64)
        found = _peak(_Search(sizes, target).run(graph), sizes)
        if found.bytes > target:
            return least, worst
        least, worst, target = target, found, found.bytes


def _peak(graph: Graph, sizes: Mapping[str, int]) -> Moment:
    """The moment with the most bytes allocated."""
    return max(moments(graph, sizes), key=lambda each: each.bytes, default=Moment(0, graph.outputs[0], ()))


@dataclass(frozen=True)
class _State:
    """A graph with loops of one position a block, and the bytes by which its steps exceed the limit in all."""

    graph: Graph
    worst: Moment
    excess: int


class _Search:
    """Cuts one index after another, always where the most is allocated."""

    def __init__(self, sizes: Mapping[str, int], limit: int) -> None:
        self.sizes, self.limit = sizes, limit

    def run(self, graph: Graph) -> Graph:
        """The graph that keeps the limit, or the last that came closer to it."""
        state = self._state(graph)
        while state.excess:
            closer = self._closer(state, self._cuts(state.graph, state.worst, state.worst.loops, self.sizes))
            closer = closer or self._closer(state, self._recomputations(state))
            if not closer:
                break
            state = self._best(closer)
        return state.graph

    def _state(self, graph: Graph) -> _State:
        steps = moments(graph, self.sizes)
        worst = max(steps, key=lambda each: each.bytes, default=Moment(0, graph.outputs[0], ()))
        return _State(graph, worst, sum(max(each.bytes - self.limit, 0) for each in steps))

    def _closer(self, state: _State, graphs: Iterable[Graph]) -> list[_State]:
        """Those graphs that are nearer to the limit."""
        distinct = {graph.outputs: graph for graph in graphs}
        states = [self._state(graph) for graph in distinct.values()]
        return [each for each in states if 100 * each.excess < 99 * state.excess]

    def _recomputations(self, state: _State) -> Iterator[Graph]:
        """The graph with one tensor alone cut, whose loop computes again what it reads whole."""
        is_large = _larger_than(state.worst.bytes // _LARGE_FRACTIONS[0], self.sizes)
        yield from recomputed(state.graph, is_large)
        for cut in self._cuts(state.graph, state.worst, state.worst.loops, self.sizes, (1,)):
            yield from recomputed(cut, is_large)

    def _cuts(
        self,
        graph: Graph,
        worst: Moment,
        loops: Sequence[Moment],
        sizes: Mapping[str, int],
        fractions: Sequence[int] = _LARGE_FRACTIONS,
    ) -> Iterator[Graph]:
        """The graph with one index more cut, at the peak: outside of the loops it is in, and inside."""
        here = loops[0] if loops else worst
        for seed in _seeds(here):
            for axis in range(seed.ndim):
                for fraction in fractions:
                    cut = slice_index(graph, seed, axis, _larger_than(here.bytes // fraction, sizes))
                    if cut is not None:
                        yield cut
        if loops:
            loop = loops[0].node
            op = loop_operation(loop)
            inner = {**sizes, op.symbol: op.block}
            for body in self._cuts(body_of(loop), worst, loops[1:], inner, fractions):
                yield with_loop(graph, loop, body.outputs)

    def _best(self, states: Sequence[_State]) -> _State:
        """The fewest operations among those that come about as close as any."""
        least = min(each.excess for each in states)
        close = [each for each in states if each.excess <= least + least // 100]
        return min(close, key=lambda each: (_flops(each.graph, self.sizes), _strided(each.graph), each.worst.bytes))


def _seeds(moment: Moment) -> list[Node]:
    """The largest tensors held, and the one being made."""
    held = sorted(moment.held, key=lambda each: -each.bytes)
    nodes = [each.node for each in held[:_SEEDS] if each.bytes > OBJECT_BYTES and each.node.operands]
    return list(dict.fromkeys([*nodes, moment.node]))


def _larger_than(count: int, sizes: Mapping[str, int]) -> Callable[[Node], bool]:
    return lambda node: tensor_bytes(node.type, sizes) > count


def _flops(graph: Graph, sizes: Mapping[str, int]) -> int:
    """The operations, as they are where blocks are long."""
    for loop in loops_of(graph):
        graph = with_loop(graph, loop, block=max(evaluate(loop_operation(loop).size, sizes), 1))
    return evaluate(total_flops(graph.outputs), sizes)


def _strided(graph: Graph) -> int:
    """How many operands and results are cut along an axis that is not their first."""
    loops = [loop_operation(loop) for loop in loops_of(graph)]
    return sum(axis not in (0, None, "sum") for op in loops for axis in (*op.cut, *op.join))


def _refusal(graph: Graph, limit: int, least: int, worst: Moment) -> MemoryLimitError:
    """Why no plan keeps the limit: the largest tensor held at the peak of the smallest plan."""
    held = [each for moment in (*worst.loops, worst) for each in moment.held]
    largest = max(held, key=lambda each: each.bytes, default=None)
    what = (
        f"{_named(graph, largest)} takes {human_bytes(largest.bytes - OBJECT_BYTES)}"
        if largest
        else f"{worst.node} does not fit"
    )
    return MemoryLimitError(
        f"a limit of {human_bytes(limit)} cannot be kept: {what}; "
        f"a limit of {least} bytes ({human_bytes(least)}) would do"
    )


def _named(graph: Graph, held: Held) -> str:
    """A tensor as a message calls it: by the user's name where it has one."""
    if held.buffer.name in (*graph.names, *graph.labels.values()):
        return f"{held.buffer.name} of type {held.buffer.type}"
    return f"a tensor of type {held.buffer.type} from {held.node.op.name}"
