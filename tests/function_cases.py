"""One row for each use of a function: the same call over Otus, NumPy and JAX, and what to feed it.

A row's call takes a namespace first (:data:`OTUS`, :data:`NUMPY` or :data:`JAX`) in which all the
contract's names exist, so that values and derivatives are compared on one description.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

import otus

try:
    from scipy import special
except ImportError:  # on a machine that has a GPU and little else
    import plain_special as special


class Names:
    """The contract's names over one library: special cases first, then the library's modules."""

    def __init__(self, *modules: Any, **special: Callable[..., Any]) -> None:
        self._modules = modules
        self._special = special

    def __getattr__(self, name: str) -> Any:
        if name in self._special:
            return self._special[name]
        for module in self._modules:
            if hasattr(module, name):
                return getattr(module, name)
        raise AttributeError(f"none of {self._modules} has {name}")


def _torch_gelu(x: Any, approximate: str = "none") -> Any:
    return torch.nn.functional.gelu(torch.from_numpy(np.array(x)), approximate=approximate).numpy()


def _numpy_scatter_add(x: Any, indices: Any, updates: Any, axis: int = 0) -> Any:
    result = np.array(x)
    places = (slice(None),) * (axis % result.ndim) + (np.asarray(indices),)
    np.add.at(result, places, updates)
    return result


def _sigmoid(x: Any) -> Any:
    return special.expit(x)


def _symmetric(x: Any) -> Any:
    """What is read of a matrix that is symmetric by meaning: derivatives take it as such, as in JAX."""
    return (x + np.swapaxes(x, -1, -2)) / 2


def _logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    if np.size(x) == 0 or axis == ():  # SciPy refuses some empty arrays, and gives scalars an axis
        return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))
    return special.logsumexp(x, axis=axis, keepdims=keepdims)


OTUS = Names(otus)
NUMPY = Names(
    np,
    np.linalg,
    rsqrt=lambda x: 1 / np.sqrt(x),
    sigmoid=_sigmoid,
    softplus=lambda x: np.logaddexp(x, np.zeros((), np.asarray(x).dtype)),
    relu=lambda x: np.maximum(x, 0),
    silu=lambda x: x * _sigmoid(x),
    gelu=_torch_gelu,
    erf=special.erf,
    logsumexp=_logsumexp,
    softmax=lambda x, axis=-1: special.softmax(x, axis),
    log_softmax=lambda x, axis=-1: special.log_softmax(x, axis),
    delta=lambda size, dtype="float64": np.eye(size, dtype=dtype),
    constant=np.asarray,
    cast=lambda x, dtype: np.asarray(x).astype(dtype),
    scatter_add=_numpy_scatter_add,
    trace=np.trace,
    diagonal=np.diagonal,
    outer=np.outer,
    matmul=np.matmul,
    logdet=lambda x: np.log(np.linalg.det(x)),
    lstsq=lambda a, b, rcond=None: np.linalg.lstsq(a, b, rcond)[0],
    pinv=lambda x, rcond=None: np.linalg.pinv(x) if rcond is None else np.linalg.pinv(x, rcond),
)


@cache
def _jax_names() -> Names:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")

    def scatter_add(x: Any, indices: Any, updates: Any, axis: int = 0) -> Any:
        return x.at[(slice(None),) * (axis % x.ndim) + (jnp.asarray(indices),)].add(updates)

    return Names(
        jnp,
        jnp.linalg,
        rsqrt=jax.lax.rsqrt,
        sigmoid=jax.nn.sigmoid,
        softplus=jax.nn.softplus,
        relu=jax.nn.relu,
        silu=jax.nn.silu,
        gelu=lambda x, approximate="none": jax.nn.gelu(x, approximate=approximate == "tanh"),
        erf=jax.scipy.special.erf,
        logsumexp=jax.nn.logsumexp,
        softmax=jax.nn.softmax,
        log_softmax=jax.nn.log_softmax,
        delta=lambda size, dtype="float64": jnp.eye(size, dtype=dtype),
        constant=jnp.asarray,
        cast=lambda x, dtype: jnp.asarray(x).astype(dtype),
        scatter_add=scatter_add,
        trace=jnp.trace,
        diagonal=jnp.diagonal,
        outer=jnp.outer,
        matmul=jnp.matmul,
        logdet=lambda x: jnp.linalg.slogdet(x)[1],
        lstsq=lambda a, b, rcond=None: jnp.linalg.lstsq(a, b, rcond)[0],
        pinv=lambda x, rcond=None: jnp.linalg.pinv(x, rcond),
    )


def __getattr__(name: str) -> Any:
    """``JAX``, which is imported when it is asked for."""
    if name == "JAX":
        return _jax_names()
    raise AttributeError(name)


# --- what to feed ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Draw:
    """An operand: its shape, the domain of its elements, and a dtype where the row fixes one."""

    shape: tuple[int, ...]
    domain: str = "normal"
    dtype: str | None = None

    @property
    def is_real(self) -> bool:
        """Whether the operand takes the dtype under test, and derivatives."""
        return self.dtype is None


def draw(each: Draw, rng: np.random.Generator, dtype: str = "float64") -> np.ndarray:
    """An array for ``each``; float operands take ``dtype``."""
    return np.asarray(DOMAINS[each.domain](rng, each.shape)).astype(each.dtype or dtype)


def _fractional(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return rng.integers(-2, 2, shape) + rng.uniform(0.35, 0.65, shape)


def _away(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return (2 * rng.integers(0, 2, shape) - 1) * rng.uniform(0.3, 2.0, shape)


def _apart(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """All elements at least 0.3 apart, so that no extremum is near a tie."""
    count = int(np.prod(shape))
    return rng.permutation(np.arange(count) * 0.4 - 0.2 * count + rng.uniform(0, 0.1, count)).reshape(shape)


def _magnitudes_apart(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Of either sign, with all magnitudes at least 0.3 apart and away from 0."""
    count = int(np.prod(shape))
    magnitudes = rng.permutation(0.3 + 0.4 * np.arange(count) + rng.uniform(0, 0.1, count))
    return (magnitudes * rng.choice([-1, 1], count)).reshape(shape)


def _well_conditioned(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    rows, columns = shape[-2:]
    return 0.4 * rng.standard_normal(shape) + 2.0 * np.eye(rows, columns) * rng.choice([-1, 1])


def _positive_definite(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    factor = rng.standard_normal(shape)
    return factor @ np.swapaxes(factor, -1, -2) / max(shape[-1], 1) + np.eye(shape[-1])


def _positive_determinant(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return 0.3 * rng.standard_normal(shape) + 2.0 * np.eye(shape[-1])


def _separated(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Symmetric, with eigenvalues far apart."""
    spread = np.diag(2.0 * np.arange(1, shape[-1] + 1))
    noise = 0.3 * rng.standard_normal(shape)
    return noise + np.swapaxes(noise, -1, -2) + spread


def _singular_values_apart(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    rows, columns = shape[-2:]
    diagonal = np.zeros((rows, columns))
    np.fill_diagonal(diagonal, 2.0 * np.arange(1, min(rows, columns) + 1))
    return 0.3 * rng.standard_normal(shape) + diagonal


DOMAINS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Any]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "positive": lambda rng, shape: rng.uniform(0.3, 2.5, shape),
    "unit": lambda rng, shape: rng.uniform(-0.8, 0.8, shape),
    "above_minus_one": lambda rng, shape: rng.uniform(-0.6, 2.0, shape),
    "away": _away,
    "apart": _apart,
    "magnitudes_apart": _magnitudes_apart,
    "fractional": _fractional,
    "integers": lambda rng, shape: rng.integers(-3, 4, shape),
    "booleans": lambda rng, shape: rng.integers(0, 2, shape),
    "complex": lambda rng, shape: rng.standard_normal(shape) + 1j * rng.standard_normal(shape),
    "matrix": _well_conditioned,
    "positive_definite": _positive_definite,
    "positive_determinant": _positive_determinant,
    "separated": _separated,
    "singular_values": _singular_values_apart,
}


def real(*shape: int, domain: str = "normal") -> Draw:
    return Draw(shape, domain)


def booleans(*shape: int) -> Draw:
    return Draw(shape, "booleans", "bool")


def integers(*shape: int) -> Draw:
    return Draw(shape, "integers", "int64")


# --- the rows ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A use of the function ``name``: ``call(namespace, *operands)``.

    ``smooth`` is False where there is no derivative (or it is zero by definition everywhere);
    ``oracle`` is False where JAX has no derivative of this, and finite differences judge alone;
    rows of one ``variant`` differ in their shapes only.
    """

    name: str
    note: str
    call: Callable[..., Any]
    operands: tuple[Draw, ...]
    smooth: bool = True
    oracle: bool = True
    dtype_as_numpy: bool = True
    variant: str = ""

    def in_domain(self, name: str, value: Any) -> Any:
        """The operand called ``x0``, ``x1``, … as the function takes it: symmetric where it is symmetric by meaning."""
        symmetric = self.operands[int(name[1:])].domain in ("positive_definite", "separated")
        return _symmetric(value) if symmetric else value

    def __str__(self) -> str:
        return f"{self.name}-{self.note}" if self.note else self.name


def case(name: str, call: Callable[..., Any], *operands: Draw, note: str = "", **flags: Any) -> Case:
    shapes = "_".join("x".join(map(str, each.shape)) or "scalar" for each in operands)
    return Case(name, f"{note}-{shapes}" if note else shapes, call, operands, variant=note, **flags)


UNARY: dict[str, str] = {
    "exp": "normal", "expm1": "normal", "log": "positive", "log1p": "above_minus_one", "sqrt": "positive",
    "rsqrt": "positive", "square": "normal", "reciprocal": "away", "sin": "normal", "cos": "normal",
    "tan": "unit", "arcsin": "unit", "arccos": "unit", "arctan": "normal", "sinh": "normal", "cosh": "normal",
    "tanh": "normal", "sigmoid": "normal", "softplus": "normal", "relu": "away", "gelu": "normal",
    "silu": "normal", "erf": "normal", "abs": "away", "negative": "normal", "real": "normal", "conj": "normal",
}  # fmt: skip
FLAT: dict[str, str] = {"sign": "away", "floor": "fractional", "isfinite": "normal", "imag": "normal"}
BINARY: dict[str, tuple[str, str]] = {
    "add": ("normal", "normal"), "subtract": ("normal", "normal"), "multiply": ("normal", "normal"),
    "divide": ("normal", "away"), "power": ("positive", "normal"), "arctan2": ("away", "away"),
    "logaddexp": ("normal", "normal"), "maximum": ("fractional", "integers"), "minimum": ("fractional", "integers"),
}  # fmt: skip
COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")

SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (3,), (2, 0, 3), (3, 1, 2), (3, 5))
PAIRS: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((), ()), ((), (3,)), ((1,), (1,)), ((3, 1), (1, 4)), ((2, 3), (3,)), ((0, 3), (1, 3)), ((2, 1, 3), (5, 1)),
)  # fmt: skip


def _function(name: str) -> Callable[..., Any]:
    def call(xp: Names, *operands: Any) -> Any:
        return getattr(xp, name)(*operands)

    return call


def _elementwise() -> list[Case]:
    rows = []
    for name, domain in UNARY.items():
        rows += [case(name, _function(name), real(*shape, domain=domain)) for shape in SHAPES]
    for name, domain in FLAT.items():
        rows += [case(name, _function(name), real(*shape, domain=domain), smooth=False) for shape in SHAPES]
    for name, (first, second) in BINARY.items():
        rows += [case(name, _function(name), real(*a, domain=first), real(*b, domain=second)) for a, b in PAIRS]
    for name in COMPARISONS:
        rows += [
            case(name, _function(name), real(*a, domain="integers"), real(*b, domain="integers"), smooth=False)
            for a, b in PAIRS
        ]
    rows += [
        case("where", lambda xp, c, x, y: xp.where(c, x, y), booleans(*a), real(*b), real(3))
        for a, b in PAIRS
        if a in ((), (1,), (2, 3), (3, 1)) and b in ((), (1,), (3,))
    ]
    return [
        *rows,
        case("where", lambda xp, c, x: xp.where(c, x, 2.0), booleans(2, 3), real(3), note="number"),
        case("where", lambda xp, c, x: xp.where(c, 0, x), integers(4), real(4), note="integer condition"),
        case("gelu", lambda xp, x: xp.gelu(x, approximate="tanh"), real(3, 5), note="tanh"),
        case("power", lambda xp, x: x**2, real(3, 2), note="square"),
        case("power", lambda xp, x: x**3, real(3, 2), note="cube"),
        case("power", lambda xp, x: x**-2, real(3, 2, domain="away"), note="negative"),
        case("power", lambda xp, x: x**0, real(3, 2), note="zero"),
        case("power", lambda xp, x: x**0.5, real(3, 2, domain="positive"), note="root"),
        case("power", lambda xp, x: 2.0**x, real(3, 2), note="of a number"),
        case("maximum", lambda xp, x: xp.maximum(x, 0), real(4, domain="away"), note="number"),
        case("divide", lambda xp, x: x / 4, real(3), note="power of two"),
        case("divide", lambda xp, x: x / 3, real(3), note="three"),
        case("divide", lambda xp, x: 1 / x, real(3, domain="away"), note="of a number"),
        case("subtract", lambda xp, x: 1 - x, real(3), note="from a number"),
        case("add", lambda xp, x: x + 1.5, real(2, 3), note="number"),
        case("multiply", lambda xp, x: -2 * x, real(2, 3), note="number"),
        case("multiply", lambda xp, x: x * x, real(2, 3), note="itself"),
    ]


def _reductions() -> list[Case]:
    rows = []
    for name in ("sum", "prod", "mean", "var", "max", "min", "any", "all", "logsumexp"):
        domain = "apart" if name in ("max", "min") else "normal"
        smooth = name not in ("any", "all")
        for axis, keepdims in ((None, False), (0, False), (-1, True), ((0, 2), False), ((-1, 0), True), (1, True)):

            def call(xp: Names, x: Any, name: str = name, axis: Any = axis, keepdims: bool = keepdims) -> Any:
                return getattr(xp, name)(x, axis=axis, keepdims=keepdims)

            rows.append(case(name, call, real(2, 3, 4, domain=domain), note=f"{axis}{keepdims}", smooth=smooth))
        rows.append(case(name, _function(name), real(), smooth=smooth))
        rows.append(case(name, _function(name), real(1, 1), smooth=smooth))
        rows.append(case(name, lambda xp, x, name=name: getattr(xp, name)(x, axis=1), real(0, 3), smooth=smooth))
        if name not in ("max", "min", "mean", "var"):
            rows.append(case(name, _function(name), real(0, 3), note="empty", smooth=smooth))
        if name in ("sum", "prod", "max", "min", "mean", "var"):
            rows.append(
                case(
                    name,
                    lambda xp, x, name=name: getattr(x, name)(axis=0),
                    real(3, 2, domain=domain),
                    note="method",
                    smooth=smooth,
                )
            )
    rows += [
        case("sum", lambda xp, x: xp.sum(x, axis=()), real(2, 3), note="no axes"),
        case("sum", lambda xp, x: xp.sum(x, axis=0, dtype="float64"), real(2, 3), note="dtype"),
        case("prod", lambda xp, x: xp.prod(x, axis=1, dtype="float64"), real(2, 5), note="dtype"),
        case("var", lambda xp, x: xp.var(x, axis=1, ddof=1), real(2, 3), note="ddof"),
        case("cumsum", lambda xp, x: xp.cumsum(x), real(2, 3), note="flat"),
        case("cumsum", lambda xp, x: xp.cumsum(x, axis=1), real(2, 3, 4)),
        case("cumsum", lambda xp, x: xp.cumsum(x, axis=-1), real(2, 0)),
    ]
    for name in ("softmax", "log_softmax"):
        rows += [
            case(name, _function(name), real(3, 4)),
            case(name, lambda xp, x, name=name: getattr(xp, name)(x, axis=0), real(3, 4), note="0"),
            case(name, lambda xp, x, name=name: getattr(xp, name)(x, axis=(0, 1)), real(2, 3, 2), note="pair"),
            case(name, _function(name), real(2, 1)),
            case(name, _function(name), real(0, 3)),
        ]
    inf = float("inf")
    for ord in (None, 1, 2, 3, 0, 0.5, inf, -inf):
        rows.append(
            case(
                "norm",
                lambda xp, x, ord=ord: xp.norm(x, ord=ord),
                real(5, domain="magnitudes_apart"),
                note=f"vector {ord}",
                smooth=ord != 0,
            )
        )
        rows.append(
            case(
                "norm",
                lambda xp, x, ord=ord: xp.norm(x, ord=ord, axis=-1, keepdims=True),
                real(2, 3, domain="magnitudes_apart"),
                note=f"axis {ord}",
                smooth=ord != 0,
            )
        )
    for ord in (None, "fro", "nuc", 1, -1, 2, -2, inf, -inf):
        rows.append(
            case(
                "norm",
                lambda xp, x, ord=ord: xp.norm(x, ord=ord),
                real(3, 4, domain="magnitudes_apart"),
                note=f"matrix {ord}",
            )
        )
        rows.append(
            case(
                "norm",
                lambda xp, x, ord=ord: xp.norm(x, ord=ord, axis=(2, 0)),
                real(3, 2, 2, domain="magnitudes_apart"),
                note=f"matrices {ord}",
            )
        )
    return rows


def _shaping() -> list[Case]:
    return [
        case("reshape", lambda xp, x: xp.reshape(x, (3, -1)), real(2, 6)),
        case("reshape", lambda xp, x: x.reshape(4, 3), real(2, 6), note="method"),
        case("reshape", lambda xp, x: xp.reshape(x, -1), real(2, 3), note="flat"),
        case("reshape", lambda xp, x: xp.reshape(x, ()), real(1, 1), note="scalar"),
        case("reshape", lambda xp, x: xp.reshape(x, (0, 5)), real(3, 0), note="empty"),
        case("reshape", lambda xp, x: xp.reshape(x, (1, -1, 1)), real()),
        case("transpose", lambda xp, x: xp.transpose(x), real(2, 3, 4)),
        case("transpose", lambda xp, x: xp.transpose(x, (1, -1, 0)), real(2, 3, 4), note="axes"),
        case("transpose", lambda xp, x: x.transpose(1, 0), real(2, 3), note="method"),
        case("transpose", lambda xp, x: x.T, real(0, 3), note="T"),
        case("transpose", lambda xp, x: xp.transpose(x), real()),
        case("moveaxis", lambda xp, x: xp.moveaxis(x, 0, -1), real(2, 3, 4)),
        case("moveaxis", lambda xp, x: xp.moveaxis(x, (0, 1), (-1, 0)), real(2, 3, 4), note="pair"),
        case("moveaxis", lambda xp, x: xp.moveaxis(x, (2, 0, 3), (1, 3, 0)), real(2, 3, 4, 5), note="three"),
        case("squeeze", lambda xp, x: xp.squeeze(x), real(1, 3, 1)),
        case("squeeze", lambda xp, x: xp.squeeze(x, 0), real(1, 3, 1), note="one"),
        case("squeeze", lambda xp, x: xp.squeeze(x, (0, -1)), real(1, 0, 1), note="pair"),
        case("expand_dims", lambda xp, x: xp.expand_dims(x, 1), real(2, 3)),
        case("expand_dims", lambda xp, x: xp.expand_dims(x, (0, -1)), real(2, 3), note="pair"),
        case("expand_dims", lambda xp, x: xp.expand_dims(x, -1), real()),
        case("broadcast_to", lambda xp, x: xp.broadcast_to(x, (4, 2, 3)), real(2, 1)),
        case("broadcast_to", lambda xp, x: xp.broadcast_to(x, (2, 3)), real()),
        case("broadcast_to", lambda xp, x: xp.broadcast_to(x, (0, 3)), real(1, 3)),
        case("flip", lambda xp, x: xp.flip(x), real(2, 3)),
        case("flip", lambda xp, x: xp.flip(x, 1), real(2, 3), note="one"),
        case("flip", lambda xp, x: xp.flip(x, (0, -1)), real(2, 1, 3), note="pair"),
        case("flip", lambda xp, x: xp.flip(x, 0), real(0, 3)),
        case("roll", lambda xp, x: xp.roll(x, 2), real(2, 3), note="flat"),
        case("roll", lambda xp, x: xp.roll(x, -1, axis=1), real(2, 3)),
        case("roll", lambda xp, x: xp.roll(x, (1, 5), axis=(0, 1)), real(2, 3), note="pair"),
        case("roll", lambda xp, x: xp.roll(x, 7, axis=(0, 1)), real(2, 3), note="both"),
        case("roll", lambda xp, x: xp.roll(x, 1), real(0)),
        case("concatenate", lambda xp, x, y: xp.concatenate([x, y]), real(2, 3), real(1, 3)),
        case("concatenate", lambda xp, x, y: xp.concatenate([x, y, x], axis=-1), real(2, 3), real(2, 1), note="last"),
        case("concatenate", lambda xp, x, y: xp.concatenate([x, y], axis=None), real(2, 3), real(4), note="flat"),
        case("concatenate", lambda xp, x, y: xp.concatenate([x, y], axis=1), real(2, 0), real(2, 3)),
        case("concatenate", lambda xp, x: xp.concatenate([x]), real(2), note="one"),
        case("stack", lambda xp, x, y: xp.stack([x, y]), real(2, 3), real(2, 3)),
        case("stack", lambda xp, x, y: xp.stack([x, y, x], axis=-1), real(2, 3), real(2, 3), note="last"),
        case("stack", lambda xp, x, y: xp.stack([x, y], axis=1), real(0, 3), real(0, 3)),
        case("stack", lambda xp, x, y: xp.stack([x, y]), real(), real()),
        case("pad", lambda xp, x: xp.pad(x, 1), real(2, 3)),
        case("pad", lambda xp, x: xp.pad(x, (1, 2)), real(2, 3), note="pair"),
        case("pad", lambda xp, x: xp.pad(x, ((0, 2), (3, 0))), real(2, 3), note="each"),
        case("pad", lambda xp, x: xp.pad(x, ((1, 0), (0, 2)), constant_values=7), real(2, 3), note="value"),
        case("pad", lambda xp, x: xp.pad(x, 2), real(0)),
        case("cast", lambda xp, x: xp.cast(x, "float32"), real(2, 3), smooth=False),
        case("cast", lambda xp, x: xp.cast(x, "int64"), real(2, 3), note="int", smooth=False),
        case("cast", lambda xp, x: xp.cast(x, "complex128"), real(2, 3), note="complex", smooth=False),
        case("cast", lambda xp, x: xp.cast(x, "bool"), real(2, 3, domain="integers"), note="bool", smooth=False),
    ]


def _indexing() -> list[Case]:
    keys: list[Any] = [
        1,
        -1,
        slice(1, None),
        slice(None, None, -1),
        slice(None, None, 2),
        slice(-2, None),
        slice(3, 0, -2),
        slice(5, 1),
        (slice(None), 1),
        (..., -1),
        (None, 0),
        (slice(None), None, slice(1, 3)),
        (0, ..., slice(None, None, -2)),
        (slice(-1, -10, -1), slice(1, 100)),
        (2, 1),
        (..., None),
        None,
        ...,
        (),
        [0, -1, 0],
        (slice(1, None), [2, 2, 0]),
        (slice(None), np.array([[0, 1], [-1, 2]])),
        slice(2, 2),
        (1, [0, 1]),
        (None, [1, 0]),
        (slice(None, None, -1), None, [3, 0]),
    ]

    def index(key: Any) -> Callable[..., Any]:
        def call(xp: Names, x: Any) -> Any:
            if xp is not OTUS and isinstance(key, list):
                return x[np.array(key)]
            if xp is not OTUS and isinstance(key, tuple):
                return x[tuple(np.array(k) if isinstance(k, list) else k for k in key)]
            return x[key]

        return call

    rows = [case("take", index(key), real(4, 4), note=f"[{key}]".replace("\n", "")) for key in keys]
    return [
        *rows,
        case("take", lambda xp, x: xp.take(x, np.array([0, -1, 0, 2]), axis=0), real(3, 2)),
        case("take", lambda xp, x: xp.take(x, np.array([[1, -2], [1, 1]]), axis=1), real(2, 3, 2), note="matrix"),
        case("take", lambda xp, x: xp.take(x, np.array([5, 0, 5])), real(2, 3), note="flat"),
        case("take", lambda xp, x: xp.take(x, np.zeros((0,), int), axis=1), real(2, 3), note="none"),
        case("take", lambda xp, x: xp.take(x, 1, axis=1), real(2, 3), note="number"),
        case("take", lambda xp, x, i: xp.take(x, i, axis=-1), real(2, 4), integers(5), note="tensor"),
        case("scatter_add", lambda xp, x, y: xp.scatter_add(x, np.array([0, -1, 0]), y), real(4), real(3)),
        case(
            "scatter_add",
            lambda xp, x, y: xp.scatter_add(x, np.array([2, 2, -3]), y, axis=1),
            real(2, 3),
            real(2, 3),
            note="axis",
        ),
        case(
            "scatter_add",
            lambda xp, x, y: xp.scatter_add(x, np.array([[0, 1], [1, 1]]), y, axis=0),
            real(3, 2),
            real(2, 2, 2),
            note="matrix",
        ),
        case(
            "scatter_add",
            lambda xp, x, y: xp.scatter_add(x, np.array([0, 1]), y, axis=0),
            real(3, 2),
            real(2),
            note="broadcast",
        ),
        case("scatter_add", lambda xp, x, y: xp.scatter_add(x, np.zeros((0,), int), y), real(3), real(0), note="none"),
        case("scatter_add", lambda xp, x, i, y: xp.scatter_add(x, i, y), real(4), integers(3), real(3), note="tensor"),
    ]


def _contraction() -> list[Case]:
    rows = []
    shapes = [
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((3,), (3, 2)),
        ((2, 3), (3, 4)),
        ((5, 2, 3), (3, 4)),
        ((5, 2, 3), (5, 3, 1)),
        ((1, 2, 3), (5, 3, 2)),
        ((3,), (5, 3, 2)),
        ((5, 2, 3), (3,)),
        ((2, 0), (0, 3)),
        ((0, 2), (2, 3)),
        ((2, 1, 2, 3), (4, 3, 2)),
    ]
    rows += [case("matmul", lambda xp, x, y: xp.matmul(x, y), real(*a), real(*b)) for a, b in shapes]
    rows += [case("matmul", lambda xp, x, y: x @ y, real(2, 3), real(3, 2), note="operator")]
    dots = [
        ((3,), (3,)),
        ((), (2, 3)),
        ((2, 3), ()),
        ((2, 3), (3,)),
        ((2, 3), (3, 4)),
        ((2, 3), (4, 3, 5)),
        ((0,), (0,)),
    ]
    rows += [case("dot", lambda xp, x, y: xp.dot(x, y), real(*a), real(*b)) for a, b in dots]
    return [
        *rows,
        case("vdot", lambda xp, x, y: xp.vdot(x, y), real(2, 3), real(2, 3)),
        case("vdot", lambda xp, x, y: xp.vdot(x, y), real(), real()),
        case("outer", lambda xp, x, y: xp.outer(x, y), real(2), real(3)),
        case("outer", lambda xp, x, y: xp.outer(x, y), real(2, 2), real(0)),
        case("outer", lambda xp, x, y: xp.outer(x, y), real(), real(3)),
        case("kron", lambda xp, x, y: xp.kron(x, y), real(2, 3), real(3, 2)),
        case("kron", lambda xp, x, y: xp.kron(x, y), real(2), real(3, 2)),
        case("kron", lambda xp, x, y: xp.kron(x, y), real(2, 1, 2), real(3)),
        case("kron", lambda xp, x, y: xp.kron(x, y), real(), real(2)),
        case("tensordot", lambda xp, x, y: xp.tensordot(x, y), real(2, 3, 4), real(3, 4, 2)),
        case("tensordot", lambda xp, x, y: xp.tensordot(x, y, axes=1), real(2, 3), real(3, 4), note="one"),
        case("tensordot", lambda xp, x, y: xp.tensordot(x, y, axes=0), real(2), real(3, 1), note="none"),
        case(
            "tensordot",
            lambda xp, x, y: xp.tensordot(x, y, axes=([0, -1], [1, 0])),
            real(2, 3, 4),
            real(4, 2, 5),
            note="pairs",
        ),
        case("tensordot", lambda xp, x, y: xp.tensordot(x, y, axes=(1, 0)), real(2, 3), real(3), note="numbers"),
        case("trace", lambda xp, x: xp.trace(x), real(3, 3)),
        case("trace", lambda xp, x: xp.trace(x, offset=1), real(3, 4), note="offset"),
        case("trace", lambda xp, x: xp.trace(x, offset=-1, axis1=-1, axis2=0), real(3, 2, 4), note="axes"),
        case("diagonal", lambda xp, x: xp.diagonal(x), real(3, 4)),
        case("diagonal", lambda xp, x: xp.diagonal(x, offset=-1), real(3, 4), note="below"),
        case("diagonal", lambda xp, x: xp.diagonal(x, offset=2, axis1=1, axis2=2), real(2, 3, 4), note="axes"),
        case("diagonal", lambda xp, x: xp.diagonal(x, offset=5), real(3, 4), note="outside"),
        case("diag", lambda xp, x: xp.diag(x), real(3)),
        case("diag", lambda xp, x: xp.diag(x, k=2), real(3), note="above"),
        case("diag", lambda xp, x: xp.diag(x, k=-1), real(2), note="below"),
        case("diag", lambda xp, x: xp.diag(x, 1), real(3, 3), note="of a matrix"),
        case("diag", lambda xp, x: xp.diag(x), real(0)),
        case("einsum", lambda xp, x, y: xp.einsum("ij,jk->ik", x, y), real(2, 3), real(3, 4)),
        case("einsum", lambda xp, x, y: xp.einsum("ij,jk", x, y), real(2, 3), real(3, 4), note="implicit"),
        case("einsum", lambda xp, x: xp.einsum("ii->i", x), real(3, 3), note="diagonal"),
        case("einsum", lambda xp, x: xp.einsum("ii", x), real(3, 3), note="trace"),
        case("einsum", lambda xp, x, y: xp.einsum("...i,i->...", x, y), real(2, 4, 3), real(3), note="ellipsis"),
        case(
            "einsum",
            lambda xp, x, y: xp.einsum("ij...,jk...->ik...", x, y),
            real(2, 3, 4),
            real(3, 2, 1),
            note="ellipsis broadcast",
        ),
        case(
            "einsum",
            lambda xp, x, y, z: xp.einsum("ir,jr,kr->ijk", x, y, z),
            real(2, 2),
            real(3, 2),
            real(4, 2),
            note="hyper-edge",
        ),
        case("einsum", lambda xp, x, y: xp.einsum("i,->i", x, y), real(3), real(), note="scalar"),
        case("einsum", lambda xp, x: xp.einsum("ijk->ki", x), real(2, 3, 4), note="sum"),
        case("einsum", lambda xp, x, y: xp.einsum("iij,jii->j", x, y), real(2, 2, 3), real(3, 2, 2), note="repeated"),
        case("einsum", lambda xp, x, y: xp.einsum("i,j->", x, y), real(2), real(3), note="two sums"),
        case(
            "einsum",
            lambda xp, x, y: xp.einsum(x, [0, 1], y, [1, 2], [0, 2]),
            real(2, 3),
            real(3, 0),
            note="interleaved",
        ),
        case("einsum", lambda xp, x: xp.einsum("ij,ij,kj->i", x, x, x), real(2, 3), note="itself"),
    ]


def _linear_algebra() -> list[Case]:
    square = [(3, 3), (1, 1), (2, 3, 3), (0, 2, 2)]
    rows = [case("inv", _function("inv"), real(*s, domain="matrix")) for s in square]
    rows += [case("det", _function("det"), real(*s, domain="matrix")) for s in square]
    rows += [case("logdet", _function("logdet"), real(*s, domain="positive_determinant")) for s in square]
    rows += [case("slogdet", lambda xp, x: xp.slogdet(x)[1], real(*s, domain="matrix"), note="log") for s in square]
    rows += [
        case("slogdet", lambda xp, x: xp.slogdet(x)[0], real(*s, domain="matrix"), note="sign", smooth=False)
        for s in square
    ]
    rows += [case("cholesky", _function("cholesky"), real(*s, domain="positive_definite")) for s in square]
    rows += [
        case("solve", lambda xp, a, b: xp.solve(a, b), real(*a, domain="matrix"), real(*b))
        for a, b in [
            ((3, 3), (3,)),
            ((3, 3), (3, 2)),
            ((2, 3, 3), (2, 3, 1)),
            ((2, 3, 3), (3, 2)),
            ((3, 3), (2, 3, 2)),
            ((2, 3, 3), (3,)),
        ]
    ]
    for s in [(3, 3), (2, 3, 3), (1, 1)]:
        rows += [
            case("eigh", lambda xp, x: xp.eigh(x)[0], real(*s, domain="separated"), note="values"),
            case("eigh", lambda xp, x: xp.eigh(x)[1] ** 2, real(*s, domain="separated"), note="vectors"),
            case("eigh", lambda xp, x: xp.eigh(x, UPLO="U")[0], real(*s, domain="separated"), note="upper"),
        ]
    for s in [(4, 3), (3, 3), (2, 4, 2), (1, 1)]:
        rows += [
            case("qr", lambda xp, x: xp.qr(x)[0], real(*s, domain="singular_values"), note="q"),
            case("qr", lambda xp, x: xp.qr(x)[1], real(*s, domain="singular_values"), note="r"),
            case("qr", lambda xp, x: xp.qr(x, mode="r"), real(*s, domain="singular_values"), note="mode r"),
        ]
    rows += [
        case("qr", lambda xp, x: xp.qr(x)[1], real(2, 4, domain="singular_values"), note="wide", smooth=False),
        case(
            "qr",
            lambda xp, x: xp.qr(x, mode="complete")[0],
            real(3, 2, domain="singular_values"),
            note="complete",
            smooth=False,
        ),
        case(
            "qr",
            lambda xp, x: xp.qr(x, mode="complete")[1],
            real(3, 2, domain="singular_values"),
            note="complete r",
            smooth=False,
        ),
    ]
    for s in [(4, 3), (2, 4), (3, 3), (2, 3, 2), (1, 1)]:
        rows += [
            case("svd", lambda xp, x: xp.svd(x, compute_uv=False), real(*s, domain="singular_values"), note="values"),
            case(
                "svd",
                lambda xp, x: xp.svd(x, full_matrices=False)[0] ** 2,
                real(*s, domain="singular_values"),
                note="u",
            ),
            case("svd", lambda xp, x: xp.svd(x, full_matrices=False)[1], real(*s, domain="singular_values"), note="s"),
            case(
                "svd",
                lambda xp, x: xp.svd(x, full_matrices=False)[2] ** 2,
                real(*s, domain="singular_values"),
                note="vh",
            ),
            case("pinv", _function("pinv"), real(*s, domain="singular_values")),
        ]
    rows += [
        case("svd", lambda xp, x: xp.svd(x)[0] ** 2, real(3, 2, domain="singular_values"), note="full u", smooth=False),
        case("svd", lambda xp, x: xp.svd(x)[1], real(3, 2, domain="singular_values"), note="full s", oracle=False),
        case(
            "svd", lambda xp, x: xp.svd(x)[2] ** 2, real(3, 2, domain="singular_values"), note="full vh", smooth=False
        ),
        case("pinv", lambda xp, x: xp.pinv(x, rcond=1e-3), real(3, 2, domain="singular_values"), note="rcond"),
        case("tensorinv", lambda xp, x: xp.tensorinv(xp.reshape(x, (2, 3, 6))), real(6, 6, domain="matrix")),
        case(
            "tensorinv",
            lambda xp, x: xp.tensorinv(xp.reshape(x, (4, 2, 2)), ind=1),
            real(4, 4, domain="matrix"),
            note="ind",
        ),
        case(
            "tensorsolve",
            lambda xp, a, b: xp.tensorsolve(xp.reshape(a, (2, 3, 3, 2)), b),
            real(6, 6, domain="matrix"),
            real(2, 3),
        ),
        case(
            "tensorsolve",
            lambda xp, a, b: xp.tensorsolve(xp.reshape(a, (2, 6, 3)), b, axes=(0, 2)),
            real(6, 6, domain="normal"),
            real(6),
            note="axes",
        ),
        case("lstsq", lambda xp, a, b: xp.lstsq(a, b), real(4, 2, domain="singular_values"), real(4)),
        case("lstsq", lambda xp, a, b: xp.lstsq(a, b), real(2, 4, domain="singular_values"), real(2, 3)),
        case(
            "lstsq", lambda xp, a, b: xp.lstsq(a, b, rcond=1e-4), real(3, 3, domain="matrix"), real(3, 1), note="rcond"
        ),
    ]
    return rows


def _creation() -> list[Case]:
    def made(name: str, *args: Any, **options: Any) -> Case:
        note = f"{args}{options}".replace(" ", "")
        return case(name, lambda xp: getattr(xp, name)(*args, **options), note=note, smooth=False)

    return [
        made("zeros", (2, 3)),
        made("zeros", 3),
        made("zeros", (0, 2), dtype="int32"),
        made("zeros", (), dtype="bool"),
        made("ones", (2, 1)),
        made("ones", (2,), dtype="complex64"),
        made("ones", (0,)),
        made("full", (2, 3), 7),
        made("full", (2, 3), 1.5),
        made("full", (2, 2), 3, dtype="float32"),
        made("full", (2, 3), [1.0, 2.0, 3.0]),
        made("full", (), 2j),
        made("eye", 3),
        made("eye", 2, 4),
        made("eye", 4, 3, 1),
        made("eye", 3, 5, k=-2),
        made("eye", 3, k=7),
        made("eye", 3, dtype="int64"),
        made("eye", 0),
        made("delta", 3),
        made("delta", 2, dtype="float32"),
        made("arange", 5),
        made("arange", 2, 7),
        made("arange", 7, 1, -2),
        made("arange", 1, 9, 3),
        made("arange", 0),
        made("arange", 5, 2),
        made("arange", 0.5, 3.0, 0.5),
        made("arange", 4, dtype="float32"),
        made("arange", 3.0),
        made("arange", 1, 2, 0.1),
        made("arange", 5, 0, -1.5),
        made("arange", 2, 9, 2, dtype="int8"),
        made("constant", [[1, 2], [3, 4]]),
        made("constant", 2.5),
        made("constant", [True, False]),
        made("constant", [1, 2], dtype="float32"),
        made("constant", [[1.0, 2j]]),
    ]


CASES: tuple[Case, ...] = (
    *_elementwise(),
    *_reductions(),
    *_shaping(),
    *_indexing(),
    *_contraction(),
    *_linear_algebra(),
    *_creation(),
)


def representatives(rows: Sequence[Case]) -> list[Case]:
    """One row of each function and variant: the largest."""
    best: dict[tuple[str, str], Case] = {}
    for each in rows:
        key = (each.name, each.variant)
        if key not in best or _size(best[key]) < _size(each):
            best[key] = each
    return list(best.values())


def _size(each: Case) -> int:
    return sum(int(np.prod(x.shape)) for x in each.operands)


# Names in otus.frontend.FUNCTIONS that need no row here, and why.
ELSEWHERE: dict[str, str] = {
    **dict.fromkeys(
        ("grad", "jacobian", "hessian", "jvp", "vjp", "hvp", "jtjvp", "derivative"), "derivatives: tests/autodiff"
    ),
    "tensor": "every other row makes its operands with it",
}
