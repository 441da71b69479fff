"""Equality saturation of sum-product terms by egglog, and the e-graph that comes out.

The rules are those of relational equality saturation (Wang et al., SPORES, arXiv 2002.07951), with products that
carry the indices they sum over.  They keep digits as Otus's own passes do: a sum is multiplied out only where one
term at least is a product, and never into itself.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .saturation_terms import Term, members

RULES = """
(datatype Tensor
  (Leaf i64 i64) (Product Tensor Tensor i64) (Total Tensor i64) (Plus Tensor Tensor) (Scaled f64 Tensor))
(function free (Tensor) i64 :merge old)
(relation made (Tensor))
(datatype Output (Result i64 Tensor))
(ruleset analysis)
(rule ((= e (Leaf n m))) ((set (free e) m)) :ruleset analysis)
(rule ((= e (Product a b s)) (= x (free a)) (= y (free b))) ((set (free e) (^ (| x y) s))) :ruleset analysis)
(rule ((= e (Total a s)) (= x (free a))) ((set (free e) (^ x s))) :ruleset analysis)
(rule ((= e (Plus a b)) (= x (free a))) ((set (free e) x)) :ruleset analysis)
(rule ((= e (Scaled c a)) (= x (free a))) ((set (free e) x)) :ruleset analysis)
(rule ((= e (Product a b s))) ((made e)) :ruleset analysis)
(rule ((= e (Total a s)) (made a)) ((made e)) :ruleset analysis)
(rule ((= e (Scaled c a)) (made a)) ((made e)) :ruleset analysis)

(ruleset algebra)
; products: commutative, associative
(rewrite (Product a b s) (Product b a s) :ruleset algebra)
(rule ((= e (Product (Product a b s) c t)) (= x (free a)) (= y (free b)) (= z (free c))
       (= 0 (& s z)) (= all (| s t)) (= inner (^ all (& all x))))
      ((union e (Product a (Product b c inner) (^ all inner)))) :ruleset algebra)
; sums over indices of one factor alone
(rule ((= e (Product a b s)) (= x (free a)) (= y (free b)) (= in (& s x)) (= own (^ in (& in y))) (!= own 0))
      ((union e (Product (Total a own) b (^ s own)))) :ruleset algebra)
(rule ((= e (Product (Total a s) b t)) (= y (free b)) (= 0 (& s y)))
      ((union e (Product a b (| s t)))) :ruleset algebra)
(rewrite (Total (Product a b s) t) (Product a b (| s t)) :ruleset algebra)
(rewrite (Total (Total a s) t) (Total a (| s t)) :ruleset algebra)
(rewrite (Total (Plus a b) s) (Plus (Total a s) (Total b s)) :ruleset algebra)
(rewrite (Plus (Total a s) (Total b s)) (Total (Plus a b) s) :when ((= (free a) (free b))) :ruleset algebra)
; sums
(rewrite (Plus a b) (Plus b a) :ruleset algebra)
(rewrite (Plus (Plus a b) c) (Plus a (Plus b c)) :ruleset algebra)
; multiplied out, and factors taken out
(rule ((= p (Plus a b)) (= e (Product p c s)) (= (free a) (free b)) (!= p c) (made a))
      ((union e (Plus (Product a c s) (Product b c s)))) :ruleset algebra)
(rewrite (Plus (Product a c s) (Product b c s)) (Product (Plus a b) c s)
  :when ((= (free a) (free b))) :ruleset algebra)
; numbers
(rewrite (Scaled 1.0 a) a :ruleset algebra)
(rewrite (Scaled c (Scaled d a)) (Scaled (* c d) a) :ruleset algebra)
(rewrite (Product (Scaled c a) b s) (Scaled c (Product a b s)) :ruleset algebra)
(rewrite (Scaled c (Product a b s)) (Product (Scaled c a) b s) :ruleset algebra)
(rewrite (Scaled c (Plus a b)) (Plus (Scaled c a) (Scaled c b)) :ruleset algebra)
(rewrite (Plus (Scaled c a) (Scaled c b)) (Scaled c (Plus a b)) :ruleset algebra)
(rewrite (Total (Scaled c a) s) (Scaled c (Total a s)) :ruleset algebra)
(rewrite (Scaled c (Total a s)) (Total (Scaled c a) s) :ruleset algebra)
"""


@dataclass(frozen=True)
class Choice:
    """One way to make a class: a kind with its number or indices, and the classes that it reads."""

    kind: str
    parts: tuple[str, ...]
    number: float
    indices: int
    cost: int


@dataclass
class Saturated:
    """An e-graph: the choices of every class, the classes of the outputs, and how it came about."""

    choices: dict[str, list[Choice]]
    roots: list[str]
    saturated: bool
    rounds: int
    seconds: float

    @property
    def nodes(self) -> int:
        """All choices together."""
        return sum(map(len, self.choices.values()))


def saturate(outputs: Sequence[Term], sizes: Sequence[int], seconds: float, most_nodes: int) -> Saturated:
    """Apply the rules until nothing is new, the e-graph has so many nodes, or the seconds are over."""
    from egglog import bindings

    graph = bindings.EGraph()
    start = time.perf_counter()

    def tell(text: str) -> list[Any]:
        return list(graph.run_program(*graph.parse_program(text)))

    tell(RULES)
    for k, term in enumerate(outputs):
        tell(f"(Result {k} {term.text()})")
    rounds, done = 0, False
    while not done and time.perf_counter() - start < seconds:
        (ran,) = tell("(run-schedule (saturate (run analysis)) (run algebra))")
        rounds += 1
        done = not ran.report.updated
        (counted,) = tell("(print-size)")
        if sum(count for name, count in counted.sizes if name in _KINDS) > most_nodes:
            break
    tell("(run-schedule (saturate (run analysis)))")
    elapsed = time.perf_counter() - start
    return _read(json.loads(graph.serialize([]).to_json())["nodes"], sizes, done, rounds, elapsed)


_KINDS = {"Leaf": "leaf", "Product": "product", "Total": "total", "Plus": "plus", "Scaled": "scaled"}


def _read(nodes: Mapping[str, Any], sizes: Sequence[int], done: bool, rounds: int, seconds: float) -> Saturated:
    """The classes and their choices, with the operations that each choice takes by itself."""
    free: dict[str, int] = {}
    for node in nodes.values():
        if node["op"] == "free":
            free[nodes[node["children"][0]]["eclass"]] = int(node["eclass"].removeprefix("i64-"))
    choices: dict[str, list[Choice]] = {}
    roots: dict[int, str] = {}
    for node in nodes.values():
        operands = [nodes[x] for x in node["children"]]
        if node["op"] == "Result":
            roots[int(operands[0]["op"])] = operands[1]["eclass"]
        elif node["op"] in _KINDS:
            choices.setdefault(node["eclass"], []).append(_choice(node["op"], operands, free, sizes))
    return Saturated(choices, [roots[k] for k in sorted(roots)], done, rounds, seconds)


def _choice(op: str, operands: Sequence[Mapping[str, Any]], free: Mapping[str, int], sizes: Sequence[int]) -> Choice:
    def points(*classes: str) -> int:
        spanned = 0
        for name in classes:
            spanned |= free[name]
        return math.prod(sizes[k] for k in members(spanned))

    parts = tuple(x["eclass"] for x in operands if x["eclass"] in free)
    numbers = [float(x["op"]) for x in operands if x["eclass"] not in free]
    match op:
        case "Leaf":
            return Choice("leaf", (), numbers[0], int(numbers[1]), 0)
        case "Product":
            return Choice("product", parts, 0, int(numbers[0]), points(*parts) * (2 if numbers[0] else 1))
        case "Total":
            return Choice("total", parts, 0, int(numbers[0]), points(*parts))
        case "Plus":
            return Choice("plus", parts, 0, 0, points(*parts))
    return Choice("scaled", parts, numbers[0], 0, 0 if abs(numbers[0]) == 1 else points(*parts))
