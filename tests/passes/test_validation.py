"""``OTUS_CHECK=1`` names the rule that changed a value, the node, and how to see it again.

The wrong rules here are injected; what must not be reported is tested as well: rounding, values that are
not finite, factorisations that random data do not have.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from random_programs.outputs import otus_outputs
from random_programs.programs import random_program

import otus
from otus.ir import Graph, Node, VerificationError, build, inputs_of, parse_ir
from otus.ir.operations import Einsum, Input, LinearCombination, Map, Solve
from otus.ir.scalar import Call, call
from otus.optimisation import run_pipeline
from otus.passes import Pass, Pipeline, simplify, stabilise
from otus.passes.rewrite import Context, Rule, Status, recorded_firings, rule
from otus.runtime.agreement import Sample
from otus.runtime.local_text import local_text
from otus.runtime.random_data import choose_sizes, random_inputs
from otus.runtime.validation import CheckWarning, validate

x = otus.tensor("x", ("n",))
A = otus.tensor("A", ("m", "n"))


def checked(outputs: object, pipeline: str | None = None) -> None:
    run_pipeline(outputs, pipeline or otus.pipeline(), check=True)


def message(outputs: object, pipeline: str | None = None) -> str:
    with pytest.raises(VerificationError) as caught:
        checked(outputs, pipeline)
    return str(caught.value)


@pytest.fixture
def inject(monkeypatch: pytest.MonkeyPatch) -> Callable[[Rule], None]:
    """Puts a rule at the end of the table of ``simplify``."""

    def add(wrong: Rule) -> None:
        monkeypatch.setattr(simplify, "SIMPLIFY_RULES", (*simplify.SIMPLIFY_RULES, wrong))

    return add


# --- wrong rules -------------------------------------------------------------------------------


@rule(LinearCombination)
def double_last(node: Node, context: Context) -> Node | None:
    """a + b -> a + 2·b, which is wrong."""
    assert isinstance(node.op, LinearCombination)
    if node.op.coefficients != (1, 1):
        return None
    return build.linear_combination((1, 2), node.operands, node.op.inputs, node.op.rank)


@rule(Einsum, status=Status.REASSOCIATES)
def drop_operand(node: Node, context: Context) -> Node | None:
    """einsum("ij,j->i", a, b) -> einsum("ij->i", a), which is wrong."""
    assert isinstance(node.op, Einsum)
    if len(node.operands) != 2:
        return None
    return build.einsum(node.operands[:1], node.op.inputs[:1], node.op.output)


@rule(Map, status=Status.REASSOCIATES)
def almost_exp(node: Node, context: Context) -> Node | None:
    """exp(a) -> (1 + 1e-10)·exp(a), which is nearly right."""
    return build.scale(1 + 1e-10, build.apply("exp", *node.operands)) if text(node) == "exp(a)" else None


@rule(Map)
def other_rounding(node: Node, context: Context) -> Node | None:
    """a * a * a -> a ** 3, which is right but not to the last bit."""
    return build.apply("pow", node.operands[0], build.constant(3.0)) if text(node) == "a * a * a" else None


@rule(Solve, status=Status.REASSOCIATES)
def no_transpose(node: Node, context: Context) -> Node | None:
    """solve(M, b) -> solve(Mᵀ, b), which holds for symmetric M only."""
    matrix, right = node.operands
    if matrix.type.facts.symmetric or not isinstance(matrix.op, Input):
        return None
    return build.apply_operation(node.op, [build.transpose(matrix, (1, 0)), right])


@rule(LinearCombination)
def wrapped(node: Node, context: Context) -> Node | None:
    """100·a -> a, for integers, which is wrong."""
    assert isinstance(node.op, LinearCombination)
    return node.operands[0] if node.op.coefficients == (100,) else None


@rule(Map)
def no_conjugate(node: Node, context: Context) -> Node | None:
    """conj(a) -> a, which is wrong for complex numbers."""
    return node.operands[0] if text(node) == "conj(a)" else None


@rule(Map)
def not_not(node: Node, context: Context) -> Node | None:
    """a < b -> b < a, which is wrong."""
    return build.map_node(call("lt", *reversed(_arguments(node))), node.operands) if text(node) == "a < b" else None


def _arguments(node: Node) -> Sequence[object]:
    assert isinstance(node.op, Map)
    assert isinstance(node.op.expression, Call)
    return node.op.expression.arguments


def text(node: Node) -> str:
    from otus.ir.scalar import scalar_text

    assert isinstance(node.op, Map)
    return scalar_text(node.op.expression)


B = otus.tensor("B", ("m", "n"))
b = otus.tensor("b", ("n",))
M = otus.tensor("M", ("n", "n"))
small = otus.tensor("single", ("n",), dtype="float32")
whole = otus.tensor("whole", ("n",), dtype="int8")
complex_x = otus.tensor("complex_x", ("n",), dtype="complex128")

WRONG: dict[str, tuple[Rule, Callable[[], otus.Expression]]] = {
    "in the middle": (double_last, lambda: otus.exp(otus.sin(A) + otus.cos(B)).sum()),
    "at the root": (double_last, lambda: A + B),
    "in a gradient": (drop_operand, lambda: otus.grad(otus.sin(otus.exp(A) @ x).sum(), x)),
    "in the tenth place": (almost_exp, lambda: otus.exp(x)),
    "of float32": (double_last, lambda: small + otus.exp(small)),
    "in a solve": (no_transpose, lambda: otus.solve(M, b)),
    "of integers that wrap around": (wrapped, lambda: whole * 100),
    "of complex numbers": (no_conjugate, lambda: otus.exp(otus.conj(complex_x)).sum()),
    "of booleans": (not_not, lambda: otus.where(x < b, x, b)),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_rule_is_named(case: str, inject: Callable[[Rule], None]) -> None:
    wrong, build_case = WRONG[case]
    checked(build_case())
    inject(wrong)
    found = message(build_case())
    assert found.startswith(f"pass simplify: rule {wrong.name} changed a value")
    assert f"rule: {wrong.description} ({wrong.status.value})" in found
    assert "rounding explains" in found
    assert "normal data of seed 0" in found


def test_the_whole_message(inject: Callable[[Rule], None]) -> None:
    inject(double_last)
    found = message(otus.exp(otus.sin(A) + otus.cos(B)).sum(axis=1))
    digits = re.compile(r"\d\.\d{5,}")
    assert digits.sub("0.0", found) == (
        "pass simplify: rule double_last changed a value\n"
        "  rule: a + b -> a + 2·b, which is wrong. (exact)\n"
        "  before:\n"
        '    %t0: f64[m,n] = input "t0"\n'
        '    %t1: f64[m,n] = input "t1"\n'
        '    %0: f64[m,n] = linear_combination "mn,mn->mn" {coefficients=(1.0, 1.0)} %t0, %t1\n'
        "    return %0\n"
        "  after:\n"
        '    %t0: f64[m,n] = input "t0"\n'
        '    %t1: f64[m,n] = input "t1"\n'
        '    %0: f64[m,n] = linear_combination "mn,mn->mn" {coefficients=(1.0, 2.0)} %t0, %t1\n'
        "    return %0\n"
        "  element (0, 1) was 0.0 and became 0.0: off by 0.996, where rounding explains 0\n"
        "  on normal data of seed 0 and sizes m=3, n=4; OTUS_CHECK=1 makes the same again"
    )


def test_the_reproduction_reproduces(inject: Callable[[Rule], None]) -> None:
    inject(double_last)
    output = otus.exp(A + B)
    found = message(output)
    sizes = choose_sizes([output.node])
    data = random_inputs([output.node], sizes, seed=0)
    shown = float(found.split(" was ")[1].split(" and")[0])
    assert shown in np.exp(data["A"] + data["B"]) or shown in data["A"] + data["B"]
    assert ", ".join(f"{name}={size}" for name, size in sizes.items()) in found


def test_rounding_that_exact_rules_may_not_change_is_told_apart(inject: Callable[[Rule], None]) -> None:
    @rule(LinearCombination)
    def regroup(node: Node, context: Context) -> Node | None:
        """a + b + c -> a + (b + c), which rounds otherwise."""
        if len(node.operands) != 3:
            return None
        assert isinstance(node.op, LinearCombination)
        first, *rest = node.operands
        return build.einsum([build.add(first, build.apply("neg", build.apply("neg", build.add(*rest))))], [(0,)], (0,))

    inject(regroup)
    y, z = otus.tensor("y", (9,)), otus.tensor("z", (9,))
    found = message(otus.tensor("w", (9,)) + y + z)
    assert found.startswith("pass simplify: rule regroup is declared exact but changes rounding")


def test_a_rule_that_changes_the_dtype_is_named(inject: Callable[[Rule], None]) -> None:
    @rule(Map)
    def widen(node: Node, context: Context) -> Node | None:
        """exp(a) -> exp(float64(a)), which has another dtype."""
        if text(node) != "exp(a)" or node.type.dtype.bits == 64:
            return None
        return build.apply("exp", build.cast(node.operands[0], otus.ir.DType.float64))

    inject(widen)
    assert "float32 of shape (3,), became float64 of shape (3,)" in message(otus.exp(small))


def test_a_rule_after_which_the_pass_fails_is_named(inject: Callable[[Rule], None]) -> None:
    @rule(LinearCombination)
    def shrink(node: Node, context: Context) -> Node | None:
        """a + b -> sum(a) + sum(b), which has another shape."""
        return build.sum_axes(node, [0]) if node.ndim == 1 and len(node.operands) == 2 else None

    inject(shrink)
    assert "rule shrink changed a value" in message(otus.concatenate([otus.exp(x + b), x]))


# --- passes without rules ----------------------------------------------------------------------


@dataclass(frozen=True)
class Forget(Pass):
    """Graph in; a graph in which every sine is its operand out."""

    name: ClassVar[str] = "forget"

    def run(self, graph: Graph) -> Graph:
        def change(node: Node, operands: Sequence[Node]) -> Node:
            new = otus.ir.traverse.rebuild(node, operands)
            return new.operands[0] if isinstance(new.op, Map) and text(new) == "sin(a)" else new

        return graph.transform(change)


def test_a_pass_without_rules_is_located_at_its_node() -> None:
    graph = Graph.of([otus.exp(otus.sin(otus.cos(A))).sum().node])
    with pytest.raises(VerificationError) as caught:
        Pipeline((Forget(),)).run(graph, check=validate)
    found = str(caught.value)
    assert found.startswith("pass forget changed output out0\n  at this node:\n  before:\n")
    assert found.count("sin(a)") == 1
    assert "exp(a)" not in found


def test_a_wrong_pattern_of_stabilise_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(part: Call) -> object:
        """``sin(e)``."""
        return call("cos", *part.arguments) if part.function == "sin" else None

    monkeypatch.setitem(stabilise.SCALAR_PATTERNS, "sine", wrong)
    for output in (otus.exp(otus.sin(A)).sum(), otus.grad(otus.exp(otus.sin(A)).sum(), A)):
        found = message(output)
        assert found.startswith("pass stabilise changed output out0\n  at this node, where sine fired:\n")


def test_a_pass_that_reads_another_tensor_is_stopped() -> None:
    @dataclass(frozen=True)
    class Swap(Pass):
        name: ClassVar[str] = "swap"

        def run(self, graph: Graph) -> Graph:
            return Graph.of([(A + B).node])

    with pytest.raises(VerificationError, match=r"pass swap made its outputs read tensor 'B', .* they read A"):
        Pipeline((Swap(),)).run(Graph.of([otus.exp(A).node]), check=validate)


# --- what is right -----------------------------------------------------------------------------


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_nothing_is_reported_of_random_programs(first: int) -> None:
    for seed in range(first, first + 20):
        checked(otus_outputs(random_program(seed)))


SAFE: dict[str, Callable[[], object]] = {
    "logarithms": lambda: otus.grad(otus.log(x).sum() + otus.sqrt(b).sum(), [x, b]),
    "arc sines": lambda: otus.arcsin(x) + otus.arccos(b),
    "cholesky": lambda: otus.grad(otus.cholesky(M).sum(), M),
    "gaussian likelihood": lambda: otus.grad(otus.logdet(M) + b @ otus.solve(M, b), [M, b]),
    "eigenvectors": lambda: otus.eigh(M + M.T)[1] @ b,
    "cancellation": lambda: ((A + 1e8) - 1e8) @ x,
    "kinks at ties": lambda: otus.floor(x - x + 2.0) + otus.maximum(x, x),
    "a slice that needs a size": lambda: x[5] + x[7:].sum(),
    "symmetric": lambda: otus.tensor("S", ("n", "n"), symmetric=True).T @ x,
    "positive definite": lambda: otus.logdet(otus.tensor("D", ("n", "n"), positive_definite=True)),
    "orthonormal": lambda: otus.tensor("Q", ("p", 2), orthonormal=True) @ otus.tensor("u", (2,)),
    "sums to one": lambda: (otus.tensor("labels", ("k", "n"), sums_to_one=True) * x.reshape(1, -1)).sum(),
    "diagonal": lambda: otus.tensor("G", ("n", "n"), diagonal=True) @ x,
    "nonnegative": lambda: otus.sqrt(otus.tensor("N", ("n",), nonnegative=True)),
    "float32": lambda: otus.grad(otus.logsumexp(small @ otus.tensor("L", ("n", "m"), dtype="float32")), small),
    "float16": lambda: otus.exp(otus.tensor("half", ("n",), dtype="float16")).sum(),
    "integers": lambda: otus.maximum(whole * whole - 3 * whole, 5).prod(),
    "booleans": lambda: otus.where(x < b, x <= 0.0, x != b).sum(),
    "complex": lambda: otus.einsum("i,i->", otus.conj(complex_x), complex_x),
    "indices": lambda: otus.take(x, otus.tensor("place", ("q",), dtype="int64"), 0),
    "many dims": lambda: otus.einsum(
        "ab,bc,cd,de,ef->af", *(otus.tensor(p + q, (p, q)) for p, q in zip("abcde", "bcdef", strict=True))
    ),
}


@pytest.mark.parametrize("case", SAFE)
def test_nothing_is_reported_of_what_is_right(case: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checked(SAFE[case]())


def test_what_is_never_finite_is_said() -> None:
    with pytest.warns(CheckWarning, match="pass simplify is not checked by value: output out0: no element is finite"):
        checked(otus.log(-otus.exp(x)), "simplify")


def test_what_cannot_be_evaluated_is_said() -> None:
    with pytest.warns(CheckWarning, match="not checked by value: output out0: LinAlgError"):
        checked(otus.cholesky(-M @ M.T), "simplify")


def test_what_is_too_large_is_said() -> None:
    big = [otus.tensor(name, (2000, 2000)) for name in "PQR"]
    with pytest.warns(CheckWarning, match="would take about .* operations; leave sizes symbolic"):
        checked(otus.einsum("ij,jk,kl->il", *big), "simplify")


# --- the parts ---------------------------------------------------------------------------------


def test_firings_are_recorded_within_the_block_only() -> None:
    graph = Graph.of([(2 * (x + b) - b).node])
    with recorded_firings() as firings:
        simplify.Simplify().run(graph)
    assert {each.rule.name for each in firings} == {"flatten_sum"}
    count = len(firings)
    simplify.Simplify().run(graph)
    assert len(firings) == count


def test_dims_get_small_distinct_sizes() -> None:
    nodes = [otus.einsum("ab,cd,ef->abcdef", *(otus.tensor(n, tuple(n)) for n in ("ab", "cd", "ef"))).node]
    for seed in range(3):
        sizes = choose_sizes(nodes, seed=seed)
        assert len(set(sizes.values())) == 6
        assert max(sizes.values()) <= 7 + 4 * seed
    assert choose_sizes(nodes, {"a": 9})["a"] == 9


def test_the_allowance_follows_the_conditioning() -> None:
    y = otus.tensor("y", (4,))
    cancelled = (y + 1e6) - 1e6
    values = {"y": np.array([0.1, 0.2, 0.3, 0.4])}
    sample = Sample(inputs_of([cancelled.node]), values, {}, "given data")
    assert 1e-10 < sample.spread(cancelled.node).max() < 1e-5
    assert sample.spread((2 * y).node).max() < 1e-11
    assert sample.disagreement(cancelled.node, y.node) is None
    assert sample.disagreement(cancelled.node, y.node, exact=True) is not None
    assert sample.disagreement(y.node, (y * (1 + 1e-9)).node) is not None


def test_elements_that_were_not_finite_are_not_compared() -> None:
    y = otus.tensor("y", (3,))
    sample = Sample(inputs_of([y.node]), {"y": np.array([-1.0, 1.0, 2.0])}, {}, "given data")
    assert sample.disagreement(otus.log(y).node, otus.log(abs(y)).node) is None
    found = sample.disagreement(otus.log(abs(y)).node, otus.log(y).node)
    assert found is not None
    assert found.index == (0,)


def test_local_text_cuts_at_what_is_shared() -> None:
    inner = otus.exp(otus.sin(A) @ x)
    before, after = local_text(otus.sin(inner).node, otus.cos(inner).node)
    assert before.count("\n") == after.count("\n") == 3
    assert '%t0: f64[m] = input "t0"' in before
    assert "sin(a)" in str(parse_ir(before)) or "sin(a)" in before


def test_the_data_of_the_user_are_checked_for_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fact, on compiled functions and functions of arrays; without the setting nothing is said."""
    wrong = {
        "symmetric": np.array([[1.0, 2.0], [3.0, 4.0]]),
        "positive_definite": -np.eye(2),
        "diagonal": np.ones((2, 2)),
        "orthonormal": np.ones((2, 2)),
        "nonnegative": -np.ones((2, 2)),
        "sums_to_one": np.ones((2, 2)),
    }
    for fact, array in wrong.items():
        tensor = otus.tensor("T", (2, 2), **{fact: True})
        monkeypatch.setenv("OTUS_CHECK", "0")
        otus.compile(2 * tensor)(array)
        monkeypatch.setenv("OTUS_CHECK", "1")
        for backend in ("numpy", "reference"):
            with pytest.raises(otus.OtusError, match=f"tensor 'T' is declared {fact}"):
                otus.compile(2 * tensor, backend=backend)(array)
