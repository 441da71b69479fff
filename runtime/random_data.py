"""Random data for a tensor type: right shape, right dtype, and every fact that it declares."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..ir import DType, Facts, Node, ShapeError, TensorType, inputs_of, topological
from ..ir.dims import evaluate
from ..ir.dtypes import to_numpy_dtype
from ..ir.operations import Input, ScatterAdd, Take
from ..ir.specialise import free_symbols
from .facts import satisfies

Array = npt.NDArray[Any]

STYLES = ("normal", "positive", "definite", "unit")
_SIZES = (3, 4, 5, 2, 6, 7)


def choose_sizes(nodes: Sequence[Node], dims: Mapping[str, int] | None = None, seed: int = 0) -> dict[str, int]:
    """A small size for every dim, those of ``dims`` first; up to six dims all differ.

    Seeds above 0 choose larger sizes in another order.
    """
    names = sorted(free_symbols(nodes))
    chosen = {name: _SIZES[(k + seed) % len(_SIZES)] + 4 * seed for k, name in enumerate(names)}
    return {**chosen, **(dims or {})}


def random_inputs(
    nodes: Sequence[Node], sizes: Mapping[str, int], seed: int = 0, style: str = "normal"
) -> dict[str, Array]:
    """Random data for every input, with the facts that its type states.

    ``style`` says what data without facts are: ``normal``; ``positive`` (at least 0.1) or of the open
    ``unit`` interval, for logarithms, roots and arc sines; ``definite``, for factorisations: square matrices
    positive definite, and the rest normal.  Inputs that index an axis are inside it.
    """
    generator = np.random.default_rng(seed)
    found = {}
    for node in inputs_of(nodes):
        assert isinstance(node.op, Input)
        found[node.op.label] = _styled(node.type, sizes, generator, style)
    for label, extent in _index_extents(nodes, sizes).items():
        found[label] = found[label] % max(extent, 1)
    return found


def _styled(type: TensorType, sizes: Mapping[str, int], rng: np.random.Generator, style: str) -> Array:
    free = type.dtype.is_inexact and not type.facts
    if free and style == "definite" and type.ndim >= 2 and type.shape[-1] == type.shape[-2]:
        return random_array(dataclasses.replace(type, facts=Facts(positive_definite=True)), sizes, rng)
    if free and style in ("positive", "unit"):
        magnitude = np.abs(random_array(type, sizes, rng)) + np.asarray(0.1, to_numpy_dtype(type.dtype))
        return np.asarray(magnitude / (1 + magnitude) if style == "unit" else magnitude).astype(magnitude.dtype)
    return random_array(type, sizes, rng)


def _index_extents(nodes: Sequence[Node], sizes: Mapping[str, int]) -> dict[str, int]:
    """For each input that indexes an axis, the smallest size of such an axis."""
    extents: dict[str, int] = {}
    for node in topological(nodes):
        if isinstance(node.op, (Take, ScatterAdd)) and isinstance(node.operands[1].op, Input):
            label = node.operands[1].op.label
            extent = evaluate(node.operands[0].type.shape[node.op.axis], sizes)
            extents[label] = min(extent, extents.get(label, extent))
    return extents


def random_array(
    type: TensorType,
    sizes: Mapping[str, int],
    rng: np.random.Generator,
    away_from_zero: float = 0.0,
) -> Array:
    """A random array of ``type`` at ``sizes``, with all facts of the type.

    Elements are normal (integers from -4 to 4, unsigned ones to 4, booleans even);
    positive-definite matrices have eigenvalues of at least 1.  With ``away_from_zero`` every freely
    chosen element has at least that magnitude, so that poles and kinks are not met by accident.

    Raises ``NamingError`` for a dim without size, ``DTypeError`` for a dtype that NumPy lacks, and
    ``ShapeError`` where no array of that shape is known to have all the facts.
    """
    shape = tuple(evaluate(size, sizes) for size in type.shape)
    dtype = to_numpy_dtype(type.dtype)
    for candidate in _candidates(type.facts, shape, type.dtype, rng, away_from_zero):
        array = candidate.astype(dtype)
        if satisfies(array, type.facts):
            return array
    facts = ", ".join(f"{name}={value}" for name, value in type.facts.items())
    raise ShapeError(f"no data of shape {shape} and dtype {type.dtype} found with {facts}; pass data of your own")


def _candidates(
    facts: Facts, shape: tuple[int, ...], dtype: DType, rng: np.random.Generator, bound: float
) -> Iterator[Array]:
    """Arrays that may have the facts, the most random first; identities have nearly all of them."""
    free = _elements(shape, dtype, rng, bound)
    if facts.nonnegative:
        free = np.abs(free) if free.dtype != np.bool_ else free
    yield _with_facts(free, facts, dtype, rng)
    if len(shape) >= 2:
        rows, columns = shape[-2:]
        yield np.broadcast_to(np.eye(rows, columns), shape)
    if shape and shape[-1]:
        yield np.full(shape, 1 / shape[-1])


def _elements(shape: tuple[int, ...], dtype: DType, rng: np.random.Generator, bound: float) -> Array:
    if dtype.kind == "bool":
        return rng.integers(0, 2, shape).astype(bool) | np.bool_(bound > 0)
    if dtype.kind in ("int", "uint"):
        magnitude = rng.integers(int(np.ceil(bound)), 5 + int(bound), shape)
        return magnitude * (_signs(shape, rng) if dtype.kind == "int" else 1)
    real = _real_elements(shape, rng, bound)
    if dtype.kind == "complex":
        return np.asarray(real + 1j * rng.standard_normal(shape))
    return real


def _real_elements(shape: tuple[int, ...], rng: np.random.Generator, bound: float) -> Array:
    return _signs(shape, rng) * (bound + np.abs(rng.standard_normal(shape)))


def _signs(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return 2 * rng.integers(0, 2, shape) - 1


def _with_facts(free: Array, facts: Facts, dtype: DType, rng: np.random.Generator) -> Array:
    array = free
    if facts.orthonormal:
        array = _orthonormal(array)
    if facts.positive_definite:
        array = _positive_definite(array, facts.nonnegative, rng)
    if facts.sums_to_one:
        array = _summing_to_one(array, dtype, rng)
    if facts.diagonal:
        array = array * np.eye(array.shape[-1], dtype=np.int8).astype(array.dtype)
    for group in facts.symmetric:
        array = _symmetric(array, group)
    return array


def _orthonormal(free: Array) -> Array:
    """The Q of a QR decomposition; as wide as its rows allow."""
    q, _ = np.linalg.qr(free if free.dtype.kind in "fc" else free.astype(np.float64))
    wide = np.zeros(free.shape, q.dtype)
    wide[..., : q.shape[-1]] = q
    return wide


def _positive_definite(free: Array, nonnegative: bool, rng: np.random.Generator) -> Array:
    """B Bᵀ / n + 1 with a real B: symmetric, Hermitian, with eigenvalues of at least 1."""
    integers = free.dtype.kind in "iu"
    factor = free if integers else rng.standard_normal(free.shape)
    if nonnegative:
        factor = np.abs(factor)
    product = np.matmul(factor, np.swapaxes(factor, -1, -2))
    scaled = product if integers else product / max(free.shape[-1], 1)
    return np.asarray(scaled + np.eye(free.shape[-1], dtype=scaled.dtype))


def _summing_to_one(free: Array, dtype: DType, rng: np.random.Generator) -> Array:
    """Positive rows divided by their sums; for integers and booleans, one 1 a row."""
    if not dtype.is_inexact:
        place = rng.integers(0, max(free.shape[-1], 1), (*free.shape[:-1], 1))
        return np.asarray(np.arange(free.shape[-1]) == place, np.int64)
    positive = np.abs(free) + 0.1
    return np.asarray(positive / positive.sum(axis=-1, keepdims=True))


def _symmetric(array: Array, group: tuple[int, ...]) -> Array:
    """Read every element at its indices sorted within the group: exactly symmetric."""
    places = np.indices(array.shape)
    places[list(group)] = np.sort(places[list(group)], axis=0)
    return np.asarray(array[tuple(places)])
