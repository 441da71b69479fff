"""``pytest -m gpu`` starts on a machine that has torch, Triton, NumPy and pytest, and little else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from bare_machine import bare_environment

pytest.importorskip("torch")
pytest.importorskip("triton")

ROOT = Path(__file__).parent.parent.parent


def listed(folder: Path, *options: str) -> list[str]:
    """The tests that are collected on such a machine."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "gpu", "--collect-only", "-q", "-p", "no:cacheprovider", *options],
        cwd=ROOT, env=bare_environment(folder, ROOT), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return [text for text in done.stdout.splitlines() if "::" in text]


def test_tests_for_gpus_are_collected(tmp_path: Path) -> None:
    found = listed(tmp_path)
    assert len(found) > 50
    assert {text.partition("::")[0] for text in found} == {
        "tests/triton/test_eight_bits_gpu.py",
        "tests/triton/test_gpu.py",
        "tests/triton/test_nests_gpu.py",
        "tests/triton/test_products_gpu.py",
    }
    parts = [listed(tmp_path, f"--part={number}/3") for number in (1, 2, 3)]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert sorted(each for part in parts for each in part) == sorted(found)
