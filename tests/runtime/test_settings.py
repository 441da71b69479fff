"""Settings from the environment: defaults, values, refusals, and the list for a person."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from otus.runtime.settings import VARIABLES, Settings, SettingsError, list_settings, settings


def test_defaults() -> None:
    found = settings({"XDG_CACHE_HOME": "/somewhere"})
    assert found == Settings(0, False, None, True, Path("/somewhere/otus"), False, None, True, True)
    assert settings({}).cache_folder == Path.home() / ".cache" / "otus"
    assert settings({"OTUS_DEBUG": "", "OTUS_CHECK": "", "NO_COLOR": ""}).debug == 0


def test_every_field_has_a_variable() -> None:
    assert [variable.field for variable in VARIABLES] == [field.name for field in fields(Settings)]


def test_values_are_read_at_every_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"OTUS_DEBUG": "3", "OTUS_CHECK": "1", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OTUS_DUMP", str(tmp_path))
    monkeypatch.setenv("OTUS_CACHE", "0")
    monkeypatch.setenv("OTUS_AUTOTUNE", "1")
    monkeypatch.setenv("OTUS_CACHE_DIR", str(tmp_path / "new"))
    monkeypatch.setenv("OTUS_DEVICE", "1")
    monkeypatch.setenv("OTUS_CUDA_GRAPHS", "0")
    assert settings() == Settings(3, True, tmp_path, False, tmp_path / "new", True, "cuda:1", False, False)
    monkeypatch.setenv("OTUS_DEBUG", "4")
    assert settings().debug == 4


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("OTUS_DEBUG", "5", "0, 1, 2, 3 or 4"),
        ("OTUS_DEBUG", "yes", "0, 1"),
        ("OTUS_CHECK", "true", "0 or 1"),
        ("OTUS_CACHE", "/a/folder", "0 or 1"),
        ("OTUS_DEVICE", "gpu", "cuda, or cuda:1 and so on"),
    ],
)
def test_bad_values_say_what_is_accepted(name: str, value: str, accepted: str) -> None:
    with pytest.raises(SettingsError, match=f"variable {name} is '{value}'; {accepted}"):
        settings({name: value})


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(SettingsError, match=r"OTUS_DUMP is .*; a folder is accepted"):
        settings({"OTUS_DUMP": str(path)})


def test_the_list_says_where_values_come_from() -> None:
    rows = {row.name: row for row in list_settings({"OTUS_DEBUG": "2"})}
    assert (rows["OTUS_DEBUG"].value, rows["OTUS_DEBUG"].source) == ("2", "environment")
    assert (rows["OTUS_CHECK"].value, rows["OTUS_CHECK"].source) == ("0", "default")
    assert list(rows) == [
        "OTUS_DEBUG", "OTUS_CHECK", "OTUS_DUMP", "OTUS_CACHE", "OTUS_CACHE_DIR", "OTUS_AUTOTUNE", "OTUS_DEVICE",
        "OTUS_CUDA_GRAPHS", "NO_COLOR",
    ]  # fmt: skip
