"""What importing and calling do not do: heavy libraries stay unloaded, known shapes are planned once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import otus
from otus.runtime import arrays, binding, compiled, exchange, planning

HEAVY = (
    "scipy",
    "sympy",
    "opt_einsum",
    "networkx",
    "lark",
    "rich",
    "typer",
    "click",
    "jinja2",
    "torch",
    "jax",
    "triton",
)
ONLY_WHEN_COMPILING = (
    "otus.passes",
    "otus.autodiff",
    "otus.codegen",
    "otus.runtime.compiled",
    "otus.runtime.cache",
    "otus.cli",
    "tempfile",
)


def loaded_after(statements: str) -> set[str]:
    """The modules of a fresh process that ran ``statements``."""
    script = f"{statements}\nimport sys\nprint(' '.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.split("\n")[-2].split())


def test_importing_loads_nothing_heavy() -> None:
    before, after = loaded_after("import numpy"), loaded_after("import otus")
    assert not {*HEAVY, *ONLY_WHEN_COMPILING} & (after - before)


def test_compiling_and_calling_load_no_symbolic_or_graph_library() -> None:
    loaded = loaded_after(
        "import numpy, otus\n"
        "m = otus.parse('tensor A[i,j], x[j]\\nf = sum((A @ x) ^ 2)\\ng = grad(f, x)')\n"
        "otus.compile(m)(A=numpy.ones((2, 3)), x=numpy.ones(3))"
    )
    assert not {"scipy", "sympy", "networkx", "rich", "typer", "jinja2", "torch", "triton", "jax"} & loaded


def test_a_program_from_the_cache_loads_no_emitter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTUS_CACHE_DIR", str(tmp_path))
    program = (
        "import otus\nfrom otus.runtime import plans\nplans.versions = lambda: 'these'\n"
        "f = otus.compile(otus.exp(otus.tensor('x', (3,))))\nf([0.0, 0.0, 0.0])\nf.source"
    )
    first, second = loaded_after(program), loaded_after(program)
    assert {"otus.codegen", "tempfile"} <= first
    assert not {"otus.codegen", "otus.runtime.reference", "tempfile"} & second


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a call does beyond running its code, as it happens."""
    found: list[str] = []

    def counted(module: Any, name: str) -> None:
        original = getattr(module, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            found.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(module, name, call)

    for module, name in ((exchange, "as_numpy"), (compiled, "bind_sizes"), (planning.Planner, "plan")):
        counted(module, name)
    assert exchange.as_numpy is not arrays.as_numpy
    assert compiled.bind_sizes is not binding.bind_sizes
    return found


@pytest.mark.parametrize("shape", [("i", "j"), (2, 3)])
def test_known_shapes_go_straight_to_their_code(shape: tuple[Any, ...], steps: list[str]) -> None:
    a, b = otus.tensor("a", shape), otus.tensor("b", shape)
    f = otus.compile({"sum": a + b, "products": [a * b, (a * b).sum()]})
    x, y = np.arange(6.0).reshape(2, 3), np.ones((2, 3))
    f(x, y)
    assert steps.count("as_numpy") == 2
    steps.clear()
    for found in (f(x, y), f(a=x, b=y), f(x, b=y), f(b=y, a=x), f(y, x), f(x[::-1], y[:, ::-1])):
        assert list(found) == ["sum", "products"]
        assert isinstance(found["products"][1], np.ndarray)
    assert steps == []


def test_sizes_are_planned_once_for_each_list_of_shapes(steps: list[str]) -> None:
    a, b = otus.tensor("a", ("i", "j")), otus.tensor("b", ("j", "k"))
    f = otus.compile(a @ b)
    for _ in range(3):
        for j in (2, 3):
            np.testing.assert_array_equal(f(np.ones((1, j)), np.ones((j, 4))), np.full((1, 4), float(j)))
    assert steps.count("bind_sizes") == 2
    assert steps.count("plan") <= 2


def test_everything_else_is_checked_at_every_call(steps: list[str]) -> None:
    class Special(np.ndarray):
        pass

    f = otus.compile(2 * otus.tensor("x", (2,)))
    f(np.ones(2))
    for value in ([1.0, 1.0], np.ones(2, np.float32), np.ones(2, ">f8"), np.ones(2).view(Special), np.ones(2, "int8")):
        steps.clear()
        result = f(value)
        assert type(result) is np.ndarray
        np.testing.assert_array_equal(result, [2.0, 2.0])
        assert steps == ["as_numpy"]
    for wrong in (np.ones(3), np.ones((1, 2)), np.ones(2, complex), "text"):
        with pytest.raises(otus.OtusError):
            f(wrong)
    np.testing.assert_array_equal(f(np.ones(2)), [2.0, 2.0])
