"""Sizes to plan kernels for where the caller has given none."""

from __future__ import annotations

from collections import Counter

from ..ir import Graph, Node, Size
from ..ir.dims import symbols
from ..ir.operations import Einsum, Reduce

USUAL = 2048
# Nothing so long is whole in a tile; what is read in pieces may have any length.
LONG = 1 << 17
# What scores are summed over, such as the features of a head.
SHORT = 64
_MAXIMA = ("max", "shift", "logsumexp")


def nominal_sizes(graph: Graph) -> dict[str, int]:
    """A size for each symbol: short for what scores are products over, the usual one for all others.

    Scores are values with two indices that meet on no input and no output, and which are taken a maximum of, or
    have the same size twice: those of attention, whose features stand in the products that make or read scores, and
    not on the scores themselves.

    >>> import otus
    >>> q, k = otus.tensor("q", ("s", "d")), otus.tensor("k", ("t", "d"))
    >>> nominal_sizes(Graph.of([otus.logsumexp(q @ k.T, axis=1).node]))
    {'s': 2048, 'd': 64, 't': 2048}
    """
    order = graph.nodes()
    known = {pair for node in (*graph.inputs, *graph.outputs) for pair in _pairs(node)}
    reduced = {node.operands[0] for node in order if isinstance(node.op, Reduce) and node.op.kind in _MAXIMA}
    shapes = {frozenset(pair) for node in reduced for pair in _pairs(node) if pair not in known}
    shapes |= {frozenset(pair) for node in order for pair in _pairs(node) if pair not in known and pair[0] == pair[1]}
    scores = {node for node in order if any(frozenset(pair) in shapes for pair in _pairs(node))}
    short: set[str] = set()
    for node in order:
        if isinstance(node.op, Einsum):
            for score in scores.intersection((node, *node.operands)):
                around = {name for x in (node, *node.operands) for name in _names(x.type.shape)}
                short |= around.difference(_names(score.type.shape))
    found = dict.fromkeys(name for node in order for name in _names(node.type.shape))
    return {name: SHORT if name in short else USUAL for name in found}


def _names(shape: tuple[Size, ...]) -> list[str]:
    return [name for size in shape if not isinstance(size, int) for name in symbols(size)]


def _pairs(node: Node) -> set[tuple[str, str]]:
    """The names that two axes of a value have, in the order of the alphabet."""
    counts = Counter(_names(node.type.shape))
    names = sorted(counts)
    distinct = {(a, b) for k, a in enumerate(names) for b in names[k + 1 :]}
    return distinct | {(a, a) for a in names if counts[a] > 1}
