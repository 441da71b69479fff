"""What may be computed within the loop of a contraction."""

from __future__ import annotations

import dataclasses

import pytest
from programs import leaf
from random_programs.outputs import otus_outputs
from random_programs.programs import random_program

import otus
from otus.ir import Graph, Node, VerificationError, build
from otus.ir.program import KernelCall, Program, program_text, verify_program
from otus.passes import DEFAULT_PIPELINE, parse_pipeline
from otus.passes.fusion.epilogues import contraction_loops, epilogue_of, is_contraction, prologues_of, readers_of
from otus.passes.lower import lower
from otus.structures import flatten

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


# --- in the program ----------------------------------------------------------------------------


def marks(*outputs: Node) -> dict[str, tuple[str | None, str | None]]:
    """The results of steps that are marked: prologue of what, epilogue of what."""
    calls = lower(Graph.of(outputs)).calls
    return {x.outputs[0]: (x.prologue_of, x.epilogue_of) for x in calls if x.prologue_of or x.epilogue_of}


def test_steps_of_the_program_are_marked() -> None:
    shifted = build.apply("exp", A)
    biased = with_bias(build.einsum([shifted, B], [(0, 1), (1, 2)], (0, 2)))
    assert marks(build.sum_axes(biased, [1])) == {"t0": ("t1", None), "t2": (None, "t1"), "out0": (None, "t1")}
    assert marks(biased, shifted) == {"out0": (None, "t0")}
    chain = build.einsum([build.apply("tanh", PRODUCT), leaf("C", "k", "m")], [(0, 1), (1, 2)], (0, 2))
    assert marks(chain) == {"t1": ("out0", "t0")}
    assert [x for x in program_text(lower(Graph.of([chain]))).splitlines() if "apply" in x] == [
        "  t1: f64[i,k] = apply map   t0   # 8*i*k bytes, prologue of out0, epilogue of t0, frees t0"
    ]


def test_views_and_copies_are_not_marked() -> None:
    assert marks(build.transpose(PRODUCT, (1, 0))) == {}
    assert marks(with_bias(PRODUCT), with_bias(PRODUCT)) == {"out0": (None, "t0")}
    assert marks(with_bias(PRODUCT), PRODUCT) == {}
    assert marks(build.einsum([A, leaf("C", "i", "j")], [(0, 1), (0, 1)], (0, 1))) == {}


def test_wrong_marks_are_refused() -> None:
    lowered = lower(Graph.of([with_bias(PRODUCT), build.apply("exp", A)]))
    product, biased, exp = lowered.calls
    for wrong, words in (
        (dataclasses.replace(exp, epilogue_of="t0"), "'out1' is no epilogue of 't0': others read what is between them"),
        (dataclasses.replace(exp, epilogue_of="B"), "'out1' is no epilogue of 'B'"),
        (dataclasses.replace(exp, prologue_of="t0"), "'out1' is no prologue of 't0': no contraction alone reads it"),
    ):
        with pytest.raises(VerificationError, match=words):
            verify_program(dataclasses.replace(lowered, calls=(product, biased, wrong)))


def test_marks_of_random_programs() -> None:
    """Counted here once more: between a contraction and a step of its loop nothing else reads."""
    found = 0
    for seed in range(40):
        graph, _ = parse_pipeline(DEFAULT_PIPELINE).run(random_graph(seed))
        lowered = lower(graph)
        calls = {name: call for call in lowered.calls for name in call.outputs}
        for name, call in calls.items():
            found += call.prologue_of is not None or call.epilogue_of is not None
            if call.prologue_of is not None:
                assert reads(lowered, name) == [calls[call.prologue_of]]
            if call.epilogue_of is not None:
                (first,) = reads(lowered, call.epilogue_of)
                assert first is call or reads(lowered, first.outputs[0]) == [call]
    assert found > 40


def reads(program: Program, name: str) -> list[KernelCall]:
    assert name not in program.outputs
    return [call for call in program.calls for read in call.inputs if read == name]


def random_graph(seed: int) -> Graph:
    outputs = flatten(otus_outputs(random_program(seed)), lambda x: isinstance(x, otus.Expression))
    return Graph.of([x.node for x in outputs])
