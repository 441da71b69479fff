"""Lowering: buffers, lifetimes, memory order, and how dims are bound."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from programs import leaf

from otus.ir import Graph, NamingError, Node, VerificationError, build, dim, make
from otus.ir import operations as ops
from otus.ir.dtypes import DType
from otus.ir.kernels import Contraction, Copy, DiagonalEmbedding, Factorisation, Rearrangement
from otus.ir.program import (
    Program,
    bytes_at_steps,
    lifetimes,
    planned_peak,
    program_text,
    releases,
    verify_program,
)
from otus.passes.contraction.memory_order import Operand, elementwise_memory
from otus.passes.lower import lower


def program(*outputs: Node, known: tuple[Node, ...] = (), **sizes: int) -> Program:
    return lower(Graph.of(outputs), known, sizes)


def kernels(*outputs: Node) -> list[type]:
    return [type(call.kernel) for call in program(*outputs).calls]


X, x = leaf("X", "n", "n"), leaf("x", "n")


def test_text_of_a_program() -> None:
    loss = build.einsum([build.apply("exp", build.einsum([X, x], [(0, 1), (1,)], (0,)))], [(0,)], ())
    assert program_text(program(loss, build.transpose(X, (1, 0)))) == (
        "program kernel(X: f64[n,n], x: f64[n]) -> out0, out1\n"
        "  dim n = X.shape[0]\n"
        '  t0: f64[n] = contract "ij,j->i" by matrix: rows i, inner j, planned 1.85 µs   X, x   # 8*n bytes\n'
        "  t1: f64[n] = apply map   t0   # 8*n bytes, epilogue of t0, frees t0\n"
        '  out0: f64[] = rearrange "i->"   t1   # 8 B, epilogue of t0, frees t1\n'
        '  t2: f64[n,n] = rearrange "ij->ji"   X   # view of X\n'
        "  out1: f64[n,n] = copy   t2   # 8*n**2 bytes, frees t2\n"
    )


def test_kinds_of_kernels() -> None:
    assert kernels(build.einsum([X, X], [(0, 1), (1, 2)], (0, 2))) == [Contraction]
    assert kernels(build.contract([x], [(0,)], (0, 0))) == [DiagonalEmbedding]
    assert kernels(build.einsum([X], [(0, 0)], ())) == [Rearrangement]
    assert kernels(X) == [Copy]
    eigen = [make(ops.HermitianEigen(result), X) for result in ("eigenvectors", "eigenvalues")]
    (call,) = program(*eigen).calls
    assert isinstance(call.kernel, Factorisation)
    assert call.kernel.results == ("eigenvalues", "eigenvectors")
    assert call.outputs == ("out1", "out0")


def test_different_factorisations_stay_apart() -> None:
    upper = make(ops.HermitianEigen("eigenvalues", "U"), X)
    lower_triangle = make(ops.HermitianEigen("eigenvectors", "L"), X)
    assert kernels(upper, lower_triangle) == [Factorisation, Factorisation]


def test_views_keep_what_they_look_at_alive() -> None:
    first = build.apply("exp", X)
    diagonal = build.einsum([first], [(0, 0)], (0,))
    second = build.apply("tanh", X)
    total = build.sum_axes(build.add(diagonal, build.einsum([second], [(0, 0)], (0,))), [0])
    lowered = program(total)
    steps = lifetimes(lowered)
    assert steps["t0"][1] == steps["t1"][1] == 4
    assert releases(lowered)[4] == ("t0", "t1", "t2", "t3")


def test_planned_peak_counts_inputs_outputs_and_what_is_live() -> None:
    first = build.apply("exp", X)
    second = build.apply("tanh", first)
    total = build.sum_axes(second, [0, 1])
    lowered = program(total)
    assert bytes_at_steps(lowered, {"n": 10}) == [800, 1600, 2400, 1608]
    assert planned_peak(lowered, {"n": 10}) == 2400


def test_outputs_never_share_memory() -> None:
    y = build.apply("exp", X)
    lowered = program(y, build.transpose(y, (1, 0)), y, X, build.broadcast(y, (0, 1), (*X.type.shape, 2)))
    assert sum(isinstance(call.kernel, Copy) for call in lowered.calls) == 4


def test_elementwise_results_have_the_memory_order_that_numpy_chooses() -> None:
    rng = np.random.default_rng(0)
    sizes = {0: 2, 1: 3, 2: 4}
    subsets = [labels for k in range(1, 4) for labels in itertools.permutations(range(3), k)]
    for _ in range(400):
        arrays, operands = [], []
        for _ in range(2):
            memory = subsets[rng.integers(len(subsets))]
            array = np.zeros([sizes[x] for x in memory])
            order = sorted(range(len(memory)), key=lambda k, m=memory: m[k])
            labels = tuple(memory[k] for k in order)
            operands.append(Operand(labels, memory))
            expanded = array.transpose(order)
            for axis in range(3):
                if axis not in labels:
                    expanded = np.expand_dims(expanded, axis)
            arrays.append(expanded)
        if set(operands[0].labels) | set(operands[1].labels) != {0, 1, 2}:
            continue
        result = arrays[0] * arrays[1]
        actual = tuple(sorted(range(3), key=lambda k, r=result: -r.strides[k]))
        assert elementwise_memory(operands, (0, 1, 2), sizes) == actual


# --- dims --------------------------------------------------------------------------------------


def bindings(*outputs: Node, known: tuple[Node, ...] = ()) -> list[str]:
    return [str(each) for each in program(*outputs, known=known).dims]


def test_dims_come_from_the_inputs_that_are_read() -> None:
    unused = leaf("A", "m", "n")
    assert bindings(build.apply("exp", X), known=(unused, X)) == ["n = X.shape[0]"]
    assert program(build.apply("exp", X), known=(unused, X)).inputs == ("X",)


def test_dims_may_need_an_input_for_its_shape_only() -> None:
    unused = leaf("A", "m", "k")
    value = build.reshape(build.iota(dim("k"), DType.int64), (1, dim("k")))
    lowered = program(build.apply("exp", x), value, known=(unused, x))
    assert [str(each) for each in lowered.dims] == ["n = x.shape[0]", "k = A.shape[1]"]
    assert lowered.inputs == ("A", "x")
    assert lowered.buffer_map()["A"].role == "shape"


def test_compound_sizes_are_solved() -> None:
    a, b = leaf("a", 2 * dim("n") + 1), leaf("b", dim("n") * dim("m"))
    assert bindings(build.apply("exp", a), build.apply("exp", b)) == [
        "n = (a.shape[0] - (1)) // (2)",
        "m = b.shape[0] // (n)",
    ]


def test_a_dim_that_nothing_determines() -> None:
    with pytest.raises(NamingError, match=r"no input determines the size of dim k; give it one.*dims=\{'k': 8\}"):
        program(build.iota(dim("k"), DType.int64))


def test_derivatives_must_be_expanded_first() -> None:
    total = build.sum_axes(x, [0])
    with pytest.raises(VerificationError, match="grad is still in the graph; run the pass 'expand'"):
        program(make(ops.Derivative("grad"), total, x))


def test_a_program_that_reads_too_early_is_refused() -> None:
    lowered = program(build.sum_axes(build.apply("exp", X), [0]))
    broken = Program(**{**vars(lowered), "calls": tuple(reversed(lowered.calls))})
    with pytest.raises(VerificationError, match="reads buffer 't0' before it is made"):
        verify_program(broken)
    aliased = Program(**{**vars(lowered), "outputs": ("t0",)})
    with pytest.raises(VerificationError, match="output 't0' is not computed into an output buffer"):
        verify_program(aliased)
