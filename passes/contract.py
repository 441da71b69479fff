"""The pass that makes every einsum a product of at most two tensors, in the cheapest order."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..ir import Graph, Node, Size
from ..ir.operations import Einsum
from ..ir.traverse import rebuild
from .contraction.einsum_parts import is_pairwise
from .contraction.partial_sums import from_finer_sums
from .contraction.plan import plan_graph, product_of_deltas
from .manager import Pass
from .planned_sizes import UNKNOWN_SIZE, planned_size


@dataclass(frozen=True)
class ContractionOrder(Pass):
    """Graph in; equal graph whose einsums multiply at most two tensors out.

    Indices that only one operand carries are summed out of it first, deltas are eliminated where
    one of their indices is summed, and diagonals that remain are embedded last.  What another einsum
    sums less of is taken from there. The number of operands of each einsum decreases.  ``optimizer`` is
    ``auto``, ``optimal``, ``dp``, ``greedy``, ``random-greedy`` or ``cotengra``; ``size`` stands for dims
    whose size is unknown; ``memory`` is a limit,
    which the pass ``slice`` then keeps.  ::

        %1: f64[i,r] = einsum "ijk,jr,kr->ir" %X, %B, %C

    becomes ::

        %1: f64[i,j,r] = einsum "ijk,kr->ijr" %X, %C
        %2: f64[i,r] = einsum "ijr,jr->ir" %1, %B
    """

    name: ClassVar[str] = "contract"
    optimizer: str = "auto"
    size: int = UNKNOWN_SIZE
    memory: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)

    def run(self, graph: Graph) -> Graph:
        """Order every einsum for the sizes at hand."""
        return self.run_counting(graph)[0]

    def run_counting(self, graph: Graph) -> tuple[Graph, Counter[str]]:
        """The graph, and how many einsums were split."""
        fired: Counter[str] = Counter()
        graph = graph.transform(_deltas_merged)
        planned = plan_graph(graph, self._size, self.optimizer)

        def change(node: Node, operands: Sequence[Node]) -> Node:
            if not isinstance(node.op, Einsum):
                return rebuild(node, operands)
            new = planned.built(node, operands)
            fired["order_einsum"] += not is_pairwise(node.op, node.operands)
            return new

        ordered = from_finer_sums(graph.transform(change), self._size)
        if self.memory:
            from .slice import Slice

            ordered, sliced = Slice(self.memory, self.sizes).run_counting(ordered)
            fired += sliced
        return ordered, fired

    def _size(self, size: Size) -> int:
        return planned_size(size, self.sizes, self.size)

    def with_sizes(self, sizes: Mapping[str, int]) -> ContractionOrder:
        """The same pass, planning for these sizes."""
        return dataclasses.replace(self, sizes={**self.sizes, **sizes}) if sizes else self


def _deltas_merged(node: Node, operands: Sequence[Node]) -> Node:
    """Products of deltas and scalars as one delta or an embedding, so that plans know them for what they are."""
    node = rebuild(node, operands)
    return product_of_deltas(node) if isinstance(node.op, Einsum) else node
