"""Costs: exact counts, as polynomials and at sizes."""

from __future__ import annotations

import pytest

import otus


def test_matrix_product() -> None:
    a, b = otus.tensor("A", ("i", "j")), otus.tensor("B", ("j", "k"))
    cost = otus.cost(a @ b)
    assert str(cost.flops) == "2*i*j*k"
    assert str(cost.bytes) == "8*i*j + 8*i*k + 8*j*k"
    sized = cost(i=2, j=3, k=5)
    assert (sized.flops, sized.bytes, sized.peak_bytes) == (60, 8 * (6 + 15 + 10), 8 * (6 + 15 + 10))


def test_elementwise_work_is_one_per_operation() -> None:
    x = otus.tensor("x", ("n",))
    assert str(otus.cost(otus.exp(x) + x).flops) == "2*n"
    assert str(otus.cost(x.sum()).flops) == "n"
    assert str(otus.cost(x * x).flops) == "n"


def test_shared_parts_count_once_and_views_are_free() -> None:
    a = otus.tensor("A", ("i", "j"))
    shared = otus.exp(a)
    assert str(otus.cost([shared, shared.sum(), shared.reshape(-1)]).flops) == "2*i*j"
    assert otus.cost(a.reshape(-1)).bytes == 0


def test_peak_is_what_is_live_at_once() -> None:
    x = otus.tensor("x", (1000,))
    chain = otus.sin(otus.cos(otus.exp(x)))
    assert otus.cost(chain)().peak_bytes == 3 * 8000


def test_a_memory_limit_is_kept_or_refused_with_the_least_that_would_do() -> None:
    a = otus.tensor("A", ("n", "n"))
    product = otus.exp(a) @ otus.exp(a.T)
    assert otus.optimize(product, dims={"n": 10}, memory_limit="1MiB").shape == (10, 10)
    with pytest.raises(otus.MemoryLimitError, match=r"f64\[100,100\].* takes 78.12 KiB; a limit of \d+ bytes"):
        otus.compile(product, dims={"n": 100}, memory_limit="70kB")
    assert "for start" in otus.compile(product, dims={"n": 100}, memory_limit="100kB").source
    assert "for start" not in otus.compile(product, dims={"n": 100}, memory_limit=241_000).source
