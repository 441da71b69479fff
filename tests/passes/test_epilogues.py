"""What may be computed within the loop of a contraction."""

from __future__ import annotations

from programs import leaf

import otus
from otus.ir import Graph, Node, build
from otus.passes import parse_pipeline
from otus.passes.fusion.epilogues import contraction_loops, epilogue_of, is_contraction, prologues_of, readers_of

A, B, b = leaf("A", "i", "j"), leaf("B", "j", "k"), leaf("b", "k")
PRODUCT = build.einsum([A, B], [(0, 1), (1, 2)], (0, 2))


def epilogue(*outputs: Node) -> list[str]:
    return [node.op.name for node in epilogue_of(PRODUCT, readers_of(Graph.of(outputs)))]


def with_bias(product: Node) -> Node:
    return build.linear_combination([1, 1], [product, b], [(0, 1), (1,)], 2)


def test_a_bias_and_a_sum_are_an_epilogue() -> None:
    assert epilogue(with_bias(PRODUCT)) == ["linear_combination"]
    assert epilogue(build.einsum([PRODUCT, b], [(0, 1), (1,)], (0, 1))) == ["einsum"]
    assert epilogue(build.sum_axes(with_bias(PRODUCT), [1])) == ["linear_combination", "einsum"]
    assert epilogue(build.reduce_node("max", PRODUCT, [0])) == ["reduce"]


def test_other_readers_keep_the_result() -> None:
    assert epilogue(with_bias(PRODUCT), PRODUCT) == []
    assert epilogue(with_bias(PRODUCT), build.apply("exp", PRODUCT)) == []
    biased = with_bias(PRODUCT)
    assert epilogue(biased, build.sum_axes(biased, [0])) == ["linear_combination"]


def test_another_index_space_is_no_epilogue() -> None:
    spread = build.linear_combination([1, 1], [PRODUCT, leaf("X", "m", "i", "k")], [(1, 2), (0, 1, 2)], 3)
    assert epilogue(spread) == []
    square = build.einsum([A, A], [(0, 1), (2, 1)], (0, 2))
    both = build.linear_combination([1, 1], [square, square], [(0, 1), (1, 0)], 2)
    assert epilogue_of(square, readers_of(Graph.of([both]))) == ()
    assert epilogue(build.einsum([PRODUCT, B], [(0, 1), (2, 1)], (0, 2))) == []


def test_prologues() -> None:
    shifted = build.apply("exp", A)
    product = build.einsum([shifted, B], [(0, 1), (1, 2)], (0, 2))
    assert prologues_of(product, readers_of(Graph.of([product]))) == (shifted, None)
    assert prologues_of(product, readers_of(Graph.of([product, shifted]))) == (None, None)
    twice = build.einsum([shifted, shifted], [(0, 1), (2, 1)], (0, 2))
    assert prologues_of(twice, readers_of(Graph.of([twice]))) == (None, None)


def test_a_layer_after_fusion() -> None:
    x, w, c = otus.tensor("x", ("n", "d")), otus.tensor("w", ("d", "h")), otus.tensor("c", ("h",))
    y = otus.tensor("y", ("n", "h"))
    loss = otus.square(otus.tanh(otus.exp(x) @ w + c) - y).sum()
    graph, _ = parse_pipeline("expand,simplify,contract,fuse").run(Graph.of([loss.node]))
    (loop,) = contraction_loops(graph)
    assert is_contraction(loop.contraction)
    assert [None if node is None else node.op.name for node in loop.prologues] == ["map", None]
    assert [node.op.name for node in loop.epilogue] == ["map", "einsum"]
