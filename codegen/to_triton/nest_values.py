"""Tiles as source: how they meet, are reduced, and multiply as matrices."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...ir import DType
from ..typed_scalars import TypedValue
from .narrow import widened
from .nest_indices import Dimension
from .scalars import TritonPrinter

_INDEXED = re.compile(r"\((\w+\[[^\[\]()]*\])\)\Z")
_MOST_ELEMENTS = 32768  # of a tile with three dimensions


@dataclass(frozen=True)
class TileValue:
    """A tile: its source, dtype, and which axis of the tensor each of its dimensions runs along.

    ``stored`` is the source of the same numbers in fewer bits, where they are a conversion of these; of 8 bits, as they
    were read or are to be written.  ``is_padded`` says that it is zero where it overhangs.
    """

    code: str
    dtype: DType
    axes: tuple[int, ...]
    dimensions: tuple[Dimension, ...]
    stored: tuple[str, DType] | None = None
    is_padded: bool = False

    def computed(self, helpers: set[str]) -> str:
        """The source in what a kernel computes in."""
        return widened(self.code, self.dtype, helpers)


class TilePrinter(TritonPrinter):
    """Prints for values that are spread by an index such as ``[:, None]``, which needs no parentheses."""

    def _side(self, value: TypedValue, inner: DType, operands: Sequence[TypedValue]) -> str:
        code = super()._side(value, inner, operands)
        match = _INDEXED.match(code)
        return match[1] if match else code


def spread(code: str, present: Sequence[bool]) -> str:
    """A tile that has only some of the dimensions of a larger one, so that it meets that by broadcasting."""
    if all(present):
        return code
    if not any(present):  # a number is a tile too, since the interpreter compares none with tiles
        return f"tl.broadcast_to({code}, [{', '.join('1' for _ in present)}])"
    name = code if code.isidentifier() else f"({code})"
    return f"{name}[{', '.join(':' if here else 'None' for here in present)}]"


def turned(code: str, places: Sequence[int]) -> str:
    """A tile whose dimensions are moved so that these places of theirs ascend."""
    order = sorted(range(len(places)), key=lambda k: places[k])
    if order == list(range(len(places))):
        return code
    return f"tl.trans({code})" if len(order) == 2 else f"tl.permute({code}, {order})"


def is_small(dimensions: Sequence[Dimension]) -> bool:
    """Whether a tile may be held in registers at once."""
    total = 1
    for each in dimensions:
        total *= each.block
    return len(dimensions) < 3 or total <= _MOST_ELEMENTS
