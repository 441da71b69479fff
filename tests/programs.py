"""Running graphs through lowering and the NumPy emitter, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from otus.codegen import Emitted, emit_numpy
from otus.ir import Graph, Node, build, make_type
from otus.passes.lower import lower
from otus.runtime.executable import Executable
from otus.runtime.reference import evaluate

Array = npt.NDArray[Any]


def leaf(label: str, *shape: object, dtype: str = "float64", **facts: object) -> Node:
    """An input node."""
    return build.input_node(label, make_type(shape, dtype, **facts))


def emitted(outputs: Sequence[Node] | Graph, known: Sequence[Node] = (), **sizes: int) -> Emitted:
    """The module that computes ``outputs``."""
    graph = outputs if isinstance(outputs, Graph) else Graph.of(outputs)
    return emit_numpy(lower(graph, known, sizes))


def run_emitted(outputs: Sequence[Node] | Graph, values: Mapping[str, Any], **sizes: int) -> list[Array]:
    """The outputs as the emitted module computes them."""
    graph = outputs if isinstance(outputs, Graph) else Graph.of(outputs)
    program = lower(graph, (), sizes)
    emitted = emit_numpy(program)
    function = Executable.of(emitted.source, emitted.function).load()
    result = function(*(values[name] for name in program.inputs))
    return list(result) if isinstance(result, tuple) else [result]


def agree(outputs: Sequence[Node], values: Mapping[str, Any], tolerance: float = 1e-12, **sizes: int) -> list[Array]:
    """Emitted and reference values agree in shape, dtype and value; the emitted ones come back.

    Inputs are unchanged, and no output shares memory with an input or another output.
    """
    before = {name: np.array(value) for name, value in values.items()}
    results = run_emitted(outputs, values, **sizes)
    expected = evaluate(outputs, values)
    for result, wanted in zip(results, expected, strict=True):
        assert isinstance(result, np.ndarray)
        assert result.dtype == wanted.dtype, (result.dtype, wanted.dtype)
        assert result.shape == wanted.shape, (result.shape, wanted.shape)
        np.testing.assert_allclose(result, wanted, rtol=tolerance, atol=tolerance)
    for name, value in values.items():
        np.testing.assert_array_equal(value, before[name])
    _own_memory(results, [x for x in values.values() if isinstance(x, np.ndarray)])
    return results


def _own_memory(results: Sequence[Array], given: Sequence[Array]) -> None:
    for position, result in enumerate(results):
        assert result.flags.writeable
        for other in (*given, *results[:position]):
            assert not np.may_share_memory(result, other)
