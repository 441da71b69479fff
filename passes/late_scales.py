"""The pass that leaves sums of float16 that are scaled afterwards in float32 until they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..ir import DType, Graph, Node, build
from ..ir.operations import Einsum, LinearCombination, Map
from ..ir.scalar import Argument, Call, Literal, Scalar
from ..ir.traverse import rebuild
from .manager import Pass

NARROW, WIDE = DType.float16, DType.float32


@dataclass(frozen=True)
class LateScales(Pass):
    """Graph of pairwise products in; equal graph in which products that sum in float16 are float32 where only scalings
    read them.

    Algebra makes ``x @ (w * s)`` and ``(x @ w) * s`` one einsum, and scaling the smaller tensor is cheaper.  In
    float16, which ends at 65504, the sum may be out of range where the scaled one is not.  A scaling multiplies by a
    tensor that has no index of its own, or by a number below one.  ::

        %1: f16[i,k] = einsum "ij,jk->ik" %x, %w
        %2: f16[i,k] = einsum "ik,k->ik" %1, %s

    becomes ::

        %1: f32[i,k] = einsum "ij,jk->ik" %x32, %w32
        %2: f32[i,k] = einsum "ik,k->ik" %1, %s32
        %3: f16[i,k] = cast {dtype="float16"} %2

    where ``%x32`` stands for the cast of ``%x``: a GPU multiplies what is stored, and adds up in float32.
    """

    name: ClassVar[str] = "late_scales"

    def run(self, graph: Graph) -> Graph:
        """Widen the sums."""
        return self.run_counting(graph)[0]

    def run_counting(self, graph: Graph) -> tuple[Graph, Counter[str]]:
        """The graph, and how many values are float32 now."""
        wide = _read_by_scalings(graph)
        return (_widened(graph, wide), Counter({"float32": len(wide)})) if wide else (graph, Counter())


def _widened(graph: Graph, wide: set[Node]) -> Graph:
    values: dict[Node, Node] = {}  # in float32

    def change(node: Node, operands: Sequence[Node]) -> Node:
        if node not in wide and not any(x in values for x in node.operands):
            return rebuild(node, operands)
        widened = [values[old] if old in values else build.cast(new, WIDE)
                   for old, new in zip(node.operands, operands, strict=True)]  # fmt: skip
        value = rebuild(node, widened)
        if node in wide:
            values[node] = value
        return build.cast(value, NARROW)

    return graph.transform(change)


def _read_by_scalings(graph: Graph) -> set[Node]:
    """Products that sum, and scalings of these, that nothing reads but scalings."""
    order = graph.nodes()
    readers: dict[Node, list[Node]] = {}
    for node in order:
        for operand in node.operands:
            readers.setdefault(operand, []).append(node)
    outputs = set(graph.outputs)
    sums: set[Node] = set()
    for node in order:
        large = _sums(node) or any(x in sums and _scales(node, x) for x in node.operands)
        if large and node not in outputs and all(_scales(reader, node) for reader in readers[node]):
            sums.add(node)
    return sums


def _sums(node: Node) -> bool:
    """Whether a node multiplies two tensors of float16 and sums."""
    if not isinstance(node.op, Einsum) or node.type.dtype is not NARROW or len(node.operands) != 2:
        return False
    return not set(node.op.inputs[0] + node.op.inputs[1]) <= set(node.op.output)


def _scales(node: Node, operand: Node) -> bool:
    """Whether a node does no more to an operand than to multiply its elements, and may make them smaller."""
    if isinstance(node.op, Map):
        places = [k for k, x in enumerate(node.operands) if x is operand]
        whole = all(node.op.inputs[k] == tuple(range(node.op.rank)) for k in places)
        return len(places) == 1 and whole and _is_multiple(node.op.expression, places[0])
    if isinstance(node.op, LinearCombination):
        terms = zip(node.operands, node.op.coefficients, strict=True)
        return all(abs(coefficient) < 1 for each, coefficient in terms if each is operand)
    if not isinstance(node.op, Einsum) or node.operands.count(operand) != 1 or len(node.operands) != 2:
        return False
    own = set(node.op.inputs[node.operands.index(operand)])
    return set(node.op.inputs[0] + node.op.inputs[1]) == own == set(node.op.output)


def _is_multiple(expression: Scalar, position: int) -> bool:
    """Whether a scalar expression is a product with one of its arguments, and with none of the numbers above one."""
    stack, times = [expression], 0
    while stack:
        match stack.pop():
            case Call(function="mul", arguments=arguments):
                stack += arguments
            case Literal(value=value) if abs(value) < 1:
                pass
            case Argument(position=found):
                times += found == position
            case _:
                return False
    return times == 1
