"""``otus compile``: emit a stand-alone kernel."""

from __future__ import annotations

import keyword
from pathlib import Path
from typing import Annotated

import typer

from .. import compilation
from ..frontend.language import Module
from ..ir import OtusError
from ..runtime.compiled import CompiledFunction
from .console import progress, write, write_json
from .failures import version
from .options import AsJson, Backend, Pipeline, ProgramFile, Sizes, read_sizes
from .program import check_expands, check_sizes, load_program, sized_outputs

MARK = "emitted by Otus"
_HEAD = 2000  # characters of a file in which the mark stands

EXAMPLE = """\b
Example:
  otus compile quadratic.otus -o kernel.py
  otus compile cpd.otus -o kernel.py --dim i=300 --dim j=200
  otus compile quadratic.otus -o kernel.py --backend triton --dim i=4096 --dim j=4096
"""


def compile(
    file: ProgramFile,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="PATH", help="The file to write; stdout without it.", show_default=False
        ),
    ] = None,
    dim: Sizes = None,
    backend: Backend = "numpy",
    pipeline: Pipeline = None,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="The name of the function.")] = "kernel",
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that Otus did not write.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a program as a stand-alone Python module.

    The module needs NumPy, or torch and Triton, and nothing of Otus. It has one function, whose
    parameters are the tensors that the outputs read, in the order of their declaration. A file that Otus
    wrote is overwritten; any other only with --force.
    """
    sizes = read_sizes(dim)
    if not name.isidentifier() or keyword.iskeyword(name):
        raise typer.BadParameter(
            f"{name!r} is not a name that Python accepts; write --name kernel", param_hint="--name"
        )
    module = load_program(file)
    check_sizes(module, sizes)
    if output is not None:
        check_target(output, force)
    with progress(f"compiling {file}"):
        function = compile_module(module, backend, sizes, pipeline, name, interpret=backend == "triton")
    if output is not None:
        _save(function, output)
    if as_json:
        write_json(_report(file, output, backend, name, function))
    elif output is None:
        write(function.source)
    else:
        write(f"wrote {output}: {name}({', '.join(function.inputs)}) returns {', '.join(function.outputs)}")


def compile_module(
    module: Module,
    backend: str,
    sizes: dict[str, int],
    pipeline: str | None,
    name: str = "kernel",
    interpret: bool = False,
) -> CompiledFunction:
    """The compiled outputs of a program; the emitted module says which file it comes from.

    ``interpret`` needs no GPU for the backend triton, whose source is the same with and without one.
    Raises ``OtusError`` where the pipeline would leave derivatives as requests.
    """
    check_expands(module, pipeline)
    return compilation.compile(
        module,
        backend=backend,
        dims=sized_outputs(module, sizes),
        pipeline=pipeline,
        name=name,
        interpret=interpret,
        description=f"{', '.join(module.outputs)} of {Path(module.file).name}, {MARK} {version('otus') or ''}".rstrip()
        + ".",
    )


def check_target(path: Path, force: bool) -> None:
    """Raise ``OtusError`` where ``path`` cannot be written, or holds something that Otus did not write."""
    if path.is_dir():
        raise OtusError(f"{path} is a folder; give a file, such as {path / 'kernel.py'}")
    if not path.parent.is_dir():
        raise OtusError(f"{path} cannot be written: {path.parent} is not a folder")
    if force or not path.exists():
        return
    try:
        head = path.read_text("utf-8", "replace")[:_HEAD]
    except OSError as error:
        raise OtusError(f"{path} cannot be read: {error.strerror or error}") from None
    if head.strip() and MARK not in head:
        raise OtusError(f"{path} exists and was not written by Otus; choose another name, or add --force to replace it")


def _save(function: CompiledFunction, path: Path) -> None:
    try:
        function.save(path)
    except OSError as error:
        raise OtusError(f"{path} cannot be written: {error.strerror or error}") from None


def _report(file: Path, output: Path | None, backend: str, name: str, function: CompiledFunction) -> dict[str, object]:
    return {
        "file": str(file),
        "output": None if output is None else str(output),
        "backend": backend,
        "function": name,
        "inputs": list(function.inputs),
        "outputs": list(function.outputs),
        **({"source": function.source} if output is None else {}),
    }
