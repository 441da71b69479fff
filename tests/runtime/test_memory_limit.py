"""Memory limits as compiled functions keep them: measured, not only planned."""

from __future__ import annotations

import random
import re
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import otus

Arrays = dict[str, Any]
KB, MB = 10**3, 10**6


def measured(function: Callable[..., Any], data: Arrays) -> tuple[list[Any], int]:
    """The results, and the most bytes that a call had allocated at once, its workspace among them."""
    function(**data)  # what is imported or cached on a first call is not counted
    request = getattr(function, "_request", None)  # a compiled function; others are those of saved modules
    (request.spare if request is not None else getattr(function, "__globals__", {}).get("_SPARE", [])).clear()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        results = function(**data)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    return results if isinstance(results, list) else [results], peak


def assert_kept(outputs: Any, data: Arrays, limit: int) -> otus.CompiledFunction:
    """Under the limit the values are those without one, and less is allocated; without loops at all, more."""
    free = otus.compile(outputs, pipeline=otus.pipeline().removesuffix(",block"))
    expected, needed = measured(free, data)
    limited = otus.compile(outputs, memory_limit=limit)
    results, peak = measured(limited, data)
    for got, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-10 * np.abs(wanted).max(initial=0))
    assert peak <= limit < needed
    return limited


def values(seed: int, **shapes: tuple[int, ...]) -> Arrays:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def flops_ratio(limited: otus.CompiledFunction, outputs: Any) -> float:
    return limited.cost().flops / otus.compile(outputs).cost().flops


@pytest.mark.parametrize("limit", [1600 * KB, 300 * KB, 140 * KB])
def test_a_chain_with_a_nonlinearity(limit: int) -> None:
    x, m, n = otus.tensor("X", (40, 50, 60)), otus.tensor("M", (60, 100)), otus.tensor("N", (100, 8))
    data = values(0, X=(40, 50, 60), M=(60, 100), N=(100, 8))
    limited = assert_kept(otus.relu(x @ m) @ n, data, limit)
    assert "for start in range" in limited.source


def test_a_contraction_whose_result_is_small() -> None:
    x, m, n = otus.tensor("X", (30, 40, 60)), otus.tensor("M", (60, 200)), otus.tensor("N", (200, 60))
    chain = otus.einsum("ijk,kl,lm->ijm", x, otus.exp(m), otus.tanh(n)) ** 2
    data = values(1, X=(30, 40, 60), M=(60, 200), N=(200, 60))
    limited = assert_kept(otus.einsum("ijm->m", otus.sin(chain)), data, 200 * KB)
    assert limited.cost().flops < 1.1 * otus.compile(otus.einsum("ijm->m", otus.sin(chain))).cost().flops


@pytest.mark.parametrize("limit", [4 * MB, 1 * MB, 700 * KB])
def test_pairwise_distances_never_have_three_axes_at_once(limit: int) -> None:
    a, b = otus.tensor("A", (300, 20)), otus.tensor("B", (250, 20))
    distances = ((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=-1)
    limited = assert_kept(distances, values(2, A=(300, 20), B=(250, 20)), limit)
    assert flops_ratio(limited, distances) == 1


@pytest.mark.parametrize("limit", [1 * MB, 200 * KB, 100 * KB])
def test_attention_over_many_rows(limit: int) -> None:
    q, k, v = (otus.tensor(name, (500, 16)) for name in "QKV")
    attention = otus.softmax(q @ k.T / 4, axis=-1) @ v
    limited = assert_kept(attention, values(3, Q=(500, 16), K=(500, 16), V=(500, 16)), limit)
    assert limit < 500 * 500 * 8
    assert flops_ratio(limited, attention) == 1
    assert limited.source.count("for start in range") == 1


def test_the_diagonal_of_a_gram_matrix() -> None:
    a = otus.tensor("A", (400, 20))
    data = values(4, A=(400, 20))
    (diagonal,), peak = measured(otus.compile(otus.diag(a @ a.T), memory_limit=100 * KB), data)
    np.testing.assert_allclose(diagonal, np.einsum("ij,ij->i", data["A"], data["A"]), rtol=1e-10)
    assert peak <= 100 * KB
    assert_kept(otus.exp(a @ a.T / 400).sum(axis=0) - 1, data, 100 * KB)


@pytest.mark.parametrize("limit", [1500 * KB, 300 * KB])
def test_the_gradient_of_a_sum_of_squares(limit: int) -> None:
    a, b, x = otus.tensor("A", (400, 12)), otus.tensor("B", (300, 12)), otus.tensor("X", (400, 300))
    loss = ((otus.tanh(a @ b.T) - x) ** 2).sum()
    outputs = [loss, *otus.grad(loss, [a, b])]
    limited = assert_kept(outputs, values(5, A=(400, 12), B=(300, 12), X=(400, 300)), limit)
    assert flops_ratio(limited, outputs) < 1.1


def network(seed: int, tensors: int) -> tuple[otus.Expression, Arrays]:
    """A connected random tensor network with two open indices."""
    rng = random.Random(seed)
    edges = [(rng.randrange(k), k) for k in range(1, tensors)]
    edges += [tuple(rng.sample(range(tensors), 2)) for _ in range(tensors // 2)]
    sizes = [rng.randint(6, 9) for _ in edges]
    arguments: list[Any] = []
    shapes: dict[str, tuple[int, ...]] = {}
    for k in range(tensors):
        indices = [number for number, edge in enumerate(edges) if k in edge]
        shapes[f"T{k}"] = tuple(sizes[number] for number in indices)
        arguments += [otus.tensor(f"T{k}", shapes[f"T{k}"]), indices]
    data = {name: array / 2 for name, array in values(seed, **shapes).items()}
    return otus.einsum(*arguments, [0, 1]), data


@pytest.mark.parametrize("seed", range(3))
def test_a_network_of_twenty_tensors_at_a_quarter_of_its_peak(seed: int) -> None:
    expression, data = network(seed, 20)
    needed = measured(otus.compile(expression), data)[1]
    assert_kept(expression, data, needed // 4)


def test_limits_apply_to_the_sizes_of_each_call() -> None:
    a = otus.tensor("A", ("n", "d"))
    limited = otus.compile(otus.exp(a @ a.T).sum(axis=1), memory_limit="200KiB")
    assert "for start" not in limited.source
    for n in (700, 50, 900):
        data = values(n, A=(n, 4))
        (result,), peak = measured(limited, data)
        np.testing.assert_allclose(result, np.exp(data["A"] @ data["A"].T).sum(axis=1), rtol=1e-10)
        assert peak <= 200 * 1024
        assert ("for start" in limited.plan_for(n=n, d=4).source) == (n > 100)


def test_the_least_limit_that_a_refusal_names_is_kept() -> None:
    q, k = otus.tensor("Q", (300, 16)), otus.tensor("K", (300, 16))
    loss = ((otus.sin(q @ k.T) - 1) ** 2).sum()
    outputs = [loss, *otus.grad(loss, [q, k])]
    with pytest.raises(otus.MemoryLimitError, match=r"takes .* a limit of \d+ bytes") as caught:
        otus.compile(outputs, memory_limit=1000)
    least = int(re.search(r"a limit of (\d+) bytes", str(caught.value))[1])  # type: ignore[index]
    assert_kept(outputs, values(6, Q=(300, 16), K=(300, 16)), least)
    with pytest.raises(otus.MemoryLimitError):
        otus.compile(outputs, memory_limit=least * 9 // 10)


def test_a_refusal_comes_before_anything_is_computed() -> None:
    a = otus.tensor("A", ("n", "n"))
    limited = otus.compile({"y": otus.exp(a)}, memory_limit="1KiB")
    assert limited(A=np.ones((4, 4)))["y"].shape == (4, 4)
    with pytest.raises(otus.MemoryLimitError, match=re.escape("y of type f64[n,n] takes 8 KiB")):
        limited(A=np.ones((32, 32)))


def test_saved_modules_keep_the_limit_by_themselves(tmp_path: Any) -> None:
    a = otus.tensor("A", (300, 5))
    limited = otus.compile(otus.exp(a @ a.T).sum(axis=1), memory_limit="100kB")
    limited.save(tmp_path / "kernel.py")
    namespace: dict[str, Any] = {}
    exec((tmp_path / "kernel.py").read_text(), namespace)
    data = values(7, A=(300, 5))
    results, peak = measured(namespace["kernel"], data)
    np.testing.assert_allclose(results[0], np.exp(data["A"] @ data["A"].T).sum(axis=1), rtol=1e-10)
    assert peak <= 100 * KB


def test_provenance_of_a_loop_leads_to_what_the_user_wrote() -> None:
    a = otus.tensor("A", (300, 5))
    limited = otus.compile(otus.exp(a @ a.T).sum(axis=1), memory_limit="100kB")
    (statement,) = limited.provenance
    assert statement.ir.startswith("%0: f64[300] = blockwise")
    assert "for start" in statement.statement


@pytest.mark.parametrize("dtype", ["float32", "complex128", "int64"])
def test_other_dtypes(dtype: str) -> None:
    a, b = otus.tensor("A", (200, 6), dtype=dtype), otus.tensor("B", (150, 6), dtype=dtype)
    product = ((a @ b.T) * (a @ b.T) + 1).sum(axis=0)
    data = {name: (array * 3).astype(dtype) for name, array in values(8, A=(200, 6), B=(150, 6)).items()}
    free, limited = otus.compile(product), otus.compile(product, memory_limit=60 * KB)
    results, peak = measured(limited, data)
    np.testing.assert_allclose(results[0], free(**data), rtol=1e-3 if dtype == "float32" else 1e-10)
    assert results[0].dtype == dtype
    assert peak <= 60 * KB


def test_a_workspace_counts_and_is_left_out_where_it_does_not_fit() -> None:
    """Two matrices of the chain are held at once; the workspace for them needs no more, but some bytes for itself."""
    a, b = otus.tensor("A", (200, 200)), otus.tensor("B", (200, 200))
    chain = otus.tanh(otus.tanh(a @ b) @ b) @ a
    data = values(8, A=(200, 200), B=(200, 200))
    wide = otus.compile(chain, memory_limit=4 * MB)
    assert "_workspace(" in wide.source
    assert measured(wide, data)[1] <= 4 * MB
    a, b = otus.tensor("A", (300, 40)), otus.tensor("B", (40, 300))
    parts = [otus.exp(a @ b).sum(axis=k) + otus.sin(a @ b).sum(axis=k) for k in (0, 1)]
    data = values(9, A=(300, 40), B=(40, 300))
    for limit in (4 * MB, 3 * MB, 2 * MB, 1500 * KB):
        function = otus.compile(parts, memory_limit=limit)
        assert measured(function, data)[1] <= limit
