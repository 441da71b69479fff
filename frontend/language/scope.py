"""What names stand for: dims, values, functions, and the places where they were defined."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import EllipsisType
from typing import Any

from ...ir import Dim, DType, Size
from ...ir.dims import dim
from ...ir.errors import nearest
from ..expression import Expression
from .diagnostics import LanguageError, Source, Span
from .syntax import Definition, Name

Value = Expression | Dim | bool | int | float | str | EllipsisType | tuple[Any, ...] | list[Any] | None
LITERALS: Mapping[str, Value] = {
    "True": True, "False": False, "None": None, "pi": math.pi, "inf": math.inf, "nan": math.nan,
}  # fmt: skip


class Poisoned(Exception):
    """A statement reads a name whose own statement failed; it has been reported already."""


@dataclass(frozen=True)
class DimEntry:
    """A dim: its size, and whether a ``dim`` statement declared it (or a tensor's axis did)."""

    size: Size
    declared: bool


@dataclass
class Scope:
    """The names of one file; names of failed statements are in ``poisoned``."""

    dims: dict[str, DimEntry] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    functions: dict[str, Definition] = field(default_factory=dict)
    places: dict[str, Span] = field(default_factory=dict)
    dim_places: dict[str, Span] = field(default_factory=dict)
    poisoned: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    incomplete: bool = False
    source: Source | None = None

    def define(self, name: str, value: Value, span: Span) -> None:
        """Give a value a name; raises ``LanguageError`` where the name is taken."""
        self.check_free(name, span)
        self.values[name] = value
        self.places[name] = span

    def check_free(self, name: str, span: Span) -> None:
        """Raise ``LanguageError`` where ``name`` has a value already."""
        if name in LITERALS and name[0].isupper():
            raise LanguageError.at(span, f"{name!r} is a value of the language; choose another name")
        if name in self.values:
            place = self.places[name]
            where = f"line {place.line}" if place.source is span.source else str(place)
            raise LanguageError.at(
                span, f"{name!r} already has a value, from {where}", "a name has one value; choose another name"
            )

    def declare_dim(self, name: str, size: Size | None, span: Span) -> None:
        """Declare a dim; raises ``LanguageError`` where it has been used with another size."""
        known = self.dims.get(name)
        if known is not None and (known.declared or size is not None):
            place = self.dim_places[name]
            what = "is already declared" if known.declared else "is already used as a size"
            raise LanguageError.at(
                span, f"dim {name!r} {what} in line {place.line}", "declare a dim once, before its use"
            )
        self.dims[name] = DimEntry(dim(name) if size is None else size, True)
        self.dim_places.setdefault(name, span)

    def implied_dim(self, name: str, span: Span) -> Size:
        """The size that a tensor's axis names, which becomes a dim if it is none yet."""
        if name not in self.dims:
            self.dims[name] = DimEntry(dim(name), False)
            self.dim_places[name] = span
        return self.dims[name].size

    def poison(self, name: str) -> None:
        """Excuse later uses of a name whose statement failed."""
        if name not in self.values and name not in self.functions and name not in self.dims:
            self.poisoned.add(name)

    def absorb(self, other: Scope, span: Span) -> None:
        """Take the names of an imported file; raises ``LanguageError`` where two files disagree."""
        for name, value in other.values.items():
            if name in self.values and self.places[name] == other.places[name]:
                continue
            self.check_free(name, span)
            self.values[name], self.places[name] = value, other.places[name]
        for name, entry in other.dims.items():
            known = self.dims.get(name, entry)
            if known.size != entry.size:
                raise LanguageError.at(
                    span, f"dim {name!r} is {known.size} here and {entry.size} at {other.dim_places[name]}"
                )
            self.dims[name] = DimEntry(entry.size, known.declared or entry.declared)
            self.dim_places.setdefault(name, other.dim_places[name])
        for name, function in other.functions.items():
            if self.functions.setdefault(name, function) is not function:
                raise LanguageError.at(span, f"function {name!r} is defined here and at {function.span}")


@dataclass(frozen=True)
class Frame:
    """A scope, and the arguments of the user function whose body is being read."""

    scope: Scope
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def knows(self, name: str) -> bool:
        """Whether ``name`` has a value, dims aside."""
        return name in self.parameters or name in self.scope.values or name in self.scope.poisoned

    def peek(self, name: str) -> Any:
        """The value of ``name``, or None."""
        return self.parameters[name] if name in self.parameters else self.scope.values.get(name)

    def is_position(self, name: str) -> bool:
        """Whether ``name`` in a subscript is a value: an integer constant or tensor, not an index."""
        value = self.peek(name)
        if isinstance(value, Expression):
            return value.dtype.kind in ("int", "uint") and name not in self.scope.dims
        return isinstance(value, int) or name in ("None", "True", "False")

    def lookup(self, name: Name) -> Any:
        """What ``name`` stands for: a value, a dim's size, a literal or a dtype.

        Raises ``LanguageError`` with the nearest known name, ``Poisoned`` where its statement failed.
        """
        word, scope = name.name, self.scope
        if word in self.parameters:
            return self.parameters[word]
        if word in scope.poisoned:
            raise Poisoned(word)
        if word in scope.values:
            scope.used.add(word)
            return scope.values[word]
        if word in scope.dims:
            return scope.dims[word].size
        if word in LITERALS:
            return LITERALS[word]
        if word in DType.__members__:
            return word
        if scope.incomplete:
            raise Poisoned(word)
        raise self._unknown(name)

    def _unknown(self, name: Name) -> LanguageError:
        from .calls import FUNCTION_NAMES

        word = name.name
        if word in self.scope.functions or word in FUNCTION_NAMES:
            return LanguageError.at(name.span, f"{word!r} is a function, not a value", f"call it: {word}(…)")
        later = self._definition_below(name)
        if later is not None:
            return LanguageError.at(
                name.span, f"{word!r} has no value yet; it gets one in line {later}", "move that line up"
            )
        known = [*self.parameters, *self.scope.values, *self.scope.dims]
        near = nearest(word, known).removeprefix("; ")
        if word == "T":
            near = "a transpose is x.T"
        hint = near or (f"known names are {_listed(known)}" if known else f"declare it: tensor {word}[…]")
        return LanguageError.at(name.span, f"unknown name {word!r}", hint)

    def _definition_below(self, name: Name) -> int | None:
        """The line below in which a name gets its value, by the look of it."""
        source = self.scope.source
        if source is None or name.span.source is not source:
            return None
        pattern = rf"^[ \t]*{re.escape(name.name)}[ \t]*(?:\[[^\]\n]*\])?[ \t]*=(?!=)"
        found = re.compile(pattern, re.MULTILINE).search(source.text, name.span.end)
        return source.position(found.start())[0] if found else None


def _listed(names: list[str], count: int = 12) -> str:
    return ", ".join(names[:count]) + (", …" if len(names) > count else "")
