"""The backend triton on a GPU: values, devices, and that calls do not wait."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from evaluation import assert_close
from random_programs.outputs import TOLERANCE, otus_outputs
from random_programs.programs import random_program

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch
from triton_kernels import WITHOUT_TILES

import otus
from otus.structures import flatten

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU"),
]

X, U, W = (otus.tensor(name, shape) for name, shape in (("x", ("i", "j")), ("u", ("i", "j")), ("w", ("j",))))
PRODUCT = X @ otus.tensor("m", ("j", "k"))


def layer_norm(x: Any, w: Any) -> Any:
    return (x - x.mean(axis=-1, keepdims=True)) * otus.rsqrt(otus.var(x, axis=-1, keepdims=True) + 1e-5) * w


CASES: dict[str, Any] = {
    "softmax": otus.vjp(otus.softmax(X * W, axis=-1), [X, W], [U]),
    "layer norm": [layer_norm(X, W), *otus.vjp(layer_norm(X, W), [X, W], [U])],
    "gelu": [otus.gelu(PRODUCT), otus.tanh(PRODUCT).sum(axis=0)],
    "sums": [otus.exp(X).sum(), otus.sin(X).sum(axis=0), X.max(axis=0), otus.logsumexp(X), (X * U).sum(axis=1)],
    "functions": [otus.arctan2(X, U) + otus.log1p(X * X) * otus.expm1(U) + otus.sinh(X) + otus.arcsin(otus.tanh(U))],
}
SMALL = otus.softmax(otus.tanh(X @ otus.tensor("m", ("j", "j"))) @ otus.tensor("m", ("j", "j")), axis=-1)
REPLAYED = [SMALL, otus.grad(SMALL.max(), X)]  # in several launches


@pytest.mark.parametrize("sizes", [(1, 1), (7, 5), (300, 1000), (33, 50257), (5000, 3)])
@pytest.mark.parametrize("name", CASES)
def test_values(name: str, sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    i, j = sizes
    data = {"x": rng.standard_normal((i, j)), "u": rng.standard_normal((i, j)), "w": rng.standard_normal(j),
            "m": rng.standard_normal((j, 4))}  # fmt: skip
    function, reference = otus.compile(CASES[name], backend="triton"), otus.compile(CASES[name])
    found = function(**{each: torch.from_numpy(data[each]).cuda() for each in function.inputs})
    expected = reference(**{each: data[each] for each in reference.inputs})
    for value, wanted in zip(found, expected, strict=True):
        assert value.is_cuda
        assert_close(value.cpu().numpy(), wanted, 1e-9, 1e-11, f"{name} {sizes}")


@pytest.mark.parametrize("seed", range(40))
def test_random_programs(seed: int) -> None:
    program = random_program(seed)
    leaves = flatten(list(otus_outputs(program).values()), lambda x: isinstance(x, otus.Expression))
    function, reference = otus.compile(leaves, backend="triton"), otus.compile(leaves, backend="reference")
    values = function(**{name: program.data[name] for name in function.inputs})
    expected = reference(**{name: program.data[name] for name in reference.inputs})
    for position, (value, wanted) in enumerate(zip(values, expected, strict=True)):
        assert_close(value, wanted, TOLERANCE, TOLERANCE, f"seed {seed}, output {position}\n{function.source}")


@pytest.mark.parametrize("graphs", ["0", "1"])
@pytest.mark.parametrize("name", ["layer norm", "replayed"])
def test_calls_do_not_wait(name: str, graphs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTUS_CUDA_GRAPHS", graphs)
    function = otus.compile(CASES.get(name, REPLAYED), backend="triton")
    data = {"x": torch.randn((64, 96)), "u": torch.randn((64, 96)), "w": torch.randn(96), "m": torch.randn((96, 96))}
    given = {name: data[name].double().cuda() for name in function.inputs}
    for _ in range(3):  # the second records, for which it waits
        function(**given)
    torch.cuda.set_sync_debug_mode("error")
    try:
        function(**given)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_equal_bits_in_every_run() -> None:
    function = otus.compile(CASES["sums"], backend="triton")
    given = {name: torch.randn((3000, 700), dtype=torch.float64).cuda() for name in ("x", "u")}
    first = function(**given)
    for _ in range(5):
        assert all(torch.equal(one, other) for one, other in zip(first, function(**given), strict=True))


def test_tensors_on_the_host_come_back_to_it() -> None:
    function = otus.compile(otus.exp(X) * X, backend="triton")
    x = torch.randn((3, 4), dtype=torch.float64)
    assert function(x).device == x.device
    assert type(function(x.numpy())) is np.ndarray


# --- CUDA graphs -------------------------------------------------------------------------------


def small(x: Any, m: Any) -> Any:
    return torch.softmax(torch.tanh(x @ m) @ m, -1)


def given(seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    return {
        name: torch.randn(shape, dtype=torch.float64, device="cuda") for name, shape in (("x", (5, 4)), ("m", (4, 4)))
    }


def test_replays_give_new_results() -> None:
    function = otus.compile(REPLAYED, backend="triton", dims={"i": 5, "j": 4})
    assert function.plan_for().replayed
    results = [(each := given(seed), function(**each)[0]) for seed in range(8)]
    for each, found in results:
        torch.testing.assert_close(found, small(**each))


def test_replays_have_the_precision_of_the_call() -> None:
    y, m = (otus.tensor(name, (256, 256), dtype="float32") for name in "xm")
    each = {name: torch.randn((256, 256), device="cuda") / 16 for name in "xm"}
    exact = each["x"].double()
    for _ in range(5):
        y, exact = otus.tanh(y @ m), torch.tanh(exact @ each["m"].double())
    function = otus.compile(y, backend="triton", pipeline=WITHOUT_TILES)
    assert function.plan_for().replayed
    errors = []
    try:
        for kind in ("high", "highest"):
            torch.set_float32_matmul_precision(kind)
            for _ in range(3):
                found = function(**each)
            errors.append(float((found.double() - exact).abs().max() / exact.abs().max()))
    finally:
        torch.set_float32_matmul_precision("highest")
    assert errors[1] <= 1e-5 < errors[0]


def test_streams_take_turns() -> None:
    """Calls on several streams and from several threads share a recording."""
    function = otus.compile(REPLAYED, backend="triton")
    wrong: list[int] = []

    def work(first: int) -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            for seed in range(first, first + 30):
                each = given_on_stream(seed)
                if not torch.allclose(function(**each)[0], small(**each)):
                    wrong.append(seed)

    def given_on_stream(seed: int) -> dict[str, Any]:
        generator = torch.Generator("cuda").manual_seed(seed)
        make = lambda *shape: torch.randn(shape, dtype=torch.float64, device="cuda", generator=generator)  # noqa: E731
        return {"x": make(5, 4), "m": make(4, 4)}

    threads = [threading.Thread(target=work, args=(100 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    torch.cuda.synchronize()
    assert wrong == []


def test_within_a_graph_of_the_caller() -> None:
    function = otus.compile(REPLAYED, backend="triton")
    each = given(0)
    for _ in range(3):
        function(**each)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found, _ = function(**each)
    each["x"].copy_(given(1)["x"])
    graph.replay()
    torch.testing.assert_close(found, small(**each))


# --- several GPUs ------------------------------------------------------------------------------

several = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two GPUs")


@several
def test_functions_run_where_their_tensors_are() -> None:
    function = otus.compile(REPLAYED, backend="triton")
    for _ in range(3):
        for number in (1, 0):
            each = {name: x.to(f"cuda:{number}") for name, x in given(number).items()}
            found, _ = function(**each)
            assert found.device.index == number
            torch.testing.assert_close(found, small(**each))


@several
def test_inputs_on_the_host_go_where_they_are_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    each = {name: x.cpu() for name, x in given(0).items()}
    torch.testing.assert_close(otus.compile(SMALL, backend="triton", device=1)(**each), small(**each))
    monkeypatch.setenv("OTUS_DEVICE", "cuda:1")
    torch.testing.assert_close(otus.compile(SMALL, backend="triton")(**each), small(**each))


@several
def test_tensors_on_two_gpus_are_refused() -> None:
    each = given(0)
    with pytest.raises(otus.UnsupportedError, match="lie on cuda:0 and cuda:1; move them to one device"):
        otus.compile(SMALL, backend="triton")(x=each["x"], m=each["m"].to("cuda:1"))


def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(otus.UnsupportedError, match=r"device='cuda:99' is not here; there (is|are) cuda:0 \("):
        otus.compile(SMALL, backend="triton", device="cuda:99")
