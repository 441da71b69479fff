"""Programs in the text language, from text or from files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...ir import NamingError, Node, OtusError
from ...ir.errors import nearest
from ..expression import Expression
from .diagnostics import Diagnostic, LanguageError, Source, Span
from .elaborate import Elaborator
from .positions import remember_positions
from .scope import Scope
from .syntax import ImportStatement

MAXIMUM_IMPORTS = 50


@dataclass(frozen=True)
class Module:
    """A program that has been read.

    ``tensors`` are the declared inputs and ``outputs`` what the program computes, both in order;
    ``dims`` are the sizes that the text fixes.  ``positions`` says for every node which text it
    comes from, and ``labels`` which name was given to it.
    """

    file: str
    text: str
    tensors: Mapping[str, Expression]
    outputs: Mapping[str, Expression]
    dims: Mapping[str, int]
    positions: Mapping[Node, Span] = field(repr=False)
    labels: Mapping[Node, str] = field(repr=False)
    values: Mapping[str, Expression] = field(repr=False)

    def __getitem__(self, name: str) -> Expression:
        """The expression of a declared or assigned name; raises ``NamingError`` for any other."""
        if name not in self.values:
            raise NamingError(f"{self.file} gives no value to {name!r}{nearest(name, self.values)}")
        return self.values[name]


def parse(text: str, file: str = "<text>") -> Module:
    r"""Read a program; raises ``LanguageError`` with all its independent mistakes.

    >>> module = parse("tensor x[i], y[i]\ns = x[i] * y[i]")
    >>> list(module.tensors), list(module.outputs)
    (['x', 'y'], ['s'])
    """
    if not isinstance(text, str):
        raise OtusError(f"parse takes the text of a program, not {type(text).__name__}; load reads a file")
    folder = Path(file).parent if file != "<text>" else None
    return _Program().read(Source(file, text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")), folder)


def load(path: str | os.PathLike[str]) -> Module:
    """Read a program from a file; raises ``LanguageError`` with all its independent mistakes.

    Raises ``OtusError`` where the file cannot be read.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise OtusError(f"load takes the path of a program, not {type(path).__name__}; parse reads text")
    location = Path(path)
    try:
        source = _source(location)
    except OSError as error:
        raise OtusError(f"{location} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise OtusError(f"{location!r} cannot be read: {error}") from None
    return _Program().read(source, location.parent)


def _source(path: Path) -> Source:
    data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        return Source(str(path), data.decode("utf-8"))
    except UnicodeDecodeError as error:
        readable = Source(str(path), data.decode("utf-8", "replace"))
        place = len(data[: error.start].decode("utf-8"))
        raise LanguageError.at(
            Span(readable, place, place + 1), f"byte 0x{data[error.start]:02x} is not UTF-8", "save the file as UTF-8"
        ) from None


class _Program:
    """One program: the file asked for and all it imports."""

    def __init__(self) -> None:
        self.positions: dict[Node, Span] = {}
        self.labels: dict[Node, str] = {}
        self._loaded: dict[Path, Scope] = {}
        self._loading: list[Path] = []

    def read(self, source: Source, folder: Path | None) -> Module:
        if folder is not None:
            self._loading.append((folder / Path(source.file).name).resolve())
        elaborator = self._elaborate(source, folder)
        if elaborator.diagnostics:
            raise LanguageError(elaborator.diagnostics)
        remember_positions(self.positions)
        scope = elaborator.scope
        values = {
            name: elaborator.expression(name)
            for name, value in scope.values.items()
            if not isinstance(value, (list, tuple, str))
        }
        return Module(
            source.file,
            source.text,
            {name: value for name, value in values.items() if _is_tensor(value, name)},
            {name: values[name] for name in elaborator.output_names()},
            {name: entry.size for name, entry in scope.dims.items() if isinstance(entry.size, int)},
            self.positions,
            self.labels,
            values,
        )

    def _elaborate(self, source: Source, folder: Path | None) -> Elaborator:
        elaborator = Elaborator(source, self.positions, self.labels, lambda statement: self._import(statement, folder))
        elaborator.run()
        return elaborator

    def _import(self, statement: ImportStatement, folder: Path | None) -> Scope:
        span, name = statement.path.span, statement.path.value
        path = _imported_path(name, folder, span)
        if path in self._loading:
            chain = " → ".join(x.name for x in [*self._loading[self._loading.index(path) :], path])
            raise LanguageError.at(span, f"{name!r} imports itself ({chain})")
        if path in self._loaded:
            return self._loaded[path]
        if len(self._loaded) + len(self._loading) >= MAXIMUM_IMPORTS:
            raise LanguageError.at(span, f"the program imports more than {MAXIMUM_IMPORTS} files")
        try:
            source = _source(path)
        except OSError as error:
            raise LanguageError.at(span, f"{name!r} cannot be read: {error.strerror or error}") from None
        self._loading.append(path)
        elaborator = self._elaborate(source, path.parent)
        self._loading.pop()
        if elaborator.diagnostics:
            raise LanguageError(elaborator.diagnostics)
        self._loaded[path] = elaborator.scope
        return elaborator.scope


def _imported_path(name: str, folder: Path | None, span: Span) -> Path:
    """Where an import leads; raises ``LanguageError`` outside the folder of the importing file."""
    if folder is None:
        raise LanguageError.at(span, "a text without a file has no folder to import from", "use otus.load(path)")
    if "\0" in name or not name:
        raise LanguageError.at(span, f"{name!r} is not a file name")
    root = folder.resolve()
    try:
        path = (root / name).resolve()
    except (OSError, RuntimeError) as error:
        raise LanguageError.at(span, f"{name!r} cannot be read: {error}") from None
    if Path(name).is_absolute() or not path.is_relative_to(root):
        raise LanguageError.at(
            span,
            f"{name!r} is outside the folder of the file that imports it",
            "import relative paths below that folder",
        )
    return path


def _is_tensor(value: Expression, name: str) -> bool:
    from ...ir.operations import Input

    return isinstance(value.node.op, Input) and value.node.op.label == name


__all__ = ["Diagnostic", "LanguageError", "Module", "Span", "load", "parse"]
