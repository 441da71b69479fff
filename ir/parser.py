"""Reading IR text back: the inverse of :func:`otus.ir.dump`."""

from __future__ import annotations

import ast
import base64
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Any, Union

import numpy as np

from .dims import parse_size, size_from_ast
from .dtypes import as_dtype, to_numpy_dtype
from .errors import OtusError, ParseError, nearest
from .node import Node, make
from .operations import OPERATIONS, Blockwise, Constant, Einsum, Input, LinearCombination, Map, Operation
from .scalar import number_from_ast, parse_scalar
from .subscripts import parse_subscripts
from .types import Format, TensorType, make_type

Parsed = Union[Node, list[Node], dict[str, Node]]
_LINE = re.compile(r"%(?P<name>\w+): (?P<dtype>\w+)\[(?P<shape>.*?)\] = (?P<op>\w+)(?P<rest>.*)\Z")
_STRING = re.compile(r'\s*("(?:[^"\\]|\\.)*")')
_BRACES = re.compile(r'\s*\{((?:[^"{}]|"(?:[^"\\]|\\.)*")*)\}')
_ENTRY = re.compile(r'\s*("(?:[^"\\]|\\.)*"): %(\w+)\s*,?')


def parse_ir(text: str) -> Parsed:
    """Read IR text; ``parse_ir(dump(x)) is x`` for a node, and equal for a list or dict.

    Raises ``ParseError`` with the line number where the text is not IR, or where a stated type
    is not the one that the operation has.
    """
    nodes: dict[str, Node] = {}
    lines = iter(enumerate(text.splitlines(), 1))
    for number, raw in lines:
        stripped = raw.strip()
        if not stripped or stripped.startswith("#"):
            continue
        body = _parse_body(number, lines) if stripped.endswith(" do") else None
        try:
            if stripped.startswith("return "):
                return _parse_result(stripped.removeprefix("return "), nodes)
            name, node = _parse_line(stripped.removesuffix(" do") if body else stripped, nodes, body)
        except ParseError as error:
            raise ParseError(f"line {number}: {error}") from None
        except OtusError as error:
            raise ParseError(f"line {number}: {error}: {stripped}") from error
        if name in nodes:
            raise ParseError(f"line {number}: %{name} is defined twice")
        nodes[name] = node
    raise ParseError("the text has no 'return' line")


def _parse_body(start: int, lines: Iterator[tuple[int, str]]) -> tuple[Node, ...]:
    """The values of the body that begins after line ``start`` and stops at its ``end``."""
    inner, depth = [""] * start, 1  # so that errors count lines from the top
    for _, raw in lines:
        depth += raw.strip().endswith(" do") - (raw.strip() == "end")
        if depth == 0:
            body = parse_ir("\n".join(inner))
            if isinstance(body, list) and body:
                return tuple(body)
            raise ParseError(f"line {start}: a body returns a list of values, such as 'return [%0]'")
        inner.append(raw)
    raise ParseError(f"line {start}: the body that begins here has no 'end'")


def _parse_line(text: str, nodes: dict[str, Node], body: tuple[Node, ...] | None) -> tuple[str, Node]:
    match = _LINE.match(text)
    if match is None:
        raise ParseError(f"{text!r} is not '%name: dtype[shape] = operation …'")
    if match["op"] not in OPERATIONS:
        raise ParseError(f"unknown operation {match['op']!r}{nearest(match['op'], OPERATIONS)}")
    shape = [parse_size(size) for size in _split_commas(match["shape"])]
    declared = TensorType(tuple(shape), as_dtype(match["dtype"]))
    strings, parameters, operands = _parse_rest(match["rest"], nodes)
    if body is not None:
        parameters["body"] = body
    elif match["op"] == Blockwise.name and len(operands) == 1 and isinstance(operands[0].op, Blockwise):
        # Another result of a loop above, which stands for its parameters and operands.
        loop = operands[0]
        parameters, operands = {**_fields_of(loop.op), **parameters}, list(loop.operands)
    op = _build_operation(match["op"], declared, strings, parameters)
    node = _make(op, operands)
    if node.type.plain() != declared:
        raise ParseError(f"%{match['name']} is declared {declared}, but its operation gives {node.type}")
    return match["name"], node


def _fields_of(op: Operation) -> dict[str, Any]:
    return {field.name: getattr(op, field.name) for field in fields(op)}


def _split_commas(text: str) -> list[str]:
    """Split at commas outside parentheses."""
    parts, depth, current = [], 0, ""
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += character
    return [*parts, current] if current else parts


def _parse_rest(rest: str, nodes: dict[str, Node]) -> tuple[list[str], dict[str, Any], list[Node]]:
    strings: list[str] = []
    while match := _STRING.match(rest):
        strings.append(_string(match[1]))
        rest = rest[match.end() :]
    parameters: dict[str, Any] = {}
    if match := _BRACES.match(rest):
        parameters = _parse_fields(match[1])
        rest = rest[match.end() :]
    return strings, parameters, [_find(word, nodes) for word in rest.split(",") if word.strip()]


def _string(text: str) -> str:
    """A quoted string; raises ``ParseError`` for an escape that there is not."""
    try:
        return str(json.loads(text))
    except json.JSONDecodeError as error:
        raise ParseError(f"{text} is not a string: {error.msg}") from None


def _find(word: str, nodes: dict[str, Node]) -> Node:
    name = word.strip().removeprefix("%")
    if name not in nodes:
        raise ParseError(f"%{name} is not defined above{nearest(name, nodes)}")
    return nodes[name]


def _parse_fields(text: str) -> dict[str, Any]:
    try:
        tree = ast.parse(f"f({text})", mode="eval").body
    except SyntaxError:
        raise ParseError(f"{{{text}}} is not a list of name=value") from None
    assert isinstance(tree, ast.Call)
    return {str(item.arg): _value(item.value) for item in tree.keywords}


def _value(tree: ast.expr) -> Any:
    match tree:
        case ast.Constant(value=str() | None as value):
            return value
        case ast.Tuple(elts=elements):
            return tuple(map(_value, elements))
    number = number_from_ast(tree)
    return size_from_ast(tree) if number is None else number


def _build_operation(name: str, declared: TensorType, strings: list[str], parameters: dict[str, Any]) -> Operation:
    try:
        if name in _SPECIAL:
            return _SPECIAL[name](declared, strings, parameters)
        if "dtype" in parameters:
            parameters["dtype"] = as_dtype(parameters["dtype"])
        return OPERATIONS[name](**parameters)
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise ParseError(f"wrong parameters for {name}: {error}") from None


def _make(op: Operation, operands: Sequence[Node]) -> Node:
    """The node; parameters of another kind than the operation takes show where it infers its type."""
    try:
        return make(op, *operands)
    except (TypeError, ValueError) as error:
        raise ParseError(f"wrong parameters for {op.name}: {error}") from None


def _input(declared: TensorType, strings: list[str], parameters: dict[str, Any]) -> Operation:
    name, inner = parameters.pop("format", ("dense", ()))
    return Input(strings[0], make_type(declared.shape, declared.dtype, Format(name, inner), **parameters))


def _constant(declared: TensorType, strings: list[str], parameters: dict[str, Any]) -> Operation:
    dtype = to_numpy_dtype(declared.dtype)
    shape = tuple(int(size) for size in declared.shape if isinstance(size, int))
    if "data" in parameters:
        return Constant(declared.dtype, shape, base64.b64decode(parameters["data"]))
    return Constant.of(np.array(parameters["values"], dtype).reshape(shape))


def _einsum(declared: TensorType, strings: list[str], parameters: dict[str, Any]) -> Operation:
    return Einsum(*parse_subscripts(strings[0]))


def _aligned(text: str) -> tuple[tuple[tuple[int, ...], ...], int]:
    """Index lists relative to the positions of the output's indices."""
    inputs, output = parse_subscripts(text)
    place = {label: axis for axis, label in enumerate(output)}
    return tuple(tuple(place[label] for label in labels) for labels in inputs), len(output)


def _map(declared: TensorType, strings: list[str], parameters: dict[str, Any]) -> Operation:
    return Map(parse_scalar(strings[0]), *_aligned(strings[1]))


def _linear(declared: TensorType, strings: list[str], parameters: dict[str, Any]) -> Operation:
    return LinearCombination(parameters["coefficients"], *_aligned(strings[0]))


_SPECIAL: dict[str, Callable[[TensorType, list[str], dict[str, Any]], Operation]] = {
    "input": _input,
    "constant": _constant,
    "einsum": _einsum,
    "map": _map,
    "linear_combination": _linear,
}


def _parse_result(text: str, nodes: dict[str, Node]) -> Parsed:
    if text.startswith("["):
        return [_find(word, nodes) for word in text.strip("[]").split(",") if word.strip()]
    if text.startswith("{"):
        return {_string(key): _find(name, nodes) for key, name in _ENTRY.findall(text[1:-1])}
    return _find(text, nodes)
