"""Every operation, on odd shapes and dtypes: emitted source against the reference interpreter."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest
from programs import agree, emitted, leaf, run_emitted

from otus.codegen.to_numpy.operations import OPERATION_RULES
from otus.ir import OPERATIONS, Node, build, dim, make
from otus.ir import operations as ops
from otus.ir.dtypes import DType

RNG = np.random.default_rng(0)
SHAPES = [(3, 4, 5), (1, 4, 1), (0, 4, 5), (3, 0, 5), (1, 1, 1)]
DTYPES = ["float32", "float64", "int8", "int64", "uint64", "complex64", "complex128"]


def data(shape: tuple[int, ...], dtype: str = "float64") -> np.ndarray:
    array = RNG.standard_normal(shape) * 3
    if np.dtype(dtype).kind == "c":
        return (array + 1j * RNG.standard_normal(shape)).astype(dtype)
    return np.abs(array).astype(dtype) if np.dtype(dtype).kind == "u" else array.astype(dtype)


def strided_variants(array: np.ndarray) -> list[np.ndarray]:
    """The same values, row-major, column-major, backwards and with gaps."""
    gaps = np.zeros(tuple(2 * n for n in array.shape), array.dtype)
    place = tuple(slice(None, None, 2) for _ in array.shape)
    gaps[place] = array
    reverse = (*(slice(None, None, -1) for _ in array.shape), ...)
    backwards = np.array(array[reverse], order="C")[reverse]
    return [np.array(array, order="C"), np.array(array, order="F"), gaps[(*place, ...)], backwards]


def test_every_operation_is_emitted() -> None:
    elsewhere = {"input", "constant", "einsum", "derivative", "blockwise", "slogdet", "eigh", "qr", "svd"}
    assert {cls.name for cls in OPERATION_RULES} == set(OPERATIONS) - elsewhere


def test_random_contractions() -> None:
    """Any two index lists over any sizes, in any memory order."""
    chooser = random.Random(1)
    for trial in range(1500):
        count = chooser.randint(1, 5)
        choices = [0, 1, 1, 2, 3, 4] if trial % 4 == 0 else [1, 2, 3, 4]
        sizes = [chooser.choice(choices) for _ in range(count)]
        terms = [tuple(chooser.sample(range(count), chooser.randint(0, count))) for _ in range(2)]
        used = sorted({x for term in terms for x in term})
        output = chooser.sample(used, chooser.randint(0, len(used)))
        dtype = chooser.choice(DTYPES)
        symbolic = chooser.random() < 0.5
        operands, values = [], {}
        for name, term in zip("AB", terms, strict=True):
            operands.append(leaf(name, *(f"n{x}" if symbolic else sizes[x] for x in term), dtype=dtype))
            values[name] = chooser.choice(strided_variants(data(tuple(sizes[x] for x in term), dtype)))
        tolerance = 1e-4 if dtype in ("float32", "complex64") else 1e-12
        planned = {f"n{x}": chooser.choice([2, 64, 300]) for x in range(count)}
        agree([build.einsum(operands, terms, output)], values, tolerance, **planned)


def test_random_single_operands() -> None:
    chooser = random.Random(2)
    for _ in range(400):
        sizes = [chooser.choice([0, 1, 2, 3]) for _ in range(3)]
        labels = tuple(chooser.randrange(3) for _ in range(chooser.randint(1, 4)))
        used = sorted(set(labels))
        output = chooser.sample(used, chooser.randint(0, len(used)))
        dtype = chooser.choice(DTYPES)
        x = leaf("x", *(sizes[k] for k in labels), dtype=dtype)
        values = chooser.choice(strided_variants(data(tuple(sizes[k] for k in labels), dtype)))
        agree([build.einsum([x], [labels], output)], {"x": values}, 1e-5)


@pytest.mark.parametrize("shape", [(2, 2), (2, 3, 2), (3, 2, 3, 2), (2, 2, 2), (0, 0), (1, 1)])
def test_embedded_diagonals(shape: tuple[int, ...]) -> None:
    for labels in itertools.product(range(3), repeat=len(shape)):
        sizes = dict(zip(labels, shape, strict=True))
        if any(sizes[x] != n for x, n in zip(labels, shape, strict=True)):
            continue
        distinct = sorted(set(labels))
        x = leaf("x", *(sizes[k] for k in distinct))
        node = build.contract([x], [distinct], labels)
        agree([node], {"x": data(tuple(sizes[k] for k in distinct))})


def test_deltas_alone() -> None:
    eye = build.delta(3, DType.float32)
    pair = build.contract([eye, build.delta(2, DType.float32)], [(0, 1), (2, 3)], (0, 2, 1, 3))
    ones = build.contract([eye], [(0, 1)], (0,))
    agree([eye, pair, ones, build.contract([eye], [(0, 1)], ())], {})


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_combinations(dtype: str) -> None:
    a, b, c = leaf("a", 3, 2, dtype=dtype), leaf("b", 2, dtype=dtype), leaf("c", dtype=dtype)
    values = {"a": data((3, 2), dtype), "b": data((2,), dtype), "c": data((), dtype)}
    for coefficients in itertools.product((1, -1, 2, -3), repeat=3):
        node = build.linear_combination(coefficients, [a, b, c], [(1, 0), (0,), ()], 2)
        with np.errstate(over="ignore"):
            agree([node], values, 1e-5)
    agree([build.scale(-1, a), build.transpose(a, (1, 0))], values, 1e-5)


def test_odd_coefficients() -> None:
    x, z = leaf("x", 2), leaf("z", 2, dtype="complex128")
    values = {"x": np.array([1.0, -2.0]), "z": np.array([1 + 2j, -1j])}
    agree([build.scale(float("inf"), x), build.scale(-0.5, x), build.scale(2 - 1j, z), build.scale(-1, z)], values)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["max", "min", "prod", "logsumexp", "any", "all"])
def test_reductions(shape: tuple[int, ...], kind: str) -> None:
    for axes in [(0,), (1,), (0, 2), (0, 1, 2)]:
        if kind in ("max", "min") and any(shape[axis] == 0 for axis in axes):
            continue
        for dtype in ["float32", "float64"] if kind == "logsumexp" else ["float32", "int8", "float64", "bool"]:
            x = leaf("x", *shape, dtype=dtype)
            agree([build.reduce_node(kind, x, axes)], {"x": data(shape, dtype)}, 1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_cumulative_sums(shape: tuple[int, ...]) -> None:
    for axis, reverse in itertools.product(range(3), (False, True)):
        for dtype in ("int8", "float32"):
            node = make(ops.CumulativeSum(axis, reverse), leaf("x", *shape, dtype=dtype))
            agree([node], {"x": data(shape, dtype)}, 1e-4)


@pytest.mark.parametrize("source", [*DTYPES, "bool"])
@pytest.mark.parametrize("target", ["bool", "int32", "float16", "complex64"])
def test_casts(source: str, target: str) -> None:
    node = make(ops.Cast(DType(target)), leaf("x", 2, 2, dtype=source))
    agree([node], {"x": data((2, 2), source)}, 1e-3)


def test_slices_and_pads_of_known_size() -> None:
    chooser = random.Random(3)
    for _ in range(500):
        extents, starts, sizes, steps = [], [], [], []
        for _ in range(chooser.randint(0, 3)):
            extent, step = chooser.randint(1, 6), chooser.choice([-3, -2, -1, 1, 2, 3])
            start = chooser.randrange(extent)
            room = (extent - 1 - start) // step if step > 0 else start // -step
            extents.append(extent)
            starts.append(start)
            sizes.append(chooser.randint(0, room + 1))
            steps.append(step)
        x, y = leaf("x", *extents), leaf("y", *sizes)
        values = {"x": data(tuple(extents)), "y": data(tuple(sizes))}
        agree([build.slice_node(x, starts, sizes, steps), build.pad_node(y, starts, extents, steps)], values)


@pytest.mark.parametrize("size", [0, 1, 2, 5])
def test_slices_of_symbolic_size(size: int) -> None:
    n = dim("n")
    x, long = leaf("x", "n"), leaf("long", 2 * n + 1)
    flip = build.slice_node(x, [n - 1], [n], [-1])
    odd = build.slice_node(long, [1], [n], [2])
    back = build.slice_node(long, [2 * n - 1], [n], [-2])
    padded = build.pad_node(x, [2 * n - 1], [2 * n + 1], [-2])
    agree([flip, odd, back, padded], {"x": data((size,)), "long": data((2 * size + 1,))})


def test_movement() -> None:
    x, y = leaf("x", "m", 3), leaf("y", 2, 3)
    i = leaf("i", 2, 2, dtype="uint64")
    values: dict[str, Any] = {"x": data((4, 3)), "y": data((2, 3)), "i": np.array([[0, 1], [3, 1]], "uint64")}
    u = leaf("u", 2, 2, 3)
    values["u"] = data((2, 2, 3))
    m = dim("m")
    outputs: list[Node] = [
        build.reshape(x, (3 * m,)), build.broadcast(y, (2, 0), (3, 5, 2)), build.broadcast(leaf("s"), (), (m, 2)),
        make(ops.Concatenate(0), x, y, x), make(ops.Concatenate(1), y), make(ops.Take(0), x, i),
        make(ops.ScatterAdd(0), x, i, u), build.iota(m, DType.float32), build.extent(m, DType.int32),
        build.delta(m, DType.complex64), build.full((m, 2), 1.5, DType.float32),
    ]  # fmt: skip
    agree(outputs, {**values, "s": np.float64(2.0)})


def test_scatter_along_a_later_axis() -> None:
    x, i, u = leaf("x", 2, 3), leaf("i", 2, dtype="int64"), leaf("u", 2, 2)
    values = {"x": data((2, 3)), "i": np.array([1, 1]), "u": data((2, 2))}
    agree([make(ops.ScatterAdd(1), x, i, u)], values)


@pytest.mark.parametrize("batch", [(), (2,), (0,)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_linear_algebra(batch: tuple[int, ...], dtype: str) -> None:
    a, b = leaf("a", *batch, 3, 3, dtype=dtype), leaf("b", *batch, 3, 2, dtype=dtype)
    square = data((*batch, 3, 3), dtype)
    positive = square @ np.conj(np.swapaxes(square, -1, -2)) + 3 * np.eye(3, dtype=dtype)
    values = {"a": positive.astype(dtype), "b": data((*batch, 3, 2), dtype)}
    outputs = [
        make(ops.Inverse(), a), make(ops.Solve(), a, b), make(ops.Cholesky(), a), make(ops.Determinant(), a),
        make(ops.SignedLogDeterminant("sign"), a), make(ops.SignedLogDeterminant("logabsdet"), a),
        make(ops.HermitianEigen("eigenvalues"), a), make(ops.HermitianEigen("eigenvalues", "U"), a),
        make(ops.QR("r"), b), make(ops.QR("q", True), b), make(ops.QR("r", True), b), make(ops.SVD("s"), b),
        make(ops.SVD("s", False), b), make(ops.SVD("vh", False), b), make(ops.PseudoInverse(), b),
        make(ops.PseudoInverse(0.1), b),
    ]  # fmt: skip
    agree(outputs, values, 1e-3 if dtype == "float32" else 1e-10)
    if not batch:
        agree([make(ops.LeastSquares(), a, b)], values, 1e-3 if dtype == "float32" else 1e-10)


def test_results_of_one_factorisation_are_one_call() -> None:
    a = leaf("a", 3, 3)
    outputs = [make(ops.SVD("vh"), a), make(ops.SVD("u"), a), make(ops.HermitianEigen("eigenvectors"), a)]
    statements = [s.text for s in emitted(outputs).statements]
    assert statements == ["out1, _, out0 = np.linalg.svd(a)", "out2 = np.linalg.eigh(a)[1]"]
    u, vh, s = make(ops.SVD("u"), a), make(ops.SVD("vh"), a), make(ops.SVD("s"), a)
    value = build.einsum([u, s, vh], [(0, 1), (1,), (1, 2)], (0, 2))
    array = data((3, 3))
    np.testing.assert_allclose(run_emitted([value], {"a": array})[0], array, atol=1e-12)


def test_constants() -> None:
    values = [
        np.array(2.5), np.array([np.nan, -np.inf, -0.0]), np.zeros((2, 0)), np.array([[1 + 2j]]),
        np.arange(200, dtype="int16").reshape(10, 20), RNG.standard_normal(100).astype("float32"),
    ]  # fmt: skip
    results = agree([build.constant(x) for x in values], {})
    for result, value in zip(results, values, strict=True):
        assert result.tobytes() == value.tobytes()


def test_outputs_own_their_memory() -> None:
    x = leaf("x", 3, 3)
    y = build.apply("exp", x)
    diagonal = build.einsum([y], [(0, 0)], (0,))
    outputs = [x, build.transpose(x, (1, 0)), y, diagonal, build.reshape(y, (9,)), y, build.einsum([x], [(0, 0)], (0,)),
               build.broadcast(y, (1, 2), (2, 3, 3)), build.slice_node(y, [0, 0], [2, 2], [1, 1])]  # fmt: skip
    agree(outputs, {"x": data((3, 3))})
    agree([diagonal], {"x": data((3, 3))})


def test_scalar_results_are_arrays() -> None:
    x = leaf("x", 3)
    total = build.einsum([x, x], [(0,), (0,)], ())
    (result,) = run_emitted([build.apply("exp", total)], {"x": np.arange(3.0)})
    assert type(result) is np.ndarray
    assert result.shape == ()
