"""Cutting a text into statements: at newlines outside brackets.

A bracket that is never closed is reported where it was opened, and reading resumes at the next line
that looks like a statement, so the statements that follow are still understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .diagnostics import MAXIMUM_DIAGNOSTICS, Diagnostic, Source, Span

MAXIMUM_TEXT = 1_000_000
MAXIMUM_BRACKETS = 60

_CLOSING = {")": "(", "]": "["}
_STATEMENT = re.compile(
    r"""^[ \t]*(?:(?:dim|tensor|const|def|import|output)[ \t]+[\w"']"""
    r"""|\w+[ \t]*(?:\[[^\]\n]*\]|(?:,[ \t]*\w+[ \t]*)+)?[ \t]*=(?!=))""",
    re.MULTILINE,
)
_INTERESTING = re.compile(r"""[\n()\[\]#]|"[^"\n]*"|'[^'\n]*'|["']""")


@dataclass(frozen=True)
class Chunk:
    """The text of one statement; ``broken`` where a diagnostic was already made for it."""

    span: Span
    broken: bool = False


def split(source: Source, diagnostics: list[Diagnostic]) -> Iterator[Chunk]:
    """The statements of a text that are not empty; mistakes in brackets go to ``diagnostics``."""
    if len(source.text) > MAXIMUM_TEXT:
        diagnostics.append(
            Diagnostic(
                f"the text has {len(source.text)} characters; at most {MAXIMUM_TEXT} are read",
                Span(source, 0, 1),
                "split it with import",
            )
        )
        return
    start = 0
    mistakes = 0
    while start < len(source.text) and mistakes < MAXIMUM_DIAGNOSTICS:
        end, problem = _scan(source, start)
        if problem is not None:
            diagnostics.append(problem)
            mistakes += 1
        text = source.text[start:end]
        if problem is not None or _has_content(text):
            lead = len(text) - len(text.lstrip())
            yield Chunk(Span(source, start + lead, start + len(text.rstrip())), problem is not None)
        start = end + 1


def _has_content(text: str) -> bool:
    return any(line.strip() and not line.lstrip().startswith("#") for line in text.split("\n"))


def _scan(source: Source, start: int) -> tuple[int, Diagnostic | None]:
    """The end of the statement that starts at ``start``, and what is wrong with its brackets."""
    text = source.text
    opened: list[int] = []
    place = start
    while (match := _INTERESTING.search(text, place)) is not None:
        place, token = match.end(), match.group()
        if token == "#":
            place = _line_end(text, place)
        elif token == "\n" and not opened:
            return match.start(), None
        elif token in ("(", "["):
            opened.append(match.start())
            if len(opened) > MAXIMUM_BRACKETS:
                message = f"brackets are nested more than {MAXIMUM_BRACKETS} deep"
                return _stop(source, match.start(), message, [], "assign the inner parts to names first")
        elif token in (")", "]"):
            if not opened:
                return _stop(source, match.start(), f"{token!r} closes nothing", [])
            if text[opened[-1]] != _CLOSING[token]:
                line, column = source.position(opened[-1])
                message = f"{token!r} does not close the {text[opened[-1]]!r} of line {line}, column {column}"
                return _stop(source, match.start(), message, opened)
            opened.pop()
        elif token in ("'", '"'):
            message = f"the text that starts with {token} has no end on its line"
            transposes = token == "'" and re.match(r"[\w\])]", text[match.start() - 1 : match.start()])
            return _stop(source, match.start(), message, opened, "a transpose is x.T" if transposes else None)
    if opened:
        return _stop(source, opened[-1], f"{text[opened[-1]]!r} is never closed", opened)
    return len(text), None


def _stop(
    source: Source, place: int, message: str, opened: list[int], hint: str | None = None
) -> tuple[int, Diagnostic]:
    """Where to resume after a mistake at ``place``, and the diagnostic.

    A line inside open brackets that looks like a statement shows that they were never closed.
    """
    text = source.text
    resumed = _STATEMENT.search(text, _line_end(text, opened[0])) if opened else None
    if resumed is not None and (resumed.start() <= place or place == opened[-1]):
        opener = max(x for x in opened if x < resumed.start())
        message = f"{text[opener]!r} is never closed"
        return resumed.start() - 1, Diagnostic(message, Span(source, opener, opener + 1), hint)
    return _line_end(text, place), Diagnostic(message, Span(source, place, place + 1), hint)


def _line_end(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end
