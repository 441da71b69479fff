"""The pass that keeps a memory limit, and the loop over blocks that it makes."""

from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pytest

import otus
from otus.ir import (
    Graph,
    Node,
    ParseError,
    ShapeError,
    VerificationError,
    build,
    cost,
    dim,
    dump,
    make,
    make_type,
    parse_ir,
)
from otus.ir.operations import Blockwise
from otus.passes import Slice, parse_pipeline
from otus.passes.memory.indices import indices_of
from otus.passes.memory.peak import moments
from otus.passes.memory.regions import slice_index
from otus.runtime.reference import evaluate


def row_sums_of_gram() -> list[Node]:
    """Σ_k exp(A Aᵀ)[i,k] and Σ_ik, by one loop over eight rows at a time."""
    a = build.input_node("A", make_type(("n", 5)))
    block = build.input_node("x0", make_type(("block", 5)))
    whole = build.input_node("x1", make_type(("n", 5)))
    kernel = build.apply("exp", build.einsum([block, whole], [(0, 1), (2, 1)], (0, 2)))
    body = (build.sum_axes(kernel, [1]), build.sum_axes(kernel, [0, 1]))
    ops = [Blockwise(body, dim("n"), 8, (0, None), (0, "sum"), k) for k in range(2)]
    return [make(op, a, a) for op in ops]


def peak(graph: Graph, **sizes: int) -> int:
    return max(each.bytes for each in moments(graph, sizes))


def sliced(expression: otus.Expression, memory: str, **dims: int) -> Graph:
    """The graph after the default pipeline and the limit."""
    pipeline = parse_pipeline(f"{otus.pipeline()},slice{{memory={memory}}}")
    nodes = [expression.node]
    if dims:
        nodes = [otus.ir.specialise(nodes, dims)[expression.node]]
    return pipeline.run(Graph.of(nodes))[0]


def loop_operations(graph: Graph) -> list[Blockwise]:
    return [node.op for node in graph.nodes() if isinstance(node.op, Blockwise)]


# --- the operation -----------------------------------------------------------------------------


def test_a_loop_is_printed_with_its_body_and_read_back() -> None:
    loops = row_sums_of_gram()
    text = dump(loops)
    assert text.startswith(
        """\
%A: f64[n,5] = input "A"
%0: f64[n] = blockwise {size=n, block=8, cut=(0, None), join=(0, "sum")} %A, %A do
  %x0: f64[block,5] = input "x0"
  %x1: f64[n,5] = input "x1"
  %0: f64[block,n] = einsum "ab,nb->an" %x0, %x1
  %1: f64[block,n] = map "exp(a)" "an->an" %0
  %2: f64[block] = einsum "an->a" %1
  %3: f64[] = einsum "an->" %1
  return [%2, %3]
end
"""
    )
    assert parse_ir(text) == loops
    assert pickle.loads(pickle.dumps(loops[1])) is loops[1] is copy.deepcopy(loops[1])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("end\n%", "%", "line 2: the body that begins here has no 'end'"),
        ("return [%2, %3]", "return %2", "line 2: a body returns a list of values"),
        ('einsum "an->a" %1', 'einsum "an->a" %9', "line 7: %9 is not defined above"),
        ("cut=(0, None)", "cut=(1, None)", "operand 0 has size 5 along axis 1, and the index that is cut has size n"),
        ('join=(0, "sum")', 'join=(0, "sun")', "unknown combination 'sun'; did you mean 'sum'"),
        ("block=8", "block=0", "blocks of 0 positions; 1 or more are accepted"),
        ("cut=(0, None)", "cut=(None, None)", "the body reads x0: f64[block,5]"),
    ],
)
def test_text_that_is_no_loop_is_refused(old: str, new: str, message: str) -> None:
    text = dump(row_sums_of_gram())
    with pytest.raises(ParseError, match=re.escape(message)):
        parse_ir(text.replace(old, new))


def test_bodies_hold_no_constants_and_no_blocks_elsewhere() -> None:
    x = build.input_node("x", make_type((6,)))
    block = build.input_node("x0", make_type(("block",)))
    shifted = build.apply("add", block, build.broadcast(build.constant(np.ones(())), (), block.type.shape))
    with pytest.raises(VerificationError, match="the body holds a constant"):
        make(Blockwise((shifted,), 6, 2, (0,), (0,)), x)
    with pytest.raises(ShapeError, match="depends on the size of the block elsewhere"):
        make(Blockwise((block,), 6, 2, (0,), ("sum",)), x)


def test_the_cost_of_a_loop_is_its_bodys_for_every_block() -> None:
    loops = row_sums_of_gram()
    fixed = [otus.ir.specialise(loops, {"n": 20})[node] for node in loops]
    # Per block: 2·5·b·20 for the product, b·20 for exp and for each sum, 1 to add to the total.
    assert cost(fixed)().flops == 20 * 20 * 13 + 3
    # Results of 160 and 8 bytes, the input of 800, and two 8 × 20 blocks at once.
    assert cost(fixed)().peak_bytes == 160 + 8 + 800 + 2 * 8 * 20 * 8
    assert cost(loops)(n=20).peak_bytes == cost(fixed)().peak_bytes


@pytest.mark.parametrize("n", [0, 1, 7, 8, 20])
def test_the_last_block_may_be_short(n: int) -> None:
    loops = row_sums_of_gram()
    a = np.random.default_rng(n).random((n, 5))
    expected = np.exp(a @ a.T)
    run = otus.compile([otus.Expression.of(node) for node in loops])
    for got in (evaluate(loops, {"A": a}), run(A=a)):
        np.testing.assert_allclose(got[0], expected.sum(axis=1), rtol=1e-13)
        np.testing.assert_allclose(got[1], expected.sum(), rtol=1e-13)


@pytest.mark.parametrize("kind", ["max", "min", "prod", "any", "all", "logsumexp", "sum"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int32"])
def test_results_are_combined_over_blocks(kind: str, dtype: str) -> None:
    if dtype == "int32" and kind == "logsumexp":
        pytest.skip("logsumexp is of floating dtypes only")
    x = build.input_node("X", make_type((10, 3), dtype))
    block = build.input_node("x0", make_type(("block", 3), dtype))
    value = build.sum_axes(block, [0]) if kind == "sum" else build.reduce_node(kind, block, [0])
    loop = make(Blockwise((value,), 10, 4, (0,), (kind,)), x)
    data = (np.random.default_rng(5).random((10, 3)) * 4 - 2).astype(dtype)
    whole = np.logaddexp.reduce if kind == "logsumexp" else getattr(np, kind)
    wanted = whole(data.astype(float), axis=0)
    run = otus.compile(otus.Expression.of(loop))
    tolerance = 1e-6 if dtype == "float32" else 1e-13
    for got in (evaluate([loop], {"X": data})[0], run(data)):
        assert got.dtype == (bool if kind in ("any", "all") else dtype)
        np.testing.assert_allclose(got.astype(float), wanted.astype(float), rtol=tolerance)


# --- how operations carry an index -------------------------------------------------------------


def test_every_index_of_every_operation_computes_blocks_of_the_result() -> None:
    """Cutting an operation at any of its indices, alone, changes no value."""
    rng = np.random.default_rng(3)
    x = otus.tensor("X", (4, 6, 5))
    m = otus.tensor("M", (6, 5))
    square = otus.tensor("S", (4, 5, 5))
    places = otus.constant(np.array([2, 0, 1]))
    data = {"X": rng.random((4, 6, 5)), "M": rng.random((6, 5)), "S": rng.random((4, 5, 5)) + 5 * np.eye(5)}
    cases = [
        otus.einsum("ijk,jk->ki", x, m), otus.einsum("ijk->j", x), x + m, 2 * x - x.transpose(0, 1, 2) * m,
        x.max(axis=1), x.min(axis=(0, 2)), x.prod(axis=2), otus.logsumexp(x, axis=1), otus.cumsum(x, axis=1),
        otus.broadcast_to(m, (3, 6, 5)), x.reshape(4, 30), x.reshape(24, 5), x[:, 1:4, :], otus.flip(x, axis=2),
        otus.pad(x, ((0, 0), (1, 2), (0, 0))), otus.concatenate([x, x], axis=1), otus.take(x, places, axis=1),
        otus.cast(x, "float32"), otus.inv(square), otus.cholesky(otus.einsum("ijk,ilk->ijl", square, square)),
        otus.det(square), otus.einsum("ijj->ij", square), otus.diag(m[0]),
    ]  # fmt: skip
    tried = 0
    for case in cases:
        graph = parse_pipeline("expand,simplify,contract").run(Graph.of([case.node]))[0]
        before = evaluate(graph.outputs, data)[0]
        for node in graph.nodes():
            for axis in range(node.ndim):
                after = slice_index(graph, node, axis, lambda _: False)
                if after is not None:
                    tried += 1
                    np.testing.assert_allclose(
                        evaluate(after.outputs, data)[0], before, rtol=1e-6, err_msg=dump(after.outputs)
                    )
                everywhere = slice_index(graph, node, axis, lambda _: True)
                if everywhere is not None:
                    np.testing.assert_allclose(evaluate(everywhere.outputs, data)[0], before, rtol=1e-6)
    assert tried > 40


def test_diagonals_and_cumulated_axes_are_not_cut() -> None:
    x = build.input_node("X", make_type((4, 4)))
    assert [i.result for i in indices_of(build.einsum([x], [(0, 0)], (0,)))] == []
    assert [i.result for i in indices_of(otus.cumsum(otus.Expression.of(x), axis=0).node)] == [1]


# --- the pass ----------------------------------------------------------------------------------


def test_a_generous_limit_changes_nothing() -> None:
    a = otus.tensor("A", (30, 4))
    expression = otus.softmax(a @ a.T, axis=-1) @ a
    assert sliced(expression, "1GB").outputs == sliced(expression, "").outputs
    assert not loop_operations(sliced(expression, "1GB"))


def test_slicing_as_the_documentation_shows_it() -> None:
    a = otus.tensor("A", (900, 5))
    graph = sliced(otus.exp(a @ a.T).sum(axis=1), "1MiB")
    (loop,) = loop_operations(graph)
    assert (loop.size, loop.cut, loop.join) == (900, (0, None), (0,))
    assert peak(graph) <= 2**20
    assert 60 < loop.block < 80, "blocks are as long as the limit allows"


def test_slicing_twice_changes_nothing_more() -> None:
    a = otus.tensor("A", (200, 5))
    once = sliced(otus.exp(a @ a.T).sum(axis=1), "50kB")
    assert Slice("50kB").run(once).outputs == once.outputs


def test_an_index_that_is_carried_adds_no_flops() -> None:
    q, k, v = (otus.tensor(name, (300, 8)) for name in "QKV")
    attention = otus.softmax(q @ k.T, axis=-1) @ v
    before, after = sliced(attention, ""), sliced(attention, "150kB")
    assert len(loop_operations(after)) == 1, "softmax along the keys is inside of the block of queries"
    assert cost(after.outputs)().flops == cost(before.outputs)().flops
    assert peak(after) <= 150_000 < peak(before)


def test_a_value_and_its_gradient_share_one_loop() -> None:
    q, k = otus.tensor("Q", (300, 8)), otus.tensor("K", (300, 8))
    loss = ((otus.sin(q @ k.T) - 1) ** 2).sum()
    pipeline = parse_pipeline(f"{otus.pipeline()},slice{{memory=150kB}}")
    graph = pipeline.run(Graph.of([loss.node, *(x.node for x in otus.grad(loss, [q, k]))]))[0]
    assert len({(op.body, op.size, op.block) for op in loop_operations(graph)}) == 1
    assert peak(graph) <= 150_000


def test_softmax_along_the_only_large_index_takes_two_loops_that_both_compute_it() -> None:
    a, b = otus.tensor("A", (20000,)), otus.tensor("B", (20000, 3))
    x = otus.exp(otus.einsum("ij,j->ij", b, otus.constant(np.arange(3.0)))) * a[:, None]
    normalised = (x / x.sum(axis=0) * b).sum()
    before, after = sliced(normalised, ""), sliced(normalised, "100kB")
    data = {"A": np.random.default_rng(0).random(20000), "B": np.random.default_rng(1).random((20000, 3))}
    np.testing.assert_allclose(evaluate(after.outputs, data), evaluate(before.outputs, data), rtol=1e-10)
    assert peak(after) <= 100_000


def test_what_a_loop_would_read_whole_is_computed_again_in_it() -> None:
    a = otus.tensor("A", (120, 120))
    product = otus.exp(a) @ otus.exp(a.T)
    before, after = sliced(product, ""), sliced(product, "150kB")
    assert peak(after) <= 150_000, "the product takes 115 kB, and exp(A) as much"
    assert cost(before.outputs)().flops < cost(after.outputs)().flops < 1.2 * cost(before.outputs)().flops
    (outer,) = loop_operations(after)
    assert [x.op.name for x in Graph.of(outer.body).nodes()].count("map") == 1
    data = {"A": np.random.default_rng(0).random((120, 120))}
    for graph in (before, after):
        np.testing.assert_allclose(evaluate(graph.outputs, data)[0], np.exp(data["A"]) @ np.exp(data["A"]).T)


def test_limits_are_options_of_contract_and_slice() -> None:
    a = otus.tensor("A", (200, 5))
    expression = otus.exp(a @ a.T).sum(axis=1)
    by_slice = otus.optimize(expression, pipeline="expand,simplify,contract,slice{memory=50kB}")
    assert otus.optimize(expression, pipeline="expand,simplify,contract{memory=50kB}") is by_slice
    assert otus.optimize(expression, pipeline="expand,simplify,contract", memory_limit=50_000) is by_slice
    with pytest.raises(otus.OtusError, match="memory limit 'lots' is not a size"):
        parse_pipeline("slice{memory=lots}")


def test_the_refusal_names_the_tensor_its_size_and_a_limit_that_would_do() -> None:
    a = otus.tensor("A", (100, 100))
    with pytest.raises(otus.MemoryLimitError) as caught:
        otus.optimize({"product": otus.exp(a) @ otus.exp(a)}, memory_limit="60kB")
    message = str(caught.value)
    assert "a limit of 58.59 KiB cannot be kept" in message
    assert "f64[100,100]" in message
    assert "takes 78.12 KiB" in message
    least = int(re.search(r"a limit of (\d+) bytes", message)[1])  # type: ignore[index]
    graph = otus.optimize({"product": otus.exp(a) @ otus.exp(a)}, memory_limit=least)
    assert peak(Graph.of([graph["product"].node])) <= least
    with pytest.raises(otus.MemoryLimitError):
        otus.optimize({"product": otus.exp(a) @ otus.exp(a)}, memory_limit=least * 9 // 10)


def test_a_limit_needs_sizes() -> None:
    a = otus.tensor("A", ("n", "n"))
    with pytest.raises(otus.NamingError, match="a memory limit needs every size, and dim n has none"):
        otus.optimize(a @ a, memory_limit="1GB")
    assert otus.optimize(a @ a, dims={"n": 10}, memory_limit="1GB").shape == (10, 10)
