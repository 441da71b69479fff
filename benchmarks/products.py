"""Products with derivatives, products with tensors, and networks of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .bare_gemms import bare_gemms
from .harness import Call, Case, Goal, Row
from .peers import need
from .problem import Array, Data, OtusCall, Problem

Tensors = Mapping[str, Any]
NETWORKS = 20


def decomposition(kind: str, size: int, rank: int) -> Case:
    """HVP of the loss of CP in all factors, or JᵀJv of its model."""
    generator = np.random.default_rng(0)
    names = ("A", "B", "C")
    data = {name: generator.normal(size=(size, rank)) for name in names}
    vectors = {name: generator.normal(size=(size, rank)) for name in names}
    if kind == "hvp":
        data["X"] = generator.normal(size=(size, size, size))

    def model(library: Any, t: Tensors) -> Any:
        return library.einsum("ir,jr,kr->ijk", t["A"], t["B"], t["C"])

    def loss(library: Any, t: Tensors) -> Any:
        return 0.5 * library.sum(library.square(t["X"] - model(library, t)))

    return Problem(loss if kind == "hvp" else model, data, names, vectors).case(kind)


def attention(kind: str, tokens: int, width: int, heads: int) -> Case:
    """Multi-head self-attention in its four weights; the HVP is that of half its squared norm."""
    generator = np.random.default_rng(1)
    head = width // heads
    data = {name: generator.normal(size=(width, heads, head)) / width**0.5 for name in "QKV"}
    data["O"] = generator.normal(size=(heads, head, width)) / width**0.5
    vectors = {name: generator.normal(size=array.shape) for name, array in data.items()}
    data["x"] = generator.normal(size=(tokens, width))

    def block(library: Any, t: Tensors) -> Any:
        query, key, value = (library.einsum("nd,dhe->hne", t["x"], t[name]) for name in "QKV")
        scores = library.softmax(library.einsum("hne,hme->hnm", query, key) / head**0.5, -1)
        return library.einsum("hnm,hme,hed->nd", scores, value, t["O"])

    def loss(library: Any, t: Tensors) -> Any:
        return 0.5 * library.sum(library.square(t["x"] + block(library, t)))

    return Problem(loss if kind == "hvp" else block, data, tuple("QKVO"), vectors).case(kind)


# --- networks ----------------------------------------------------------------------------------


def network(spec: str, *shapes: tuple[int, ...]) -> Case:
    """One einsum: Otus, its peers, and the bare matrix products of Otus's own plan."""
    generator = np.random.default_rng(2)
    arrays = {f"T{k}": generator.normal(size=shape) for k, shape in enumerate(shapes)}
    peers: dict[str, Callable[[], Call]] = {
        "opt_einsum": lambda: _opt_einsum(spec, arrays),
        "torch.einsum": lambda: _torch(spec, arrays),
        "JAX": lambda: _jax(spec, arrays),
        "cotengra": lambda: _cotengra(spec, arrays),
    }
    expression = _expression(spec, arrays)

    def gemms() -> Call:
        products, values = bare_gemms(expression), list(arrays.values())
        exact = np.asarray(need("opt_einsum").contract(spec, *values))

        def run() -> Array:
            products()
            return exact

        return run

    return Case(
        lambda: _otus(expression, arrays), {**peers, "bare GEMMs": gemms}, tolerance=1e-9, by_hand=("bare GEMMs",)
    )


def _expression(spec: str, arrays: Data) -> Any:
    import otus

    return otus.einsum(spec, *(otus.tensor(name, array.shape) for name, array in arrays.items()))


def _otus(expression: Any, arrays: Data) -> Call:
    import otus

    return OtusCall(otus.compile(expression), arrays)


def _opt_einsum(spec: str, arrays: Data) -> Call:
    contract = need("opt_einsum").contract_expression(spec, *(x.shape for x in arrays.values()))
    return lambda: contract(*arrays.values())


def _cotengra(spec: str, arrays: Data) -> Call:
    inputs, output = spec.split("->")
    terms = inputs.split(",")
    sizes = {k: n for term, x in zip(terms, arrays.values(), strict=True) for k, n in zip(term, x.shape, strict=True)}
    contract = need("cotengra").array_contract_expression(
        [tuple(x) for x in terms], tuple(output), size_dict=sizes, optimize="auto"
    )
    return lambda: contract(*arrays.values())


def _torch(spec: str, arrays: Data) -> Call:
    torch = need("torch")
    tensors = [torch.from_numpy(x) for x in arrays.values()]
    return lambda: torch.einsum(spec, *tensors)


def _jax(spec: str, arrays: Data) -> Call:
    jax = need("jax")
    tensors = [jax.numpy.asarray(x) for x in arrays.values()]
    contract = jax.jit(lambda *given: jax.numpy.einsum(spec, *given, optimize="auto"))
    return lambda: jax.block_until_ready(contract(*tensors))


def random_network(count: int, seed: int, widest: int = 16) -> tuple[str, tuple[tuple[int, ...], ...]]:
    """A connected network of ``count`` tensors with three bonds each on average and one open index.

    Neighbours lie within three tensors of each other, which bounds what any order makes.
    """
    chooser = random.Random(seed)
    letters = [chr(192 + k) for k in range(4 * count)]
    terms: list[str] = [""] * count
    sizes: dict[str, int] = {}
    pairs = [(k, k + 1) for k in range(count - 1)]
    while len(pairs) < 3 * count // 2:
        first = chooser.randrange(count - 2)
        pairs.append((first, min(count - 1, first + chooser.randint(2, 3))))
    for letter, (first, second) in zip(letters, pairs, strict=False):
        terms[first] += letter
        terms[second] += letter
        sizes[letter] = chooser.randint(4, widest)
    terms[0] += letters[-1]
    sizes[letters[-1]] = 16
    latin = dict(zip(sizes, _LATIN, strict=False))  # torch.einsum knows no others
    spec = ",".join("".join(latin[x] for x in term) for term in terms) + "->" + latin[letters[-1]]
    return spec, tuple(tuple(sizes[x] for x in term) for term in terms)


_LATIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _network_row(seed: int) -> Row:
    count = 8 + seed * 22 // (NETWORKS - 1)
    spec, shapes = random_network(count, seed)
    tiny_spec, tiny_shapes = random_network(5, seed, widest=4)
    return Row(f"network {seed + 1} of {count} tensors", network, (spec, *shapes), (tiny_spec, *tiny_shapes), _NETWORK)


_NETWORK = (Goal(1.1), Goal(round(1 / 1.15, 3), "bare GEMMs"))
ROWS = (
    Row("HVP of CP, s = R = 150", decomposition, ("hvp", 150, 150), ("hvp", 4, 3), (Goal(2),)),
    Row("JᵀJv of CP, s = R = 150", decomposition, ("jtjvp", 150, 150), ("jtjvp", 4, 3), (Goal(2),)),
    Row("HVP of attention, 256×128, 4 heads", attention, ("hvp", 256, 128, 4), ("hvp", 5, 4, 2), (Goal(2),)),
    Row("JᵀJv of attention, 256×128, 4 heads", attention, ("jtjvp", 256, 128, 4), ("jtjvp", 5, 4, 2), (Goal(2),)),
    Row(
        "MTTKRP, 200³, R = 50",
        network,
        ("ijk,jr,kr->ir", (200, 200, 200), (200, 50), (200, 50)),
        ("ijk,jr,kr->ir", (4, 4, 4), (4, 2), (4, 2)),
        _NETWORK,
    ),
    Row(
        "MTTKRP of the middle mode, 50⁴, R = 20",
        network,
        ("ijkl,ir,kr,lr->jr", (50,) * 4, (50, 20), (50, 20), (50, 20)),
        ("ijkl,ir,kr,lr->jr", (3,) * 4, (3, 2), (3, 2), (3, 2)),
        _NETWORK,
    ),
    Row(
        "TTM chain, 200³ to 20³",
        network,
        ("ijk,ia,jb,kc->abc", (200,) * 3, (200, 20), (200, 20), (200, 20)),
        ("ijk,ia,jb,kc->abc", (4,) * 3, (4, 2), (4, 2), (4, 2)),
        _NETWORK,
    ),
    *(_network_row(seed) for seed in range(NETWORKS)),
)
