"""Compiling expressions to functions of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .checking import value_checker
from .ir import Node, OtusError
from .optimisation import graph_of, is_leaf
from .passes import DEFAULT_PIPELINE, parse_pipeline
from .structures import composites, rebuild

if TYPE_CHECKING:
    from .runtime.compiled import CompiledFunction


def compile(
    outputs: Any,
    backend: str = "numpy",
    dims: Mapping[str, int] | None = None,
    memory_limit: int | str | None = None,
    pipeline: str | None = None,
    inputs: Sequence[str] | None = None,
    name: str = "kernel",
    description: str = "",
    positions: Mapping[Node, Any] | None = None,
) -> CompiledFunction:
    """Compile an expression, or a list, tuple or dict of expressions, to a function of arrays.

    Parameters
    ----------
    outputs
        What to compute; the function returns the same structure, over arrays.  Several outputs share
        every common part.
    backend
        ``"numpy"``, or ``"reference"``: slow and obviously right.
    dims
        Sizes of symbolic dims that are to be fixed.
    memory_limit
        Bytes, or text such as ``"2GiB"``: the most that a call may have live at once beside its inputs.
    pipeline
        The passes to run, as text; :func:`otus.pipeline` is the default.
    inputs
        The order of inputs; by default that in which the outputs first read them.
    name, description
        The emitted function's name and its module's first line.
    positions
        Where nodes stand in the user's text, for the provenance of statements.

    Raises ``OtusError`` (of a kind that says what is wrong) before anything is computed.

    >>> import numpy, otus
    >>> A, x = otus.tensor("A", ("m", "n")), otus.tensor("x", ("n",))
    >>> f = otus.compile({"y": A @ x, "g": otus.grad((A @ x).sum(), x)})
    >>> f.inputs
    ('A', 'x')
    >>> f(A=numpy.eye(2), x=numpy.array([1.0, 2.0]))["y"]
    array([1., 2.])
    """
    from .runtime.compiled import CompiledFunction, Request, require_backend

    require_backend(backend)
    graph = graph_of(outputs, dims)
    text = pipeline if pipeline is not None else ("expand" if backend == "reference" else DEFAULT_PIPELINE)
    if not isinstance(text, str):
        raise OtusError(f"pipeline={text!r} is not text such as {DEFAULT_PIPELINE!r}")
    request = Request(
        graph=graph,
        pipeline=parse_pipeline(text),
        backend=backend,
        memory_limit=memory_limit,
        inputs=tuple(inputs) if inputs is not None else None,
        function_name=name,
        description=description,
        positions=positions or {},
        check=value_checker(),
        unflatten=lambda leaves: rebuild(outputs, leaves, is_leaf),
        size_inputs=tuple(node for each in composites(outputs) for node in each.size_inputs()),
    )
    return CompiledFunction(request)


def backends() -> dict[str, str]:
    """Each backend, and ``"available"`` or why it cannot run here.

    >>> import otus
    >>> otus.backends()["numpy"]
    'available'
    """
    from .runtime.compiled import backend_states

    return {
        name: "available" if reason is None else f"unavailable: {reason}" for name, reason in backend_states().items()
    }
