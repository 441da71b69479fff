"""The pass that takes factors out of sums which would otherwise wait for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..ir import DType, Graph, Node, build
from ..ir.operations import Einsum, Reduce
from ..ir.traverse import rebuild
from .manager import Pass
from .tiling.exits import Factor, factors_of, multiplied, sizes_of, unless_empty

_DTYPES = (DType.float64, DType.float32, DType.bfloat16)  # with float16 a sum may leave the range


@dataclass(frozen=True)
class Outside(Pass):
    """Graph in; equal graph in which sums of products have no factors that lack their indices and need another sum.

    The gradient of a softmax then sums ``exp(x - max)·u`` beside ``exp(x - max)``, in one pass over a long row, where
    it would first wait for the sum to divide by.  Matrix products stay as they are.  How many sums wait for
    another decreases. ::

        %1: f64[a] = einsum "ab->a" %0
        %2: f64[a,b] = map "a / b" "ab,a->ab" %0, %1
        %3: f64[a] = einsum "ab,ab->a" %2, %u

    becomes ::

        %1: f64[a] = einsum "ab,ab->a" %0, %u
        %2: f64[a] = einsum "ab->a" %0
        %3: f64[a] = map "a / b" "a,a->a" %1, %2
    """

    name: ClassVar[str] = "outside"

    def run(self, graph: Graph) -> Graph:
        """Take the factors out."""
        return self.run_counting(graph)[0]

    def run_counting(self, graph: Graph) -> tuple[Graph, Counter[str]]:
        """The graph, and the number of sums that wait for less."""
        waiting, counted = _Waiting(), Counter[str]()

        def change(node: Node, operands: Sequence[Node]) -> Node:
            plain = rebuild(node, operands)
            found = _apart(plain, waiting) if _is_plain_sum(plain) else None
            counted["factor"] += found is not None
            return plain if found is None else found

        changed = graph.transform(change)
        return (changed, counted) if +counted else (graph, Counter())


class _Waiting:
    """Which nodes need a sum or another reduction."""

    def __init__(self) -> None:
        self.known: dict[Node, bool] = {}

    def __contains__(self, wanted: Node) -> bool:
        stack = [wanted]
        while stack:
            node = stack[-1]
            left = [x for x in node.operands if x not in self.known]
            if left and node not in self.known:
                stack += left
                continue
            stack.pop()
            self.known[node] = _summed(node) or isinstance(node.op, Reduce) or any(self.known[x] for x in node.operands)
        return self.known[wanted]


def _summed(node: Node) -> bool:
    if not isinstance(node.op, Einsum):
        return False
    return bool({x for labels in node.op.inputs for x in labels} - set(node.op.output))


def _is_plain_sum(node: Node) -> bool:
    """Whether a node sums a product of tensors of which one has all the kept indices: no matrix product."""
    if not isinstance(node.op, Einsum) or not _summed(node) or node.type.dtype not in _DTYPES:
        return False
    inputs, output = node.op.inputs, node.op.output
    if any(len(set(labels)) < len(labels) for labels in (*inputs, output)):
        return False
    return any(set(output) <= set(labels) for labels in inputs)


def _apart(node: Node, waiting: _Waiting) -> Node | None:
    """The sum with its factors taken out, or None where there are none that wait."""
    assert isinstance(node.op, Einsum)
    inputs, output = node.op.inputs, node.op.output
    summed = {x for labels in inputs for x in labels} - set(output)

    def leaves(part: Factor) -> bool:
        return isinstance(part.value, Node) and not summed & set(part.labels) and part.value in waiting

    def is_opened(parts: Sequence[Factor]) -> bool:
        return any(leaves(part) for part in parts)

    pairs = zip(node.operands, inputs, strict=True)
    parts = [part for operand, labels in pairs for part in factors_of(operand, labels, is_opened)]
    outside = [part for part in parts if leaves(part) or not isinstance(part.value, Node)]
    inside = [part for part in parts if part not in outside]
    if not is_opened(parts) or not summed <= {x for part in inside for x in part.labels}:
        return None
    sizes = sizes_of(node.operands, inputs, summed)
    if 0 in sizes or all(part.is_divisor for part in inside):
        return None
    labels = tuple(x for x in output if any(x in part.labels for part in inside))
    return unless_empty(multiplied(_total(inside, labels), labels, outside, output), sizes)


def _total(factors: Sequence[Factor], kept: tuple[int, ...]) -> Node:
    """The sum of a product over all indices but those that are kept."""
    tensors = [(x.value, x.labels) for x in factors if isinstance(x.value, Node)]
    if len(tensors) <= 2 and not any(x.is_divisor for x in factors):
        return build.einsum([x for x, _ in tensors], [labels for _, labels in tensors], kept)
    ordered = sorted(factors, key=lambda x: x.is_divisor)
    every = tuple(dict.fromkeys(label for x in ordered for label in x.labels))
    first = ordered[0]
    assert isinstance(first.value, Node)
    return build.einsum([multiplied(first.value, first.labels, ordered[1:], every)], [every], kept)
