"""Functions of the front door that look at expressions: costs at sizes, IR text, and what they refuse."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

import otus

A, x = otus.tensor("A", ("m", "n")), otus.tensor("x", ("n",))


def test_a_cost_refuses_a_dim_that_the_program_has_not() -> None:
    with pytest.raises(otus.NamingError, match="the cost does not depend on a dim 'k'; the dims are m, n"):
        otus.compile(A @ x).cost(k=3, m=2, n=4)
    with pytest.raises(otus.NamingError, match="the cost does not depend on a dim 'rows'; did you mean 'row'"):
        otus.cost(otus.tensor("y", ("row",)) * 2)(rows=2)
    with pytest.raises(otus.NamingError, match="a dim 'k'; the dims are all fixed"):
        otus.cost(otus.tensor("y", (3,)) * 2)(k=2)


def test_a_cost_takes_the_dims_of_the_program_that_it_does_not_depend_on() -> None:
    """The Hessian of a linear function reads nothing; its cost has no rows."""
    f = otus.compile(otus.jacobian((A @ x).sum(), x))
    assert f.cost(m=2, n=3) == f.cost({"m": 2, "n": 3, "other": 4})
    unread = otus.grad((x * x).sum() + 0 * A.sum(), x)
    assert otus.cost(unread)(n=3, m=2).flops == otus.cost(unread)(n=3).flops


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "parse_ir of a number": (lambda: otus.parse_ir(3), "parse_ir takes IR text, as otus.dump gives it, not int"),  # type: ignore[arg-type]
    "parse_ir of an expression": (lambda: otus.parse_ir(x), "parse_ir takes IR text, as otus.dump gives it, not Expr"),  # type: ignore[arg-type]
    "load of a number": (lambda: otus.load(3), "load takes the path of a program, not int"),  # type: ignore[arg-type]
    "parse of a number": (lambda: otus.parse(3), "parse takes the text of a program, not int"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    act, message = REFUSED[name]
    with pytest.raises(otus.OtusError, match=re.escape(message)):
        act()


NAMES = {
    "x": ("x", "x"),
    "ab_c": ("ab_c", r"\mathrm{ab\_c}"),
    "layer.weight": ("layer.weight", r"\mathrm{layer.weight}"),
    "a\nb = 3": (r'"a\nb = 3"', r'\mathrm{"a\backslash nb\ =\ 3"}'),
    "a + b": ('"a + b"', r'\mathrm{"a\ +\ b"}'),
    'say "x"': (r'"say \"x\""', r'\mathrm{"say\ \backslash "x\backslash ""}'),
    "right\N{RIGHT-TO-LEFT OVERRIDE}left": (r'"right\u202eleft"', r'\mathrm{"right\backslash u202eleft"}'),
}


@pytest.mark.parametrize("name", NAMES)
def test_formulas_quote_names_that_could_be_taken_for_something_else(name: str) -> None:
    plain, latex = NAMES[name]
    y = otus.exp(otus.tensor(name, ("n",)))
    assert otus.formula(y, name="y") == f"y[n] = exp({plain}[n])"
    assert otus.formula(y, name="y", latex=True) == rf"y_{{n}} = \exp\left({latex}_{{n}}\right)"
    assert otus.formula(x, name=name) == f"{plain}[n] = x[n]"
