"""How long compiling takes: from a program to its source, beside what JAX and torch need for a first call.

Otus compiles in a fresh process each time, after another program has loaded what is loaded once.  The peers'
caches are cleared instead.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from .harness import Call, Case, Goal, Row, Seconds
from .peers import library, need
from .problem import Array, Problem

Tensors = Mapping[str, Any]

CP_HESSIAN = """\
tensor X[{s},{s},{s}], A[{s},{r}], B[{s},{r}], C[{s},{r}]
M[i,j,k] = A[i,q] * B[j,q] * C[k,q]
loss = sum((X - M) ^ 2)
HAA = hessian(loss, A)
HAB = hessian(loss, A, B)
HBB = hessian(loss, B)
HBC = hessian(loss, B, C)
HAC = hessian(loss, A, C)
HCC = hessian(loss, C)
output HAA, HAB, HAC, HBB, HBC, HCC
"""


def cp_hessian(size: int, rank: int) -> Case:
    """All blocks of the Hessian of CP, from text."""
    generator = np.random.default_rng(0)
    data = {name: generator.normal(size=(size, rank)) for name in "ABC"}
    data["X"] = generator.normal(size=(size, size, size))

    def loss(library: Any, t: Tensors) -> Any:
        return library.sum(library.square(t["X"] - library.einsum("ir,jr,kr->ijk", t["A"], t["B"], t["C"])))

    problem = Problem(loss, data, ("A", "B", "C"))
    peers = {"jax.jit": lambda: _jax(problem, hessian=True), "torch.compile": lambda: _torch(problem, hessian=True)}
    text = CP_HESSIAN.format(s=size, r=rank)
    return Case(lambda: lambda: _in_a_fresh_process(compile_text, text), peers)


def transformer(blocks: int, tokens: int, width: int, heads: int) -> Case:
    """The value of transformer blocks and its gradient in every weight."""
    sizes = (blocks, tokens, width, heads)
    peers = {
        "jax.jit": lambda: _jax(transformer_problem(*sizes)),
        "torch.compile": lambda: _torch(transformer_problem(*sizes)),
    }
    return Case(lambda: lambda: _in_a_fresh_process(compile_transformer, *sizes), peers)


def renamed(size: int, rank: int) -> Case:
    """The first compilation of the CP Hessian, beside that of a copy in which every name differs."""
    text = CP_HESSIAN.format(s=size, r=rank)
    return Case(  # the source of a kept plan is written when it is asked for; here neither asks
        lambda: lambda: _in_a_fresh_process(compile_renamed, text),
        {"first compilation": lambda: lambda: _in_a_fresh_process(compile_first, text)},
    )


# --- Otus, in a fresh process ------------------------------------------------------------------


def _in_a_fresh_process(function: Any, *arguments: Any) -> Seconds:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return Seconds(pool.apply(function, arguments))


def compile_text(text: str) -> float:
    """Seconds from text to source."""
    os.environ["OTUS_CACHE"] = "0"
    _load_everything()
    return _seconds_to_source(text)


def compile_first(text: str) -> float:
    """Seconds from a parsed program to a function that can be called."""
    os.environ["OTUS_CACHE"] = "0"
    _load_everything()
    return _seconds_to_function(text)


def compile_renamed(text: str) -> float:
    """The same, for a renamed copy of a program that this process has compiled."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"OTUS_CACHE": "1", "OTUS_CACHE_DIR": folder}
        _seconds_to_function(text)
        return _seconds_to_function(_renamed_copy(text))


def _renamed_copy(text: str) -> str:
    for name in "ABCXM":
        text = text.replace(f"{name}[", f"other{name}[")
    for name in "ABCX":
        text = text.replace(f", {name})", f", other{name})").replace(f", {name},", f", other{name},")
    return text.replace("(X - M)", "(otherX - otherM)")


def compile_transformer(*sizes: int) -> float:
    """Seconds from building the expressions to source."""
    import otus

    os.environ["OTUS_CACHE"] = "0"
    _load_everything()
    problem = transformer_problem(*sizes)
    start = time.perf_counter()
    tensors = {name: otus.tensor(name, array.shape) for name, array in problem.data.items()}
    value = problem.function(library("otus"), tensors)
    _ = otus.compile([value, *otus.grad(value, [tensors[name] for name in problem.wrt])]).source
    return time.perf_counter() - start


def _seconds_to_source(text: str) -> float:
    import otus

    start = time.perf_counter()
    _ = otus.compile(otus.parse(text)).source
    return time.perf_counter() - start


def _seconds_to_function(text: str) -> float:
    import otus

    module = otus.parse(text)
    start = time.perf_counter()
    otus.compile(module)
    return time.perf_counter() - start


def _load_everything() -> None:
    _seconds_to_source("tensor P[9,3], w[3] \n f = sum(log(1 + exp(P @ w))) \n H = hessian(f, w) \n output H")


def transformer_problem(blocks: int, tokens: int, width: int, heads: int) -> Problem:
    """Pre-normalised attention and a GELU network a block, each with its residual."""
    generator = np.random.default_rng(0)
    split = (width, heads, width // heads)
    shapes: dict[str, tuple[int, ...]] = {}
    for block in range(blocks):
        shapes |= {f"{name}{block}": split for name in "qkv"}
        shapes |= {f"o{block}": (*split[1:], width), f"u{block}": (width, 4 * width), f"d{block}": (4 * width, width)}
    data: dict[str, Array] = {name: generator.normal(size=shape) / width**0.5 for name, shape in shapes.items()}
    data["x"] = generator.normal(size=(tokens, width))

    def normal(library: Any, state: Any) -> Any:
        centred = state - library.mean(state, axis=1, keepdims=True)
        return centred / library.sqrt(library.mean(library.square(centred), axis=1, keepdims=True) + 1e-5)

    def loss(library: Any, t: Tensors) -> Any:
        state = t["x"]
        for b in range(blocks):
            inner = normal(library, state)
            query, key, value = (library.einsum("nd,dhe->hne", inner, t[f"{name}{b}"]) for name in "qkv")
            scores = library.softmax(library.einsum("hne,hme->hnm", query, key) / split[2] ** 0.5, -1)
            state = state + library.einsum("hnm,hme,hed->nd", scores, value, t[f"o{b}"])
            state = state + library.gelu(normal(library, state) @ t[f"u{b}"]) @ t[f"d{b}"]
        return library.sum(library.square(state))

    return Problem(loss, data, tuple(shapes))


# --- peers -------------------------------------------------------------------------------------


def _jax(problem: Problem, hessian: bool = False) -> Call:
    jax = need("jax")
    arrays = {name: jax.numpy.asarray(x) for name, x in problem.data.items()}

    def run() -> Seconds:
        jax.clear_caches()
        start = time.perf_counter()

        def value(points: Any, rest: Any) -> Any:
            return problem.function(library("jax"), {**rest, **points})

        derivative = jax.hessian(value) if hessian else jax.value_and_grad(value)
        points = {name: arrays[name] for name in problem.wrt}
        rest = {name: x for name, x in arrays.items() if name not in points}
        jax.jit(derivative).lower(points, rest).compile()
        return Seconds(time.perf_counter() - start)

    return run


def _torch(problem: Problem, hessian: bool = False) -> Call:
    """The first call, which compiles; of the run itself little is left beside."""
    torch = need("torch")
    import torch._inductor.config as settings

    settings.force_disable_caches = True
    rest = {name: torch.from_numpy(x) for name, x in problem.data.items() if name not in problem.wrt}

    def run() -> Seconds:
        torch._dynamo.reset()
        points = {name: torch.from_numpy(problem.data[name]).clone() for name in problem.wrt}
        start = time.perf_counter()

        def value(given: Any) -> Any:
            return problem.function(library("torch"), {**rest, **given})

        if hessian:
            torch.compile(torch.func.hessian(value), dynamic=False)(points)
        else:
            leaves = [x.requires_grad_() for x in points.values()]
            torch.autograd.grad(torch.compile(value, dynamic=False)(points), leaves)
        return Seconds(time.perf_counter() - start)

    return run


ROWS = (
    Row("compiling: Hessian of CP, 30³, R = 8", cp_hessian, (30, 8), (3, 2), (Goal(2.0),)),
    Row("compiling: 2 transformer blocks and all gradients", transformer, (2, 64, 128, 4), (1, 3, 4, 2), (Goal(2.0),)),
    Row("compiling a renamed copy of a known program", renamed, (30, 8), (3, 2), (Goal(50.0, "first compilation"),)),
)
