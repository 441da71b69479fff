"""Windows: which blocks a pass over scores need not visit, where it must visit all, and that values stay."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from evaluation import assert_round_trip

import otus
from otus.ir import Graph, Node, VerificationError, make
from otus.ir import operations as ops
from otus.ir.kernels import BlockLoop
from otus.ir.traverse import rebuild
from otus.passes import Tile, parse_pipeline
from otus.passes.lower import lower
from otus.runtime.reference import evaluate

FUSED = parse_pipeline("stabilise,expand,simplify,sharpen,distribute,solves,contract,factor,symmetric,fuse")
INFINITY = float("inf")
Masked = Callable[[Any, Any, Any, dict[str, Any]], Any]  # scores, positions along rows and columns, tensors -> scores


def where(sees: Callable[[Any, Any], Any], otherwise: float = -INFINITY) -> Masked:
    return lambda scores, row, column, x: otus.where(sees(row, column), scores, otherwise)


def attention(masked: Masked, rows: int, columns: int, gradients: bool = True) -> list[Any]:
    """The output and, if wanted, its products with a Jacobian's transpose: passes for the output, rows and columns."""
    shapes = {"Q": (rows, 3), "K": (columns, 3), "V": (columns, 2), "U": (rows, 2)}
    x = {name: otus.tensor(name, shape) for name, shape in (shapes | {"M": (rows, columns), "P": (columns,)}).items()}
    scores = masked(x["Q"] @ x["K"].T, otus.arange(rows)[:, None], otus.arange(columns), x)
    output = otus.softmax(scores, axis=1) @ x["V"]
    return [output, *(otus.vjp(output, [x["Q"], x["K"], x["V"]], [x["U"]]) if gradients else ())]


def tiled(outputs: Sequence[Any]) -> tuple[Graph, Graph]:
    """The graph before and after, with blocks of 7 rows and 5 columns."""
    before, _ = FUSED.run(Graph.of([x.node for x in outputs]))
    after, counted = Tile().run_counting(before)
    assert counted
    return before, with_loops(
        after, lambda op: dataclasses.replace(op, block={"rows": 7, "columns": 5}.get(op.symbol, 1))
    )


def with_loops(graph: Graph, change: Callable[[ops.Blockwise], ops.Blockwise]) -> Graph:
    """The graph with other loops, those within loops among them."""

    def changed(node: Node, operands: Sequence[Node]) -> Node:
        if not isinstance(node.op, ops.Blockwise):
            return rebuild(node, operands)
        body = with_loops(Graph.of(node.op.body), change).outputs
        return make(change(dataclasses.replace(node.op, body=body)), *operands)

    return graph.transform(changed)


def without_windows(graph: Graph) -> Graph:
    return with_loops(graph, lambda op: dataclasses.replace(op, window=None))


def windows(graph: Graph) -> list[tuple[int | None, int | None]]:
    """Those of the passes, in order; (None, None) for none."""
    found: dict[tuple[Any, ...], tuple[int | None, int | None]] = {}
    pending = list(lower(graph).calls)
    while pending:
        kernel = pending.pop(0).kernel
        if isinstance(kernel, BlockLoop):
            if kernel.symbol == "columns":
                found[(len(found),)] = (None, None) if kernel.window is None else kernel.window[1:]
            pending = [*kernel.body.calls, *pending]
    return list(found.values())


def assert_same(graph: Graph, others: Sequence[Graph], data: dict[str, Any], tolerance: float = 1e-12) -> None:
    values = evaluate(graph.outputs, data)
    for other in others:
        for value, wanted in zip(values, evaluate(other.outputs, data), strict=True):
            np.testing.assert_allclose(value, wanted, tolerance, tolerance)


def random_data(graph: Graph) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {x.op.label: rng.standard_normal([int(n) for n in x.type.shape]) for x in graph.inputs}


NONE = (None, None)
CAUSAL = [(None, 0), (None, 0), (0, None)]


@pytest.mark.parametrize(
    ("masked", "rows", "columns", "wanted"),
    [
        (where(lambda q, k: q >= k), 40, 40, CAUSAL),
        (where(lambda q, k: k <= q, -1e30), 40, 40, CAUSAL),
        (where(lambda q, k: q >= k), 24, 37, CAUSAL),
        (where(lambda q, k: q >= k, -1e30), 37, 24, CAUSAL),
        (where(lambda q, k: q + 5 >= k), 24, 37, [(None, 5), (None, 5), (-5, None)]),
        (where(lambda q, k: k < q + 1), 40, 40, CAUSAL),
        (where(lambda q, k: k >= q, -1e30), 31, 31, [(0, None), (0, None), (None, 0)]),
        (where(lambda q, k: k >= q + 3), 20, 33, [(3, None), (3, None), (None, -3)]),
        (where(lambda q, k: k == q), 30, 30, [(0, 0), (0, 0), (0, 0)]),
        (where(lambda q, k: otus.abs(q - k) < 0), 30, 30, [NONE, NONE, NONE]),  # not understood
        (lambda s, q, k, x: otus.where(k > q, -INFINITY, otus.tanh(s / 5) * 5), 40, 40, CAUSAL),
        (lambda s, q, k, x: otus.where(k <= q, otus.where(k > q - 9, s, -INFINITY), -INFINITY), 40, 40,
         [(-8, 0), (-8, 0), (0, 8)]),
        # Rows that see nothing, or may: 0 / 0 is NaN for the elements that are hidden from them too.  What `where`
        # hides again, as the gradient of the queries, is not concerned.
        (where(lambda q, k: q - 4 >= k), 40, 40, [(None, -4), (None, -4), NONE]),
        (where(lambda q, k: q > k, -1e30), 40, 40, [NONE, (None, -1), NONE]),
        (where(lambda q, k: k >= q), 40, 30, [(0, None), (0, None), NONE]),
        (lambda s, q, k, x: otus.where(q >= k, otus.where(x["P"] > 0, s, -INFINITY), -INFINITY), 40, 40,
         [(None, 0), (None, 0), NONE]),
        (lambda s, q, k, x: otus.where(q >= k, otus.where(x["P"] > 0, s, -1e30), -1e30), 40, 40,
         [NONE, (None, 0), NONE]),
        (lambda s, q, k, x: otus.where(q >= k, s + x["M"], -INFINITY), 40, 40, [(None, 0), (None, 0), NONE]),
        (lambda s, q, k, x: otus.where(q >= k, otus.where(q != 7, s, -INFINITY), -INFINITY), 40, 40,
         [(None, 0), (None, 0), NONE]),
        # What is hidden is there all the same.
        (where(lambda q, k: q >= k, -1e9), 40, 40, [NONE, (None, 0), NONE]),
        (where(lambda q, k: q >= k, 0.0), 40, 40, [NONE, (None, 0), NONE]),
        (where(lambda q, k: q >= 2 * k), 40, 40, [NONE, NONE, NONE]),
    ],
)  # fmt: skip
def test_attention(masked: Masked, rows: int, columns: int, wanted: list[Any]) -> None:
    before, after = tiled(attention(masked, rows, columns))
    assert sorted(windows(after), key=str) == sorted(wanted, key=str)
    assert_round_trip(after.outputs)
    data = random_data(before)
    with np.errstate(all="ignore"):
        assert_same(after, [without_windows(after), before], data)


def linear(masked: Masked) -> list[Any]:
    scores = otus.tensor("Q", (40, 3)) @ otus.tensor("K", (40, 3)).T
    return [masked(scores, otus.arange(40)[:, None], otus.arange(40), {}) @ otus.tensor("V", (40, 2))]


@pytest.mark.parametrize(
    ("masked", "wanted"),
    [
        (where(lambda q, k: q >= k, 0.0), (None, 0)),
        (lambda s, q, k, x: s * otus.cast(q >= k, "float64"), (None, 0)),
        (lambda s, q, k, x: otus.where(q >= k, otus.exp(s), 0.0), (None, 0)),
        (lambda s, q, k, x: otus.exp(otus.where(q >= k, s, -INFINITY)), (None, 0)),
        (lambda s, q, k, x: otus.exp(s) * otus.cast(q >= k, "float64"), NONE),  # 0 times infinity is NaN
        (lambda s, q, k, x: otus.exp(otus.where(q >= k, s, 0.0)), NONE),
    ],
)
def test_sums_without_a_maximum(masked: Masked, wanted: Any) -> None:
    before, after = tiled(linear(masked))
    assert windows(after) == [wanted]
    assert_same(after, [without_windows(after), before], random_data(before))


def test_a_maximum_of_sums_hidden_one_by_one() -> None:
    """Every row sees keys of its own block only: what the loops begin with is not seen by most."""
    before, after = tiled(attention(where(lambda q, k: k == q), 40, 40))
    data = random_data(before)
    values = evaluate(after.outputs, data)
    np.testing.assert_allclose(values[0], data["V"], 1e-12)
    np.testing.assert_allclose(values[3], data["U"], 1e-12)


@pytest.mark.parametrize("special", [np.nan, INFINITY, -INFINITY])
def test_scores_that_are_hidden_may_be_anything(special: float) -> None:
    """The last keys: in the scores of one row they are seen."""
    before, after = tiled(attention(where(lambda q, k: q >= k), 40, 40, gradients=False))
    assert windows(after) == [(None, 0)]
    data = random_data(before)
    data["K"][39] = special
    with np.errstate(all="ignore"):
        assert_same(after, [without_windows(after), before], data)


@pytest.mark.parametrize("otherwise", [-INFINITY, -1e30])
def test_scores_far_below_zero(otherwise: float) -> None:
    before, after = tiled(attention(where(lambda q, k: q >= k, otherwise), 40, 40))
    data = random_data(before)
    data["Q"] *= 1e5
    data["Q"][:, 1:] = 0
    data["K"][:, 0] = -1e5
    assert_same(after, [without_windows(after), before], data, 1e-9)


def test_a_window_stands_within_a_loop() -> None:
    _, after = tiled(attention(where(lambda q, k: q >= k), 40, 40, gradients=False))
    (nest,) = [x for x in after.nodes() if isinstance(x.op, ops.Blockwise)]
    assert isinstance(nest.op, ops.Blockwise)
    inner = next(x for x in Graph.of(nest.op.body).nodes() if isinstance(x.op, ops.Blockwise))
    data = {f"x{k}": np.zeros([7 if not isinstance(n, int) else n for n in x.type.shape], x.type.dtype.value)
            for k, x in enumerate(inner.operands)}  # fmt: skip
    with pytest.raises(
        VerificationError, match="a window around the blocks 'rows', of a loop over columns that stands"
    ):
        evaluate([inner], data)
    with pytest.raises(VerificationError, match="whose blocks may run at once; it is for one within another loop"):
        make(dataclasses.replace(nest.op, window=("rows", None, 0)), *nest.operands)
