"""Optimising and looking: simplify, optimize, cost, dump, to_networkx, pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from . import ir
from .frontend import Expression
from .frontend.origins import remember_inputs, remembered_inputs
from .ir import Cost, Graph, Node, OtusError
from .ir.specialise import free_symbols
from .structures import flatten, paths, rebuild

if TYPE_CHECKING:
    import networkx

    from .passes import Report

Structure = TypeVar("Structure")


def is_leaf(value: object) -> bool:
    """Whether ``value`` is one tensor rather than a structure of them."""
    return isinstance(value, Expression)


def graph_of(outputs: Any, dims: Mapping[str, int] | None = None) -> Graph:
    """A graph of an expression, or of a list, tuple or dict of expressions.

    Raises ``OtusError`` for anything else in the structure.
    """
    leaves = flatten(outputs, is_leaf)
    for leaf in leaves:
        if not isinstance(leaf, Expression):
            raise OtusError(f"{leaf!r} is not an expression; make one with otus.constant or otus.tensor")
    if not leaves:
        raise OtusError(f"{outputs!r} holds no expression")
    nodes = [leaf.node for leaf in leaves]
    ir.check_input_names(nodes)
    if dims:
        nodes = apply_dims(nodes, dims)
    return Graph.of(nodes, output_names(outputs))


def output_names(outputs: Any) -> list[str]:
    """A distinct name for each leaf: a dict's keys, and ``out0``, ``out1``, … otherwise."""
    names = paths(outputs, is_leaf)
    if isinstance(outputs, dict):
        return names
    return [f"out{name or 0}" for name in names]


def apply_dims(nodes: Sequence[Node], dims: Mapping[str, int]) -> list[Node]:
    """Nodes with the symbolic dims of ``dims`` replaced; raises ``NamingError`` for an unknown one."""
    known = free_symbols(nodes)
    for name, size in dims.items():
        if name not in known:
            hint = ir.errors.nearest(name, known) or f"; the dims are {', '.join(sorted(known)) or 'all fixed'}"
            raise ir.NamingError(f"no tensor has a dim {name!r}{hint}")
        if not isinstance(size, int) or size < 0:
            raise ir.ShapeError(f"dim {name} cannot have size {size!r}; sizes are integers from 0")
    new = ir.specialise(nodes, dims)
    return [new[node] for node in nodes]


def run_pipeline(
    outputs: Structure,
    text: str,
    dims: Mapping[str, int] | None = None,
    check: bool | None = None,
    memory_limit: int | str | None = None,
) -> tuple[Structure, Report]:
    """The rewritten expressions in the structure they came in, and what each pass did."""
    from .checking import value_checker
    from .passes import parse_pipeline
    from .runtime.memory import keeping

    graph = graph_of(outputs, dims)
    after, report = keeping(memory_limit, parse_pipeline(text)).run(graph, dims, value_checker(check))
    remember_inputs(after.outputs, (*graph.inputs, *remembered_inputs(graph.outputs)))
    return rebuild(outputs, [Expression.of(node) for node in after.outputs], is_leaf), report


def simplify(outputs: Structure) -> Structure:
    """The normal form a person would write: derivatives expanded, algebra done, no order chosen.

    Takes and returns an expression, or a list, tuple or dict of expressions.

    >>> import otus
    >>> x, H = otus.tensor("x", ("n",)), otus.tensor("H", ("n", "n"))
    >>> otus.simplify(otus.hessian(x @ H @ x, x)) is H + H.T
    True
    """
    from .passes import SIMPLIFY_PIPELINE

    return run_pipeline(outputs, SIMPLIFY_PIPELINE)[0]


def optimize(
    outputs: Structure,
    dims: Mapping[str, int] | None = None,
    pipeline: str | None = None,
    memory_limit: int | str | None = None,
) -> Structure:
    """The cheapest form of all outputs together, as the compiler would run it.

    ``dims`` fixes sizes, ``pipeline`` replaces the default passes.  ``memory_limit`` (bytes, or text such
    as ``"2GiB"``) is the most that may be allocated at once beside the inputs: indices are cut into
    blocks until that holds.  Raises ``MemoryLimitError`` naming the tensor that is in the way, its size,
    and the least limit that would do, where nothing fits; ``NamingError`` for a limit without sizes.
    """
    from .passes import DEFAULT_PIPELINE
    from .runtime.memory import require_sizes

    result = run_pipeline(outputs, pipeline or DEFAULT_PIPELINE, dims, memory_limit=memory_limit)[0]
    if memory_limit is not None:
        require_sizes([x.node for x in flatten(result, is_leaf)])
    return result


def cost(outputs: Any) -> Cost:
    """What the expressions cost as they stand, every shared part counted once.

    ``.flops``, ``.bytes`` and ``.peak_bytes`` are SymPy expressions in the dims; call the result with
    sizes for integers.  Derivatives are expanded and simplified first, since a request has no cost.

    >>> import otus
    >>> A, B = otus.tensor("A", ("i", "j")), otus.tensor("B", ("j", "k"))
    >>> otus.cost(A @ B).flops
    2*i*j*k
    >>> otus.cost(A @ B)(i=10, j=20, k=30).flops
    12000
    """
    from .passes import innermost_requests

    graph = graph_of(outputs)
    dims = free_symbols(graph.outputs)
    if innermost_requests(graph):
        graph = graph_of(simplify(outputs))
    return ir.cost(graph.outputs, dims)


def dump(outputs: Any) -> str:
    """IR text: one operation a line.  ``otus.parse_ir`` gives the same expressions back."""
    if isinstance(outputs, Expression):
        return ir.dump(outputs.node)
    graph_of(outputs)
    if isinstance(outputs, dict):
        return ir.dump({key: value.node for key, value in outputs.items()})
    return ir.dump([value.node for value in outputs])


def parse_ir(text: str) -> Any:
    """The expression, list or dict of expressions that IR text describes.

    Raises ``ParseError`` with the line number where the text is not IR.

    >>> import otus
    >>> x = otus.tensor("x", ("n",))
    >>> otus.parse_ir(otus.dump(otus.exp(x))) is otus.exp(x)
    True
    """
    if not isinstance(text, str):
        raise OtusError(f"parse_ir takes IR text, as otus.dump gives it, not {type(text).__name__}")
    parsed = ir.parse_ir(text)
    if isinstance(parsed, Node):
        return Expression.of(parsed)
    if isinstance(parsed, dict):
        return {key: Expression.of(node) for key, node in parsed.items()}
    return [Expression.of(node) for node in parsed]


def formula(expr: Expression, latex: bool = False, name: str = "out") -> str:
    """Index notation: derivatives expanded, sums implied by repeated indices.

    ``name`` is what the left-hand side calls the value.  Values that are read more than once get a
    line of their own.

    >>> import otus
    >>> A, B, X = (otus.tensor(n, s) for n, s in (("A", ("i", "r")), ("B", ("j", "r")), ("X", ("i", "j"))))
    >>> H = otus.hessian(((A @ B.T - X) ** 2).sum(), A)
    >>> print(otus.formula(H, name="H"))
    H[i,r,i',r'] = 2 δ[i,i'] B[j,r] B[j,r']
    """
    from .passes import innermost_requests

    if not isinstance(expr, Expression):
        raise OtusError(f"formula takes one expression, not {expr!r}")
    node = expr.node
    if innermost_requests(graph_of(expr)):
        node = simplify(expr).node
    return ir.formula.formula(node, name, latex)


def to_networkx(outputs: Any) -> networkx.DiGraph[Any]:
    """The graph as a NetworkX ``DiGraph``; nodes carry ``op``, ``shape``, ``dtype``, ``text`` and ``name``."""
    return ir.to_networkx(graph_of(outputs).outputs)


def pipeline() -> str:
    """The default pipeline as text; passes take options in braces, as in ``contract{optimizer=greedy}``."""
    from .passes import DEFAULT_PIPELINE

    return DEFAULT_PIPELINE
