"""Indexed terms against NumPy: the implied sum, reductions, diagonals, brackets, shifted accesses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import otus
from otus.frontend.language import LanguageError, parse
from otus.ir import ShapeError
from otus.runtime.reference import evaluate

N, M, P = 4, 5, 3
_random = np.random.default_rng(7)
DATA = {
    "A": _random.normal(size=(N, M)),
    "B": _random.normal(size=(N, M)),
    "S": _random.normal(size=(N, N)),
    "R": _random.normal(size=(N, N)),
    "x": _random.normal(size=M),
    "z": _random.normal(size=M),
    "q": _random.normal(size=N),
    "w": _random.normal(size=P),
    "s": np.asarray(1.5),
}
HEADER = "tensor A[n,m], B[n,m], S[n,n], R[n,n], x[m], z[m], q[n], w[p], s\n"
A, B, S, R, x, z, q, w, s = (DATA[k] for k in "ABSRxzqws")


def value(text: str, name: str = "y") -> Any:
    module = parse(HEADER + text)
    (result,) = evaluate([module[name].node], DATA, {"n": N, "m": M, "p": P})
    return result


CASES: dict[str, Any] = {
    # the implied sum
    "y[i] = A[i,j] * x[j] + B[i,j] * z[j]": A @ x + B @ z,
    "y[i] = exp(A[i,j] * x[j])": np.exp(A @ x),
    "y = (x[i] - z[i]) * (x[i] - z[i])": ((x - z) ** 2).sum(),
    "y = x[i] * z[i]": x @ z,
    "y[i,j] = q[i] * x[j]": np.outer(q, x),
    "y = q[i] * A[i,j] * x[j]": q @ A @ x,
    "y[i] = A[i,j] * x[j] / q[i]": (A @ x) / q,
    "y[i] = A[i,j] / x[j]": (A / x).sum(1),
    "y[i] = -A[i,j] * x[j]": -(A @ x),
    "y[i] = 2 * (A[i,j] * x[j])": 2 * (A @ x),
    "y = (x[i] * z[i]) * (q[i] * q[i])": (x @ z) * (q @ q),
    "y = (x[i] * z[i]) ^ 2": (x @ z) ** 2,
    "y = x[i] ^ 2 * z[i]": (x**2 * z).sum(),
    "y = A[i,j] * A[i,j] + S[i,j] * S[i,j]": (A**2).sum() + (S**2).sum(),
    "y = 0.5 * x[i] * x[i] / s + s": 0.5 * (x @ x) / s + s,
    "y[j] = exp(x[j]) / sum[j](exp(x[j]))": np.exp(x) / np.exp(x).sum(),
    "y[i] = x[i] / sum(x)": x / x.sum(),
    "y[i] = q[i] + 1": q + 1,
    "y[i,j] = q[i] - x[j]": q[:, None] - x,
    "y[i,j] = q[i] ^ 2 * x[j] ** 3": np.outer(q**2, x**3),
    "y[i,j] = maximum(q[i], x[j])": np.maximum(q[:, None], x),
    "y[i] = 2 ^ q[i]": 2**q,
    "y[i] = -q[i] ^ 2": -(q**2),
    "y = x + x[i] * z[i]": x + x @ z,
    "y = sum(A[i,j] * B[i,j]) * s": (A * B).sum() * s,
    "y[i] = (A @ x)[i] * q[i]": (A @ x) * q,
    "y[i] = A.T[j,i] * x[j]": A @ x,
    "y[i] = x[0] * q[i]": x[0] * q,
    # traces, diagonals, deltas, brackets
    "y = S[i,i]": np.trace(S),
    "y = exp(S[i,i])": np.exp(np.trace(S)),
    "y = S[i,i] * q[i]": np.diag(S) @ q,
    "y = -S[i,i] + R[i,i]": np.trace(R) - np.trace(S),
    "y[i] = S[i,i]": np.diag(S),
    "y[i,i] = q[i]": np.diag(q),
    "y[i,i] = q[i] * S[i,j] * q[j]": np.diag(q * (S @ q)),
    "y[i,j] = delta[i,j] * q[i]": np.diag(q),
    "y[i,j] = S[i,j] + s * delta[i,j]": S + s * np.eye(N),
    "y[i,j] = [i <= j] * S[i,j]": np.triu(S),
    "y[i,j] = [i == j] * S[i,j]": np.diag(np.diag(S)),
    "y[i,j] = [i + 1 == j] * S[i,j]": np.diag(np.diag(S, 1), 1),
    "y[i,j] = S[i,j] * (1 - [i == j])": S - np.diag(np.diag(S)),
    "y[i] = [i < 2] * x[i]": x * (np.arange(M) < 2),
    "y[i] = [x[i] > 0] * x[i]": np.maximum(x, 0),
    "y[i] = where([x[i] > 0], x[i], 0)": np.maximum(x, 0),
    "y[i] = x[i] > 0": x > 0,
    "y[i,j] = delta[i+1,j] * S[i,j]": np.diag(np.diag(S, 1), 1),
    # reductions
    "y = sum[i,j](A[i,j])": A.sum(),
    "y = sum[i,j]((A[i,j] - B[i,j]) ^ 2)": ((A - B) ** 2).sum(),
    "y[i] = sum[j](A[i,j])": A.sum(1),
    "y[i] = max[j](A[i,j])": A.max(1),
    "y = min[i,j](A[i,j])": A.min(),
    "y[j] = mean[i](A[i,j])": A.mean(0),
    "y = prod[i](q[i])": q.prod(),
    "y[i] = logsumexp[j](A[i,j])": np.log(np.exp(A).sum(1)),
    "y[i,j] = softmax[j](A[i,j])": np.exp(A) / np.exp(A).sum(1, keepdims=True),
    "y[i,j] = log_softmax[i](A[i,j])": np.log(np.exp(A) / np.exp(A).sum(0)),
    "y[i] = softmax[j](A[i,j]) * x[j]": np.exp(A) / np.exp(A).sum(1, keepdims=True) @ x,
    "y[i] = max[k](A[i,j] * B[k,j])": (A @ B.T).max(1),
    "y = sum[i](q[i] * A[i,j] * x[j])": q @ A @ x,
    "y = A - sum[i](q[i])": A - q.sum(),
    "y = sum[i](x[i]) / m": x.mean(),
    # accesses with arithmetic
    "y[i] = x[i+1] - x[i]": np.diff(x),
    "y[i] = x[i+2] - 2 * x[i+1] + x[i]": np.diff(x, 2),
    "y = sum[i]((x[i+1] - 2 * x[i] + x[i-1]) ^ 2)": (np.diff(x, 2) ** 2).sum(),
    "y = x[i] * z[i-1]": x[1:] @ z[:-1],
    "y[i] = x[2*i]": x[::2],
    "y[i] = x[2*i+1]": x[1::2],
    "y[i] = x[4-i]": x[::-1],
    "y[i] = x[m-1-i]": x[::-1],
    "y[i] = A[0,i] + A[-1,i]": A[0] + A[-1],
    "y[i] = x[i+k] * w[k]": np.correlate(x, w),
    "y[i] = x[i+p-1-k] * w[k]": np.convolve(x, w, "valid"),
    "y = sum[i](x[i-k] * w[k])": np.convolve(x, w, "valid").sum(),
    "y[i,k] = x[i+k] * w[k]": np.lib.stride_tricks.sliding_window_view(x, P) * w,
    "y = sum[i](abs(x[i+1] - x[i]))": np.abs(np.diff(x)).sum(),
    "y = x[i+1] * z[i]": x[1:] @ z[:-1],
    "y[i] = S[i,i+1]": np.diag(S, 1),
    "dim t = 2\ny[t] = x[t+1]": x[1:3],
    "dim t = 2\ny[t] = x[t+1] - x[t]": x[1:3] - x[:2],
    "dim t = 2\ny[t] = x[t+k] * w[k]": np.correlate(x, w)[:2],
    "dim t = 2\ny[t] = x[4-t]": x[:2:-1],
    # functions
    "def f(v) = v * v + 1\ny[i] = f(q[i])": q * q + 1,
    "def f(v) = v * v\ny = f(A)": A * A,
    "def f(a, b) = a[i] * b[i]\ny = f(x, z) * f(q, q)": (x @ z) * (q @ q),
    "def f(a, b) = a / (1 + exp(-b))\ny[i,j] = f(q[i], b=x[j])": np.outer(q, 1 / (1 + np.exp(-x))),
    "def g(v) = v ^ 2\ndef f(v) = g(v) + g(s)\ny[i] = f(A[i,j] * x[j])": (A @ x) ** 2 + s**2,
    "dim k = 3\ny[i,k] = q[i] ^ arange(k)[k]": np.vander(q, 3, increasing=True),
    "y[i] = S[i,j] * q[j] / sqrt(n)": S @ q / np.sqrt(N),
    "const c = 2\ny[i] = c * x[c] * q[i]": 2 * x[2] * q,
}  # fmt: skip


@pytest.mark.parametrize("text", CASES)
def test_value(text: str) -> None:
    expected = np.asarray(CASES[text])
    result = value(text)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


LEFT_OVER = {
    "y = x[i]": "sum[i](...)",
    "y = (A[i,j] - B[i,j]) ^ 2": "sum[i,j](...)",
    "y[i] = A[i,j]": "sum[j](...)",
    "y = q[i] + S[i,i]": "sum[i](...)",
    "y = A[i,j] * (x[j] * z[j])": "sum[i,j](...)",
    "y = exp(x[i])": "sum[i](...)",
    "y = 2 * x[i]": "sum[i](...)",
    "y = softmax[i](q[i])": "sum[i](...)",
    "def f(a, b) = a * b\ny = f(x[i], z[i])": "sum[i](...)",
    "y = sum(x[i])": "sum[i](...)",
}


@pytest.mark.parametrize("text", LEFT_OVER)
def test_left_over_indices_are_not_guessed_at(text: str) -> None:
    with pytest.raises(LanguageError) as caught:
        parse(HEADER + text)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.hint is not None
    assert LEFT_OVER[text] in diagnostic.hint


OUTSIDE = {
    "dim t = 5\ny[t] = x[t+1]": "slice: position 5 is outside axis 0 of size 5",
    "dim t = 5\ny[t] = x[t+1] - x[t]": "slice: position 5 is outside axis 0 of size 5",
    "dim t = 4\ny[t] = x[t-k] * w[k]": "slice: position -2 is outside axis 0 of size 5",
    "y[i] = x[6-i]": "slice: position 6 is outside axis 0 of size 5",
    "y[i] = q[i] * x[i-k] * w[k]": "slice: position -2 is outside axis 0 of size 5",
}


@pytest.mark.parametrize("text", OUTSIDE)
def test_a_read_outside_an_axis_of_symbolic_size_is_an_error_of_the_call(text: str) -> None:
    """A gather counts negative positions from the end, so they must not reach one."""
    f = otus.compile(parse(HEADER + text)["y"])
    with pytest.raises(ShapeError, match=OUTSIDE[text]):
        f(**{name: DATA[name] for name in f.inputs})


def test_a_read_outside_an_axis_is_an_error_of_the_gather() -> None:
    f = otus.compile(parse(HEADER + "dim t = 4\ny[t] = x[t+k] * w[k]")["y"])
    with pytest.raises(otus.OtusError, match="index 5 is out of bounds for axis 0 with size 5"):
        f(x=x, w=w)


def test_the_same_letter_in_two_terms_may_have_two_sizes() -> None:
    assert value("y = x[i] * z[i] + q[i] * q[i]").shape == ()


def test_a_trace_is_one_einsum() -> None:
    module = parse("tensor S[n,n]\ny = S[i,i]")
    assert [node.op.name for node in (module["y"].node, *module["y"].node.operands)] == ["einsum", "input"]


def test_deltas_and_brackets_take_the_dtype_around_them() -> None:
    module = parse("tensor S[n,n] : float32\ny[i,j] = delta[i,j] * S[i,j] * [i < j] / n")
    assert module["y"].dtype == "float32"
