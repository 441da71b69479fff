"""``otus dump``: the IR of a program anywhere in the pipeline."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ..frontend.language import Module
from ..ir import Graph, OtusError, UnsupportedError, to_networkx
from ..ir.formula import formula
from ..ir.program import program_text
from ..passes import DEFAULT_PIPELINE, Pipeline, graph_text, parse_pipeline
from ..runtime.stages import write_stages
from .compile import compile_module
from .console import write, write_json
from .options import Pipeline as PipelineText
from .options import ProgramFile, Sizes, one_of, read_sizes
from .program import check_sizes, graph_of, load_program


class Stage(StrEnum):
    """Where in the pipeline to look."""

    parsed = "parsed"
    expanded = "expanded"
    optimized = "optimized"
    program = "program"
    source = "source"


class Format(StrEnum):
    """How to show it."""

    text = "text"
    formula = "formula"
    dot = "dot"
    json = "json"


EXAMPLE = """\b
Example:
  otus dump quadratic.otus --stage parsed
  otus dump quadratic.otus --after simplify --format formula
  otus dump quadratic.otus --all stages
  otus dump quadratic.otus --format dot | dot -Tsvg > graph.svg
"""


def dump(
    file: ProgramFile,
    stage: Annotated[
        Stage,
        one_of(
            "--stage",
            Stage,
            "parsed: as written; expanded: derivatives worked out; optimized: after all passes; "
            "program: kernel calls and buffers; source: the emitted module.",
        ),
    ] = Stage.optimized,
    after: Annotated[
        str | None, typer.Option("--after", metavar="PASS", help="Right after a pass, instead.", show_default=False)
    ] = None,
    everything: Annotated[
        Path | None,
        typer.Option("--all", metavar="DIR", help="Write every stage to numbered files in DIR.", show_default=False),
    ] = None,
    form: Annotated[
        Format,
        one_of(
            "--format",
            Format,
            "text: IR text, which otus.parse_ir reads; formula: index notation; dot: for Graphviz; json.",
        ),
    ] = Format.text,
    dim: Sizes = None,
    pipeline: PipelineText = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Show what becomes of a program on its way to a kernel."""
    form = Format.json if as_json else form
    sizes = read_sizes(dim)
    module = load_program(file)
    check_sizes(module, sizes)
    passes = parse_pipeline(pipeline or DEFAULT_PIPELINE)
    if everything is not None:
        _write_all(module, sizes, pipeline, everything)
    elif after is None and stage in (Stage.program, Stage.source):
        _show_compiled(module, sizes, pipeline, stage, form)
    else:
        show_graph(module, _graph(module, sizes, passes, stage, after), after or stage.value, form)


def _graph(module: Module, sizes: dict[str, int], passes: Pipeline, stage: Stage, after: str | None) -> Graph:
    graph = graph_of(module, sizes)
    if after is not None:
        passes = passes.until(after)
    elif stage is Stage.parsed:
        passes = Pipeline(())
    elif stage is Stage.expanded:
        passes = passes.until("expand")
    return passes.run(graph, sizes)[0]


def _write_all(module: Module, sizes: dict[str, int], pipeline: str | None, folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise OtusError(f"{folder} is a file; give a folder to write the stages to")
    plan = compile_module(module, "numpy", sizes, pipeline).plan_for()
    for path in write_stages(plan, folder):
        write(str(path))


def _show_compiled(module: Module, sizes: dict[str, int], pipeline: str | None, stage: Stage, form: Format) -> None:
    if form in (Format.dot, Format.formula):
        raise UnsupportedError(
            f"--stage {stage.value} is no graph, so it has no {form.value}; use --format text or json"
        )
    function = compile_module(module, "numpy", sizes, pipeline)
    text = function.source if stage is Stage.source else program_text(function.program)
    if form is Format.json:
        write_json({"file": module.file, "stage": stage.value, "text": text})
    else:
        write(text)


def show_graph(module: Module, graph: Graph, stage: str, form: Format) -> None:
    """Print a graph as IR text, as formulas, as DOT, or as JSON."""
    if form is Format.text:
        write(graph_text(graph))
    elif form is Format.formula:
        formulas = [formula(node, name) for name, node in zip(graph.names, graph.outputs, strict=True)]
        write(("\n\n" if any("\n" in text for text in formulas) else "\n").join(formulas))
    elif form is Format.dot:
        write(dot_text(graph))
    else:
        write_json({"file": module.file, "stage": stage, **graph_record(module, graph)})


def dot_text(graph: Graph) -> str:
    """The graph in the language of Graphviz, inputs as boxes and outputs with a double border."""
    drawing = to_networkx(graph.outputs, graph.labels)
    lines = ["digraph otus {", '  node [fontname="monospace", shape=ellipse];']
    for name, fields in drawing.nodes(data=True):
        shape = "shape=box" if fields["op"] == "input" else "shape=ellipse"
        border = ", peripheries=2" if fields["output"] else ""
        lines.append(f"  {_quoted(name)} [label={_quoted(fields['text'])}, {shape}{border}];")
    for source, target, fields in drawing.edges(data=True):
        lines += [f"  {_quoted(source)} -> {_quoted(target)};" for _ in fields["operand"]]
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def graph_record(module: Module, graph: Graph) -> dict[str, Any]:
    """The graph for JSON: nodes in order, each with its text and where the program says it."""
    drawing = to_networkx(graph.outputs, graph.labels)
    names = dict(zip(graph.nodes(), drawing.nodes, strict=True))
    return {
        "nodes": [
            {
                "name": names[node],
                "op": node.op.name,
                "shape": list(map(_size, node.type.shape)),
                "dtype": node.type.dtype.value,
                "operands": [names[x] for x in node.operands],
                "text": drawing.nodes[names[node]]["text"],
                "position": _position(module, graph, node),
            }
            for node in graph.nodes()
        ],
        "outputs": {name: names[node] for name, node in zip(graph.names, graph.outputs, strict=True)},
    }


def _size(size: object) -> int | str:
    return size if isinstance(size, int) else str(size)


def _position(module: Module, graph: Graph, node: Any) -> dict[str, Any] | None:
    span = module.positions.get(graph.origin(node))
    return None if span is None else {"file": span.file, "line": span.line, "column": span.column}
