"""The pass that computes in float32 what is float16, on hosts, where half precision is a way to store numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..ir import DType, Graph, Node, build
from ..ir.operations import Cast, Concatenate, Constant, Delta, Einsum, Extent, Input, Iota, Pad, Take
from ..ir.traverse import rebuild
from .manager import Pass

NARROW, WIDE = DType.float16, DType.float32


@dataclass(frozen=True)
class Widen(Pass):
    """Graph in; the same graph out, with float16 for what is read and returned, and float32 for what is computed.

    A processor has no arithmetic of eleven bits: NumPy converts at each operation, and may round a sum at each term
    (the mean of 16,384 tenths is 0.016 then).  What the user casts to float16 is rounded there; what only moves
    elements of an input stays as it is.  No value becomes less accurate.  ::

        %x: f16[i,j] = input "x"
        %0: f16[i] = einsum "ij->i" %x
        %1: f16[i] = map "exp(a)" "i->i" %0

    becomes ::

        %x: f16[i,j] = input "x"
        %0: f32[i,j] = cast {dtype="float32"} %x
        %1: f32[i] = einsum "ij->i" %0
        %2: f32[i] = map "exp(a)" "i->i" %1
        %3: f16[i] = cast {dtype="float16"} %2
    """

    name: ClassVar[str] = "widen"

    def run(self, graph: Graph) -> Graph:
        """Compute in float32."""
        return self.run_counting(graph)[0]

    def run_counting(self, graph: Graph) -> tuple[Graph, Counter[str]]:
        """The graph, and how many operations are float32 now."""
        if not any(node.type.dtype is NARROW for node in graph.nodes()):
            return graph, Counter()
        wide: dict[Node, Node] = {}

        def change(node: Node, operands: Sequence[Node]) -> Node:
            value = _widened(node, operands, wide)
            if node.type.dtype is NARROW and value.type.dtype is WIDE:
                wide[node] = value
            return build.cast(value, node.type.dtype)

        return graph.transform(change), Counter({"float32": len(wide)} if wide else {})


def _widened(node: Node, operands: Sequence[Node], wide: dict[Node, Node]) -> Node:
    """The node on operands in float32, and thereby in float32 itself; in float16 where nothing is computed."""
    match node.op:
        case Input():
            return node
        case Constant(dtype=DType.float16):
            return build.constant(node.op.array, WIDE)
        case Delta(size=size, dtype=DType.float16):
            return build.delta(size, WIDE)
        case Iota(size=size, dtype=DType.float16):
            return build.iota(size, WIDE)
        case Extent(size=size, dtype=DType.float16):
            return build.extent(size, WIDE)
    if _moves(node) and not any(x in wide for x in node.operands):
        return rebuild(node, operands)
    values = [wide.get(old, new) for old, new in zip(node.operands, operands, strict=True)]
    if not isinstance(node.op, Cast):
        values = [build.cast(x, WIDE) if x.type.dtype is NARROW else x for x in values]
    return rebuild(node, values)


def _moves(node: Node) -> bool:
    """Whether a node's elements are those of its operands: a view, a copy, a transposition or a diagonal."""
    if isinstance(node.op, Einsum) and len(node.operands) == 1:
        return set(node.op.inputs[0]) == set(node.op.output)
    return node.op.view or isinstance(node.op, (Pad, Concatenate, Take))
