"""What torch computes in emitted modules, against the reference interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from programs import leaf

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch
from triton_kernels import agree, emitted, launches

import otus
from otus.codegen.to_numpy.kernels import KERNEL_RULES as NUMPY_KERNELS
from otus.codegen.to_numpy.operations import OPERATION_RULES
from otus.codegen.to_torch.kernels import KERNEL_RULES
from otus.codegen.to_torch.operations import TORCH_RULES
from otus.ir import Node, build
from otus.ir.dtypes import DType
from otus.ir.kernels import BlockLoop

RNG = np.random.default_rng(11)
A, B, V = leaf("a", 3, 4), leaf("b", 4, 5), leaf("v", 4)
S, T = leaf("s", 2, 3, 3), leaf("t", 2, 3, 5)
I, ONE = leaf("i", 2, 3, dtype="int32"), leaf("one", dtype="int64")
UPDATES = leaf("u", 3, 2, 3)


def test_every_operation_and_kernel_has_a_rule() -> None:
    assert set(TORCH_RULES) == set(OPERATION_RULES)
    assert set(KERNEL_RULES) == set(NUMPY_KERNELS) - {BlockLoop}


def values(nodes: list[Node]) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for node in (A, B, V, S, T):
        found[node.op.label] = RNG.standard_normal(node.type.shape)  # type: ignore[attr-defined]
    found["s"] = found["s"] @ found["s"].swapaxes(1, 2) + 3 * np.eye(3)
    found["i"], found["one"] = np.array([[0, -1, 2], [1, 1, -3]], np.int32), np.array(-3)
    found["u"] = RNG.standard_normal((3, 2, 3))
    return found


CASES: dict[str, Any] = {
    "matrices": lambda: build.einsum([A, B], [(0, 1), (1, 2)], (0, 2)),
    "transposed result": lambda: build.einsum([A, B], [(0, 1), (1, 2)], (2, 0)),
    "matrix and vector": lambda: build.einsum([A, V], [(0, 1), (1,)], (0,)),
    "vectors": lambda: build.einsum([V, V], [(0,), (0,)], ()),
    "outer": lambda: build.einsum([A, V], [(0, 1), (2,)], (2, 0, 1)),
    "batches": lambda: build.einsum([S, T], [(0, 1, 2), (0, 2, 3)], (0, 1, 3)),
    "batches of one side": lambda: build.einsum([S, T], [(0, 1, 2), (4, 2, 3)], (0, 1, 4, 3)),
    "two inner indices": lambda: build.einsum([S, S], [(0, 1, 2), (3, 1, 2)], (3, 0)),
    "an index that is summed alone": lambda: build.einsum([A, B], [(0, 1), (1, 2)], (2,)),
    "diagonal": lambda: build.einsum([S], [(0, 1, 1)], (1, 0)),
    "trace": lambda: build.einsum([S], [(0, 1, 1)], (0,)),
    "diagonals in a product": lambda: build.einsum([S, T], [(0, 1, 1), (0, 1, 2)], (2,)),
    "embedding": lambda: build.einsum([A, build.delta(4, DType.float64)], [(0, 1), (1, 2)], (0, 1, 2)),
    "delta": lambda: build.einsum([build.delta(4, DType.float64), V], [(0, 1), (2,)], (0, 2, 1)),
    "concatenate": lambda: build.apply_operation(otus.ir.operations.Concatenate(0), [A, A]),
    "slice": lambda: build.slice_node(A, [2, 3], [3, 2], [-1, -2]),
    "pad": lambda: build.pad_node(A, [5, 1], [7, 9], [-2, 2]),
    "take": lambda: build.apply_operation(otus.ir.operations.Take(1), [A, I]),
    "take one": lambda: build.apply_operation(otus.ir.operations.Take(1), [A, ONE]),
    "scatter": lambda: build.apply_operation(otus.ir.operations.ScatterAdd(1), [A, I, UPDATES]),
    "scatter one": lambda: build.apply_operation(otus.ir.operations.ScatterAdd(0), [A, ONE, V]),
    "cumsum": lambda: build.apply_operation(otus.ir.operations.CumulativeSum(1), [A]),
    "cumsum backwards": lambda: build.apply_operation(otus.ir.operations.CumulativeSum(0, True), [A]),
    "broadcast": lambda: build.linear_combination([2.0, -1.0], [build.broadcast(A, (1, 0), (4, 3, 2)),
                                                  build.broadcast(A, (1, 0), (4, 3, 2))], [(0, 1, 2)] * 2, 3),
    "reshape": lambda: build.reshape(build.transpose(A, (1, 0)), (6, 2)),
    "copy": lambda: A,
    "scalar": lambda: build.einsum([build.constant(2.5), build.sum_axes(A, [0, 1])], [(), ()], ()),
    "constant": lambda: build.einsum([build.constant(np.arange(100.0)), V], [(0,), (1,)], (1, 0)),
    "integers": lambda: build.einsum([I, I], [(0, 1), (2, 1)], (0, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values(name: str) -> None:
    node = CASES[name]()
    agree([node], values([node]))


@pytest.mark.parametrize("name", CASES)
def test_the_host_waits_for_no_value(name: str) -> None:
    """Tensors of the device meta have none to read, which is an error."""
    module = emitted([CASES[name]()])
    given = {each: torch.from_numpy(array).to("meta") for each, array in values([]).items()}
    launches(module, [given[each] for each in module.parameters])


def test_what_is_taken_is_no_part_of_the_input() -> None:
    x, one = otus.tensor("x", (3, 4)), otus.tensor("one", (), dtype="int64")
    row = otus.compile(otus.take(x, one, axis=0), backend="triton", interpret=True)
    given = torch.zeros((3, 4), dtype=torch.float64)
    row(x=given, one=torch.tensor(1)).fill_(1.0)
    assert not given.any()


S_, T_, B_ = otus.tensor("s", (2, 3, 3)), otus.tensor("t", (2, 3, 5)), otus.tensor("b", (4, 5))
LINEAR_ALGEBRA: dict[str, Any] = {
    "inv": lambda: otus.inv(S_),
    "solve": lambda: otus.solve(S_, T_),
    "cholesky": lambda: otus.cholesky(S_),
    "det": lambda: otus.det(S_),
    "logdet": lambda: otus.logdet(S_),
    "slogdet": lambda: otus.slogdet(S_)[0],
    "eigh": lambda: otus.eigh(S_)[0],
    "svd": lambda: otus.svd(T_)[1],
    "qr": lambda: otus.einsum("bij,bjk->bik", *otus.qr(T_)),
    "pinv": lambda: otus.pinv(T_),
    "lstsq": lambda: otus.lstsq(B_.T, otus.tensor("c", (5, 2))),
    "gradient of logdet": lambda: otus.grad(otus.logdet(S_).sum(), S_),
    "shifted": lambda: otus.inv(S_ + 2 * otus.eye(3)) + 3 * otus.eye(3),
}


@pytest.mark.parametrize("name", LINEAR_ALGEBRA)
def test_linear_algebra(name: str) -> None:
    expression = LINEAR_ALGEBRA[name]()
    data = {**values([]), "c": RNG.standard_normal((5, 2))}
    found = []
    for backend, options in (("triton", {"interpret": True}), ("reference", {})):
        function = otus.compile(expression, backend=backend, **options)
        found.append(function(**{each: data[each] for each in function.inputs}))
    np.testing.assert_allclose(found[0], found[1], 1e-9, 1e-10)
