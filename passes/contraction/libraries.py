"""Contraction orders from libraries, by name: to compare with, or for who prefers them.

opt_einsum's ``optimal`` is not among them: where an index joins three or more tensors it never
multiplies two of them elementwise first, and can be far from the best.
"""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable, Mapping, Sequence

from ...ir import OtusError
from .network import Labels, Path

Found = Sequence[Sequence[int]]
Search = Callable[[Sequence[Labels], Labels, Mapping[int, int]], Path]

# Beyond so many tensors opt_einsum's dynamic programming considers no outer products.
_DENSE_TERMS = 8
_RANDOM_TRIALS = 32
_COTENGRA_TRIALS = 128


def path_in_place(path: Found, count: int) -> Path:
    """A library's path (results go to the end) with results in the place of their first factor."""
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


def _named(
    inputs: Sequence[Labels], output: Labels, sizes: Mapping[int, int]
) -> tuple[list[frozenset[str]], frozenset[str], dict[str, int]]:
    import opt_einsum

    letter = opt_einsum.get_symbol
    terms = [frozenset(map(letter, labels)) for labels in inputs]
    return terms, frozenset(map(letter, output)), {letter(k): max(size, 1) for k, size in sizes.items()}


def _dynamic(inputs: Sequence[Labels], output: Labels, sizes: Mapping[int, int]) -> Path:
    import opt_einsum

    search = opt_einsum.DynamicProgramming(minimize="flops", search_outer=len(inputs) <= _DENSE_TERMS)
    return path_in_place(search(*_named(inputs, output, sizes)), len(inputs))


def _greedy(inputs: Sequence[Labels], output: Labels, sizes: Mapping[int, int]) -> Path:
    import opt_einsum

    return path_in_place(opt_einsum.paths.greedy(*_named(inputs, output, sizes)), len(inputs))


def _random_greedy(inputs: Sequence[Labels], output: Labels, sizes: Mapping[int, int]) -> Path:
    """Seeded trials; opt_einsum seeds the global generator, whose state is put back."""
    import opt_einsum

    state = random.getstate()
    try:
        search = opt_einsum.RandomGreedy(max_repeats=_RANDOM_TRIALS, minimize="flops")
        return path_in_place(search(*_named(inputs, output, sizes)), len(inputs))
    finally:
        random.setstate(state)


def _cotengra(inputs: Sequence[Labels], output: Labels, sizes: Mapping[int, int]) -> Path:
    """A fixed number of seeded greedy trials, in this process.

    cotengra's hyper-optimizer is not used: its trials are bounded by time, and its seeds are its own.
    """
    if importlib.util.find_spec("cotengra") is None:
        raise OtusError("contraction optimizer 'cotengra' needs the package cotengra, which is not installed here")
    import cotengra

    letter = cotengra.get_symbol
    search = cotengra.RandomGreedyOptimizer(max_repeats=_COTENGRA_TRIALS, seed=0, parallel=False)
    terms = [tuple(map(letter, labels)) for labels in inputs]
    extents = {letter(label): max(size, 1) for label, size in sizes.items()}
    return path_in_place(search(terms, tuple(map(letter, output)), extents), len(inputs))


LIBRARIES: Mapping[str, Search] = {
    "dp": _dynamic,
    "greedy": _greedy,
    "random-greedy": _random_greedy,
    "cotengra": _cotengra,
}
