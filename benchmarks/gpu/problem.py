"""A function and the derivative that is wanted of it, by Otus, torch and JAX, over tensors on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..harness import UnavailableError
from ..peers import library, need
from ..problem import otus_derivative, torch_derivative

Tensors = Mapping[str, Any]
Function = Callable[[Any, Tensors], Any]
Call = Callable[[Tensors], Any]  # of the tensors of one set of inputs


@dataclass(frozen=True)
class Data:
    """One input: normal numbers times ``scale``; of ``kind`` labels zeros and ones, one_hot rows of units."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    scale: float = 1.0
    kind: str = "normal"

    def made(self, generator: Any, device: str) -> Any:
        """The tensor."""
        import torch

        dtype = getattr(torch, self.dtype)
        if self.kind == "one_hot":
            places = torch.randint(self.shape[-1], self.shape[:-1], generator=generator, device=device)
            return torch.nn.functional.one_hot(places, self.shape[-1]).to(dtype)
        if self.kind == "labels":
            return torch.randint(2, self.shape, generator=generator, device=device).to(dtype)
        return (torch.randn(self.shape, generator=generator, device=device) * self.scale).to(dtype)

    @property
    def bytes(self) -> int:
        """Of the tensor."""
        import torch

        size = 1
        for each in self.shape:
            size *= each
        return size * torch.empty(0, dtype=getattr(torch, self.dtype)).element_size()


@dataclass(frozen=True)
class Problem:
    """``function(library, tensors)``, of which ``kind`` is wanted in ``wrt``: value, grad, hessian, newton or hvp.

    ``vectors[x]`` is the input that is the direction in ``x``, for products.  ``outputs`` instead gives Otus's
    expressions as a whole, and ``torch`` torch's function of the tensors.  ``flops`` of the arithmetic that
    must be done, of products of ``arithmetic``, where that may be what takes the time; ``slices`` is the part of
    the first axis of all tensors on which answers are compared, where the whole would not fit; ``cut`` are inputs of
    whose first axis the answer in float64 is computed part by part, and added up where it has not that axis; ``exact``
    computes what is compared with, where torch's own derivative would not fit; ``answer`` brings answers into a form in
    which equal ones are equal.  ``peers`` are more contenders, each a function that makes a call.
    """

    data: Mapping[str, Data]
    function: Function | None = None
    kind: str = "value"
    wrt: tuple[str, ...] = ()
    vectors: Mapping[str, str] = field(default_factory=dict)
    outputs: Callable[[], Any] | None = None
    torch: Call | None = None
    flops: float = 0.0
    arithmetic: str = ""
    tolerance: float = 1e-4
    slices: int | None = None
    cut: tuple[str, ...] = ()
    exact: Call | None = None
    answer: Callable[[Sequence[Any]], Sequence[Any]] = list
    compiled: tuple[str, ...] = ("default",)  # modes of torch.compile
    peers: Mapping[str, Callable[[], Call]] = field(default_factory=dict)

    def contenders(self, interpret: bool) -> dict[str, Callable[[], Call]]:
        """Otus and its peers; each makes its call when it is asked to."""
        found: dict[str, Callable[[], Call]] = {"Otus": lambda: otus_call(self, interpret), "torch": self.torch_call}
        for mode in self.compiled:
            if self.function is not None and self.kind in ("value", "grad"):
                found[f"torch.compile, {mode}"] = lambda mode=mode: compiled_call(self, mode, interpret)  # type: ignore[misc]
        if self.function is not None:
            found["JAX"] = lambda: jax_call(self, interpret)
        if self.exact is not None:
            found["torch by hand"] = lambda: self.exact
        return {**found, **self.peers}

    def torch_call(self) -> Call:
        """Eager torch, also in float64 as what answers are compared with."""
        if self.torch is not None:
            return self.torch
        assert self.function is not None
        function, names = self.function, library("torch")
        return lambda tensors: _torch_value(self, lambda t: function(names, t), tensors)


def otus_call(problem: Problem, interpret: bool) -> Call:
    """The compiled function."""
    import otus

    if problem.outputs is not None:
        outputs = problem.outputs()
    else:
        assert problem.function is not None
        tensors = {name: otus.tensor(name, x.shape, dtype=x.dtype) for name, x in problem.data.items()}
        directions = [tensors[problem.vectors[name]] for name in problem.wrt if name in problem.vectors]
        value = problem.function(library("otus"), tensors)
        outputs = otus_derivative(problem.kind, value, problem.wrt, tensors, directions)
    compiled = otus.compile(outputs, backend="triton", interpret=interpret)
    names = compiled.inputs
    return lambda tensors: compiled(*[tensors[name] for name in names])


def compiled_call(problem: Problem, mode: str, interpret: bool) -> Call:
    """Through ``torch.compile``."""
    import torch

    if interpret:
        raise UnavailableError("compiles for a GPU; not timed here")
    assert problem.function is not None
    function, names = problem.function, library("torch")
    torch._dynamo.reset()
    # CUDA graphs of torch's would give results that the next call overwrites.
    options: dict[str, Any] = {} if mode == "default" else {"mode": f"{mode}-no-cudagraphs"}
    compiled = torch.compile(lambda tensors: function(names, tensors), dynamic=False, **options)
    return lambda tensors: _torch_value(problem, compiled, tensors)


def _torch_value(problem: Problem, value: Call, tensors: Tensors) -> Any:
    import torch

    if problem.kind == "value":
        return value(tensors)
    points = [tensors[name] for name in problem.wrt]
    directions = tuple(tensors[problem.vectors[name]] for name in problem.wrt if name in problem.vectors)
    if problem.kind not in ("grad", "hvp"):
        chosen = lambda *given: value({**tensors, **dict(zip(problem.wrt, given, strict=True))})  # noqa: E731
        return torch_derivative(problem.kind, chosen, tuple(points), directions)
    leaves = [x.detach().requires_grad_() for x in points]
    loss = value({**tensors, **dict(zip(problem.wrt, leaves, strict=True))})
    gradients = torch.autograd.grad(loss, leaves, create_graph=problem.kind == "hvp")
    return gradients if problem.kind == "grad" else torch.autograd.grad(gradients, leaves, directions)


def jax_call(problem: Problem, interpret: bool) -> Call:
    """Jitted; tensors are handed over without a copy, and the host waits for the answer."""
    jax = need("jax")
    if interpret:
        raise UnavailableError("compiles for a GPU; not timed here")
    if not any(each.platform == "gpu" for each in jax.devices()):
        raise UnavailableError("installed without support for GPUs")
    assert problem.function is not None
    function, names = problem.function, library("jax")

    def derivative(tensors: Any) -> Any:
        def value(*points: Any) -> Any:
            return function(names, {**tensors, **dict(zip(problem.wrt, points, strict=True))})

        points = tuple(tensors[name] for name in problem.wrt)
        if problem.kind == "value":
            return value(*points)
        gradient = jax.grad(value, argnums=tuple(range(len(points))))
        if problem.kind == "grad":
            return gradient(*points)
        if problem.kind == "hvp":
            return jax.jvp(gradient, points, tuple(tensors[problem.vectors[name]] for name in problem.wrt))[1]
        hessian = jax.hessian(value)(*points)
        return hessian if problem.kind == "hessian" else jax.numpy.linalg.solve(hessian, gradient(*points)[0])

    jitted = jax.jit(derivative)
    handed: dict[int, Any] = {}

    def call(tensors: Tensors) -> Any:
        if id(tensors) not in handed:  # of each set of inputs once, beside what is timed
            handed[id(tensors)] = {name: jax.dlpack.from_dlpack(x) for name, x in tensors.items()}
        return jax.block_until_ready(jitted(handed[id(tensors)]))

    return call


def made(problem: Problem, numbers: Iterable[int], device: str) -> list[dict[str, Any]]:
    """Sets of inputs, all different; those of one number are always the same."""
    import torch

    generator = torch.Generator(device)
    return [
        {
            name: data.made(generator.manual_seed(100 * number + k), device)
            for k, (name, data) in enumerate(problem.data.items())
        }
        for number in numbers
    ]


def listed(answer: Any) -> Sequence[Any]:
    """The tensors of an answer, in order, as torch's."""
    import torch

    if isinstance(answer, Mapping):
        answer = list(answer.values())
    if isinstance(answer, (list, tuple)):
        return [x for each in answer for x in listed(each)]
    return [answer if isinstance(answer, torch.Tensor) else torch.from_dlpack(answer)]
