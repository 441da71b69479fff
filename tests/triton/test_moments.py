"""Means and variances of rows in chunks: one pass for both, as precise as two."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from programs import leaf

pytest.importorskip("torch")
pytest.importorskip("triton")

from triton_kernels import TINY, agree, emitted, interpreted, launched_names

import otus
from otus.codegen import Emitted
from otus.ir import Node, build
from otus.ir.dtypes import DType
from otus.ir.scalar import parse_scalar
from otus.passes import default_pipeline

RNG = np.random.default_rng(11)
BOTH = [(0, 1), (0,)]


def squares(x: Node, centre: Node, axes: tuple[int, ...] = (1,)) -> Node:
    """``sum((x - centre)²)`` over axes."""
    kept = tuple(k for k in range(x.ndim) if k not in axes)
    distance = build.linear_combination([1.0, -1.0], [x, centre], [tuple(range(x.ndim)), kept], x.ndim)
    return build.sum_axes(build.apply("square", distance), list(axes))


def mean(x: Node, axes: tuple[int, ...] = (1,)) -> Node:
    count = int(np.prod([int(x.type.shape[k]) for k in axes]))  # type: ignore[call-overload]
    return build.scale(1 / count, build.sum_axes(x, list(axes)))


def loops(module: Emitted) -> int:
    return module.source.count("for start")


@pytest.mark.parametrize("columns", [33, 41, 64, 128])
def test_a_layer_norm_reads_its_row_twice(columns: int) -> None:
    """Statistics, then results; with odd rows and tails, and an offset that ``sum(x²)`` would drown in."""
    x = leaf("x", 5, columns)
    m = mean(x)
    scale = build.map_node(parse_scalar("rsqrt(a * 0.03 + 1e-5)"), [squares(x, m)], [(0,)], 1)
    y = build.map_node(parse_scalar("(a - b) * c"), [x, m, scale], [(0, 1), (0,), (0,)], 2)
    values = {"x": RNG.standard_normal((5, columns)) + np.array([[0.0], [1e3], [-1e6], [3.0], [1e-3]])}
    module = agree([y], values, 1e-9, TINY, kernels=1)
    assert loops(module) == 2
    assert "_deviation(" in module.source


def test_variances_far_from_zero_keep_their_digits() -> None:
    """In float32, against float64: three digits of a variance that is 1e-10 of the squares."""
    x = leaf("x", 3, 200, dtype="float32")
    values = {"x": (1e4 + 0.1 * RNG.standard_normal((3, 200))).astype("float32")}
    module = agree([squares(x, mean(x))], values, 1e-2, TINY)
    exact = values["x"].astype(float)
    expected = ((exact - exact.mean(1, keepdims=True)) ** 2).sum(1)
    np.testing.assert_allclose(interpreted(module, values)[0], expected, 2e-3)
    assert loops(module) == 1


def test_results_with_and_without_the_row() -> None:
    """The total and the squares are results themselves; columns are combined over the programs."""
    x = leaf("x", 6, 41)
    total, m = build.sum_axes(x, [1]), mean(x)
    q = squares(x, m)
    y = build.map_node(parse_scalar("(a - b) / c"), [x, m, q], [(0, 1), (0,), (0,)], 2)
    module = agree([total, q, y, build.sum_axes(y, [0])], {"x": RNG.standard_normal((6, 41))}, 1e-11, TINY)
    assert loops(module) == 2


def test_of_what_is_computed() -> None:
    """What is averaged is made from several tensors, one of which has no rows; float16 is computed in float32."""
    x, w = leaf("x", 4, 50, dtype="float16"), leaf("w", 50, dtype="float16")
    y = build.map_node(parse_scalar("exp(a) * b"), [x, w], [(0, 1), (1,)], 2)
    z = build.cast(y, DType.float32)
    values = {"x": RNG.standard_normal((4, 50)).astype("float16"), "w": RNG.standard_normal(50).astype("float16")}
    assert loops(agree([squares(z, mean(z))], values, 1e-2, TINY)) == 1


def test_over_two_axes() -> None:
    """One of which is whole in the tile and overhangs."""
    x, w = leaf("x", 3, 37, 3), leaf("w", 3, 37)
    weighted = build.map_node(parse_scalar("a * b"), [x, w], [(0, 1, 2), (0, 1)], 3)
    within = build.sum_axes(weighted, [2])
    q = squares(x, mean(x, (1, 2)), (1, 2))
    values = {"x": RNG.standard_normal((3, 37, 3)) + 50, "w": RNG.standard_normal((3, 37))}
    module = agree([q, build.sum_axes(build.apply("square", within), [1])], values, 1e-11, TINY)
    assert "_deviation(" in module.source


def weighted(x: Node, centre: Node, weights: list[Node], text: str = "b * (a - c)") -> Node:
    """The sum over rows of an expression of x (a), weights (b) and a number for each row (c)."""
    operands = [x, *weights, centre]
    labels = [(1,) if each.ndim == 1 else (0, 1) for each in (x, *weights)]
    return build.sum_axes(build.map_node(parse_scalar(text), operands, [*labels, (0,)], 2), [1])


@pytest.mark.parametrize("columns", [33, 64, 130])
@pytest.mark.parametrize("text", ["b * (a - c)", "b * (c - a)", "(a - c) * exp(b)", "(2 * b) * (a - c)"])
def test_weighted_distances_along_with_the_mean(text: str, columns: int) -> None:
    """Beside the squares, with rows far from 0, and weights far from 0."""
    x, w = leaf("x", 4, columns), leaf("w", 4, columns)
    m = mean(x)
    offsets = np.array([[0.0], [1e6], [-1e4], [1e-3]])
    values = {"x": RNG.standard_normal((4, columns)) + offsets, "w": RNG.standard_normal((4, columns)) + 3}
    module = agree([squares(x, m), weighted(x, m, [w], text)], values, 1e-8, TINY, kernels=1)
    assert loops(module) == 1
    assert "_codeviation(" in module.source


def test_weighted_distances_keep_their_digits() -> None:
    """In float32, against float64: rows far from 0, of which only the roundings of the mean are left."""
    x, w = leaf("x", 3, 500, dtype="float32"), leaf("w", 3, 500, dtype="float32")
    values = {"x": 1e4 + RNG.standard_normal((3, 500)), "w": RNG.standard_normal((3, 500))}
    values = {name: value.astype("float32") for name, value in values.items()}
    module = emitted([weighted(x, mean(x), [w])], TINY)
    x64, w64 = values["x"].astype(float), values["w"].astype(float)
    expected = (w64 * (x64 - x64.mean(1, keepdims=True))).sum(1)
    bound = 4 * np.abs(w64.sum(1)) * np.spacing(np.float32(1e4)) + 1e-3
    assert (np.abs(interpreted(module, values)[0] - expected) <= bound).all()
    assert loops(module) == 1


def test_weights_of_several_tensors() -> None:
    """One of them cast, one without rows; the sum is read again along the row."""
    x, w = leaf("x", 4, 50), leaf("w", 50)
    m, wide = mean(x), build.cast(leaf("u", 4, 50, dtype="float32"), DType.float64)
    g = weighted(x, m, [wide, w], "(b * c) * (a - d)")
    y = build.map_node(parse_scalar("(a - b) * c"), [x, m, g], [(0, 1), (0,), (0,)], 2)
    values = {"x": RNG.standard_normal((4, 50)) + 100, "w": RNG.standard_normal(50),
              "u": RNG.standard_normal((4, 50)).astype("float32")}  # fmt: skip
    module = agree([y], values, 1e-9, TINY, kernels=1)
    assert loops(module) == 2
    assert "_codeviation(" in module.source


@pytest.mark.parametrize("weight", ["squares", "centred"])
def test_weights_that_come_later_take_a_pass_of_their_own(weight: str) -> None:
    """What needs the mean or the squares is not there when the row is first read."""
    x = leaf("x", 4, 50)
    m = mean(x)
    centred = build.map_node(parse_scalar("exp(a - b)"), [x, m], [(0, 1), (0,)], 2)
    divided = build.map_node(parse_scalar("exp(a / b)"), [x, squares(x, m)], [(0, 1), (0,)], 2)
    values = {"x": RNG.standard_normal((4, 50))}
    module = agree([weighted(x, m, [{"squares": divided, "centred": centred}[weight]])], values, 1e-10, TINY)
    assert loops(module) == 2
    assert "_codeviation(" not in module.source


def test_a_layer_norm_s_gradient_reads_its_rows_twice() -> None:
    """With rows of an offset, of one value, and with a NaN."""
    x, u, w = otus.tensor("x", (5, 120)), otus.tensor("u", (5, 120)), otus.tensor("w", (120,))
    y = (x - x.mean(axis=-1, keepdims=True)) * otus.rsqrt(otus.var(x, axis=-1, keepdims=True) + 1e-5) * w
    found = otus.optimize(otus.vjp(y, [x], [u])[0], pipeline="stabilise,expand,simplify,sharpen,contract,fuse")
    values = {"x": RNG.standard_normal((5, 120)), "u": RNG.standard_normal((5, 120)), "w": RNG.standard_normal(120)}
    values["x"][1] += 1e4
    values["x"][2] = 7.0
    values["x"][3, 5] = np.nan
    module = agree([found.node], values, 1e-8, TINY, kernels=1)
    assert loops(module) == 2


def test_rows_that_are_not_finite() -> None:
    x = leaf("x", 6, 41)
    values = {"x": RNG.standard_normal((6, 41))}
    values["x"][0, 3], values["x"][1, 40], values["x"][2, :], values["x"][3, 0] = np.inf, np.nan, -np.inf, 1e300
    values["x"][4] = 1e300
    assert loops(agree([squares(x, mean(x))], values, 1e-11, TINY)) == 1


@pytest.mark.parametrize("centre", ["max", "other", "negative", "square"])
def test_what_is_no_mean_takes_a_pass_of_its_own(centre: str) -> None:
    x, w = leaf("x", 3, 41), leaf("w", 3, 41)
    found = {
        "max": lambda: build.reduce_node("max", x, [1]),
        "other": lambda: mean(w),
        "negative": lambda: build.scale(-0.5, build.sum_axes(x, [1])),
        "square": lambda: build.apply("square", mean(x)),
    }[centre]()
    values = {"x": RNG.standard_normal((3, 41)), "w": RNG.standard_normal((3, 41))}
    module = agree([squares(x, found)], {k: v for k, v in values.items() if k == "x" or centre == "other"}, 1e-12, TINY)
    assert loops(module) == 2
    assert "_deviation" not in module.source


def test_sizes_of_a_call() -> None:
    """A module that is planned for long rows is right for short and empty ones."""
    x, w = otus.tensor("x", ("i", "j")), otus.tensor("w", ("j",))
    y = (x - x.mean(axis=-1, keepdims=True)) * otus.rsqrt(otus.var(x, axis=-1, keepdims=True) + 1e-5) * w
    f = otus.compile({"y": y, "v": otus.var(x, axis=1)}, backend="triton", interpret=True)
    module = f.plan_for(i=3, j=40000).emitted
    assert module is not None
    assert loops(module) == 2
    assert len(launched_names(module)) == 1
    for i, j in ((2, 5000), (3, 1), (1, 1025), (0, 4)):
        values: dict[str, Any] = {"x": RNG.standard_normal((i, j)) + 7, "w": RNG.standard_normal(j)}
        centred = values["x"] - values["x"].mean(1, keepdims=True)
        variance = (centred**2).mean(1)
        found = dict(zip(("y", "v"), interpreted(module, values), strict=True))
        np.testing.assert_allclose(found["y"], centred / np.sqrt(variance + 1e-5)[:, None] * values["w"], 1e-10, 1e-12)
        np.testing.assert_allclose(found["v"], variance, 1e-10, 1e-20)


@pytest.mark.parametrize(("shape", "axis"), [((64, 600), None), ((20000, 3), 0), ((6, 3, 40, 32), (0, 2, 3))])
def test_a_variance_over_the_programs_reads_its_array_once(shape: tuple[int, ...], axis: Any) -> None:
    """Rows give their sums and squares in one kernel, and what combines them reads these alone."""
    x = otus.tensor("x", shape, dtype="float32")
    passes = default_pipeline("triton").replace("moments", "moments{large=1}")
    f = otus.compile({"v": otus.var(x, axis=axis), "m": x.mean(axis=axis)}, "triton", interpret=True, pipeline=passes)
    reads = [call for call in f.program.calls if "t0" in call.inputs or "x" in call.inputs]
    assert [call.kernel.name for call in reads if not call.kernel.view] == ["loop"]
    value = (RNG.standard_normal(shape) * 0.1 + 1e3).astype("float32")
    found = f(x=value)
    np.testing.assert_allclose(found["v"], value.astype(float).var(axis=axis), 1e-3)
    np.testing.assert_allclose(found["m"], value.astype(float).mean(axis=axis), 1e-6)
