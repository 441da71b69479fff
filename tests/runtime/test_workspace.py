"""The memory of temporaries: kept between calls, one for each call under way, and as large as planned."""

from __future__ import annotations

import gc
import multiprocessing
import threading
import tracemalloc
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import otus
from otus.ir.kernels import Direct
from otus.ir.operations import Determinant, Inverse, Solve
from otus.ir.program import Program, planned_peak
from otus.runtime.failures import EvaluationError
from otus.runtime.plan_steps import largest_intermediate, plan_steps

Outputs = otus.Expression | list[otus.Expression]


def tensors(**shapes: tuple[int, ...]) -> list[otus.Expression]:
    return [otus.tensor(name, shape) for name, shape in shapes.items()]


def data_for(function: otus.CompiledFunction, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    types = {name: function.program.buffer_map()[name].type for name in function.inputs}
    return {name: rng.random([int(str(size)) for size in type.shape]) for name, type in types.items()}


def chain(n: int) -> otus.Expression:
    A, B = tensors(A=(n, n), B=(n, n))
    return otus.tanh(otus.tanh(A @ B / n) @ B / n) @ A


def chain_by_hand(A: Any, B: Any) -> Any:
    n = len(A)
    return np.tanh(np.tanh(A @ B / n) @ B / n) @ A


# --- right answers -----------------------------------------------------------------------------


def test_results_are_the_callers_own() -> None:
    function = otus.compile([chain(200), chain(200).T + 1])
    first = data_for(function)
    before = {name: array.copy() for name, array in first.items()}
    results = function(**first)
    kept = [result.copy() for result in results]
    again = function(**data_for(function, seed=1))
    assert not any(np.shares_memory(x, y) for x in results for y in (*again, *first.values()))
    for result, copy in zip(results, kept, strict=True):
        np.testing.assert_array_equal(result, copy)
    for name, array in first.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("backend", ["numpy", "c"])
def test_threads_do_not_share_memory_under_way(backend: str) -> None:
    if otus.backends()[backend] != "available":
        pytest.skip(str(otus.backends()[backend]))
    Z = otus.tensor("Z", (700, 1600))  # blocks on all cores beside matrices in the workspace
    A, B = tensors(A=(200, 200), B=(200, 200))
    function = otus.compile([chain(200), otus.softmax(Z, axis=1) * Z, otus.exp(A @ B / 200) * A + B], backend=backend)
    assert "_workspace(" in function.source
    wrong: list[str] = []

    def work(seed: int) -> None:
        data = data_for(function, seed)
        A, B, Z = data["A"], data["B"], data["Z"]
        shifted = np.exp(Z - Z.max(axis=1, keepdims=True))
        expected = [chain_by_hand(A, B), shifted / shifted.sum(axis=1, keepdims=True) * Z, np.exp(A @ B / 200) * A + B]
        for _ in range(6):
            for got, wanted in zip(function(**data), expected, strict=True):
                if not np.allclose(got, wanted, rtol=1e-10, atol=1e-12):
                    wrong.append(f"seed {seed}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_inputs_may_lie_in_any_order() -> None:
    function = otus.compile(chain(200))
    data = data_for(function)
    expected = chain_by_hand(**data)
    other = {"A": np.asfortranarray(data["A"]), "B": np.repeat(data["B"], 2, axis=1)[:, ::2]}
    np.testing.assert_allclose(function(**other), expected, rtol=1e-10)


def _child(function: Callable[..., Any], data: dict[str, Any], queue: Any) -> None:
    queue.put(function(**data))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes cannot fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_memory_of_its_own() -> None:
    function = otus.compile(otus.tanh(otus.sin(otus.tensor("A", (300, 300))) + otus.tensor("B", (300, 300)).T) * 2)
    data = data_for(function)
    expected = function(**data)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_child, args=(function, data, queue))
    process.start()
    function(**data_for(function, seed=1))
    np.testing.assert_array_equal(queue.get(timeout=60), expected)
    process.join()


def test_a_saved_module_stands_alone(tmp_path: Path) -> None:
    function = otus.compile(chain(200))
    path = tmp_path / "kernel.py"
    function.save(path)
    text = path.read_text(encoding="utf-8")
    assert "otus" not in text
    namespace: dict[str, Any] = {}
    exec(compile(text, str(path), "exec"), namespace)
    data = data_for(function)
    for _ in range(2):
        np.testing.assert_allclose(namespace["kernel"](data["A"], data["B"]), chain_by_hand(**data), rtol=1e-10)
    assert len(namespace["_SPARE"]) == 1


# --- sizes that are not known before -----------------------------------------------------------


def test_each_size_has_a_plan_and_all_share_the_memory() -> None:
    A, B = tensors(A=("n", "n"), B=("n", "n"))  # type: ignore[arg-type]
    function = otus.compile(otus.tanh(otus.tanh(A @ B) @ B) @ A)
    rng = np.random.default_rng(0)
    for n in (150, 300, 200, 300, 3, 0):
        a, b = rng.standard_normal((n, n)), rng.standard_normal((n, n))
        np.testing.assert_allclose(function(a, b), np.tanh(np.tanh(a @ b) @ b) @ a, rtol=1e-8, atol=1e-10)
    assert "_workspace(" not in function.source
    assert [len(memory) for memory in function._request.spare] == [2 * 8 * 300 * 300]


def test_a_module_that_is_planned_for_a_size_refuses_others() -> None:
    A, B = tensors(A=("n", "n"), B=("n", "n"))  # type: ignore[arg-type]
    source = otus.compile(otus.tanh(otus.tanh(A @ B) @ B) @ A).plan_for(n=200).source
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    with pytest.raises(ValueError, match="the memory of this kernel is planned for n = 200"):
        namespace["kernel"](np.ones((300, 300)), np.ones((300, 300)))


# --- how much is kept --------------------------------------------------------------------------


def test_memory_is_kept_between_calls_and_goes_with_the_function() -> None:
    function = otus.compile(chain(200))
    function(**data_for(function))
    (memory,) = function._request.spare
    function(**data_for(function))
    assert len(function._request.spare) == 1
    assert function._request.spare[0] is memory
    gone = weakref.ref(memory)
    del memory, function
    gc.collect()
    assert gone() is None


def test_a_call_that_fails_leaves_nothing() -> None:
    A, B = tensors(A=(200, 200), B=(200, 200))
    function = otus.compile(otus.inv(otus.exp(A) @ otus.tanh(B)) @ otus.exp(A))
    with pytest.raises(EvaluationError):
        function(A=np.zeros((200, 200)), B=np.zeros((200, 200)))
    assert not function._request.spare
    expected = np.linalg.inv(np.exp(np.eye(200)) @ np.tanh(np.eye(200))) @ np.exp(np.eye(200))
    np.testing.assert_allclose(function(A=np.eye(200), B=np.eye(200)), expected, atol=1e-12)


def test_very_large_workspaces_are_not_kept() -> None:
    from otus.codegen.to_numpy import workspace_helpers as helpers

    helpers._leave(np.empty(2**28 + 1, np.uint8))
    assert not helpers._SPARE
    helpers._leave(np.empty(1000, np.uint8))
    assert helpers._workspace(2000).size == 2000
    assert not helpers._SPARE
    assert helpers._workspace(100).ctypes.data % 64 == 0


# --- peaks -------------------------------------------------------------------------------------


def cp_als_sweep() -> Outputs:
    X, A1, A2 = tensors(X=(80, 80, 80), A1=(80, 30), A2=(80, 30))

    def update(product: otus.Expression, one: otus.Expression, other: otus.Expression) -> otus.Expression:
        return otus.solve((one.T @ one) * (other.T @ other), product.T).T

    first = update(otus.einsum("ijk,jr,kr->ir", X, A1, A2), A1, A2)
    second = update(otus.einsum("ijk,ir,kr->jr", X, first, A2), first, A2)
    return [first, second, update(otus.einsum("ijk,ir,jr->kr", X, first, second), first, second)]


def logistic_hessian() -> Outputs:
    P, w = tensors(P=(1000, 200), w=(200,))
    return otus.hessian(otus.softplus(P @ w).sum(), w)


def attention_product() -> Outputs:
    Q, K, V = tensors(Q=(200, 64), K=(200, 64), V=(200, 64))
    loss = ((otus.softmax(Q @ K.T / 8, axis=-1) @ V) ** 2).sum()
    return otus.hvp(loss, [Q, K, V], tensors(dQ=(200, 64), dK=(200, 64), dV=(200, 64)))


def gaussian_process_gradient() -> Outputs:
    x, y, scales = tensors(x=(250, 3), y=(250,), scales=(3,))
    z = x * scales
    squares = (z**2).sum(axis=1)
    kernel = otus.exp(z @ z.T - 0.5 * squares[:, None] - 0.5 * squares[None, :]) + otus.eye(250)
    return otus.grad(0.5 * y @ otus.solve(kernel, y) + 0.5 * otus.logdet(kernel), [scales])


def factorisation_hessian() -> Outputs:
    U, V, R = tensors(U=(40, 5), V=(50, 5), R=(40, 50))
    return otus.hessian(((R - U @ V.T) ** 2).sum(), U)


def elementwise_chain() -> Outputs:
    x, y = tensors(x=(1200000,), y=(1200000,))
    return otus.exp(-0.5 * otus.square(x)) * otus.sin(3.0 * x) + y


PROGRAMS = [
    cp_als_sweep, logistic_hessian, attention_product, gaussian_process_gradient, factorisation_hessian,
    elementwise_chain,
]  # fmt: skip


@pytest.mark.parametrize("backend", ["numpy", "c"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_the_planned_peak_is_what_is_allocated(
    program: Callable[[], Outputs], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if otus.backends()[backend] != "available":
        pytest.skip(str(otus.backends()[backend]))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    function = otus.compile(program(), backend=backend)
    data = data_for(function)
    function(**data)
    function._request.spare.clear()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        function(**data)
        measured = tracemalloc.get_traced_memory()[1] - before + sum(array.nbytes for array in data.values())
    finally:
        tracemalloc.stop()
    planned = planned_peak(without_lapack(function.program), {}, cores=2)
    assert abs(measured - planned) < 0.1 * planned


def test_steps_say_what_they_make_wherever_it_lies() -> None:
    program = otus.compile(chain(200)).program
    assert program.workspace
    assert [step.bytes for step in plan_steps(program)] == [8 * 200 * 200] * len(program.calls)
    assert largest_intermediate(program, {}) == "t0"


def without_lapack(program: Program) -> Program:
    """The program without what LAPACK works on: that is planned, but it is not NumPy that allocates it."""
    library = (Inverse, Solve, Determinant)
    calls = [
        replace(call, extra=0)
        if isinstance(call.kernel, Direct) and isinstance(call.kernel.operation, library)
        else call
        for call in program.calls
    ]
    return replace(program, calls=tuple(calls))
