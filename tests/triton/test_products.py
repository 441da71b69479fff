"""Fused products in Triton's interpreter, against the reference interpreter and NumPy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from evaluation import assert_close

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch
from triton_kernels import BLOCK, WITHOUT_TILES, interpreted, launched_names

import otus
from otus.codegen import Emitted, emit_triton
from otus.ir import Graph
from otus.ir.kernels import FusedProduct, ProductTile
from otus.ir.program import Program, verify_program
from otus.passes import parse_pipeline
from otus.passes.lower import lower
from otus.passes.products.fusing import ProductOptions, fuse_products
from otus.runtime.executable import Executable
from otus.runtime.reference import evaluate
from otus.runtime.triton_interpreter import interpreter

RNG = np.random.default_rng(5)
SMALL = ProductTile(16, 16, 16, 1, 1, group=2)


def tensor(name: str, *shape: Any, dtype: str = "float64") -> otus.Expression:
    return otus.tensor(name, shape, dtype=dtype)


def planned(outputs: Sequence[otus.Expression], sizes: Mapping[str, int] | None = None) -> Program:
    graph, _ = parse_pipeline(f"expand,simplify,contract,fuse,block{BLOCK}").run(
        Graph.of([x.node for x in outputs]), sizes or {}
    )
    return fuse_products(lower(graph, (), sizes or {}), sizes or {})


def tiled(program: Program, tile: ProductTile) -> Program:
    """The program with this tile, as far as nothing has to be whole in it."""
    calls = []
    for call in program.calls:
        kernel = call.kernel
        if isinstance(kernel, FusedProduct):
            kernel = dataclasses.replace(kernel, tile=tile)
        calls.append(dataclasses.replace(call, kernel=kernel))
    found = dataclasses.replace(program, calls=tuple(calls))
    verify_program(found)
    return found


def module_of(
    outputs: Sequence[otus.Expression], tile: ProductTile | None = SMALL, sizes: Mapping[str, int] | None = None
) -> Emitted:
    program = planned(outputs, sizes)
    return emit_triton(program if tile is None else tiled(program, tile), sizes=sizes)


def data(outputs: Sequence[otus.Expression]) -> dict[str, np.ndarray]:
    inputs = Graph.of([x.node for x in outputs]).inputs
    return {
        node.op.label: RNG.standard_normal(node.type.shape).astype(node.type.dtype.value)  # type: ignore[attr-defined]
        for node in inputs
    }


X, W, B = tensor("x", 21, 35), tensor("w", 35, 18), tensor("b", 18)
R, S, C = tensor("r", 21, 18), tensor("s", 35), tensor("c", 21)
P, Q = tensor("p", 3, 2, 19, 20), tensor("q", 3, 2, 20, 17)
T, U = tensor("t", 5, 4, 18), tensor("u", 18, 2, 9)

CASES: dict[str, Any] = {
    "bias and relu": lambda: [otus.relu(X @ W + B)],
    "gelu": lambda: [otus.gelu(X @ W + B)],
    "residual": lambda: [otus.tanh(X @ W) * 0.5 + R],
    "scaled operand": lambda: [(X * S) @ W],
    "scaled rows": lambda: [otus.exp(X @ W) * C[:, None]],
    "map of the left": lambda: [otus.exp(X) @ W],
    "map of the right, and after": lambda: [otus.relu(X @ otus.cos(W))],
    "maps of both": lambda: [otus.relu(X) @ otus.exp(W * S[:, None])],
    "mask": lambda: [otus.where(C[:, None] < X, X, 0.0) @ W],
    "number": lambda: [2.5 * otus.relu(X @ W) + 1.0],
    "transposed operands": lambda: [otus.relu(otus.einsum("ki,jk->ij", tensor("a", 17, 20), tensor("d", 19, 17)))],
    "transposed result": lambda: [otus.relu(otus.einsum("ik,kj->ji", X, W))],
    "batches": lambda: [otus.relu(P @ Q)],
    "batches of one side": lambda: [otus.relu(P @ tensor("q", 20, 17))],
    "batch scale": lambda: [otus.tanh((P @ Q) * tensor("z", 3, 1, 1, 1))],
    "several rows and columns": lambda: [otus.relu(otus.einsum("abk,kcd->abcd", T, U))],
    "several of all, mixed": lambda: [otus.relu(otus.einsum("abkl,lkcd->cadb", tensor("f", 3, 4, 5, 6),
                                                            tensor("g", 6, 5, 2, 7)) + tensor("h", 7, 4))],
    "columns' own bias": lambda: [otus.relu(otus.einsum("abk,kcd->abcd", T, U) + tensor("e", 9))],
    "sum over columns": lambda: [otus.exp(X @ W).sum(axis=1)],
    "sum over rows": lambda: [otus.exp(X @ W).sum(axis=0)],
    "sum over all": lambda: [otus.exp(X @ W + B).sum()],
    "largest": lambda: [otus.sin(X @ W).max(axis=1)],
    "value and sums": lambda: [(y := otus.tanh(X @ W + B)), y.sum(axis=0)],
    "mean over rows": lambda: [(y := otus.tanh(X @ W + B)), -2.5 * y.sum(axis=0), y.mean(axis=1)],
    "batch sums": lambda: [otus.exp(P @ Q * 0.1).sum(axis=-1)],
    "axes of size one": lambda: [otus.relu(otus.einsum("aik,akj->aij", tensor("o", 1, 5, 6), tensor("l", 1, 6, 7))
                                           + tensor("y", 1, 5, 1))],
}  # fmt: skip


# What a tile must have all columns of.
ROWS: dict[str, Any] = {
    "softmax": lambda: [otus.softmax(X @ W + B, axis=1)],
    "softmax of batches": lambda: [otus.softmax(P @ Q, axis=-1)],
    "logarithm of a sum of exponentials": lambda: [otus.logsumexp(X @ W, axis=1)],
    "normalised rows": lambda: [(y := otus.tanh(X @ W)) / otus.sqrt((y * y).sum(axis=1, keepdims=True))],
    "value and maximum": lambda: [(y := X @ W + B) - y.max(axis=1, keepdims=True), y.sum(axis=0)],
}


def check(outputs: Sequence[otus.Expression], tile: ProductTile, names: Sequence[str], tolerance: float) -> Emitted:
    """The values of a module with this tile, whose kernels are these, are those of the reference interpreter."""
    module = emit_triton(tiled(planned(outputs), tile))
    assert launched_names(module) == list(names), module.source
    values = data(outputs)
    for value, wanted in zip(interpreted(module, values), evaluate([x.node for x in outputs], values), strict=True):
        assert (value.shape, value.dtype) == (wanted.shape, wanted.dtype), module.source
        assert_close(value, wanted, tolerance, tolerance, module.source)
    return module


@pytest.mark.parametrize("name", CASES)
def test_values(name: str) -> None:
    check(CASES[name](), SMALL, ["product_kernel"], 1e-11)


@pytest.mark.parametrize("name", ROWS)
def test_whole_rows(name: str) -> None:
    check(ROWS[name](), dataclasses.replace(SMALL, columns=32), ["product_kernel"], 1e-11)


@pytest.mark.parametrize("name", ["bias and relu", "scaled operand", "several of all, mixed", "value and sums"])
def test_split_sums(name: str) -> None:
    tile = dataclasses.replace(SMALL, splits=3)
    check(CASES[name](), tile, ["product_kernel", "sum_kernel"], 1e-11)


def test_split_sums_of_whole_rows_and_batches() -> None:
    tile = dataclasses.replace(SMALL, columns=32, splits=2)
    for name in ("softmax of batches", "value and maximum"):
        check(ROWS[name](), tile, ["product_kernel", "sum_kernel"], 1e-11)


ONE_AFTER_ANOTHER = ("bias and relu", "scaled operand", "batches", "several of all, mixed", "mean over rows")


@pytest.mark.parametrize("name", ONE_AFTER_ANOTHER)
def test_tiles_one_after_another(name: str) -> None:
    """Three programs, more tiles than that, which they do not divide evenly or do."""
    module = check(CASES[name](), dataclasses.replace(SMALL, persistent=True), ["product_kernel"], 1e-11)
    assert "tl.num_programs(0)" in module.source
    assert ", _processors(" in module.source


def test_whole_rows_one_after_another() -> None:
    check(ROWS["softmax"](), dataclasses.replace(SMALL, columns=32, persistent=True), ["product_kernel"], 1e-11)


def test_sums_in_parts_are_not_one_after_another() -> None:
    tile = dataclasses.replace(SMALL, splits=2, persistent=True)
    module = check(CASES["bias and relu"](), tile, ["product_kernel", "sum_kernel"], 1e-11)
    assert "num_programs" not in module.source


def test_tiles_one_after_another_of_the_sizes_of_a_call() -> None:
    x, w = tensor("x", "b", "i", "k"), tensor("w", "b", "k", "j")
    tile = dataclasses.replace(SMALL, persistent=True)
    module = module_of([otus.tanh(x @ w)], tile, {"b": 2, "i": 20, "k": 20, "j": 20})
    for b, i, k, j in ((2, 40, 20, 40), (1, 1, 1, 1), (5, 3, 4, 3), (0, 3, 3, 3), (2, 0, 3, 3)):
        values = {"x": RNG.standard_normal((b, i, k)), "w": RNG.standard_normal((b, k, j))}
        np.testing.assert_allclose(interpreted(module, values)[0], np.tanh(values["x"] @ values["w"]), 1e-12, 1e-12)


def test_splits_beyond_the_sum() -> None:
    """Programs for which nothing is left give zeros."""
    check(CASES["bias and relu"](), dataclasses.replace(SMALL, splits=7), ["product_kernel", "sum_kernel"], 1e-11)


def test_split_sums_give_the_same_bits_every_time() -> None:
    module = emit_triton(tiled(planned(CASES["bias and relu"]()), dataclasses.replace(SMALL, splits=3)))
    values = data(CASES["bias and relu"]())
    assert len({interpreted(module, values)[0].tobytes() for _ in range(3)}) == 1
    assert "atomic" not in module.source


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 1e-2), ("float64", 1e-12)])
def test_dtypes(dtype: str, tolerance: float) -> None:
    x, w, b = (tensor(n, *s, dtype=dtype) for n, s in (("x", (9, 20)), ("w", (20, 18)), ("b", (18,))))
    check([otus.relu(otus.exp(x) @ w + b)], SMALL, ["product_kernel"], tolerance)


def test_operands_of_another_dtype_are_cast_as_they_are_read() -> None:
    x, w = tensor("x", 9, 20, dtype="float16"), tensor("w", 20, 18, dtype="float32")
    module = check([otus.relu(otus.cast(x, "float32") @ w)], SMALL, ["product_kernel"], 1e-5)
    assert ".to(tl.float32)" in module.source


X16, S16 = tensor("x", 20, 48, dtype="float16"), tensor("s", 18, dtype="float16")
STORED: dict[str, Any] = {
    "channels": lambda w: otus.cast(w, "float16") * S16,
    "zero points": lambda w: (otus.cast(w, "float16") - otus.cast(tensor("z", 18, dtype="int8"), "float16")) * S16,
    "rows": lambda w: otus.cast(w, "float16") * tensor("c", 48, 1, dtype="float16"),
    "cast": lambda w: otus.cast(w, "float16"),
    "groups": lambda w: (otus.cast(w, "float16").reshape((3, 16, 18)) * tensor("g", 3, 1, 18, dtype="float16")
                         ).reshape((48, 18)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["int8", "uint8", "bool"])
@pytest.mark.parametrize("name", STORED)
def test_operands_are_read_as_they_are_stored(name: str, dtype: str) -> None:
    """Cast and scaled within the kernel, which is the only one; against NumPy in float64."""
    w = tensor("w", 48, 18, dtype=dtype)
    y = otus.relu(X16 @ STORED[name](w))
    f = otus.compile({"y": y}, backend="triton", interpret=True)
    assert [call.kernel.name for call in f.program.calls if not call.kernel.view] == ["product"]
    values = {key: value * np.float16(0.1) for key, value in data([y]).items() if value.dtype == np.float16}
    values["w"] = RNG.integers(0, 2 if dtype == "bool" else 100, (48, 18)).astype(dtype)
    values |= {"z": RNG.integers(-9, 9, 18).astype("int8")} if name == "zero points" else {}
    exact = {key: value.astype(float) for key, value in values.items()}
    scaled = {
        "channels": lambda w: w * exact["s"],
        "zero points": lambda w: (w - exact["z"]) * exact["s"],
        "rows": lambda w: w * exact["c"],
        "cast": lambda w: w,
        "groups": lambda w: (w.reshape(3, 16, 18) * exact["g"].reshape(3, 1, 18)).reshape(48, 18),
    }[name](exact["w"])
    wanted = np.maximum(exact["x"] @ scaled, 0)
    np.testing.assert_allclose(f(**values)["y"], wanted, 5e-3, 5e-3 * np.abs(wanted).max())


def test_bfloat16() -> None:
    x, w = tensor("x", 9, 20, dtype="bfloat16"), tensor("w", 20, 18, dtype="bfloat16")
    module = module_of([otus.relu(otus.exp(x) @ w)])
    assert launched_names(module) == ["product_kernel"]
    given = [torch.randn(each).to(torch.bfloat16) for each in ((9, 20), (20, 18))]
    with interpreter():
        found = Executable.of(module.source, module.function).load()(*given)
    assert found.dtype == torch.bfloat16
    wanted = torch.relu(torch.exp(given[0].double()).to(torch.bfloat16).double() @ given[1].double())
    torch.testing.assert_close(found.double(), wanted, rtol=2e-2, atol=2e-1)


def test_sums_in_half_precision_are_rounded_once() -> None:
    x, w = tensor("x", 40, 20, dtype="float16"), tensor("w", 20, 18, dtype="float16")
    module = module_of([otus.exp(x @ w * 0.1).sum(axis=0)])
    assert "_parts = torch.empty((3, 18), dtype=torch.float32" in module.source
    values = data([x, w])
    (found,) = interpreted(module, values)
    product = np.float64(values["x"]) @ np.float64(values["w"])
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, np.exp(product * 0.1).sum(0), 2e-3)


def test_operands_with_strides_are_not_copied() -> None:
    module = module_of([otus.relu(X @ W + B)])
    assert "contiguous" not in module.source
    assert "reshape" not in module.source
    x, w, b = torch.randn((2, 70, 42)).double(), torch.randn((18, 35)).double(), torch.randn((36,)).double()
    given = x[1, ::2, ::2].T, w.T, b[::2]
    with interpreter():
        found = Executable.of(module.source, module.function).load()(*given)
    torch.testing.assert_close(found, torch.relu(given[0] @ given[1] + given[2]))


def test_repeated_operands_and_those_that_do_not_merge() -> None:
    """Strides of zero; and merged axes of a tensor whose strides forbid it, which is copied."""
    module = module_of(CASES["several rows and columns"]())
    assert "t_flat = t.reshape((20, 18))" in module.source
    t, u = torch.randn((4, 5, 18)).double(), torch.randn((18, 1, 9)).double()
    given = t.transpose(0, 1), u.expand((18, 2, 9))
    with interpreter():
        found = Executable.of(module.source, module.function).load()(*given)
    torch.testing.assert_close(found, torch.relu(torch.einsum("abk,kcd->abcd", *given)))


def test_sizes_are_those_of_the_call() -> None:
    """A module that is planned for some sizes is right for others, empty ones among them."""
    x, w, b = tensor("x", "i", "k"), tensor("w", "k", "j"), tensor("b", "j")
    y = otus.tanh(x @ w + b)
    module = module_of([y, y.sum(axis=0)], SMALL, {"i": 20, "k": 20, "j": 20})
    assert launched_names(module) == ["product_kernel"]
    whole = module_of([otus.softmax(x @ w, axis=1)], SMALL, {"i": 20, "k": 20, "j": 16})
    for i, k, j in ((20, 20, 20), (1, 1, 1), (33, 5, 40), (0, 3, 3), (3, 0, 3), (3, 3, 0)):
        values = {"x": RNG.standard_normal((i, k)), "w": RNG.standard_normal((k, j)), "b": RNG.standard_normal(j)}
        product = values["x"] @ values["w"]
        found, total = interpreted(module, values)
        np.testing.assert_allclose(found, np.tanh(product + values["b"]), 1e-12, 1e-12)
        np.testing.assert_allclose(total, np.tanh(product + values["b"]).sum(0), 1e-12, 1e-12)
        shares = np.exp(product) / np.exp(product).sum(1, keepdims=True)
        np.testing.assert_allclose(interpreted(whole, values)[0], shares, 1e-12, 1e-12)


def test_what_overhangs_counts_for_nothing() -> None:
    """Where an operand's map makes infinities or NaN of what is read beyond the end."""
    x, w = tensor("x", 5, 19), tensor("w", 19, 6)
    check([otus.log(x * x) @ (1 / w)], SMALL, ["product_kernel"], 1e-11)


def test_positions_beyond_32_bits() -> None:
    """Of tensors whose elements lie far apart positions are of 64 bits."""
    module = module_of([otus.relu(X @ W)])
    wide = Executable.of(module.source, module.function).load().__globals__["_is_wide"]
    assert not wide(torch.empty((2**15, 2**14), device="meta"))
    assert wide(torch.empty((2**15, 2**15 + 2), device="meta"))
    assert wide(torch.empty((2**16, 2**15), device="meta")[:, ::2])
    assert not wide(torch.empty((0, 2**40), device="meta"))


# --- which products are fused ------------------------------------------------------------------


def kinds(outputs: Sequence[otus.Expression]) -> list[str]:
    return [call.kernel.name for call in planned(outputs).calls]


def test_a_product_alone_is_the_librarys() -> None:
    assert kinds([X @ W]) == ["contract"]
    assert "product" not in kinds([otus.exp((X @ S) + C)])  # of a matrix and a vector


def test_large_products_in_full_precision_are_the_librarys() -> None:
    """Without tensor cores a kernel of ours loses more than it saves."""
    size = 4096
    x, w = (tensor(n, size, size, dtype="float32") for n in "xw")
    assert kinds([otus.relu(x @ w)]) == ["contract", "apply"]
    thin = tensor("y", size, 64, dtype="bfloat16")
    assert kinds([otus.gelu(thin @ tensor("z", 64, size, dtype="bfloat16"))]) == ["product"]
    h = tensor("h", 1024, 1024, dtype="bfloat16")
    assert kinds([otus.relu(h @ otus.transpose(h, (1, 0)))]) == ["product"]


def test_many_tiles_are_made_one_after_another() -> None:
    """Of large products, where each tile takes a multiprocessor; the dump says so."""
    x, w = tensor("x", 4096, 256, dtype="bfloat16"), tensor("w", 256, 8192, dtype="bfloat16")
    assert "stages, one after another: moves" in planned([otus.relu(x @ w)]).calls[0].kernel.text
    assert "one after another" not in planned([otus.relu(x[:1024] @ w[:, :1024])]).calls[-1].kernel.text


def test_what_others_read_stays() -> None:
    """A value between that is wanted is written by the kernel; one that something else needs first is not fused."""
    y = X @ W
    assert kinds([otus.relu(y), y]) == ["product"]
    assert kinds([otus.inv(y[:18]), otus.tanh(y) + R]) != ["product"]
    assert kinds([otus.exp(X) @ W, otus.exp(X)]) == ["apply", "contract"]


def test_a_product_with_itself() -> None:
    y = otus.einsum("ik,jk->ij", X, X)
    assert kinds([y + y.T])[0] == "contract"
    check([otus.relu(otus.einsum("ik,jk->ij", X, X))], SMALL, ["product_kernel"], 1e-11)
    check([otus.relu(otus.einsum("ik,jk->ij", tensor("k", 6, 6), tensor("k", 6, 6))) + tensor("k", 6, 6)],
          SMALL, ["product_kernel"], 1e-11)  # fmt: skip


def test_other_functions_and_dtypes_are_steps_of_their_own() -> None:
    a, b = tensor("a", 5, 6, dtype="complex128"), tensor("b", 6, 7, dtype="complex128")
    assert kinds([otus.exp(a @ b)]) == ["contract", "apply"]
    module = module_of([otus.abs(otus.exp(1j * (X @ W)) + 1)])
    assert "# steps of their own, since Triton has none here for dtype complex128" in module.source
    values = data([X @ W])
    np.testing.assert_allclose(interpreted(module, values)[0], np.abs(np.exp(1j * (values["x"] @ values["w"])) + 1))


def test_a_body_that_is_not_the_calls_is_refused() -> None:
    program = planned([otus.relu(X @ W)])
    (call,) = program.calls
    assert isinstance(call.kernel, FusedProduct)
    turned = dataclasses.replace(call, inputs=call.inputs[::-1])
    with pytest.raises(otus.OtusError, match=r"the body of the fused product 't0' reads \('x', 'w'\)"):
        verify_program(dataclasses.replace(program, calls=(turned,)))
    other = dataclasses.replace(call, kernel=dataclasses.replace(call.kernel, product="w"))
    with pytest.raises(otus.OtusError, match="no contraction in the body of the fused product makes 'w'"):
        verify_program(dataclasses.replace(program, calls=(other,)))


def test_memory_limits_hold() -> None:
    """Where memory is scarce no sum is split, and the planned peak is no higher."""
    x, w = tensor("x", 16, 4096, dtype="float32"), tensor("w", 4096, 16, dtype="float32")
    outputs = [otus.relu(x @ w)]
    assert "sum in" in planned(outputs).calls[0].kernel.text
    graph = Graph.of([x.node for x in outputs])
    limited = fuse_products(lower(graph), {}, ProductOptions(save_memory=True))
    assert "sum in" not in limited.calls[0].kernel.text


def test_products_within_loops_that_save_memory() -> None:
    """There several steps read the product, and the last block has fewer rows."""
    x, w = tensor("x", 64, 80), tensor("w", 80, 96)
    outputs = {"s": otus.exp(otus.sin(x @ w)).sum(), "r": otus.tanh(x @ w).max(axis=1)}
    f = otus.compile(outputs, backend="triton", interpret=True, memory_limit=20000, pipeline=WITHOUT_TILES)
    assert "for start in range(0, 64, " in f.source
    assert "        product_kernel[(" in f.source
    values = data([outputs["r"]])
    found = f(**values)
    product = values["x"] @ values["w"]
    np.testing.assert_allclose(found["s"], np.exp(np.sin(product)).sum())
    np.testing.assert_allclose(found["r"], np.tanh(product).max(1))


def test_derivatives_of_a_layer() -> None:
    """Through the front door: the layer's gradients, their sums over rows in the kernel of the product before."""
    x, w, v, b = (tensor(n, *s) for n, s in (("x", (13, 8)), ("w", (8, 20)), ("v", (20, 6)), ("b", (20,))))
    hidden = otus.tanh(x @ w + b)
    loss = ((hidden @ v) ** 2).sum()
    outputs = [loss, *otus.grad(loss, [w, v, b])]
    f = otus.compile(outputs, backend="triton", interpret=True, pipeline=WITHOUT_TILES)
    assert "product_kernel" in f.source
    values = data([loss])
    given = {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}
    total = ((torch.tanh(given["x"] @ given["w"] + given["b"]) @ given["v"]) ** 2).sum()
    total.backward()
    found = f(**values)
    np.testing.assert_allclose(found[0], total.item())
    for value, name in zip(found[1:], "wvb", strict=True):
        np.testing.assert_allclose(value, given[name].grad.numpy(), 1e-11, 1e-11)


def test_names_that_the_kernel_has_too() -> None:
    names = ["m", "n", "k", "tile", "total", "m_mask", "WIDE", "BLOCK_M", "m_stride", "x_m_stride", "n0"]
    x, w = tensor("m_ptr", 17, 20), tensor("program", 20, 18)
    value = x @ w
    for number, name in enumerate(names):
        value = value + otus.exp(tensor(name, 18)) * (number + 1) if number % 2 else value * tensor(name, 17, 1)
    check([otus.tanh(value)], SMALL, ["product_kernel"], 1e-11)
