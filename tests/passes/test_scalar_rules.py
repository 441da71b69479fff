"""The table of scalar identities: each one proved by SymPy, and in floating point held against 50 digits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy

import otus
from otus.ir import build
from otus.ir.scalar import Argument, Call, Literal, Scalar, parse_scalar, postorder, scalar_text
from otus.passes.algebra.scalar_rules import CLOSE_SCALAR_RULES, EXACT_SCALAR_RULES, rewritten, scalar_cost
from otus.runtime.reference import evaluate

RULES = {each.__name__: each for each in (*EXACT_SCALAR_RULES, *CLOSE_SCALAR_RULES)}
# rule: (before, after)
IDENTITIES: dict[str, list[tuple[str, str]]] = {
    "double_negation": [("neg(neg(a))", "a")],
    "sign_into_sum": [("a + neg(b)", "a - b"), ("neg(a) + b", "b - a"), ("a - neg(b)", "a + b")],
    "signs_of_product": [("neg(a) * neg(b)", "a * b"), ("neg(a) / neg(b)", "a / b")],
    "sign_of_even": [("square(neg(a))", "square(a)"), ("abs(neg(a))", "abs(a)")],
    "choice": [
        ("where(a > b, exp(a), exp(a))", "exp(a)"),
        ("where(a > b, where(a > b, a, b), 2.0)", "where(a > b, a, 2.0)"),
        ("where(a > b, a, where(a > b, 2.0, b))", "where(a > b, a, b)"),
    ],
    "same_factors": [("(a * a) + square(a)", "square(a) + square(a)")],
    "root_of_square": [("sqrt(square(a))", "abs(a)"), ("square(a) ** 0.5", "abs(a)")],
    "small_power": [
        ("a ** 1", "a"),
        ("a ** 2", "square(a)"),
        ("a ** 3", "square(a) * a"),
        ("a ** (-1)", "reciprocal(a)"),
    ],
    "constants_of_product": [("(a * 0.3) * 0.7", "a * 0.21"), ("3.0 * (a * 0.1)", "a * 0.30000000000000004")],
}
EVERY = [(rule, *pair) for rule, pairs in IDENTITIES.items() for pair in pairs]


def applied(expression: Scalar, engine: Mapping[str, Callable[..., Any]], arguments: list[Any]) -> Any:
    """The expression over any kind of number."""
    known: dict[Scalar, Any] = {}
    for part in postorder(expression):
        if isinstance(part, Argument):
            known[part] = arguments[part.position]
        elif isinstance(part, Literal):
            known[part] = engine["number"](part.value)
        elif isinstance(part, Call):
            known[part] = engine[part.function](*(known[x] for x in part.arguments))
    return known[expression]


ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y, "sub": lambda x, y: x - y, "mul": lambda x, y: x * y, "div": lambda x, y: x / y,
    "neg": lambda x: -x, "square": lambda x: x * x, "pow": lambda x, y: x**y, "reciprocal": lambda x: 1 / x,
    "gt": lambda x, y: x > y, "abs": abs,
}  # fmt: skip
SYMBOLIC = {**ARITHMETIC, "sqrt": sympy.sqrt, "exp": sympy.exp, "number": lambda x: sympy.nsimplify(x, rational=True),
            "where": lambda c, x, y: sympy.Piecewise((x, c), (y, True))}  # fmt: skip
EXACTLY = {**ARITHMETIC, "sqrt": mpmath.sqrt, "exp": mpmath.exp, "number": mpmath.mpf,
           "where": lambda c, x, y: x if c else y}  # fmt: skip


def test_every_rule_is_listed() -> None:
    assert set(IDENTITIES) == set(RULES)


@pytest.mark.parametrize(("rule", "before", "after"), EVERY)
def test_rewrites_as_listed_and_costs_less(rule: str, before: str, after: str) -> None:
    found = rewritten(parse_scalar(before), [RULES[rule]])
    assert rule == "constants_of_product" or scalar_text(found) == after
    assert scalar_cost(found) < scalar_cost(parse_scalar(before))
    assert rewritten(found, [RULES[rule]]) is found


@pytest.mark.parametrize(("rule", "before", "after"), EVERY)
def test_is_an_identity_of_the_reals(rule: str, before: str, after: str) -> None:
    a, b = sympy.symbols("a b", real=True)
    old = applied(parse_scalar(before), SYMBOLIC, [a, b])
    new = applied(rewritten(parse_scalar(before), [RULES[rule]]), SYMBOLIC, [a, b])
    difference = sympy.simplify(old - new)
    # A product of two literals is rounded once, when it is folded.
    assert difference == 0 or (rule == "constants_of_product" and abs(difference.coeff(a)) < 1e-16)


SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 5e-324, -5e-324, 1.7e308, -1.7e308]


def numbers(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    wide = random.choice([-1.0, 1.0], 400) * 10 ** random.uniform(-300, 300, 400)
    near = random.choice([-1.0, 1.0], 400) * 10 ** random.uniform(-3, 3, 400)
    return np.concatenate([wide, near, np.repeat(SPECIAL, len(SPECIAL)) if seed else np.tile(SPECIAL, len(SPECIAL))])


def values(expression: Scalar, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    inputs = [otus.tensor(name, (len(a),)).node for name in "ab"]
    used = build.map_node(expression, inputs, [(0,), (0,)], 1)
    with np.errstate(all="ignore"):
        return evaluate([used], {"a": a, "b": b})[0]


@pytest.mark.parametrize(("rule", "before", "after"), EVERY)
def test_loses_no_digits_at_any_magnitude(rule: str, before: str, after: str) -> None:
    """Exact rules keep every value; others err at most twice as much, and are finite wherever the old form is."""
    a, b = numbers(0), numbers(1)
    old_form = parse_scalar(before)
    new_form = rewritten(old_form, [RULES[rule]])
    old, new = values(old_form, a, b), values(new_form, a, b)
    if RULES[rule] in EXACT_SCALAR_RULES:
        np.testing.assert_array_equal(new, old)
        return
    assert np.array_equal(np.isnan(new), np.isnan(old))
    assert np.all(np.isfinite(new) | ~np.isfinite(old))
    unit = mpmath.mpf(2) ** -53
    with mpmath.workdps(50):
        for x, y, first, second in zip(a, b, old, new, strict=True):
            if not (np.isfinite(x) and np.isfinite(y) and np.isfinite(first)) or (x == 0 and "reciprocal" in after):
                continue
            truth = applied(old_form, EXACTLY, [mpmath.mpf(float(x)), mpmath.mpf(float(y))])
            # Half of the least number is as near as one gets below the normal range.
            floor = 2 * unit * abs(truth) + mpmath.mpf(5e-324)
            assert abs(mpmath.mpf(float(second)) - truth) <= 2 * abs(mpmath.mpf(float(first)) - truth) + floor


def test_second_derivatives_evaluate_a_sigmoid_once() -> None:
    x, v = otus.tensor("x", (50,)), otus.tensor("v", (50,))
    text = otus.dump(otus.optimize(otus.hvp(otus.sum(otus.silu(x)), [x], [v])[0]))
    assert "neg(neg(" not in text
    assert "**" not in otus.dump(otus.optimize(otus.hvp(otus.sum(x**5), [x], [v])[0]))


def test_what_would_lose_digits_stays() -> None:
    for text in ("exp(a) * exp(b)", "exp(a) - 1.0", "(1.0 - a) * (1.0 + a)", "(a / b) / b", "(a * 1e200) * 1e200"):
        expression = parse_scalar(text)
        assert rewritten(expression, tuple(RULES.values())) is expression
