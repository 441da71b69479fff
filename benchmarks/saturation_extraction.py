"""The cheapest terms in an e-graph: by the cost of trees, of graphs greedily, and of graphs exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from .saturation_engine import Choice, Saturated
from .saturation_terms import Term

Chosen = Mapping[str, Choice]


def by_tree(graph: Saturated) -> Chosen:
    """For every class the choice whose tree is cheapest: what is shared counts as often as it is read."""
    best: dict[str, tuple[int, Choice]] = {}
    changed = True
    while changed:
        changed = False
        for name, choices in graph.choices.items():
            for choice in choices:
                if any(part not in best for part in choice.parts):
                    continue
                cost = choice.cost + sum(best[part][0] for part in choice.parts) + 1
                if name not in best or cost < best[name][0]:
                    best[name] = cost, choice
                    changed = True
    return {name: choice for name, (_, choice) in best.items()}


def by_greedy_graph(graph: Saturated, most_rounds: int = 30) -> Chosen:
    """For every class the choice whose graph is cheapest, given the choices of its parts.

    Each output is cheapest alone; what outputs share is counted once in the end and does not guide the choice
    (the ``greedy-dag`` extractor of the extraction gym).
    """
    sets: dict[str, dict[str, int]] = {}
    total: dict[str, float] = {}
    chosen: dict[str, Choice] = {}
    for _ in range(most_rounds):
        changed = False
        for name, choices in graph.choices.items():
            for choice in choices:
                if any(part not in sets or name in sets[part] for part in choice.parts):
                    continue
                together: dict[str, int] = {}
                for part in choice.parts:
                    together |= sets[part]
                cost = sum(together.values()) + choice.cost
                if cost < total.get(name, math.inf):
                    sets[name], total[name], chosen[name] = {**together, name: choice.cost}, cost, choice
                    changed = True
        if not changed:
            break
    return chosen


def exactly(graph: Saturated, seconds: float, most_nodes: int = 6000) -> Chosen | None:
    """The choices whose graph is cheapest for all outputs together, by integer programming; None without one.

    A class that is read is made by one choice, whose parts are read.  Levels that fall along the choices
    exclude cycles.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    names = list(graph.choices)
    place = {name: k for k, name in enumerate(names)}
    choices = [(name, x) for name in names for x in graph.choices[name] if name not in x.parts]
    if len(choices) > most_nodes:
        return None
    classes, count = len(names), len(choices)
    # The variables: whether a class is made, whether a choice is taken, the level of a class.
    rows: list[tuple[dict[int, float], float, float]] = []
    makers: dict[str, list[int]] = {name: [] for name in names}
    for k, (name, choice) in enumerate(choices):
        makers[name].append(classes + k)
        for part in set(choice.parts):
            rows.append(({place[part]: 1, classes + k: -1}, 0, math.inf))
            level = {classes + count + place[name]: 1.0, classes + count + place[part]: -1.0, classes + k: -classes}
            rows.append((level, 1 - classes, math.inf))
    for name in names:
        rows.append(({**dict.fromkeys(makers[name], 1.0), place[name]: -1.0}, 0, math.inf))
    entries = [(r, column, value) for r, (row, _, _) in enumerate(rows) for column, value in row.items()]
    r, columns, values = zip(*entries, strict=True)
    matrix = csr_array((values, (r, columns)), shape=(len(rows), 2 * classes + count))
    lower = np.zeros(2 * classes + count)
    lower[[place[name] for name in graph.roots]] = 1
    upper = np.concatenate([np.ones(classes + count), np.full(classes, classes)])
    # A little for every choice, so that nothing is made in vain.
    cost = np.concatenate([np.zeros(classes), [x.cost + 1e-3 for _, x in choices], np.zeros(classes)])
    found = milp(
        cost / max(cost.max(), 1),
        constraints=LinearConstraint(matrix, [x for _, x, _ in rows], [x for _, _, x in rows]),
        integrality=np.concatenate([np.ones(classes + count), np.zeros(classes)]),
        bounds=Bounds(lower, upper),
        options={"time_limit": seconds, "mip_rel_gap": 1e-4},
    )
    if found.x is None:
        return None
    return {name: x for k, (name, x) in enumerate(choices) if found.x[classes + k] > 0.5}


def terms(graph: Saturated, chosen: Chosen) -> list[Term]:
    """The outputs as terms."""
    known: dict[str, Term] = {}

    def made(name: str) -> Term:
        if name not in known:
            choice = chosen[name]
            kind, number = choice.kind, choice.number
            known[name] = Term(kind, tuple(made(part) for part in choice.parts), number, choice.indices)
        return known[name]

    return [made(name) for name in graph.roots]


Extractor = Callable[[Saturated], Chosen | None]
