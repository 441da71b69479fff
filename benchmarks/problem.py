"""A function and the derivative that is wanted of it, as Otus, JAX, torch and tensorgrad compute it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .harness import Builder, Call, Case, UnavailableError
from .peers import library, need
from .tensorgrad_peer import Named, tensorgrad_call

Array = npt.NDArray[Any]
Data = Mapping[str, Array]
Function = Callable[[Any, Mapping[str, Any]], Any]  # of a library's names, and its tensors by name


@dataclass(frozen=True)
class Problem:
    """``function(library, tensors)`` of ``data``, differentiated in ``wrt``; ``vectors`` for products, as ``wrt``.

    ``named`` is the same function in tensorgrad's language, where that can say it.
    """

    function: Function
    data: Data
    wrt: tuple[str, ...]
    vectors: Data = field(default_factory=dict)
    named: Named | None = None

    def case(self, kind: str, tolerance: float = 1e-7, compiled: bool = True, by_hand: Builder | None = None) -> Case:
        """Otus and its peers: ``kind`` is value, grad, hessian, newton, hvp or jtjvp."""
        peers: dict[str, Builder] = {"JAX": lambda: jax_call(self, kind), "torch": lambda: torch_call(self, kind)}
        if compiled and kind in ("value", "grad"):
            peers["torch.compile"] = lambda: torch_call(self, kind, compiled=True)
        peers |= self._tensorgrad(kind)
        hand = {} if by_hand is None else {"NumPy by hand": by_hand}
        return Case(
            lambda: otus_call(self, kind),
            {**peers, **hand},
            tolerance=tolerance,
            by_hand=tuple(hand),
            in_c=lambda: otus_call(self, kind, backend="c"),
        )

    def _tensorgrad(self, kind: str) -> dict[str, Builder]:
        """What tensorgrad compiles, as it is and through ``torch.compile``."""
        named = self.named
        if named is None:
            return {}
        return {
            "tensorgrad": lambda: tensorgrad_call(named, self.data, self.wrt, kind),
            "tensorgrad, torch.compile": lambda: tensorgrad_call(named, self.data, self.wrt, kind, compiled=True),
        }


@dataclass(frozen=True, repr=False)
class OtusCall:
    """A compiled function on its data."""

    function: Any
    arrays: Data

    def __call__(self) -> Any:
        return self.function(**self.arrays)


def otus_call(problem: Problem, kind: str, compress: bool = False, backend: str = "numpy") -> Call:
    """A call of the compiled derivative."""
    import otus

    tensors = {name: otus.tensor(name, array.shape) for name, array in problem.data.items()}
    directions = [otus.tensor(f"d{name}", array.shape) for name, array in problem.vectors.items()]
    outputs = otus_derivative(kind, problem.function(library("otus"), tensors), problem.wrt, tensors, directions)
    if otus.backends()[backend] != "available":
        raise UnavailableError(otus.backends()[backend])
    function = otus.compile(otus.compress(outputs) if compress else outputs, backend=backend)
    data = {**problem.data, **{f"d{name}": array for name, array in problem.vectors.items()}}
    return OtusCall(function, {name: data[name] for name in function.inputs})


def otus_derivative(kind: str, value: Any, wrt: Sequence[str], tensors: Mapping[str, Any], directions: Any) -> Any:
    """The derivative as an expression, or a list of them."""
    import otus

    points = [tensors[name] for name in wrt]
    if kind == "grad":
        return otus.grad(value, points)
    if kind == "hessian":
        return otus.hessian(value, points[0])
    if kind == "newton":
        return otus.solve(otus.hessian(value, points[0]), otus.grad(value, points[0]))
    if kind == "value":
        return value
    return {"hvp": otus.hvp, "jtjvp": otus.jtjvp}[kind](value, points, directions)


def jax_call(problem: Problem, kind: str) -> Call:
    """A call of the jitted derivative, every array an argument."""
    jax = need("jax")
    names = library("jax")
    points = tuple(jax.numpy.asarray(problem.data[name]) for name in problem.wrt)
    rest = {name: jax.numpy.asarray(x) for name, x in problem.data.items() if name not in problem.wrt}
    directions = tuple(jax.numpy.asarray(x) for x in problem.vectors.values())

    def run(points: Any, rest: Any, directions: Any) -> Any:
        def value(*given: Any) -> Any:
            return problem.function(names, {**rest, **dict(zip(problem.wrt, given, strict=True))})

        return _jax_derivative(kind, value, points, directions)

    jitted = jax.jit(run)
    return lambda: jax.block_until_ready(jitted(points, rest, directions))


def _jax_derivative(kind: str, value: Callable[..., Any], points: Any, directions: Any) -> Any:
    import jax

    gradient = jax.grad(value, argnums=tuple(range(len(points))))
    if kind == "value":
        return value(*points)
    if kind == "grad":
        return gradient(*points)
    if kind == "hessian":
        return jax.hessian(value)(*points)
    if kind == "newton":
        return jax.numpy.linalg.solve(jax.hessian(value)(*points), gradient(*points)[0])
    if kind == "hvp":
        return jax.jvp(gradient, points, directions)[1]
    _, product = jax.jvp(value, points, directions)
    return jax.vjp(value, *points)[1](product)


def torch_call(problem: Problem, kind: str, compiled: bool = False) -> Call:
    """A call of the eager derivative, or of the one through ``torch.compile``."""
    torch = need("torch")
    names = library("torch")
    points = tuple(torch.from_numpy(np.ascontiguousarray(problem.data[name])) for name in problem.wrt)
    rest = {name: torch.from_numpy(np.asarray(x)) for name, x in problem.data.items() if name not in problem.wrt}
    directions = tuple(torch.from_numpy(np.asarray(x)) for x in problem.vectors.values())

    def value(*given: Any) -> Any:
        return problem.function(names, {**rest, **dict(zip(problem.wrt, given, strict=True))})

    if compiled:
        torch._dynamo.reset()  # after eight functions of one code object it would stop compiling
    function = torch.compile(value, dynamic=False) if compiled else value
    if kind == "grad":
        leaves = [x.requires_grad_() for x in points]
        return lambda: torch.autograd.grad(function(*leaves), leaves)
    return lambda: torch_derivative(kind, function, points, directions)


def torch_derivative(kind: str, value: Callable[..., Any], points: Any, directions: Any) -> Any:
    """The derivative by torch's function transforms."""
    import torch

    if kind == "value":
        return value(*points)
    gradient = torch.func.grad(value, argnums=tuple(range(len(points))))
    if kind == "hessian":
        return torch.func.hessian(value)(*points)
    if kind == "newton":
        return torch.linalg.solve(torch.func.hessian(value)(*points), gradient(*points)[0])
    if kind == "hvp":
        return torch.func.jvp(gradient, points, directions)[1]
    _, product = torch.func.jvp(value, points, directions)
    return torch.func.vjp(value, *points)[1](product)
