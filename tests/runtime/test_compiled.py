"""Compiled functions: calling conventions, every refusal, sizes, threads, what can be looked at."""

from __future__ import annotations

import linecache
import runpy
import threading
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import otus
from otus.ir import DTypeError, NamingError, OtusError, ShapeError, UnsupportedError
from otus.runtime.facts import FactError

A, B, x = otus.tensor("A", ("i", "j")), otus.tensor("B", ("j", "k")), otus.tensor("x", ("j",))
a, b, v = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4), np.array([1.0, 0.0, -1.0])


# --- calling -----------------------------------------------------------------------------------


def test_by_name_in_order_and_mixed() -> None:
    f = otus.compile(A @ B)
    assert f.inputs == ("A", "B")
    for result in (f(A=a, B=b), f(a, b), f(a, B=b), f(B=b, A=a), f(B=b, A=a)):
        np.testing.assert_array_equal(result, a @ b)


@pytest.mark.parametrize("backend", ["numpy", "reference"])
def test_results_have_the_structure_that_was_compiled(backend: str) -> None:
    y, s = A @ x, (A @ x).sum()
    data = {"A": a, "x": v}
    single = otus.compile(s, backend=backend)(**data)
    assert isinstance(single, np.ndarray)
    assert single.shape == ()
    assert type(otus.compile((y, s), backend=backend)(**data)) is tuple
    assert type(otus.compile([y], backend=backend)(**data)) is list
    nested = otus.compile({"y": y, "more": [s, (y, y)]}, backend=backend)(**data)
    np.testing.assert_array_equal(nested["more"][1][1], a @ v)
    assert nested["y"] is not nested["more"][1][0]


def test_the_order_of_inputs_can_be_chosen() -> None:
    f = otus.compile(A @ B, inputs=("B", "A"))
    assert f.inputs == ("B", "A")
    np.testing.assert_array_equal(f(b, a), a @ b)
    np.testing.assert_array_equal(f(b, a), a @ b)
    with pytest.raises(NamingError, match="inputs= names 'C', which no output reads; the expression has A, B"):
        otus.compile(A @ B, inputs=("A", "B", "C"))
    with pytest.raises(NamingError, match="inputs= leaves out 'B', which the outputs read"):
        otus.compile(A @ B, inputs=("A",))


def test_inputs_that_no_output_needs_are_ignored() -> None:
    f = otus.compile(otus.grad((A @ x).sum(), x))
    assert f.inputs == ("A",)
    np.testing.assert_array_equal(f(A=a, x=v), a.sum(0))
    np.testing.assert_array_equal(f(A=a, x="anything"), a.sum(0))


def test_an_input_may_be_needed_for_its_shape() -> None:
    f = otus.compile(otus.grad(x.sum(), x))
    assert f.inputs == ("x",)
    np.testing.assert_array_equal(f(v), np.ones(3))
    np.testing.assert_array_equal(f(np.zeros(5)), np.ones(5))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"A": a}, NamingError, r"missing input 'B' \(f64\[j,k\]\); the function takes A, B"),
        ({"A": a, "B": b, "C": b}, NamingError, "unknown input 'C'; inputs are A, B"),
        ({"A": a, "bB": b}, NamingError, r"unknown input 'bB'; did you mean 'B'\?"),
        ({"A": a, "B": v}, ShapeError, r"tensor 'B' was given with shape \(3,\), 1 axes"),
        ({"A": a, "B": a}, ShapeError, "dim j has two sizes, 3 and 2"),
        ({"A": a, "B": b.astype(complex)}, DTypeError, "tensor 'B' is float64, but was given with dtype complex128"),
    ],
)
@pytest.mark.parametrize("backend", ["numpy", "reference"])
def test_wrong_calls(given: dict[str, Any], error: type[OtusError], message: str, backend: str) -> None:
    with pytest.raises(error, match=message):
        otus.compile(A @ B, backend=backend)(**given)


def test_too_many_and_repeated_inputs() -> None:
    f = otus.compile(A @ B)
    with pytest.raises(NamingError, match="3 inputs were given in order; the function takes A, B"):
        f(a, b, b)
    with pytest.raises(NamingError, match="input 'A' was given twice, in order and by name"):
        f(a, A=a)


def test_known_signatures_are_still_checked() -> None:
    f = otus.compile(A @ B)
    f(a, b)
    with pytest.raises(ShapeError):
        f(a, a)
    with pytest.raises(DTypeError):
        f(a, b.astype(complex))
    np.testing.assert_array_equal(f(a, b.astype(np.float32)), a @ b)
    np.testing.assert_array_equal(f(a, b.astype(">f8")), a @ b)


@pytest.mark.parametrize("make", [np.asfortranarray, lambda y: y[::-1, ::-1], lambda y: np.repeat(y, 2, 1)[:, ::2]])
def test_memory_order_of_inputs_does_not_matter(make: Any) -> None:
    f = otus.compile([A @ B, otus.einsum("ij,jk->k", A, B), A.sum(axis=1), A.reshape((-1,))])
    left, right = make(a), make(b)
    for result, expected in zip(
        f(left, right), [left @ right, (left @ right).sum(0), left.sum(1), left.ravel()], strict=True
    ):
        np.testing.assert_allclose(result, expected)


def test_empty_and_size_one_axes() -> None:
    f = otus.compile([A @ B, (A @ B).sum(), otus.softmax(A, axis=1)])
    for i, j, k in [(0, 3, 4), (2, 0, 4), (2, 3, 0), (1, 1, 1), (0, 0, 0)]:
        left, right = np.ones((i, j)), np.ones((j, k))
        product, total, _ = f(left, right)
        np.testing.assert_array_equal(product, left @ right)
        assert total == (left @ right).sum()


def test_numbers_lists_and_other_libraries() -> None:
    torch = pytest.importorskip("torch")
    s = otus.tensor("s", ())
    f = otus.compile(A @ x * s)
    np.testing.assert_array_equal(f(A=a.tolist(), x=[1, 0, -1], s=2), 2 * (a @ v))
    result = f(A=torch.from_numpy(a), x=v, s=2.0)
    assert isinstance(result, torch.Tensor)
    np.testing.assert_array_equal(result.numpy(), 2 * (a @ v))


def test_results_are_fresh_and_inputs_untouched() -> None:
    f = otus.compile([A, A.T, A.reshape((-1,)), A[:, ::-1]])
    before = a.copy()
    for result in f(a):
        result[...] = -1
    np.testing.assert_array_equal(a, before)


def test_facts_are_checked_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    H = otus.tensor("H", (2, 2), symmetric=True)
    wrong = np.array([[1.0, 2.0], [3.0, 4.0]])
    otus.compile(H @ H)(wrong)
    monkeypatch.setenv("OTUS_CHECK", "1")
    f = otus.compile(H @ H)
    f(wrong + wrong.T)
    for _ in range(2):
        with pytest.raises(FactError, match="tensor 'H' is declared symmetric"):
            f(wrong)


# --- sizes -------------------------------------------------------------------------------------


def test_the_order_is_planned_for_the_sizes_of_the_call() -> None:
    p, q, r = (otus.tensor(n, axes) for n, axes in [("p", ("i", "j")), ("q", ("j", "k")), ("r", ("k", "l"))])
    f = otus.compile(p @ q @ r)
    wide = f.plan_for(i=1, j=50, k=50, l=50)
    tall = f.plan_for(i=50, j=50, k=50, l=1)
    assert wide.source != tall.source
    assert f.plan_for(i=2, j=60, k=60, l=60) is wide
    for i, j, k, l in [(1, 50, 50, 50), (50, 50, 50, 1), (3, 3, 3, 3)]:
        data = np.ones((i, j)), np.ones((j, k)), np.ones((k, l))
        np.testing.assert_allclose(f(*data), data[0] @ data[1] @ data[2])


def test_sizes_that_do_not_fit_are_refused_before_anything_runs() -> None:
    f = otus.compile(otus.tensor("t", ("n",))[4])
    assert f(np.arange(6.0)) == 4
    with pytest.raises(ShapeError):
        f(np.arange(4.0))


def test_fixed_sizes() -> None:
    f = otus.compile(A @ B, dims={"j": 3})
    np.testing.assert_array_equal(f(a, b), a @ b)
    with pytest.raises(ShapeError, match=r"axis 1 of tensor 'A' .* has size 4; its type says 3"):
        f(np.ones((2, 4)), np.ones((4, 2)))


def test_memory_limits_hold_for_the_sizes_of_the_call() -> None:
    from otus.runtime.memory import MemoryLimitError

    f = otus.compile(otus.exp(A @ B).sum(), memory_limit="1KiB")
    f(a, b)
    with pytest.raises(MemoryLimitError, match="a limit of 1 KiB cannot be kept"):
        f(np.ones((40, 3)), np.ones((3, 40)))


def test_threads_share_one_function() -> None:
    f = otus.compile(A @ B @ otus.tensor("C", ("k", "l")))
    failures: list[Exception] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(30):
            i, j, k, m = rng.integers(1, 5, 4)
            data = rng.standard_normal((i, j)), rng.standard_normal((j, k)), rng.standard_normal((k, m))
            try:
                np.testing.assert_allclose(f(*data), data[0] @ data[1] @ data[2], atol=1e-12)
            except AssertionError as error:
                failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


# --- looking -----------------------------------------------------------------------------------


def test_what_can_be_looked_at() -> None:
    f = otus.compile({"y": A @ x})
    assert f.outputs == ("y",)
    assert "y = A.dot(x)" in f.source
    assert f.ir.splitlines()[-1] == 'return {"y": %0}'
    assert [each.name for each in f.report][-1] == "block"
    assert f.cost(i=10, j=20).flops == 400
    assert [call.kernel.name for call in f.program.calls] == ["contract"]
    (where,) = f.provenance
    assert f.source.splitlines()[where.first - 1].strip() == where.statement == "y = A.dot(x)"
    assert where.ir == '%0: f64[i] = einsum "ij,j->i" %A, %x'
    assert repr(f) == "<otus function (A: f64[i,j], x: f64[j]) -> y>"


def test_saved_modules_run_without_us(tmp_path: Path) -> None:
    f = otus.compile({"y": A @ x, "n": (A @ x).sum()}, name="product")
    f.save(tmp_path / "kernel.py")
    module = runpy.run_path(str(tmp_path / "kernel.py"))
    y, n = module["product"](a, v)
    np.testing.assert_array_equal(y, a @ v)
    assert n == (a @ v).sum()
    assert "A : float64 array of shape (i, j)" in module["product"].__doc__


def test_tracebacks_show_the_emitted_source() -> None:
    f = otus.compile(otus.inv(otus.tensor("M", ("n", "n"))))
    with pytest.raises(np.linalg.LinAlgError) as caught:
        f(np.zeros((2, 2)))
    assert isinstance(caught.value, otus.OtusError)
    assert "in %0: f64[n,n] = inv %M" in str(caught.value)
    assert "np.linalg.inv(M)" in "".join(traceback.format_exception(caught.value))


def test_source_lines_go_with_the_function() -> None:
    f = otus.compile(A @ x)
    f(a, v)
    count = sum(name.startswith("<otus") for name in linecache.cache)
    del f
    import gc

    gc.collect()
    assert sum(name.startswith("<otus") for name in linecache.cache) < count


def test_the_reference_backend_has_no_source() -> None:
    f = otus.compile(A @ B, backend="reference")
    np.testing.assert_array_equal(f(a, b), a @ b)
    for look in ("source", "program", "provenance"):
        with pytest.raises(UnsupportedError, match="use backend='numpy'"):
            getattr(f, look)


def test_backends() -> None:
    assert otus.backends()["numpy"] == "available"
    with pytest.raises(OtusError, match=r"unknown backend 'nunpy'; did you mean 'numpy'\?"):
        otus.compile(A, backend="nunpy")


def test_no_warnings_where_numpy_has_none() -> None:
    f = otus.compile([otus.sigmoid(x), otus.softplus(x), otus.logsumexp(x)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f(np.array([1e4, -1e4, 0.0]))
