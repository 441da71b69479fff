"""Readable source: goldens of whole modules, layouts that reach BLAS without copies, provenance."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from programs import emitted, leaf

import otus
from benchmarks.programs import alternating_updates, cp_loss
from otus.ir import Graph, Node, build, dim, make
from otus.ir import operations as ops
from otus.ir.dtypes import DType

Golden = Callable[[str, str], None]


def cpd_gradient() -> str:
    X, A, B, C = (
        otus.tensor(name, tuple(axes)) for name, axes in [("X", "ijk"), ("A", "ir"), ("B", "jr"), ("C", "kr")]
    )
    residual = otus.einsum("ir,jr,kr->ijk", A, B, C) - X
    loss = (residual * residual).sum()
    outputs = {"loss": loss, "gA": otus.grad(loss, A)}
    return otus.compile(outputs, name="cpd", description="The CP decomposition's loss and gradient.").source


def newton_step() -> str:
    X, y, w = otus.tensor("X", ("n", "d")), otus.tensor("y", ("n",)), otus.tensor("w", ("d",))
    loss = (otus.softplus(X @ w) - y * (X @ w)).sum()
    return otus.compile({"step": otus.solve(otus.hessian(loss, w), otus.grad(loss, w))}, name="newton_step").source


def helpers_and_constants() -> str:
    x = otus.tensor("x", ("n", 3), dtype="float32")
    table = otus.constant(np.arange(6, dtype=np.float32).reshape(3, 2))
    return otus.compile([otus.erf(x) @ table, otus.logsumexp(x, axis=1), otus.flip(x)]).source


def hostile_names() -> str:
    names = ["lambda", "np", "len", "x'); import os #", "α", "_erf", "A", "А", "1\n2", '"""', "kernel"]
    tensors = [otus.tensor(name, ("def", 2)) for name in names]
    total = sum(tensors[1:], tensors[0])
    return otus.compile(
        {"class": otus.erf(total), 'q"""\\\nraise': total * otus.arange("def").reshape(("def", 1))}
    ).source


def planned_memory() -> str:
    """Temporaries in one workspace, and elementwise work over large arrays function by function."""
    Q, K, V = (otus.tensor(name, (4, 200, 32)) for name in "QKV")
    heads = otus.einsum("hij,hjk->hik", otus.softmax(otus.einsum("hik,hjk->hij", Q, K), axis=-1), V)
    x, y = otus.tensor("x", (300000,)), otus.tensor("y", (300000,))
    outputs = {"dQ": otus.grad((heads**2).sum(), Q), "chain": otus.exp(-0.5 * x * x) * y + otus.where(x > y, x, 0.0)}
    return otus.compile(outputs, name="planned").source


def cp_als_sweep() -> str:
    """The Newton step of the loss in each factor: three solves with small matrices, two passes over the tensor."""
    updates = alternating_updates(*cp_loss(3, 60, 8))
    outputs = {f"A{k}_new": update for k, update in enumerate(updates)}
    return otus.compile(outputs, name="cp_als_sweep", description="One sweep of alternating least squares.").source


CASES = {
    f.__name__: f
    for f in (cp_als_sweep, cpd_gradient, newton_step, helpers_and_constants, hostile_names, planned_memory)
}


@pytest.mark.parametrize("name", CASES)
def test_goldens(name: str, golden: Golden) -> None:
    golden(f"{name}.py.txt", CASES[name]())


@pytest.mark.parametrize("name", CASES)
def test_modules_stand_alone(name: str, tmp_path: Path) -> None:
    """They import NumPy and nothing else, under warnings as errors."""
    path = tmp_path / "kernel_module.py"
    path.write_text(CASES[name](), encoding="utf-8")
    command = [sys.executable, "-I", "-W", "error", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    imports = [text for text in path.read_text().splitlines() if text.startswith(("import", "from"))]
    assert imports == ["import numpy as np"]


def statement(node: Node, *known: Node, **sizes: int) -> str:
    return emitted([node], known, **sizes).statements[-1].text.removeprefix("out0 = ")


X, A, B, C, x = leaf("X", "i", "j", "k"), leaf("A", "i", "r"), leaf("B", "j", "r"), leaf("C", "k", "r"), leaf("x", "j")
M, N, P = leaf("M", "i", "j"), leaf("N", "j", "k"), leaf("P", "b", "i", "j")


@pytest.mark.parametrize(
    ("operands", "inputs", "output", "source"),
    [
        ([M, N], [(0, 1), (1, 2)], (0, 2), "M.dot(N)"),
        ([N, M], [(1, 2), (0, 1)], (0, 2), "M.dot(N)"),
        ([M, N], [(0, 1), (1, 2)], (2, 0), "N.T.dot(M.T)"),
        ([M, M], [(0, 1), (0, 2)], (1, 2), "M.T.dot(M)"),
        ([M, x], [(0, 1), (1,)], (0,), "M.dot(x)"),
        ([N, x], [(0, 1), (0,)], (1,), "N.T.dot(x)"),
        ([x, x], [(0,), (0,)], (), "np.dot(x, x)"),
        ([M, M], [(0, 1), (0, 1)], (), "np.dot(M.reshape(i * j), M.reshape(i * j))"),
        ([x, A], [(0,), (1, 2)], (0, 1, 2), "x[:, None, None] * A"),
        ([M, x], [(0, 1), (1,)], (0, 1), "M * x"),
        ([X, A], [(0, 1, 2), (0, 3)], (1, 2, 3), "X.reshape(i, j * k).T.dot(A).reshape(j, k, r)"),
        ([X, B], [(0, 1, 2), (1, 3)], (0, 2, 3), "X.transpose(0, 2, 1) @ B"),
        ([X, C], [(0, 1, 2), (2, 3)], (0, 1, 3), "X.reshape(i * j, k).dot(C).reshape(i, j, r)"),
        ([X, x], [(0, 1, 2), (1,)], (0, 2), "X.transpose(0, 2, 1) @ x"),
        ([X, X], [(0, 1, 2), (3, 1, 2)], (0, 3), "X.reshape(i, j * k).dot(X.reshape(i, j * k).T)"),
        ([P, N], [(3, 0, 1), (1, 2)], (3, 0, 2), "P.reshape(b * i, j).dot(N).reshape(b, i, k)"),
        ([P, P], [(3, 0, 1), (3, 2, 1)], (3, 0, 2), "P @ P.transpose(0, 2, 1)"),
        ([P, M], [(3, 0, 1), (0, 1)], (3, 0), "(P.transpose(1, 0, 2) @ M.reshape(i, j, 1)).reshape(i, b).T"),
    ],
)  # fmt: skip
def test_contractions_reach_matrix_products(
    operands: list[Node], inputs: list[tuple[int, ...]], output: tuple[int, ...], source: str
) -> None:
    assert statement(build.einsum(operands, inputs, output)) == source


def test_small_looped_products_are_packed_instead() -> None:
    node = build.einsum([X, B], [(0, 1, 2), (1, 3)], (0, 2, 3))
    packed = "np.ascontiguousarray(X.transpose(0, 2, 1)).reshape(i * k, j).dot(B).reshape(i, k, r)"
    assert statement(node, i=1000, j=3, k=2, r=2) == packed


def test_flips_and_strides() -> None:
    n = dim("n")
    v = leaf("v", "n", 6)
    flipped = build.slice_node(v, [n - 1, 0], [n, 6], [-1, 1])
    stepped = build.slice_node(v, [0, 1], [n, 3], [1, 2])
    inner = build.slice_node(v, [1, 5], [n - 2, 2], [1, -2])
    views = [text.text for text in emitted([flipped, stepped, inner]).statements[:3]]
    assert views == ["t0 = v[::-1]", "t1 = v[:, 1::2]", "t2 = v[1:n - 1, 3::2][:, ::-1]"]


def test_large_temporaries_are_freed_when_nothing_reads_them() -> None:
    v = leaf("v", "n", "n")
    first = build.apply("exp", v)
    view = build.transpose(first, (1, 0))
    second = build.einsum([view, v], [(0, 1), (1, 2)], (0, 2))
    total = build.sum_axes(build.apply("tanh", second), [0, 1])
    lines = [text.strip() for text in emitted([total]).source.splitlines()]
    freed = [text for text in lines if text.startswith("del")]
    assert freed == ["del t0, t1", "del t2", "del t3"]


def test_only_sizes_that_are_used_are_unpacked() -> None:
    a, b = leaf("a", "m", "n"), leaf("b", 2 * dim("q") + 1)
    shaped = build.reshape(a, (dim("n"), dim("m")))
    assert "    m, n = a.shape\n" in emitted([build.apply("exp", shaped)]).source
    assert ".shape\n" not in emitted([build.apply("exp", a)]).source
    counted = build.iota(dim("q"), DType.int64)
    assert "    q = (b.shape[0] - 1) // 2\n" in emitted([counted, b]).source
    assert "    n = a.shape[1]\n" in emitted([build.extent(dim("n"), DType.float64)], [a]).source


def test_an_input_may_be_read_for_its_shape_only() -> None:
    module = emitted([build.extent(dim("n"), DType.float64)], [leaf("a", "m", "n")])
    assert module.parameters == ("a",)
    assert "a : float64 array of shape (m, n); only its shape is read" in module.source


def test_every_statement_says_where_it_comes_from() -> None:
    v = leaf("v", "n")
    node = build.einsum([build.apply("exp", v), v], [(0,), (0,)], ())
    graph = Graph((node,), ("total",), {node: "total"})
    module = emitted(graph)
    lines = module.source.splitlines()
    assert [(s.text, s.ir, s.node) for s in module.statements][-1] == (
        "total = np.dot(t0, v)", '%total: f64[] = einsum "n,n->" %0, %v', node,
    )  # fmt: skip
    for each in module.statements:
        assert "\n".join(text.strip() for text in lines[each.first - 1 : each.last]) == each.text
        assert lines[each.first - 2].strip() == f"# {each.ir}"


def test_long_constants_do_not_fill_comments() -> None:
    big = build.constant(np.arange(10000.0))
    assert max(map(len, emitted([big, make(ops.CumulativeSum(0), big)]).source.splitlines())) < 400
