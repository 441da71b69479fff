"""Broadcasting, symbolic sizes, and the exact words of refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from evaluation import BACKENDS, run
from hypothesis import given, settings
from hypothesis import strategies as st

import otus

A, B, V = otus.tensor("A", ("m", "n")), otus.tensor("B", (2, 3)), otus.tensor("v", (4,))
S = otus.tensor("s", ())


@given(st.lists(st.lists(st.integers(0, 3), max_size=4).map(tuple), min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_shapes_broadcast_as_in_numpy(shapes: list[tuple[int, ...]]) -> None:
    total: Any = otus.tensor("t0", shapes[0])
    for k, shape in enumerate(shapes[1:], 1):
        other = otus.tensor(f"t{k}", shape)
        try:
            expected = np.broadcast_shapes(total.shape, shape)
        except ValueError:
            with pytest.raises(otus.ShapeError) as caught:
                otus.maximum(total, other)
            for text in (total.shape, shape):
                assert f"({', '.join(map(str, text))}{',' if len(text) == 1 else ''})" in str(caught.value)
            return
        total = otus.maximum(total, other)
        assert total.shape == expected


REFUSED: dict[str, tuple[Any, str]] = {
    "broadcast": (lambda: B + V,
        "shapes (2, 3) and (4,) do not broadcast: axis -1 has sizes 3 and 4; equal sizes or a 1 are needed"),
    "symbolic broadcast": (lambda: A + B,
        "shapes (m, n) and (2, 3) do not broadcast: axis -2 has sizes m and 2; equal sizes or a 1 are needed"),
    "matmul": (lambda: B @ V, "matmul: shapes (2, 3) and (4,) do not fit: the summed axes have sizes 3 and 4"),
    "matmul of a scalar": (lambda: B @ S, "matmul takes no scalars; use * instead"),
    "tensordot": (lambda: otus.tensordot(B, V, 1),
        "tensordot: shapes (2, 3) and (4,) do not fit: the summed axes have sizes 3 and 4"),
    "tensordot axes": (lambda: otus.tensordot(B, V, 3), "tensordot: axes=3, but the operands have 2 and 1 axes"),
    "vdot": (lambda: otus.vdot(B, V), "vdot: shapes (2, 3) and (4,) do not fit: the summed axes have sizes 6 and 4"),
    "axis": (lambda: B.sum(axis=2), "axis 2 is outside a tensor of 2 axes; use -2 to 1"),
    "axis of a scalar": (lambda: S.sum(axis=0), "axis 0 is outside a scalar, which has no axes"),
    "axis twice": (lambda: B.sum(axis=(0, -2)), "axes (0, -2) name an axis twice"),
    "reshape": (lambda: B.reshape(4, 2), "reshape: shape (2, 3) holds 6 elements, (4, 2) holds 8"),
    "reshape -1": (lambda: B.reshape(4, -1), "reshape: 6 elements of shape (2, 3) do not divide into (4, -1)"),
    "reshape two -1": (lambda: B.reshape(-1, -1), "reshape: shape (-1, -1) has more than one -1"),
    "transpose": (lambda: B.transpose(0), "transpose: axes (0,) do not name each of 2 axes once"),
    "squeeze": (lambda: otus.squeeze(B, 0), "squeeze: axis 0 has size 2, not 1"),
    "broadcast_to": (lambda: otus.broadcast_to(B, (3, 2, 4)), None),
    "concatenate": (lambda: otus.concatenate([B, otus.tensor("C", (2, 4))]), None),
    "concatenate nothing": (lambda: otus.concatenate([]), "concatenate needs at least one tensor"),
    "concatenate scalars": (lambda: otus.concatenate([S, S]), "scalars cannot be concatenated; use stack"),
    "stack": (lambda: otus.stack([B, V]), "stack: tensor 0 has shape (2, 3), tensor 1 has (4,)"),
    "index": (lambda: B[2], "index 2 is outside axis 0 of size 2"),
    "too many indices": (lambda: B[0, 0, 0], "3 indices for a tensor of shape (2, 3)"),
    "two ellipses": (lambda: B[..., ...], "an index can hold one '...' only"),
    "step 0": (lambda: V[::0], "a slice cannot have step 0"),
    "solve": (lambda: otus.solve(B, V), "solve needs a square matrix, not shape (2, 3)"),
    "inv": (lambda: otus.inv(B), "inv needs a square matrix, not shape (2, 3)"),
    "inv of a vector": (lambda: otus.inv(V), "inv needs a matrix, not shape (4,)"),
    "trace": (lambda: otus.trace(V), "a diagonal needs two axes, not shape (4,)"),
    "diag": (lambda: otus.diag(S), "diag takes a vector or a matrix, not shape ()"),
    "max of nothing": (lambda: otus.max(otus.tensor("e", (0,))), "max over an axis of size 0 has no value"),
    "roll": (lambda: otus.roll(A, 1, axis=0), "roll needs a known size, not m; give the dim a size"),
    "pad": (lambda: otus.pad(B, -1), "pad: pad_width -1 is negative; slice instead"),
    "pad mode": (lambda: otus.pad(B, 1, mode="wrap"), "pad: mode 'wrap' is not supported; use 'constant'"),
    "einsum size": (lambda: otus.einsum("ij,j->i", B, V),
        "index 'j' has size 3 in operand 0 and size 4 in operand 1"),
    "einsum rank": (lambda: otus.einsum("i->i", B), None),
    "einsum operands": (lambda: otus.einsum("ij,jk", B), "the subscripts name 2 operands, but 1 were given"),
    "einsum output": (lambda: otus.einsum("ij->k", B), "output index 'k' is on no operand"),
    "einsum character": (lambda: otus.einsum("i.j", B), None),
    "norm": (lambda: otus.norm(B, ord=7), "norm: ord=7 is no matrix norm; use 'fro', 'nuc', ±1, ±2 or ±inf"),
    "negative size": (lambda: otus.tensor("x", (-1,)), "size -1 in shape (-1,) is negative; sizes start at 0"),
    "name": (lambda: otus.tensor("", (1,)), "'' cannot name a tensor; give a non-empty string"),
    "fact": (lambda: otus.tensor("x", (2, 2), symetric=True), "unknown fact 'symetric'; did you mean 'symmetric'?"),
    "truth": (lambda: bool(B), "the truth of <f64[2,3] = input 'B'> is known only when it runs; use otus.where to "
        "choose between values, or 'is' to compare expressions"),
    "not a tensor": (lambda: B + "x", "'x' is not a tensor; give an expression, a number or an array"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refusals(what: str) -> None:
    call, message = REFUSED[what]
    with pytest.raises(otus.OtusError) as caught:
        call()
    if message is not None:
        assert str(caught.value) == message
    else:
        assert len(str(caught.value)) > 20


# --- symbolic sizes ------------------------------------------------------------------------------------

SYMBOLIC: dict[str, tuple[Any, Any]] = {
    "matmul": (lambda A, v: A @ v, lambda A, v: A @ v),
    "outer": (lambda A, v: otus.outer(v, v), lambda A, v: np.outer(v, v)),
    "kron": (lambda A, v: otus.kron(v, v), lambda A, v: np.kron(v, v)),
    "mean": (lambda A, v: A.mean(axis=0) - v, lambda A, v: A.mean(axis=0) - v),
    "var": (lambda A, v: otus.var(A, axis=1, ddof=1), lambda A, v: A.var(axis=1, ddof=1)),
    "reshape": (lambda A, v: A.reshape(-1), lambda A, v: A.reshape(-1)),
    "flip": (lambda A, v: otus.flip(A), lambda A, v: A[::-1, ::-1]),
    "slice": (lambda A, v: v[1:], lambda A, v: v[1:]),
    "slice from the end": (lambda A, v: v[-2:], lambda A, v: v[-2:]),
    "slice backwards": (lambda A, v: v[::-2], lambda A, v: v[::-2]),
    "slice in steps": (lambda A, v: A[:, ::3], lambda A, v: A[:, ::3]),
    "slice beyond": (lambda A, v: v[:100], lambda A, v: v[:100]),
    "last": (lambda A, v: A[-1], lambda A, v: A[-1]),
    "pad": (lambda A, v: otus.pad(v, (1, 2)), lambda A, v: np.pad(v, (1, 2))),
    "concatenate": (lambda A, v: otus.concatenate([v, A[0], v]), lambda A, v: np.concatenate([v, A[0], v])),
    "stack": (lambda A, v: otus.stack([v, A[0]], axis=1), lambda A, v: np.stack([v, A[0]], axis=1)),
    "eye": (lambda A, v: otus.eye("n") * v, lambda A, v: np.eye(len(v)) * v),
    "wide eye": (lambda A, v: otus.eye("m", "n", k=1) * A, lambda A, v: np.eye(*A.shape, k=1) * A),
    "arange": (lambda A, v: otus.arange("n") * v, lambda A, v: np.arange(len(v)) * v),
    "arange in steps": (lambda A, v: otus.arange(1, "n", 2).sum() * v, lambda A, v: np.arange(1, len(v), 2).sum() * v),
    "cumsum": (lambda A, v: otus.cumsum(A), lambda A, v: np.cumsum(A)),
    "take": (lambda A, v: otus.take(A, [0, -1], axis=1), lambda A, v: np.take(A, [0, -1], axis=1)),
    "diag": (lambda A, v: otus.diag(v, 1), lambda A, v: np.diag(v, 1)),
    "diagonal": (lambda A, v: otus.diagonal(A), lambda A, v: np.diagonal(A)),
    "trace": (lambda A, v: otus.trace(A @ A.T), lambda A, v: np.trace(A @ A.T)),
    "ones": (lambda A, v: otus.ones(("m", "n")) + v @ A.T @ A, lambda A, v: np.ones(A.shape) + v @ A.T @ A),
    "softmax": (lambda A, v: otus.softmax(A, axis=0).sum(), lambda A, v: A.shape[1]),
    "solve": (
        lambda A, v: otus.solve(A.T @ A + otus.eye("n"), v), lambda A, v: np.linalg.solve(A.T @ A + np.eye(len(v)), v)
    ),
    "svd": (lambda A, v: otus.svd(A, compute_uv=False), lambda A, v: np.linalg.svd(A, compute_uv=False)),
    "qr": (lambda A, v: otus.qr(A).Q @ otus.qr(A).R, lambda A, v: A),
    "prod": (lambda A, v: otus.prod(A, axis=0), lambda A, v: np.prod(A, axis=0)),
    "broadcast": (lambda A, v: otus.broadcast_to(v, (2, "m", "n")) * A, lambda A, v: np.stack([v * A, v * A])),
    "a size as a number": (lambda A, v: v.sum() / A.mean() * A.sum(), lambda A, v: v.sum() * A.size),
}  # fmt: skip


@pytest.mark.parametrize("sizes", [(1, 2), (2, 3), (5, 4), (3, 7)])
@pytest.mark.parametrize("what", SYMBOLIC)
def test_symbolic_sizes(what: str, sizes: tuple[int, int]) -> None:
    build, numpys = SYMBOLIC[what]
    rng = np.random.default_rng(sizes)
    data = {"A": rng.standard_normal(sizes) + 0.1, "v": rng.standard_normal(sizes[1])}
    with np.errstate(all="ignore"):
        expected = numpys(**data)
    expression = build(otus.tensor("A", ("m", "n")), otus.tensor("v", ("n",)))
    for backend in BACKENDS:
        np.testing.assert_allclose(run(expression, data, backend), expected, rtol=1e-10, atol=1e-10)


def test_one_compiled_function_serves_every_size() -> None:
    x = otus.tensor("x", ("n",))
    f = otus.compile({"y": otus.logsumexp(x), "g": otus.grad(otus.logsumexp(x), x), "s": x[::-1][: otus.Dim("n") - 1]})
    for n in (1, 2, 9, 3):
        value = np.linspace(-1, 2, n)
        found = f(x=value)
        weights = np.exp(value) / np.exp(value).sum()
        np.testing.assert_allclose(found["g"], weights)
        np.testing.assert_allclose(found["s"], value[::-1][: n - 1])
