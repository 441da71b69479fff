"""``otus compile``: kernels that stand alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Otus = Any  # the fixture of conftest.py

USE = """
import sys
import numpy, {module}
H = numpy.arange(9.0).reshape(3, 3)
print({module}.{function}(x=numpy.ones(3), H=H))
assert not [name for name in sys.modules if name == "otus" or name.startswith("otus.")]
"""


def test_a_kernel_runs_without_otus(otus: Otus, folder: Path) -> None:
    result = otus("compile", "form.otus", "-o", "kernel.py")
    assert (result.status, result.out, result.err) == (0, "wrote kernel.py: kernel(x, H) returns f, g\n", "")
    code = USE.format(module="kernel", function="kernel")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    assert done.stdout == "(array(36.), array([12., 24., 36.]))\n".replace("12., 24., 36.", "12., 24., 36.")


def test_the_function_may_have_another_name(otus: Otus, folder: Path) -> None:
    otus("compile", "form.otus", "-o", "kernel.py", "--name", "quadratic")
    namespace: dict[str, Any] = {}
    exec(Path("kernel.py").read_text("utf-8"), namespace)
    f, g = namespace["quadratic"](x=np.ones(2), H=np.eye(2))
    assert f == 2
    np.testing.assert_array_equal(g, [2, 2])


def test_without_a_file_the_source_goes_to_stdout(otus: Otus, folder: Path) -> None:
    result = otus("compile", "form.otus")
    assert result.status == 0
    compile(result.out, "kernel.py", "exec")
    assert result.out.startswith('"""f, g of form.otus, emitted by Otus ')
    assert json.loads(otus("compile", "form.otus", "--json").out)["source"] == result.out


def test_sizes_may_be_fixed(otus: Otus, folder: Path) -> None:
    assert "array of shape (3, 3)" in otus("compile", "form.otus", "--dim", "n=3").out
    assert otus("compile", "form.otus", "--dim", "m=3").err == "otus: form.otus has no dim 'm'; its dims are n\n"


def test_only_what_otus_wrote_is_overwritten(otus: Otus, folder: Path) -> None:
    for _ in range(2):
        assert otus("compile", "form.otus", "-o", "kernel.py").status == 0
    Path("mine.py").write_text("print('mine')\n")
    result = otus("compile", "form.otus", "-o", "mine.py")
    assert (result.status, result.err) == (
        1, "otus: mine.py exists and was not written by Otus; choose another name, or add --force to replace it\n",
    )  # fmt: skip
    assert Path("mine.py").read_text() == "print('mine')\n"
    assert otus("compile", "form.otus", "-o", "mine.py", "--force").status == 0
    assert otus("compile", "form.otus", "-o", "form.otus").status == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "no/kernel.py"], "no/kernel.py cannot be written: no is not a folder"),
        (["-o", "."], ". is a folder; give a file, such as kernel.py"),
        (["--backend", "reference"], "the reference backend emits no source; use backend='numpy'"),
    ],
)
def test_mistakes(otus: Otus, folder: Path, arguments: list[str], message: str) -> None:
    result = otus("compile", "form.otus", *arguments)
    assert result.status == 1
    assert result.err.startswith(f"otus: {message}")


def test_json(otus: Otus, folder: Path) -> None:
    found = json.loads(otus("compile", "form.otus", "-o", "kernel.py", "--json").out)
    assert found == {
        "file": "form.otus", "output": "kernel.py", "backend": "numpy", "function": "kernel",
        "inputs": ["x", "H"], "outputs": ["f", "g"],
    }  # fmt: skip
