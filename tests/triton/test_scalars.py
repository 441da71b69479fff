"""Every scalar function, in kernels and in torch's operations, against the reference interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from programs import leaf

pytest.importorskip("torch")
pytest.importorskip("triton")

from triton_kernels import agree, launched_names

from otus.codegen.to_torch.scalars import TORCH_SCALAR_RULES
from otus.ir import DTypeError, UnsupportedError, build
from otus.ir.dtypes import DType, to_numpy_dtype
from otus.ir.scalar import SCALAR_FUNCTIONS, Call, argument, call, infer_dtype, literal, parse_scalar

FLOATS = [0.0, -0.0, 0.25, -0.25, 0.5, 0.46, -0.47, 1.0, -1.0, 1e-9, -1e-9, 1e-3, 3.5, -4.5, 20.5, -21.0, 80.0, -80.0,
          np.inf, -np.inf, np.nan]  # fmt: skip
DATA = {"b": [True, False, True, True], "i": [1, 0, 3, -2], "u": [1, 0, 3, 2], "f": FLOATS,
        "c": [0.5 + 0.25j, 0.25, 0.5j, -1 - 2j]}  # fmt: skip
TOLERANCES = {"float16": 4e-3, "float32": 4e-6, "complex64": 4e-6}


def values(dtype: str, shift: int = 0) -> np.ndarray:
    kind = to_numpy_dtype(DType(dtype)).kind
    return np.roll(np.array(DATA[kind]), shift).astype(dtype)


def check(expression: Call, dtypes: list[str], kernel: bool) -> None:
    try:
        infer_dtype(expression, [DType(x) for x in dtypes])
    except DTypeError:
        return
    size = max(len(values(x)) for x in dtypes)
    operands = [leaf(f"x{k}", size, dtype=dtype) for k, dtype in enumerate(dtypes)]
    data = {f"x{k}": np.resize(values(dtype, 3 * k), size) for k, dtype in enumerate(dtypes)}
    labels = [(0,)] * len(operands)
    # A map of one function alone is torch's; one of two is a kernel.
    node = build.map_node(expression, operands, labels, 1)
    outputs = [build.map_node(call("where", call("eq", argument(0), argument(0)), argument(0), argument(0)),
                              [node], [(0,)], 1)] if kernel else [node]  # fmt: skip
    tolerance = TOLERANCES.get(node.type.dtype.value, 1e-13)
    with np.errstate(all="ignore"):
        try:
            module = agree(outputs, data, tolerance)
        except UnsupportedError:
            assert any(DType(x).kind == "complex" for x in dtypes)
            return
    if kernel and not any(DType(x).kind == "complex" for x in dtypes):
        assert launched_names(module), module.source


def test_every_scalar_function_has_a_rule() -> None:
    assert set(SCALAR_FUNCTIONS) == TORCH_SCALAR_RULES


UNARY = [name for name, row in SCALAR_FUNCTIONS.items() if row.arity == 1]
BINARY = [name for name, row in SCALAR_FUNCTIONS.items() if row.arity == 2 and name != "pow"]


@pytest.mark.parametrize("kernel", [True, False])
@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_value(name: str, kernel: bool) -> None:
    for dtype in ("float64", "float32", "float16", "int64", "int8", "bool", "complex128"):
        if dtype == "bool" and name == "neg":
            continue  # NumPy has no negative of a boolean
        check(call(name, argument(0)), [dtype], kernel)


@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_values(name: str) -> None:
    """Of one dtype and of several, and with numbers, which take the dtype of what they meet."""
    for dtypes in (["float64", "float64"], ["float32", "float64"], ["int64", "float32"], ["int8", "int64"]):
        check(call(name, argument(0), argument(1)), dtypes, kernel=True)
    for number in (0.1, 2, -3):
        for dtype in ("float64", "float32", "int64"):
            check(call(name, argument(0), number), [dtype], kernel=True)
            check(call(name, argument(0), number), [dtype], kernel=False)


@pytest.mark.parametrize("name", ["add", "mul", "maximum", "minimum", "logical_and", "logical_or", "eq", "lt"])
def test_functions_of_booleans(name: str) -> None:
    check(call(name, argument(0), argument(1)), ["bool", "bool"], kernel=True)
    check(call(name, argument(0), argument(1)), ["bool", "bool"], kernel=False)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "maximum", "lt"])
def test_truth_values_among_numbers(name: str) -> None:
    for dtype in ("int8", "int64", "float16", "float64", "complex128"):
        for arguments in ((argument(0), literal(True)), (literal(True), argument(0))):
            check(call(name, *arguments), [dtype], kernel=False)
            check(call(name, *arguments), [dtype], kernel=True)


@pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "float32", "float64", "complex64", "complex128"])
def test_conditions_of_every_dtype(dtype: str) -> None:
    """True is what is not 0: of complex numbers, those with an imaginary part too."""
    for other in ("bool", "float64", "complex128"):
        check(call("where", argument(0), argument(1), argument(2)), [dtype, other, other], kernel=False)
        check(call("where", argument(0), argument(1), argument(2)), [dtype, other, other], kernel=True)
    check(call("logical_not", argument(0)), [dtype], kernel=False)
    agree([build.cast(leaf("x", len(values(dtype)), dtype=dtype), DType.bool)], {"x": values(dtype)})


@pytest.mark.parametrize("name", ["mod", "pow"])
def test_functions_that_torch_has_not_of_booleans(name: str) -> None:
    node = build.map_node(call(name, argument(0), argument(1)), [leaf("x", 3, dtype="bool")] * 2, [(0,), (0,)], 1)
    with pytest.raises(UnsupportedError, match=f"torch has no {name} of bool"):
        agree([node], {"x": np.ones(3, bool)})


@pytest.mark.parametrize("exponent", [2, 3, -1, -2, 0.5, 1.5, 8, 0, 9, 2.0, -9, -1.5, 2.7])
def test_powers(exponent: float) -> None:
    for dtype in ("float64", "float32"):
        for kernel in (True, False):
            check(call("pow", argument(0), exponent), [dtype], kernel)
    if exponent in (0, 2, 3, 8, 9):
        check(call("pow", argument(0), exponent), ["int64"], kernel=True)


@pytest.mark.parametrize(
    "text",
    [
        "where(a > 0, a, 0.1)", "where(a > b, 0.1, 0.2) * a", "where(isfinite(a), b, nan)", "maximum(a, 0.1) - 1e-300",
        "where(logical_not(a > 0), 1 / 3, a)", "exp(sqrt(2) * a) + (a > 0.1)", "(a * b) * (a * b) + exp(a * b)",
    ],
)  # fmt: skip
def test_expressions(text: str) -> None:
    expression = parse_scalar(text)
    assert isinstance(expression, Call)
    count = 2 if "b" in text.replace("isfinite", "").replace("nan", "") else 1
    for dtype in ("float64", "float32"):
        check(expression, [dtype] * count, kernel=True)
        check(expression, [dtype] * count, kernel=False)


def test_dtypes_that_torch_only_stores_are_refused() -> None:
    x = leaf("x", 3)
    with pytest.raises(UnsupportedError, match="torch does not compute with uint16; the backend triton accepts bool"):
        agree([build.cast(build.apply("exp", x), DType.uint16)], {"x": np.ones(3)})
