"""Where something stands in a text, and what is said about it.

A diagnostic has three parts: one sentence with the actual values, the place (file, line, column,
the line itself with a caret span), and a hint that says what would be accepted.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

from ...ir import OtusError

MAXIMUM_DIAGNOSTICS = 20
FACTS_HINT = "the facts end the statement and hold for all its tensors; declare others in their own statement"
_LINE_WIDTH = 160


@dataclass(frozen=True, eq=False)
class Source:
    """One text and the name of the file it came from."""

    file: str
    text: str
    line_starts: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        starts = [0, *(place + 1 for place, character in enumerate(self.text) if character == "\n")]
        object.__setattr__(self, "line_starts", tuple(starts))

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both counted from 1."""
        line = bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1

    def line_text(self, line: int) -> str:
        """The line of that number, without its end."""
        start = self.line_starts[line - 1]
        end = self.line_starts[line] - 1 if line < len(self.line_starts) else len(self.text)
        return self.text[start:end].rstrip("\r")


@dataclass(frozen=True)
class Span:
    """The characters ``start`` up to ``end`` of a source."""

    source: Source = field(repr=False)
    start: int
    end: int

    @property
    def file(self) -> str:
        """The file."""
        return self.source.file

    @property
    def line(self) -> int:
        """The line of the first character, from 1."""
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        """The column of the first character, from 1."""
        return self.source.position(self.start)[1]

    @property
    def end_line(self) -> int:
        """The line of the last character, from 1."""
        return self.source.position(max(self.start, self.end - 1))[0]

    @property
    def end_column(self) -> int:
        """The column after the last character, from 1."""
        return self.source.position(max(self.start, self.end - 1))[1] + 1

    @property
    def text(self) -> str:
        """The characters themselves."""
        return self.source.text[self.start : self.end]

    def to(self, other: Span) -> Span:
        """The span from the start of this one to the end of ``other``."""
        return Span(self.source, self.start, other.end)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Diagnostic:
    """One mistake: a sentence, its place, and what would be accepted."""

    message: str
    span: Span
    hint: str | None = None

    def __str__(self) -> str:
        lines = [f"{self.span}: {self.message}", *_excerpt(self.span)]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


def _excerpt(span: Span) -> list[str]:
    """The source line and the carets below it; a window of the line where it is very long."""
    line, column = span.source.position(span.start)
    text = span.source.line_text(line)
    first = column - 1
    last = max(first + 1, min(len(text), first + span.end - span.start))
    offset = 0 if len(text) <= _LINE_WIDTH else max(0, first - _LINE_WIDTH // 2)
    window = text[offset : offset + _LINE_WIDTH]
    carets = max(1, sum(_width(c) for c in window[first - offset : last - offset]))
    indent = "".join("\t" if c == "\t" else " " * _width(c) for c in window[: first - offset])
    shown = "".join(c if c == "\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in window)
    return [f"{line:>5} | {shown}", f"      | {indent}{'^' * carets}"]


def _width(character: str) -> int:
    """Columns that a character takes on a terminal."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


class LanguageError(OtusError):
    """All the independent mistakes of a text, in the order of their places.

    ``file``, ``line``, ``column`` (from 1) and ``hint`` are those of the first one.
    """

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics: tuple[Diagnostic, ...] = tuple(diagnostics)
        super().__init__("\n\n".join(map(str, self.diagnostics)))

    @classmethod
    def at(cls, span: Span, message: str, hint: str | None = None) -> LanguageError:
        """The error of a single mistake."""
        return cls([Diagnostic(message, span, hint)])

    @property
    def file(self) -> str:
        """The file of the first mistake."""
        return self.diagnostics[0].span.file

    @property
    def line(self) -> int:
        """The line of the first mistake, from 1."""
        return self.diagnostics[0].span.line

    @property
    def column(self) -> int:
        """The column of the first mistake, from 1."""
        return self.diagnostics[0].span.column

    @property
    def hint(self) -> str | None:
        """What would be accepted in place of the first mistake."""
        return self.diagnostics[0].hint

    def __reduce__(self) -> tuple[object, ...]:
        return LanguageError, (self.diagnostics,)
