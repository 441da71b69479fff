"""Fusion of random elementwise graphs of mixed dtypes, ranks and axis orders: NumPy gives the same bits."""

from __future__ import annotations

import random

import numpy as np
import pytest
from evaluation import assert_round_trip
from programs import Array, leaf, run_emitted

from otus.ir import DTypeError, Graph, Node, OtusError, build, cost
from otus.ir.operations import Input
from otus.ir.scalar import Scalar, argument, call, literal
from otus.passes.fuse import Fuse

DTYPES = ("float64", "float32", "int32", "uint8", "bool", "float16", "complex64", "int8")
UNARY = ("exp", "neg", "square", "abs", "tanh", "sqrt", "sign", "relu", "floor", "reciprocal", "logical_not")
BINARY = ("add", "sub", "mul", "div", "maximum", "minimum", "lt", "eq", "logical_and")
SIZES = {"b": 3, "n": 4}

Term = tuple[Node, tuple[int, ...]]


def random_expression(chooser: random.Random, depth: int, count: int) -> Scalar:
    kind = chooser.random()
    if depth == 0 or kind < 0.15:
        number = literal(chooser.choice([1, 2.5, -1.5, True, 0, 0.3]))
        return argument(chooser.randrange(count)) if chooser.random() < 0.8 else number
    if kind < 0.5:
        return call(chooser.choice(UNARY), random_expression(chooser, depth - 1, count))
    name, arity = (chooser.choice(BINARY), 2) if kind < 0.9 else ("where", 3)
    return call(name, *(random_expression(chooser, depth - 1, count) for _ in range(arity)))


def random_leaf(chooser: random.Random, position: int) -> Term:
    labels = chooser.choice([(0, 1), (0, 1), (1, 0), (0,), (1,), ()])
    dtype = chooser.choice(DTYPES) if chooser.random() < 0.6 else "float32"
    return leaf(f"x{position}", *("bn"[axis] for axis in labels), dtype=dtype), labels


def random_node(chooser: random.Random, pool: list[Term]) -> Term:
    """A map, sum or product over terms of the pool; raises ``DTypeError`` where their dtypes do not go together."""
    terms = [chooser.choice(pool) for _ in range(chooser.randint(1, 3))]
    kind = chooser.random()
    if kind >= 0.6:
        terms = [term for term in terms if term[0].type.dtype is terms[0][0].type.dtype]
    if kind >= 0.8:
        terms = terms[:2]
    operands = [node for node, _ in terms]
    covered = sorted({axis for _, labels in terms for axis in labels})
    inputs = [tuple(covered.index(axis) for axis in labels) for _, labels in terms]
    if kind < 0.6:
        expression = random_expression(chooser, chooser.randint(1, 3), len(operands))
        node = build.map_node(expression, operands, inputs, len(covered))
    elif kind < 0.8:
        node = build.linear_combination([chooser.choice([1, -1, 2, -3]) for _ in terms], operands, inputs, len(covered))
    else:
        node = build.einsum(operands, inputs, range(len(covered)))
    return node, tuple(covered)


def random_graph(seed: int) -> Graph:
    chooser = random.Random(seed)
    pool = [random_leaf(chooser, position) for position in range(chooser.randint(2, 4))]
    made: list[Node] = []
    while len(made) < 5:
        try:
            term = random_node(chooser, pool)
        except DTypeError:
            continue
        pool.append(term)
        made.append(term[0])
    return Graph.of(list(dict.fromkeys([made[-1], *chooser.sample(made, 2)])))


def random_data(graph: Graph, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    data: dict[str, Array] = {}
    for node in graph.inputs:
        assert isinstance(node.op, Input)
        values = 3 * rng.standard_normal([SIZES[str(size)] for size in node.type.shape])
        data[node.op.label] = np.asarray(values).astype(node.type.dtype.value)
    return data


@pytest.mark.parametrize("first", range(0, 600, 100))
def test_bits_dtypes_and_flops(first: int) -> None:
    compared = 0
    for seed in range(first, first + 100):
        before = random_graph(seed)
        data = random_data(before, seed)
        with np.errstate(all="ignore"):
            try:
                expected = run_emitted(before, data)
            except (OtusError, TypeError, OverflowError):
                continue  # literals that do not fit an integer, or functions that NumPy lacks for a dtype
            after = Fuse().run(before)
            actual = run_emitted(after, data)
        compared += 1
        assert_round_trip(after.outputs)
        assert Fuse().run(after).outputs == after.outputs, seed
        assert cost(after.outputs)(SIZES).flops <= cost(before.outputs)(SIZES).flops, seed
        for a, b in zip(actual, expected, strict=True):
            assert a.dtype == b.dtype, seed
            np.testing.assert_array_equal(a, b, err_msg=f"seed {seed}")
    assert compared > 60
