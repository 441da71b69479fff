"""How long the blocks of the two long indices are: what a program of a GPU has registers and shared memory for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .scores import Scores
from .sweeps import Sweep
from .traffic import inner_sizes, is_contraction, needed_members

_LEAST = 16  # what matrix units multiply


def block_sizes(sweep: Sweep, scores: Scores, lengths: Sequence[int], sizes: Mapping[str, int]) -> tuple[int, int]:
    """The blocks of the index that programs have blocks of, and of the one that they go through."""
    outer, inner = 64, 32
    return _clipped(outer, lengths[0]), _clipped(inner, lengths[1])


def _clipped(block: int, length: int) -> int:
    """No longer than the index, as a power of two."""
    return max(min(block, 1 << max(length - 1, 0).bit_length()), _LEAST)
