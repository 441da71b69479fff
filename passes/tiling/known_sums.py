"""Sums of scores that follow from other sums without the scores.

Where the product of weights and values is made anyway, a sum over products of the same weights with a product of the
values is one over its short index: ``sum_k w[q,k] (sum_e U[q,e] V[k,e]) = sum_e U[q,e] (sum_k w[q,k] V[k,e])``.  So the
gradient of attention takes what it needs to know of each row from the output (T. Dao et al., arXiv 2205.14135, section
3.1 and appendix B.2).
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ir import Graph, Node, build
from ...ir import operations as ops
from ...ir.traverse import rebuild
from .scores import Scores
from .spaces import Labels
from .traffic import is_matrix_product


def with_known_sums(graph: Graph, scores: Scores) -> Graph:
    """An equal graph in which such sums are taken from the products; the same one where there are none."""
    found = {node: known for node in scores.exits if (known := _known(node, scores)) is not None}
    if not found:
        return graph

    def change(node: Node, operands: Sequence[Node]) -> Node:
        return rebuild(node, operands) if node not in found else found[node]

    return graph.transform(change)


def _known(node: Node, scores: Scores) -> Node | None:
    """The sum from the product of its weights with values; None where there is no such product.

    In half precision it would be a difference of numbers with few digits: there kernels sum it themselves.
    """
    if not isinstance(node.op, ops.Einsum) or len(node.operands) != 2 or node.type.dtype.bits < 32:
        return None
    if not set(node.operands) <= scores.members.keys():
        return None
    for made, weights in (node.operands, node.operands[::-1]):
        if not is_matrix_product(made):
            continue
        for total in scores.exits:
            if is_matrix_product(total) and weights in total.operands and _sums_as(total, node, scores):
                found = _by_product(made, weights, total, node, scores)
                if found is not None:
                    return found
    return None


def _sums_as(total: Node, node: Node, scores: Scores) -> bool:
    """Whether two exits sum the same one of the long indices."""
    long = {scores.rows, scores.columns}
    return long & set(scores.exits[total]) == long & set(scores.exits[node])


def _by_product(made: Node, weights: Node, total: Node, node: Node, scores: Scores) -> Node | None:
    """``sum_e U[q,e] total[q,e]``: ``made`` is the product of U and V, ``total`` that of the weights and V."""
    place = total.operands.index(weights)
    values, its = total.operands[1 - place], scores.operands[total][1 - place]
    if values not in made.operands:
        return None
    other = made.operands.index(values)
    names = dict(zip(its, scores.operands[made][other], strict=True))
    short = [index for index, name in names.items() if index != name]
    if len(short) != 1 or made.operands[1 - other] is values:
        return None
    labels: Labels = tuple(names.get(index, index) for index in scores.exits[total])
    factor = made.operands[1 - other], scores.operands[made][1 - other]
    if set(labels) | set(factor[1]) != {*scores.exits[node], names[short[0]]}:
        return None
    return build.einsum([factor[0], total], [factor[1], labels], scores.exits[node])
