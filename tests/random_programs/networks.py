"""Random networks of einsums: two layers with repeated operands, sums of products, transposes, deltas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import otus

_LETTERS = "abcde"
_SIZES = dict(zip(_LETTERS, (2, 3, 4, 2, 3), strict=True))


@dataclass(frozen=True)
class Term:
    """A tensor over letters: its Otus expression and its NumPy value."""

    letters: str
    expression: otus.Expression
    value: np.ndarray[Any, Any]


class Network:
    """The network of one seed: ``outputs`` of two layers of einsums over few tensors, and their ``data``."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 2020])
        self.data: dict[str, np.ndarray[Any, Any]] = {}
        leaves = [self._leaf(k) for k in range(int(self._rng.integers(2, 5)))]
        inner = [self._sum(leaves) for _ in range(int(self._rng.integers(1, 4)))]
        self.outputs = [self._sum([*inner, *leaves, *inner]) for _ in range(int(self._rng.integers(1, 3)))]

    def _leaf(self, number: int) -> Term:
        letters = "".join(self._rng.permutation(list(_LETTERS))[: int(self._rng.integers(1, 4))])
        if self._rng.random() < 0.15:
            size = _SIZES[letters[0]]
            return Term(letters[0] * 2, otus.delta(size), np.eye(size))
        value = self._rng.standard_normal([_SIZES[x] for x in letters])
        name = f"T{number}"
        self.data[name] = value
        return Term(letters, otus.tensor(name, value.shape), value)

    def _sum(self, terms: list[Term]) -> Term:
        """A sum of one to three products with one set of output letters, some scaled, some transposed."""
        first = self._product(terms, None)
        expression, value = first.expression, first.value
        for _ in range(int(self._rng.integers(0, 3))):
            other = self._product(terms, first.letters)
            factor = float(self._rng.choice([1.0, -1.0, 2.0, 0.5]))
            expression, value = expression + factor * other.expression, value + factor * other.value
        return Term(first.letters, expression, value)

    def _product(self, terms: list[Term], output: str | None) -> Term:
        """An einsum of one to four terms, which may repeat; letters of a given output that none has are embedded."""
        chosen = [terms[int(k)] for k in self._rng.integers(0, len(terms), int(self._rng.integers(1, 5)))]
        names = [self._renamed(term) for term in chosen]
        present = sorted({x for name in names for x in name})
        if output is None:
            count = int(self._rng.integers(0, min(3, len(present)) + 1))
            output = "".join(self._rng.permutation(present)[:count])
        missing = [x for x in output if x not in present]
        operands = [x.expression for x in chosen] + [otus.ones(_SIZES[x]) for x in missing]
        arrays = [x.value for x in chosen] + [np.ones(_SIZES[x]) for x in missing]
        subscripts = ",".join([*names, *missing]) + "->" + output
        value = np.asarray(np.einsum(subscripts, *arrays, optimize="greedy"))
        return Term(output, otus.einsum(subscripts, *operands), value)

    def _renamed(self, term: Term) -> str:
        """The letters of a term, sometimes exchanged for others of their sizes: a transpose, a trace."""
        if self._rng.random() < 0.5:
            return term.letters
        swaps = {"a": "d", "d": "a", "b": "e", "e": "b"}
        return "".join(swaps.get(x, x) if self._rng.random() < 0.5 else x for x in term.letters)
