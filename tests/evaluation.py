"""How the suite computes values: compile, run, and hold the IR's text form to its promise.

Every graph that passes through here, before and after each pass, is written as text and read back:
``parse_ir(dump(g)) is g``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from on_triton import assert_same_on_triton, is_sampled

import otus
from otus.ir import Node, dump, inputs_of, parse_ir
from otus.structures import flatten

BACKENDS = ("numpy", "reference")


def is_expression(value: object) -> bool:
    return isinstance(value, otus.Expression)


def assert_round_trip(nodes: Iterable[Node]) -> str:
    """The text of the nodes reads back as the very same nodes; it is returned."""
    listed = list(nodes)
    text = dump(listed)
    again = parse_ir(text)
    assert isinstance(again, list)
    assert all(x is y for x, y in zip(listed, again, strict=True)), f"read back as another graph:\n{text}"
    return text


def run(outputs: Any, data: Mapping[str, Any] | None = None, backend: str = "numpy") -> Any:
    """The values of an expression or a structure of them, in the same structure.

    Data for tensors that the expression does not contain (``imag`` of a real tensor) are left out.  Some of what
    NumPy computes is computed by Triton's kernels as well, as :mod:`on_triton` says.
    """
    compiled = otus.compile(outputs, backend=backend)
    nodes = [x.node for x in flatten(outputs, is_expression)]
    text = assert_round_trip(nodes)
    for record in compiled.report:
        assert_round_trip(record.after.outputs)
    known = {node.op.label for node in inputs_of(nodes)}
    given = {name: value for name, value in (data or {}).items() if name in known}
    values = compiled(**given)
    if backend == "numpy" and is_sampled(text):
        assert_same_on_triton(outputs, given, values)
    return values


def tensors(data: Mapping[str, np.ndarray]) -> list[otus.Expression]:
    """One tensor for each array: its name, its shape, its dtype."""
    return [otus.tensor(name, array.shape, str(array.dtype)) for name, array in data.items()]


def assert_close(actual: Any, expected: Any, rtol: float = 1e-9, atol: float = 1e-10, what: str = "") -> None:
    """Equal shapes, and values within the tolerance of the expected array's largest element."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, not {expected.shape}"
    finite = np.abs(expected[np.isfinite(expected)]) if expected.dtype.kind in "fc" else np.zeros(0)
    scale = float(finite.max(initial=1.0))
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol * scale, err_msg=what)
