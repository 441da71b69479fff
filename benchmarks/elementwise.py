"""Elementwise chains of four million elements, where memory is what counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from .harness import Call, Case, Goal, Row
from .peers import need
from .problem import Data, Problem

Tensors = Mapping[str, Any]
SIZE = 4_000_000


def _damped(library: Any, t: Tensors) -> Any:
    return library.exp(-0.5 * library.square(t["x"])) * library.sin(3.0 * t["x"]) + t["y"]


def _polynomial(library: Any, t: Tensors) -> Any:
    return ((0.3 * t["x"] - 1.1) * t["x"] + 0.7) * t["x"] - t["y"] * t["y"] + 2.0


def _norm(library: Any, t: Tensors) -> Any:
    return library.sqrt(t["x"] * t["x"] + t["y"] * t["y"] + 1.0) / (1.0 + library.square(t["x"] - t["y"]))


def _squares(library: Any, t: Tensors) -> Any:
    return library.sum(library.square(t["x"] - t["y"]) * 0.5 + t["x"])


CHAINS: dict[str, tuple[Callable[[Any, Tensors], Any], str]] = {
    "exp(−x²/2)·sin(3x) + y": (_damped, "exp(-0.5 * x**2) * sin(3.0 * x) + y"),
    "cubic in x, square of y": (_polynomial, "((0.3 * x - 1.1) * x + 0.7) * x - y * y + 2.0"),
    "√(x² + y² + 1) / (1 + (x − y)²)": (_norm, "sqrt(x * x + y * y + 1.0) / (1.0 + (x - y)**2)"),
    "sum of (x − y)²/2 + x": (_squares, "sum((x - y)**2 * 0.5 + x)"),
}


def chain(name: str, size: int) -> Case:
    generator = np.random.default_rng(0)
    data = {"x": generator.normal(size=size), "y": generator.normal(size=size)}
    function, text = CHAINS[name]
    case = Problem(function, data, ("x",)).case("value")
    return replace(case, peers={**case.peers, "NumExpr": lambda: _numexpr(text, data)})


def _numexpr(text: str, data: Data) -> Call:
    numexpr = need("numexpr")
    arrays = dict(data)
    return lambda: numexpr.evaluate(text, local_dict=arrays, global_dict={})


ROWS = tuple(Row(f"{name}, 4M elements", chain, (name, SIZE), (name, 100), (Goal(1.0),)) for name in CHAINS)
