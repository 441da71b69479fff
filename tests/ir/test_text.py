"""IR text reads back as the very same objects, and says where it cannot be read."""

from __future__ import annotations

import numpy as np
import pytest

import otus
from otus.ir import Graph, ParseError, build, dump, parse_ir, topological, verify
from otus.ir.dtypes import DType
from otus.ir.scalar import argument, call, literal, parse_scalar, scalar_text


def _many_indices() -> otus.Expression:
    m, n = otus.tensor("M", (2,) * 30), otus.tensor("N", (2,) * 30)
    return otus.einsum(m, list(range(30)), n, list(range(29, 59)))


def _graphs() -> dict[str, otus.Expression]:
    a, b, v = otus.tensor("A", ("i", "r")), otus.tensor("B", ("j", "r")), otus.tensor("v", (3,))
    s = otus.tensor("S", ("n", "n"), positive_definite=True)
    return {
        "contraction": otus.einsum("ir,jr->ij", a, b),
        "derivative request": otus.hessian(((a @ b.T) ** 2).sum(), a),
        "expanded derivative": otus.simplify(otus.hessian(((a @ b.T) ** 2).sum(), a)),
        "special numbers": otus.where(a > float("inf"), float("-inf"), -0.0) + float("nan"),
        "constants": otus.constant([[1.5, -0.0], [float("inf"), 1e-300]]) @ otus.constant(np.eye(2)),
        "large constant": otus.constant(np.arange(100.0)).sum(),
        "nan constant": otus.constant(np.array([np.nan, 1.0])),
        "complex": otus.constant(np.array([1 + 2j, -0.5j])) * 2j,
        "slices": a[1:, ::-1][:, None] + b[0],
        "gather": otus.take(v, otus.tensor("indices", (4,), dtype="int32")),
        "factorisation": otus.eigh(s)[1] @ otus.svd(s)[1],
        "facts": otus.tensor("T", (2, 2, 3, 3), symmetric=((0, 1), (2, 3))),
        "format": otus.tensor("W", ("m", "n"), dtype="float32", format=otus.nm(2, 4)),
        "a name that is no identifier": otus.tensor('say "hi"\n; import os', (2,)).sum(),
        "a keyword": otus.tensor("lambda", (2,)) * 2,
        "many indices": _many_indices(),
        "symbolic sizes": otus.concatenate([a, a[1:]], 0).reshape(-1),
    }  # fmt: skip


@pytest.mark.parametrize("name", _graphs())
def test_round_trip(name: str) -> None:
    expression = _graphs()[name]
    text = otus.dump(expression)
    assert otus.parse_ir(text) is expression, text
    assert otus.dump(otus.parse_ir(text)) == text


def test_lists_and_dicts_round_trip() -> None:
    x = otus.tensor("x", (3,))
    first, second = otus.parse_ir(otus.dump([x, x * 2]))
    assert first is x
    assert second is x * 2
    again = otus.parse_ir(otus.dump({"loss": x.sum(), 'odd "key"': x}))
    assert list(again) == ["loss", 'odd "key"']
    assert again["loss"] is x.sum()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "line 1: 'nonsense' is not '%name: dtype[shape] = operation …'"),
        ("%0: f64[3] = inpt \"x\"\nreturn %0", "line 1: unknown operation 'inpt'; did you mean 'input'?"),
        ('%x: f64[3] = input "x"\nreturn %y', "line 2: %y is not defined above"),
        ('%x: f64[3] = input "x"\n', "the text has no 'return' line"),
        ('%x: f64[3] = input "x"\n%0: f64[2] = map "exp(a)" "i->i" %x\nreturn %0',
         "line 2: %0 is declared f64[2], but its operation gives f64[3]"),
        ('%x: f64[3] = input "x"\n%0: f64[3] = map "ex(a)" "i->i" %x\nreturn %0',
         "line 2: unknown scalar function 'ex'; did you mean 'exp'?"),
    ],
)  # fmt: skip
def test_messages(text: str, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_ir(text)
    assert str(caught.value).startswith(message)


def test_equal_expressions_are_one_object() -> None:
    a = otus.tensor("A", ("i", "j"))
    assert otus.einsum("ij,jk->ik", a, a.T) is otus.einsum("ab,bc->ac", a, a.T)
    assert otus.tensor("A", ("i", "j")) is a
    assert otus.tensor("A", ("i", "k")) is not a


@pytest.mark.parametrize("value", [1, 1.0, True, -0.0, float("nan"), float("inf"), 1e-7, 2 - 3j])
def test_scalar_numbers_keep_their_kind(value: complex) -> None:
    assert parse_scalar(scalar_text(literal(value))) is literal(value)


def test_scalar_expressions_round_trip() -> None:
    a, b = argument(0), argument(30)
    expression = call("where", call("lt", a, 0), call("pow", call("neg", b), 2), call("div", a, call("add", b, 1e-9)))
    assert parse_scalar(scalar_text(expression)) is expression


def test_very_deep_graphs_do_not_recurse() -> None:
    node = build.input_node("x", otus.tensor("x", (2,)).node.type)
    for _ in range(100_000):
        node = build.apply("sin", build.apply("cos", node))
    assert len(topological([node])) == 200_001
    verify(Graph.of([node]))
    assert parse_ir(dump(node)) is node


def test_numpy_and_ir_agree_on_promotion() -> None:
    kinds = [x for x in DType if x.in_numpy]
    for first in kinds:
        for second in kinds:
            assert otus.ir.promote(first, second) == np.result_type(first.value, second.value).name
        for number in (True, 1, 1.0, 1j):
            assert otus.ir.promote(first, number) == np.result_type(np.dtype(first.value), number).name
