"""Array interchange: what is taken, what is refused and in which words, what comes back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otus.ir import DTypeError, ShapeError, UnsupportedError, make_type
from otus.runtime.arrays import NUMPY_RESULT, as_numpy, convert_result, result_kind


def convert(value: Any, *shape: object, dtype: str = "float64") -> Any:
    result = as_numpy(value, make_type(shape, dtype), "x")
    assert isinstance(result, np.ndarray)
    assert result.dtype.name == dtype
    return result


class Subclass(np.ndarray[Any, np.dtype[Any]]):
    """An array type of somebody else."""


class HasArray:
    """An object that is an array by ``__array__`` only."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.arange(3.0)


class HasDlpack:
    """An object that is an array by ``__dlpack__`` only, on a device of choice."""

    def __init__(self, device: int) -> None:
        self.array, self.device = np.arange(3.0), device

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device, 0


# --- NumPy and Python --------------------------------------------------------------------------


def test_a_right_array_is_not_copied() -> None:
    x = np.zeros((4, 3))[::-1].T
    assert np.shares_memory(convert(x, "i", "j"), x)
    assert convert(x, "i", "j").strides == x.strides


def test_other_byte_orders_and_subclasses_become_plain() -> None:
    x = np.arange(3.0).astype(">f8")
    assert convert(x, 3).dtype.isnative
    assert type(convert(np.zeros(3).view(Subclass), 3)) is np.ndarray


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("float32", "float64"), ("int64", "float64"), ("int32", "int64"), ("bool", "float32"),
        ("uint8", "int16"), ("float64", "complex128"), ("int16", "float32"), ("bool", "int8"),
    ],
)  # fmt: skip
def test_casts_that_lose_nothing(source: str, target: str) -> None:
    x = np.array([0, 1, 1]).astype(source)
    assert np.array_equal(convert(x, 3, dtype=target), x)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("float64", "float32"), ("int64", "float32"), ("int64", "int32"), ("float64", "int64"),
        ("complex64", "float64"), ("float32", "bool"), ("uint64", "int64"), ("int8", "uint8"),
        ("complex128", "complex64"),
    ],
)  # fmt: skip
def test_casts_that_lose_information(source: str, target: str) -> None:
    with pytest.raises(DTypeError, match=f"given with dtype {source}, which would lose information"):
        convert(np.zeros(2, source), 2, dtype=target)


def test_the_text_of_a_lossy_cast() -> None:
    with pytest.raises(DTypeError) as caught:
        convert(np.zeros(2), 2, dtype="float32")
    assert str(caught.value) == (
        "tensor 'x' is float32, but was given with dtype float64, which would lose information; "
        "pass x.astype('float32'), or declare dtype='float64'"
    )
    with pytest.raises(DTypeError, match=r"pass x.real.astype\('float64'\)"):
        convert(np.zeros(2, complex), 2)


def test_only_dtypes_that_otus_knows_are_named() -> None:
    wide = np.zeros(2, np.longdouble)
    with pytest.raises(DTypeError) as caught:
        convert(wide, 2)
    assert str(caught.value) == (
        f"tensor 'x' is float64, but was given with dtype {wide.dtype}, which would lose information; "
        "pass x.astype('float64')"
    )
    for records in (np.zeros(2, "V8"), np.zeros(2, [("a", float)])):
        with pytest.raises(DTypeError, match="numbers are accepted"):
            convert(records, 2)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1, "float32"), (True, "float64"), (0.1, "float32"), (2, "complex64"), (3, "int8"),
        (False, "bool"), (1.5, "complex128"), (float("inf"), "float32"), (7, "uint8"),
    ],
)  # fmt: skip
def test_python_numbers_take_the_declared_dtype(value: Any, dtype: str) -> None:
    assert convert(value, dtype=dtype) == np.asarray(value, dtype)


def test_lists_take_the_declared_dtype() -> None:
    assert np.array_equal(convert([[1, 2.5]], 1, 2, dtype="float32"), [[1, 2.5]])
    assert convert([], 0, dtype="int32").shape == (0,)
    assert convert([[], []], 2, 0, dtype="bool").shape == (2, 0)
    assert np.array_equal(convert(range(3), 3), [0, 1, 2])
    assert np.array_equal(convert((np.ones(2), [1, 2]), 2, 2), [[1, 1], [1, 2]])


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (1.0, "int64", "int64, but was given float numbers, which would lose information"),
        (1j, "float64", "float64, but was given complex numbers"),
        (1, "bool", "bool, but was given int numbers"),
        (300, "uint8", "was given 300, which is outside uint8"),
        (-1, "uint64", "was given -1, which is outside uint64"),
        (1e300, "float32", "was given 1e.300, which is outside float32"),
        (2**70, "float64", "integers beyond 64 bits"),
        (np.float64(1), "float32", "given with dtype float64, which would lose information"),
        ("text", "float64", "was given as str; NumPy, torch and JAX arrays"),
        (None, "float64", "was given as NoneType"),
        (np.array("text"), "float64", "given with dtype <U4; numbers are accepted"),
        (np.array(None), "float64", "given with dtype object; numbers are accepted"),
    ],
)
def test_refused_values(value: Any, dtype: str, message: str) -> None:
    with pytest.raises(DTypeError, match=message):
        convert(value, dtype=dtype)


def test_wrong_ranks_and_ragged_lists() -> None:
    with pytest.raises(ShapeError, match=r"'x' was given with shape \(2,\), 1 axes; .* f64\[i,j\] has 2"):
        convert(np.zeros(2), "i", "j")
    with pytest.raises(ShapeError, match="ragged list"):
        convert([[1.0], [1.0, 2.0]], "i", "j")
    with pytest.raises(ShapeError, match=r"a list of shapes \(2,\), \(3,\)"):
        convert([np.ones(2), np.ones(3)], "i", "j")
    with pytest.raises(UnsupportedError, match="masked array"):
        convert(np.ma.masked_array([1.0], [True]), 1)


def test_protocols() -> None:
    assert np.array_equal(convert(HasArray(), 3), [0, 1, 2])
    assert np.array_equal(convert(HasDlpack(1), 3), [0, 1, 2])
    with pytest.raises(UnsupportedError, match="DLPack device type 2"):
        convert(HasDlpack(2), 3)


def test_neither_torch_nor_jax_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from otus.ir import make_type; from otus.runtime.arrays import *\n"
        "x = as_numpy([1.0], make_type((1,)), 'x'); convert_result(x, result_kind([x, 2])); "
        "assert not {'torch', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_numpy_in_numpy_out() -> None:
    x = np.ones(2)
    assert result_kind([x, 1.0, [2]]) == result_kind([]) == NUMPY_RESULT
    assert convert_result(x, NUMPY_RESULT) is x


# --- torch -------------------------------------------------------------------------------------


def test_torch_tensors() -> None:
    torch = pytest.importorskip("torch")
    x = torch.arange(6.0, dtype=torch.float64).reshape(2, 3).T
    assert np.shares_memory(convert(x, 3, 2), x.numpy())
    z = torch.tensor([1 + 2j], dtype=torch.complex128).conj()
    assert convert(z, 1, dtype="complex128")[0] == 1 - 2j
    assert np.array_equal(convert([x[0], x[1]], 2, 2), x[:2].numpy())
    assert convert(torch.nn.Parameter(torch.ones(1), requires_grad=False), 1)[0] == 1


def test_torch_refusals() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(DTypeError, match=r"'x' requires grad.*pass x.detach\(\)"):
        convert(torch.ones(2, requires_grad=True), 2)
    with pytest.raises(DTypeError, match=r"'x' is torch.bfloat16.*pass x.float\(\)"):
        convert(torch.ones(2, dtype=torch.bfloat16), 2)
    with pytest.raises(DTypeError, match="would lose information"):
        convert(torch.ones(2, dtype=torch.float64), 2, dtype="float32")
    with pytest.raises(UnsupportedError, match=r"layout torch.sparse_coo; pass x.to_dense\(\)"):
        convert(torch.eye(2).to_sparse(), 2, 2)


def test_torch_in_torch_out() -> None:
    torch = pytest.importorskip("torch")
    kind = result_kind([np.ones(1), torch.ones(2), 3.0])
    assert kind.library == "torch"
    for array in (np.ones((2, 3))[::-1], np.broadcast_to(np.ones(1), (2, 3)), np.asarray(2.0)):
        result = convert_result(array, kind)
        assert isinstance(result, torch.Tensor)
        assert result.dtype == torch.float64
        assert np.array_equal(result.numpy(), array)


def test_torch_on_two_devices_is_an_error() -> None:
    torch = pytest.importorskip("torch")
    elsewhere = torch.ones(2, device="meta")
    with pytest.raises(UnsupportedError, match="torch tensors lie on cpu and meta"):
        result_kind([torch.ones(2), elsewhere])
    assert str(result_kind([torch.tensor(1.0), elsewhere]).device) == "meta"


# --- JAX ---------------------------------------------------------------------------------------


def test_jax_arrays() -> None:
    jax = pytest.importorskip("jax")
    x = jax.numpy.arange(3, dtype="float32")
    assert np.array_equal(convert(x, 3), [0, 1, 2])
    assert np.array_equal(convert(x.astype("bfloat16"), 3, dtype="float32"), [0, 1, 2])
    kind = result_kind([1.0, x, np.ones(1)])
    assert kind.library == "jax"
    result = convert_result(np.ones((2, 2), np.float32)[::-1], kind)
    assert isinstance(result, jax.Array)
    assert result.devices() == x.devices()


def test_jax_tracers_are_refused() -> None:
    jax = pytest.importorskip("jax")
    with pytest.raises(UnsupportedError, match="'x' is a JAX tracer"):
        jax.jit(lambda x: convert(x, 3, dtype="float32"))(jax.numpy.ones(3))


def test_torch_goes_before_jax() -> None:
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    assert result_kind([jax.numpy.ones(1), torch.ones(1)]).library == "torch"
