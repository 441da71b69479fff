"""Places of large temporaries: which have one, what may share memory, and how a program shows it."""

from __future__ import annotations

import dataclasses
import itertools
import re

import pytest

import otus
from otus.ir import DType, Graph, VerificationError
from otus.ir.evaluation import Elementwise, elementwise_form, evaluation
from otus.ir.place_checks import verify_places
from otus.ir.program import Buffer, Place, Program, lifetimes, program_text
from otus.ir.scalar import parse_scalar, scalar_text
from otus.passes import parse_pipeline
from otus.passes.lower import lower
from otus.passes.memory.places import with_places

N = 200
SIZES = {"n": N}
A, B, v = otus.tensor("A", ("n", "n")), otus.tensor("B", ("n", "n")), otus.tensor("v", ("n",))


def placed(*outputs: otus.Expression, sizes: dict[str, int] = SIZES, pipeline: str = "") -> Program:
    graph = Graph.of([each.node for each in outputs])
    graph, _ = parse_pipeline(pipeline or otus.pipeline()).run(graph, sizes)
    return with_places(lower(graph, sizes=sizes), sizes)


def buffers_of(program: Program) -> dict[str, Buffer]:
    return program.buffer_map()


def test_temporaries_share_one_workspace_and_dying_ones_are_overwritten() -> None:
    program = placed(otus.tanh(otus.tanh(A @ B) @ B) @ A)
    assert re.sub(", planned [^ ]+ .s", "", program_text(program)) == GOLDEN
    assert program.workspace == 2 * 8 * N * N
    assert program.planned_for == (("n", N),)


GOLDEN = """\
program kernel(A: f64[n,n], B: f64[n,n]) -> out0
  dim n = A.shape[0]
  workspace 625 KiB
  t0: f64[n,n] = contract "ij,jk->ik" by matrix: rows i, columns k, inner j   A, B   # 8*n**2 bytes at 0
  t1: f64[n,n] = apply map   t0   # 8*n**2 bytes in place of t0, step by step, prologue of t2, epilogue of t0, frees t0
  t2: f64[n,n] = contract "ij,jk->ik" by matrix: rows i, columns k, inner j   t1, B   # 8*n**2 bytes at 320000, frees t1
  t3: f64[n,n] = apply map   t2   # 8*n**2 bytes in place of t2, step by step, prologue of out0, epilogue of t2, frees t2
  out0: f64[n,n] = contract "ij,jk->ik" by matrix: rows i, columns k, inner j   t3, A   # 8*n**2 bytes, frees t3
"""  # noqa: E501


@pytest.mark.parametrize("sizes", [{"n": 20}, {"n": 100}])
def test_small_programs_stay_as_they_are(sizes: dict[str, int]) -> None:
    graph, _ = parse_pipeline(otus.pipeline()).run(Graph.of([(otus.tanh(otus.tanh(A @ B) @ B) @ A).node]), sizes)
    lowered = lower(graph, sizes=sizes)
    assert with_places(lowered, sizes) is lowered


def test_unknown_sizes_have_no_places() -> None:
    lowered = lower(Graph.of([(otus.tanh(A @ B) @ A).node]))
    assert with_places(lowered, {}) is lowered


def test_what_is_read_through_a_view_as_well_is_not_overwritten() -> None:
    """``M + Mᵀ`` in place of ``M`` would read elements that are new already."""
    program = placed(otus.tanh(A @ B + (A @ B).T) @ B)
    assert program.workspace == 2 * 8 * N * N
    assert all(buffer.place is None or buffer.place.over is None for buffer in program.buffers)
    X = otus.einsum("ij->ji", A @ B)  # a view with a name of its own
    program = placed(X @ A + A @ B + X, pipeline="expand")
    assert all(buffer.place is None or buffer.place.over != "t0" for buffer in program.buffers)


def test_outputs_and_what_they_look_at_have_no_places() -> None:
    program = placed((A @ B).T, otus.exp(A @ B), (A @ B @ A)[:, None].T)
    buffers = buffers_of(program)
    for name in program.outputs:
        current: str | None = name
        while current is not None:
            assert buffers[current].place is None
            current = buffers[current].base


def test_results_laid_out_as_inputs_are_stay_with_numpy() -> None:
    """Of a product of inputs NumPy chooses the layout by how the caller's arrays lie."""
    X = otus.tensor("X", (N, N, N))
    P, Q = otus.tensor("P", (N, 20)), otus.tensor("Q", (N, 20))
    program = placed(otus.einsum("ijk,jr,kr->ir", X, P, Q), sizes={})
    products = [call for call in program.calls if elementwise_form(call.kernel) is not None]
    assert products
    assert all(buffers_of(program)[call.outputs[0]].place is None for call in products)


def test_bodies_of_loops_write_blocks_of_results_themselves() -> None:
    Z = otus.tensor("Z", (9000, 900))
    program = placed(otus.softmax(Z, axis=1) * Z, sizes={})
    (call,) = program.calls
    body = call.kernel.body  # type: ignore[attr-defined]
    assert buffers_of(body)["part0"].place == Place(None)
    assert body.workspace == 8 * 36 * 900


def test_spans_that_live_together_are_apart() -> None:
    """Over a program with many temporaries, checked pair by pair from lifetimes alone."""
    Q, K, V = (otus.tensor(name, ("n", 64)) for name in "QKV")
    loss = ((otus.softmax(Q @ K.T / 8, axis=-1) @ V) ** 2).sum()
    directions = [otus.tensor(f"d{name}", ("n", 64)) for name in "QKV"]
    program = placed(*otus.hvp(loss, [Q, K, V], directions))
    lives = lifetimes(program)
    for one, other in itertools.combinations([x for x in program.buffers if x.name in lives and x.place], 2):
        (first, last), (start, end) = lives[one.name], lives[other.name]
        together = first <= end and start <= last
        if together and last != start and end != first:
            assert one.place is not None
            assert other.place is not None
            assert one.place.offset != other.place.offset
    assert program.workspace <= 9 * 8 * N * N


def test_wrong_places_are_found() -> None:
    program = placed(otus.tanh(otus.tanh(A @ B) @ B) @ A)

    def with_place(name: str, place: Place | None) -> Program:
        changed = [dataclasses.replace(x, place=place) if x.name == name else x for x in program.buffers]
        return dataclasses.replace(program, buffers=tuple(changed))

    verify_places(program, SIZES)
    for name, place, message in [
        ("t2", Place(0), "'t1' and 't2' share memory while both are needed"),
        ("t2", Place(10**7), "'t2' ends beyond the workspace of 640000 bytes"),
        ("out0", Place(0), "output 'out0' lies in the workspace; only temporaries may"),
        ("t3", Place(320000, "t1"), "'t2' and 't3' share memory while both are needed"),
        ("t2", Place(320000, "B"), "'t2' lies in place of input 'B'; only temporaries may go"),
    ]:
        with pytest.raises(VerificationError, match=message.replace("(", r"\(")):
            verify_places(with_place(name, place), SIZES)


# --- function by function ----------------------------------------------------------------------


def steps(text: str, axes: tuple[tuple[int, ...], ...], over: int | None = None, dtype: str = "float64") -> list[str]:
    form = Elementwise(parse_scalar(text), axes, max((len(x) for x in axes), default=0))
    found = evaluation(form, [DType(dtype)] * len(axes), DType(dtype), over)
    assert found is not None
    return [f"{x.register} = {x.function} {', '.join(map(scalar_text, x.operands))}" for x in found.steps]


def test_steps_reuse_registers() -> None:
    plane = (0, 1)
    assert steps("exp(a) * b + a", (plane, plane)) == ["0 = exp a", "0 = mul c, b", "0 = add c, a"]
    assert steps("a ** 4 - a", (plane,)) == ["0 = square a", "0 = square b", "0 = sub b, a"]


def test_an_operand_that_is_overwritten_is_a_register_until_it_is_read_last() -> None:
    plane = (0, 1)
    assert steps("exp(a) * b + a", (plane, plane), over=0) == ["1 = exp c", "1 = mul d, b", "0 = add d, c"]
    assert steps("exp(a) * b + a", (plane, plane), over=1) == ["1 = exp a", "0 = mul d, c", "0 = add c, a"]


def test_what_is_smaller_than_the_result_is_no_step() -> None:
    assert steps("exp(a) * b", ((0,), (0, 1))) == ["0 = mul exp(a), b"]


@pytest.mark.parametrize(("text", "dtype"), [("erf(a) + a", "float64"), ("a * a", "int64"), ("a * a", "complex128")])
def test_what_has_no_form_is_left_to_expressions(text: str, dtype: str) -> None:
    assert evaluation(Elementwise(parse_scalar(text), ((0,),), 1), [DType(dtype)], DType(dtype)) is None
