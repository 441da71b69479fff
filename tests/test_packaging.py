"""What is installed is what stands in the checkout."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SETUPTOOLS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
FOLDERS: dict[str, str] = SETUPTOOLS["package-dir"]


def _packages(name: str) -> set[str]:
    """The package ``name`` and those inside it, by where setuptools looks for them."""
    folder = ROOT / FOLDERS[name]
    found = (path.parent.relative_to(folder) for path in folder.rglob("__init__.py"))
    return {".".join((name, *path.parts)) for path in found}


def test_every_package_is_installed() -> None:
    assert set(SETUPTOOLS["packages"]) == set().union(*map(_packages, FOLDERS))


@pytest.mark.parametrize("name", FOLDERS)
def test_every_file_that_is_not_code_is_installed(name: str) -> None:
    data: dict[str, list[str]] = SETUPTOOLS["package-data"]
    for path in (ROOT / FOLDERS[name]).rglob("*.*"):
        inside = path.relative_to(ROOT / FOLDERS[name])
        if path.suffix in (".py", ".pyc") or any(part.startswith(".") for part in inside.parts):
            continue
        package = ".".join((name, *inside.parent.parts))
        patterns = [*data["*"], *data.get(package, [])]
        assert any(inside.match(pattern) for pattern in patterns), f"{path} matches none of {patterns}"
