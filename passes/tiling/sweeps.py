"""Passes over the scores: the exits of one level that keep the same long index, and what follows from them at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ...ir import Graph, Node
from .joint_sums import is_joint_sum, read_once
from .levels import Levels
from .scores import Scores
from .spaces import Labels, is_elementwise, space_of


@dataclass(frozen=True)
class Sweep:
    """One pass: a program for each block of the index ``outer`` (and each batch), in a loop over blocks of ``inner``.

    ``exits`` are computed in the loop; ``after`` are elementwise nodes computed from them once it has ended.  Both
    have the index of each of their axes.  ``joint`` are those of the latter that are sums of exits of which nothing
    else is read: the loop gathers these instead.
    """

    level: int
    outer: int
    inner: int
    exits: Mapping[Node, Labels]
    after: dict[Node, Labels] = field(default_factory=dict)
    operands: dict[Node, tuple[Labels, ...]] = field(default_factory=dict)
    joint: list[Node] = field(default_factory=list)

    @property
    def gathered(self) -> list[Node]:
        """What the loop gathers."""
        terms = {x for node in self.joint for x in node.operands}
        return [*(x for x in self.exits if x not in terms), *self.joint]

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
    sweeps, single = [], read_once(graph, scores)
    for (level, outer), exits in groups.items():
        inner = scores.columns if outer == scores.rows else scores.rows
        sweep = Sweep(level, outer, inner, exits)
        _add_what_follows(sweep, graph.nodes(), scores, levels)
        plain = single & sweep.exits.keys() - levels.relative.keys()
        sweep.joint.extend(node for node in sweep.after if is_joint_sum(node, plain))
        sweeps.append(sweep)
    return sweeps


def _add_what_follows(sweep: Sweep, order: Sequence[Node], scores: Scores, levels: Levels) -> None:
    """Take in the elementwise nodes whose operands are there, and that have the program's indices."""
    values = dict(sweep.exits)
    needed = {sweep.outer, *scores.batch}
    for node in order:
        if node in values or node in scores.members or node in scores.exits or not is_elementwise(node):
            continue
        others = [x for x in node.operands if x not in values]
        if any(x not in levels.ready or levels.ready[x] > sweep.level for x in others):
            continue
        names = _indices(node, values, needed)
        space = space_of(node)
        if names is None or space is None or not needed <= set(names.values()):
            continue
        values[node] = sweep.after[node] = tuple(names[label] for label in space.output)
        sweep.operands[node] = tuple(tuple(names[label] for label in inner) for inner in space.inputs)


def _indices(node: Node, values: Mapping[Node, Labels], cut: Collection[int]) -> dict[int, int] | None:
    """The index that each label of a node is, by its operands among ``values``; None where these do not say it.

    Where two indices meet that are not ``cut``, the first stands for both.
    """
    space = space_of(node)
    assert space is not None
    names: dict[int, int] = {}
    for operand, inner in zip(node.operands, space.inputs, strict=True):
        for label, index in zip(inner, values.get(operand, inner), strict=True):
            if operand in values and (met := names.setdefault(label, index)) != index and {met, index} & set(cut):
                return None
    every = {label for labels in (*space.inputs, space.output) for label in labels}
    is_plain = len(set(names.values())) == len(names)
    return names if every == names.keys() and is_plain else None
