"""Plans that are kept: hits of renamed programs, what makes a program another one, entries that are damaged."""

from __future__ import annotations

import concurrent.futures
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import otus
from otus.optimisation import graph_of
from otus.runtime import cache, planning, plans
from otus.runtime.canonical import canonicalise

GENERATOR = np.random.default_rng(5)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder of each test's own, and nothing in memory."""
    monkeypatch.setenv("OTUS_CACHE", "1")
    monkeypatch.setenv("OTUS_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(plans, "versions", lambda: "these")
    for name in ("OTUS_CHECK", "OTUS_DUMP", "OTUS_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    cache.forget()
    yield tmp_path / "plans"
    cache.forget()


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the functions that were planned, one for each run of the passes."""
    found: list[str] = []
    original = planning.Planner.__init__

    def counted(self: planning.Planner, request: planning.Request, inputs: Any) -> None:
        found.append(request.function_name)
        original(self, request, inputs)

    monkeypatch.setattr(planning.Planner, "__init__", counted)
    return found


def loss_and_derivatives(tensors: str = "XABC", dims: str = "ijkr", **options: Any) -> dict[str, Any]:
    i, j, k, r = dims
    x = otus.tensor(tensors[0], (i, j, k), **options)
    a, b, c = (otus.tensor(name, (size, r), **options) for name, size in zip(tensors[1:], (i, j, k), strict=True))
    loss = otus.square(otus.einsum("ir,jr,kr->ijk", a, b, c) - x).sum()
    return {"loss": loss, "gradient": otus.grad(loss, a), "hessian": otus.hessian(loss, b)}


def data(sizes: tuple[int, int, int, int] = (2, 3, 4, 5)) -> list[Any]:
    i, j, k, r = sizes
    return [GENERATOR.normal(size=shape) for shape in ((i, r), (j, r), (k, r), (i, j, k))]


# --- hits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("from_disk", [False, True])
def test_a_renamed_program_is_not_planned_again(from_disk: bool, planned: list[str]) -> None:
    first = otus.compile(loss_and_derivatives(), inputs=list("ABCX"))
    if from_disk:
        cache.forget()
    second = otus.compile(loss_and_derivatives("YUVW", "pqst"), inputs=list("UVWY"), name="renamed")
    assert planned == ["kernel"]
    arrays = data()
    for sizes in ((2, 3, 4, 5), (1, 4, 2, 3)):
        arrays = data(sizes)
        expected, found = first(*arrays), second(*arrays)
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name])


def test_a_copy_reads_its_inputs_in_its_own_order() -> None:
    a, b = otus.tensor("a", ("m", "n")), otus.tensor("b", ("n", "m"))
    p, q = otus.tensor("p", ("m", "n")), otus.tensor("q", ("n", "m"))
    first, second = otus.compile(a @ b), otus.compile(p @ q, inputs=["q", "p"])
    x, y = GENERATOR.normal(size=(2, 3)), GENERATOR.normal(size=(3, 2))
    np.testing.assert_array_equal(second(y, x), first(x, y))
    np.testing.assert_array_equal(second(p=x, q=y), x @ y)


def test_what_a_copy_shows_bears_its_own_names(planned: list[str]) -> None:
    otus.compile(loss_and_derivatives())
    copy = otus.compile(loss_and_derivatives("YUVW", "pqst"), name="renamed")
    assert set(copy.inputs) == set("YUVW")
    assert "U: f64[p,t]" in repr(copy)
    assert planned == ["kernel"]
    assert "def renamed(" in copy.source
    assert planned == ["kernel", "renamed"]
    assert "A :" not in copy.source
    assert "%U: f64[p,t]" in copy.ir
    assert [record.name for record in copy.report][:2] == ["stabilise", "expand"]
    assert any("%U" in each.ir for each in copy.provenance)
    assert planned == ["kernel", "renamed"]


@pytest.mark.parametrize("from_disk", [False, True])
def test_the_source_under_the_same_names_is_kept(from_disk: bool, planned: list[str]) -> None:
    source = otus.compile(loss_and_derivatives()).source
    if from_disk:
        cache.forget()
    assert otus.compile(loss_and_derivatives()).source == source
    assert planned == ["kernel"]
    for changed in ({"name": "other"}, {"description": "Another."}):
        assert otus.compile(loss_and_derivatives(), **changed).source != source
    assert otus.compile(list(loss_and_derivatives().values())).source != source


@pytest.mark.parametrize("from_disk", [False, True])
def test_the_source_under_the_same_names_of_inner_values_is_kept(from_disk: bool, planned: list[str]) -> None:
    def compiled(inner: str, other: str = "y") -> otus.CompiledFunction:
        text = f"tensor A[i,j], x[j]\n{inner} = A @ x\n{other} = exp({inner}) + {inner}\nz = sum({other})\noutput z"
        return otus.compile(otus.parse(text))

    source = compiled("product").source
    if from_disk:
        cache.forget()
    assert compiled("product").source == source
    assert planned == ["kernel"]
    renamed = compiled("rows")
    assert planned == ["kernel"]
    assert renamed.source == source.replace("product", "rows")
    assert compiled("y", "product").source != source
    assert len(planned) == 3


def test_errors_of_a_copy_bear_its_own_names() -> None:
    def inverse(name: str, size: str) -> Any:
        return otus.compile(otus.inv(otus.tensor(name, (size, size))) @ otus.tensor("x", (size,)))

    inverse("M", "n")
    copy = inverse("Other", "m")
    with pytest.raises(np.linalg.LinAlgError, match=r"in %\d+: f64\[m,1\] = solve %Other, %\d+"):
        copy(np.zeros((2, 2)), np.ones(2))
    with pytest.raises(otus.ShapeError, match="dim m has two sizes, 2 and 3"):
        copy(np.zeros((2, 2)), np.ones(3))
    with pytest.raises(otus.NamingError, match="missing input 'Other'"):
        copy(x=np.ones(2))


def test_sizes_that_do_not_fit_are_refused_by_a_copy_too() -> None:
    def tail(name: str, size: str) -> Any:
        return otus.compile(otus.tensor(name, (size,))[3:])

    tail("x", "n")(np.ones(5))
    copy = tail("y", "m")
    np.testing.assert_array_equal(copy(np.ones(5)), np.ones(2))
    messages = []
    for function in (tail("y", "m"), copy):
        with pytest.raises(otus.ShapeError) as caught:
            function(np.ones(2))
        messages.append(str(caught.value))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTUS_CACHE", "0")
        with pytest.raises(otus.ShapeError) as caught:
            tail("y", "m")(np.ones(2))
    assert messages == [str(caught.value)] * 2


def test_plans_for_sizes_are_shared(planned: list[str]) -> None:
    first = otus.compile(loss_and_derivatives())
    arrays = dict(zip("ABCX", data(), strict=True))
    first(**arrays)
    cache.forget()
    copy = otus.compile(loss_and_derivatives("YUVW", "pqst"))
    copy(**dict(zip("UVWY", arrays.values(), strict=True)))
    assert planned == ["kernel"]


def test_another_process_finds_what_this_one_kept(tmp_path: Path) -> None:
    script = (
        "import sys, otus\n"
        "from otus.runtime import plans\n"
        "plans.versions = lambda: 'these'\n"
        "name, size = sys.argv[1:]\n"
        "f = otus.compile(otus.exp(otus.tensor(name, (size,))).sum())\n"
        "print(f._plans._made is None, f(**{name: [0.0, 0.0, 0.0]}), f._plans._made is None)\n"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script, *names], capture_output=True, text=True, check=True
        ).stdout.split()
        for names in (("x", "n"), ("y", "m"))
    ]
    assert outputs == [["False", "3.0", "False"], ["True", "3.0", "True"]]


# --- misses ------------------------------------------------------------------------------------


def text_of(value: Any) -> str:
    graph = graph_of(value)
    found = canonicalise(graph, graph.inputs)
    assert found is not None
    return found.text


def test_programs_that_differ_have_different_texts() -> None:
    a, b = otus.tensor("a", ("n", "n")), otus.tensor("b", ("n", "n"))
    c = otus.tensor("c", ("n", "m"))
    x = otus.tensor("x", ("n",))
    programs = [
        a @ b, a @ a, a.T @ b, a @ c, a @ b.T, a + b, a - b, a * b, a * 2, a * 2.5, a * 3, -a, a**2, a**3, a @ b @ b,
        otus.tensor("a", ("n", "n"), symmetric=True) @ b,
        otus.tensor("a", ("n", "n"), positive_definite=True) @ b,
        otus.tensor("a", ("n", "n"), dtype="float32") @ b,
        otus.tensor("a", (4, 4)) @ otus.tensor("b", (4, 4)),
        otus.tensor("a", (5, 5)) @ otus.tensor("b", (5, 5)),
        x[1:], x[2:], x[:-1], x[::-1], x[::2], otus.cumsum(x), x.sum(), x.max(), x.prod(),
        x + np.array(0.0), x + np.array(-0.0), x + np.array([1.0, 2.0])[0], x * float("nan"), x * float("inf"),
        otus.take(x, np.array([0, 1]), 0), otus.take(x, np.array([1, 0]), 0),
        otus.take(x, np.arange(100), 0), otus.take(x, np.arange(100)[::-1].copy(), 0),
        otus.cast(x, "float32"), otus.cast(x, "int64"), otus.solve(a, x), otus.solve(a.T, x), otus.inv(a), otus.pinv(a),
        otus.grad(x.sum(), x), otus.grad((x * x).sum(), x), otus.hessian((x * x).sum(), x),
        otus.where(x > 0, x, 0.0), otus.where(x >= 0, x, 0.0), otus.where(x > 1, x, 0.0),
        [x, x], [a @ b, x], [x, a @ b], otus.pad(x, ((1, 0),)), otus.pad(x, ((0, 1),)),
    ]  # fmt: skip
    texts = [text_of(program) for program in programs]
    assert len(set(texts)) == len(texts)


def test_sizes_are_told_apart_and_renamed_together() -> None:
    def sums(first: str, second: str) -> Any:
        return otus.concatenate([otus.tensor("x", (first,)), otus.tensor("y", (second,))]).sum()

    assert text_of(sums("n", "m")) == text_of(sums("a", "z")) == text_of(sums("z", "a"))
    assert text_of(sums("n", "n")) != text_of(sums("n", "m"))


@pytest.mark.parametrize("options", [{"pipeline": "expand"}, {"dims": {"n": 3}}, {"memory_limit": "1MiB"}])
def test_options_make_another_plan(options: dict[str, Any], planned: list[str]) -> None:
    x = otus.tensor("x", ("n",))
    otus.compile(otus.exp(x).sum())
    otus.compile(otus.exp(x).sum(), **options)
    otus.compile(otus.exp(x).sum(), **options)
    assert len(planned) == 2


def test_another_version_makes_another_plan(planned: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    x = otus.tensor("x", ("n",))
    otus.compile(x + 1)
    monkeypatch.setattr(plans, "versions", lambda: "those")
    otus.compile(x + 1)
    assert len(planned) == 2


@pytest.mark.parametrize(
    ("variable", "value"), [("OTUS_CACHE", "0"), ("OTUS_DEBUG", "1"), ("OTUS_CHECK", "1"), ("OTUS_DUMP", "dumps")]
)
def test_settings_that_pass_the_cache_by(
    variable: str, value: str, planned: list[str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, value)
    x = otus.tensor("x", ("n",))
    for _ in range(2):
        otus.compile(x + 1)
    assert len(planned) == 2
    assert not folder.exists()


def test_the_fingerprint_is_unknown_where_files_changed_since() -> None:
    fresh = "import otus.runtime, otus.runtime.cache as c; otus.runtime.LOADED = c.LOADED = 0.0; print(c.versions())"
    result = subprocess.run([sys.executable, "-c", fresh], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "None"


# --- entries on disk ---------------------------------------------------------------------------


def only_entry(folder: Path) -> Path:
    (path,) = folder.glob("*.json")
    return path


def damaged(path: Path) -> dict[str, bytes]:
    """An entry in ways that it may be found: cut short, changed, of another program, of another kind."""
    whole = path.read_bytes()
    _, content = whole.decode().split("\n", 1)
    other = json.loads(content)
    other["key"] += " "
    others = {"other key": other, "no source": {"key": json.loads(content)["key"]}, "a list": [1]}
    others["bad source"] = {**json.loads(content), "source": "def kernel(x:"}
    signed = {name: _signed(json.dumps(value)) for name, value in others.items()}
    return {
        "empty": b"",
        "cut short": whole[: len(whole) // 2],
        "cut by one": whole[:-2],
        "changed": whole.replace(b"2.0", b"3.0"),
        "no text": b"\xff\xfe\x00" * 40,
        "foreign": b"import os\n",
        "no digest": content.encode(),
        "two entries": whole + whole,
        **signed,
    }


def _signed(content: str) -> bytes:
    return f"{cache.digest_of(content)}\n{content}\n".encode()


def test_damaged_entries_are_misses(folder: Path, planned: list[str]) -> None:
    x = otus.tensor("x", ("n",))
    otus.compile(2.0 * otus.exp(x))
    path = only_entry(folder)
    whole = path.read_bytes()
    cases = damaged(path)
    assert whole != cases["changed"]
    for number, text in enumerate(cases.values(), 2):
        path.write_bytes(text)
        cache.forget()
        np.testing.assert_array_equal(otus.compile(2.0 * otus.exp(x))(np.zeros(2)), [2.0, 2.0])
        assert len(planned) == number
        assert path.read_bytes() == whole


def test_folders_that_cannot_be_used_keep_nothing(
    tmp_path: Path, planned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plans").write_text("a file where the folder should be")
    x = otus.tensor("x", ("n",))
    for number in (1, 2):
        cache.forget()
        np.testing.assert_array_equal(otus.compile(x + 1)(np.zeros(2)), [1.0, 1.0])
        assert len(planned) == number


def test_an_entry_that_is_a_folder_is_a_miss(folder: Path, planned: list[str]) -> None:
    x = otus.tensor("x", ("n",))
    otus.compile(x + 1)
    path = only_entry(folder)
    path.unlink()
    path.mkdir()
    cache.forget()
    np.testing.assert_array_equal(otus.compile(x + 1)(np.zeros(2)), [1.0, 1.0])
    assert len(planned) == 2
    assert not list(folder.glob("*.part"))


def test_entries_of_other_users_are_misses(planned: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    x = otus.tensor("x", ("n",))
    otus.compile(x + 1)
    cache.forget()
    monkeypatch.setattr(os, "getuid", lambda: -1, raising=False)
    otus.compile(x + 1)
    assert len(planned) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_entries_are_for_their_user_only(folder: Path) -> None:
    otus.compile(otus.tensor("x", ("n",)) + 1)
    assert stat.S_IMODE(only_entry(folder).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_least_recently_used_entries_make_room(tmp_path: Path, folder: Path) -> None:
    x = otus.tensor("x", ("n",))
    paths: list[Path] = []
    for number in range(4):
        otus.compile(x + number)
        (new,) = set(folder.glob("*.json")) - set(paths)
        os.utime(new, (number, number))
        paths.append(new)
    cache.forget()
    otus.compile(x + 0)  # used again
    size = sum(path.stat().st_size for path in paths)
    cache.prune(tmp_path, size - 1)
    assert [path.exists() for path in paths] == [True, False, True, True]
    assert cache.stored_bytes(tmp_path)[0] == 3
    cache.prune(tmp_path, 0)
    assert cache.stored_bytes(tmp_path) == (0, 0)
    cache.prune(tmp_path / "nowhere", 0)


def test_writers_and_readers_at_once(folder: Path) -> None:
    x = otus.tensor("x", ("n",))
    values = np.arange(3.0)

    def use(number: int) -> Any:
        if number % 3 == 0:
            cache.forget()
        return otus.compile(otus.exp(x) * (number % 4))(values)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(use, range(40)))
    for number, result in enumerate(results):
        np.testing.assert_allclose(result, np.exp(values) * (number % 4))
    assert not list(folder.glob("*.part"))


def test_threads_with_different_sizes_get_their_own_answers() -> None:
    a, b, c = (
        otus.tensor(name, shape) for name, shape in zip("abc", (("i", "j"), ("j", "k"), ("k", "i")), strict=True)
    )
    function = otus.compile({"trace": otus.trace(a @ b @ c), "product": a @ b @ c})
    start = threading.Barrier(4)

    def work(seed: int) -> None:
        generator = np.random.default_rng(seed)
        start.wait()
        for _ in range(25):
            i, j, k = generator.integers(1, 6, 3)
            x, y, z = generator.normal(size=(i, j)), generator.normal(size=(j, k)), generator.normal(size=(k, i))
            found = function(x, y, z)
            np.testing.assert_allclose(found["product"], x @ y @ z, atol=1e-12)
            np.testing.assert_allclose(found["trace"], np.trace(x @ y @ z), atol=1e-12)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(work, seed) for seed in range(4)]:
            future.result()
