"""Prints the optimised IR and the source of some programs, for ``test_determinism.py`` to compare.

``dump_programs.py backwards`` builds and compiles them in the opposite order, but prints them in the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import otus


def t(name: str, *shape: object, **facts: object) -> otus.Expression:
    return otus.tensor(name, shape, **facts)


def _decomposition(scale: float = 0.5) -> tuple[otus.Expression, list[otus.Expression]]:
    factors = [t(name, axis, "r") for name, axis in zip("ABC", "ijk", strict=True)]
    return scale * ((otus.einsum("ir,jr,kr->ijk", *factors) - t("X", "i", "j", "k")) ** 2).sum(), factors


def _logistic() -> tuple[otus.Expression, otus.Expression]:
    return otus.log(1 + otus.exp(t("X", "n", "d") @ t("w", "d"))).sum(), t("w", "d")


def _network() -> tuple[otus.Expression, list[otus.Expression]]:
    first, second = t("W", "h", "d"), t("V", "c", "h")
    hidden = otus.relu(t("X", "n", "d") @ first.T)
    return -(t("Y", "n", "c", sums_to_one=True) * otus.log_softmax(hidden @ second.T, axis=1)).sum(), [first, second]


def _attention() -> otus.Expression:
    q, k, v = t("Q", "n", "d"), t("K", "m", "d"), t("V", "m", "e")
    return otus.softmax(q @ k.T / 8, axis=1) @ v


def _step() -> otus.Expression:
    loss, (a, *_) = _decomposition()
    return a - otus.tensorsolve(otus.hessian(loss, a), otus.grad(loss, a))


def _matrices() -> otus.Expression:
    result = t("M0", "n", "n")
    for k in range(1, 8):
        result = result @ (t(f"M{k}", "n", "n") + t(f"N{k}", "n", "n"))
    return otus.trace(result)


def _kronecker() -> otus.Expression:
    return otus.inv(3 * otus.einsum("ij,kl->ikjl", t("P", 3, 3), t("Q", 2, 2)).reshape(6, 6))


def _likelihood() -> list[otus.Expression]:
    k, y = t("K", "n", "n", positive_definite=True), t("y", "n")
    return [otus.logdet(k) + y @ otus.solve(k, y), *otus.grad(otus.logdet(k) + y @ otus.solve(k, y), [k, y])]


PROGRAMS: dict[str, Callable[[], Any]] = {
    "matrix product": lambda: t("A", "i", "j") @ t("B", "j", "k") @ t("C", "k", "l"),
    "quadratic form": lambda: otus.hessian(t("x", "n") @ t("H", "n", "n") @ t("x", "n"), t("x", "n")),
    "logistic regression": lambda: {"g": otus.grad(*_logistic()), "H": otus.hessian(*_logistic())},
    "decomposition": lambda: [_decomposition()[0], *otus.grad(*_decomposition())],
    "decomposition's Hessian": lambda: otus.hessian(*_decomposition()),
    "decomposition's step": _step,
    "network": lambda: otus.grad(*_network()),
    "network's Hessian": lambda: otus.hessian(_network()[0], _network()[1][0]),
    "attention": _attention,
    "attention's products": lambda: otus.hvp(_attention().sum(), [t("Q", "n", "d")], [t("D", "n", "d")]),
    "matrices": lambda: otus.grad(_matrices(), [t(f"M{k}", "n", "n") for k in range(8)]),
    "Kronecker product": _kronecker,
    "likelihood": _likelihood,
    "integers": lambda: (t("k", "n", dtype="int64") * 3 + t("l", "n", dtype="int64")).max(),
    "complex": lambda: otus.einsum("ij,j->i", otus.conj(t("Z", "i", "j", dtype="complex128")), t("v", "j")),
    "shapes": lambda: otus.concatenate(
        [t("A", 4, "j").T.reshape(-1), otus.pad(t("b", "n"), ((1, 2),)), t("b", "n")[1:]]
    ),
    "factorisations": lambda: [otus.svd(t("A", 4, 3))[1], otus.qr(t("A", 4, 3))[0], otus.pinv(t("A", 4, 3))],
    "eigenvalues": lambda: otus.grad(
        otus.eigh(t("S", "n", "n", symmetric=True))[0].sum(), t("S", "n", "n", symmetric=True)
    ),
}


def text_of(outputs: Any) -> str:
    """The IR and the source of one program."""
    compiled = otus.compile(outputs)
    return f"{compiled.ir}\n{compiled.source}"


if __name__ == "__main__":
    names = list(PROGRAMS)
    texts = {name: text_of(PROGRAMS[name]()) for name in (reversed(names) if sys.argv[1] == "backwards" else names)}
    for name in names:
        sys.stdout.write(f"# program {name}\n{texts[name]}\n")
