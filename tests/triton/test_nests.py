"""Attention and its kin as kernels over tiles: values against JAX and NumPy, and memory linear in the length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attention import Attention
from evaluation import assert_close

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch
from triton_kernels import interpreted

import otus
from otus.codegen import emit_triton
from otus.ir.kernels import BlockLoop
from otus.ir.program import Program, planned_peak

RNG = np.random.default_rng(3)
KERNELS = {"value": 1, "gradients": 3, "products": 4}


def kernels(function: Any) -> int:
    """The number of kernels over tiles, of which none runs on the host."""
    assert "loops on the host" not in function.source
    return int(function.source.count("def tile_kernel"))


def compiled(outputs: Any) -> Any:
    return otus.compile(outputs, backend="triton", interpret=True)


@pytest.mark.parametrize("what", KERNELS)
@pytest.mark.parametrize(
    ("case", "tolerance"),
    [
        (Attention(37, 45, (1, 2)), 1e-12),
        (Attention(70, 70, (2,), mask="causal"), 1e-12),
        (Attention(33, 130, (), mask="added"), 1e-12),
        (Attention(64, 32, (1, 1), 16, 16), 1e-12),
        (Attention(70, 70, (2,), mask="causal", dtype="float32"), 2e-6),
        (Attention(45, 37, (), mask="added", dtype="float32"), 2e-6),
        (Attention(40, 40, (2,), 16, 16, "causal", "float16"), 2e-3),
        (Attention(33, 50, (2,), 16, 16, dtype="bfloat16"), 2e-2),
        (Attention(70, 70, (2, 1), 40, 80, "causal", "float32"), 4e-6),
        (Attention(37, 45, (), 96, 20, dtype="float32"), 4e-6),
        (Attention(40, 40, (), 80, 80, "causal", "bfloat16"), 2e-2),
    ],
)
def test_attention(case: Attention, tolerance: float, what: str) -> None:
    pytest.importorskip("jax")
    function, data = compiled(case.expressions(what)), case.data()
    if case.is_half:
        dtype = getattr(torch, case.dtype)
        halves = {name: torch.from_numpy(value).to(dtype) for name, value in data.items()}
        data = {name: value.float().numpy() for name, value in halves.items()}
        found = [x.float().numpy() for x in function(**{name: halves[name] for name in function.inputs})]
    else:
        found = function(**{name: data[name] for name in function.inputs})
    assert kernels(function) == KERNELS[what]
    if what == "products" and case.width > 32:
        assert "for strip in range(" in function.source
    for value, wanted in zip(found, case.by_jax(what, data), strict=True):
        assert_close(value, wanted, tolerance, tolerance, function.source)


@pytest.mark.parametrize(
    "case", [Attention(1, 1), Attention(1, 5, (1, 1)), Attention(5, 1, (2, 1)), Attention(4, 4, (0,))]
)
def test_one_query_one_key_none(case: Attention) -> None:
    """What is left to tile, if anything, is right."""
    outputs = case.expressions("gradients")
    function, reference = compiled(outputs), otus.compile(outputs, backend="reference")
    data = case.data()
    expected = reference(**{name: data[name] for name in reference.inputs})
    for value, wanted in zip(function(**{name: data[name] for name in function.inputs}), expected, strict=True):
        assert_close(value, wanted, 1e-12, 1e-12)


def test_rows_that_see_little_or_nothing() -> None:
    """Masked whole, at the beginning, at the end, and with scores far below and above those of other blocks."""
    case = Attention(8, 150, (), mask="added")
    data = case.data()
    mask = data["M"]
    mask[0, :], mask[1, :70], mask[2, 64:], mask[3, :] = -np.inf, -np.inf, -np.inf, mask[3, :] - 5000
    mask[4, :100] += 900
    mask[5, 149] += 700
    outputs = case.expressions("gradients")
    function = compiled(outputs)
    found = function(**{name: data[name] for name in function.inputs})
    assert kernels(function) == 3
    assert np.isnan(found[0][0]).all()  # as NumPy's 0 / 0, and JAX's
    scores = data["Q"] @ data["K"].T * 0.25 + mask
    weights = np.exp(scores[1:] - scores[1:].max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found[0][1:], weights @ data["V"], 1e-11, 1e-13)
    products = weights * (data["U"][1:] @ data["V"].T)
    slopes = products - products.sum(axis=1, keepdims=True) * weights
    np.testing.assert_allclose(found[1][1:], slopes @ data["K"] * 0.25, 1e-9, 1e-11)


def test_products_with_a_hessian_are_kernels_over_tiles_alone() -> None:
    """What is added up of two products with scores is gathered in one place, and what follows is in the same kernel."""
    source = compiled(Attention(70, 70, (2,), 80, 80, "causal", "float32").expressions("products")).source
    assert "def block_kernel" not in source
    assert source.count("= tl.full([BLOCK_ROW, BLOCK_I0], 0.0, tl.float32)") == 3


def test_rows_that_go_through_most_columns_are_first() -> None:
    """Where a mask by positions shows later rows more; not where it shows them less."""
    first, *others = (line.split("=")[1] for line in _causal().splitlines() if line.strip().startswith("first_row ="))
    assert first == " (tl.cdiv(70, BLOCK_ROW) - 1 - program) * BLOCK_ROW"
    assert others[-1] == " program * BLOCK_ROW"


def _causal() -> str:
    return str(compiled(Attention(70, 70, (), mask="causal").expressions("gradients")).source)


def _tensors(**shapes: tuple[int, ...]) -> list[Any]:
    return [otus.tensor(name, shape) for name, shape in shapes.items()]


def _logsumexp() -> list[Any]:
    x, y = _tensors(x=(37, 8), y=(70, 8))
    total = otus.logsumexp(x @ y.T, axis=1)
    return [total, *otus.grad((total * total).sum(), [x, y])]


def _gaussian_sums() -> list[Any]:
    """Sums over pairs of a function of their distance, which is expanded into a product."""
    x, y, w = _tensors(x=(37, 3), y=(70, 3), w=(70, 4))
    distance = (x * x).sum(axis=1)[:, None] + (y * y).sum(axis=1) - 2 * (x @ y.T)
    sums = otus.exp(-0.5 * distance) @ w
    return [sums, *otus.grad((sums * sums).sum(), [x, y, w])]


def _distances() -> list[Any]:
    """The same by differences: tiles have a third dimension."""
    x, y, w = _tensors(x=(37, 3), y=(40, 3), w=(40, 4))
    return [otus.exp(-0.5 * ((x[:, None, :] - y[None, :, :]) ** 2).sum(axis=2)) @ w]


def _causal_linear() -> list[Any]:
    q, k, v = _tensors(q=(70, 8), k=(70, 8), v=(70, 5))
    sees = otus.arange(70)[:, None] >= otus.arange(70)
    return [otus.where(sees, q @ k.T, 0.0) @ v]


def _grouped() -> list[Any]:
    """Keys and values that heads share, and so gradients that sum over heads."""
    q, k, v, u = _tensors(q=(2, 3, 37, 8), k=(2, 45, 8), v=(2, 45, 5), u=(2, 3, 37, 5))
    scores = otus.einsum("bhqd,bkd->bhqk", q, k)
    out = otus.einsum("bhqk,bke->bhqe", otus.softmax(scores, axis=-1), v)
    return [out, *otus.vjp(out, [q, k, v], [u])]


def _tokens_before_heads() -> list[Any]:
    q, k, v, u = _tensors(q=(2, 37, 3, 8), k=(2, 45, 3, 8), v=(2, 45, 3, 5), u=(2, 37, 3, 5))
    scores = otus.einsum("bqhd,bkhd->bhqk", q, k)
    out = otus.einsum("bhqk,bkhe->bqhe", otus.softmax(scores, axis=-1), v)
    return [out, *otus.vjp(out, [q, k, v], [u])]


def _gram() -> list[Any]:
    """One tensor along both indices, a sum over both of them, and a largest element of each row."""
    (x,) = _tensors(x=(70, 5))
    gram = x @ x.T
    return [otus.exp(0.1 * gram).sum(), otus.tanh(gram) @ x, otus.sin(gram).max(axis=1)]


def _layer() -> list[Any]:
    """Projections, heads, and a loss: what is between kernels is reshaped and permuted."""
    x, wq, wk, wv = _tensors(x=(37, 12), wq=(12, 12), wk=(12, 12), wv=(12, 12))
    q, k, v = (otus.transpose((x @ w).reshape((37, 3, 4)), (1, 0, 2)) for w in (wq, wk, wv))
    out = otus.transpose(otus.softmax(q @ otus.transpose(k, (0, 2, 1)), axis=-1) @ v, (1, 0, 2)).reshape((37, 12))
    return [out, *otus.grad((out * out).sum(), [x, wq])]


@pytest.mark.parametrize(
    ("build", "least"),
    [(_logsumexp, 2), (_gaussian_sums, 2), (_distances, 1), (_causal_linear, 1), (_grouped, 3),
     (_tokens_before_heads, 3), (_gram, 1), (_layer, 3)],
)  # fmt: skip
def test_kin(build: Any, least: int) -> None:
    outputs = build()
    function, reference = compiled(outputs), otus.compile(outputs, backend="reference")
    assert kernels(function) >= least
    types = function.program.buffer_map()
    data = {name: RNG.standard_normal([int(x) for x in types[name].type.shape]) for name in function.inputs}
    expected = reference(**data)
    for position, (value, wanted) in enumerate(zip(function(**data), expected, strict=True)):
        assert_close(value, wanted, 1e-11, 1e-11, f"output {position}\n{function.source}")


def test_sizes_are_those_of_the_call() -> None:
    q, k, v = otus.tensor("q", ("n", "d")), otus.tensor("k", ("m", "d")), otus.tensor("v", ("m", "e"))
    function = compiled(otus.softmax(q @ k.T, axis=1) @ v)
    for n, m, d, e in ((33, 65, 7, 6), (5, 20, 20, 33), (0, 3, 2, 2)):
        data = {"q": RNG.standard_normal((n, d)), "k": RNG.standard_normal((m, d)), "v": RNG.standard_normal((m, e))}
        weights = np.exp(data["q"] @ data["k"].T)
        expected = weights / weights.sum(axis=1, keepdims=True) @ data["v"]
        np.testing.assert_allclose(function(**data), expected, 1e-10)
    assert "def tile_kernel" in function.plan_for(n=33, m=65, d=7, e=6).source


def _with_mask(hide: Any) -> list[Any]:
    """Attention and its products with a Jacobian's transpose; ``hide`` takes scores and both positions."""
    q, k, v, u = _tensors(q=(70, 8), k=(90, 8), v=(90, 5), u=(70, 5))
    scores = hide(q @ k.T, otus.arange(70)[:, None], otus.arange(90))
    out = otus.softmax(scores, axis=1) @ v
    return [out, *otus.vjp(out, [q, k, v], [u])]


@pytest.mark.parametrize(
    ("hide", "loops"),
    [
        (lambda s, q, k: otus.where(k <= q, s, -1e30),
         {"range(0, tl.minimum(first_row + BLOCK_ROW, 90), BLOCK_COLUMN)",
          "range(first_row // BLOCK_COLUMN * BLOCK_COLUMN, 70, BLOCK_COLUMN)"}),
        (lambda s, q, k: otus.where(k < q - 2, -np.inf, otus.where(k <= q + 3, s, -np.inf)),
         {"range(tl.maximum(first_row - 2, 0) // BLOCK_COLUMN * BLOCK_COLUMN, "
          "tl.minimum(first_row + BLOCK_ROW + 3, 90), BLOCK_COLUMN)",
          "range(tl.maximum(first_row - 3, 0) // BLOCK_COLUMN * BLOCK_COLUMN, "
          "tl.minimum(first_row + BLOCK_ROW + 2, 70), BLOCK_COLUMN)"}),
    ],
)  # fmt: skip
def test_blocks_that_a_mask_hides(hide: Any, loops: set[str]) -> None:
    """The last keys are seen by no query."""
    outputs = _with_mask(hide)
    function, reference = compiled(outputs), otus.compile(outputs, backend="reference")
    assert kernels(function) == 3
    assert {
        line.strip()[len("for start in ") : -1] for line in function.source.splitlines() if "for start" in line
    } == loops
    types = function.program.buffer_map()
    data = {name: RNG.standard_normal([int(x) for x in types[name].type.shape]) for name in function.inputs}
    for value, wanted in zip(function(**data), reference(**data), strict=True):
        assert_close(value, wanted, 1e-11, 1e-11)


@pytest.mark.parametrize(("queries", "keys"), [(20, 0), (0, 20), (5, 7)])
def test_a_module_for_all_sizes_without_keys(queries: int, keys: int) -> None:
    """Planned for sizes that are not 0."""
    shapes = {"q": ("n", "d"), "k": ("m", "d"), "v": ("m", "e"), "u": ("n", "e")}
    q, k, v, u = (otus.tensor(name, shape) for name, shape in shapes.items())
    out = otus.softmax(q @ k.T, axis=1) @ v
    outputs = [out, *otus.vjp(out, [q, k, v], [u])]
    module = compiled(outputs).plan_for(n=33, m=65, d=7, e=6).emitted
    sizes = {"n": queries, "m": keys, "d": 7, "e": 6}
    data = {name: RNG.standard_normal([sizes[x] for x in shape]) for name, shape in shapes.items()}
    expected = otus.compile(outputs, backend="reference")(**data)
    for value, wanted in zip(interpreted(module, data), expected, strict=True):
        assert_close(value, wanted, 1e-11, 1e-11)


def _buffers(program: Program) -> list[tuple[Any, ...]]:
    """The shapes of all tensors outside of nests."""
    assert not any(isinstance(x.kernel, BlockLoop) and not x.kernel.concurrent for x in program.calls)
    return [buffer.type.shape for buffer in program.buffers]


@pytest.mark.parametrize("what", KERNELS)
def test_memory_is_linear_in_the_length(what: str) -> None:
    peaks = []
    for n in (2048, 4096, 8192):
        program = compiled(Attention(n, n, (2, 2), 64, 64, "causal", "float32").expressions(what)).program
        assert all(np.prod([int(size) for size in shape]) < n * n // 2 for shape in _buffers(program))
        peaks.append(planned_peak(program, {}))
    assert peaks[2] - peaks[1] == pytest.approx(2 * (peaks[1] - peaks[0]), rel=0.01)


def test_more_digits_between_kernels_than_in_memory() -> None:
    """What kernels of halves hand to one another is float32."""
    function = compiled(Attention(40, 40, (2,), 16, 16, dtype="bfloat16").expressions("gradients"))
    between = [x.type for x in function.program.buffers if x.role == "temporary" and len(x.type.shape) == 2]
    assert between
    assert {str(x.dtype) for x in between} == {"float32"}


def test_loops_on_the_host_where_there_is_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if Triton had no sine: the same loops, by torch, rescaling and a window included."""
    x, y, v = _tensors(x=(70, 8), y=(90, 8), v=(90, 5))
    scores = otus.einsum("qd,kd->qk", x, y)
    scores = otus.where(otus.sin(scores) > 0, scores, otus.power(otus.abs(scores), 0.3))
    scores = otus.where(otus.arange(90) <= otus.arange(70)[:, None] - 3, scores, -np.inf)
    outputs = [otus.softmax(scores, axis=1) @ v]
    monkeypatch.setattr("otus.codegen.to_triton.scalars._FUNCTIONS", frozenset({"exp"}))
    module = emit_triton(compiled(outputs).program)
    assert "loops on the host, since there is no kernel here for sin of float64" in module.source
    assert "in range(0, min(stop - 3, 90), 64):" in module.source
    data = {"x": RNG.standard_normal((70, 8)), "y": RNG.standard_normal((90, 8)), "v": RNG.standard_normal((90, 5))}
    s = data["x"] @ data["y"].T
    s = np.where(np.sin(s) > 0, s, np.abs(s) ** 0.3)[3:]
    s = np.where(np.arange(90) <= np.arange(67)[:, None], s, -np.inf)
    weights = np.exp(s - s.max(axis=1, keepdims=True))
    (found,) = interpreted(module, data)
    assert np.isnan(found[:3]).all()  # of nothing
    np.testing.assert_allclose(found[3:], weights / weights.sum(axis=1, keepdims=True) @ data["v"], 1e-11, 1e-15)


def test_derivatives_of_a_maximum_of_products() -> None:
    """Exactly where it is taken: the products that it is compared with are those that it was taken of."""
    x, w = otus.tensor("x", (40, 33)), otus.tensor("w", (33, 50))
    data = {"x": RNG.normal(size=(40, 33)), "w": RNG.normal(size=(33, 50))}
    products = data["x"] @ data["w"]
    places = products.argmax(axis=1)
    first, second = compiled(list(otus.grad(otus.max(x @ w, axis=1).sum(), [x, w])))(**data)
    np.testing.assert_allclose(first, data["w"].T[places])
    wanted = np.zeros((33, 50))
    np.add.at(wanted.T, places, data["x"])
    np.testing.assert_allclose(second, wanted)
