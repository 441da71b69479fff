"""What a graph computes, as text without the user's names: equal texts are one program.

Inputs are numbered by first use and dims by first appearance, so a program and a copy of it with other
names have one text, and a plan for either serves both.  Every parameter of every operation is in the
text, exactly: programs that differ in anything that a plan may depend on have different texts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..ir import Dim, DType, Graph, Node
from ..ir.dims import SizeFunction, Symbol
from ..ir.operations import Blockwise, Input
from ..ir.scalar import Scalar, scalar_text
from ..ir.specialise import field_names
from ..ir.types import Facts, Format, TensorType

_LISTED_BYTES = 64  # constants that are longer stand in the text by their digest


@dataclass(frozen=True)
class Canonical:
    """``text`` without names; ``inputs`` and ``dims`` are the names that its numbers stand for."""

    text: str
    inputs: tuple[Node, ...]
    dims: tuple[str, ...]


def canonicalise(graph: Graph, inputs: Sequence[Node]) -> Canonical | None:
    """The canonical form of ``graph``; None where a parameter has a value of a kind that is unknown here.

    ``inputs`` are all inputs that callers may give, in the order of parameters, which plans depend on.

    >>> import otus
    >>> def text(names: str, size: str) -> str:
    ...     left, right = (otus.tensor(name, (size, size)) for name in names)
    ...     graph = otus.ir.Graph.of([(left @ right).node])
    ...     return canonicalise(graph, graph.inputs).text
    >>> text("AB", "n") == text("UV", "m")
    True
    >>> text("AB", "n") == text("AA", "n")
    False
    """
    writer = _Writer()
    order = graph.nodes()
    numbers = {node: number for number, node in enumerate(dict.fromkeys((*order, *inputs)))}
    try:
        lines = [writer.line(node, numbers) for node in numbers]
    except _UnknownValueError:
        return None
    lines.append(f"inputs {[numbers[node] for node in inputs]} outputs {[numbers[node] for node in graph.outputs]}")
    found = tuple(node for node in numbers if isinstance(node.op, Input))
    return Canonical("\n".join(lines), found, tuple(writer.dims))


class _UnknownValueError(Exception):
    """A parameter that this module cannot write down."""


class _Writer:
    """Writes operations, numbering dims as they appear."""

    def __init__(self) -> None:
        self.dims: dict[str, int] = {}

    def line(self, node: Node, numbers: dict[Node, int]) -> str:
        """One operation: its name, its parameters, the numbers of its operands."""
        op = node.op
        if isinstance(op, Input):
            return f"input {self.type(op.type)}"
        if isinstance(op, Blockwise):
            raise _UnknownValueError("a loop names its own dim")
        parameters = ";".join([self.value(getattr(op, name)) for name in field_names(op)])
        return f"{op.name} {parameters} {[numbers[operand] for operand in node.operands]}"

    def value(self, value: Any) -> str:
        """A parameter, such that different values have different texts."""
        write = _WRITERS.get(type(value))
        if write is not None:
            return write(self, value)
        if isinstance(value, Scalar):
            return _scalar_text(value)
        raise _UnknownValueError(f"{type(value).__name__}")

    def tuple(self, values: tuple[Any, ...]) -> str:
        """The items in parentheses."""
        return f"({','.join([self.value(value) for value in values])})"

    def type(self, type: TensorType) -> str:
        """Shape, dtype, facts and format."""
        shape, dtype = self.tuple(type.shape), type.dtype.value
        return f"{dtype}{shape}{_facts_text(type.facts)}{_format_text(type.format)}"

    def dim(self, dim: Dim) -> str:
        """A size as a sum of products of numbered symbols, whatever order their names sort in."""
        terms = []
        for monomial, coefficient in dim.terms:
            factors = sorted(f"{self.atom(atom)}^{power}" for atom, power in monomial)
            terms.append(f"{coefficient}*{'*'.join(factors)}")
        return "+".join(sorted(terms))

    def atom(self, atom: Symbol | SizeFunction) -> str:
        """A symbol by its number."""
        if isinstance(atom, Symbol):
            return f"d{self.dims.setdefault(atom.name, len(self.dims))}"
        return f"{atom.name}({self.value(atom.left)},{self.value(atom.right)})"


def _bytes_text(value: bytes) -> str:
    return repr(value) if len(value) <= _LISTED_BYTES else f"{len(value)}:{hashlib.sha256(value).hexdigest()}"


@lru_cache(maxsize=1024)
def _facts_text(facts: Facts) -> str:
    return repr(facts.items())


@lru_cache(maxsize=1024)
def _format_text(format: Format) -> str:
    return repr((format.name, format.parameters))


@lru_cache(maxsize=4096)
def _scalar_text(scalar: Scalar) -> str:
    return repr(scalar_text(scalar))


_WRITERS: dict[type, Callable[[_Writer, Any], str]] = {
    bool: lambda writer, value: repr(value),
    int: lambda writer, value: repr(value),
    float: lambda writer, value: repr(value),
    complex: lambda writer, value: repr(value),
    str: lambda writer, value: repr(value),
    type(None): lambda writer, value: repr(value),
    bytes: lambda writer, value: _bytes_text(value),
    tuple: _Writer.tuple,
    DType: lambda writer, value: value.value,
    Dim: _Writer.dim,
    TensorType: _Writer.type,
    Facts: lambda writer, value: _facts_text(value),
    Format: lambda writer, value: _format_text(value),
}
