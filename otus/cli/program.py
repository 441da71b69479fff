"""A program that a command works on: read, with the sizes of the command line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

from ..frontend import Expression
from ..frontend.language import Module, load
from ..ir import Graph, NamingError, OtusError, ShapeError, specialise
from ..ir.errors import nearest
from ..ir.operations import Derivative
from ..ir.specialise import free_symbols
from ..passes import DEFAULT_PIPELINE, parse_pipeline
from ..passes.expand import Expand


def load_program(path: Path) -> Module:
    """The program in a file; raises ``LanguageError`` with its mistakes, ``OtusError`` where it cannot be used."""
    if path.is_dir():
        raise OtusError(f"{path} is a folder; give a file, such as {path / 'program.otus'}")
    if not path.exists():
        raise OtusError(f"{path} does not exist{_similar(path)}")
    module = load(path)
    if not module.outputs:
        raise OtusError(f"{path} computes nothing; assign something, as in: loss = sum(x ^ 2)")
    return module


def _similar(path: Path) -> str:
    """A hint at the program in the same folder whose name is closest, as ``nearest`` gives for names."""
    programs = path.parent.glob("*.otus") if path.parent.is_dir() else ()
    close = difflib.get_close_matches(path.stem, [each.stem for each in programs], n=1)
    return f"; did you mean {str(path.with_name(close[0] + '.otus'))!r}?" if close else ""


def check_sizes(module: Module, sizes: Mapping[str, int]) -> None:
    """Raise ``NamingError`` for a dim that the program has not, ``ShapeError`` for one that its text fixes."""
    known = dims_of(module)
    for name, size in sizes.items():
        if module.dims.get(name, size) != size:
            raise ShapeError(
                f"{module.file} fixes dim {name} at {module.dims[name]}, and --dim says {size}; "
                f"write 'dim {name}' without a size there to choose it here"
            )
        if name not in known and name not in module.dims:
            hint = nearest(name, known) or f"; its dims are {', '.join(known) or 'all fixed'}"
            raise NamingError(f"{module.file} has no dim {name!r}{hint}")


def check_expands(module: Module, pipeline: str | None) -> None:
    """Raise ``OtusError`` where the program asks for derivatives and the pipeline would not expand them."""
    passes = parse_pipeline(pipeline if pipeline is not None else DEFAULT_PIPELINE)
    requests = {node.op.kind for node in graph_of(module).nodes() if isinstance(node.op, Derivative)}
    if requests and Expand.name not in [each.name for each in passes.passes]:
        raise OtusError(
            f"{module.file} asks for derivatives ({', '.join(sorted(requests))}), and the pipeline "
            f"{str(passes)!r} leaves them as requests, which no kernel computes; add the pass 'expand'"
        )


def dims_of(module: Module) -> list[str]:
    """The names of the dims whose sizes the program leaves open."""
    everything = [*module.tensors.values(), *module.outputs.values()]
    return sorted(free_symbols([x.node for x in everything]))


def sized_outputs(module: Module, sizes: Mapping[str, int]) -> dict[str, int]:
    """Those of the sizes that the outputs depend on."""
    free = free_symbols([x.node for x in module.outputs.values()])
    return {name: size for name, size in sizes.items() if name in free}


def graph_of(module: Module, sizes: Mapping[str, int] | None = None) -> Graph:
    """The outputs as a graph that keeps the program's names, with sizes put in."""
    nodes = [x.node for x in module.outputs.values()]
    graph = Graph(tuple(nodes), tuple(module.outputs), module.labels)
    return graph.replaced(specialise(nodes, sizes)) if sizes else graph


def describe_tensor(name: str, tensor: Expression) -> str:
    """A tensor as messages show it, such as ``A[i,8]``."""
    return f"{name}[{','.join(map(str, tensor.shape))}]" if tensor.shape else name
