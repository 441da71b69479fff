"""Modules made before sizes are known: they have kernels, and a way for sizes that these do not hold."""

from __future__ import annotations

import linecache
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

import otus
from otus.ir import Graph
from otus.passes import parse_pipeline
from otus.passes.nominal_sizes import SHORT, USUAL, nominal_sizes
from otus.runtime.triton_interpreter import interpreter

RNG = np.random.default_rng(11)
EXAMPLES = Path(__file__).parents[2] / "examples"
X, A, B = otus.tensor("x", ("m", "n"), "float32"), otus.tensor("a", ("m", "k")), otus.tensor("b", ("k", "n"))
Q, K, V = otus.tensor("q", ("s", "d")), otus.tensor("k", ("t", "d")), otus.tensor("v", ("t", "e"))


def module(outputs: object) -> str:
    """The source without sizes, as ``save`` writes it."""
    return otus.compile(outputs, backend="triton", interpret=True).source


def run(source: str, values: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What the module's function gives for these values, by the names of its parameters."""
    space: dict[str, object] = {"__name__": "kernel_module"}
    with interpreter():
        linecache.cache["<module to be>"] = (len(source), None, source.splitlines(True), "<module to be>")
        exec(compile(source, "<module to be>", "exec"), space)
        function = space["kernel"]
        names = function.__code__.co_varnames[: function.__code__.co_argcount]  # type: ignore[attr-defined]
        found = function(*(torch.from_numpy(values[name]) for name in names))  # type: ignore[operator]
    return [x.numpy() for x in (found if isinstance(found, tuple) else (found,))]


def agree(outputs: list[otus.Expression], source: str, values: Mapping[str, np.ndarray], tolerance: float) -> None:
    reference = otus.compile(outputs, backend="reference")
    for found, wanted in zip(run(source, values), reference(**values), strict=True):
        assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
        np.testing.assert_allclose(found, wanted, tolerance, tolerance)


@pytest.mark.parametrize(("n", "whole"), [(0, True), (1, True), (700, True), (9000, False)])
def test_rows_are_whole_in_a_tile_where_they_fit(n: int, whole: bool) -> None:
    outputs = [otus.softmax(X, axis=1), X.var(axis=1)]
    source = module(outputs)
    assert source.count("@triton.jit\ndef block_kernel") == 2
    assert "if n > 8192:\n        return _kernel_of_any_size(x)" in source
    agree(outputs, source, {"x": RNG.normal(size=(3, n)).astype(np.float32)}, 2e-6 if n else 0)
    if not whole:
        without = source.replace("return _kernel_of_any_size(x)", "raise AssertionError('left')")
        with pytest.raises(AssertionError, match="left"):
            run(without, {"x": np.zeros((3, n), np.float32)})


@pytest.mark.parametrize(("s", "t", "d", "e"), [(33, 40, 16, 8), (5, 3, 1, 2), (20, 18, 300, 5), (20, 18, 4, 270)])
def test_attention_has_tiles(s: int, t: int, d: int, e: int) -> None:
    out = otus.softmax(Q @ K.T * 0.3, axis=1) @ V
    outputs = [out, *otus.grad((out * out).sum(), [Q, K, V])]
    source = module(outputs)
    assert source.count("def tile_kernel") == 3
    values = {"q": RNG.normal(size=(s, d)), "k": RNG.normal(size=(t, d)), "v": RNG.normal(size=(t, e))}
    agree(outputs, source, values, 1e-11)


def test_the_example_has_tiles() -> None:
    program = otus.load(EXAMPLES / "attention.otus")
    source = module(program)
    assert source.count("def tile_kernel") == 4
    assert source.count("def _kernel_of_any_size") == 1
    values = {x: RNG.normal(size=(1, 2, 35, 8)).astype(np.float32) for x in "QKVUP"}
    agree(list(program.outputs.values()), source, values, 1e-4)


def test_calls_are_planned_for_their_own_sizes() -> None:
    function = otus.compile(otus.softmax(X, axis=1), backend="triton", interpret=True)
    x = RNG.normal(size=(2, 9000)).astype(np.float32)
    expected = otus.compile(otus.softmax(X, axis=1))(x)
    np.testing.assert_allclose(function(x), expected, 2e-6)
    assert "of_any_size" not in function.plan_for(m=2, n=9000).source


def test_known_sizes_need_no_second_way() -> None:
    assert "of_any_size" not in module(otus.softmax(otus.tensor("x", (4, 700)), axis=1))
    assert "of_any_size" not in module(otus.exp(X) + 1)


def test_constants_of_both_ways_are_apart() -> None:
    table = otus.constant(np.arange(40.0).reshape(4, 10))
    x = otus.tensor("x", (4, "n"))
    outputs = [otus.softmax(table @ otus.exp(otus.tensor("w", (10, "n"))) * x, axis=1)]
    source = module(outputs)
    for n in (3, 9000):
        agree(outputs, source, {"x": RNG.normal(size=(4, n)), "w": RNG.normal(size=(10, n))}, 1e-10)


def test_a_limit_of_memory_is_kept_at_the_call() -> None:
    function = otus.compile(otus.softmax(A @ B, axis=1), backend="triton", interpret=True, memory_limit="1MiB")
    a, b = RNG.normal(size=(6, 4)), RNG.normal(size=(4, 5))
    np.testing.assert_allclose(function(a, b), otus.compile(otus.softmax(A @ B, axis=1))(a, b), 1e-12)


def sizes(*outputs: otus.Expression) -> dict[str, int]:
    graph, _ = parse_pipeline("stabilise,expand,simplify").run(Graph.of([x.node for x in outputs]))
    return nominal_sizes(graph)


def test_what_scores_are_products_over_is_short() -> None:
    out = otus.softmax(Q @ K.T, axis=1) @ V
    expected = {"s": USUAL, "t": USUAL, "d": SHORT, "e": SHORT}
    assert sizes(out) == expected
    assert sizes(*otus.grad(out.sum(), [Q, K, V])) == expected
    x = otus.tensor("x", ("n", "d"))
    assert sizes(otus.exp(-((x[:, None] - x) ** 2).sum(axis=2)).sum()) == {"n": USUAL, "d": SHORT}


def test_hidden_layers_are_not_scores() -> None:
    assert set(sizes(otus.relu(A @ B) @ otus.tensor("c", ("n", "o"))).values()) == {USUAL}
    assert set(sizes(otus.inv(A.T @ A)).values()) == {USUAL}
