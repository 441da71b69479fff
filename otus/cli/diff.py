"""``otus diff``: the operations in which two IR texts differ."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ..ir import Cost, Graph, Node, OtusError, cost, human_bytes, parse_ir
from ..passes.planned_sizes import UNKNOWN_SIZE
from ..runtime.explanation import is_expanded
from ..runtime.graph_difference import ADDED, EQUAL, REMOVED, GraphDifference, difference
from ..runtime.quantities import human_count, largest, leading_terms
from .console import write, write_json, write_styled
from .explain import cost_record
from .options import AsJson, Sizes, read_sizes

# What stands at the margin: the lines inside a loop are indented, and have names of their own.
_DEFINED = re.compile(r"^%(\w+):", re.MULTILINE)
_RETURN = re.compile(r"^return\s.*", re.MULTILINE | re.DOTALL)
_COSTS = "flops {}; bytes moved {}; peak bytes {}"
_COLOURS = {REMOVED: "red", ADDED: "green"}

EXAMPLE = """\b
Example:
  otus dump quadratic.otus --after expand > expanded.ir
  otus dump quadratic.otus > optimized.ir
  otus diff expanded.ir optimized.ir
"""

IrFile = Annotated[Path, typer.Argument(metavar="FILE", help="IR text, as `otus dump` writes it.", show_default=False)]


def diff(before: IrFile, after: IrFile, dim: Sizes = None, as_json: AsJson = False) -> None:
    """Show the operations in which two IR texts differ.

    Those of the first alone stand after -, those of the second alone after +. Equal operations on equal
    operands are one operation, whatever their numbers and their order, so what is shown differs in fact.
    Costs are leading terms in the dims, or numbers where --dim gives every size.
    """
    sizes = read_sizes(dim)
    graphs = read_graph(before), read_graph(after)
    found = difference(*graphs)
    costs = [cost(graph.outputs) if is_expanded(graph) else None for graph in graphs]
    if as_json:
        write_json({"before": str(before), "after": str(after), **_record(found, costs, sizes)})
        return
    for each in found.lines:
        if each.mark != EQUAL and not found.same_values:
            write_styled(f"{each.mark} {each.text}", _COLOURS[each.mark])
    write(_summary(found, graphs, costs, sizes))


def read_graph(path: Path) -> Graph:
    """The graph that a file of IR text describes, with the names that the text gives to its operations."""
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise OtusError(
            f"{path} is not UTF-8 text; give IR text, as otus dump FILE > {path.stem}.ir writes it"
        ) from None
    except OSError as error:
        raise OtusError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        outputs, named = parse_ir(text), _named(text)
    except OtusError as error:
        raise OtusError(f"{path} is not IR text: {error}; `otus dump FILE` writes what is") from None
    labels = {node: name for name, node in named.items() if not name.isdecimal()}
    if isinstance(outputs, dict):
        return Graph(tuple(outputs.values()), tuple(outputs), labels)
    nodes = outputs if isinstance(outputs, list) else [outputs]
    return Graph(tuple(nodes), tuple(f"out{k}" for k in range(len(nodes))), labels)


def _named(text: str) -> dict[str, Node]:
    """Every operation of the text by its name there: what it would return if it returned them all."""
    body = _RETURN.sub("", text)
    names = ", ".join(f'"{name}": %{name}' for name in _DEFINED.findall(body))
    found = parse_ir(f"{body}\nreturn {{{names}}}")
    return found if isinstance(found, dict) else {}


# --- what is said ------------------------------------------------------------------------------


def _summary(
    found: GraphDifference, graphs: Sequence[Graph], costs: Sequence[Cost | None], sizes: Mapping[str, int]
) -> str:
    """One line: what is equal, what is not, and the costs of both."""
    if found.same_values:
        names = "" if graphs[0].names == graphs[1].names else f", called {_renamed(graphs)}"
        return f"the same: {found.equal} operations equal{names}"
    counted = f"{found.equal} operations equal, {found.removed} removed, {found.added} added"
    if not found.removed and not found.added:
        counted += ", other outputs"
    return f"{counted}; {_cost_change(costs, sizes)}"


def _renamed(graphs: Sequence[Graph]) -> str:
    pairs = zip(graphs[0].names, graphs[1].names, strict=True)
    return ", ".join(f"{old} -> {new}" for old, new in pairs if old != new)


def _cost_change(costs: Sequence[Cost | None], sizes: Mapping[str, int]) -> str:
    """The costs before and after; of one graph alone where the other has derivatives to expand."""
    before, after = (None if value is None else _cost_texts(value, sizes) for value in costs)
    if before is None and after is None:
        return "derivatives not expanded yet, so no costs"
    if before is None or after is None:
        known = before or after or ()
        which = "first" if before is None else "second"
        return f"derivatives not expanded yet in the {which}, in the other {_COSTS.format(*known)}"
    return _COSTS.format(*(old if old == new else f"{old} -> {new}" for old, new in zip(before, after, strict=True)))


def _cost_texts(value: Cost, sizes: Mapping[str, int]) -> tuple[str, ...]:
    """The three costs: numbers where the sizes settle them, else leading terms."""
    if value.dims <= sizes.keys():
        sized = value(sizes)
        return human_count(sized.flops), human_bytes(sized.bytes), human_bytes(sized.peak_bytes)
    peak = largest(value.live, {name: sizes.get(name, UNKNOWN_SIZE) for name in value.dims})
    return tuple(map(leading_terms, (value.work, value.traffic, peak)))


def _record(found: GraphDifference, costs: Sequence[Cost | None], sizes: Mapping[str, int]) -> dict[str, Any]:
    return {
        "same": found.same_values,
        "equal": found.equal,
        "removed": [each.text for each in found.lines if each.mark == REMOVED],
        "added": [each.text for each in found.lines if each.mark == ADDED],
        "cost_before": cost_record(costs[0], sizes),
        "cost_after": cost_record(costs[1], sizes),
    }
