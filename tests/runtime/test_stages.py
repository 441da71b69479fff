"""OTUS_DUMP: the stages of every function that is compiled, as ``otus dump --all`` writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

import otus
from otus.runtime.settings import SettingsError


def _functions(folder: Path) -> list[Path]:
    return sorted(folder.iterdir(), key=lambda path: int(path.name.partition("-")[0]))


def test_each_function_has_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTUS_DUMP", str(tmp_path / "dumps"))
    x = otus.tensor("x", ("n",))
    first = otus.compile(otus.grad((x * x).sum(), x))
    second = otus.compile((x * x).sum(), name="squares")
    one, two = _functions(tmp_path / "dumps")
    assert one.name.endswith("-kernel")
    assert two.name.endswith("-squares")
    for folder, function in ((one, first), (two, second)):
        (source,) = folder.glob("*-source.py")
        assert source.read_text("utf-8") == function.source
        assert (folder / "00-parsed.ir").read_text("utf-8") == function.report[0].ir_before
        index = (folder / "index.txt").read_text("utf-8").splitlines()
        for number, record in enumerate(function.report, 1):
            name = f"{number:02d}-{record.name}"
            assert (f"{name}.ir" if record.changed else f"{name}: changed nothing") in index
            assert (folder / f"{name}.ir").exists() == record.changed
    assert otus.parse_ir((one / "00-parsed.ir").read_text("utf-8"))["out0"] is otus.grad((x * x).sum(), x)


def test_the_reference_backend_has_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTUS_DUMP", str(tmp_path))
    x = otus.tensor("x", ("n",))
    otus.compile(otus.grad((x * x).sum(), x), backend="reference")
    (folder,) = tmp_path.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["00-parsed.ir", "01-expand.ir", "index.txt"]


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    x = otus.tensor("x", ("n",))
    monkeypatch.setenv("OTUS_DUMP", str(tmp_path / "file"))
    with pytest.raises(SettingsError, match="OTUS_DUMP"):
        otus.compile(x + 1)
    monkeypatch.setenv("OTUS_DUMP", str(tmp_path / "file" / "inside"))
    with pytest.raises(otus.OtusError, match="cannot be written to"):
        otus.compile(x + 1)


def test_nothing_is_written_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTUS_DUMP", raising=False)
    monkeypatch.chdir(tmp_path)
    otus.compile(otus.tensor("x", ("n",)) + 1)
    assert not list(tmp_path.iterdir())
