"""Passes over the scores: the exits of one level that keep the same long index, and what follows from them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...ir import Graph, Node
from .levels import Levels
from .scores import Scores
from .spaces import Labels, is_elementwise, space_of


@dataclass(frozen=True)
class Sweep:
    """One pass: a program for each block of the index ``outer`` (and each batch), in a loop over blocks of ``inner``.

    ``exits`` are computed in the loop; ``after`` are elementwise nodes computed from them once it has ended.  Both
    have the index of each of their axes.
    """

    level: int
    outer: int
    inner: int
    exits: Mapping[Node, Labels]
    after: dict[Node, Labels] = field(default_factory=dict)
    operands: dict[Node, tuple[Labels, ...]] = field(default_factory=dict)

    @property
    def values(self) -> dict[Node, Labels]:
        """All that has its value when the pass is done."""
        return {**self.exits, **self.after}


def sweeps_of(graph: Graph, scores: Scores, levels: Levels) -> list[Sweep]:
    """The passes that compute the exits of a region, in order."""
    groups: dict[tuple[int, int], dict[Node, Labels]] = {}
    for node, level in sorted(levels.of.items(), key=lambda item: item[1]):
        outer = scores.rows if scores.rows in scores.exits[node] else scores.columns
        groups.setdefault((level, outer), {})[node] = scores.exits[node]
    sweeps = []
    for (level, outer), exits in groups.items():
        inner = scores.columns if outer == scores.rows else scores.rows
        sweep = Sweep(level, outer, inner, exits)
        _add_what_follows(sweep, graph.nodes(), scores, levels)
        sweeps.append(sweep)
    return sweeps


def _add_what_follows(sweep: Sweep, order: Sequence[Node], scores: Scores, levels: Levels) -> None:
    """Take in the elementwise nodes whose operands are there, and that have the program's indices."""
    values = dict(sweep.exits)
    fresh = -2  # indices that only such nodes have
    for node in order:
        if node in values or node in scores.members or node in scores.exits or not is_elementwise(node):
            continue
        mine = [k for k, x in enumerate(node.operands) if x in values]
        others = [x for x in node.operands if x not in values]
        if not mine or any(x not in levels.ready or levels.ready[x] > sweep.level for x in others):
            continue
        space = space_of(node)
        assert space is not None
        names: dict[int, int] = {}
        clash = False
        for k in mine:
            for label, index in zip(space.inputs[k], values[node.operands[k]], strict=True):
                clash |= names.setdefault(label, index) != index
        for label in dict.fromkeys(label for labels in (*space.inputs, space.output) for label in labels):
            if label not in names:
                names[label], fresh = fresh, fresh - 1
        labels = tuple(names[label] for label in space.output)
        if clash or len(set(labels)) < len(labels) or not {sweep.outer, *scores.batch} <= set(labels):
            continue
        values[node] = sweep.after[node] = labels
        sweep.operands[node] = tuple(tuple(names[label] for label in inner) for inner in space.inputs)
