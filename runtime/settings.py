"""The one table of settings, read from the environment at every call of :func:`settings`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..ir import OtusError
from .devices import device_text


class SettingsError(OtusError):
    """An environment variable has a value that its setting does not accept."""


@dataclass(frozen=True)
class Settings:
    """How Otus behaves, beyond what a call says.

    ``debug`` prints more with every step: 0 nothing, 1 pass timings, 2 rules fired, 3 the IR after
    each pass, 4 the emitted source.  ``check`` validates facts of the data and every pass by value.
    ``dump`` is a folder for the stages of every compiled function.  ``cache`` keeps compiled programs, in
    memory and in the folder ``cache_folder``.  ``autotune`` measures on the GPU how matrix products are carried out;
    ``device`` is the GPU for inputs that are on the host, and ``cuda_graphs`` allows replaying small programs there.
    ``color`` allows colour on terminals.
    """

    debug: int
    check: bool
    dump: Path | None
    cache: bool
    cache_folder: Path
    autotune: bool
    device: str | None
    cuda_graphs: bool
    color: bool


@dataclass(frozen=True)
class Variable:
    """One row: the environment variable, its field, its default, what it takes, what it does."""

    name: str
    field: str
    default: str
    accepted: str
    meaning: str
    read: Callable[[str, Mapping[str, str]], Any]


@dataclass(frozen=True)
class SettingReport:
    """A setting as ``otus doctor`` shows it; ``source`` is ``"environment"`` or ``"default"``."""

    name: str
    value: str
    source: str
    accepted: str
    meaning: str


def _read_debug(text: str, environment: Mapping[str, str]) -> int:
    level = text or "0"
    if level not in ("0", "1", "2", "3", "4"):
        raise ValueError(text)
    return int(level)


def _read_flag(text: str, environment: Mapping[str, str]) -> bool:
    if text not in ("", "0", "1"):
        raise ValueError(text)
    return text == "1"


def _read_dump(text: str, environment: Mapping[str, str]) -> Path | None:
    return _folder(text) if text else None


def _read_on(text: str, environment: Mapping[str, str]) -> bool:
    return _read_flag(text or "1", environment)


def _read_cache_folder(text: str, environment: Mapping[str, str]) -> Path:
    if text:
        return _folder(text)
    base = environment.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "otus"


def _read_device(text: str, environment: Mapping[str, str]) -> str | None:
    return device_text(text) if text else None


def _read_no_color(text: str, environment: Mapping[str, str]) -> bool:
    return text == ""


def _folder(text: str) -> Path:
    path = Path(text).expanduser()
    if path.exists() and not path.is_dir():
        raise ValueError(text)
    return path


VARIABLES: tuple[Variable, ...] = (
    Variable(
        "OTUS_DEBUG", "debug", "0", "0, 1, 2, 3 or 4",
        "prints 1 pass timings, 2 rules fired, 3 the IR after each pass, 4 emitted source",
        _read_debug,
    ),
    Variable(
        "OTUS_CHECK", "check", "0", "0 or 1",
        "checks declared facts on data and every pass by value", _read_flag,
    ),
    Variable(
        "OTUS_DUMP", "dump", "none", "a folder",
        "writes there, for every compiled function, the IR after each pass, the program and the source", _read_dump,
    ),
    Variable(
        "OTUS_CACHE", "cache", "1", "0 or 1",
        "keeps compiled programs, in memory and on disk", _read_on,
    ),
    Variable(
        "OTUS_CACHE_DIR", "cache_folder", "otus in the user's cache folder", "a folder",
        "keeps compiled programs there", _read_cache_folder,
    ),
    Variable(
        "OTUS_AUTOTUNE", "autotune", "0", "0 or 1",
        "measures on the GPU which matrix products are fused, and with which tiles", _read_flag,
    ),
    Variable(
        "OTUS_DEVICE", "device", "torch's current GPU", "cuda, or cuda:1 and so on",
        "runs GPU functions there whose inputs are on the host", _read_device,
    ),
    Variable(
        "OTUS_CUDA_GRAPHS", "cuda_graphs", "1", "0 or 1",
        "replays small programs on a GPU as CUDA graphs", _read_on,
    ),
    Variable(
        "NO_COLOR", "color", "not set", "anything",
        "turns colour off when set and not empty", _read_no_color,
    ),
)  # fmt: skip

_READ = (*(variable.name for variable in VARIABLES), "XDG_CACHE_HOME")
_HOMES = ("HOME", "USERPROFILE")


def settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings now, from ``environment`` (the process's own when None).

    Raises ``SettingsError`` naming the variable, its value and what is accepted.
    """
    given = os.environ if environment is None else environment
    return _settings(tuple([given.get(name, "") for name in _READ]), tuple(map(os.environ.get, _HOMES)))


@lru_cache(maxsize=64)
def _settings(texts: tuple[str, ...], homes: tuple[str | None, ...]) -> Settings:
    """The settings for the texts of the variables ``_READ``; ``homes`` are what ``Path.home`` looks at."""
    given = dict(zip(_READ, texts, strict=True))
    return Settings(**{variable.field: _read(variable, given) for variable in VARIABLES})


def list_settings(environment: Mapping[str, str] | None = None) -> list[SettingReport]:
    """Every setting with its value as text and where that comes from, in the table's order.

    Raises ``SettingsError`` for a value that is not accepted.
    """
    given = os.environ if environment is None else environment
    settings(given)
    return [_report(variable, given.get(variable.name, "")) for variable in VARIABLES]


def _report(variable: Variable, text: str) -> SettingReport:
    source = "environment" if text else "default"
    return SettingReport(variable.name, text or variable.default, source, variable.accepted, variable.meaning)


def _read(variable: Variable, environment: Mapping[str, str]) -> Any:
    text = environment.get(variable.name, "")
    try:
        return variable.read(text, environment)
    except ValueError:
        raise SettingsError(
            f"environment variable {variable.name} is {text!r}; {variable.accepted} is accepted ({variable.meaning})"
        ) from None
