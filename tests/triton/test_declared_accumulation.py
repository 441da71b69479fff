"""Products of conversions to float32: of what is stored, added up in float32, against float64."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch

import otus
from otus.ir import DType
from otus.ir.dtypes import factor_dtype
from otus.ir.kernels import BlockLoop, Contraction, Direct, FusedProduct
from otus.ir.program import program_text

TORCHS = {
    "float8_e4m3": torch.float8_e4m3fn, "float8_e5m2": torch.float8_e5m2, "float16": torch.float16,
    "bfloat16": torch.bfloat16, "int8": torch.int8, "uint8": torch.uint8, "float32": torch.float32,
}  # fmt: skip


def tensor(name: str, *shape: Any, dtype: str) -> Any:
    return otus.tensor(name, shape, dtype=dtype)


def wide(name: str, *shape: Any, dtype: str) -> Any:
    return otus.cast(tensor(name, *shape, dtype=dtype), "float32")


def data(dtype: str, *shape: int) -> torch.Tensor:
    if dtype in ("int8", "uint8"):
        info = torch.iinfo(TORCHS[dtype])
        return torch.randint(info.min, info.max + 1, shape, dtype=TORCHS[dtype])
    return torch.randn(*shape).to(TORCHS[dtype])


def compiled(outputs: Any, **options: Any) -> Any:
    torch.manual_seed(3)
    return otus.compile(outputs, backend="triton", interpret=True, **options)


def assert_near(found: torch.Tensor, wanted: torch.Tensor, tolerance: float = 2e-6) -> None:
    """Of the largest element; products of halves are exact, sums of float32 are not."""
    assert found.dtype == torch.float32
    assert found.shape == wanted.shape
    if wanted.numel():
        assert float((found.double() - wanted).abs().max()) <= tolerance * float(wanted.abs().max())


def kernels(function: Any) -> list[str]:
    return [type(call.kernel).__name__ for call in function.program.calls]


def factors_in(left: str, right: str) -> str:
    """The types that a kernel should multiply in, by a table of its own."""
    if "float32" in (left, right) or {left, right} == {"float16", "bfloat16"}:
        return "float32"
    return "bfloat16" if "bfloat16" in (left, right) else "float16"


@pytest.mark.parametrize(("left", "right"), list(itertools.product(TORCHS, TORCHS)))
def test_pairs(left: str, right: str) -> None:
    x, w = wide("x", 37, 50, dtype=left), wide("w", 50, 29, dtype=right)
    f = compiled({"plain": x @ w, "after": otus.relu(x @ w * 0.5 + 1)})
    a, b = data(left, 37, 50), data(right, 50, 29)
    exact = a.double() @ b.double()
    found = f(x=a, w=b)
    assert_near(found["plain"], exact)
    assert_near(found["after"], torch.relu(exact * 0.5 + 1))
    factors = factors_in(left, right)
    assert factor_dtype(DType(left), DType(right), DType.float32) == factors
    one = compiled(otus.relu(x @ w))
    (call,) = (x for x in one.program.calls if isinstance(x.kernel, (FusedProduct, Contraction)))
    numbers = call.kernel.numbers
    if factors == "float32":
        assert numbers is None or numbers.factors is DType.float32
    else:
        assert (numbers.left, numbers.right, numbers.factors, numbers.total) == (left, right, factors, "float32")
        assert "PRECISION" not in one.source
        assert not any(isinstance(x.kernel, Direct) for x in one.program.calls)


def test_the_program_says_it() -> None:
    x, w = wide("x", 256, 256, dtype="bfloat16"), wide("w", 256, 256, dtype="float8_e4m3")
    text = program_text(compiled(otus.relu(x @ w)).program)
    assert "product of t1, bf16 and f8e4m3 as bf16 added up in f32, by tiles of" in text.replace("t2", "t1")
    assert 'contract "ij,jk->ik" by matrix, bf16 and f8e4m3 as bf16 added up in f32: rows i' in text
    assert "cast" not in text


def test_a_product_alone_is_the_librarys_unless_it_must_convert() -> None:
    x, w = wide("x", 512, 512, dtype="bfloat16"), wide("w", 512, 512, dtype="bfloat16")
    f = compiled(x @ w)
    assert kernels(f) == ["Contraction"]
    assert "_wide_product(x, w, torch.bfloat16)" in f.source
    assert kernels(compiled(x @ wide("w", 512, 512, dtype="float8_e5m2"))) == ["FusedProduct"]


def test_it_is_planned_as_a_product_of_halves() -> None:
    """At the rate of halves, though more bytes are written than where the result is a half too."""

    def seconds(dtype: str, result: str) -> float:
        x, w = tensor("x", 4096, 512, dtype=dtype), tensor("w", 512, 4096, dtype=dtype)
        (call,) = compiled(otus.relu(otus.cast(x, result) @ otus.cast(w, result))).program.calls
        assert isinstance(call.kernel, FusedProduct)
        return call.kernel.seconds[0]

    halves = seconds("bfloat16", "bfloat16")
    assert halves < seconds("bfloat16", "float32") < 2 * halves
    assert halves < seconds("float8_e4m3", "float32") < 2 * halves


def test_conversions_that_others_read_stay() -> None:
    x, w = wide("x", 64, 48, dtype="bfloat16"), wide("w", 48, 80, dtype="bfloat16")
    f = compiled({"p": x @ w, "x": x, "r": otus.exp(w).sum()})
    a, b = data("bfloat16", 64, 48), data("bfloat16", 48, 80)
    found = f(x=a, w=b)
    assert_near(found["p"], a.double() @ b.double())
    assert torch.equal(found["x"], a.float())
    assert_near(found["r"], torch.exp(b.double()).sum())


def test_work_before_the_conversion_is_rounded_to_what_is_stored() -> None:
    """And what is done after it is computed in float32, so that there is nothing stored to multiply."""
    x, w = tensor("x", 64, 48, dtype="bfloat16"), wide("w", 48, 80, dtype="bfloat16")
    a, b = data("bfloat16", 64, 48), data("bfloat16", 48, 80)
    f = compiled(otus.relu(otus.cast(otus.sin(x), "float32") @ w))
    assert_near(f(a, b), torch.relu(torch.sin(a.float()).bfloat16().double() @ b.double()))
    g = compiled(otus.relu(otus.sin(otus.cast(x, "float32")) @ w))
    assert_near(g(a, b), torch.relu(torch.sin(a.double()) @ b.double()))


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3"])
def test_a_tensor_with_itself(dtype: str) -> None:
    x = wide("x", 70, 33, dtype=dtype)
    a = data(dtype, 70, 33)
    assert_near(compiled(otus.relu(x @ x.T))(a), torch.relu(a.double() @ a.double().T))
    assert_near(compiled(x.T @ x)(a), a.double().T @ a.double())


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("spec", "shapes"),
    [
        ("bij,bjk->bik", ((3, 17, 20), (3, 20, 9))), ("ij,bjk->bki", ((17, 20), (3, 20, 9))),
        ("bhid,bjhd->bhij", ((2, 3, 17, 8), (2, 9, 3, 8))), ("ij,jk->ik", ((5, 0), (0, 6))),
        ("ij,jk->ik", ((0, 4), (4, 6))), ("ij,jk->ik", ((1, 40), (40, 1))), ("ij,j->i", ((9, 40), (40,))),
        ("ijk,jkl->il", ((6, 5, 4), (5, 4, 7))),
    ],
)  # fmt: skip
def test_indices(spec: str, shapes: tuple[tuple[int, ...], ...], after: bool) -> None:
    x, w = wide("x", *shapes[0], dtype="bfloat16"), wide("w", *shapes[1], dtype="float8_e5m2")
    a, b = data("bfloat16", *shapes[0]), data("float8_e5m2", *shapes[1])
    product = otus.einsum(spec, x, w)
    f = compiled(otus.relu(product) if after else product)
    exact = torch.einsum(spec, a.double(), b.double())
    assert_near(f(a, b), torch.relu(exact) if after else exact)


def test_sizes_of_the_call_and_strides() -> None:
    x, w = wide("x", "i", "k", dtype="bfloat16"), wide("w", "k", "j", dtype="bfloat16")
    f = compiled(otus.relu(x @ w))
    assert "_wide_product(x, w, torch.bfloat16)" in compiled(x @ w).source  # nothing to fuse it with
    a, b = data("bfloat16", 130, 64).T, data("bfloat16", 260, 45)[::2]
    assert_near(f(a, b), torch.relu(a.double() @ b.double()))
    assert "tl.dot(x, w, total)" in f.plan_for(i=64, k=130, j=45).source


def test_split_sums_and_reductions_of_the_result() -> None:
    x, w = wide("x", 32, 8192, dtype="float8_e4m3"), wide("w", 8192, 48, dtype="float16")
    a, b = data("float8_e4m3", 32, 8192), data("float16", 8192, 48)
    f = compiled({"s": otus.relu(x @ w).sum(axis=0)})
    assert_near(f(x=a, w=b)["s"], torch.relu(a.double() @ b.double()).sum(0), 1e-5)
    assert "SPLITS" in compiled(otus.relu(x @ w)).source


def test_within_a_memory_limit() -> None:
    x, w = wide("x", 256, 64, dtype="bfloat16"), wide("w", 64, 256, dtype="bfloat16")
    f = compiled(otus.exp(x @ w).sum(), memory_limit="200KiB")
    a, b = data("bfloat16", 256, 64) / 8, data("bfloat16", 64, 256) / 8
    assert_near(f(a, b), torch.exp(a.double() @ b.double()).sum(), 1e-5)


def test_undeclared_products_are_as_before() -> None:
    """Added up in float32, and rounded to what the operands have."""
    for dtype in ("bfloat16", "float16", "float8_e4m3"):
        x, w = tensor("x", 64, 48, dtype=dtype), tensor("w", 48, 80, dtype=dtype)
        a, b = data(dtype, 64, 48), data(dtype, 48, 80)
        f = compiled({"y": otus.relu(x @ w), "p": x @ w})
        found = f(x=a, w=b)
        assert found["y"].dtype == TORCHS[dtype]
        exact = a.float() @ b.float()
        step = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float8_e4m3": 2.0**-4}[dtype]
        torch.testing.assert_close(found["p"].float(), exact, rtol=step, atol=step)
        torch.testing.assert_close(found["y"].float(), torch.relu(exact), rtol=step, atol=step)
    x, w = tensor("x", 64, 48, dtype="float64"), tensor("w", 48, 80, dtype="float64")
    assert "out_dtype=tl.float64" in compiled(otus.relu(x @ w)).source


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3", "float8_e5m2"])
def test_attention(dtype: str) -> None:
    """Scores are products of what is stored, scaled after it; the other products have a factor of float32."""
    q, k, v = (wide(name, 200, 32, dtype=dtype) for name in "qkv")
    f = compiled(otus.softmax(q @ k.T * 0.3, axis=1) @ v)
    given = [data(dtype, 200, 32) for _ in "qkv"]
    exact = [x.double() for x in given]
    assert [type(x.kernel) for x in f.program.calls] == [BlockLoop]
    assert_near(f(*given), torch.softmax(exact[0] @ exact[1].T * 0.3, 1) @ exact[2], 1e-5)
    products = [line for line in f.source.splitlines() if "tl.dot(" in line]
    assert ["tf32x3" in line for line in products] == [False, True]


def test_derivatives() -> None:
    """Of the loss of a layer: its gradients are in what its weights are stored in."""
    x, w = tensor("x", 40, 24, dtype="bfloat16"), tensor("w", 24, 36, dtype="bfloat16")
    loss = (otus.tanh(otus.cast(x, "float32") @ otus.cast(w, "float32")) ** 2).sum()
    f = compiled(otus.grad(loss, [x, w]))
    a, b = data("bfloat16", 40, 24), data("bfloat16", 24, 36)
    exact = [z.double().requires_grad_() for z in (a, b)]
    wanted = torch.autograd.grad((torch.tanh(exact[0] @ exact[1]) ** 2).sum(), exact)
    for found, each in zip(f(a, b), wanted, strict=True):
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.double(), each, rtol=2.0**-8, atol=1e-3)
