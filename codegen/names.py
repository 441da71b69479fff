"""Identifiers, comments and docstrings that are safe in generated source, whatever users call things."""

from __future__ import annotations

import builtins
import keyword
import re
import unicodedata
from collections.abc import Iterable

_UNSAFE = re.compile(r"[^0-9A-Za-z_]+")
_LETTER_NAME = re.compile(r"\w+ (?:SMALL|CAPITAL) LETTER (?P<name>\w+)")
_COMMENT_LENGTH = 300


class Names:
    """Hands out distinct ASCII identifiers: the user's name where it is plain, a readable one otherwise.

    Keywords, builtins and the names in ``reserved`` get a trailing underscore; letters that look
    alike are told apart by number; whatever is no letter, digit or underscore becomes one underscore,
    so a name can never be code.

    >>> names = Names(["np"])
    >>> names.identifier("A"), names.identifier("lambda"), names.identifier("x'); import os #")
    ('A', 'lambda_', 'x_import_os')
    >>> names.identifier("σ²"), names.identifier("np"), names.identifier("A")
    ('sigma2', 'np_', 'A_2')
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._kept = {*keyword.kwlist, *keyword.softkwlist, *dir(builtins), *reserved}
        self._taken: set[str] = set()

    def identifier(self, wanted: str) -> str:
        """A new identifier that reads like ``wanted``."""
        base = readable_ascii(wanted)
        if base in self._kept:
            base += "_"
        name, count = base, 1
        while name in self._taken or name in self._kept:
            count += 1
            name = f"{base.rstrip('_')}_{count}"
        self._taken.add(name)
        return name


def readable_ascii(text: str) -> str:
    """``text`` as an ASCII identifier that does not start with two underscores.

    >>> readable_ascii("1/x"), readable_ascii("η"), readable_ascii("naïve"), readable_ascii("")
    ('v1_x', 'eta', 'naive', 'v')
    """
    plain = unicodedata.normalize("NFKD", text)
    spelled = "".join(_spelled(c) for c in plain if not unicodedata.combining(c))
    base = _UNSAFE.sub("_", spelled)
    if base != text:
        base = base.strip("_")
    if base in ("", "_") or base[0].isdigit() or base.startswith("__"):
        base = f"v{base}"
    return base


def _spelled(character: str) -> str:
    """A Greek letter by its name, other characters as they are."""
    if character.isascii():
        return character
    match = _LETTER_NAME.fullmatch(unicodedata.name(character, ""))
    if match is None:
        return character
    return match["name"].capitalize() if character.isupper() else match["name"].lower()


def comment(text: str) -> str:
    """``text`` as one comment line: line ends and what does not print are escaped, the rest cut short."""
    shown = text if len(text) <= _COMMENT_LENGTH else text[:_COMMENT_LENGTH] + " …"
    return "# " + _printable(shown)


def docstring_text(text: str) -> str:
    """``text`` as it may stand on one line inside a triple-quoted string."""
    return _printable(text).replace("\\", "\\\\").replace('"', "'")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
