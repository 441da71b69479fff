"""Powers and remainders in kernels: every digit against mpmath, special values and integers against NumPy."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from evaluation import assert_close
from programs import leaf

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch
from triton_kernels import compile_ahead, emitted, interpreted, launched_names, launches

import otus
from otus.codegen import Emitted
from otus.codegen.to_triton.scalars import TritonPrinter, computed_dtype
from otus.codegen.typed_scalars import TypedValue
from otus.ir import DType, DTypeError, Node, build
from otus.ir.loop_steps import NoForm
from otus.ir.scalar import SCALAR_FUNCTIONS, argument, call, infer_dtype, parse_scalar

RNG = np.random.default_rng(11)
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 1.5, -2.7, np.inf, -np.inf, np.nan, 5e-324, -1e-320,
           1e-45, 3e38, -1e38, 1e308, -1e308, 2.0**53, 2.0**53 + 2, 2.0**24 + 1, 1 + 2**-52, 1 - 2**-24]  # fmt: skip
INTEGERS = ["int8", "int16", "int32", "int64", "uint8"]


def nodes(text: str, *dtypes: str, size: int) -> list[Node]:
    """The map of operands x and y, which a kernel computes since another follows."""
    operands = [leaf(name, size, dtype=dtype) for name, dtype in zip("xy", dtypes, strict=False)]
    inner = build.map_node(parse_scalar(text), operands, [(0,)] * len(operands), 1)
    return [build.map_node(parse_scalar("where(a == a, a, a)"), [inner], [(0,)], 1)]


def computed(text: str, *values: np.ndarray) -> np.ndarray:
    """The values of one function over arrays, by a kernel."""
    module = emitted(nodes(text, *(str(x.dtype) for x in values), size=values[0].size))
    assert launched_names(module), module.source
    (result,) = interpreted(module, dict(zip("xy", values, strict=False)))
    return result


def bases_and_exponents(kind: str, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Positive ones: of everyday size; over the whole range; near 1, with large exponents; too large and too small."""
    bits, size = (1074, 1500) if dtype == "float64" else (149, 1500)
    if kind == "everyday":
        x, y = np.exp(RNG.normal(size=size) * 2), RNG.normal(size=size) * 5
    elif kind == "whole range":
        x = 2.0 ** RNG.uniform(-bits, 0.95 * bits, size)
        y = RNG.uniform(-bits, bits, size) / np.log2(x)
    elif kind == "near 1":
        x = (1 + RNG.normal(size=size) * 10.0 ** RNG.uniform(-7, -1.5, size)).astype(dtype).astype("float64")
        x = np.where(x == 1, 1.25, x)
        y = RNG.uniform(-0.6 * bits, 0.6 * bits, size) / np.log(x)
    else:
        x, y = RNG.uniform(0.5, 3, size), RNG.uniform(-1.2 * bits, 1.2 * bits, size)
    with np.errstate(over="ignore"):  # of exponents that are infinite then
        return x.astype(dtype), y.astype(dtype)


def units_in_the_last_place(value: np.floating[Any], base: float, exponent: float) -> float:
    """How far a power is from the true one, in the distance between numbers there; too large ones are infinite."""
    info = np.finfo(value.dtype)
    true = mpmath.power(mpmath.mpf(float(base)), mpmath.mpf(float(exponent)))
    if true >= mpmath.mpf(2) ** int(info.maxexp) * (1 - mpmath.mpf(float(info.epsneg)) / 2):
        return 0.0 if np.isposinf(value) else np.inf
    assert np.isfinite(value)
    rounded = min(value.dtype.type(float(true)), info.max)
    spacing = max(np.spacing(rounded), info.smallest_subnormal)
    return float(abs(mpmath.mpf(float(value)) - true) / mpmath.mpf(float(spacing)))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", ["everyday", "whole range", "near 1", "out of range"])
def test_powers_are_good_to_one_unit_in_the_last_place(kind: str, dtype: str) -> None:
    x, y = bases_and_exponents(kind, dtype)
    assert (x > 0).all()
    found = computed("a ** b", x, y)
    with mpmath.workprec(200):
        worst = max(units_in_the_last_place(*each) for each in zip(found, x, y, strict=True))
    assert worst < 0.9


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("text", "function"), [("a ** b", np.power), ("a % b", np.mod)])
def test_special_values(text: str, function: np.ufunc, dtype: str) -> None:
    """Zeros of both signs, infinities, NaN, numbers below the normal ones, whole exponents; zeros have NumPy's sign."""
    with np.errstate(all="ignore"):
        x, y = (each.ravel() for each in np.meshgrid(np.array(SPECIAL).astype(dtype), np.array(SPECIAL).astype(dtype)))
        found, expected = computed(text, x, y), function(x, y)
    np.testing.assert_array_equal(np.signbit(found[expected == 0]), np.signbit(expected[expected == 0]))
    np.testing.assert_allclose(found, expected, 2 * np.finfo(dtype).eps if text == "a ** b" else 0, 0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_remainders_have_every_bit(dtype: str) -> None:
    """Of numbers with any exponent, and of those that are nearly a multiple."""
    whole, size = f"int{dtype[-2:]}", 4000
    limits = np.iinfo(whole)
    x, y = (RNG.integers(limits.min, limits.max, size, dtype=whole).view(dtype) for _ in range(2))
    near = RNG.normal(size=size).astype(dtype)
    steps = RNG.integers(-2, 3, size) * np.finfo(dtype).eps
    multiples = (np.round(RNG.normal(size=size) * 1000) * near * (1 + steps)).astype(dtype)
    x, y = np.concatenate([x, multiples]), np.concatenate([y, near])
    with np.errstate(all="ignore"):
        found, expected = computed("a % b", x, y), np.mod(x, y)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers(dtype: str) -> None:
    """Remainders, of 0 and of the smallest number by -1 too, and powers, which wrap."""
    info = np.iinfo(dtype)
    x, y = (RNG.integers(info.min, info.max, 700, dtype=dtype, endpoint=True) for _ in range(2))
    x[:200], y[:200] = RNG.integers(0, 5, 200), RNG.integers(0, 5, 200)
    x[200:230], y[200:230], y[230:260] = info.min, max(info.min, -1), 0
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(computed("a % b", x, y), np.mod(x, y))
        exponents = np.where(y < 0, -(y + 1), y).astype(dtype)
        np.testing.assert_array_equal(computed("a ** b", x, exponents), np.power(x, exponents))
        np.testing.assert_array_equal(computed("a ** 13", x), np.power(x, 13))
    if info.min < 0:  # NumPy has no such powers
        expected = torch.pow(torch.from_numpy(x), torch.from_numpy(y)).numpy()
        np.testing.assert_array_equal(computed("a ** b", x, y)[y < 0], expected[y < 0])


def test_booleans() -> None:
    x, y = np.array([False, False, True, True]), np.array([False, True, False, True])
    np.testing.assert_array_equal(computed("a ** b", x, y), [True, False, True, True])
    np.testing.assert_array_equal(computed("a % b", x, y), [False] * 4)


def test_negative_powers_of_integers_are_torchs_error() -> None:
    module = emitted(nodes("a ** (-2)", "int64", size=4))
    assert "# torch's own operations, since Triton has none here for negative powers of int64" in module.source
    with pytest.raises(RuntimeError, match="negative integer powers"):
        interpreted(module, {"x": np.arange(4)})


@pytest.mark.parametrize("dtype", [x for x in DType if x.kind != "complex" and x.bits >= 8])
def test_every_function_of_real_numbers_has_a_form(dtype: DType) -> None:
    """Where torch computes with the dtype at all."""
    try:
        computed_dtype(dtype)
    except NoForm:
        assert dtype.value in ("uint16", "uint32", "uint64", "float8_e4m3", "float8_e5m2")
        return
    for name, row in SCALAR_FUNCTIONS.items():
        expression = call(name, *map(argument, range(row.arity)))
        operands = [TypedValue(f"x{k}", dtype) for k in range(row.arity)]
        try:
            result = infer_dtype(expression, [dtype] * row.arity)
        except DTypeError:
            continue
        assert TritonPrinter([], str, set(), 1).print(expression, operands, result)


def test_derivatives_of_powers() -> None:
    """By the base and by the exponent, in the kernel of the loss; at a base of 0 and an exponent of 0 too."""
    x, y = otus.tensor("x", (5, 7)), otus.tensor("y", (7,))
    loss = (x**y).sum()
    function = otus.compile([loss, otus.grad(loss, x), otus.grad(loss, y)], backend="triton", interpret=True)
    assert function.source.count("def block_kernel") == 1
    assert "torch's own operations" not in function.source
    base, exponent = RNG.uniform(0.1, 3, (5, 7)), RNG.normal(size=7)
    base[0], exponent[:3] = 0, (0, 2, 3)
    base[0, 3:] = 1
    value, by_base, by_exponent = function(x=base, y=exponent)
    assert_close(value, (base**exponent).sum(), 1e-13)
    with np.errstate(all="ignore"):
        assert_close(by_base, np.where(exponent == 0, 0, exponent * base ** (exponent - 1)), 1e-13)
        terms = np.where(base == 0, 0, np.log(base) * base**exponent)
    assert_close(by_exponent, terms.sum(0), 1e-13)


def test_powers_after_a_product_and_between_two() -> None:
    """In the kernel of a matrix product, and in that of what is like attention."""
    x, w = (otus.tensor(name, (256, 256), dtype="float32") for name in "xw")
    after = otus.compile(otus.abs(x @ w) ** 2.7, backend="triton", interpret=True)
    q, k, v = (otus.tensor(name, (64, 16)) for name in "qkv")
    between = otus.compile(((q @ k.T) ** 2 + 1) ** 0.3 @ v, backend="triton", interpret=True)
    for function in (after, between):
        assert "_pow(" in function.source
        assert "host" not in function.source
    assert "def product_kernel" in after.source
    assert "def tile_kernel" in between.source
    a, b = (RNG.normal(size=(256, 256)).astype("float32") for _ in "xw")
    assert_close(after(x=a, w=b), np.abs(a.astype(float) @ b) ** 2.7, 2e-5, 1e-3)
    a, b, c = (RNG.normal(size=(64, 16)) for _ in "qkv")
    assert_close(between(q=a, k=b, v=c), ((a @ b.T) ** 2 + 1) ** 0.3 @ c, 1e-12)


def _compiles(module: Emitted, *tensors: torch.Tensor) -> None:
    found = launches(module, tensors)
    assert found
    for launch in found:
        for architecture in (80, 90):
            compiled = compile_ahead(launch, architecture)
            assert compiled.spilled == 0
            assert compiled.cubin.startswith(b"\x7fELF")


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "int64", "int8", "uint8", "bool"])
@pytest.mark.parametrize("text", ["a ** b", "a % b"])
def test_kernels_compile_for_gpus(text: str, dtype: str) -> None:
    module = emitted(nodes(text, dtype, dtype, size=2**20))
    tensors = [torch.empty(2**20, dtype=getattr(torch, dtype), device="meta") for _ in range(2)]
    _compiles(module, *tensors)
