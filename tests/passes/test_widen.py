"""float16 is what is read and returned; between, hosts compute in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import otus
from otus.ir import DType, Graph, build, dump
from otus.ir.operations import Cast, Delta
from otus.passes import parse_pipeline

RNG = np.random.default_rng(3)
X = otus.tensor("x", ("i", "j"), dtype="float16")
W = otus.tensor("w", (4096, 4), dtype="int8")
V = otus.tensor("v", (4, 4096), dtype="float16")
S = otus.tensor("s", (), dtype="float16")


def widened(*outputs: otus.Expression) -> Graph:
    """The graph after the pass, which a second time changes nothing."""
    (graph, _) = parse_pipeline("expand,widen").run(Graph.of([x.node for x in outputs]))
    again, _ = parse_pipeline("widen").run(graph)
    assert again.outputs == graph.outputs
    return graph


TEXT = """\
%x: f16[i,j] = input "x"
%0: f32[i,j] = cast {dtype="float32"} %x
%1: f32[i] = einsum "ij->i" %0
%2: f32[i] = map "exp(a)" "i->i" %1
%3: f16[i] = cast {dtype="float16"} %2
return [%3]
"""


def test_what_is_computed_is_float32() -> None:
    assert dump(list(widened(otus.exp(X.sum(axis=1))).outputs)) == TEXT


@pytest.mark.parametrize("output", [X.T, X[1:3], otus.cast(otus.tensor("y", (3,)), "float16"),
                                    otus.concatenate([X, X]), X[:, None]])  # fmt: skip
def test_what_is_only_moved_or_rounded_stays(output: otus.Expression) -> None:
    assert widened(output).outputs == (output.node,)


def test_a_cast_of_the_users_rounds() -> None:
    y = otus.tensor("y", (3,))
    rounded = otus.cast(otus.cast(y, "float16") * 3, "float64") - otus.cast(y, "float64") * 3
    data = np.array([0.1, 1.0, 1e-3])
    for backend in ("numpy", "reference"):
        found = otus.compile(rounded, backend=backend)(y=data)
        np.testing.assert_allclose(found, data.astype(np.float16).astype(float) * 3 - data * 3, atol=2e-4)
        assert found[0] != 0
    assert any(isinstance(x.op, Cast) and x.op.dtype is DType.float16 for x in widened(rounded).nodes())


def test_deltas_stay_deltas() -> None:
    hessian = otus.hessian((X * X).sum(), X)
    assert {x.type.dtype for x in widened(hessian).nodes() if isinstance(x.op, Delta)} == {DType.float32}
    value = otus.compile(hessian)(x=np.ones((2, 3), np.float16))
    assert value.dtype == np.float16
    np.testing.assert_array_equal(value, 2 * np.eye(6).reshape(2, 3, 2, 3))


ROWS = {"x": np.full((16384, 4), 0.1, np.float16)}
LONG: dict[str, tuple[otus.Expression, Any]] = {
    "sum over rows": (X.sum(axis=0), 1638.0),
    "mean over rows": (X.mean(axis=0), 0.1),
    "einsum over rows": (otus.einsum("ij,ij->j", X, X), 163.8),
    "running sum": (otus.cumsum(X, axis=0)[-1], 1638.0),
    "logsumexp": (otus.logsumexp(X, axis=0), 9.8),
    "mean of exp": (otus.exp(X).mean(axis=0), 1.105),
    "norm of the gradient": (otus.norm(otus.grad((X * X).sum(), X)), 51.2),
}


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("backend", ["numpy", "reference"])
def test_long_sums_keep_growing(name: str, backend: str) -> None:
    output, wanted = LONG[name]
    value = otus.compile(output, backend=backend)(ROWS["x"])
    assert value.dtype == np.float16
    np.testing.assert_allclose(value, wanted, rtol=2e-3)


@pytest.mark.parametrize(
    "output",
    [V @ (otus.cast(W, "float16") * S), (V @ otus.cast(W, "float16")) * S, V @ (otus.cast(W, "float16") * 0.001)],
)
def test_what_is_scaled_late_is_not_out_of_range(output: otus.Expression) -> None:
    data = {"v": np.ones((4, 4096), np.float16), "w": np.full((4096, 4), 100, np.int8), "s": np.float16(0.001)}
    function = otus.compile(output)
    np.testing.assert_allclose(function(**{x: data[x] for x in function.inputs}), 409.6, rtol=2e-3)


@pytest.mark.parametrize("seed", range(8))
def test_derivatives_are_those_of_float64_but_for_rounding(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = {"x": rng.normal(size=(7, 5)).astype(np.float16), "m": rng.normal(size=(5, 6)).astype(np.float16)}

    def outputs(dtype: str) -> list[otus.Expression]:
        x, m = otus.tensor("x", (7, 5), dtype=dtype), otus.tensor("m", (5, 6), dtype=dtype)
        loss = [
            lambda: (otus.softmax(x @ m, axis=1) ** 2).sum(),
            lambda: otus.logsumexp(otus.tanh(x) @ m, axis=1).mean(),
            lambda: ((x @ m * 0.2).var(axis=0) + 1).prod(),
            lambda: (otus.gelu(x) @ m).max(axis=1).sum(),
        ][seed % 4]()
        return [loss, *otus.grad(loss, [x, m]), otus.hvp(loss, [x], [x])[0]]

    found = otus.compile(outputs("float16"))(**data)
    wanted = otus.compile(outputs("float64"))(**{name: value.astype(float) for name, value in data.items()})
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == np.float16
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-3 * max(1.0, float(np.abs(other).max())))


def test_other_dtypes_are_left_alone() -> None:
    y = otus.tensor("y", ("i", "j"), dtype="float32")
    output = otus.exp(y @ y.T)
    assert widened(output).outputs == (output.node,)


def test_a_constant_has_the_value_it_had() -> None:
    half = build.constant(0.1, DType.float16)
    (value,) = parse_pipeline("widen").run(Graph.of([build.multiply(half, half)]))[0].outputs
    found = otus.compile(otus.Expression.of(value))()
    np.testing.assert_allclose(found, float(np.float16(0.1)) ** 2, rtol=1e-3)


# --- scaled sums of float16, on GPUs ------------------------------------------------------------

SCALED = """\
%v: f16[4,4096] = input "v"
%0: f32[4,4096] = cast {dtype="float32"} %v
%w: i8[4096,4] = input "w"
%1: f16[4096,4] = cast {dtype="float16"} %w
%2: f32[4096,4] = cast {dtype="float32"} %1
%3: f32[4,4] = einsum "ab,bc->ac" %0, %2
%s: f16[] = input "s"
%4: f32[] = cast {dtype="float32"} %s
%5: f32[4,4] = einsum "ab,->ab" %3, %4
%6: f16[4,4] = cast {dtype="float16"} %5
return [%6]
"""


def ordered(*outputs: otus.Expression) -> Graph:
    return parse_pipeline("stabilise,expand,simplify,contract,fuse,late_scales").run(
        Graph.of([x.node for x in outputs])
    )[0]


def test_a_sum_of_halves_is_wide_until_it_is_scaled() -> None:
    assert dump(list(ordered(V @ (otus.cast(W, "float16") * S)).outputs)) == SCALED


def test_a_sum_that_something_else_reads_is_as_it_was() -> None:
    product = V @ otus.cast(W, "float16")
    for outputs in ([product], [product, product * 0.5], [otus.exp(product) + product * 0.5], [product * 2]):
        assert all(x.type.dtype is not DType.float32 for x in ordered(*outputs).nodes())
    by_two = product * 0.5 * otus.tensor("r", (4, 1), dtype="float16") * otus.tensor("c", (4,), dtype="float16")
    nodes = ordered(by_two).nodes()
    assert sum(isinstance(x.op, Cast) and x.op.dtype is DType.float16 and x is not nodes[-1] for x in nodes) == 1


def test_the_wide_sum_has_the_value() -> None:
    data = {"v": np.ones((4, 4096), np.float16), "w": np.full((4096, 4), 100, np.int8), "s": np.float16(0.001)}
    for output in (V @ (otus.cast(W, "float16") * S), V @ (otus.cast(W, "float16") * 0.001)):
        function = otus.compile(output, backend="triton", interpret=True)
        value = function(**{x: data[x] for x in function.inputs})
        assert value.dtype == np.float16
        np.testing.assert_allclose(value, 409.6, rtol=2e-3)
