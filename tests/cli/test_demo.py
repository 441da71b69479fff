"""``otus demo``: what it needs, what it prints; on small tensors, and once as a user runs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otus.examples import cp_decomposition as cp

Otus = Any  # the fixture of conftest.py


def small_data(name: str) -> cp.Data:
    """A tensor of rank 2, with missing entries where the demo's has some."""
    generator = np.random.default_rng(0)
    sizes = (5, 4, 3, 6) if name == "kinetic" else (6, 5, 4)
    tensor = cp.product([generator.random((size, 2)) for size in sizes])
    weights = (generator.random(sizes) > 0.1).astype(float) if name == "kinetic" else None
    return cp.normalised(
        name, f"Small {name}", tensor, weights, tuple("ijkl"[: len(sizes)]), [np.arange(size) for size in sizes]
    )


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorly")
    monkeypatch.setattr(cp, "load_data", small_data)


def test_fits_stand_side_by_side(otus: Otus, folder: Path, small: None) -> None:
    result = otus("demo", "--rank", "2", "--out", "pictures", "--tolerance", "1e-8")
    assert (result.status, result.err) == (0, "")
    assert "Small kinetic: 5 × 4 × 3 × 6 (" in result.out
    assert "entries missing), rank 2, cpd_missing.otus" in result.out
    assert result.out.count("Otus gradients, L-BFGS-B") == result.out.count("TensorLy parafac") == 2
    pytest.importorskip("matplotlib")
    assert sorted(path.name for path in Path("pictures").iterdir()) == ["indian_pines.png", "kinetic.png"]


def test_json(otus: Otus, folder: Path, small: None) -> None:
    found = json.loads(otus("demo", "--rank", "2", "--data", "indian_pines", "--out", "p", "--json").out)
    (result,) = found["results"]
    assert result["shape"] == [6, 5, 4]
    assert result["otus"]["fit"] > 0.95
    assert result["tensorly"]["fit"] > 0.95


def test_without_matplotlib_there_is_no_picture(
    otus: Otus, folder: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otus.examples.pictures.matplotlib_is_installed", lambda: False)
    result = otus("demo", "--rank", "2", "--data", "kinetic", "--out", "pictures")
    assert "no picture, since matplotlib is not installed (pip install matplotlib)" in result.out
    assert not Path("pictures").exists()


def test_without_tensorly_it_says_what_to_install(otus: Otus, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorly", None)
    result = otus("demo", "--out", "pictures")
    assert (result.status, result.out) == (1, "")
    assert result.err == (
        "otus: the demo decomposes tensors that TensorLy ships, and TensorLy is not installed; "
        "type: pip install tensorly matplotlib\n"
    )


def test_pictures_need_a_folder(otus: Otus, folder: Path, small: None) -> None:
    pytest.importorskip("matplotlib")
    result = otus("demo", "--out", "form.otus")
    assert result.status == 1
    assert result.err.startswith("otus: pictures cannot be saved in form.otus: ")


@pytest.mark.slow
def test_the_demo_itself(otus: Otus, folder: Path) -> None:
    pytest.importorskip("tensorly")
    found = json.loads(otus("demo", "--out", "pictures", "--json").out)
    for result in found["results"]:
        assert result["otus"]["fit"] > result["tensorly"]["fit"] - 0.002
    kinetic, pines = found["results"]
    assert kinetic["otus"]["fit"] > 0.965
    assert pines["otus"]["fit"] > 0.895
