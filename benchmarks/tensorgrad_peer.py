"""tensorgrad as a peer: the programs in its language, and calls of what it compiles them to.

In its language axes have names and no order: ``@`` sums over all names that two factors share, ``*`` and
``+`` line them up.  A derivative is symbolic; the library simplifies it, and compiles it to torch.

It is called, never copied (its licence is the AGPL), and optional; ``docs/benchmarks.md`` says how it is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .harness import Call
from .peers import need

Tensors = Mapping[str, Any]


@dataclass(frozen=True)
class Named:
    """``function(functions, tensors)``, a scalar in tensorgrad's language; ``axes`` has a letter for each axis."""

    axes: Mapping[str, str]
    function: Callable[[Any, Tensors], Any]


def tensorgrad_call(
    named: Named, data: Mapping[str, npt.NDArray[Any]], wrt: Sequence[str], kind: str, compiled: bool = False
) -> Call:
    """A call of the compiled derivative (``kind`` is grad, hessian or newton); ``compiled`` by ``torch.compile``, too.

    The function that tensorgrad generates is called directly: its own call takes torch tensors with named
    axes, which torch 2.13 no longer has.  Leaving that call out costs tensorgrad no time.
    """
    need("tensorgrad")
    torch = need("torch")
    from tensorgrad import functions
    from tensorgrad.compiler import compile_to_callable

    tensors = {name: _variable(name, axes, data[name].shape) for name, axes in named.axes.items()}
    value = named.function(functions, tensors)
    outputs, orders = _derivatives(kind, value, named, tensors, wrt)
    program = compile_to_callable(*outputs)
    sizes = {_size(length): length for length in {1, *(n for array in data.values() for n in array.shape)}}
    function = program.codegen.specialize(sizes, dtype=torch.float64, for_inductor=compiled)
    if compiled:  # no reset of torch.compile here, which would forget the functions of contenders before this one
        function = torch.compile(function, fullgraph=True, dynamic=False)
    found = [edges for _, edges in program.outputs]
    places = [[edges.index(name) for name in order] for edges, order in zip(found, orders, strict=True)]
    arguments = [torch.from_numpy(np.asarray(data[name])) for name in program.input_names]

    def run() -> Any:
        with torch.no_grad():
            values = [x.permute(place) for x, place in zip(function(*arguments), places, strict=True)]
            if kind == "newton":
                return torch.linalg.solve(values[1], values[0])
            return values if kind == "grad" else values[0]

    return run


def _variable(name: str, axes: str, shape: Sequence[int]) -> Any:
    import tensorgrad

    return tensorgrad.Variable(name, **{axis: _size(length) for axis, length in zip(axes, shape, strict=True)})


def _size(length: int) -> Any:
    """The symbol of a size; axes of one length share it."""
    import sympy

    return sympy.Symbol(f"n{length}")


def _derivatives(
    kind: str, value: Any, named: Named, tensors: Tensors, wrt: Sequence[str]
) -> tuple[list[Any], list[list[str]]]:
    """The derivatives, and the names of each one's axes in their order."""
    if kind not in ("grad", "hessian", "newton"):
        raise ValueError(f"tensorgrad is asked for kind {kind!r}; it has grad, hessian and newton here")
    once = {name: {axis: f"{axis}1" for axis in named.axes[name]} for name in wrt}
    gradients = [value.grad(tensors[name], once[name]) for name in wrt]
    orders = [list(once[name].values()) for name in wrt]
    if kind == "grad":
        return gradients, orders
    twice = {axis: f"{axis}2" for axis in named.axes[wrt[0]]}
    hessian = gradients[0].grad(tensors[wrt[0]], twice)
    both = [*orders[0], *twice.values()]
    return ([hessian], [both]) if kind == "hessian" else ([gradients[0], hessian], [orders[0], both])


# --- programs ----------------------------------------------------------------------------------


def _softplus(f: Any, x: Any) -> Any:
    return f.log(1 + f.exp(x))


def _logsumexp(f: Any, x: Any, axis: str) -> Any:
    return f.log(f.sum(f.exp(x), axis))


def _logistic(f: Any, t: Tensors) -> Any:
    margin = t["X"] @ t["w"]
    return f.sum(_softplus(f, margin) - t["y"] * margin)


def _poisson(f: Any, t: Tensors) -> Any:
    rate = t["X"] @ t["w"]
    return f.sum(f.exp(rate) - t["y"] * rate) + f.frobenius2(t["w"]) / 2


def _network(f: Any, t: Tensors) -> Any:
    state = f.relu(f.relu(t["X"] @ t["W0"]) @ t["W1"])
    return -f.sum(t["Y"] * f.log_softmax(state @ t["W2"], "c"))


def _mixture(f: Any, t: Tensors) -> Any:
    centred = t["X"] - t["m"]
    white = f.exp(t["q"]) * centred + f.dot(t["L"] * t["mask"], centred.rename(d="e"), "e")
    terms = t["a"] + f.sum(t["q"], "d") - f.sum(white * white, "d") / 2
    return f.sum(_logsumexp(f, terms, "k") - _logsumexp(f, t["a"], "k"))


def _layer_norm(f: Any, t: Tensors) -> Any:
    centred = t["x"] - f.mean(t["x"], "d", keepdims=True)
    variance = f.mean(centred * centred, "d", keepdims=True)
    return f.sum(t["c"] * (centred / f.sqrt(variance + 1e-5) * t["g"] + t["b"]))


def _gaussian_process(f: Any, t: Tensors) -> Any:
    one, three = _size(1), t["p"].shape["s"]
    scale = [f.exp(f.sum(t["p"] @ f.window(s=three, o=one, start=k))) for k in range(3)]
    covariance = scale[1] * f.exp(t["D"] / scale[0] / -2) + scale[2] * t["I"]
    solved = f.inverse(covariance, {"i", "j"}) @ t["y"]
    return (solved @ t["y"].rename(i="j") + f.log(f.det(covariance, {"i", "j"}))) / 2


def _autoencoder(f: Any, t: Tensors) -> Any:
    state = f.tanh(t["x"] @ t["E"])
    mean, log_variance = state @ t["M"], state @ t["S"]
    code = mean + t["noise"] * f.exp(log_variance / 2)
    logits = f.tanh(code @ t["D"]) @ t["F"]
    fit = f.sum(_softplus(f, logits) - t["x"] * logits)
    return fit + f.sum(mean * mean + f.exp(log_variance) - log_variance - 1) / 2


def _diffusion(f: Any, t: Tensors) -> Any:
    def silu(x: Any) -> Any:
        return x * f.sigmoid(x)

    alpha = f.sum(t["alpha"], "o")
    noisy = f.sqrt(alpha) * t["x"] + f.sqrt(1 - alpha) * t["noise"]
    state = silu(noisy @ t["A"] + t["time"] @ t["T"])
    error = silu(state @ t["B"]) @ t["C"] - t["noise"]
    return f.mean(error * error)


def _elementwise(function: Callable[[Any, Tensors], Any]) -> Named:
    return Named({"x": "nd", "c": "nd"}, lambda f, t: f.sum(t["c"] * function(f, t)))


LOGISTIC = Named({"w": "d", "X": "nd", "y": "n"}, _logistic)
POISSON = Named({"w": "d", "X": "nd", "y": "n"}, _poisson)
FACTORISATION = Named({"U": "ir", "V": "jr", "T": "ij"}, lambda f, t: f.frobenius2(t["T"] - t["U"] @ t["V"]))
NETWORK = Named({"W0": "fg", "W1": "gh", "W2": "hc", "X": "nf", "Y": "nc"}, _network)
QUADRATIC = Named({"x": "i", "A": "ij"}, lambda f, t: t["x"] @ t["A"] @ t["x"].rename(i="j"))
LOGSUMEXP = Named({"x": "i"}, lambda f, t: _logsumexp(f, t["x"], "i"))
MIXTURE = Named({"a": "k", "m": "kd", "q": "kd", "L": "kde", "X": "nd", "mask": "de"}, _mixture)
ELEMENTWISE = {
    "layer norm": Named({"x": "nd", "c": "nd", "g": "d", "b": "d"}, _layer_norm),
    "GELU": _elementwise(lambda f, t: f.gelu(t["x"])),
    "softmax": _elementwise(lambda f, t: f.softmax(t["x"], "d")),
}
GAUSSIAN_PROCESS = Named({"p": "s", "D": "ij", "I": "ij", "y": "i"}, _gaussian_process)
AUTOENCODER = Named({"E": "ph", "M": "hl", "S": "hl", "D": "lh", "F": "hp", "x": "bp", "noise": "bl"}, _autoencoder)
DIFFUSION = Named(
    {"A": "fh", "B": "hg", "C": "gf", "T": "eh", "x": "bf", "noise": "bf", "alpha": "bo", "time": "be"}, _diffusion
)
