"""``otus run``: data in, values out, and what is said where something is missing or wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Otus = Any  # the fixture of conftest.py

X = np.array([1.0, 2.0, 3.0])
H = np.arange(9.0).reshape(3, 3)


@pytest.fixture
def files(folder: Path) -> Path:
    np.save("x.npy", X)
    np.savez("data.npz", x=X, H=H, other=H)
    np.savetxt("H.csv", H, delimiter=",")
    np.savetxt("x.csv", X, delimiter=",")
    Path("headed.csv").write_text("a,b,c\n1,2,3\n")
    Path("H.mtx").write_text(
        "%%MatrixMarket matrix coordinate real general\n3 3 8\n"
        + "".join(f"{i + 1} {j + 1} {H[i, j]}\n" for i in range(3) for j in range(3) if H[i, j])
    )
    return folder


def outputs(result: Any) -> Any:
    assert result.status == 0, result.err
    return json.loads(result.out)["outputs"]


@pytest.mark.parametrize("x", ["x.npy", "data.npz:x", "data.npz", "x.csv", "headed.csv"])
@pytest.mark.parametrize("h", ["data.npz:H", "data.npz", "H.csv", "H.mtx", "data.npz:other"])
def test_files(otus: Otus, files: Path, x: str, h: str) -> None:
    found = outputs(otus("run", "form.otus", "--in", f"x={x}", "--in", f"H={h}", "--json"))
    assert found["f"]["values"] == X @ H @ X
    np.testing.assert_allclose(found["g"]["values"], (H + H.T) @ X)


def test_torch_and_safetensors_files(otus: Otus, folder: Path) -> None:
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.numpy")
    torch.save({"x": torch.from_numpy(X), "H": torch.from_numpy(H)}, "both.pt")
    torch.save(torch.from_numpy(X), "x.pt")
    safetensors.save_file({"x": X, "H": H}, "both.safetensors")
    for x in ("both.pt:x", "both.pt", "x.pt", "both.safetensors:x"):
        for h in ("both.pt:H", "both.safetensors"):
            found = outputs(otus("run", "form.otus", "--in", f"x={x}", "--in", f"H={h}", "--json"))
            assert found["f"]["values"] == X @ H @ X


def test_words_and_numbers(otus: Otus, folder: Path) -> None:
    result = otus("run", "form.otus", "--dim", "n=2", "--in", "x=ones", "--in", "H=0.5")
    assert result == type(result)(0, "f: f64[] = 2.0\ng: f64[2] = [2. 2.]\n", "")
    assert "f: f64[] = 0.0" in otus("run", "form.otus", "--dim", "n=2", "--in", "x=zeros", "--in", "H=random").out


def test_random_data_follow_their_seed_and_the_facts_of_their_tensor(otus: Otus, folder: Path) -> None:
    Path("p.otus").write_text("tensor P[4,4] : positive_definite\nL = cholesky(P)\n")
    first, again, other = (
        outputs(otus("run", "p.otus", "--in", f"P=random:{seed}", "--json"))["L"]["values"] for seed in (1, 1, 2)
    )
    assert first == again != other
    assert all(row[k] > 0 for k, row in enumerate(first))


def test_sizes_come_from_files_for_data_that_are_made(otus: Otus, files: Path) -> None:
    result = otus("run", "form.otus", "--in", "x=x.npy", "--in", "H=ones", "--json")
    assert json.loads(result.out)["sizes"] == {"n": 3}


def test_reference_backend_and_other_passes(otus: Otus, files: Path) -> None:
    arguments = ["run", "form.otus", "--in", "x=x.npy", "--in", "H=H.csv"]
    expected = otus(*arguments).out
    assert otus(*arguments, "--backend", "reference").out == expected
    assert otus(*arguments, "--pipeline", "expand").out == expected


def test_outputs_are_saved(otus: Otus, files: Path) -> None:
    arguments = ["run", "form.otus", "--in", "x=x.npy", "--in", "H=H.csv", "--out"]
    assert otus(*arguments, "out.npz").out == "saved f, g to out.npz\n"
    with np.load("out.npz") as saved:
        assert sorted(saved.files) == ["f", "g"]
        np.testing.assert_allclose(saved["g"], (H + H.T) @ X)
    Path("one.otus").write_text("tensor x[n]\nfile = 2 * x")  # a name that numpy.savez would not take
    assert otus("run", "one.otus", "--in", "x=x.npy", "--out", "one.npy").status == 0
    np.testing.assert_array_equal(np.load("one.npy"), 2 * X)
    assert otus("run", "one.otus", "--in", "x=x.npy", "--out", "one.npz").status == 0
    with np.load("one.npz") as saved:
        assert saved.files == ["file"]


def test_inputs_that_only_the_program_mentions_may_be_given(otus: Otus, files: Path) -> None:
    Path("linear.otus").write_text("dim n\ntensor x[n], H[n,n], unused[n]\ng = grad(sum(H @ x), x)")
    result = otus("run", "linear.otus", "--in", "H=H.csv", "--in", "x=ones", "--in", "unused=x.npy")
    assert result.out == "g: f64[3] = [ 9. 12. 15.]\n"
    assert otus("run", "linear.otus", "--in", "H=H.csv").out == result.out


def test_what_is_not_finite_is_said(otus: Otus, folder: Path) -> None:
    Path("log.otus").write_text("tensor x[20]\ny = log(x)\nz = sum(y)")
    result = otus("run", "log.otus", "--in", "x=zeros")
    assert result.out == "z: f64[] = -inf\n"
    Path("log.otus").write_text("tensor x[20]\ny = log(x)")
    assert otus("run", "log.otus", "--in", "x=zeros").out == "y: f64[20]  norm inf  not finite 20\n"
    found = outputs(otus("run", "log.otus", "--in", "x=zeros", "--json"))
    assert found["y"]["values"][0] == "-inf"
    assert otus("run", "log.otus", "--in", "x=zeros").err == ""


def test_complex_values_are_pairs_in_json(otus: Otus, folder: Path) -> None:
    Path("c.otus").write_text("tensor z[2] : complex128\ny = z * z")
    assert outputs(otus("run", "c.otus", "--in", "z=1j", "--json"))["y"] == {
        "shape": [2], "dtype": "complex128", "values": [[-1.0, 0.0], [-1.0, 0.0]],
    }  # fmt: skip


# --- mistakes: exact messages, status 1 ---------------------------------------------------------

ACCEPTED = (
    "accepted are files .npy, .npz:name, .csv, .mtx, .pt:name, .safetensors:name, "
    "and the words random[:seed], zeros, ones, or a number"
)
MISTAKES = {
    ("x=x.npy",): "no data for H[n,n]; add for example --in H=random:0\n  " + f"({ACCEPTED.replace(' are', ':', 1)})",
    ("x=x.npy", "h=ones"): "form.otus has no tensor 'h'; its tensors are x, H",
    ("x=ones", "H=ones"): "tensor x[n] cannot be made: nothing says the size of n; add for example --dim n=8, or "
    "read a tensor with that dim from a file",
    ("x=x.npy", "H=nothing.npy"): "data for tensor 'H': nothing.npy does not exist",
    ("x=x.npy", "H=."): f"data for tensor 'H': '.' is not understood; {ACCEPTED}",
    ("x=x.npy", "H=H.txt"): f"data for tensor 'H': 'H.txt' is not understood; {ACCEPTED}",
    ("x=x.npy", "H=random:a"): "data for tensor 'H': the seed of 'random:a' is not a whole number, as in random:0",
    ("x=x.npy", "H=zeros:1"): f"data for tensor 'H': 'zeros:1' is not understood; {ACCEPTED}",
    ("x=x.npy", "H=x.npy"): "tensor 'H' was given with shape (3,), 1 axes; its type f64[n,n] has 2",
    ("x=x.npy", "H=wide.npy"): "dim n has two sizes, 3 and 2: axis 0 of tensor 'x' (f64[n]) has size 3, but axis 0 "
    "of tensor 'H' (f64[n,n]) has size 2; give all axes called n one size",
    ("x=x.npy", "H=data.npz:h"): "data for tensor 'H': data.npz has no array 'h'; it holds x, H, other",
    ("x=x.npy:x", "H=ones"): "data for tensor 'x': x.npy holds one array, so 'x' cannot be chosen from it; "
    "write x=x.npy",
    ("x=two.npz", "H=ones"): "data for tensor 'x': two.npz holds a, b; choose one: --in x=two.npz:a",
    ("x=H.csv", "H=ones"): "data for tensor 'x': H.csv has 3 rows and 3 columns, but the tensor has 1 axis",
    ("x=bad.csv", "H=ones"): "data for tensor 'x': bad.csv cannot be read: could not convert string 'two' to float64 "
    "at row 0, column 2; lines of float64 numbers with commas between them are accepted, after at most one line of "
    "headings",
    ("x=empty.csv", "H=ones"): "data for tensor 'x': empty.csv holds no numbers; lines of numbers with commas between "
    "them are accepted",
    ("x=objects.npy", "H=ones"): "data for tensor 'x': objects.npy cannot be read: it holds Python objects or is "
    "damaged, and objects are not read, since they can run code; save numbers with numpy.save or numpy.savez",
    ("x=1j", "H=ones"): "tensor 'x' is float64, but was given complex numbers, which would lose information; "
    "declare dtype='complex128', or pass float numbers",
}  # fmt: skip


@pytest.mark.parametrize("sources", MISTAKES, ids=" ".join)
def test_mistakes_in_data(otus: Otus, files: Path, sources: tuple[str, ...]) -> None:
    np.save("wide.npy", np.ones((2, 3)))
    np.savez("two.npz", a=X, b=X)
    np.save("objects.npy", np.array([{}], dtype=object))
    Path("bad.csv").write_text("1,two,3\n")
    Path("empty.csv").write_text("a,b\n\n")
    sizes = ["--dim", "n=3"] if "x=1j" in sources else []
    result = otus("run", "form.otus", *sizes, *(part for source in sources for part in ("--in", source)))
    assert (result.status, result.out) == (1, "")
    assert result.err == f"otus: {MISTAKES[sources]}\n"


def test_pickled_torch_files_are_not_run(otus: Otus, folder: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"x": Path("anything")}, "x.pt")
    result = otus("run", "form.otus", "--in", "x=x.pt", "--in", "H=ones")
    assert result.status == 1
    assert "x.pt cannot be read as weights only" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dim", "m=3"], "form.otus has no dim 'm'; its dims are n"),
        (["--backend", "nump"], "unknown backend 'nump'; did you mean 'numpy'?"),
        (["--pipeline", "expnd"], "unknown pass 'expnd'; did you mean 'expand'?"),
        (["--out", "out.txt"], "results cannot be saved as 'out.txt'; a name ending in .npz or .npy is accepted"),
        (["--out", "out.npy"], "out.npy holds one array, but there are 2 outputs, f, g; write --out out.npz"),
        (["--out", "no/out.npz"], "results cannot be saved as no/out.npz: no is not a folder"),
    ],
)
def test_mistakes_in_options(otus: Otus, files: Path, arguments: list[str], message: str) -> None:
    result = otus("run", "form.otus", "--in", "x=x.npy", "--in", "H=H.csv", *arguments)
    assert (result.status, result.out, result.err) == (1, "", f"otus: {message}\n")


def test_a_size_that_the_program_fixes(otus: Otus, folder: Path) -> None:
    Path("fixed.otus").write_text("dim n = 4\ntensor x[n]\ny = 2 * x")
    result = otus("run", "fixed.otus", "--dim", "n=5", "--in", "x=ones")
    assert result.err == (
        "otus: fixed.otus fixes dim n at 4, and --dim says 5; write 'dim n' without a size there to choose it here\n"
    )
    assert otus("run", "fixed.otus", "--dim", "n=4", "--in", "x=ones").out == "y: f64[4] = [2. 2. 2. 2.]\n"


def test_singular_matrices_and_lack_of_memory_are_no_bugs(otus: Otus, folder: Path) -> None:
    Path("inv.otus").write_text("tensor A[2,2]\ny = inv(A)")
    result = otus("run", "inv.otus", "--in", "A=ones")
    assert (result.status, result.err) == (
        1,
        "otus: Singular matrix, in %y: f64[2,2] = inv %A, from inv.otus:2:5: inv(A)\n",
    )
    Path("big.otus").write_text("dim n\ntensor x[n]\ny[i,j,k,l] = x[i] * x[j] * x[k] * x[l]")
    result = otus("run", "big.otus", "--dim", "n=100000", "--in", "x=ones")
    assert result.status == 1
    assert result.err.startswith("otus: out of memory: ")
