"""What a random program is made of: for each operation, how to draw a use of it and how to carry it out.

``choose(draw)`` returns the operands' numbers and literal parameters, or None where nothing fits;
``apply(xp, *operands, **parameters)`` is the use, over any namespace of ``function_cases``.  Domains are
made safe inside ``apply``, so that every use is smooth and of moderate size wherever it is evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Shape = tuple[int, ...]
Choice = tuple[tuple[int, ...], dict[str, Any]]


class Drawing:
    """A generator of random choices over the shapes of the values made so far."""

    def __init__(self, rng: np.random.Generator, shapes: Sequence[Shape]) -> None:
        self.rng = rng
        self.shapes = list(shapes)

    def integer(self, low: int, high: int) -> int:
        """From ``low`` to ``high``, both included."""
        return int(self.rng.integers(low, high + 1))

    def one(self, items: Sequence[Any]) -> Any:
        return items[self.integer(0, len(items) - 1)]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def subset(self, items: Sequence[Any]) -> list[Any]:
        return [x for x in items if self.chance(0.5)]

    def value(self, accept: Callable[[Shape], bool] = lambda shape: True) -> int | None:
        """The number of a value, recent ones being likelier; None where no shape is accepted."""
        fitting = [k for k, shape in enumerate(self.shapes) if accept(shape)]
        if not fitting:
            return None
        return fitting[-1 - int(len(fitting) * self.rng.random() ** 2)]

    def pair(self) -> tuple[int, int] | None:
        """Two values that broadcast."""
        x = self.value()
        assert x is not None
        y = self.value(lambda shape: broadcasts(shape, self.shapes[x]))
        assert y is not None
        return (x, y) if self.chance(0.5) else (y, x)

    def axis(self, x: int) -> int | None:
        rank = len(self.shapes[x])
        return self.integer(-rank, rank - 1) if rank else None


def broadcasts(first: Shape, second: Shape) -> bool:
    return all(a == b or 1 in (a, b) for a, b in zip(reversed(first), reversed(second), strict=False))


@dataclass(frozen=True)
class RandomOperation:
    """One row of the table."""

    choose: Callable[[Drawing], Choice | None]
    apply: Callable[..., Any]


TABLE: dict[str, RandomOperation] = {}


def operation(name: str, choose: Callable[[Drawing], Choice | None]) -> Callable[[Callable[..., Any]], None]:
    """Put a row in the table; the decorated function is its ``apply``."""

    def declare(apply: Callable[..., Any]) -> None:
        TABLE[name] = RandomOperation(choose, apply)

    return declare


# --- elementwise -------------------------------------------------------------------------------


def one_value(draw: Drawing) -> Choice:
    x = draw.value()
    assert x is not None
    return (x,), {}


def two_values(draw: Drawing) -> Choice | None:
    found = draw.pair()
    return (found, {}) if found else None


UNARY: dict[str, Callable[[Any, Any], Any]] = {
    "exp": lambda xp, x: xp.exp(xp.tanh(x)),
    "expm1": lambda xp, x: xp.expm1(xp.sin(x)),
    "log": lambda xp, x: xp.log(x * x + 0.5),
    "log1p": lambda xp, x: xp.log1p(xp.square(x)),
    "sqrt": lambda xp, x: xp.sqrt(x * x + 0.3),
    "rsqrt": lambda xp, x: xp.rsqrt(1.5 + xp.cos(x)),
    "square": lambda xp, x: xp.square(xp.arctan(x)),
    "reciprocal": lambda xp, x: xp.reciprocal(2.0 + xp.sin(x)),
    "sin": lambda xp, x: xp.sin(x),
    "cos": lambda xp, x: xp.cos(x / 3),
    "tan": lambda xp, x: xp.tan(xp.tanh(x)),
    "arcsin": lambda xp, x: xp.arcsin(0.8 * xp.sin(x)),
    "arccos": lambda xp, x: xp.arccos(0.7 * xp.tanh(x)),
    "arctan": lambda xp, x: xp.arctan(x),
    "sinh": lambda xp, x: xp.sinh(xp.sin(x)),
    "cosh": lambda xp, x: xp.cosh(xp.tanh(x)),
    "tanh": lambda xp, x: xp.tanh(x),
    "sigmoid": lambda xp, x: xp.sigmoid(x),
    "softplus": lambda xp, x: xp.softplus(x),
    "relu": lambda xp, x: xp.relu(x),
    "gelu": lambda xp, x: xp.gelu(x),
    "gelu_tanh": lambda xp, x: xp.gelu(x, approximate="tanh"),
    "silu": lambda xp, x: xp.silu(x),
    "erf": lambda xp, x: xp.erf(x),
    "abs": lambda xp, x: abs(x),
    "sign": lambda xp, x: xp.sign(x) * x,
    # Sums of probabilities are integers but for rounding, which is where floor steps.
    "floor": lambda xp, x: x - xp.floor(x + 0.3711),
    "negative": lambda xp, x: -x,
    "cube": lambda xp, x: xp.tanh(x) ** 3,
    "inverse_power": lambda xp, x: (1.2 + xp.square(xp.sin(x))) ** -2,
    "half_power": lambda xp, x: (0.4 + x * x) ** 0.5,
    "number_power": lambda xp, x: 1.7 ** xp.sin(x),
    "affine": lambda xp, x: 1 - 2 * x / 4,
    "cast": lambda xp, x: x + xp.cast(xp.cast(x, "complex128").real, "float64"),
}
for _name, _apply in UNARY.items():
    operation(_name, one_value)(_apply)

BINARY: dict[str, Callable[[Any, Any, Any], Any]] = {
    "add": lambda xp, x, y: x + y,
    "subtract": lambda xp, x, y: x - y,
    "multiply": lambda xp, x, y: x * y,
    "divide": lambda xp, x, y: x / (1.5 + xp.square(y)),
    "power": lambda xp, x, y: xp.power(1.2 + xp.sin(x), xp.tanh(y)),
    "arctan2": lambda xp, x, y: xp.arctan2(x, y + 3.0),
    "logaddexp": lambda xp, x, y: xp.logaddexp(x, y),
    "maximum": lambda xp, x, y: xp.maximum(x, y),
    "minimum": lambda xp, x, y: xp.minimum(x, y),
    "where": lambda xp, x, y: xp.where(x > y, xp.sin(x), y * 2),
    "where_number": lambda xp, x, y: xp.where(y < 0.25, x, 0.5),
}
for _name, _binary in BINARY.items():
    operation(_name, two_values)(_binary)


# --- reductions --------------------------------------------------------------------------------


def reduction(draw: Drawing) -> Choice:
    x = draw.value()
    assert x is not None
    rank = len(draw.shapes[x])
    axis = None if draw.chance(0.2) else tuple(draw.subset(range(rank)))
    return (x,), {"kind": draw.one(REDUCTIONS), "axis": axis, "keepdims": draw.chance(0.4) and len(draw.shapes[x]) > 0}


REDUCTIONS = ("sum", "prod", "mean", "var", "max", "min", "logsumexp")


@operation("reduce", reduction)
def _reduce(xp: Any, x: Any, kind: str, axis: Any, keepdims: bool) -> Any:
    return getattr(xp, kind)(x, axis=axis, keepdims=keepdims)


def with_axis(draw: Drawing) -> Choice | None:
    x = draw.value(lambda shape: len(shape) > 0)
    return None if x is None else ((x,), {"axis": draw.axis(x)})


operation("softmax", with_axis)(lambda xp, x, axis: xp.softmax(x, axis=axis))
operation("log_softmax", with_axis)(lambda xp, x, axis: xp.log_softmax(x, axis=axis))
operation("cumsum", with_axis)(lambda xp, x, axis: xp.cumsum(x, axis=axis))
operation("norm", with_axis)(lambda xp, x, axis: xp.norm(xp.sin(x) + 1.5, axis=axis))
operation("written_softmax", with_axis)(lambda xp, x, axis: xp.exp(x) / xp.sum(xp.exp(x), axis=axis, keepdims=True))


# --- contraction -------------------------------------------------------------------------------


def subscripts(draw: Drawing) -> Choice | None:
    """One to four operands; axes of equal size share an index more often than not."""
    operands = [draw.value(lambda shape: len(shape) <= 3) for _ in range(draw.integer(1, 4))]
    if None in operands:
        return None
    sizes: dict[str, int] = {}
    terms = []
    for x in operands:
        term = ""
        for size in draw.shapes[x]:  # type: ignore[index]
            known = [letter for letter, other in sizes.items() if other == size]
            if known and draw.chance(0.7):
                term += draw.one(known)
            else:
                letter = "abcdefghijklmnop"[len(sizes)]
                sizes[letter] = size
                term += letter
        terms.append(term)
    output = draw.subset(list(sizes))
    draw.rng.shuffle(output)
    if np.prod([float(size) for size in sizes.values()]) > 2000:
        return None
    return tuple(operands), {"subscripts": f"{','.join(terms)}->{''.join(output)}"}  # type: ignore[return-value]


@operation("einsum", subscripts)
def _einsum(xp: Any, *operands: Any, subscripts: str) -> Any:
    return xp.einsum(subscripts, *operands)


def matrices(draw: Drawing) -> Choice | None:
    x = draw.value(lambda shape: len(shape) >= 1)
    if x is None:
        return None
    size = draw.shapes[x][-1]
    y = draw.value(
        lambda shape: (
            len(shape) >= 1
            and shape[-2 if len(shape) > 1 else 0] == size
            and broadcasts(shape[:-2], draw.shapes[x][:-2])
        )
    )
    return None if y is None else ((x, y), {})


operation("matmul", matrices)(lambda xp, x, y: x @ y)
operation("kron", lambda draw: small_pair(draw))(lambda xp, x, y: xp.kron(x, y))
operation("outer", lambda draw: small_pair(draw))(lambda xp, x, y: xp.outer(x, y))
operation("tensordot", lambda draw: tensordot(draw))(lambda xp, x, y, axes: xp.tensordot(x, y, axes=axes))


def small_pair(draw: Drawing) -> Choice | None:
    x, y = (draw.value(lambda shape: len(shape) <= 2 and np.prod(shape) <= 9) for _ in range(2))
    return None if x is None or y is None else ((x, y), {})


def tensordot(draw: Drawing) -> Choice | None:
    found = draw.value(lambda shape: len(shape) >= 1), draw.value(lambda shape: len(shape) >= 1)
    if None in found:
        return None
    x, y = found
    pairs = [(i, j) for i, a in enumerate(draw.shapes[x]) for j, b in enumerate(draw.shapes[y]) if a == b]  # type: ignore[index]
    if not pairs:
        return None
    i, j = draw.one(pairs)
    return (x, y), {"axes": ([i], [j])}  # type: ignore[return-value]


def square(draw: Drawing) -> Choice | None:
    x = draw.value(lambda shape: len(shape) in (2, 3) and shape[-1] == shape[-2])
    return None if x is None else ((x,), {})


operation("trace", square)(lambda xp, x: xp.trace(x, axis1=-2, axis2=-1))


def diagonal(draw: Drawing) -> Choice | None:
    x = draw.value(lambda shape: len(shape) >= 2)
    return None if x is None else ((x,), {"offset": draw.integer(-1, 1)})


operation("diagonal", diagonal)(lambda xp, x, offset: xp.diagonal(x, offset=offset))


def vector(draw: Drawing) -> Choice | None:
    x = draw.value(lambda shape: len(shape) == 1)
    return None if x is None else ((x,), {"k": draw.integer(-1, 1)})


operation("diag", vector)(lambda xp, x, k: xp.diag(x, k=k))


# --- shaping and indexing ----------------------------------------------------------------------


def new_shape(draw: Drawing) -> Choice:
    x = draw.value()
    assert x is not None
    size = int(np.prod(draw.shapes[x]))
    divisors = [d for d in range(1, size + 1) if size and size % d == 0] or [1]
    first = draw.one(divisors)
    return (x,), {"shape": draw.one([(first, -1), (-1,), (first, -1, 1), (1, -1, first)])}


operation("reshape", new_shape)(lambda xp, x, shape: xp.reshape(x, shape))


def axes_order(draw: Drawing) -> Choice:
    x = draw.value()
    assert x is not None
    return (x,), {"axes": tuple(int(k) for k in draw.rng.permutation(len(draw.shapes[x])))}


operation("transpose", axes_order)(lambda xp, x, axes: xp.transpose(x, axes))


def moved_axis(draw: Drawing) -> Choice | None:
    x = draw.value(lambda shape: len(shape) > 0)
    return None if x is None else ((x,), {"source": draw.axis(x), "destination": draw.axis(x)})


operation("moveaxis", moved_axis)(lambda xp, x, source, destination: xp.moveaxis(x, source, destination))
operation("squeeze", one_value)(lambda xp, x: xp.squeeze(x))
operation("expand_dims", lambda draw: expanded(draw))(lambda xp, x, axis: xp.expand_dims(x, axis))


def expanded(draw: Drawing) -> Choice | None:
    x = draw.value(lambda shape: len(shape) < 4)
    return None if x is None else ((x,), {"axis": draw.integer(0, len(draw.shapes[x]))})


def stretched(draw: Drawing) -> Choice | None:
    x = draw.value(lambda shape: len(shape) < 3)
    if x is None:
        return None
    wider = tuple(draw.integer(1, 3) if size == 1 else size for size in draw.shapes[x])
    return (x,), {"shape": (draw.integer(1, 3), *wider)}


operation("broadcast_to", stretched)(lambda xp, x, shape: xp.broadcast_to(x, shape))
operation("flip", with_axis)(lambda xp, x, axis: xp.flip(x, axis))


def rolled(draw: Drawing) -> Choice | None:
    x = draw.value(lambda shape: len(shape) > 0)
    return None if x is None else ((x,), {"shift": draw.integer(-4, 4), "axis": draw.one([None, draw.axis(x)])})


operation("roll", rolled)(lambda xp, x, shift, axis: xp.roll(x, shift, axis=axis))


def padded(draw: Drawing) -> Choice | None:
    x = draw.value(lambda shape: 0 < len(shape) <= 3)
    if x is None:
        return None
    widths = tuple((draw.integer(0, 2), draw.integer(0, 1)) for _ in draw.shapes[x])
    return (x,), {"pad_width": widths, "constant_values": draw.one([0, 0, 1.5])}


@operation("pad", padded)
def _pad(xp: Any, x: Any, pad_width: Any, constant_values: Any) -> Any:
    return xp.pad(x, pad_width, constant_values=constant_values)


def joined(draw: Drawing) -> Choice | None:
    x = draw.value(lambda shape: len(shape) > 0)
    if x is None:
        return None
    axis = draw.axis(x)
    assert axis is not None
    place = axis % len(draw.shapes[x])
    rest = draw.shapes[x][:place] + draw.shapes[x][place + 1 :]
    y = draw.value(lambda shape: len(shape) > place and shape[:place] + shape[place + 1 :] == rest)
    return (x, y, x) if draw.chance(0.3) else (x, y), {"axis": place}  # type: ignore[return-value]


operation("concatenate", joined)(lambda xp, *parts, axis: xp.concatenate(list(parts), axis=axis))


def stacked(draw: Drawing) -> Choice | None:
    x = draw.value(lambda shape: len(shape) < 3)
    if x is None:
        return None
    y = draw.value(lambda shape: shape == draw.shapes[x])
    return (x, y), {"axis": draw.integer(0, len(draw.shapes[x]))}  # type: ignore[return-value]


operation("stack", stacked)(lambda xp, *parts, axis: xp.stack(list(parts), axis=axis))


def key(draw: Drawing) -> Choice | None:
    """Ints, slices (as triples) and None, with steps of either sign and bounds beyond the ends."""
    x = draw.value(lambda shape: len(shape) > 0)
    if x is None:
        return None
    items: list[Any] = []
    for size in draw.shapes[x]:
        kind = draw.integer(0, 5)
        if kind == 0 and size:
            items.append(draw.integer(-size, size - 1))
        elif kind == 1:
            items += [None, (None, None, None)]
        elif kind == 2:
            items.append((None, None, draw.one([-1, -2, 2])))
        else:
            bounds = [draw.one([None, draw.integer(-size - 1, size + 1)]) for _ in range(2)]
            items.append((*bounds, draw.one([None, 1, 2, -1, -2])))
    return (x,), {"key": tuple(items)}


@operation("index", key)
def _index(xp: Any, x: Any, key: Any) -> Any:
    return x[tuple(slice(*item) if isinstance(item, tuple) else item for item in key)]


def gathered(draw: Drawing) -> Choice | None:
    x = draw.value(lambda shape: 0 < len(shape) <= 3 and min(shape) > 0)
    if x is None:
        return None
    axis = draw.axis(x)
    assert axis is not None
    size = draw.shapes[x][axis]
    count = draw.integer(1, 4)
    indices: list[Any] = [draw.integer(-size, size - 1) for _ in range(count)]
    return (x,), {"indices": [indices, indices[::-1]] if draw.chance(0.2) else indices, "axis": axis}


@operation("take", gathered)
def _take(xp: Any, x: Any, indices: Any, axis: int) -> Any:
    return xp.take(x, np.array(indices), axis=axis)


@operation("scatter_add", gathered)
def _scatter_add(xp: Any, x: Any, indices: Any, axis: int) -> Any:
    return xp.scatter_add(xp.sin(x), np.array(indices), xp.take(x * x, np.array(indices), axis=axis), axis=axis)


# --- linear algebra on well-conditioned matrices ------------------------------------------------


def regular(xp: Any, x: Any) -> Any:
    """Diagonally dominant."""
    size = x.shape[-1]
    return 0.3 * xp.tanh(x) + (1.0 + 0.3 * size) * xp.eye(size)


def definite(xp: Any, x: Any) -> Any:
    bounded = xp.tanh(x)
    return bounded @ xp.moveaxis(bounded, -1, -2) + xp.eye(x.shape[-1])


def separated(xp: Any, x: Any) -> Any:
    """Symmetric with well-separated eigenvalues."""
    size = x.shape[-1]
    noise = 0.15 * xp.tanh(x)
    return noise + xp.moveaxis(noise, -1, -2) + xp.eye(size) * np.arange(1.0, size + 1)


def tall(xp: Any, x: Any) -> Any:
    """Singular values far from one another and from 0."""
    rows, columns = x.shape[-2:]
    diagonal = np.zeros((rows, columns))
    np.fill_diagonal(diagonal, np.arange(1.0, min(rows, columns) + 1))
    return 0.15 * xp.tanh(x) + diagonal


def matrix(draw: Drawing) -> Choice | None:
    x = draw.value(lambda shape: len(shape) in (2, 3) and min(shape) > 0)
    return None if x is None else ((x,), {})


SQUARE: dict[str, Callable[[Any, Any], Any]] = {
    "inv": lambda xp, x: xp.inv(regular(xp, x)),
    "det": lambda xp, x: xp.det(regular(xp, x)),
    "logdet": lambda xp, x: xp.logdet(definite(xp, x)),
    "slogdet": lambda xp, x: xp.slogdet(regular(xp, x))[1],
    "cholesky": lambda xp, x: xp.cholesky(definite(xp, x)),
    "eigenvalues": lambda xp, x: xp.eigh(separated(xp, x))[0],
    "eigenvectors": lambda xp, x: xp.square(xp.eigh(separated(xp, x))[1]),
    "tensorinv": lambda xp, x: xp.tensorinv(xp.reshape(regular(xp, x.sum() + xp.eye(4)), (2, 2, 4))),
    "self_solve": lambda xp, x: xp.solve(regular(xp, x), xp.sin(x)),
}
for _name, _apply in SQUARE.items():
    operation(_name, square)(_apply)
MATRIX: dict[str, Callable[[Any, Any], Any]] = {
    "singular_values": lambda xp, x: xp.svd(tall(xp, x), compute_uv=False),
    "svd_u": lambda xp, x: xp.square(xp.svd(tall(xp, x), full_matrices=False)[0]),
    "svd_vh": lambda xp, x: xp.square(xp.svd(tall(xp, x), full_matrices=False)[2]),
    "pinv": lambda xp, x: xp.pinv(tall(xp, x)),
}
for _name, _apply in MATRIX.items():
    operation(_name, matrix)(_apply)


def tall_matrix(draw: Drawing) -> Choice | None:
    x = draw.value(lambda shape: len(shape) in (2, 3) and shape[-2] >= shape[-1] > 0)
    return None if x is None else ((x,), {})


operation("qr_q", tall_matrix)(lambda xp, x: xp.qr(tall(xp, x))[0])
operation("qr_r", tall_matrix)(lambda xp, x: xp.qr(tall(xp, x))[1])


def system(draw: Drawing) -> Choice | None:
    a = draw.value(lambda shape: len(shape) == 2 and shape[0] == shape[1])
    if a is None:
        return None
    b = draw.value(lambda shape: len(shape) in (1, 2) and shape[0] == draw.shapes[a][0])
    return None if b is None else ((a, b), {})


operation("solve", system)(lambda xp, a, b: xp.solve(regular(xp, a), b))
operation("tensorsolve", system)(lambda xp, a, b: xp.tensorsolve(regular(xp, a), b[..., 0] if b.ndim == 2 else b))


def rectangular_system(draw: Drawing) -> Choice | None:
    a = draw.value(lambda shape: len(shape) == 2 and min(shape) > 0)
    if a is None:
        return None
    b = draw.value(lambda shape: len(shape) in (1, 2) and shape[0] == draw.shapes[a][0])
    return None if b is None else ((a, b), {})


operation("lstsq", rectangular_system)(lambda xp, a, b: xp.lstsq(tall(xp, a), b))


# Every group is drawn from as often as any other.
GROUPS: dict[str, list[str]] = {
    "unary": list(UNARY),
    "binary": list(BINARY),
    "reduction": ["reduce", "softmax", "log_softmax", "cumsum", "norm", "written_softmax"],
    "contraction": ["einsum", "einsum", "einsum", "matmul", "kron", "outer", "tensordot", "trace", "diagonal", "diag"],
    "shaping": ["reshape", "transpose", "moveaxis", "squeeze", "expand_dims", "broadcast_to", "flip", "roll", "pad",
                "concatenate", "stack"],
    "indexing": ["index", "take", "scatter_add"],
    "linear algebra": [*SQUARE, *MATRIX, "qr_q", "qr_r", "solve", "tensorsolve", "lstsq"],
}  # fmt: skip
