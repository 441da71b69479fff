"""NumPy's own tests of einsum, from its wheel, with the function under test replaced by Otus."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy_einsum.adapter import einsum
from numpy_einsum.not_applicable import NOT_APPLICABLE


class NumPyWithOtus(ModuleType):
    """NumPy, but for one function."""

    def __getattr__(self, name: str) -> Any:
        return einsum if name == "einsum" else getattr(np, name)


def _numpys_tests() -> ModuleType:
    """A fresh copy of NumPy's test module that sees our einsum, in its decorators too."""
    path = Path(np.__file__).parent / "_core" / "tests" / "test_einsum.py"
    spec = importlib.util.spec_from_file_location("numpys_test_einsum", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    original = np.einsum
    np.einsum = einsum
    try:
        spec.loader.exec_module(module)
    finally:
        np.einsum = original
    module.np = NumPyWithOtus("numpy")  # type: ignore[attr-defined]
    return module


def members(module: ModuleType) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if name.lower().startswith("test")}


def names_of_tests(module: ModuleType) -> set[str]:
    """``Class::test`` and ``test``, without parameters."""
    found = members(module)
    return {
        f"{name}::{test}" if isinstance(value, type) else name
        for name, value in found.items()
        for test in (vars(value) if isinstance(value, type) else [""])
        if test.startswith("test") or not isinstance(value, type)
    }


def test_what_does_not_apply_exists_and_has_a_reason() -> None:
    known = names_of_tests(_numpys_tests())
    assert {name.partition("[")[0] for name in NOT_APPLICABLE} <= known
    assert all(NOT_APPLICABLE.values())


globals().update(members(_numpys_tests()))
