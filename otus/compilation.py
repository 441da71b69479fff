"""Compiling expressions to functions of arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .checking import value_checker
from .frontend import Expression
from .frontend.language import Module
from .frontend.language.positions import known_positions
from .frontend.origins import remembered_inputs
from .ir import Graph, NamingError, Node, OtusError, specialise
from .ir.operations import Input
from .ir.specialise import UnfitSizeError
from .optimisation import graph_of, is_leaf
from .structures import composites, flatten, rebuilder

if TYPE_CHECKING:
    from .passes import Pipeline
    from .runtime.compiled import CompiledFunction


def compile(
    outputs: Any,
    backend: str = "numpy",
    dims: Mapping[str, int] | None = None,
    memory_limit: int | str | None = None,
    pipeline: str | None = None,
    inputs: Sequence[str | Expression] | None = None,
    name: str = "kernel",
    description: str = "",
    positions: Mapping[Node, Any] | None = None,
    interpret: bool = False,
    device: Any = None,
) -> CompiledFunction:
    """Compile an expression, a list, tuple or dict of expressions, or a program, to a function of arrays.

    Parameters
    ----------
    outputs
        What to compute; the function returns the same structure, over arrays.  Several outputs share
        every common part.  Of a program from :func:`otus.parse` or :func:`otus.load`: a dict of its outputs.
    backend
        ``"numpy"``; ``"c"``, which is NumPy with large elementwise loops compiled by the system's C compiler;
        ``"triton"``, for NVIDIA GPUs; or ``"reference"``: slow and obviously right.
    dims
        Sizes of symbolic dims that are to be fixed.
    memory_limit
        Bytes, or text such as ``"2GiB"``: the most that a call may have live at once beside its inputs.
    pipeline
        The passes to run, as text; :func:`otus.pipeline` is the default.
    inputs
        The order of inputs, as names or tensors; by default that in which the outputs first read them, and
        for a program that in which it declares them.
    name, description
        The emitted function's name and its module's first line.
    positions
        Where nodes stand in the user's text, for errors and the provenance of statements; known for what
        comes from a program.
    interpret
        With ``backend="triton"``: run the kernels in Triton's interpreter, which needs no GPU and is slow.
    device
        With ``backend="triton"``: the GPU for calls whose inputs are on the host, as ``"cuda:1"`` or a number; by
        default what ``OTUS_DEVICE`` says, or torch's current one.  Tensors on a GPU are computed with there.

    Raises ``OtusError`` (of a kind that says what is wrong) before anything is computed.

    >>> import numpy, otus
    >>> A, x = otus.tensor("A", ("m", "n")), otus.tensor("x", ("n",))
    >>> f = otus.compile({"y": A @ x, "g": otus.grad((A @ x).sum(), x)})
    >>> f.inputs
    ('A', 'x')
    >>> f(A=numpy.eye(2), x=numpy.array([1.0, 2.0]))["y"]
    array([1., 2.])
    """
    from .passes import DEFAULT_PIPELINE, default_pipeline
    from .runtime.compiled import CompiledFunction, Request, only, require_backend
    from .runtime.devices import chosen_device
    from .runtime.settings import settings

    require_backend(backend, interpret)
    chosen = chosen_device(device, settings().device, backend, interpret)
    order: tuple[str, ...] = ()
    labels: Mapping[Node, str] = {}
    if isinstance(outputs, Module):
        order, positions, labels = tuple(outputs.tensors), positions or outputs.positions, outputs.labels
        outputs = dict(outputs.outputs)
    graph, found = _sized_graph(outputs, dims, positions, labels)
    text = pipeline if pipeline is not None else default_pipeline(backend)
    if not isinstance(text, str):
        raise OtusError(f"pipeline={text!r} is not text such as {DEFAULT_PIPELINE!r}")
    request = Request(
        graph=graph,
        pipeline=_read_pipeline(text),
        backend=backend,
        memory_limit=memory_limit,
        inputs=None if inputs is None else _input_names(inputs),
        function_name=name,
        description=description,
        positions=found,
        check=value_checker(),
        unflatten=only if is_leaf(outputs) else rebuilder(outputs, is_leaf),
        size_inputs=_size_inputs(outputs, dims),
        declared=order,
        interpret=interpret,
        device=chosen,
        graphs=settings().cuda_graphs,
    )
    return CompiledFunction(request)


@lru_cache(maxsize=64)
def _read_pipeline(text: str) -> Pipeline:
    from .passes import parse_pipeline

    return parse_pipeline(text)


def _sized_graph(
    outputs: Any, dims: Mapping[str, int] | None, positions: Mapping[Node, Any] | None, labels: Mapping[Node, str]
) -> tuple[Graph, Mapping[Node, Any]]:
    """The graph with sizes put in and the names of its inner values, and where its nodes stand in the user's text."""
    from .runtime.failures import unfit

    graph = graph_of(outputs)
    found = known_positions(graph.outputs) if positions is None else positions
    if not dims:
        return _labelled(graph, labels), found
    try:
        sized = graph_of(outputs, dims)
    except UnfitSizeError as error:
        raise unfit(error, graph, found.get) from error
    new = specialise(graph.outputs, dims)
    # Where sizes make two values one, it keeps the name that was given first, as it does where rewriting does so.
    kept = {new[node]: labels[node] for node in reversed(list(labels)) if node in new}
    return _labelled(sized, kept), {new[node]: found[node] for node in new if node in found}


def _labelled(graph: Graph, labels: Mapping[Node, str]) -> Graph:
    """The graph with those of ``labels`` that are of its nodes."""
    return dataclasses.replace(graph, labels={node: labels[node] for node in graph.nodes() if node in labels})


def _input_names(inputs: object) -> tuple[str, ...]:
    """The names that ``inputs=`` lists; raises ``NamingError`` for anything but names and tensors."""
    accepted = "inputs= takes a list of names or tensors, such as ['A', 'x']"
    if isinstance(inputs, (str, Expression)) or not isinstance(inputs, Iterable):
        raise NamingError(f"{accepted}, not {inputs!r}")
    names = []
    for each in inputs:
        operation = each.node.op if isinstance(each, Expression) else None
        if isinstance(each, str):
            names.append(each)
        elif isinstance(operation, Input):
            names.append(operation.label)
        else:
            raise NamingError(f"{accepted}; {each!r} is neither")
    return tuple(names)


def _size_inputs(outputs: Any, dims: Mapping[str, int] | None) -> tuple[Node, ...]:
    """Inputs that the outputs do not read, but that say what their symbolic sizes are."""
    leaves = [leaf.node for leaf in flatten(outputs, is_leaf)]
    known = dict.fromkeys(node for each in composites(outputs, is_leaf) for node in each.size_inputs())
    found = [*known, *(node for node in remembered_inputs(leaves) if node not in known)]
    new = specialise(found, dims) if dims else {}
    return tuple(new.get(node, node) for node in found)


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
