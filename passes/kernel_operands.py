"""What kernels read: not the deltas of an embedding, nor the diagonals of a sum as tensors of their own."""

from __future__ import annotations

from ..ir import Graph, Node
from ..ir import operations as ops
from ..ir.kernels import DiagonalTerm
from .algebra.diagonal_rules import diagonal_terms
from .contraction.einsum_parts import is_embedding, tied_labels


def kernel_operands(node: Node) -> list[Node]:
    """The operands that the kernel of ``node`` reads: deltas of an embedding are never made."""
    if isinstance(node.op, ops.Einsum) and is_embedding(node.op, node.operands):
        return [x for x in node.operands if not isinstance(x.op, ops.Delta)]
    if (found := diagonal_terms(node)) is not None:
        dense, diagonals = found
        return [node.operands[dense], *(x for k in diagonals for x in _embedded_tensor(node.operands[k]))]
    return list(node.operands)


def _embedded_tensor(diagonal: Node) -> list[Node]:
    """The tensor on a diagonal; none where it is ones."""
    return [] if isinstance(diagonal.op, ops.Delta) else kernel_operands(diagonal)


def added_diagonals(node: Node) -> tuple[DiagonalTerm, ...]:
    """The diagonals of a sum with them, on the axes of the result."""
    found = diagonal_terms(node)
    assert found is not None
    assert isinstance(node.op, ops.LinearCombination)
    terms = []
    for k in found[1]:
        labels, output = _embedding(node.operands[k])
        placed = tuple(label for _, label in sorted(zip(node.op.inputs[k], output, strict=True)))
        terms.append(DiagonalTerm(labels, placed, node.op.coefficients[k]))
    return tuple(terms)


def _embedding(diagonal: Node) -> tuple[tuple[int, ...] | None, tuple[int, ...]]:
    """The labels of a diagonal's tensor, None where it is ones, and of the diagonal."""
    if isinstance(diagonal.op, ops.Delta):
        return None, (0, 0)
    assert isinstance(diagonal.op, ops.Einsum)
    labels, output = tied_labels(diagonal.op, diagonal.operands)
    return (labels if kernel_operands(diagonal) else None), output


def needed_nodes(graph: Graph) -> set[Node]:
    """The nodes that some kernel computes."""
    found: set[Node] = set()
    stack = list(graph.outputs)
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack.extend(kernel_operands(node))
    return found
