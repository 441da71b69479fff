"""Sums of float16 that are scaled afterwards, in float32 until they are.

Algebra makes ``x @ (w * s)`` and ``(x @ w) * s`` one einsum, and scaling the smaller tensor is cheaper.  In float16,
which ends at 65504, the sum may be out of range where the scaled one is not.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir import DType, Graph, Node, build
from ...ir.operations import Einsum, LinearCombination
from ...ir.traverse import rebuild

NARROW, WIDE = DType.float16, DType.float32


def wide_sums(graph: Graph) -> Graph:
    """Equal graph in which products that sum in float16 are float32 where only scalings read them.

    A scaling is a product that sums nothing with a tensor that has no index of its own, or a coefficient below one.  ::

        %1: f16[i,k] = einsum "ij,jk->ik" %x, %w
        %2: f16[i,k] = einsum "ik,k->ik" %1, %s

    becomes ::

        %1: f32[i,k] = einsum "ij,jk->ik" %x32, %w32
        %2: f32[i,k] = einsum "ik,k->ik" %1, %s32
        %3: f16[i,k] = cast {dtype="float16"} %2

    where ``%x32`` stands for the cast of ``%x``.
    """
    wide = _read_by_scalings(graph)
    if not wide:
        return graph
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
    if isinstance(node.op, LinearCombination):
        terms = zip(node.operands, node.op.coefficients, strict=True)
        return all(abs(coefficient) < 1 for each, coefficient in terms if each is operand)
    if not isinstance(node.op, Einsum) or node.operands.count(operand) != 1 or len(node.operands) != 2:
        return False
    own = set(node.op.inputs[node.operands.index(operand)])
    return set(node.op.inputs[0] + node.op.inputs[1]) == own == set(node.op.output)
