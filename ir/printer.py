"""IR text: one operation a line, its type beside its name."""

from __future__ import annotations

import base64
import json
import keyword
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from .dims import Dim
from .dtypes import DType
from .node import Node, label_sizes
from .operations import Blockwise, Constant, Einsum, Input, LinearCombination, Map, Operation
from .operations.algebra import IndexLists
from .scalar import number_text, scalar_text
from .subscripts import choose_letters, subscripts_text
from .traverse import topological

_INLINE_ELEMENTS = 64
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*\Z", re.ASCII)


def node_names(nodes: Iterable[Node], labels: Mapping[Node, str] | None = None) -> dict[Node, str]:
    """A deterministic name for each node: the user's where it is an identifier, else a number."""
    labels = labels or {}
    names: dict[Node, str] = {}
    taken: set[str] = set()
    numbered = []
    for node in nodes:
        label = node.op.label if isinstance(node.op, Input) else labels.get(node, "")
        if _IDENTIFIER.match(label) and label not in taken:
            names[node] = label
            taken.add(label)
        else:
            names[node] = ""
            numbered.append(node)
    for number, node in enumerate(numbered):
        names[node] = str(number)
    return names


def dump(outputs: Node | Sequence[Node] | Mapping[str, Node], labels: Mapping[Node, str] | None = None) -> str:
    """IR text of one node, a list, or a dict of nodes.

    :func:`otus.ir.parse_ir` gives the same object, list or dict back.
    """
    roots = _roots(outputs)
    order = topological(roots)
    names = node_names(order, labels)
    loops: dict[object, Node] = {}
    lines = [text for node in order for text in _lines(node, names, loops)]
    return "\n".join([*lines, f"return {_result_text(outputs, names)}"]) + "\n"


def line(node: Node, names: Mapping[Node, str]) -> str:
    """The line of one node: ``%name: type = operation parameters operands``."""
    words = [node.op.name, *_parameters(node)]
    operands = ", ".join(f"%{names[x]}" for x in node.operands)
    if operands:
        words.append(operands)
    return f"%{names[node]}: {node.type} = {' '.join(words)}"


def _lines(node: Node, names: Mapping[Node, str], loops: dict[object, Node]) -> list[str]:
    """The line of a node, and the body of a loop indented beneath it; another result of a loop above refers to it."""
    head = line(node, names)
    if not isinstance(node.op, Blockwise):
        return [head]
    first = loops.setdefault((replace(node.op, result=0), node.operands), node)
    if first is not node:
        return [f"%{names[node]}: {node.type} = {node.op.name} {{result={node.op.result}}} %{names[first]}"]
    return [f"{head} do", *(f"  {text}" for text in dump(node.op.body).splitlines()), "end"]


def _roots(outputs: Node | Sequence[Node] | Mapping[str, Node]) -> list[Node]:
    if isinstance(outputs, Node):
        return [outputs]
    return list(outputs.values()) if isinstance(outputs, Mapping) else list(outputs)


def _result_text(outputs: Node | Sequence[Node] | Mapping[str, Node], names: Mapping[Node, str]) -> str:
    if isinstance(outputs, Node):
        return f"%{names[outputs]}"
    if isinstance(outputs, Mapping):
        inner = ", ".join(f"{json.dumps(key)}: %{names[x]}" for key, x in outputs.items())
        return f"{{{inner}}}"
    return f"[{', '.join(f'%{names[x]}' for x in outputs)}]"


def _parameters(node: Node) -> list[str]:
    op = node.op
    match op:
        case Einsum(inputs=inputs, output=output):
            return [_subscripts(node, inputs, output)]
        case Map(expression=expression, inputs=inputs, rank=rank):
            return [json.dumps(scalar_text(expression)), _subscripts(node, inputs, range(rank))]
        case LinearCombination(coefficients=coefficients, inputs=inputs, rank=rank):
            return [_subscripts(node, inputs, range(rank)), f"{{coefficients={value_text(coefficients)}}}"]
        case Constant():
            return [_constant_text(op)]
        case Input(label=label):
            stated = node.type.facts.items()
            if node.type.format.name != "dense":
                stated.append(("format", (node.type.format.name, node.type.format.parameters)))
            return [json.dumps(label), *_field_text(stated)]
        case Blockwise():
            return _field_text(item for item in operation_fields(op) if item[0] != "body")
    return _field_text(operation_fields(op))


def operation_fields(op: Operation) -> list[tuple[str, Any]]:
    """The parameters of an operation that differ from their defaults."""
    return [(f.name, getattr(op, f.name)) for f in fields(op) if getattr(op, f.name) != f.default]


def _field_text(items: Iterable[tuple[str, Any]]) -> list[str]:
    text = ", ".join(f"{name}={value_text(value)}" for name, value in items)
    return [f"{{{text}}}"] if text else []


def value_text(value: Any) -> str:
    """A parameter as text: numbers, names, sizes, tuples."""
    if isinstance(value, (DType, str)):
        return json.dumps(str(value))
    if isinstance(value, tuple):
        return f"({', '.join(map(value_text, value))}{',' if len(value) == 1 else ''})"
    if value is None or isinstance(value, (bool, Dim)):
        return str(value)
    return number_text(value)


def _constant_text(op: Constant) -> str:
    array = op.array
    exact = array.size <= _INLINE_ELEMENTS and not (array.dtype.kind in "fc" and bool(np.isnan(array).any()))
    if exact:
        return f"{{values={value_text(tuple(array.ravel().tolist()))}}}"
    return f"{{data={json.dumps(base64.b64encode(op.data).decode())}}}"


def _subscripts(node: Node, inputs: IndexLists, output: Iterable[int]) -> str:
    return json.dumps(subscripts_text(inputs, list(output), index_letters(node)))


def index_letters(node: Node) -> dict[int, str] | None:
    """Letters for the indices of an einsum, map or linear combination, after the sizes' names."""
    assert isinstance(node.op, (Einsum, Map, LinearCombination))
    return choose_letters(dict(sorted(label_sizes(node.operands, node.op.inputs).items())))


def is_identifier(name: str) -> bool:
    """Whether ``name`` can stand in Python source as it is."""
    return bool(_IDENTIFIER.match(name)) and not keyword.iskeyword(name)
