"""The rows: elementwise work, matrix products, attention, decompositions, Hessians.

Sizes are such that a row takes up to some tens of gigabytes; ``tiny`` ones are for Triton's interpreter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from .. import hessians
from ..elementwise import CHAINS
from ..gradients import layer_norm
from ..harness import Goal, Row
from ..peers import library
from .attention import ATTENTION
from .problem import Call, Data, Problem, Tensors

COPY = "a copy of its bytes"
_MEMORY = (Goal(0.9, COPY), Goal(1.0))
_SOME_ROWS = 128


# --- elementwise work and reductions -----------------------------------------------------------


def _weighted(function: Callable[[Any, Tensors], Any]) -> Callable[[Any, Tensors], Any]:
    """A scalar whose gradient is the function's, with the weights ``c``."""
    return lambda library, t: library.sum(t["c"] * function(library, t))


_ROWWISE: dict[str, Callable[[Any, Tensors], Any]] = {
    "softmax": lambda library, t: library.softmax(t["x"], 1),
    "logsumexp": lambda library, t: library.logsumexp(t["x"], 1),
    "layer norm": layer_norm,
}


def rowwise(name: str, kind: str, dtype: str, rows: int, columns: int) -> Problem:
    """Of each row of a matrix, or the gradient of that."""
    data = {"x": Data((rows, columns), dtype)}
    if name == "layer norm":
        data |= {each: Data((columns,), dtype) for each in "gb"}
    wrt = tuple(data) if kind == "grad" else ()
    function = _ROWWISE[name]
    if kind == "grad":
        data["c"] = Data((rows, columns), dtype)
        function = _weighted(function)
    cut = tuple(each for each in data if each in "xc")
    return Problem(data, function, kind, wrt, tolerance=_tolerance(dtype), cut=cut)


def chain(name: str, size: int) -> Problem:
    """Elementwise over two vectors."""
    return Problem({each: Data((size,)) for each in "xy"}, CHAINS[name][0])


def _tolerance(dtype: str) -> float:
    return {"bfloat16": 2e-2, "float32": 1e-4}[dtype]


def _memory_rows() -> list[Row]:
    found = []
    for size, rows in (("0.5 GB", 2**15), ("4 GB", 2**18)):
        for name, kind, dtype in (
            ("softmax", "value", "float32"),
            ("softmax", "grad", "float32"),
            ("logsumexp", "value", "float32"),
            ("layer norm", "value", "bfloat16"),
            ("layer norm", "grad", "float32"),
        ):
            what = f"{'gradient of ' if kind == 'grad' else ''}{name}, rows of 4096, {size}, {dtype}"
            count = rows if dtype == "float32" else 2 * rows
            found.append(Row(what, rowwise, (name, kind, dtype, count, 4096), (name, kind, dtype, 5, 40), _MEMORY))
        for name in ("exp(−x²/2)·sin(3x) + y", "sum of (x − y)²/2 + x"):
            found.append(Row(f"{name}, {size}, float32", chain, (name, rows * 2048), (name, 100), _MEMORY))
    found.append(
        Row("softmax, rows of 131072, 2 GB, float32", rowwise, ("softmax", "value", "float32", 4096, 131072),
            ("softmax", "value", "float32", 2, 300), _MEMORY)
    )  # fmt: skip
    return found


# --- matrix products ---------------------------------------------------------------------------


def product(kind: str, dtype: str, rows: int, inner: int, columns: int) -> Problem:
    """A matrix product with what comes before it or after it."""
    data = {"x": Data((rows, inner), dtype), "w": Data((inner, columns), dtype, inner**-0.5)}
    if kind == "epilogue":
        data["b"] = Data((columns,), dtype)
        function = lambda library, t: library.gelu(t["x"] @ t["w"] + t["b"])  # noqa: E731
    else:
        data["u"] = Data((rows, inner), dtype)
        function = lambda library, t: (t["u"] * library.sigmoid(t["u"]) * t["x"]) @ t["w"]  # noqa: E731
    arithmetic = "tf32" if dtype == "float32" else dtype
    return Problem(
        data, function, flops=2.0 * rows * inner * columns, arithmetic=arithmetic, tolerance=2e-2,
        compiled=("default", "max-autotune"),
    )  # fmt: skip


_PRODUCTS = [
    Row(f"{text}, {size}³, {dtype}", product, (kind, precision, size, size, size), (kind, precision, 9, 17, 33))
    for kind, text in (("epilogue", "gelu(x·w + b)"), ("prologue", "(silu(u)·x)·w"))
    for size in (4096, 8192)
    for dtype, precision in (("bfloat16", "bfloat16"), ("tf32", "float32"))
]


def wide_product(dtype: str, rows: int, inner: int, columns: int, after: bool) -> Problem:
    """A product of what is stored in fewer bits, added up in float32, and its result float32."""

    def outputs() -> Any:
        import otus

        shapes = {"x": (rows, inner), "w": (columns, inner)}
        x, w = (otus.cast(otus.tensor(name, shape, dtype=dtype), "float32") for name, shape in shapes.items())
        return otus.gelu(x @ w.T + otus.tensor("b", (columns,), dtype="float32")) if after else x @ w.T

    def finished(product: Any, t: Tensors) -> Any:
        import torch

        return torch.nn.functional.gelu(product + t["b"]) if after else product

    def converted(t: Tensors) -> Any:
        x, w = (each if each.element_size() > 4 else each.float() for each in (t["x"], t["w"]))
        return finished(x @ w.T, t)

    def stored(t: Tensors) -> Any:
        import torch

        if dtype == "bfloat16":
            return finished(torch.mm(t["x"], t["w"].T, out_dtype=torch.float32), t)
        one = torch.ones((), device=t["x"].device)
        return finished(torch._scaled_mm(t["x"], t["w"].T, one, one, out_dtype=torch.float32), t)

    data = {"x": Data((rows, inner), dtype), "w": Data((columns, inner), dtype, inner**-0.5)}
    data |= {"b": Data((columns,))} if after else {}
    peer = "torch.mm, out_dtype" if dtype == "bfloat16" else "torch._scaled_mm"
    return Problem(
        data, outputs=outputs, torch=converted, flops=2.0 * rows * inner * columns, arithmetic="bfloat16",
        tolerance=2e-3, peers={peer: lambda: stored},
    )  # fmt: skip


_WIDE_PRODUCTS = [
    Row(
        f"{text} in float32, {size}³, {dtype}",
        wide_product,
        (dtype, size, size, size, after),
        (dtype, 9, 32, 48, after),
    )
    for after, text in ((False, "x·wᵀ"), (True, "gelu(x·wᵀ + b)"))
    for size in (4096, 8192)
    for dtype in ("bfloat16", "float8_e4m3fn")
]


# --- decompositions ----------------------------------------------------------------------------


def mttkrp(size: int, rank: int) -> Problem:
    """Of the first mode of a tensor of third order."""
    data = {"X": Data((size,) * 3), "B": Data((size, rank)), "C": Data((size, rank))}
    function = lambda library, t: library.einsum("ijk,jr,kr->ir", t["X"], t["B"], t["C"])  # noqa: E731
    return Problem(data, function, flops=2.0 * size**3 * rank, arithmetic="float32", tolerance=1e-3)


def cp_als(size: int, rank: int) -> Problem:
    """One sweep of alternating least squares, derived from the loss."""

    def outputs() -> Any:
        from ..programs import alternating_updates, cp_loss

        return alternating_updates(*cp_loss(3, size, rank))

    def by_hand(t: Tensors) -> Any:
        import torch

        factors = [t[f"A{k}"] for k in range(3)]
        for mode, spec in enumerate(("ijk,jr,kr->ir", "ijk,ir,kr->jr", "ijk,ir,jr->kr")):
            one, other = (x for k, x in enumerate(factors) if k != mode)
            gram = (one.T @ one) * (other.T @ other)
            factors[mode] = torch.linalg.solve(gram, torch.einsum(spec, t["X"], one, other).T).T
        return factors

    data = {"X": Data((size,) * 3, "float64"), **{f"A{k}": Data((size, rank), "float64") for k in range(3)}}
    flops = 2.0 * 2 * size**3 * rank
    return Problem(data, outputs=outputs, torch=by_hand, flops=flops, arithmetic="float64", tolerance=1e-6)


def tucker(size: int, rank: int) -> Problem:
    """One sweep of higher-order orthogonal iteration; of the factors, their spans are compared."""

    def outputs() -> Any:
        from ..programs import tucker_updates

        return tucker_updates(3, size, rank)

    def by_hand(t: Tensors) -> Any:
        import torch

        factors = [t[f"A{k}"] for k in range(3)]
        for mode, spec in enumerate(("ijk,jb,kc->ibc", "ijk,ia,kc->jac", "ijk,ia,jb->kab")):
            small = torch.einsum(spec, t["X"], *(x for k, x in enumerate(factors) if k != mode)).flatten(1)
            factors[mode] = torch.linalg.eigh(small @ small.T)[1][:, -rank:]
        return [*factors, torch.einsum("ijk,ia,jb,kc->abc", t["X"], *factors)]

    data = {"X": Data((size,) * 3, "float64"), **{f"A{k}": Data((size, rank), "float64") for k in range(3)}}
    return Problem(
        data, outputs=outputs, torch=by_hand, flops=4.0 * size**3 * rank, arithmetic="float64", tolerance=1e-6,
        answer=lambda found: [*(x @ x.T for x in found[:-1]), found[-1].norm()],
    )  # fmt: skip


_DECOMPOSITIONS = [
    Row("MTTKRP, 1024³, R = 64, float32", mttkrp, (1024, 64), (6, 2), (Goal(1.5),)),
    Row("CP-ALS sweep, 512³, R = 64, float64", cp_als, (512, 64), (6, 2), (Goal(1.5),)),
    Row("Tucker sweep, 512³, R = 32, float64", tucker, (512, 32), (6, 2), (Goal(1.5),)),
]


# --- Hessians ----------------------------------------------------------------------------------


def logistic(points: int, features: int) -> Problem:
    """By hand as a specialist writes it, which is what answers are compared with."""

    def by_hand(t: Tensors) -> Any:
        import torch

        probability = torch.sigmoid(t["X"] @ t["w"])
        return (t["X"] * (probability * (1 - probability))[:, None]).T @ t["X"]

    data = {"X": Data((points, features), "float64"), "y": Data((points,), "float64", kind="labels"),
            "w": Data((features,), "float64", features**-0.5)}  # fmt: skip
    return _hessian(data, hessians.logistic_loss, "w", by_hand, points * features**2)


def factorisation(size: int, rank: int) -> Problem:
    """The dense array, which torch finds only some rows at a time: all at once, it would take 469 GiB."""

    def by_hand(t: Tensors) -> Any:
        import torch

        result = torch.zeros((size, rank, size, rank), dtype=t["V"].dtype, device=t["V"].device)
        torch.diagonal(result, 0, 0, 2).copy_((2 * t["V"].T @ t["V"])[:, :, None])
        return result

    data = {"U": Data((size, rank), "float64"), "V": Data((size, rank), "float64"), "T": Data((size, size), "float64")}
    some = {f"torch, {_SOME_ROWS} rows at once": lambda: _hessian_by_rows(hessians.factorisation_loss, "U")}
    return replace(_hessian(data, hessians.factorisation_loss, "U", by_hand), peers=some)


def _hessian_by_rows(function: Callable[[Any, Tensors], Any], point: str) -> Call:
    import torch

    names = library("torch")

    def call(t: Tensors) -> Any:
        gradient = torch.func.grad(lambda x: function(names, {**t, point: x}))
        return torch.func.jacrev(gradient, chunk_size=_SOME_ROWS)(t[point])

    return call


def network(points: int, features: int, hidden: int, classes: int) -> Problem:
    """Three layers; the Hessian in the first layer's weights, compared with torch's."""
    sizes = (features, hidden, hidden, classes)
    data = {f"W{k}": Data((sizes[k], sizes[k + 1]), "float64", sizes[k] ** -0.5) for k in range(3)}
    data |= {"X": Data((points, features), "float64"), "Y": Data((points, classes), "float64", kind="one_hot")}
    return _hessian(data, hessians.network_loss, "W0", None, points * (features * hidden) ** 2)


def quadratic(size: int) -> Problem:
    """A + Aᵀ."""
    data = {"x": Data((size,), "float64"), "A": Data((size, size), "float64")}
    return _hessian(data, hessians.quadratic_form, "x", lambda t: t["A"] + t["A"].T)


def logsumexp(size: int) -> Problem:
    """diag(p) − ppᵀ."""

    def by_hand(t: Tensors) -> Any:
        import torch

        p = torch.softmax(t["x"], 0)
        result = torch.outer(-p, p)
        result.diagonal().add_(p)
        return result

    return _hessian({"x": Data((size,), "float64")}, hessians.log_of_sum, "x", by_hand)


def newton(points: int, features: int) -> Problem:
    """The step of Poisson regression."""

    def by_hand(t: Tensors) -> Any:
        import torch

        mean = torch.exp(t["X"] @ t["w"])
        hessian = (t["X"] * mean[:, None]).T @ t["X"]
        hessian.diagonal().add_(1.0)
        return torch.linalg.solve(hessian, t["X"].T @ (mean - t["y"]) + t["w"])

    data = {"X": Data((points, features), "float64"), "y": Data((points,), "float64", kind="labels"),
            "w": Data((features,), "float64", features**-0.5)}  # fmt: skip
    return _hessian(data, hessians.poisson_loss, "w", by_hand, points * features**2, "newton")


def _hessian(
    data: dict[str, Data],
    function: Callable[[Any, Tensors], Any],
    point: str,
    by_hand: Callable[[Tensors], Any] | None,
    flops: float = 0.0,
    kind: str = "hessian",
) -> Problem:
    return Problem(
        data, function, kind, (point,), flops=flops, arithmetic="float64", tolerance=1e-7, exact=by_hand, compiled=()
    )


_TWICE = (Goal(2.0),)
_HESSIANS = [
    Row("Hessian of logistic regression, 20000×2000", logistic, (20000, 2000), (9, 4), _TWICE),
    Row("Hessian of matrix factorisation 1280×5, dense", factorisation, (1280, 5), (5, 2), _TWICE),
    Row("Hessian of a 3-layer network, first layer 64×64", network, (1280, 64, 64, 10), (5, 4, 3, 2), _TWICE),
    Row("Hessian of xᵀAx, 20480", quadratic, (20480,), (5,), _TWICE),
    Row("Hessian of logsumexp, 20480", logsumexp, (20480,), (5,), _TWICE),
    Row("Newton step of Poisson regression, 20480×2560", newton, (20480, 2560), (9, 3), _TWICE),
]

ROWS: Sequence[Row] = (*_memory_rows(), *_PRODUCTS, *_WIDE_PRODUCTS, *ATTENTION, *_DECOMPOSITIONS, *_HESSIANS)
