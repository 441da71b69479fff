"""How often kernels go through memory: the bytes that they are planned to move, beside the least that must be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

from triton_traffic import traffic

import otus

RNG = np.random.default_rng(21)
ELEMENTS = 2**26
NONE = 0.03  # parts, statistics and vectors beside arrays
IN_REGISTERS, IN_CHUNKS = (256, 1000, 4096, 16384), (50000, 2**18)


def arrays(columns: int, dtype: str, rows: int = 0) -> list[Any]:
    shape = (rows or ELEMENTS // columns, columns)
    return [otus.tensor(name, shape, dtype=dtype) for name in "xu"]


def normalised(x: Any, axis: int = -1) -> Any:
    return (x - x.mean(axis=axis, keepdims=True)) * otus.rsqrt(otus.var(x, axis=axis, keepdims=True) + 1e-5)


def softmax(columns: int, dtype: str) -> Any:
    return otus.softmax(arrays(columns, dtype)[0], axis=-1)


def softmax_gradient(columns: int, dtype: str) -> Any:
    x, u = arrays(columns, dtype)
    return otus.vjp(otus.softmax(x, axis=-1), [x], [u])[0]


def log_softmax_gradient(columns: int, dtype: str) -> Any:
    x, u = arrays(columns, dtype)
    return otus.vjp(otus.log_softmax(x, axis=-1), [x], [u])[0]


def cross_entropy(columns: int, dtype: str) -> Any:
    x, labels = arrays(columns, dtype)[0], otus.tensor("labels", (ELEMENTS // columns,), dtype="int64")
    chosen = labels[:, None] == otus.arange(columns)
    loss = -otus.where(chosen, otus.log_softmax(x, axis=-1), 0.0).sum()
    return [loss, otus.grad(loss, x)]


def layer_norm(columns: int, dtype: str) -> Any:
    return normalised(arrays(columns, dtype)[0])


def layer_norm_gradient(columns: int, dtype: str) -> Any:
    x, u = arrays(columns, dtype)
    w = otus.tensor("w", (columns,), dtype=dtype)
    return otus.vjp(normalised(x) * w, [x], [u])[0]


def rms_norm(columns: int, dtype: str) -> Any:
    x = arrays(columns, dtype)[0]
    return x * otus.rsqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5)


# How often the array is gone through where a row is in registers, and where it is in chunks.
ROWS = {
    softmax: 3 / 2,
    softmax_gradient: 5 / 3,
    log_softmax_gradient: 5 / 3,
    cross_entropy: 3 / 2,
    layer_norm: 3 / 2,
    layer_norm_gradient: 5 / 3,
    rms_norm: 3 / 2,
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("program", ROWS, ids=lambda x: x.__name__)
def test_rows(program: Any, dtype: str) -> None:
    """Rows in registers are read once, others twice."""
    for columns in IN_REGISTERS:
        found = traffic(program(columns, dtype))
        assert found.ratio <= 1 + NONE
        assert len(found.launches) == 1
    for columns in IN_CHUNKS if program is not layer_norm_gradient else (50000,):
        assert traffic(program(columns, dtype)).ratio <= ROWS[program] + NONE


def test_doubles_in_registers() -> None:
    assert traffic(softmax(8192, "float64")).ratio <= 1 + NONE
    assert traffic(softmax_gradient(4096, "float64")).ratio <= 1 + NONE


@pytest.mark.parametrize(("columns", "ratio"), [(768, 1), (8192, 1), (16384, 5 / 3), (50000, 7 / 3)])
def test_gradients_of_what_all_rows_share(columns: int, ratio: float) -> None:
    """Sums over long rows have programs of their own, and parts that are few."""
    x, u = arrays(columns, "float32", 8192)
    w, b = (otus.tensor(name, (columns,), dtype="float32") for name in "wb")
    found = traffic(list(otus.vjp(normalised(x) * w + b, [x, w, b], [u])))
    assert found.ratio <= ratio + 0.2
    assert found.torch < 0.2 * found.least


REDUCTIONS = {
    "a product over rows": lambda x, u: (x * u).sum(axis=1),
    "a product over columns": lambda x, u: (x * u).sum(axis=0),
    "a product over both": lambda x, u: (x * u).sum(),
    "logsumexp over columns": lambda x, u: otus.logsumexp(x, axis=0),
    "logsumexp over both": lambda x, u: otus.logsumexp(x),
    "variance over both": lambda x, u: otus.var(x),
    "variance over columns": lambda x, u: otus.var(x, axis=0),
    "several": lambda x, u: [x.mean(), x.max(), x.min(), (u * u).sum()],
    "over axes that are no neighbours": lambda x, u: otus.square(x.reshape((64, -1, 1024))).sum(axis=(0, 2)),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name: str) -> None:
    """One kernel reads the arrays; what torch does then is small."""
    found = traffic(REDUCTIONS[name](*arrays(1024, "float32")))
    assert found.ratio <= 1 + NONE
    assert found.torch <= NONE * found.least


def test_normalised_columns_are_written_by_many_programs() -> None:
    """Of 64 columns: statistics that two kernels make are no reason to have 64 programs write the array."""
    x = otus.tensor("x", (2**20, 64), dtype="float32")
    found = traffic(normalised(x, 0))
    assert found.ratio <= 3 / 2 + NONE
    assert found.launches[-1].options["BLOCK_P"] <= 8192
    assert "combined" not in found.launches[-1].kernel.src
    assert "p: 67108864 positions" in found.launches[-1].kernel.src


def test_columns_are_read_side_by_side() -> None:
    """32 neighbours of 4 bytes, whole and in chunks; 8 where columns are few."""
    for rows, columns, block in ((128, 4096, 32), (16384, 4096, 32), (16384, 256, 8)):
        (launch,) = traffic(otus.softmax(otus.tensor("x", (rows, columns), dtype="float32"), axis=0)).launches
        assert launch.options["BLOCK_P"] == block


def test_values_of_columns_and_sums_apart() -> None:
    """What the plans above compute, on data that is small enough for the interpreter."""
    x, u = (otus.tensor(name, (40, 9000)) for name in "xu")
    w = otus.tensor("w", (9000,))
    y = normalised(x) * w
    outputs = {"gx": otus.vjp(y, [x], [u])[0], "gw": otus.vjp(y, [w], [u])[0], "s": (x * u).sum(axis=0),
               "m": otus.softmax(x, axis=0), "l": otus.logsumexp(x, axis=0)}  # fmt: skip
    values = {"x": RNG.standard_normal((40, 9000)) + 1e4, "u": RNG.standard_normal((40, 9000))}
    values["w"] = RNG.standard_normal(9000)
    found = otus.compile(outputs, backend="triton", interpret=True)(**values)
    expected = otus.compile(outputs, backend="reference")(**values)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, 1e-9, 1e-9, err_msg=name)
