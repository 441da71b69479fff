"""Products that are chosen by measurement: the choice, and what is kept of it.  The clock here is no clock."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

from triton_kernels import interpreted

import otus
from otus.codegen import emit_triton
from otus.ir import Graph
from otus.ir.kernels import FusedProduct
from otus.ir.program import Program, program_text
from otus.passes.lower import lower
from otus.passes.products.fusing import ProductOptions, fuse_products
from otus.runtime.executable import Executable
from otus.runtime.tuning import Timer

X, W = otus.tensor("x", ("i", 24)), otus.tensor("w", (24, "j"))
OUTPUT = otus.tanh(X @ W)
SIZES = {"i": 40, "j": 33}


class Clock:
    """Says that what has ``fast`` in its source takes a microsecond, and all else ten."""

    def __init__(self, fast: str) -> None:
        self.fast, self.calls = fast, 0

    def __call__(self, code: Executable, inputs: Sequence[tuple[tuple[int, ...], str]]) -> float:
        assert inputs == [((40, 24), "float64"), ((24, 33), "float64")]
        self.calls += 1
        return 1e-6 if self.fast in code.source else 1e-5


def chosen(measure: Any) -> Program:
    return fuse_products(lower(Graph.of([OUTPUT.node]), (), SIZES), SIZES, ProductOptions(measure=measure))


def test_the_fastest_tile_is_taken() -> None:
    program = chosen(Timer(Clock("BLOCK_M=32, BLOCK_N=32"), "a GPU", None))
    (call,) = program.calls
    assert isinstance(call.kernel, FusedProduct)
    assert (call.kernel.tile.rows, call.kernel.tile.columns) == (32, 32)
    assert "measured 1 µs, not 10 µs" in program_text(program)
    x, w = np.random.default_rng(0).standard_normal((2, 24, 24))
    (found,) = interpreted(emit_triton(program, sizes=SIZES), {"x": x, "w": w})
    np.testing.assert_allclose(found, np.tanh(x @ w))


def test_separate_steps_are_a_contestant() -> None:
    program = chosen(Timer(Clock("torch.tanh"), "a GPU", None))
    assert [call.kernel.name for call in program.calls] == ["contract", "apply"]
    assert "not fused: measured 10 µs, separately 1 µs" in program_text(program)


def test_what_cannot_run_is_not_taken() -> None:
    class Failing(Clock):
        def __call__(self, code: Executable, inputs: Any) -> float:
            return math.inf if "product_kernel" in code.source else super().__call__(code, inputs)

    assert "not fused" in program_text(chosen(Timer(Failing("nothing"), "a GPU", None)))


def test_times_are_kept_by_device(tmp_path: Path) -> None:
    first, second, third = Clock("BLOCK_M=32, "), Clock("nothing"), Clock("nothing")
    expected = program_text(chosen(Timer(first, "a GPU", tmp_path)))
    assert first.calls > 2
    assert program_text(chosen(Timer(second, "a GPU", tmp_path))) == expected
    assert second.calls == 0
    chosen(Timer(third, "another GPU", tmp_path))
    assert third.calls == first.calls


@pytest.mark.parametrize("spoil", ["cut", "changed", "foreign", "no entry"])
def test_an_entry_that_is_not_whole_is_measured_again(spoil: str, tmp_path: Path) -> None:
    chosen(Timer(Clock("nothing"), "a GPU", tmp_path))
    files = sorted((tmp_path / "timings").iterdir())
    texts = [path.read_text() for path in files]
    for path, text in zip(files, texts, strict=True):
        new = {"cut": text[:-4], "changed": text.replace("1e-05", "1e-09"), "foreign": "\0", "no entry": texts[0]}
        path.write_text(new[spoil])
    clock = Clock("nothing")
    chosen(Timer(clock, "a GPU", tmp_path))
    assert clock.calls == len(files) - (spoil == "no entry")


def test_a_folder_that_cannot_be_written_to_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "timings").write_text("no folder")
    clock = Clock("BLOCK_M=32, ")
    assert "measured" in program_text(chosen(Timer(clock, "a GPU", tmp_path)))


def test_infinity_is_kept(tmp_path: Path) -> None:
    def never(code: Executable, inputs: Any) -> float:
        return math.inf

    def fail(code: Executable, inputs: Any) -> float:
        raise AssertionError("measured again")

    for clock in (never, fail):
        timer = Timer(clock, "a GPU", tmp_path)
        assert timer(lower(Graph.of([OUTPUT.node])), SIZES) == math.inf


def test_what_cannot_be_measured_now_is_planned_and_not_kept(tmp_path: Path) -> None:
    def full(code: Executable, inputs: Any) -> float | None:
        return None

    assert "planned" in program_text(chosen(Timer(full, "a GPU", tmp_path)))
    assert not (tmp_path / "timings").exists()


def test_sizes_that_no_input_says_are_planned() -> None:
    def fail(program: Program, sizes: Mapping[str, int]) -> float | None:
        return None

    assert "planned" in program_text(chosen(fail))


def test_nothing_is_measured_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTUS_AUTOTUNE", "1")
    f = otus.compile(OUTPUT, backend="triton", interpret=True)
    x, w = np.ones((3, 24)), np.ones((24, 5))
    np.testing.assert_allclose(f(x=x, w=w), np.tanh(x @ w))
    assert "planned" in program_text(f.plan_for(i=3, j=5).program)


def test_nothing_is_measured_at_sizes_that_no_call_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module that is shown before any call is planned for sizes that may be far too large to try."""
    clock = Clock("BLOCK_M=32, ")
    monkeypatch.setattr("otus.runtime.planning.measured_device", lambda interpret: "a GPU")
    monkeypatch.setattr("otus.runtime.tuning.gpu_timer", lambda folder: Timer(clock, "a GPU", None))
    f = otus.compile(OUTPUT, backend="triton", interpret=True)
    assert f.source
    assert clock.calls == 0
    assert "measured" in program_text(f.plan_for(**SIZES).program)
    assert clock.calls > 2
