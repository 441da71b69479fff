"""Arguments and options that several commands take, and how their values are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ..ir.errors import nearest

Choice = TypeVar("Choice", bound=StrEnum)

ProgramFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="A program in the text language (.otus).", show_default=False)
]
Sizes = Annotated[
    list[str] | None,
    typer.Option("--dim", metavar="NAME=SIZE", help="The size of a dim; repeat for more.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for a machine to read.")]
Backend = Annotated[
    str, typer.Option("--backend", metavar="NAME", help="What runs the program; `otus doctor` lists what can run here.")
]
Pipeline = Annotated[
    str | None,
    typer.Option("--pipeline", metavar="PASSES", help="The passes to run instead of the default.", show_default=False),
]


def one_of(option: str, kind: type[StrEnum], help: str) -> Any:
    """An option that takes the name of a member of ``kind``; a usage error lists them for anything else."""
    return typer.Option(option, parser=_reader(option, kind), metavar=f"<{'|'.join(kind)}>", help=help)


def _reader(option: str, kind: type[Choice]) -> Callable[[str], Choice]:
    def read(text: str) -> Choice:
        known = [each.value for each in kind]
        if text not in known:
            raise typer.BadParameter(
                f"{text!r} is not one of {', '.join(known)}{nearest(text, known)}", param_hint=option
            )
        return kind(text)

    return read


def read_pairs(values: Sequence[str] | None, option: str, example: str) -> dict[str, str]:
    """``NAME=VALUE`` texts as a dict; a usage error for anything else, and for a name given twice.

    >>> read_pairs(["i=3", "j=4"], "--dim", "i=3")
    {'i': '3', 'j': '4'}
    """
    found: dict[str, str] = {}
    for value in values or ():
        name, equals, text = (part.strip() for part in value.partition("="))
        if not name or not equals or not text:
            raise typer.BadParameter(f"{value!r} is not NAME=VALUE; write {option} {example}", param_hint=option)
        if name in found:
            raise typer.BadParameter(f"{name!r} is given twice: {found[name]} and {text}", param_hint=option)
        found[name] = text
    return found


def read_sizes(values: Sequence[str] | None) -> dict[str, int]:
    """The sizes of ``--dim``; a usage error where one is not a whole number from 0.

    >>> read_sizes(["r=8"])
    {'r': 8}
    """
    sizes = {}
    for name, text in read_pairs(values, "--dim", "r=8").items():
        if not text.isdecimal():
            raise typer.BadParameter(
                f"the size of {name} is a whole number from 0, not {text!r}; write --dim {name}=8", param_hint="--dim"
            )
        sizes[name] = int(text)
    return sizes
