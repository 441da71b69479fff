"""The pass that runs elementwise work and reductions block by block, so that what is between stays in cache."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import ClassVar

from ..ir import DType, Graph, Node, Size
from ..ir import operations as ops
from ..ir.dims import evaluate
from ..ir.kernels import Contraction, Direct, Kernel, Rearrangement
from ..ir.program import Program
from ..ir.scalar import Call, postorder
from ..ir.specialise import free_symbols
from ..ir.traverse import rebuild
from .fusion.streams import Members, Stream, find_streams
from .lower import lower_unbound, pairwise
from .manager import Pass
from .memory.loop_bodies import Region, loops_for, unused_dim

# Elementwise steps that read and write large tensors: from how many on a loop is worth it.
_WORTHWHILE_STEPS = 2
_WHOLE = (DType.float64, DType.float32)  # dtypes that values have in memory as they have in registers
_SMALL = 64  # a tensor that is so many times smaller than another costs nothing to read again beside it
_LOGSUMEXP_STEPS = 4  # a maximum, a difference, its exponential, a sum
_STREAMED = (ops.Map, ops.LinearCombination, ops.Reduce, ops.Broadcast, ops.Cast)


@dataclass(frozen=True)
class Block(Pass):
    """Graph in; equal graph in which large elementwise work and reductions run block by block of one index.

    Intermediates are then as long as a block, and never go through memory; blocks are independent, so that
    emitters may run several at once.  Matrix products stay whole.  Where sizes are not known yet,
    and where no tensor has as many as ``large`` elements, nothing changes.  The largest tensor of a block has
    about ``elements`` of them.  One step is a loop of its own where its tensors have ``alone`` elements
    (0: nowhere) and it reads them in their order.  A product that is summed, and is no matrix product, is ``products``
    steps outside of a loop.  Small tensors are no reason to cut a large one along an index of fewer than ``positions``
    positions.  Sums over the index that are longer than ``columns`` bytes (0: none) are a loop of their own beside sums
    along it.  The index to cut is one with at most ``row`` elements for each
    position, where there is one. ::

        %0: f64[9000,900] = map "exp(a)" "ab->ab" %A
        %1: f64[9000] = einsum "ab->a" %0
        %2: f64[9000,900] = map "a / b" "ab,a->ab" %0, %1

    becomes ::

        %0: f64[9000,900] = blockwise {size=9000, block=18, cut=(0,), join=(0,), concurrent=True} %A do
          %x0: f64[block,900] = input "x0"
          %0: f64[block,900] = map "exp(a)" "ab->ab" %x0
          %1: f64[block] = einsum "ab->a" %0
          %2: f64[block,900] = map "a / b" "ab,a->ab" %0, %1
          return [%2]
        end
    """

    name: ClassVar[str] = "block"
    large: int = 1048576
    elements: int = 32768
    row: int = 65536
    alone: int = 2097152
    products: int = 1
    positions: int = 0
    columns: int = 0
    sizes: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)

    def run(self, graph: Graph) -> Graph:
        """Block for the sizes at hand."""
        return self.run_counting(graph)[0]

    def run_counting(self, graph: Graph) -> tuple[Graph, Counter[str]]:
        """The graph, and the number of loops in it that are new."""
        if free_symbols(graph.outputs) - self.sizes.keys() or not self._has_large(graph):
            return graph, Counter()
        ordered = pairwise(graph, self.sizes)
        blocking = _Blocking(ordered, self)
        if not blocking.regions:
            return graph, Counter()
        return blocking.graph_with_loops(), Counter(stream=len(blocking.regions))

    def with_sizes(self, sizes: Mapping[str, int]) -> Block:
        """The same pass, for these sizes."""
        return dataclasses.replace(self, sizes={**self.sizes, **sizes}) if sizes else self

    def _has_large(self, graph: Graph) -> bool:
        return any(_elements(node, self.sizes) >= self.large for node in graph.nodes())


def _elements(node: Node, sizes: Mapping[str, int]) -> int:
    total = 1
    for size in node.type.shape:
        total *= evaluate(size, sizes)
    return total


class _Blocking:
    """The streams of one graph that are worth a loop, and the graph with these loops."""

    def __init__(self, graph: Graph, options: Block) -> None:
        sizes = options.sizes
        self.graph, self.options, self.sizes = graph, options, sizes
        self.order = graph.nodes()
        self.span = {x: max(_elements(y, sizes) for y in (x, *x.operands)) for x in self.order}
        program = lower_unbound(graph, sizes)
        self.kernels = {call.node: call.kernel for call in program.calls}
        self.layouts = _layouts(program)
        streams = find_streams(self.order, self._is_streamed, lambda x: self.span[x] >= options.large, self._is_apart)
        found = [self._region(stream) for stream in streams if self._is_worthwhile(stream)]
        self.regions = [region for region in found if evaluate(region.size, sizes) > 1]

    def _is_streamed(self, node: Node) -> bool:
        return node in self.kernels and is_streamed(self.kernels[node])

    def _is_apart(self, node: Node, choices: Sequence[Members]) -> bool:
        """Whether all that a node would join is small beside it, and left it with no index of many positions."""
        if not choices or not self.options.positions or self.span[node] < self.options.elements:
            return False
        others = max(self.span[x] for members in choices for x in members if x is not node)
        most = max(evaluate(_cut_size(members), self.sizes) for members in choices)
        return others * _SMALL <= self.span[node] and most < self.options.positions

    def _is_worthwhile(self, stream: Stream) -> bool:
        members = stream.choices[0]
        steps = sum(self._steps(node) for node in members if self.span[node] >= self.options.large)
        if steps == 1:
            return all(self._is_shared_out(node) for node in members if self.span[node] >= self.options.large)
        return steps >= _WORTHWHILE_STEPS

    def _steps(self, node: Node) -> int:
        """Passes over memory: one for each function of a map, and for each term of a sum."""
        match node.op:
            case ops.Map(expression=expression):
                return sum(isinstance(part, Call) for part in postorder(expression))
            case ops.LinearCombination(coefficients=coefficients):
                return len(coefficients)
            case ops.Broadcast() | ops.Cast():
                return 0
            case ops.Reduce(kind="logsumexp"):
                return _LOGSUMEXP_STEPS
        match self.kernels[node]:
            case Contraction(rows=(), columns=(), inner=inner) if inner:
                return self.options.products
        return 1

    def _is_shared_out(self, node: Node) -> bool:
        """Whether one step is worth a loop: on very large tensors that it reads in their order."""
        if not self.options.alone or self.span[node] < self.options.alone:
            return False
        if not isinstance(node.op, (ops.Map, ops.LinearCombination, ops.Einsum)):
            return True
        axes = node.op.output if isinstance(node.op, ops.Einsum) else tuple(range(node.ndim))
        result = [axes[axis] for axis in self._layout(node)]
        large = [(x, labels) for x, labels in zip(node.operands, node.op.inputs, strict=True)
                 if _elements(x, self.sizes) == self.span[node]]  # fmt: skip
        memories = [[labels[axis] for axis in self._layout(x)] for x, labels in large]
        return all(memory == [label for label in result if label in memory] for memory in memories)

    def _layout(self, node: Node) -> Sequence[int]:
        """The axes in the order in which they lie in memory."""
        return self.layouts.get(node, range(node.ndim))

    def _chosen(self, stream: Stream) -> Members:
        """The index to cut along: one whose blocks are short, which needs no combination, outermost in memory."""

        def rank(members: Members) -> tuple[bool, int, int]:
            combined = sum(isinstance(index.result, str) for index in members.values())
            across = sum(index.result != next(iter(self._layout(node)), 0) for node, index in members.items())
            return self._row(members) > self.options.row, combined, across

        return min(stream.choices, key=rank)

    def _row(self, members: Members) -> int:
        """Elements of the largest tensor for each position of the index."""
        return max(self.span[node] for node in members) // max(evaluate(_cut_size(members), self.sizes), 1)

    def _region(self, stream: Stream) -> Region:
        members = self._chosen(stream)
        return Region(_cut_size(members), {node: members[node] for node in self.order if node in members})

    def graph_with_loops(self) -> Graph:
        """Each stream becomes a loop once all that it reads is there."""
        of = {node: region for region in self.regions for node in region.members}
        symbol = unused_dim(self.graph)
        new: dict[Node, Node] = {}
        for first in self._units(of):
            if first in of:
                new |= self._loop(of[first], new, symbol)
            else:
                new[first] = rebuild(first, [new[x] for x in first.operands])
        return self.graph.replaced(new)

    def _units(self, of: Mapping[Node, Region]) -> Iterator[Node]:
        """The nodes outside of loops, and the first node of each loop; what each reads comes before it."""
        leader = {node: next(iter(of[node].members)) if node in of else node for node in self.order}
        sorter = TopologicalSorter[Node]()
        for node in self.order:
            sorter.add(leader[node], *(leader[x] for x in node.operands if leader[x] is not leader[node]))
        return iter(sorter.static_order())

    def _loop(self, region: Region, new: Mapping[Node, Node], symbol: str) -> dict[Node, Node]:
        wanted = self._read_outside(region)
        results = [node for node in region.members if node in wanted]
        # Not evened out over the blocks: other sizes of the index then have the same program.
        block = max(self.options.elements // max(self._row(region.members), 1), 1)
        apart = self._sums_apart(region, results)
        if not apart:
            return loops_for(results, region, self.order, new, symbol, block=block, concurrent=True)
        ready = self._narrow_before(apart, region)
        first = [node for node in region.members if node in ready or (node in wanted and node not in apart)]
        found = loops_for(first, region, self.order, new, symbol, block=block, concurrent=True) if first else {}
        known = {**new, **found}
        return found | loops_for(apart, region, self.order, known, symbol, ready, block, concurrent=True)

    def _sums_apart(self, region: Region, results: Sequence[Node]) -> list[Node]:
        """The results that are combined over the index and are as long as a row, where rows are summed as well.

        A program that has rows whole would give a part as long as a row; in a loop of their own, such results have
        programs of which each takes some columns.
        """
        narrow = [x for x in region.members if self._is_narrow(x, region)]
        if not self.options.columns or not narrow or any(x.type.dtype not in _WHOLE for x in narrow):
            return []
        return [x for x in results if isinstance(region.members[x].result, str)
                and _elements(x, self.sizes) * x.type.dtype.bits // 8 > self.options.columns]  # fmt: skip

    def _is_narrow(self, node: Node, region: Region) -> bool:
        """Whether a member has a few numbers for each position of the index, or for all of them."""
        size = evaluate(region.size, self.sizes) if isinstance(region.members[node].result, int) else 1
        return _elements(node, self.sizes) * _SMALL <= size * self._row(region.members)

    def _narrow_before(self, results: Sequence[Node], region: Region) -> set[Node]:
        """The narrow members that these results are computed from, directly."""
        found, seen, stack = set[Node](), set[Node](), list(results)
        while stack:
            node = stack.pop()
            for position, operand in enumerate(node.operands):
                if operand in seen or not region.carries(operand, region.members[node].axis(position)):
                    continue
                seen.add(operand)
                if self._is_narrow(operand, region):
                    found.add(operand)
                else:
                    stack.append(operand)
        return found

    def _read_outside(self, region: Region) -> set[Node]:
        """The members that are outputs, or that something outside of the region reads."""
        found = {x for x in self.graph.outputs if x in region.members}
        for node in self.order:
            if node not in region.members:
                found.update(x for x in node.operands if x in region.members)
        return found


def _cut_size(members: Members) -> Size:
    """The size of the index that a stream is cut along, as any of its nodes has it."""
    node, index = next(iter(members.items()))
    if isinstance(index.result, int):
        return node.type.shape[index.result]
    place, axis = index.places[0]
    return node.operands[place].type.shape[axis]


def is_streamed(kernel: Kernel) -> bool:
    """Whether a kernel goes through its operands once: elementwise, a reduction, a product of tensor and vector."""
    match kernel:
        case Direct(operation=operation):
            return isinstance(operation, _STREAMED)
        case Rearrangement(labels=labels):
            return len(set(labels)) == len(labels)
        case Contraction(rows=rows, columns=columns):
            return not rows or not columns
    return False


def _layouts(program: Program) -> dict[Node, tuple[int, ...]]:
    """The axes of each tensor that is made, the one with the largest stride first."""
    buffers = program.buffer_map()
    return {call.node: buffers[name].layout for call in program.calls for name in call.outputs[:1]}
