"""Which names of an expression are indices.

In a subscript, a name is an index unless it is an integer constant or an integer tensor.  A dim's
name that stands once, beside an index, as in the reversal ``x[n-1-i]``, is its size.  In a 0/1
bracket a name is an index where the rest of the expression uses it as one, else a size or value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from .diagnostics import LanguageError
from .scope import Frame
from .syntax import Access, Dots, Expression, Name, Number, Reduction, Sequence, Slice, walk


class IndexNames:
    """The index names of one expression, read in a frame, below the indices ``kept``."""

    def __init__(self, root: Expression, frame: Frame, kept: Iterable[str] = ()) -> None:
        self.frame = frame
        self._plain = set(kept)
        self._occurrences: Counter[str] = Counter()
        for part in walk(root):
            if isinstance(part, Reduction):
                self._plain.update(x.name for x in part.indices if isinstance(x, Name))
            if isinstance(part, Access):
                self._read_subscripts(part)
            if isinstance(part, Sequence) and part.is_bracket:
                self._occurrences.update(x.name for x in walk(part) if isinstance(x, Name))

    def _read_subscripts(self, access: Access) -> None:
        for subscript in access.subscripts:
            if isinstance(subscript, Name) and not self.frame.is_position(subscript.name):
                self._plain.add(subscript.name)
            if not isinstance(subscript, Slice):
                self._occurrences.update(x.name for x in walk(subscript) if isinstance(x, Name))

    def in_subscript(self, subscript: Expression) -> list[Name]:
        """The indices of a subscript, from left to right."""
        if isinstance(subscript, (Slice, Dots, Number)):
            return []
        names = [x for x in walk(subscript) if isinstance(x, Name)]
        possible = [x for x in names if x.name in self._plain or not self.frame.is_position(x.name)]
        sizes = [x for x in possible if self._may_be_size(x.name)]
        return possible if len(sizes) == len(possible) else [x for x in possible if x not in sizes]

    def _may_be_size(self, name: str) -> bool:
        return name not in self._plain and name in self.frame.scope.dims and self._occurrences[name] == 1

    def in_bracket(self, name: str) -> bool:
        """Whether a bare name inside a 0/1 bracket is an index."""
        if name in self._plain:
            return True
        return not self.frame.knows(name) and name not in self.frame.scope.dims

    def is_indexed(self, access: Access) -> bool:
        """Whether an access names axes by indices (else its subscripts are NumPy's)."""
        return any(self.in_subscript(x) for x in access.subscripts)


def listed_indices(indices: Iterable[Expression], frame: Frame, what: str, repeats: bool = False) -> list[Name]:
    """Index names in the brackets of a reduction or on the left; raises ``LanguageError`` for others."""
    names: list[Name] = []
    for item in indices:
        if not isinstance(item, Name):
            raise LanguageError.at(item.span, f"{what} lists index names, not {item.span.text!r}")
        if frame.is_position(item.name) and not isinstance(frame.peek(item.name), tuple):
            raise LanguageError.at(
                item.span, f"{item.name!r} has the value {frame.peek(item.name)}, so it cannot be an index",
                "choose another name",
            )  # fmt: skip
        if not repeats and item.name in (x.name for x in names):
            raise LanguageError.at(item.span, f"{what} lists index {item.name!r} twice")
        names.append(item)
    return names
