"""Kernels against the reference interpreter: parts of indices, tails, layouts, dtypes, sizes 0 and 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from programs import leaf

pytest.importorskip("torch")
pytest.importorskip("triton")

from triton_kernels import TINY, agree, emitted, interpreted, launched_names

from otus.codegen.to_triton.tiles import Tiling
from otus.ir import Node, build
from otus.ir.dtypes import DType, to_numpy_dtype
from otus.ir.scalar import parse_scalar

RNG = np.random.default_rng(4)


def data(*nodes: Node) -> dict[str, np.ndarray]:
    found = {}
    for node in nodes:
        dtype = to_numpy_dtype(node.type.dtype)
        values = RNG.standard_normal(node.type.shape) * (1 if dtype.kind == "f" else 3)
        found[node.op.label] = values.astype(dtype) if dtype.kind != "b" else values > 0  # type: ignore[attr-defined]
    return found


def both_tilings(outputs: list[Node], values: dict[str, np.ndarray], tolerance: float = 1e-12, **options: Any) -> None:
    for tiling in (None, TINY, Tiling(preferred=128, most=4096, programs=1)):
        agree(outputs, values, tolerance, tiling, **options)


def mapped(text: str, operands: list[Node], inputs: list[tuple[int, ...]], rank: int) -> Node:
    return build.map_node(parse_scalar(text), operands, inputs, rank)


def softmax(x: Node) -> Node:
    """Over the last axis, as it is stabilised."""
    rank = x.ndim
    rows = tuple(range(rank - 1))
    every = tuple(range(rank))
    shifted = build.linear_combination([1.0, -1.0], [x, build.reduce_node("shift", x, [rank - 1])], [every, rows], rank)
    terms = build.apply("exp", shifted)
    return mapped("a / b", [terms, build.sum_axes(terms, [rank - 1])], [every, rows], rank)


@pytest.mark.parametrize("shape", [(7, 5), (1, 9), (6, 1), (2, 3, 5), (2, 1, 3, 4), (3, 33)])
def test_rows(shape: tuple[int, ...]) -> None:
    x = leaf("x", *shape)
    both_tilings([softmax(x)], data(x), kernels=None if shape[0] == 1 else 1)


@pytest.mark.parametrize("shape", [(7, 5), (1, 9), (9, 1), (3, 4, 5), (37,)])
@pytest.mark.parametrize("kind", ["sum", "max", "min", "prod", "any", "all", "logsumexp", "shift"])
def test_reductions(kind: str, shape: tuple[int, ...]) -> None:
    x = leaf("x", *shape)
    y = build.apply("square", build.apply("sin", x))
    y = mapped("a > 0.1", [y], [tuple(range(len(shape)))], len(shape)) if kind in ("any", "all") else y
    every = list(range(len(shape)))
    axes = [every, *([k] for k in every if len(every) > 1), *([every[:2], every[1:]] if len(every) > 2 else [])]
    for each in axes:
        reduced = build.sum_axes(y, each) if kind == "sum" else build.reduce_node(kind, y, each)
        both_tilings([reduced], data(x))


def test_neighbouring_axes_are_one() -> None:
    """Normalised over two axes, with a weight for each of their positions and one for each of the last."""
    x, w, v = leaf("x", 4, 3, 5), leaf("w", 3, 5), leaf("v", 5)
    mean = build.scale(1 / 15, build.sum_axes(x, [1, 2]))
    y = mapped("(a - b) * c + d", [x, mean, w, v], [(0, 1, 2), (0,), (1, 2), (2,)], 3)
    outputs = [y, build.reduce_node("max", y, [1, 2]), build.sum_axes(y, [0])]
    both_tilings(outputs, data(x, w, v), kernels=1)
    source = emitted(outputs).source
    assert "# i0: 15 positions, whole in the tile" in source
    assert "tl.load(v_ptr + (i0 % 5) * v_stride0" in source


def test_rows_and_columns_in_one_kernel() -> None:
    x, w = leaf("x", 13, 6), leaf("w", 6)
    y = mapped("a * b", [softmax(x), w], [(0, 1), (1,)], 2)
    outputs = [
        y,
        build.sum_axes(y, [0]),
        build.reduce_node("max", y, [0]),
        build.sum_axes(build.apply("exp", y), [0, 1]),
    ]
    both_tilings(outputs, data(x, w))
    assert len(launched_names(emitted(outputs))) == 1


def test_a_reduction_follows_a_reduction_over_many_elements() -> None:
    """In chunks: three loops, of which the last two compute anew what comes before; the first has two reductions."""
    x, w = leaf("x", 3, 41), leaf("w", 41)
    y = mapped("a * b", [softmax(build.apply("sin", x)), w], [(0, 1), (1,)], 2)
    centred = build.linear_combination([1.0, -1.0], [y, build.reduce_node("max", y, [1])], [(0, 1), (0,)], 2)
    module = agree([centred, build.sum_axes(centred, [0])], data(x, w), tiling=TINY)
    assert module.source.count("for start") == 3
    assert "in chunks" in module.source


ONLINE = {
    "softmax": lambda x, w: [softmax(x)],
    "logsumexp": lambda x, w: [build.reduce_node("logsumexp", mapped("a * b", [x, w], [(0, 1), (1,)], 2), [1])],
    "weighted": lambda x, w: [_weighted(x, w)],
}


def _weighted(x: Node, w: Node) -> Node:
    """Weighted by a softmax: two sums relative to one maximum."""
    shifted = build.linear_combination([1.0, -1.0], [x, build.reduce_node("shift", x, [1])], [(0, 1), (0,)], 2)
    terms = build.apply("exp", shifted)
    total = build.sum_axes(mapped("a * b - a * 2", [terms, w], [(0, 1), (1,)], 2), [1])
    return mapped("a / b", [total, build.sum_axes(terms, [1])], [(0,), (0,)], 1)


@pytest.mark.parametrize("name", ONLINE)
def test_sums_relative_to_a_maximum_run_along_with_it(name: str) -> None:
    """Rows in chunks, the largest elements in any of these; infinities and NaN."""
    x, w = leaf("x", 9, 41), leaf("w", 41)
    values = data(x, w)
    values["x"][0] = np.linspace(-900, 900, 41)
    values["x"][1] = -values["x"][0]
    values["x"][2, 3], values["x"][3, :], values["x"][4, 40], values["x"][5, 0] = np.inf, -np.inf, np.nan, -np.inf
    values["x"][6, :9], values["x"][7] = -np.inf, 1e300
    values["w"] = np.abs(values["w"])
    module = agree(ONLINE[name](x, w), values, tiling=TINY)
    assert module.source.count("for start") == (2 if name == "softmax" else 1)
    assert "_rescaling" in module.source


def test_sums_that_need_another_reduction_wait_for_it() -> None:
    """One relative to a maximum whose terms have a sum over the row in them, or the maximum itself as well."""
    x = leaf("x", 3, 41)
    shift, total = build.reduce_node("shift", x, [1]), build.sum_axes(x, [1])
    terms = build.apply("exp", build.linear_combination([1.0, -1.0], [x, shift], [(0, 1), (0,)], 2))
    first = build.sum_axes(mapped("a * cos(b)", [terms, total], [(0, 1), (0,)], 2), [1])
    second = build.sum_axes(mapped("a * b", [terms, shift], [(0, 1), (0,)], 2), [1])
    for each in (first, second):
        module = agree([each], data(x), tiling=TINY)
        assert module.source.count("for start") == 2
        assert "_rescaling" not in module.source


def test_axes_in_another_order() -> None:
    x, y = leaf("x", 5, 7), leaf("y", 7, 5)
    total = mapped("exp(a) * b", [x, y], [(0, 1), (1, 0)], 2)
    both_tilings([total, build.sum_axes(total, [1]), build.transpose(total, (1, 0))], data(x, y))


def test_tensors_without_some_of_the_axes() -> None:
    x, v, c, s = leaf("x", 3, 4, 5), leaf("v", 4), leaf("c", 3, 5), leaf("s")
    y = mapped("exp(a) * b + c * d", [x, v, c, s], [(0, 1, 2), (1,), (0, 2), ()], 3)
    both_tilings([y, build.sum_axes(y, [1])], data(x, v, c, s))


def test_the_same_tensor_along_two_axes() -> None:
    """An index cannot run along both: torch computes it."""
    x = leaf("x", 5, 4)
    e = build.apply("exp", build.apply("sin", x))
    outer = mapped("a * b - a", [e, e], [(0, 1), (0, 2)], 3)
    both_tilings([outer], data(x))


def test_strided_operands_and_views() -> None:
    x = leaf("x", 6, 5)
    y = mapped("exp(a) + a", [build.transpose(x, (1, 0))], [(0, 1)], 2)
    sliced = build.slice_node(x, [5, 1], [3, 2], [-2, 2])
    z = mapped("exp(a) + a", [sliced], [(0, 1)], 2)
    both_tilings([y, z], data(x))


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int32", "int8", "uint8", "bool"])
def test_dtypes(dtype: str) -> None:
    x, y = leaf("x", 5, 7, dtype=dtype), leaf("y", 5, 7, dtype=dtype)
    total = mapped("where(a != b, a, b) * b", [x, y], [(0, 1), (0, 1)], 2)
    outputs = [total, build.reduce_node("prod", total, [1]), build.reduce_node("max", total, [0, 1])]
    if dtype != "bool":
        outputs += [build.sum_axes(total, [1]), build.sum_axes(total, [0])]
    both_tilings(outputs, data(x, y), {"float32": 1e-5, "float16": 2e-2}.get(dtype, 1e-12))


def test_casts_round() -> None:
    x = leaf("x", 9)
    half = build.cast(build.cast(build.apply("exp", x), DType.float16), DType.float64)
    both_tilings([mapped("a * 3 + a", [half], [(0,)], 1)], data(x), kernels=1)


def test_nan_and_infinities_pass_through_reductions() -> None:
    x = leaf("x", 4, 6)
    values = data(x)
    values["x"][0, 1], values["x"][1, 2], values["x"][2, :], values["x"][3, 3] = np.nan, np.inf, -np.inf, -np.inf
    y = mapped("a + abs(a)", [x], [(0, 1)], 2)
    z = mapped("a * 2 - 1", [x], [(0, 1)], 2)
    kinds = ("max", "min", "logsumexp", "shift")
    outputs = [build.reduce_node(kind, each, axes) for each in (y, z) for kind in kinds for axes in ([0], [1], [0, 1])]
    both_tilings(outputs, values)


def test_sizes_are_those_of_the_call() -> None:
    """A module that is planned for some sizes is right for others, empty ones among them."""
    x, w = leaf("x", "i", "j"), leaf("w", "j")
    y = mapped("exp(a) * b", [x, w], [(0, 1), (1,)], 2)
    outputs = [y, build.sum_axes(y, [0]), build.sum_axes(y, [1]), softmax(x), build.sum_axes(softmax(x), [0])]
    for tiling in (None, TINY):
        module = emitted(outputs, tiling, {"i": 6, "j": 5})
        for i, j in ((6, 5), (1, 1), (13, 17), (2, 40), (0, 3), (3, 0)):
            values = {"x": RNG.standard_normal((i, j)), "w": RNG.standard_normal(j)}
            e = np.exp(values["x"]) * values["w"]
            p = np.exp(values["x"]) / np.exp(values["x"]).sum(1, keepdims=True)
            expected = [e, e.sum(0), e.sum(1), p, p.sum(0)]
            for found, wanted in zip(interpreted(module, values), expected, strict=True):
                np.testing.assert_allclose(found, wanted, 1e-12, 1e-14)


@pytest.mark.parametrize("names", [("p", "c"), ("i0", "p_mask"), ("WIDE", "start"), ("program", "tl")])
def test_dims_that_are_called_as_positions_are(names: tuple[str, str]) -> None:
    x = leaf("x", *names)
    y = build.linear_combination([1.0, 1.0], [build.apply("exp", x), build.sum_axes(x, [1])], [(0, 1), (0,)], 2)
    for tiling in (None, TINY):
        agree([y, build.sum_axes(y, [0])], {"x": RNG.standard_normal((5, 7))}, tiling=tiling)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (2, 0, 3)])
def test_axes_that_are_known_to_be_empty(shape: tuple[int, ...]) -> None:
    x, rank = leaf("x", *shape), len(shape)
    y = mapped("exp(a) + 1", [x], [tuple(range(rank))], rank)
    for axis in range(rank):
        both_tilings([y, build.scale(-1.0, build.sum_axes(y, [axis]))], data(x))


def test_numbers_wrap_as_their_dtype() -> None:
    x = leaf("x", 6, dtype="int8")
    both_tilings([build.linear_combination([300, 1], [x, mapped("a * a", [x], [(0,)], 1)], [(0,), (0,)], 1)],
                 {"x": np.array([1, -7, 100, 127, -128, 0], np.int8)})  # fmt: skip


def test_positions_beyond_32_bits() -> None:
    """Of many elements positions are 64 bits wide, and of few they are not."""
    few, many = leaf("x", 4096, 8), leaf("x", 2**20, 2**12)
    sources = [emitted([mapped("exp(a) + a", [x], [(0, 1)], 2)]).source for x in (few, many)]
    assert "int64" not in sources[0]
    assert "tl.program_id(0).to(tl.int64)" in sources[1]


def test_complex_numbers_are_torchs() -> None:
    x = leaf("x", 3, 4, dtype="complex128")
    values = {"x": RNG.standard_normal((3, 4)) + 1j * RNG.standard_normal((3, 4))}
    module = agree([mapped("exp(a) * a", [x], [(0, 1)], 2)], values)
    assert "# torch's own operations, since Triton has none here for dtype complex128" in module.source
    assert not launched_names(module)


def test_two_programs_of_one_reduction_give_the_same_bits_every_time() -> None:
    x = leaf("x", 1000, dtype="float32")
    module = emitted([build.sum_axes(mapped("exp(a) + a", [x], [(0,)], 1), [0])], Tiling(256, 65536, 8))
    values = data(x)
    assert len({interpreted(module, values)[0].tobytes() for _ in range(3)}) == 1
    assert "atomic" not in module.source
