"""The index space of an operation: which axes of its operands and of its result are one index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from ...ir import Node
from ...ir import operations as ops

Labels = tuple[int, ...]


@dataclass(frozen=True)
class Space:
    """Labels of each operand's axes and of the result's; ``reduction`` is how the others are reduced, if any are."""

    inputs: tuple[Labels, ...]
    output: Labels
    reduction: str | None = None

    @property
    def reduced(self) -> Labels:
        """The labels that the result lacks."""
        every = dict.fromkeys(label for labels in self.inputs for label in labels)
        return tuple(label for label in every if label not in self.output)


_known: WeakKeyDictionary[Node, Space | None] = WeakKeyDictionary()


def space_of(node: Node) -> Space | None:
    """The space of elementwise operations, reductions and products; None for others, and where axes are tied."""
    try:
        return _known[node]
    except KeyError:
        return _known.setdefault(node, _found(node))


def _found(node: Node) -> Space | None:
    op = node.op
    every = tuple(range(node.ndim))
    match op:
        case ops.Einsum(inputs=inputs, output=output):
            tied = any(len(set(labels)) < len(labels) for labels in inputs)
            if tied or any(isinstance(x.op, ops.Delta) for x in node.operands):
                return None
            space = Space(inputs, output)
            return Space(inputs, output, "sum") if space.reduced else space
        case ops.Map(inputs=inputs) | ops.LinearCombination(inputs=inputs):
            return None if any(len(set(labels)) < len(labels) for labels in inputs) else Space(inputs, every)
        case ops.Broadcast(axes=axes):
            return Space((axes,), every)
        case ops.Cast():
            return Space((every,), every)
        case ops.Reduce(kind=kind, axes=axes):
            whole = tuple(range(node.operands[0].ndim))
            return Space((whole,), tuple(axis for axis in whole if axis not in axes), kind)
    return None


def is_elementwise(node: Node) -> bool:
    """Whether every element of the result comes from one element of each operand."""
    space = space_of(node)
    return space is not None and space.reduction is None


def renumbered(inputs: Sequence[Labels], output: Labels) -> tuple[list[Labels], int]:
    """The labels of a map's operands as axes of a result that has ``output``, and its number of axes."""
    return [tuple(output.index(label) for label in labels) for labels in inputs], len(output)
