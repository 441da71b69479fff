"""The order in which a product of many tensors is multiplied up, two at a time.

opt_einsum finds the paths.  Where an index joins three or more tensors its exhaustive search is not
exact (it never multiplies two tensors elementwise first), so several searches run and the path with
the fewest operations wins; ties go to the smaller intermediates, then to the earlier search.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..ir import OtusError
from ..ir.errors import nearest

Labels = tuple[int, ...]
Path = tuple[tuple[int, int], ...]
Found = Sequence[Sequence[int]]
Search = Callable[[list[frozenset[str]], frozenset[str], dict[str, int]], Found]

_EXHAUSTIVE_TERMS = 5
_DENSE_TERMS = 8
_SPARSE_TERMS = 16
_RANDOM_TRIALS = 32


@dataclass(frozen=True)
class PathCost:
    """Operations (two per multiply-add) and the elements of the largest intermediate."""

    flops: int
    largest: int


def find_path(inputs: Sequence[Labels], output: Labels, sizes: Mapping[int, int], optimizer: str = "auto") -> Path:
    """Pairs of positions to multiply, in order; a result takes the place of its first factor.

    Every index of ``inputs`` is in ``output`` or on two inputs.  ``optimizer`` is ``"auto"`` or the
    name of one search; raises ``OtusError`` for any other.
    """
    searches = _searches(inputs, optimizer)
    if len(inputs) < 3:
        return ((0, 1),) * (len(inputs) - 1)
    import opt_einsum

    terms = [frozenset(map(opt_einsum.get_symbol, labels)) for labels in inputs]
    kept = frozenset(map(opt_einsum.get_symbol, output))
    named = {opt_einsum.get_symbol(label): max(size, 1) for label, size in sizes.items()}
    found = [_in_place(search(terms, kept, named), len(inputs)) for search in searches]
    costs = [path_cost(path, inputs, output, sizes) for path in found]
    best = min(range(len(found)), key=lambda k: (costs[k].flops, costs[k].largest, k))
    return found[best]


def path_cost(path: Path, inputs: Sequence[Labels], output: Labels, sizes: Mapping[int, int]) -> PathCost:
    """What multiplying along ``path`` costs."""
    terms = [frozenset(labels) for labels in inputs]
    flops, largest = 0, 0
    for first, second in path:
        joined = terms[first] | terms[second]
        rest = [term for k, term in enumerate(terms) if k not in (first, second)]
        kept = joined & frozenset(output).union(*rest)
        flops += (1 + (kept != joined)) * math.prod(max(sizes[x], 1) for x in joined)
        largest = max(largest, math.prod(max(sizes[x], 1) for x in kept))
        terms[first] = kept
        del terms[second]
    return PathCost(flops, largest)


def _in_place(path: Found, count: int) -> Path:
    """opt_einsum's path (results go to the end) with results in the place of their first factor."""
    order = list(range(count))
    pairs: list[tuple[int, int]] = []
    current = list(range(count))
    for step in path:
        members = [order[position] for position in step]
        for position in sorted(step, reverse=True):
            del order[position]
        first = min(members, key=current.index)
        for member in members:
            if member != first:
                pairs.append((current.index(first), current.index(member)))
                current.remove(member)
        order.append(first)
    return tuple(pairs)


# --- searches ----------------------------------------------------------------------------------


def _exhaustive(terms: list[frozenset[str]], output: frozenset[str], sizes: dict[str, int]) -> Found:
    import opt_einsum

    path: Found = opt_einsum.paths.optimal(terms, output, sizes)
    return path


def _dynamic(terms: list[frozenset[str]], output: frozenset[str], sizes: dict[str, int]) -> Found:
    import opt_einsum

    search = opt_einsum.DynamicProgramming(minimize="flops", search_outer=len(terms) <= _DENSE_TERMS)
    path: Found = search(terms, output, sizes)
    return path


def _greedy(terms: list[frozenset[str]], output: frozenset[str], sizes: dict[str, int]) -> Found:
    import opt_einsum

    path: Found = opt_einsum.paths.greedy(terms, output, sizes)
    return path


def _random_greedy(terms: list[frozenset[str]], output: frozenset[str], sizes: dict[str, int]) -> Found:
    """Seeded trials; opt_einsum seeds the global generator, whose state is put back."""
    import opt_einsum

    state = random.getstate()
    try:
        search = opt_einsum.RandomGreedy(max_repeats=_RANDOM_TRIALS, minimize="flops")
        path: Found = search(terms, output, sizes)
        return path
    finally:
        random.setstate(state)


_SEARCHES: Mapping[str, Search] = {
    "optimal": _exhaustive,
    "dp": _dynamic,
    "greedy": _greedy,
    "random-greedy": _random_greedy,
}


def _searches(inputs: Sequence[Labels], optimizer: str) -> list[Search]:
    if optimizer != "auto":
        if optimizer not in _SEARCHES:
            known = ["auto", *_SEARCHES]
            hint = nearest(optimizer, known) or f"; known are {', '.join(known)}"
            raise OtusError(f"unknown contraction optimizer {optimizer!r}{hint}")
        return [_SEARCHES[optimizer]]
    count = len(inputs)
    chosen: list[Search] = [_greedy]
    if count <= _EXHAUSTIVE_TERMS:
        chosen.insert(0, _exhaustive)
    if count <= _DENSE_TERMS or (count <= _SPARSE_TERMS and _widest_join(inputs) <= 3):
        chosen.insert(0, _dynamic)
    else:
        chosen.append(_random_greedy)
    return chosen


def _widest_join(inputs: Sequence[Labels]) -> int:
    """The most tensors that one index joins."""
    labels = {label for names in inputs for label in names}
    return max((sum(label in names for names in inputs) for label in labels), default=0)
