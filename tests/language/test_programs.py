"""Whole programs: statements, whole-tensor expressions, derivatives, imports, outputs, side tables."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import otus
from otus.frontend import FUNCTIONS
from otus.frontend.language import LanguageError, load, parse
from otus.ir import NamingError, OtusError, dump
from otus.ir.traverse import topological
from otus.runtime.reference import evaluate

PROGRAMS = Path(__file__).with_name("programs")

CPD = """\
%A: f64[i,8] = input "A"
%B: f64[j,8] = input "B"
%C: f64[k,8] = input "C"
%model: f64[i,j,k] = einsum "ia,ja,ka->ijk" %A, %B, %C
%X: f64[i,j,k] = input "X"
%residual: f64[i,j,k] = linear_combination "ijk,ijk->ijk" {coefficients=(1.0, (-1.0))} %model, %X
%0: f64[i,j,k] = map "square(a)" "ijk->ijk" %residual
%loss: f64[] = einsum "ijk->" %0
%gA: f64[i,8] = derivative {kind="grad"} %loss, %A
%HAA: f64[i,8,i,8] = derivative {kind="jacobian"} %gA, %A
%1: f64[8*i,8*i] = reshape {shape=(8*i, 8*i)} %HAA
%2: f64[8*i,1] = reshape {shape=(8*i, 1)} %gA
%3: f64[8*i,1] = solve %1, %2
%step: f64[i,8] = reshape {shape=(i, 8)} %3
return {"loss": %loss, "gA": %gA, "step": %step}
"""


def test_the_example_of_the_contract() -> None:
    module = load(PROGRAMS / "cpd.otus")
    assert list(module.tensors) == ["X", "A", "B", "C", "P"]
    assert list(module.outputs) == ["loss", "gA", "step"]
    assert module.dims == {"r": 8}
    assert module["P"].dtype == "float32"
    assert module["P"].node.type.facts.symmetric == ((0, 1),)
    assert dump({name: x.node for name, x in module.outputs.items()}, module.labels) == CPD


@pytest.mark.parametrize("path", sorted(PROGRAMS.glob("*.otus")), ids=lambda path: path.stem)
def test_example_programs_are_read(path: Path) -> None:
    module = load(path)
    assert module.file == str(path)
    assert module.text == path.read_text("utf-8")
    for expression in module.outputs.values():
        for node in topological([expression.node]):
            assert module.positions[node].file.endswith(".otus")


def test_attention() -> None:
    module = load(PROGRAMS / "attention.otus")
    random = np.random.default_rng(0)
    q, k, v = (random.normal(size=(4, 6, 16)) for _ in range(3))
    (out,) = evaluate([module["out"].node], {"Q": q, "K": k, "V": v})
    score = np.einsum("hsf,htf->hst", q, k) / 4
    score[:, np.triu(np.ones((6, 6), bool), 1)] = -np.inf
    weight = np.exp(score - score.max(-1, keepdims=True))
    weight /= weight.sum(-1, keepdims=True)
    np.testing.assert_allclose(out, weight @ v, rtol=1e-12)


# --- whole tensors -----------------------------------------------------------------------------

WHOLE = {
    "y = A @ x": "A @ x",
    "y = A.T @ A": "A.T @ A",
    "y = -x ^ 2": "-(x ** 2)",
    "y = 2 ^ 3 ^ 2 * x": "2 ** 3 ** 2 * x",
    "y = 2 ** -1 * x": "2 ** -1 * x",
    "y = A - x / 2 + 1": "A - x / 2 + 1",
    "y = x[0]": "x[0]",
    "y = x[-1] + A[1, 2]": "x[-1] + A[1, 2]",
    "y = A[1:3, ::2]": "A[1:3, ::2]",
    "y = A[..., None, 0]": "A[..., None, 0]",
    "y = x.sum() * A.max(axis=0)": "x.sum() * A.max(axis=0)",
    "y = A.reshape(2, 6).T": "A.reshape(2, 6).T",
    "y = sum(A, axis=1, keepdims=True)": "A.sum(1, keepdims=True)",
    "y = einsum(\"ij,jk->ik\", A, A.T)": "A @ A.T",
    "y = einsum(A, [0, 1], A, [2, 1], [0, 2])": "A @ A.T",
    "y = concatenate([x, x])": "np.concatenate([x, x])",
    "y = stack((x, 2 * x), axis=1)": "np.stack((x, 2 * x), axis=1)",
    "y = where(x > 0, x, 0)": "np.where(x > 0, x, 0)",
    "y = eye(3) + delta(3) + ones((3, 3))": "2 * np.eye(3) + 1",
    "y = [x > 0] * x": "np.maximum(x, 0)",
    "y = sqrt(2) * pi * x": "np.sqrt(2) * np.pi * x",
    "y = sum(\n    x,  # the elements\n    axis=0,\n)": "x.sum()",
    "y = constant([1, 2, 3]) // 2": "np.array([0.0, 1.0, 1.0])",
    "const c = 2\ny = x[c]": "x[2]",
    "dim h = 2\ny = A[:h]": "A[:2]",
    "dim h = 2\ny = x / h": "x / 2",
    "y = qr(A.T @ A)[0] @ qr(A.T @ A)[1]": "A.T @ A",
    "f, g = qr(A.T @ A)\ny = f @ g": "A.T @ A",
    "u, t, v = svd(A, full_matrices=False)\ny[i,j] = u[i,k] * t[k] * v[k,j]": "A",
    "pair = qr(A)\ny = pair[0] @ pair[1]": "A",
    "a, b = [A, 2 * A]\ny = b - a": "A",
}  # fmt: skip


@pytest.mark.parametrize("text", WHOLE)
def test_whole_tensors_mean_what_numpy_means(text: str) -> None:
    random = np.random.default_rng(1)
    data = {"A": random.normal(size=(4, 3)), "x": random.normal(size=3)}
    module = parse(f"tensor A[4, 3], x[3]\n{text}")
    (result,) = evaluate([module["y"].node], data)
    expected = np.asarray(eval(WHOLE[text], {"np": np, **data}))
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


def test_derivatives_are_those_of_python() -> None:
    text = """
tensor A[i,r], x[r], V[i,r], v[r]
y = A @ x
loss = sum(y ^ 2)
a = grad(loss, A)
b = jacobian(y, x)
c = hessian(loss, x)
d = hessian(loss, A, x)
e = jvp(y, x, v)
f = vjp(y, x, y)
g = hvp(loss, A, V)
h = jtjvp(y, x, v)
k = derivative(loss, x, order=2)
"""
    m = parse(text)
    f, loss, y, a, x = FUNCTIONS, m["loss"], m["y"], m["A"], m["x"]
    assert m["a"] is f["grad"](loss, a)
    assert m["b"] is f["jacobian"](y, x)
    assert m["c"] is f["hessian"](loss, x)
    assert m["d"] is f["hessian"](loss, [a, x])[0][1]
    assert m["d"].shape == (*a.shape, *x.shape)
    assert m["e"] is f["jvp"](y, [x], [m["v"]])
    assert m["f"] is f["vjp"](y, [x], [y])[0]
    assert m["g"] is f["hvp"](loss, [a], [m["V"]])[0]
    assert m["h"] is f["jtjvp"](y, [x], [m["v"]])[0]
    assert m["k"] is f["derivative"](loss, x, 2)


# --- statements --------------------------------------------------------------------------------


def test_dims_fix_sizes_and_may_be_computed() -> None:
    module = parse("dim n = 4, m\nconst k = 3\ntensor x[n, m, 2*n, m+k, 7]\ny = x + 0")
    assert module.dims == {"n": 4}
    assert module["y"].shape == (4, "m", 8, "m+3", 7)


def test_facts_are_those_of_every_tensor_listed() -> None:
    module = parse("tensor A[n,n], B[m,m] : f32, positive_definite\ntensor T[n,n,m,m] : symmetric=((0,1),(2,3))")
    for name in "AB":
        assert module[name].dtype == "float32"
        assert module[name].node.type.facts.positive_definite
    assert module["T"].node.type.facts.symmetric == ((0, 1), (2, 3))


def test_storage_formats_stand_among_facts() -> None:
    module = parse("tensor W[8,8] : float32, nm(2, 4)\ntensor S[n,n] : csr, symmetric")
    assert str(module["W"].node.type.format) == "nm(n=2, m=4, axis=-1)"
    assert module["S"].node.type.format.name == "csr"


def test_without_output_every_assigned_name_that_nothing_uses() -> None:
    module = parse("tensor x[3]\na = x + 1\nb = a * 2\nc = sum(x)\nd = b[i] * b[i]")
    assert list(module.outputs) == ["c", "d"]


def test_names_of_the_language_may_be_used_for_values() -> None:
    module = parse("tensor sum[3], e[i], pi[3]\nmean = mean(sum)\nmax = sum[j] * pi[j]\nloss = max + mean + e[0]")
    assert list(module.outputs) == ["loss"]


def test_any_name_can_be_looked_up() -> None:
    module = parse("const c = 2\ntensor x[3]\ny = c * x")
    assert module["c"].shape == ()
    assert module["x"] is module.tensors["x"]
    with pytest.raises(NamingError, match="gives no value to 'xx'"):
        _ = module["xx"]


def test_names_of_inner_values_reach_the_source() -> None:
    module = parse(
        "tensor X[i,j], A[i,r], B[j,r]\nmodel = A @ B.T\nresidual = X - model\nloss = sum(residual ^ 2)\n"
        "g = grad(loss, A)\noutput g, loss"
    )
    compiled = otus.compile(module)
    for name in ("model", "residual", "loss", "g"):
        assert re.search(rf"^%{name}: f64", compiled.ir, re.MULTILINE)
        assert re.search(rf"^    {name} = ", compiled.source, re.MULTILINE)
    assert compiled.source == otus.compile(module, dims={}).source
    assert "    model = " in otus.compile(module, dims={"r": 3}).source
    data = {name: np.ones(shape) for name, shape in (("X", (2, 3)), ("A", (2, 4)), ("B", (3, 4)))}
    assert compiled(**data)["loss"] == 54


def test_names_of_values_that_become_one() -> None:
    """An output is called as the output; of others the first name stays, and no inner value takes an output's."""
    module = parse("tensor A[i,j], B[j,k]\np = A @ B\nq = (B.T @ A.T).T\nr = A @ B * 1\ns = exp(r)\noutput s, q, p")
    compiled = otus.compile(module)
    assert [line.split(" = ")[0].strip() for line in compiled.source.splitlines() if re.match(r"    \w+ = ", line)] == [
        "q", "s", "p",
    ]  # fmt: skip
    module = parse("tensor x[n, n]\ny = exp(x) + x.T\nz = exp(x) + x\nw = y + z * x\noutput w")
    assert "%y: f64[1,1] = " in otus.compile(module, dims={"n": 1}).report[0].ir_before


def test_names_that_python_has_already() -> None:
    module = parse(
        "tensor X[i,j], w[j]\nnp[i] = X[i,j] * w[j]\nt0 = exp(np)\n_softplus = softplus(t0 - np)\n"
        "kernel = sum(_softplus)\nlen = kernel * t0\nσ = sum(len)\ni2 = σ * len + np\noutput i2, np"
    )
    rng = np.random.default_rng(0)
    data = {"X": rng.normal(size=(3, 4)), "w": rng.normal(size=4)}
    expected = otus.compile(module, backend="reference")(**data)
    for pipeline in (otus.pipeline(), "expand"):
        found = otus.compile(module, pipeline=pipeline)(**data)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-12)


def test_positions_and_labels() -> None:
    text = "tensor A[i,j], x[j]\ny[i] = exp(A[i,j] * x[j])\nz = sum(y) + 1\n"
    module = parse(text)
    product = module["y"].node.operands[0]
    assert module.positions[product].text == "A[i,j] * x[j]"
    assert module.positions[module["y"].node].text == "exp(A[i,j] * x[j])"
    assert module.positions[module["A"].node].text == "A[i,j]"
    assert (module.positions[module["z"].node].line, module.positions[module["z"].node].column) == (3, 5)
    assert module.labels == {module["y"].node: "y", module["z"].node: "z"}
    assert set(topological([module["z"].node])) <= set(module.positions)


def test_windows_lines_a_mark_at_the_start_and_letters_of_any_script() -> None:
    module = parse("\ufefftensor \u03b1[3]\r\n\u03b2 = 2 * \u03b1\r\n")
    assert list(module.outputs) == ["\u03b2"]


# --- imports -----------------------------------------------------------------------------------


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder / next(iter(files))


def test_imports_bring_names_and_are_read_once(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        {
            "main.otus": 'import "parts/left.otus"\nimport "parts/right.otus"\nloss = left + right',
            "parts/left.otus": 'import "base.otus"\nleft = square(x)[0]',
            "parts/right.otus": 'import "base.otus"\nright = twice(x)[1]',
            "parts/base.otus": "tensor x[3]\ndef twice(v) = 2 * v",
        },
    )
    module = load(main)
    assert list(module.outputs) == ["loss"]
    assert list(module.tensors) == ["x"]
    assert module.positions[module["left"].node].file == str(tmp_path / "parts" / "left.otus")


def test_imports_stay_in_the_folder_and_do_not_run_in_circles(tmp_path: Path) -> None:
    write(tmp_path, {"secret.otus": "const c = 1"})
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "link.otus").symlink_to(tmp_path / "secret.otus")
    main = write(
        tmp_path / "inner",
        {
            "main.otus": f'import "../secret.otus"\nimport "{tmp_path}/secret.otus"\n'
            'import "link.otus"\nimport "a.otus"\n',
            "a.otus": 'import "b.otus"',
            "b.otus": 'import "a.otus"',
        },
    )
    with pytest.raises(LanguageError) as caught:
        load(main)
    assert [x.message.replace(str(tmp_path), "") for x in caught.value.diagnostics] == [
        "'a.otus' imports itself (a.otus → b.otus → a.otus)",
        "'../secret.otus' is outside the folder of the file that imports it",
        "'/secret.otus' is outside the folder of the file that imports it",
        "'link.otus' is outside the folder of the file that imports it",
    ]


def test_mistakes_of_an_imported_file_keep_their_places(tmp_path: Path) -> None:
    main = write(tmp_path, {"main.otus": 'import "a.otus"\ny = x + later', "a.otus": "tensor x[3]\nz = x[i]\n"})
    with pytest.raises(LanguageError) as caught:
        load(main)
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.span.file, diagnostic.span.line) == (str(tmp_path / "a.otus"), 2)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(OtusError, match=r"nothing\.otus cannot be read: No such file"):
        load(tmp_path / "nothing.otus")
    with pytest.raises(OtusError, match="cannot be read: Is a directory"):
        load(tmp_path)
    (tmp_path / "latin.otus").write_bytes("tensor x[3]\ny = x # caf\u00e9".encode("latin-1"))
    with pytest.raises(LanguageError, match="byte 0xe9 is not UTF-8") as caught:
        load(tmp_path / "latin.otus")
    assert (caught.value.line, caught.value.column) == (2, 12)
