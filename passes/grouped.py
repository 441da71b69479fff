"""The pass that takes groups along a summed axis apart, so that what is done to a group can be part of a product."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..ir import Graph, Node, build
from ..ir.dims import product
from ..ir.operations import Cast, Einsum, Reshape
from ..ir.traverse import rebuild
from .fusion.epilogues import Readers, readers_of
from .fusion.scalar_values import scalar_form
from .manager import Pass


@dataclass(frozen=True)
class Grouped(Pass):
    """Graph of pairwise products in; equal graph in which a product sums groups that a reshape made one axis of.

    Weights with a scale for each group of rows are scaled as ``[groups, rows of a group, columns]`` and then reshaped
    to a matrix, and no kernel of a product can scale them as it reads them.  With the other operand's axis cut into
    groups there is no reshape between.  A reshape of what is cast becomes a cast of what is reshaped, which is a view.
    Nothing more is computed; where sizes are not numbers nothing changes. ::

        %0: f16[8,32,n] = einsum "gkn,gn->gkn" %w, %s
        %1: f16[256,n] = reshape {shape=(256, n)} %0
        %2: f16[m,n] = einsum "mk,kn->mn" %x, %1

    becomes ::

        %0: f16[8,32,n] = einsum "gkn,gn->gkn" %w, %s
        %1: f16[m,8,32] = reshape {shape=(m, 8, 32)} %x
        %2: f16[m,n] = einsum "mgk,gkn->mn" %1, %0
    """

    name: ClassVar[str] = "grouped"

    def run(self, graph: Graph) -> Graph:
        """Take groups apart."""
        return self.run_counting(graph)[0]

    def run_counting(self, graph: Graph) -> tuple[Graph, Counter[str]]:
        """The graph, and the number of products that sum groups, and of reshapes that came before a cast."""
        readers = readers_of(graph)
        found = {node: merge for node in graph.nodes() if (merge := _merge(node, readers)) is not None}
        casts = {node for node in graph.nodes() if _is_view_of_cast(node, readers)}
        if not found and not casts:
            return graph, Counter()
        new: dict[Node, Node] = {}
        for node in graph.nodes():
            operands = [new[x] for x in node.operands]
            if node in found:
                new[node] = found[node].apart(operands)
            elif node in casts:
                (cast,) = operands
                new[node] = build.cast(build.reshape(cast.operands[0], node.type.shape), node.type.dtype)
            else:
                new[node] = rebuild(node, operands)
        return graph.replaced(new), Counter({"groups apart": len(found), "view before cast": len(casts)})


@dataclass(frozen=True)
class _Merge:
    """Operand ``place`` of a product is a reshape that made one axis, ``axis``, of ``sizes``; the other has ``cut``."""

    op: Einsum
    place: int
    axis: int
    cut: int
    sizes: tuple[int, ...]

    def apart(self, operands: Sequence[Node]) -> Node:
        """The product over all of the axes, given its operands as they are now."""
        other = operands[1 - self.place]
        shape = other.type.shape
        split = build.reshape(other, (*shape[: self.cut], *self.sizes, *shape[self.cut + 1 :]))
        own = operands[self.place].operands[0]
        first = 1 + max(label for labels in self.op.inputs for label in labels)
        groups = tuple(range(first, first + len(self.sizes)))
        labels = [
            (*its[:axis], *groups, *its[axis + 1 :])
            for its, axis in ((self.op.inputs[self.place], self.axis), (self.op.inputs[1 - self.place], self.cut))
        ]
        pair = [(own, labels[0]), (split, labels[1])]
        ordered = pair if self.place == 0 else pair[::-1]
        return build.einsum([x for x, _ in ordered], [its for _, its in ordered], self.op.output)


def _merge(node: Node, readers: Readers) -> _Merge | None:
    """What can be taken apart of a product's operand that is work, reshaped; None where nothing can."""
    if not isinstance(node.op, Einsum) or len(node.operands) != 2 or any(len(set(x)) < len(x) for x in node.op.inputs):
        return None
    for place, operand in enumerate(node.operands):
        other = node.operands[1 - place]
        if not isinstance(operand.op, Reshape) or readers[operand] != (node,) or _is_view_of_cast(operand, readers):
            continue
        found = _merged_axis(operand.operands[0].type.shape, operand.type.shape)
        if found is None or not _is_work(operand.operands[0], readers) or _is_work(other, readers):
            continue
        axis, sizes = found
        label = node.op.inputs[place][axis]
        if label not in node.op.output and label in node.op.inputs[1 - place]:
            return _Merge(node.op, place, axis, node.op.inputs[1 - place].index(label), sizes)
    return None


def _is_work(node: Node, readers: Readers) -> bool:
    """Whether a node is elementwise, and made for one reader alone."""
    return len(readers[node]) == 1 and (isinstance(node.op, Cast) or scalar_form(node) is not None)


def _is_view_of_cast(node: Node, readers: Readers) -> bool:
    """Whether a node reshapes what is cast for it alone."""
    if not isinstance(node.op, Reshape):
        return False
    (cast,) = node.operands
    return isinstance(cast.op, Cast) and readers[cast] == (node,)


def _merged_axis(before: Sequence[object], after: Sequence[object]) -> tuple[int, tuple[int, ...]] | None:
    """The one axis that a reshape made of several, and their sizes; None where it did something else."""
    several = len(before) - len(after) + 1
    for axis, size in enumerate(after if several > 1 else ()):
        sizes = before[axis : axis + several]
        numbers = tuple(x for x in sizes if isinstance(x, int))
        around = (*before[:axis], *before[axis + several :]) == (*after[:axis], *after[axis + 1 :])
        if len(numbers) == several and product(numbers) == size and around:
            return axis, numbers
    return None
