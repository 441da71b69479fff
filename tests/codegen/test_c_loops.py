"""Loops in C: every function against NumPy, every layout, reductions, what C has no form for, and the cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import otus
from otus.passes import DEFAULT_PIPELINE

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")

BLOCKS = DEFAULT_PIPELINE.replace("block", "block{large=8,elements=64}")
EXTREME = np.array([0.0, -0.0, 1e-300, -1e-300, 1e-8, 0.3, -0.3, 1.0, -1.0, 5.5, -5.5, 30.0, -30.0, 710.0, -745.0,
                    1e10, -1e300, np.inf, -np.inf, np.nan])  # fmt: skip
UNARY = ["exp", "expm1", "log", "log1p", "sqrt", "square", "sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh",
         "cosh", "tanh", "sign", "floor", "abs", "isfinite", "sigmoid", "softplus", "erf", "relu", "gelu"]  # fmt: skip
BINARY = ["maximum", "minimum", "arctan2", "logaddexp", "less", "equal", "divide"]


def compiled(outputs: object, dims: object = None) -> otus.CompiledFunction:
    function = otus.compile(outputs, backend="c", pipeline=BLOCKS, dims=dims)
    assert "_declared(loops_in_c" in function.source
    assert "no form in C" not in function.source
    return function


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one(name: str, dtype: str) -> None:
    """Within 4 units in the last place of NumPy's own, infinities, zeros and NaN included."""
    with np.errstate(all="ignore"):
        data = np.concatenate([EXTREME, np.random.default_rng(0).normal(size=200) * 3]).astype(dtype)
    x = otus.tensor("x", data.shape, dtype)
    expression = otus.where(otus.isfinite(x), x, 2) * x if name == "isfinite" else getattr(otus, name)(2 * x)
    with np.errstate(all="ignore"):
        expected = otus.compile(expression, pipeline="expand")(x=data)
        value = compiled(expression)(x=data)
    assert value.dtype == expected.dtype
    tiny = np.finfo(dtype).tiny
    np.testing.assert_allclose(value, expected, rtol=8 * np.finfo(dtype).eps, atol=4 * tiny)


@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two(name: str) -> None:
    a, b = (grid.ravel() for grid in np.meshgrid(EXTREME, EXTREME))
    x, y = otus.tensor("x", a.shape), otus.tensor("y", a.shape)
    expression = otus.where(getattr(otus, name)(x, y + 0.5) > 0.5, x, y) if name in ("less", "equal") else (
        getattr(otus, name)(x, y + 0.5) * 2
    )  # fmt: skip
    with np.errstate(all="ignore"):
        expected = otus.compile(expression, pipeline="expand")(x=a, y=b)
        value = compiled(expression)(x=a, y=b)
    np.testing.assert_allclose(value, expected, rtol=1e-14, atol=1e-300)


@pytest.mark.parametrize("exponent", [2, 3, 5, 7, 8, 9, -1, -2, 0.5, 2.5])
def test_powers(exponent: float) -> None:
    data = np.abs(np.random.default_rng(1).normal(size=100)) + 0.1
    x = otus.tensor("x", (100,))
    np.testing.assert_allclose(compiled(2 * x**exponent + x)(x=data), 2 * data**exponent + data, rtol=2e-15)


def test_integers_booleans_and_mixed_dtypes() -> None:
    n = otus.tensor("n", (50,), "int64")
    m = otus.tensor("m", (50,), "int32")
    b = otus.tensor("b", (50,), "bool")
    f = otus.tensor("f", (50,), "float32")
    generator = np.random.default_rng(2)
    data = {"n": generator.integers(-9, 9, 50), "m": generator.integers(-9, 9, 50).astype(np.int32),
            "b": generator.random(50) < 0.5, "f": generator.normal(size=50).astype(np.float32)}  # fmt: skip
    outputs = [
        n * m + 2,
        otus.where(b, n, m) * 3,
        f / 3 + f * f,
        otus.where(b, otus.where(f > 0, f, n), n) * 2.5,
        (n + 1) / 4 * f,
    ]
    for value, expected in zip(
        compiled(outputs)(**data), otus.compile(outputs, pipeline="expand")(**data), strict=True
    ):
        assert value.dtype == expected.dtype
        np.testing.assert_allclose(value, expected, rtol=1e-6 if value.dtype == np.float32 else 1e-15)


REDUCTIONS = {
    "rows": lambda e: (e * e).sum(axis=1) + 1,
    "columns": lambda e: (e * e).sum(axis=0) + 1,
    "all": lambda e: (e * e + 1).sum(),
    "largest of rows": lambda e: e / otus.max(abs(e), axis=1)[:, None],
    "largest of columns": lambda e: otus.max(e * e - e, axis=0),
    "least of all": lambda e: otus.min(2 * e * e - e),
    "products": lambda e: otus.prod(1 + 0.1 * e * e, axis=1) * 2,
    "softmax of rows": lambda e: otus.softmax(e, axis=1) * e,
    "softmax of columns": lambda e: otus.softmax(e, axis=0) * e,
    "normalised": lambda e: (e - e.mean(axis=1)[:, None]) / otus.sqrt((e * e).mean(axis=1)[:, None] + 1e-5),
    "both ways": lambda e: [e - e.sum(axis=1)[:, None], (e * otus.exp(e)).sum(axis=0), (e + 1).sum()],
    "transposed": lambda e: otus.exp(e.T) * 2 + e.T,
    "with vectors": lambda e: otus.exp(e) @ e.sum(axis=0) + e[:, 0],
}


@pytest.mark.parametrize("order", ["C", "F", "strided"])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_and_layouts(name: str, order: str) -> None:
    data = np.random.default_rng(3).normal(size=(13, 17))
    data = {"C": data, "F": np.asfortranarray(data), "strided": np.repeat(data, 2, axis=1)[:, ::2]}[order]
    outputs = REDUCTIONS[name](otus.tensor("x", (13, 17)))
    outputs = outputs if isinstance(outputs, list) else [outputs]
    expected = otus.compile(outputs, pipeline="expand")(x=data)
    for value, wanted in zip(compiled(outputs)(x=data), expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-13)


def test_three_axes() -> None:
    x, y = otus.tensor("x", (6, 5, 7)), otus.tensor("y", (5,))
    outputs = [otus.exp(x).sum(axis=1) * 2, (x * y[:, None]).sum(axis=(0, 2)) + y, otus.tanh(x).transpose(2, 0, 1) * 3]
    data = {"x": np.random.default_rng(4).normal(size=(6, 5, 7)), "y": np.arange(5.0)}
    for value, wanted in zip(compiled(outputs)(**data), otus.compile(outputs, pipeline="expand")(**data), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-13)


def test_nan_goes_through_reductions() -> None:
    data = np.ones((8, 9))
    data[3, 4] = np.nan
    x = otus.tensor("x", (8, 9))
    rows, columns = compiled([otus.max(2 * x + x * x, axis=1), otus.max(2 * x + x * x, axis=0)])(x=data)
    assert np.isnan(rows).tolist() == [k == 3 for k in range(8)]
    assert np.isnan(columns).tolist() == [k == 4 for k in range(9)]


def test_symbolic_sizes_are_planned_when_they_are_known() -> None:
    x = otus.tensor("x", ("n", "m"))
    function = otus.compile(otus.softmax(x, axis=1) * x, backend="c", pipeline=BLOCKS)
    for shape in ((9, 11), (20, 3), (1, 40), (0, 4)):
        data = np.random.default_rng(5).normal(size=shape)
        expected = otus.compile(otus.softmax(x, axis=1) * x, pipeline="expand")(x=data)
        np.testing.assert_allclose(function(x=data), expected, rtol=1e-13)


def test_what_c_has_no_form_for_stays_in_numpy_and_says_so() -> None:
    x = otus.tensor("x", (40,), "complex128")
    function = otus.compile(otus.exp(x) * x + 1, backend="c", pipeline=BLOCKS)
    assert "in NumPy, since there is no form in C here for dtype complex128" in function.source
    data = np.linspace(0, 1, 40) * (1 + 1j)
    np.testing.assert_allclose(function(x=data), np.exp(data) * data + 1)


def test_calls_from_several_threads() -> None:
    x = otus.tensor("x", (300, 50))
    function = compiled([(otus.exp(x) * x).sum(axis=0), otus.softmax(x, axis=1) * x])
    data = [np.random.default_rng(k).normal(size=(300, 50)) for k in range(8)]
    expected = [function(x=each) for each in data]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for values, wanted in zip(pool.map(lambda each: function(x=each), data), expected, strict=True):
                assert all(np.array_equal(one, other) for one, other in zip(values, wanted, strict=True))


@pytest.mark.parametrize("cores", ["1", "2", "5"])
def test_results_are_the_same_on_any_number_of_cores(cores: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there are more blocks than parts of a sum."""
    monkeypatch.setenv("OMP_NUM_THREADS", cores)
    data = np.random.default_rng(5).normal(size=(3000, 7))
    x = otus.tensor("x", data.shape)
    function = compiled([otus.sum(otus.exp(x) * x, axis=0), otus.max(otus.sin(x) * x), otus.exp(x) * x])
    total, largest, values = function(x=data)
    np.testing.assert_allclose(total, (np.exp(data) * data).sum(0), rtol=1e-13)
    np.testing.assert_allclose(largest, (np.sin(data) * data).max(), rtol=1e-15)
    np.testing.assert_allclose(values, np.exp(data) * data, rtol=1e-14)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert all(
        np.array_equal(one, other) for one, other in zip(function(x=data), (total, largest, values), strict=True)
    )


def test_a_sum_over_no_rows_is_zero() -> None:
    x = otus.tensor("x", ("n", 3))
    function = compiled(otus.sum(otus.exp(x) * x, axis=0), dims={"n": 100})
    symbolic = otus.compile(otus.sum(otus.exp(x) * x, axis=0), backend="c", pipeline=BLOCKS)
    assert symbolic(x=np.ones((100, 3))).shape == function(x=np.ones((100, 3))).shape == (3,)
    np.testing.assert_array_equal(symbolic(x=np.ones((0, 3))), np.zeros(3))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system forks no processes")
def test_a_forked_process_has_threads_of_its_own() -> None:
    """The parent's threads are gone in the child; waiting for them would take forever."""
    program = (
        "import os, numpy, otus\n"
        "from otus.passes import DEFAULT_PIPELINE\n"
        "x = otus.tensor('x', (5000,))\n"
        "blocks = DEFAULT_PIPELINE.replace('block', 'block{large=8,elements=64}')\n"
        "f = otus.compile(otus.exp(x) * x, backend='c', pipeline=blocks)\n"
        "data = numpy.linspace(0, 1, 5000)\n"
        "for _ in range(20): f(x=data)\n"
        "child = os.fork()\n"
        "for _ in range(20): numpy.testing.assert_allclose(f(x=data), numpy.exp(data) * data, rtol=1e-14)\n"
        "os._exit(0) if child == 0 else None\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr


def test_a_saved_module_stands_alone_and_its_library_is_kept(tmp_path: Path) -> None:
    x = otus.tensor("x", (1000,))
    source = compiled(otus.exp(x) * x).source
    (tmp_path / "kernel_module.py").write_text(source)
    program = (
        "import sys, numpy, kernel_module\n"
        "assert not any(name.partition('.')[0] == 'otus' for name in sys.modules)\n"
        "x = numpy.linspace(0, 1, 1000)\n"
        "numpy.testing.assert_allclose(kernel_module.kernel(x), numpy.exp(x) * x, rtol=1e-14)\n"
    )
    cache = tmp_path / "cache"
    environment = {**os.environ, "OTUS_CACHE": "1", "OTUS_CACHE_DIR": str(cache)}
    for _ in range(3):
        run = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
        (library,) = (cache / "c").iterdir()
        library.write_bytes(b"cut off")  # a library that cannot be loaded is compiled again


def test_a_compiler_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    x = otus.tensor("x", (64,))
    monkeypatch.setenv("CC", "false")
    monkeypatch.setenv("OTUS_CACHE", "0")
    with pytest.raises(otus.OtusError, match="false"):
        otus.compile(otus.exp(x) * x + 2, backend="c", pipeline=BLOCKS)
    monkeypatch.setenv("CC", "no-such-compiler")
    assert "no C compiler 'no-such-compiler'" in otus.backends()["c"]
    with pytest.raises(otus.UnsupportedError, match="no C compiler"):
        otus.compile(x, backend="c")
