"""Expressions that have broken optimisers of tensor algebra, and what must hold of each.

A case builds its outputs, gives data and the values as NumPy computes them from the formula, and may
state something of the optimised graph.  Many come from AutoHOOT (arXiv 2005.04540), whose text round
trips, merging by name and unconditional distribution they provoke.  Nothing is ever taken out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import otus
from otus.ir import Node, inputs_of, topological
from otus.ir.operations import Einsum, Input, Inverse, Solve

Array = np.ndarray[Any, Any]
Data = Mapping[str, Array]


@dataclass(frozen=True)
class Case:
    """``expected`` computes the values from the data; ``holds`` judges the outputs of the default pipeline."""

    build: Callable[[], Sequence[otus.Expression]]
    data: Data
    expected: Callable[..., Sequence[Any]]
    holds: Callable[[Sequence[Node]], bool] = lambda nodes: True
    tolerance: float = 1e-12


def random(seed: int = 0, **shapes: tuple[int, ...]) -> dict[str, Array]:
    """Normal data."""
    generator = np.random.default_rng(seed)
    return {name: generator.standard_normal(shape) for name, shape in shapes.items()}


def t(name: str, *shape: object, **facts: object) -> otus.Expression:
    """A tensor."""
    return otus.tensor(name, shape, **facts)


def read_names(nodes: Sequence[Node]) -> set[str]:
    """The tensors that the graph reads."""
    return {x.op.label for x in inputs_of(nodes) if isinstance(x.op, Input)}


def products(nodes: Sequence[Node]) -> int:
    """How many einsums of two tensors there are; the others only move elements or sum them."""
    return sum(isinstance(x.op, Einsum) and len(x.operands) == 2 for x in topological(nodes))


def inverted(nodes: Sequence[Node]) -> list[tuple[object, ...]]:
    """The shapes of the matrices that are inverted or solved with."""
    return [x.operands[0].type.shape for x in topological(nodes) if isinstance(x.op, (Inverse, Solve))]


# --- merging, cancelling, numbers --------------------------------------------------------------


def _trace_and_norm() -> Sequence[otus.Expression]:
    a = t("A", "n", "m")
    return otus.trace(a @ a.T @ a @ a.T), (a * a).sum() ** 2


def _square(x: Array) -> Array:
    return x @ x.T


ALGEBRA: dict[str, Case] = {
    "tr(A Aᵀ A Aᵀ) is not ‖A‖⁴": Case(
        _trace_and_norm,
        random(A=(3, 4)),
        lambda A: [np.trace(_square(A) @ _square(A)), np.sum(A**2) ** 2],
        lambda nodes: nodes[0] is not nodes[1],
    ),
    "the vector's fourth power counts its occurrences": Case(
        lambda: [otus.einsum("i,i,j,j->", *[t("a", "n")] * 4), otus.einsum("i,i,i,i->", *[t("a", "n")] * 4)],
        random(a=(4,)),
        lambda a: [np.sum(a**2) ** 2, np.sum(a**4)],
        lambda nodes: nodes[0] is not nodes[1],
    ),
    "1e-7·a + b": Case(
        lambda: [1e-7 * t("a", "n") + t("b", "n"), 1e-7 * t("a", "n")],
        random(a=(4,), b=(4,)),
        lambda a, b: [1e-7 * a + b, 1e-7 * a],
        tolerance=1e-15,
    ),
    "a·a + b keeps both": Case(
        lambda: [t("a", "n") * t("a", "n") + t("b", "n")],
        random(a=(4,), b=(4,)),
        lambda a, b: [a * a + b],
        lambda nodes: read_names(nodes) == {"a", "b"},
    ),
    "a + a·a + a": Case(
        lambda: [t("a", "n") + t("a", "n") * t("a", "n") + t("a", "n")],
        random(a=(4,)),
        lambda a: [2 * a + a * a],
    ),
    "A − A": Case(
        lambda: [t("A", "n", "m") - t("A", "n", "m")],
        random(A=(2, 3)),
        lambda A: [np.zeros((2, 3))],
        lambda nodes: read_names(nodes) == set(),
    ),
    "A − (A − B)": Case(
        lambda: [t("A", "n", "m") - (t("A", "n", "m") - t("B", "n", "m"))],
        random(A=(2, 3), B=(2, 3)),
        lambda A, B: [B],
        lambda nodes: read_names(nodes) == {"B"} and len(topological(nodes)) == 1,
    ),
    "A − A in the middle of a product": Case(
        lambda: [otus.exp((t("A", "n", "m") - t("A", "n", "m")) @ t("b", "m")) + t("b", "m").sum()],
        random(A=(2, 3), b=(3,)),
        lambda A, b: [np.exp(np.zeros(2)) + b.sum()],
    ),
    "a gradient that is zero by structure": Case(
        lambda: [
            otus.grad((t("a", "n") * 2).sum(), t("b", "n")),
            otus.hessian((t("a", "n") * t("b", "n")).sum(), t("a", "n")),
            otus.jacobian(t("a", "n") - t("a", "n"), t("a", "n")),
        ],
        random(a=(3,), b=(3,)),
        lambda a, b: [np.zeros(3), np.zeros((3, 3)), np.zeros((3, 3))],
        lambda nodes: read_names(nodes) == set(),
    ),
    "the Hessian of xᵀHx": Case(
        lambda: [otus.hessian(t("x", "n") @ t("H", "n", "n") @ t("x", "n"), t("x", "n"))],
        random(x=(3,), H=(3, 3)),
        lambda x, H: [H + H.T],
        lambda nodes: read_names(nodes) == {"H"},
    ),
    "one operand in every place": Case(
        lambda: [
            otus.einsum("ij,ji->", t("A", "n", "n"), t("A", "n", "n")),
            otus.einsum("ij,ij->", t("A", "n", "n"), t("A", "n", "n")),
            otus.einsum("ii,jj->", t("A", "n", "n"), t("A", "n", "n")),
            otus.einsum("ij,jk,ki->", *[t("A", "n", "n")] * 3),
            otus.einsum("ij,kj,ki->", *[t("A", "n", "n")] * 3),
        ],
        random(A=(3, 3)),
        lambda A: [
            np.trace(A @ A),
            np.sum(A * A),
            np.trace(A) ** 2,
            np.trace(A @ A @ A),
            np.trace(A @ A.T @ A),
        ],
        lambda nodes: len(set(nodes)) == 5,
    ),
}


# --- sums are not multiplied out ---------------------------------------------------------------


def _nine_sums() -> list[otus.Expression]:
    return [t(f"a{k}", "n", "n") + t(f"b{k}", "n", "n") for k in range(9)]


def _product(factors: Sequence[Any]) -> Any:
    result = factors[0]
    for factor in factors[1:]:
        result = result @ factor
    return result


_NINE = {f"{letter}{k}": (3, 3) for k in range(9) for letter in "ab"}


def _nine_values(data: Data, first: Array | None = None) -> Array:
    factors = [data[f"a{k}"] + data[f"b{k}"] for k in range(9)]
    return np.asarray(_product(factors if first is None else [first, *factors[1:]]))


def _tiny_data() -> dict[str, Array]:
    exact = np.arange(1.0, 13.0).reshape(4, 3)
    return {"U": exact, "V": np.eye(3), "X": exact + 1e-8 * np.resize([1.0, -1.0], (4, 3))}


def _tiny_loss() -> Sequence[otus.Expression]:
    loss = ((t("U", "n", "r") @ t("V", "m", "r").T - t("X", "n", "m")) ** 2).sum()
    return [loss, otus.grad(loss, t("U", "n", "r"))]


SUMS: dict[str, Case] = {
    "a product of nine sums": Case(
        lambda: [_product(_nine_sums())],
        random(**_NINE),
        lambda **data: [_nine_values(data)],
        lambda nodes: products(nodes) == 8 and len(topological(nodes)) == 18 + 9 + 8,
    ),
    "its trace's gradient": Case(
        lambda: [otus.grad(otus.trace(_product(_nine_sums())), t("a0", "n", "n"))],
        random(**_NINE),
        lambda **data: [_nine_values(data, np.eye(3)).T],
        lambda nodes: products(nodes) == 7 and len(topological(nodes)) <= 36,
    ),
    "an elementwise product of nine sums": Case(
        lambda: [otus.einsum(",".join("i" * 9) + "->", *(x[0] for x in _nine_sums()))],
        random(**_NINE),
        lambda **data: [np.prod([data[f"a{k}"][0] + data[f"b{k}"][0] for k in range(9)], axis=0).sum()],
        lambda nodes: len(topological(nodes)) <= 60,
        tolerance=1e-11,
    ),
    "a loss of 1e-16 stays, to eight places": Case(
        _tiny_loss,
        _tiny_data(),
        lambda U, V, X: [np.sum((U @ V.T - X) ** 2), 2 * (U @ V.T - X) @ V],
        tolerance=1e-8,
    ),
}


# --- inverses ----------------------------------------------------------------------------------


def _kron(x: otus.Expression, y: otus.Expression, m: int, n: int) -> otus.Expression:
    return otus.einsum("ij,kl->ikjl", x, y).reshape(m * n, m * n)


def _p() -> otus.Expression:
    return t("P", 3, 3)


def _q() -> otus.Expression:
    return t("Q", 2, 2)


def _definite(seed: int = 1) -> dict[str, Array]:
    data = random(seed, P=(3, 3), Q=(2, 2), R=(3, 3), S=(2, 2), B=(6, 2))
    return {name: x if name == "B" else x @ x.T + np.eye(len(x)) for name, x in data.items()}


def _pick(*names: str) -> dict[str, Array]:
    return {name: x for name, x in _definite().items() if name in names}


_SMALL = [(3, 3), (2, 2)]

INVERSES: dict[str, Case] = {
    "inv(s·P⊗Q) keeps 1/s": Case(
        lambda: [otus.inv(4 * _kron(_p(), _q(), 3, 2)), otus.inv(t("s") * _kron(_p(), _q(), 3, 2))],
        {**_pick("P", "Q"), "s": np.array(4.0)},
        lambda P, Q, s: [np.linalg.inv(4 * np.kron(P, Q))] * 2,
        lambda nodes: sorted(inverted(nodes[:1])) == sorted(_SMALL),
        tolerance=1e-11,
    ),
    "solve(s·P⊗Q, B) keeps 1/s": Case(
        lambda: [otus.solve(-0.5 * _kron(_p(), _q(), 3, 2), t("B", 6, 2))],
        _pick("P", "Q", "B"),
        lambda P, Q, B: [np.linalg.solve(-0.5 * np.kron(P, Q), B)],
        lambda nodes: sorted(inverted(nodes)) == sorted(_SMALL),
        tolerance=1e-11,
    ),
    "inv of a sum of Kronecker products is not split": Case(
        lambda: [otus.inv(_kron(_p(), _q(), 3, 2) + _kron(t("R", 3, 3), t("S", 2, 2), 3, 2))],
        _pick("P", "Q", "R", "S"),
        lambda P, Q, R, S: [np.linalg.inv(np.kron(P, Q) + np.kron(R, S))],
        lambda nodes: inverted(nodes) == [(6, 6)],
        tolerance=1e-11,
    ),
    "inv of a Kronecker product plus the identity is not split": Case(
        lambda: [otus.inv(_kron(_p(), _q(), 3, 2) + otus.eye(6))],
        _pick("P", "Q"),
        lambda P, Q: [np.linalg.inv(np.kron(P, Q) + np.eye(6))],
        lambda nodes: inverted(nodes) == [(6, 6)],
        tolerance=1e-11,
    ),
    "inv of an interleaved product is not split as if it were not": Case(
        lambda: [otus.inv(otus.einsum("ij,kl->iklj", t("P", 3, 3), t("R", 3, 3)).reshape(9, 9) + 3 * otus.eye(9))],
        _pick("P", "R"),
        lambda P, R: [np.linalg.inv(np.einsum("ij,kl->iklj", P, R).reshape(9, 9) + 3 * np.eye(9))],
        tolerance=1e-10,
    ),
    "inv of a product of different shapes is not split": Case(
        lambda: [otus.inv(otus.einsum("ij,kl->ikjl", t("F", 2, 3), t("G", 3, 2)).reshape(6, 6) + otus.eye(6))],
        random(5, F=(2, 3), G=(3, 2)),
        lambda F, G: [np.linalg.inv(np.kron(F, G) + np.eye(6))],
        lambda nodes: inverted(nodes) == [(6, 6)],
        tolerance=1e-9,
    ),
    "an elementwise product is no Kronecker product": Case(
        lambda: [otus.inv(t("P", 3, 3) * t("R", 3, 3))],
        _pick("P", "R"),
        lambda P, R: [np.linalg.inv(P * R)],
        lambda nodes: inverted(nodes) == [(3, 3)],
        tolerance=1e-11,
    ),
}


# --- decompositions ----------------------------------------------------------------------------


def _cp(ridge: float) -> tuple[otus.Expression, list[otus.Expression]]:
    factors = [t(name, axis, "r") for name, axis in zip("ABC", "ijk", strict=True)]
    loss = 0.5 * ((otus.einsum("ir,jr,kr->ijk", *factors) - t("X", "i", "j", "k")) ** 2).sum()
    return loss + 0.5 * ridge * sum((x * x).sum() for x in factors), factors


_CP_DATA = random(A=(3, 2), B=(4, 2), C=(5, 2), X=(3, 4, 5))


def _gram(B: Array, C: Array, ridge: float) -> Array:
    return (B.T @ B) * (C.T @ C) + ridge * np.eye(2)


def _off_diagonal(A: Array, B: Array, C: Array, X: Array) -> Array:
    residual = np.einsum("ir,jr,kr->ijk", A, B, C) - X
    block = np.einsum("jr,kr,is,ks->irjs", B, C, A, C)
    return np.asarray(block + np.einsum("ijk,kr,rs->irjs", residual, C, np.eye(2)))


def _als(A: Array, B: Array, C: Array, X: Array, ridge: float) -> Array:
    right = np.einsum("ijk,jr,kr->ir", X, B, C)
    return np.asarray(np.linalg.solve(_gram(B, C, ridge), right.T).T)


def _update(ridge: float) -> otus.Expression:
    loss, (a, *_) = _cp(ridge)
    return a - otus.tensorsolve(otus.hessian(loss, a), otus.grad(loss, a))


DECOMPOSITIONS: dict[str, Case] = {
    "the Hessian of CP": Case(
        lambda: [otus.hessian(_cp(0.0)[0], t("A", "i", "r"))],
        _CP_DATA,
        lambda A, B, C, X: [np.einsum("ij,rs->irjs", np.eye(3), _gram(B, C, 0.0))],
        lambda nodes: read_names(nodes) == {"B", "C"},
    ),
    "the Hessian of CP with a ridge": Case(
        lambda: [otus.hessian(_cp(0.1)[0], t("A", "i", "r"))],
        _CP_DATA,
        lambda A, B, C, X: [np.einsum("ij,rs->irjs", np.eye(3), _gram(B, C, 0.1))],
        lambda nodes: read_names(nodes) == {"B", "C"},
    ),
    "off-diagonal blocks of CP": Case(
        lambda: [otus.hessian(_cp(0.1)[0], [t("A", "i", "r"), t("B", "j", "r")])[0][1]],
        _CP_DATA,
        lambda A, B, C, X: [_off_diagonal(A, B, C, X)],
    ),
    "the ALS update of ½·loss": Case(
        lambda: [_update(0.0)],
        _CP_DATA,
        lambda A, B, C, X: [_als(A, B, C, X, 0.0)],
        lambda nodes: all(shape[0] is shape[1] and str(shape[0]) == "r" for shape in inverted(nodes)),
        tolerance=1e-9,
    ),
    "the ALS update with a ridge": Case(
        lambda: [_update(0.1)],
        _CP_DATA,
        lambda A, B, C, X: [_als(A, B, C, X, 0.1)],
        lambda nodes: all(str(shape[0]) == "r" for shape in inverted(nodes)),
        tolerance=1e-9,
    ),
    "environments of a long matrix product": Case(
        lambda: [otus.grad(otus.trace(_product([t(f"M{k}", "n", "n") for k in range(24)])), t("M12", "n", "n"))],
        random(**{f"M{k}": (2, 2) for k in range(24)}),
        lambda **data: [_product([data[f"M{(13 + k) % 24}"] for k in range(23)]).T],
        lambda nodes: products(nodes) == 22,
        tolerance=1e-10,
    ),
}


# --- kinds of numbers, empty axes --------------------------------------------------------------

_BYTES = np.array([1, 100, -128, 127, 0], np.int8)
_FLAGS = {"p": np.array([True, True, False, False]), "q": np.array([True, False, True, False])}
_COMPLEX = {name: x + 1j * random(9, **{name: x.shape})[name] for name, x in random(z=(4,), w=(4,)).items()}


def _z() -> otus.Expression:
    return t("z", "n", dtype="complex128")


def _w() -> otus.Expression:
    return t("w", "n", dtype="complex128")


_LOGITS = np.array([1601.0, 1600.3, 1598.7, 1597.2], np.float32)


def _logits() -> otus.Expression:
    return t("l", 4, dtype="float32")


def _softmax(x: Array) -> Array:
    wide = np.exp(x.astype(np.longdouble) - x.max())
    return np.asarray(wide / wide.sum()).astype(np.float32)


def _byte() -> otus.Expression:
    return t("b", "n", dtype="int8")


def _wrapping(b: Array) -> Sequence[Array]:
    with np.errstate(over="ignore"):
        three, hundred = np.int8(3), np.int8(100)
        return [b * hundred * three, (b + b) - b, b * b * b, b * hundred - b * three]


NUMBERS: dict[str, Case] = {
    "integers wrap around alike": Case(
        lambda: [
            _byte() * 100 * 3,
            (_byte() + _byte()) - _byte(),
            _byte() * _byte() * _byte(),
            _byte() * 100 - _byte() * 3,
        ],
        {"b": _BYTES},
        lambda b: _wrapping(b),
    ),
    "integer division is true division": Case(
        lambda: [_byte() / 2, (_byte() / 2) * 2, _byte().astype("int64") / _byte().astype("int64")],
        {"b": np.array([1, 3, -7, 127, 5], np.int8)},
        lambda b: [b / 2, b / 2 * 2, np.ones(5)],
        tolerance=1e-3,
    ),
    "booleans are no numbers": Case(
        lambda: [p() * p(), p() + p(), p() + q(), p() * q(), p() == q(), p().sum(), otus.einsum("i,i->", p(), q())],
        _FLAGS,
        lambda p, q: [p & p, p | p, p | q, p & q, p == q, p.sum(), np.any(p & q)],
    ),
    "conjugates stay": Case(
        lambda: [
            otus.conj(otus.conj(_z()) * _w()),
            otus.einsum("i,i->", otus.conj(_z()), _w()),
            otus.einsum("i,i->", _z(), _z()),
            otus.vdot(_z(), _w()),
            abs(_z()) ** 2,
        ],
        _COMPLEX,
        lambda z, w: [np.conj(np.conj(z) * w), np.vdot(z, w), np.sum(z * z), np.vdot(z, w), np.abs(z) ** 2],
        lambda nodes: len(set(nodes)) == 4,
    ),
    "float32 stays float32": Case(
        lambda: [
            2 * t("f", "n", dtype="float32") + t("f", "n", dtype="float32") ** 2,
            t("f", "n", dtype="float32").sum(),
        ],
        {"f": np.array([1.5, -2.0, 3.0], np.float32)},
        lambda f: [2 * f + f**2, f.sum()],
        tolerance=1e-6,
    ),
    "an axis of size 0": Case(
        lambda: [
            (t("e", "n") ** 2).sum(),
            otus.grad((t("e", "n") ** 2).sum(), t("e", "n")),
            otus.einsum("i,j->ij", t("e", "n"), t("g", "m")),
            otus.einsum("i,j->j", t("e", "n"), t("g", "m")),
            otus.einsum("i,j->j", otus.ones("n"), t("g", "m")) + t("e", "n").sum(),
            t("e", "n").prod() * t("g", "m"),
        ],
        {"e": np.zeros(0), "g": np.array([1.0, 2.0])},
        lambda e, g: [0.0, np.zeros(0), np.zeros((0, 2)), np.zeros(2), np.zeros(2), g],
    ),
    "an axis of size 1 is no scalar": Case(
        lambda: [t("u", 1, "n") + t("v", "n", 1), otus.einsum("ij,jk->ik", t("u", 1, "n"), t("v", "n", 1))],
        random(u=(1, 3), v=(3, 1)),
        lambda u, v: [u + v, u @ v],
    ),
    "more than 52 indices": Case(
        lambda: [otus.einsum(*(part for k in range(60) for part in (t("c", 2), [k])), [0, 59])],
        random(c=(2,)),
        lambda c: [np.outer(c, c) * c.sum() ** 58],
        tolerance=1e-10,
    ),
}


STABLE: dict[str, Case] = {
    "softmax of large scaled logits in float32": Case(
        lambda: [
            otus.softmax(_logits() / 8),
            otus.log_softmax(-_logits())[0],
            otus.softmax(_logits().reshape(1, -1) * 0.25, axis=1),
            otus.exp(_logits() / 8) / otus.exp(_logits() / 8).sum(),
        ],
        {"l": _LOGITS},
        lambda l: [_softmax(l / 8), np.log(_softmax(-l))[0], _softmax(l / 4)[None], _softmax(l / 8)],
        tolerance=4e-7,
    ),
}


def p() -> otus.Expression:
    """A boolean vector."""
    return t("p", "n", dtype="bool")


def q() -> otus.Expression:
    """Another."""
    return t("q", "n", dtype="bool")


CASES: dict[str, Case] = {**ALGEBRA, **SUMS, **INVERSES, **DECOMPOSITIONS, **NUMBERS, **STABLE}
