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


def test_tests_for_gpus_are_collected(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "gpu", "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=ROOT, env=bare_environment(tmp_path, ROOT), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    listed = [text for text in done.stdout.splitlines() if "::" in text]
    assert len(listed) > 50
    assert {text.partition("::")[0] for text in listed} == {
        "tests/triton/test_eight_bits_gpu.py",
        "tests/triton/test_gpu.py",
        "tests/triton/test_nests_gpu.py",
        "tests/triton/test_products_gpu.py",
    }
