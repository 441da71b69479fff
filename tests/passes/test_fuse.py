"""Fusion: what becomes one loop, what is computed once, and that no bit and no operation is added."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from evaluation import assert_close, assert_round_trip
from programs import Array, leaf, run_emitted
from random_programs.outputs import otus_outputs
from random_programs.programs import random_program

import otus
from otus.ir import Graph, Node, build, cost, dump, make, verify
from otus.ir import operations as ops
from otus.ir.dtypes import DType
from otus.ir.operations import Map
from otus.ir.scalar import parse_scalar, scalar_text
from otus.passes import parse_pipeline
from otus.passes.fuse import Fuse
from otus.passes.rule_descriptions import describe_rule
from otus.runtime.reference import evaluate
from otus.structures import flatten

UNFUSED = parse_pipeline("stabilise,expand,simplify,sharpen,contract")

x, y, z = leaf("x", "b", "n"), leaf("y", "b", "n"), leaf("z", "b", "n")
s, w = leaf("s", "b"), leaf("w", "n")
ROWS, COLUMNS, ALL = (0,), (1,), (0, 1)


def mapped(text: str, *operands: Node, inputs: list[tuple[int, ...]] | None = None, rank: int | None = None) -> Node:
    return build.map_node(parse_scalar(text), operands, inputs, rank)


def fused(*outputs: Node) -> Graph:
    """The fused graph, of the same values, no more flops, and at rest."""
    before = Graph.of(outputs)
    after = Fuse().run(before)
    verify(after)
    assert_round_trip(after.outputs)
    assert Fuse().run(after).outputs == after.outputs, dump(list(after.outputs))
    sizes = {"b": 3, "n": 4}
    assert cost(after.outputs)(sizes).flops <= cost(outputs)(sizes).flops
    rng = np.random.default_rng(0)
    data: dict[str, Array] = {}
    for node in before.inputs:
        assert isinstance(node.op, ops.Input)
        shape = [size if isinstance(size, int) else sizes[str(size)] for size in node.type.shape]
        data[node.op.label] = rng.uniform(0.5, 2, shape).astype(node.type.dtype.value)
    with np.errstate(all="ignore"):
        expected, actual = run_emitted(before, data), run_emitted(after, data)
    for a, b in zip(expected, actual, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    return after


def text(*outputs: Node) -> str:
    """The fused graph's text without its inputs."""
    lines = dump(list(fused(*outputs).outputs)).splitlines()
    return "\n".join(each for each in lines if "= input" not in each)


def maps(graph: Graph) -> list[str]:
    return [scalar_text(node.op.expression) for node in graph.nodes() if isinstance(node.op, Map)]


def fused_expressions(**outputs: otus.Expression) -> str:
    """The text after fusion of a program as a user writes it."""
    graph, _ = UNFUSED.run(Graph.of([e.node for e in outputs.values()], list(outputs)))
    return text(*graph.outputs)


# --- substitution ------------------------------------------------------------------------------


def test_a_chain_is_one_map() -> None:
    chain = mapped("exp(a)", build.linear_combination([2, -1], [x, s], [ALL, ROWS], 2))
    product = build.einsum([chain, w], [(0, 1), (1,)], (0, 1))
    assert text(build.linear_combination([1, 1], [product, y])) == (
        '%0: f64[b,n] = map "(exp((2.0 * a) - b) * c) + d" "bn,b,n,bn->bn" %x, %s, %w, %y\nreturn [%0]'
    )


def test_what_stands_alone_stays_what_it_is() -> None:
    nodes = (
        build.linear_combination([2, -1], [x, y]),
        build.einsum([x, s], [(0, 1), (0,)], (0, 1)),
        mapped("exp(a)", z),
        build.einsum([x, y], [(0, 1), (2, 1)], (0, 2)),
    )
    assert fused(*nodes).outputs == nodes


def test_what_was_done_is_counted() -> None:
    chain = mapped("exp(a)", build.add(x, y))
    node = mapped("a * sqrt(b)", chain, s, inputs=[ALL, ROWS], rank=2)
    assert Fuse().run_counting(Graph.of([node]))[1] == {"fuse_into_reader": 2, "compute_once": 1}
    assert all(describe_rule(name) for name in ("fuse_into_reader", "compute_once"))
    assert not Fuse().run_counting(Graph.of([x]))[1]


def test_a_smaller_map_is_computed_once_a_row() -> None:
    assert text(build.einsum([mapped("exp(a)", s), x], [(0,), (0, 1)], (0, 1))) == (
        '%0: f64[b] = map "exp(a)" "b->b" %s\n%1: f64[b,n] = einsum "b,bn->bn" %0, %x\nreturn [%1]'
    )


def test_what_two_loops_read_is_stored() -> None:
    total = build.add(x, y)
    assert maps(fused(mapped("exp(a)", total), mapped("sin(a)", total))) == ["exp(a)", "sin(a)"]
    assert maps(fused(build.multiply(mapped("exp(a)", total), mapped("sin(a)", total)))) == ["exp(a + b) * sin(a + b)"]


def test_a_change_of_sign_goes_along_with_every_reader() -> None:
    sign = build.scale(-1, x)
    assert maps(fused(mapped("exp(a)", sign), mapped("sin(a)", sign))) == ["exp(neg(a))", "sin(neg(a))"]


def test_an_output_is_read_and_not_computed_again() -> None:
    graph = fused(mapped("a + 1.0", x), mapped("sin(a + 1.0)", x))
    assert maps(graph) == ["a + 1.0", "sin(a)"]
    assert graph.outputs[1].operands == (graph.outputs[0],)


def test_transpositions_and_broadcasts_are_seen_through() -> None:
    m = leaf("m", "n", "n")
    turned = build.transpose(mapped("exp(a)", m), (1, 0))
    assert text(build.add(turned, m)) == '%0: f64[n,n] = map "exp(a) + b" "an,na->na" %m, %m\nreturn [%0]'
    spread = build.broadcast(s, ROWS, x.type.shape)
    assert maps(fused(mapped("exp(a)", build.multiply(spread, x)))) == ["exp(a * b)"]


def test_a_tensor_and_its_transpose_are_one_computation() -> None:
    m = leaf("m", "n", "n")
    exp = mapped("exp(a)", m)
    both = build.add(exp, build.transpose(exp, (1, 0)))
    assert [node.op.name for node in fused(both).nodes()][1:] == ["map", "einsum", "linear_combination"]
    graph = fused(mapped("sin(exp(a))", m), mapped("cos(exp(a))", build.transpose(m, (1, 0))))
    assert maps(graph) == ["exp(a)", "sin(a)", "cos(a)"]
    above, below = (
        mapped("a > b", x, s, inputs=[ALL, ROWS], rank=2),
        mapped("a > b", x, s, inputs=[(1, 0), (1,)], rank=2),
    )
    assert maps(fused(above, below, mapped("where(a, b, 0.0)", below, leaf("u", "n", "b")))) == [
        "a > b",
        "a",
        "where(a, b, 0.0)",
    ]


def test_numbers_become_literals() -> None:
    one = build.constant(1.5, DType.float32)
    v = leaf("v", "n", dtype="float32")
    shifted = build.linear_combination([1, -1], [v, one], [(0,), ()], 1)
    assert maps(fused(mapped("sqrt(a)", shifted))) == ["sqrt(a - 1.5)"]
    turned = build.linear_combination([-1, -2], [one, v], [(), (0,)], 1)
    assert maps(fused(mapped("exp(a)", turned))) == ["exp((-1.5) - (2.0 * a))"]


def test_weak_values_keep_their_dtype() -> None:
    """A choice between numbers is float64; within a float32 expression the same text would be float32."""
    v = leaf("v", "n", dtype="float32")
    choice = mapped("where(a > 0, 1.0, 0.1)", v)
    assert choice.type.dtype == "float64"
    graph = fused(mapped("a * b", choice, v))
    assert maps(graph) == ["where(a > 0, 1.0, 0.1)", "a * b"]
    fused(mapped("a + exp(b * where(a > 0, 0.1, 0.7))", x, y), mapped("a - exp(b * where(a > 0, 0.1, 0.7))", x, y))
    first = mapped("where(a > 0, 0.1, 0.7) + exp(where(a > 0, 0.1, 0.7) * b)", x, y)
    second = mapped("where(a > 0, 0.1, 0.7) - exp(where(a > 0, 0.1, 0.7) * b)", x, y)
    assert maps(fused(first, second)) == [scalar_text(first.op.expression), scalar_text(second.op.expression)]
    fused(mapped("sin(a) * where(b > 0, 0.1, 0.7)", x, s, inputs=[ALL, ROWS], rank=2))
    fused(mapped("exp(where(a > 0, 0.1, 0.7) * b)", v, v), mapped("sin(where(a > 0, 0.1, 0.7) * a)", v))


@pytest.mark.parametrize("dtype", ["int32", "uint8", "float16", "complex64", "bool"])
def test_other_dtypes(dtype: str) -> None:
    v, u = leaf("v", "n", dtype=dtype), leaf("u", "n", dtype="float32")
    inner = mapped("maximum(a, a)", v)
    if dtype != "bool":
        inner = build.multiply(build.linear_combination([1, -1], [inner, v]), build.linear_combination([3, 1], [v, v]))
    fused(mapped("a * b", inner, u), inner)
    fused(mapped("a * b", make(ops.Cast(DType.complex128), inner), u))


def test_size_one_and_scalars() -> None:
    column, scalar = leaf("c", "b", 1), leaf("t")
    exp = mapped("exp(a)", build.reshape(s, (s.type.shape[0], 1)))
    assert maps(fused(build.multiply(exp, column))) == ["exp(a) * b"]
    assert maps(fused(mapped("a * sin(b)", x, scalar, inputs=[ALL, ()], rank=2))) == ["sin(a)", "a * b"]


def test_long_sums_keep_readable_text() -> None:
    terms = [leaf(f"x{k}", "b", "n") for k in range(150)]
    total = build.linear_combination([2] * 150 + [3], [*terms, s], [ALL] * 150 + [ROWS], 2)
    assert fused(mapped("exp(a)", total)).outputs == (mapped("exp(a)", total),)


def test_long_chains_are_cut() -> None:
    node = x
    for _ in range(300):
        node = mapped("sin(a) + cos(a)", node)
    for _ in range(100):
        node = build.multiply(node, node)
    graph = fused(node)
    assert max(len(each) for each in maps(graph)) < 4000
    deep = x
    for _ in range(300):
        deep = mapped("tanh(a)", deep)
    counts = [each.count("tanh") for each in maps(fused(deep))]
    assert len(counts) == 8
    assert sum(counts) == 300


# --- hoisting ----------------------------------------------------------------------------------


def test_work_that_is_constant_along_an_axis_is_done_once() -> None:
    node = mapped("a * exp(b + 1.0) + sqrt(c) * exp(b + 1.0)", x, s, w, inputs=[ALL, ROWS, COLUMNS], rank=2)
    assert text(node) == (
        '%0: f64[b] = map "exp(a + 1.0)" "b->b" %s\n'
        '%1: f64[n] = map "sqrt(a)" "n->n" %w\n'
        '%2: f64[b,n] = map "(a * b) + (c * b)" "bn,b,n->bn" %x, %0, %1\n'
        "return [%2]"
    )


def test_hoisted_work_is_shared_between_maps() -> None:
    first = mapped("a * exp(b)", x, s, inputs=[ALL, ROWS], rank=2)
    second = mapped("sin(a) + exp(b)", y, s, inputs=[ALL, ROWS], rank=2)
    assert maps(fused(first, second)) == ["exp(a)", "a * b", "sin(a) + b"]


def test_numbers_alone_are_not_hoisted() -> None:
    node = mapped("a * log(where(1.7 == 0, 1.0, 1.7))", x)
    assert fused(node).outputs == (node,)


def test_hoisting_within_hoisted_work() -> None:
    t = leaf("t")
    node = mapped("a * exp(b * sqrt(c))", x, s, t, inputs=[ALL, ROWS, ()], rank=2)
    assert maps(fused(node)) == ["sqrt(a)", "exp(a * b)", "a * b"]


def test_branches_of_a_choice_are_not_computed_outside() -> None:
    """There they would warn about the elements that are not chosen."""
    node = mapped("where(b > 0, a * log(b), 0.0)", x, s, inputs=[ALL, ROWS], rank=2)
    assert maps(fused(node)) == ["a > 0", "where(a, b * log(c), 0.0)"]
    outside = mapped("neg(log(a))", s)
    node = mapped("where(a > 0, a * b, 0.0)", x, outside, inputs=[ALL, ROWS], rank=2)
    assert maps(fused(mapped("a < 1.0", node))) == ["log(a)", "where(a > 0, a * neg(b), 0.0) < 1.0"]


# --- sharing -----------------------------------------------------------------------------------


def test_expensive_parts_are_computed_once() -> None:
    first, second = mapped("exp(a) * b", x, y), mapped("sin(exp(a) + b)", x, y)
    assert maps(fused(first, second)) == ["exp(a)", "a * b", "sin(a + b)"]


def test_cheap_parts_are_computed_again() -> None:
    first, second = mapped("exp(a + b)", x, y), mapped("sin(a + b)", x, y)
    assert maps(fused(first, second)) == ["exp(a + b)", "sin(a + b)"]


def test_the_largest_equal_part_is_shared() -> None:
    first, second = mapped("sin(1.0 + tanh(a))", x), mapped("cos(1.0 + tanh(a))", x)
    assert maps(fused(first, second)) == ["1.0 + tanh(a)", "sin(a)", "cos(a)"]
    third = mapped("tanh(a) * a", x)
    assert maps(fused(first, second, third)) == ["tanh(a)", "sin(1.0 + a)", "cos(1.0 + a)", "a * b"]


# --- models ------------------------------------------------------------------------------------

X, Y, V, U = (
    otus.tensor("X", ("b", "n")),
    otus.tensor("Y", ("b", "n")),
    otus.tensor("v", ("n",)),
    otus.tensor("u", ("n",)),
)
W, C, T = otus.tensor("W", ("n",)), otus.tensor("C", ("n",)), otus.tensor("T", ("b",))


def _cross_entropy() -> dict[str, otus.Expression]:
    loss = -(Y * otus.log_softmax(X, axis=-1)).sum()
    return {"loss": loss, "gradient": otus.grad(loss, X)}


def _gelu(approximate: str) -> dict[str, otus.Expression]:
    value = otus.gelu(V, approximate=approximate)
    return {"value": value, "gradient": otus.vjp(value, [V], [U])[0]}


def _layer_norm() -> dict[str, otus.Expression]:
    centred = X - X.mean(axis=-1, keepdims=True)
    value = centred * otus.rsqrt(X.var(axis=-1, keepdims=True) + 1e-5) * W + C
    return {"value": value, "gradient": otus.vjp(value, [X], [Y])[0]}


def _logistic() -> dict[str, otus.Expression]:
    loss = (otus.softplus(X @ W) - T * (X @ W)).sum()
    return {"loss": loss, "gradient": otus.grad(loss, W), "hessian": otus.hessian(loss, W)}


MODELS = {
    "cross_entropy": _cross_entropy,
    "gelu": lambda: _gelu("none"),
    "gelu_tanh": lambda: _gelu("tanh"),
    "layer_norm": _layer_norm,
    "logistic": _logistic,
    "row_scale": lambda: {"value": otus.exp(T)[:, None] * X},
}


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"fuse_{name}.txt", fused_expressions(**MODELS[name]()) + "\n")


# --- random programs ---------------------------------------------------------------------------


@pytest.mark.parametrize("first", range(400000, 400200, 20))
def test_random_programs_cost_no_more_and_keep_their_values(first: int) -> None:
    for seed in range(first, first + 20):
        program = random_program(seed)
        outputs = [e.node for e in flatten(otus_outputs(program), lambda v: isinstance(v, otus.Expression))]
        before, _ = UNFUSED.run(Graph.of(outputs))
        after = Fuse().run(before)
        verify(after)
        assert_round_trip(after.outputs)
        assert cost(after.outputs)().flops <= cost(before.outputs)().flops, seed
        assert Fuse().run(after).outputs == after.outputs, seed
        values = zip(evaluate(after.outputs, program.data), evaluate(before.outputs, program.data), strict=True)
        for actual, expected in values:
            assert_close(actual, expected, 1e-13, 1e-13, f"seed {seed}")
