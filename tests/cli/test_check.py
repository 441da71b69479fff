"""``otus check``: every kind of derivative against finite differences, and what a failure looks like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Otus = Any  # the fixture of conftest.py

KINDS = """\
tensor A[3,4], x[4], v[4], u[3], V[3,4]
y = tanh(A @ x)
loss = sum(y ^ 2)
a = jvp(y, x, v)
b = vjp(y, x, u)
c = hvp(loss, x, v)
d = jtjvp(y, x, v)
e = hessian(loss, x)
f = hessian(loss, A, x)
h = grad(loss, y)
i = jacobian(y, A)
j = derivative(loss, x, order=3)
k = hvp(loss, A, V)
"""


def test_every_kind_of_derivative(otus: Otus, folder: Path) -> None:
    Path("kinds.otus").write_text(KINDS)
    found = json.loads(otus("check", "kinds.otus", "--json").out)
    assert found["passed"]
    names = [each["name"] for each in found["comparisons"]]
    for letter, line in zip("abcdefhijk", range(4, 14), strict=True):
        assert f"{letter}: kernel against reference" in names
        assert f"{letter} (line {line}): against finite differences" in names
    assert all(each["error"] < 1e-10 for each in found["comparisons"])


def test_what_is_printed(otus: Otus, folder: Path) -> None:
    result = otus("check", "form.otus", "--seed", "3", "--dim", "n=2")
    assert (result.status, result.err) == (0, "")
    assert result.out.endswith("3 of 3 passed, seed 3, sizes n=2\n")
    assert "g (line 4): against finite differences" in result.out


def test_large_points_are_moved_in_random_directions(otus: Otus, folder: Path) -> None:
    Path("large.otus").write_text("tensor x[400], A[3,400]\ny = sin(A @ x)\ng = grad(sum(y), x)\nJ = jacobian(y, A)")
    assert otus("check", "large.otus").status == 0


def test_single_precision_is_held_to_what_it_can_do(otus: Otus, folder: Path) -> None:
    Path("single.otus").write_text("tensor x[5] : float32\ng = grad(sum(exp(x)), x)")
    assert otus("check", "single.otus").status == 0


def test_integers_and_facts(otus: Otus, folder: Path) -> None:
    Path("facts.otus").write_text(
        "tensor P[n,n] : positive_definite\ntensor k[n] : int64\nf = logdet(P) + sum(k)\ng = grad(f, P)"
    )
    assert otus("check", "facts.otus").status == 0


def test_a_wrong_derivative_is_found(otus: Otus, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from otus.autodiff.scalar_derivatives import PARTIALS
    from otus.ir.scalar import call

    Path("sine.otus").write_text("tensor x[3]\nf = sum(sin(x))\ng = grad(f, x)")
    assert otus("check", "sine.otus").status == 0
    monkeypatch.setenv("OTUS_CACHE", "0")  # what follows is compiled wrongly
    monkeypatch.setitem(PARTIALS, "sin", lambda x, out: (call("sin", x),))
    result = otus("check", "sine.otus")
    assert result.status == 1
    assert "FAIL  g (line 3): against finite differences" in result.out
    assert "1 of 2 passed" in result.out
    assert result.err.startswith("otus: g (line 3): against finite differences is off by ")
    found = json.loads(otus("check", "sine.otus", "--json").out)
    assert not found["passed"]


def test_a_wrong_kernel_is_found(otus: Otus, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otus.cli.check.relative_error", lambda value, expected: float(np.max(np.abs(expected)) > 0))
    result = otus("check", "form.otus")
    assert result.status == 1
    assert "FAIL  f: kernel against reference" in result.out
