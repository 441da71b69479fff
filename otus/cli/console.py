"""What the command prints: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import math
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from ..frontend.language import LanguageError

_WIDTH = 120  # of tables, where stdout is no terminal
_SLOW = 1.0  # seconds after which progress is shown


class ReaderGone(Exception):
    """Whoever read stdout has closed it (``otus dump f.otus | head``): nothing is left to do."""


def write(text: str) -> None:
    """Print text on stdout as it is, with a newline at its end."""
    try:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
    except BrokenPipeError:
        raise ReaderGone from None


def write_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    write(json.dumps(plain(value), indent=2, allow_nan=False))


def plain(value: Any) -> Any:
    """A value that JSON can hold: numbers that are not finite as text, complex ones as pairs.

    >>> plain([1, float("inf"), 2j])
    [1, 'inf', [0.0, 2.0]]
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, complex):
        return [plain(value.real), plain(value.imag)]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def show(renderable: RenderableType) -> None:
    """Print a table or another Rich object on stdout."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    with console.capture() as captured:
        console.print(renderable)
    write("\n".join(line.rstrip() for line in captured.get().splitlines()))


def write_styled(text: str, style: str) -> None:
    """Print a line on stdout as it is, in a colour where that is a terminal and NO_COLOR is not set."""
    console = Console(highlight=False, soft_wrap=True)
    with console.capture() as captured:
        console.print(Text(text, style))
    write(captured.get())


def note(text: str) -> None:
    """Say something on stderr that is no result."""
    print(text, file=sys.stderr)


_CARETS = re.compile(r"^ +\| [ \t]*\^+$", re.MULTILINE)
_HINT = re.compile(r"^  hint:", re.MULTILINE)


def complain(error: BaseException | str) -> None:
    """Print a diagnostic on stderr, coloured where that is a terminal and NO_COLOR is not set."""
    text = str(error) if isinstance(error, LanguageError) else f"otus: {error}"
    shown = Text(text)
    if not isinstance(error, LanguageError):
        shown.stylize("bold red", 0, len("otus:"))
    for match in _CARETS.finditer(text):
        shown.stylize("bold red", *match.span())
    for match in _HINT.finditer(text):
        shown.stylize("bold cyan", *match.span())
    Console(stderr=True, highlight=False, soft_wrap=True).print(shown)


@contextmanager
def progress(message: str) -> Iterator[None]:
    """Show ``message`` with a spinner on stderr once the work inside has taken a second.

    Nothing is shown where stderr is no terminal.
    """
    if not sys.stderr.isatty():
        yield
        return
    status = Console(stderr=True).status(f"{message} …")
    timer = threading.Timer(_SLOW, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        status.stop()
