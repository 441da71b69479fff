"""The order in which a product of many tensors is multiplied up, two at a time.

Up to a dozen tensors the order is the cheapest there is, found exactly (`contraction/exact`); beyond,
the best of a seeded search (`contraction/search`).  What is minimised is time by default: operations
and bytes (`contraction/measure`).  An order with over 5 % more operations than the one with the fewest
is not taken for the sake of bytes: operations are counted exactly and promised, while the model of time
knows neither caches nor what later passes fuse.  Among orders of a few tensors with as many operations,
the one that suits how the tensors lie in memory is taken (`contraction/arrangement`).  Nothing here reads
the clock, so an order depends on the product and the sizes alone.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...ir import OtusError
from ...ir.errors import nearest
from .arrangement import arranged
from .exact import EXACT_TERMS
from .libraries import LIBRARIES, path_in_place
from .measure import MEASURES, Measure, measure_named
from .network import Labels, Merges, Network, Path, merges_of, path_of
from .search import EXACT_UP_TO, exact, refine, search

__all__ = ["Labels", "Path", "PathCost", "find_path", "path_cost", "path_in_place"]

# The operations that an order of least time may have, in percent of the fewest.
_PERCENT_FOR_TIME = 105
_CACHED_PATHS = 1024


@dataclass(frozen=True)
class PathCost:
    """Operations (two per multiply-add) and the elements of the largest intermediate."""

    flops: int
    largest: int


def find_path(
    inputs: Sequence[Labels],
    output: Labels,
    sizes: Mapping[int, int],
    optimizer: str = "auto",
    *,
    minimize: str = "time",
) -> Path:
    """Pairs of positions to multiply, in order; a result takes the place of its first factor.

    Every index of ``inputs`` is in ``output`` or on two inputs.  ``optimizer`` is ``"auto"``,
    ``"optimal"`` (exact, up to 14 tensors), or a library's search: ``"dp"``, ``"greedy"``,
    ``"random-greedy"`` (opt_einsum) or ``"cotengra"``.  ``minimize`` is ``"time"`` or ``"flops"``;
    the libraries always minimise the latter.  Raises ``OtusError`` for names that are not known.

    >>> find_path([(0, 1), (1, 2), (2, 3)], (0, 3), {0: 2, 1: 100, 2: 100, 3: 100})
    ((0, 1), (0, 1))
    """
    _check(optimizer, len(inputs))
    measure_named(minimize)
    number: dict[int, int] = {}
    renamed = tuple(tuple(number.setdefault(label, len(number)) for label in labels) for labels in inputs)
    kept = tuple(sorted(number[label] for label in set(output) if label in number))
    extents = tuple(max(sizes[label], 1) for label in number)
    return _planned(renamed, kept, extents, optimizer, minimize)


def path_cost(
    path: Sequence[tuple[int, int]], inputs: Sequence[Labels], output: Labels, sizes: Mapping[int, int]
) -> PathCost:
    """What multiplying along ``path`` costs."""
    terms = [frozenset(labels) for labels in inputs]
    owners = Counter(label for labels in terms for label in labels)
    asked = frozenset(output)
    flops, largest = 0, 0
    for first, second in path:
        joined = terms[first] | terms[second]
        owners.subtract(terms[first] & terms[second])
        kept = frozenset(label for label in joined if owners[label] > 1 or label in asked)
        flops += (1 + (kept != joined)) * _volume(joined, sizes)
        largest = max(largest, _volume(kept, sizes))
        terms[first] = kept
        del terms[second]
    return PathCost(flops, largest)


def _volume(labels: frozenset[int], sizes: Mapping[int, int]) -> int:
    return math.prod(max(sizes[label], 1) for label in labels)


@functools.lru_cache(maxsize=_CACHED_PATHS)
def _planned(
    inputs: tuple[Labels, ...],
    output: Labels,
    extents: tuple[int, ...],
    optimizer: str,
    minimize: str,
) -> Path:
    """The path for labels that are numbered in order of appearance."""
    sizes = dict(enumerate(extents))
    path = path_of(_merges(inputs, output, sizes, optimizer, MEASURES[minimize]), len(inputs))
    if minimize == "time" and optimizer in ("auto", "optimal"):
        return arranged(path, inputs, output, sizes)
    return path


def _merges(
    inputs: Sequence[Labels], output: Labels, sizes: Mapping[int, int], optimizer: str, measure: Measure
) -> Merges:
    if len(inputs) < 3:
        return [(0, 1)] * (len(inputs) - 1)
    if optimizer in LIBRARIES and optimizer != "cotengra":
        return merges_of(LIBRARIES[optimizer](inputs, output, sizes), len(inputs))
    network = Network.of(inputs, output, sizes)
    small = len(inputs) <= EXACT_UP_TO or optimizer == "optimal"
    if small:
        fewest = exact(network, MEASURES["flops"])
    elif optimizer == "cotengra":
        first = merges_of(LIBRARIES[optimizer](inputs, output, sizes), len(inputs))
        fewest = refine(network, first, MEASURES["flops"])
    else:
        fewest = search(network, MEASURES["flops"])
    if measure is MEASURES["flops"]:
        return fewest
    fastest = exact(network, measure) if small else refine(network, fewest, measure)
    flops = [path_cost(path_of(merges, len(inputs)), inputs, output, sizes).flops for merges in (fewest, fastest)]
    return fastest if 100 * flops[1] <= _PERCENT_FOR_TIME * flops[0] else fewest


def _check(optimizer: str, count: int) -> None:
    known = ["auto", "optimal", *LIBRARIES]
    if optimizer not in known:
        hint = nearest(optimizer, known) or f"; known are {', '.join(known)}"
        raise OtusError(f"unknown contraction optimizer {optimizer!r}{hint}")
    if optimizer == "optimal" and count > EXACT_TERMS:
        raise OtusError(
            f"contraction optimizer 'optimal' tries every order of at most {EXACT_TERMS} tensors, and here are "
            f"{count}; 'auto' searches for an order of any number"
        )
