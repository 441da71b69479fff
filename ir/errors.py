"""Every error that Otus raises on purpose.

A message has three parts: what is wrong, with the actual values; where; and what would
be accepted.  :func:`nearest` supplies the third part for misspelt names.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OtusError(Exception):
    """Base class of every error raised on purpose."""


class ShapeError(OtusError):
    """Shapes, ranks or sizes do not fit together."""


class DTypeError(OtusError):
    """A dtype is unknown, or a conversion would lose information."""


class NamingError(OtusError):
    """A name is unknown, missing, or stands for two different things."""


class UnsupportedError(OtusError):
    """The request is legal but this version or this backend cannot carry it out."""


class ParseError(OtusError):
    """IR text, a pipeline text or a subscript string cannot be read."""


class VerificationError(OtusError):
    """A graph or program breaks its own rules: a bug in a pass, never the user's mistake."""


class MemoryLimitError(OtusError):
    """No plan keeps the memory limit."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known name, or an empty string.

    >>> nearest("solftmax", ["softmax", "sum"])
    "; did you mean 'softmax'?"
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
