"""Index lists as text, such as ``"ij,jk->ik"``, and back."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence

from .dims import Dim, Size
from .errors import ParseError

LETTERS = string.ascii_lowercase + string.ascii_uppercase


def choose_letters(sizes: Mapping[int, Size]) -> dict[int, str] | None:
    """One letter an index, the name of its size where that is a free letter; None past 52 indices."""
    if len(sizes) > len(LETTERS):
        return None
    letters: dict[int, str] = {}
    for index, size in sizes.items():
        name = size.symbol_name if isinstance(size, Dim) else None
        if name is not None and name in LETTERS and name not in letters.values():
            letters[index] = name
    reserved = {s.symbol_name for s in sizes.values() if isinstance(s, Dim)}
    free = [x for x in LETTERS if x not in letters.values() and x not in reserved]
    free += [x for x in LETTERS if x not in letters.values() and x in reserved]
    spare = iter(free)
    return {index: letters[index] if index in letters else next(spare) for index in sizes}


def subscripts_text(inputs: Sequence[Sequence[int]], output: Sequence[int], letters: Mapping[int, str] | None) -> str:
    """Index lists as a subscript string; as bracketed numbers where letters ran out."""

    def one(labels: Sequence[int]) -> str:
        if letters is None:
            return f"[{' '.join(map(str, labels))}]"
        return "".join(letters[x] for x in labels)

    return f"{','.join(one(labels) for labels in inputs)}->{one(output)}"


def parse_subscripts(text: str) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """Read :func:`subscripts_text`; indices are numbered by first appearance.

    >>> parse_subscripts("ij,jk->ik")
    (((0, 1), (1, 2)), (0, 2))
    """
    left, arrow, right = text.partition("->")
    if not arrow:
        raise ParseError(f"subscripts {text!r} have no '->'")
    names: dict[str, int] = {}

    def one(part: str) -> tuple[int, ...]:
        keys = part[1:-1].split() if part.startswith("[") else list(part)
        return tuple(names.setdefault(key, len(names)) for key in keys)

    inputs = tuple(one(part) for part in left.split(",")) if left else ((),)
    return inputs, one(right)
