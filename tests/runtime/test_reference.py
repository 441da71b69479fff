"""The reference interpreter against straightforward NumPy, one operation at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import otus
from otus.ir import (
    OPERATIONS,
    DType,
    DTypeError,
    NamingError,
    Node,
    ShapeError,
    VerificationError,
    build,
    make,
    make_type,
)
from otus.ir import operations as ops
from otus.ir.dims import dim
from otus.ir.scalar import SCALAR_FUNCTIONS, argument, call, parse_scalar
from otus.runtime.reference import REFERENCE, evaluate
from otus.runtime.reference_scalars import SCALAR_REFERENCE

Array = npt.NDArray[Any]
RNG = np.random.default_rng(7)


def leaf(label: str, shape: object, dtype: str = "float64") -> Node:
    return build.input_node(label, make_type(shape, dtype))  # type: ignore[arg-type]


def value(node: Node, sizes: Any = None, **values: Any) -> Array:
    (result,) = evaluate([node], values, sizes)
    assert result.dtype.name == node.type.dtype
    return result


def scalar_value(text: str, *arrays: Array) -> Array:
    nodes = [build.constant(x) for x in arrays]
    return value(build.map_node(parse_scalar(text), nodes))


def test_every_operation_has_a_row() -> None:
    assert set(REFERENCE) == set(OPERATIONS.values())
    assert set(SCALAR_REFERENCE) == set(SCALAR_FUNCTIONS)


# --- leaves ------------------------------------------------------------------------------------


def test_leaves() -> None:
    i = dim("i")
    assert np.array_equal(value(build.delta(3, DType.float32)), np.eye(3, dtype="f4"))
    assert np.array_equal(value(build.delta(i, DType.int64), {"i": 2}), np.eye(2))
    assert np.array_equal(value(build.iota(i + 1), {"i": 3}), [0, 1, 2, 3])
    assert value(build.iota(0)).shape == (0,)
    assert value(build.extent(i, DType.float64), {"i": 5}) == 5
    assert np.array_equal(value(build.constant([[1, 2]])), [[1, 2]])


def test_an_input_comes_back_as_a_copy() -> None:
    x = np.ones(3)
    result = value(leaf("X", 3), X=x)
    result[0] = 7
    assert x[0] == 1


def test_missing_and_unbound_names_are_reported() -> None:
    with pytest.raises(NamingError, match=r"tensor 'Xs' of type f64\[i\] has no value; did you mean"):
        evaluate([leaf("Xs", "i")], {"X": [1.0]})
    with pytest.raises(NamingError, match="dim j has no size"):
        evaluate([build.iota(dim("j"))], {})


def test_values_that_nothing_reads_are_ignored() -> None:
    assert value(leaf("X", ()), X=2.0, unused="anything") == 2


# --- einsum ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128", "int64"])
@pytest.mark.parametrize(
    "spec",
    ["ij,jk->ik", "ii->i", "ii->", "ij->ji", "i,j->ij", "ij,ij,i->", "ijk,kl,ll->ji", ",i->i"],
)
def test_einsum_is_numpys(spec: str, dtype: str) -> None:
    left, right = spec.split("->")
    letters = sorted(set(spec) & set("ijkl"))
    sizes = {letter: 2 + k for k, letter in enumerate(letters)}
    arrays = [(3 * RNG.standard_normal([sizes[x] for x in part])).astype(dtype) for part in left.split(",")]
    nodes = [leaf(f"T{k}", x.shape, dtype) for k, x in enumerate(arrays)]
    labels = [[letters.index(x) for x in part] for part in left.split(",")]
    node = build.einsum(nodes, labels, [letters.index(x) for x in right])
    got = value(node, **{f"T{k}": x for k, x in enumerate(arrays)})
    wanted = np.einsum(spec, *arrays, optimize=True)
    tolerance = 1e-4 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


def test_einsum_of_more_than_52_indices() -> None:
    count = 60
    matrices = [RNG.standard_normal((2, 2)) for _ in range(count)]
    nodes = [leaf(f"M{k}", (2, 2)) for k in range(count)]
    node = build.einsum(nodes, [(k, k + 1) for k in range(count)], (0, count))
    got = value(node, **{f"M{k}": x for k, x in enumerate(matrices)})
    np.testing.assert_allclose(got, np.linalg.multi_dot(matrices))


def test_einsum_over_an_empty_index_is_zero() -> None:
    node = build.einsum([leaf("A", (2, "j")), leaf("B", ("j", 3))], [(0, 1), (1, 2)], (0, 2))
    assert np.array_equal(value(node, A=np.ones((2, 0)), B=np.ones((0, 3))), np.zeros((2, 3)))


def test_einsum_does_not_conjugate() -> None:
    a = np.array([1 + 2j, 3j])
    node = leaf("A", 2, "complex128")
    assert value(build.einsum([node, node], [(0,), (0,)], ()), A=a) == a @ a


# --- maps --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize(
    "name",
    [
        "exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tan", "arcsin", "arccos", "arctan",
        "sinh", "cosh", "tanh", "square", "reciprocal", "abs", "sign", "real", "imag", "conj",
    ],
)  # fmt: skip
def test_unary_functions(name: str, dtype: str) -> None:
    x = RNG.uniform(0.1, 0.9, (3, 4)).astype(dtype)
    if dtype == "complex128":
        x = x + 0.3j
    wanted = getattr(np, name)(x)
    got = scalar_value(f"{name}(a)", x)
    np.testing.assert_allclose(got, wanted, rtol=1e-6 if dtype == "float32" else 1e-14)
    assert got.dtype == wanted.dtype


def test_stable_functions_at_extreme_arguments() -> None:
    x = np.array([-1e4, -800.0, 0.0, 800.0, 1e4])
    assert np.array_equal(scalar_value("softplus(a)", x), [0, 0, math.log(2), 800, 1e4])
    assert np.array_equal(scalar_value("sigmoid(a)", x), [0, 0, 0.5, 1, 1])
    assert scalar_value("sigmoid(a)", np.array(-700.0)) == pytest.approx(math.exp(-700), rel=1e-12)
    assert scalar_value("logaddexp(a, b)", np.array(1e4), np.array(1e4)) == 1e4 + math.log(2)
    assert scalar_value("logaddexp(a, b)", np.array(-np.inf), np.array(-np.inf)) == -np.inf
    assert scalar_value("erfc(a)", np.array(20.0)) == pytest.approx(math.erfc(20.0), rel=1e-13)
    assert scalar_value("expm1(a)", np.array(1e-12)) == pytest.approx(1e-12, rel=1e-11)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_error_functions(dtype: str) -> None:
    x = RNG.uniform(-3, 3, (3, 2)).astype(dtype)
    for name, function in (("erf", math.erf), ("erfc", math.erfc)):
        wanted = np.array([function(v) for v in x.flat]).reshape(x.shape).astype(dtype)
        np.testing.assert_array_equal(scalar_value(f"{name}(a)", x), wanted)
        assert scalar_value(f"{name}(a)", x[:0]).shape == (0, 2)


def test_relu_sign_and_floor() -> None:
    x = np.array([-1.5, 0.0, 2.5, np.nan])
    np.testing.assert_array_equal(scalar_value("relu(a)", x), [0, 0, 2.5, np.nan])
    np.testing.assert_array_equal(scalar_value("sign(a)", x), [-1, 0, 1, np.nan])
    np.testing.assert_array_equal(scalar_value("floor(a)", x), [-2, 0, 2, np.nan])
    assert scalar_value("floor(a)", np.array(2**62 + 1)) == 2**62 + 1


def test_integer_functions_follow_numpy_dtypes() -> None:
    x = np.array([1, 2, 4], np.int8)
    assert scalar_value("exp(a)", x).dtype == np.float16
    assert scalar_value("a / 2", x).dtype == np.float64
    assert np.array_equal(scalar_value("reciprocal(a)", x.astype(np.int64)), [1, 0.5, 0.25])
    assert np.array_equal(scalar_value("a % 3", np.array([-1, 4])), [2, 1])
    assert np.array_equal(scalar_value("a * 100", x), np.array([100, -56, -112], np.int8))


def test_literals_are_weak() -> None:
    x = np.array([0.1, 0.2], np.float32)
    got = scalar_value("a * 0.1 + 1", x)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, x * np.float32(0.1) + np.float32(1))
    assert scalar_value("where(a > 0, 1, 2.5)", x).dtype == np.float64
    assert scalar_value("a + exp(1.0)", x).dtype == np.float32
    assert np.array_equal(scalar_value("where(a > 0.15, 1, 0) * a", x), x * [False, True])
    assert scalar_value("where(a > 0.15, 1, 0) * a", x).dtype == np.float32
    assert np.array_equal(scalar_value("a == 0.1", x), [True, False])
    assert np.array_equal(scalar_value("a < 1000", np.array([1, 2], np.int8)), [True, True])


def test_a_literal_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(DTypeError, match="number 1000 does not fit int8"):
        scalar_value("a + 1000", np.array([1], np.int8))


def test_integers_to_negative_powers_are_an_error() -> None:
    with pytest.raises(DTypeError, match="negative power -2"):
        scalar_value("a ** b", np.array([2]), np.array([-2]))


def test_comparisons_are_exact_across_integers() -> None:
    big = np.array([2**63 + 1], np.uint64)
    assert not scalar_value("a == b", big, np.array([2**62], np.int64))[0]
    assert scalar_value("a > b", big, np.array([-1], np.int64))[0]


def test_logic_and_where() -> None:
    x, y = np.array([0.0, 2.0, 0.0]), np.array([0.0, 0.0, -1.0])
    assert np.array_equal(scalar_value("logical_or(a, b)", x, y), [False, True, True])
    assert np.array_equal(scalar_value("logical_not(a)", x), [True, False, True])
    assert np.array_equal(scalar_value("where(a, b, 5.0)", x, y), [5, 0, 5])


def test_map_aligns_axes_in_any_order() -> None:
    a, b = RNG.standard_normal((3, 2)), RNG.standard_normal(4)
    node = make(
        ops.Map(call("sub", argument(0), argument(1)), ((2, 0), (1,)), 3),
        leaf("A", (3, 2)),
        leaf("B", 4),
    )
    wanted = a.T[:, None, :] - b[None, :, None]
    np.testing.assert_array_equal(value(node, A=a, B=b), wanted)


def test_linear_combination() -> None:
    a, b = RNG.standard_normal((2, 3)), RNG.standard_normal(3)
    node = build.linear_combination([2, -0.5], [leaf("A", (2, 3)), leaf("B", 3)], [(0, 1), (1,)], 2)
    np.testing.assert_allclose(value(node, A=a, B=b), 2 * a - 0.5 * b)
    x, y = np.array([1, 5], np.uint8), np.array([2, 3], np.uint8)
    node = build.linear_combination([1, -1], [leaf("X", 2, "uint8"), leaf("Y", 2, "uint8")])
    assert np.array_equal(value(node, X=x, Y=y), [255, 2])


# --- reductions --------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [(), (0,), (1,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("kind", ["max", "min", "prod"])
def test_reductions(kind: str, axes: tuple[int, ...]) -> None:
    x = RNG.standard_normal((2, 3, 1))[:, ::-1]
    node = make(ops.Reduce(kind, axes), leaf("X", x.shape))
    np.testing.assert_allclose(value(node, X=x), getattr(np, kind)(x, axis=axes))


def test_logsumexp_is_stable() -> None:
    x = np.array([[1e4, 1e4], [-np.inf, -np.inf], [np.inf, 0.0], [-1e4, -1e4]])
    node = build.reduce_node("logsumexp", leaf("X", (4, 2)), [1])
    assert np.array_equal(value(node, X=x), [1e4 + np.log(2), -np.inf, np.inf, -1e4 + np.log(2)])
    assert np.isnan(value(build.reduce_node("logsumexp", leaf("X", 2), [0]), X=[np.nan, 1.0]))
    assert value(build.reduce_node("logsumexp", leaf("X", "i"), [0]), X=np.zeros(0)) == -np.inf
    single = np.array([200.0, 200.0], np.float32)
    node = build.reduce_node("logsumexp", leaf("X", 2, "float32"), [0])
    assert float(value(node, X=single)) == pytest.approx(200 + math.log(2))


def test_any_all_and_empty_reductions() -> None:
    x = np.array([[0.0, 2.0], [0.0, 0.0]])
    node = leaf("X", ("i", "j"))
    assert np.array_equal(value(build.reduce_node("any", node, [1]), X=x), [True, False])
    assert np.array_equal(value(build.reduce_node("all", node, []), X=x), x != 0)
    assert np.array_equal(value(build.reduce_node("all", node, [1]), X=x[:, :0]), [True, True])
    assert np.array_equal(value(build.reduce_node("prod", node, [1]), X=x[:, :0]), [1, 1])
    with pytest.raises(ShapeError, match=r"max over axes \(1,\) of shape \(2, 0\)"):
        value(build.reduce_node("max", node, [1]), X=x[:, :0])


@pytest.mark.parametrize("reverse", [False, True])
def test_cumulative_sum(reverse: bool) -> None:
    x = RNG.standard_normal((3, 4))
    got = value(make(ops.CumulativeSum(1, reverse), leaf("X", (3, 4))), X=x)
    wanted = np.cumsum(x[:, ::-1], 1)[:, ::-1] if reverse else np.cumsum(x, 1)
    np.testing.assert_array_equal(got, wanted)


def test_casts() -> None:
    z = np.array([1.7 + 2j, -1.7])
    node = leaf("Z", 2, "complex128")
    assert np.array_equal(value(build.cast(node, DType.int32), Z=z), [1, -1])
    assert np.array_equal(value(build.cast(node, DType.float32), Z=z), np.array([1.7, -1.7], np.float32))
    with pytest.raises(DTypeError, match="NumPy has no bfloat16"):
        value(build.cast(node, DType.bfloat16), Z=z)


@pytest.mark.parametrize("backend", ["reference", "numpy"])
def test_a_complex_number_is_true_where_it_is_not_zero(backend: str) -> None:
    z = np.array([0, 2j, 1.5, -0.5 + 1j])
    cast = otus.cast(otus.tensor("z", (4,), "complex128"), "bool")
    np.testing.assert_array_equal(otus.compile(cast, backend=backend)(z=z), z.astype(bool))


# --- movement ----------------------------------------------------------------------------------


def test_broadcast_places_axes_in_any_order() -> None:
    x = RNG.standard_normal((3, 2))
    node = make(ops.Broadcast((2, 0), (2, 4, 3)), leaf("X", (3, 2)))
    np.testing.assert_array_equal(value(node, X=x), np.repeat(x.T[:, None, :], 4, axis=1))


def test_reshape_reads_row_major_whatever_the_strides() -> None:
    x = RNG.standard_normal((4, 3)).T[::-1]
    i, j = dim("i"), dim("j")
    node = build.reshape(leaf("X", ("i", "j")), [i * j])
    np.testing.assert_array_equal(value(node, X=x), x.ravel())


def test_slice_and_pad_are_transposes() -> None:
    x = RNG.standard_normal((7, 5))
    node = build.slice_node(leaf("X", (7, 5)), (6, 1), (3, 2), (-3, 2))
    np.testing.assert_array_equal(value(node, X=x), x[6::-3, 1:4:2])
    y = RNG.standard_normal((3, 2))
    wanted = np.zeros((7, 5))
    wanted[6::-3, 1:4:2] = y
    node = build.pad_node(leaf("Y", (3, 2)), (6, 1), (7, 5), (-3, 2))
    np.testing.assert_array_equal(value(node, Y=y), wanted)
    assert value(build.slice_node(leaf("X", (7, 5)), (0, 0), (0, 5), (1, 1)), X=x).shape == (0, 5)


def test_a_symbolic_slice_outside_is_an_error() -> None:
    node = build.slice_node(leaf("X", "i"), (2,), (2,), (1,))
    assert np.array_equal(value(node, X=np.arange(4.0)), [2, 3])
    with pytest.raises(ShapeError, match=r"slice: 2 positions from 2 in steps of 1.*axis 0 of size 3"):
        value(node, X=np.arange(3.0))


def test_concatenate() -> None:
    a, b = RNG.standard_normal((2, 1)), RNG.standard_normal((2, 0))
    node = make(ops.Concatenate(1), leaf("A", (2, "i")), leaf("B", (2, "j")), leaf("A", (2, "i")))
    np.testing.assert_array_equal(value(node, A=a, B=b), np.concatenate([a, b, a], 1))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_take_and_scatter_add(axis: int) -> None:
    x = RNG.standard_normal((3, 3, 3))
    indices = np.array([[0, -1], [2, 0]], np.int8)
    take = make(ops.Take(axis), leaf("X", x.shape), leaf("I", (2, 2), "int8"))
    np.testing.assert_array_equal(value(take, X=x, I=indices), np.take(x, indices, axis))
    updates = RNG.standard_normal(take.type.shape)  # type: ignore[arg-type]
    nodes = leaf("X", x.shape), leaf("I", (2, 2), "int8"), leaf("U", updates.shape)
    wanted = x.copy()
    for place in np.ndindex(2, 2):
        picked = (slice(None),) * axis + place
        wanted[(slice(None),) * axis + (int(indices[place]),)] += updates[picked]
    got = value(make(ops.ScatterAdd(axis), *nodes), X=x, I=indices, U=updates)
    np.testing.assert_allclose(got, wanted)


def test_take_outside_names_index_and_size() -> None:
    node = make(ops.Take(0), leaf("X", "i"), leaf("I", 2, "int64"))
    with pytest.raises(ShapeError, match="take: index -4 is outside axis 0 of size 3; -3 to 2"):
        value(node, X=np.zeros(3), I=[0, -4])


# --- linear algebra ----------------------------------------------------------------------------


def matrices(*shape: int, dtype: str = "float64") -> Array:
    x = RNG.standard_normal(shape)
    return (x + 1j * RNG.standard_normal(shape) if dtype == "complex128" else x).astype(dtype)


def close(got: Array, wanted: Array) -> None:
    tolerance = 1e-3 if got.dtype == np.float32 else 1e-9
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("batch", [(), (2,), (0,), (2, 3)])
def test_square_matrices(batch: tuple[int, ...], dtype: str) -> None:
    a, b = matrices(*batch, 4, 4, dtype=dtype), matrices(*batch, 4, 2, dtype=dtype)
    node, right = leaf("A", a.shape, dtype), leaf("B", b.shape, dtype)
    close(a @ value(make(ops.Inverse(), node), A=a), np.eye(4) + 0 * a)
    close(a @ value(make(ops.Solve(), node, right), A=a, B=b), b)
    det = value(make(ops.Determinant(), node), A=a)
    sign = value(make(ops.SignedLogDeterminant("sign"), node), A=a)
    logarithm = value(make(ops.SignedLogDeterminant("logabsdet"), node), A=a)
    close(sign * np.exp(logarithm), det)
    definite = a @ np.conj(np.swapaxes(a, -1, -2)) + np.eye(4, dtype=dtype)
    low = value(make(ops.Cholesky(), node), A=np.tril(definite))
    close(low @ np.conj(np.swapaxes(low, -1, -2)), definite)
    for uplo, triangle in (("L", np.tril), ("U", np.triu)):
        values = value(make(ops.HermitianEigen("eigenvalues", uplo), node), A=triangle(definite))
        vectors = value(make(ops.HermitianEigen("eigenvectors", uplo), node), A=triangle(definite))
        close(definite @ vectors, vectors * values[..., None, :])


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (2, 5, 3), (1, 1), (0, 3)])
def test_rectangular_matrices(shape: tuple[int, ...]) -> None:
    a = matrices(*shape)
    node = leaf("A", shape)
    for complete in (False, True):
        q, r = (value(make(ops.QR(name, complete), node), A=a) for name in "qr")
        np.testing.assert_allclose(q @ r, a, atol=1e-12)
    u, s, vh = (value(make(ops.SVD(name, False), node), A=a) for name in ("u", "s", "vh"))
    np.testing.assert_allclose(u * s[..., None, :] @ vh, a, atol=1e-12)
    assert value(make(ops.SVD("u"), node), A=a).shape == (*shape[:-1], shape[-2])
    inverse = value(make(ops.PseudoInverse(), node), A=a)
    np.testing.assert_allclose(a @ inverse @ a, a, atol=1e-12)
    np.testing.assert_array_equal(inverse, np.linalg.pinv(a))


def test_solve_takes_b_as_a_matrix_also_where_it_could_be_a_stack_of_vectors() -> None:
    a, b = matrices(3, 3, 3), matrices(3, 3, 3)
    node = make(ops.Solve(), leaf("A", a.shape), leaf("B", b.shape))
    wanted = np.stack([np.linalg.solve(x, y) for x, y in zip(a, b, strict=True)])
    np.testing.assert_allclose(value(node, A=a, B=b), wanted)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5)])
def test_least_squares(shape: tuple[int, int]) -> None:
    a, b = matrices(*shape), matrices(shape[0], 2)
    node = make(ops.LeastSquares(), leaf("A", shape), leaf("B", b.shape))
    np.testing.assert_allclose(value(node, A=a, B=b), np.linalg.pinv(a) @ b, atol=1e-10)


def test_pinv_cuts_at_rcond() -> None:
    a = np.diag([1.0, 1e-3])
    node = make(ops.PseudoInverse(1e-2), leaf("A", (2, 2)))
    np.testing.assert_allclose(value(node, A=a), np.diag([1.0, 0.0]))


# --- derivatives -------------------------------------------------------------------------------


def test_derivatives_must_be_expanded_first() -> None:
    x = leaf("X", 3)
    node = make(ops.Derivative("grad"), build.sum_axes(x, [0]), x)
    with pytest.raises(VerificationError, match=r"a grad is still in the graph.*expand derivatives"):
        evaluate([node], {"X": np.ones(3)})


def test_shared_nodes_and_several_outputs() -> None:
    x = leaf("X", ("i",))
    y = build.apply("exp", x)
    total, same = evaluate([build.sum_axes(y, [0]), y], {"X": [0.0, 1.0]})
    assert total == pytest.approx(1 + math.e)
    np.testing.assert_array_equal(same, np.exp([0.0, 1.0]))
