"""The stages of a compilation as numbered files in a folder: IR text, the program, the source, an index."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from ..ir import OtusError
from ..ir.program import program_text
from ..passes import graph_text
from .planning import Plan

INDEX = "index.txt"
_NUMBERED = re.compile(r"\d{2,}-\w+\.(ir|txt|py)\Z", re.ASCII)
_functions = itertools.count(1)


def write_stages(plan: Plan, folder: Path) -> list[Path]:
    """Write ``00-parsed.ir``, a file for each pass that changed something, the program and the source.

    ``index.txt`` has a line for each stage, those of passes that changed nothing among them.  Files
    that the index of an earlier call names are replaced or removed; nothing else in the folder is touched.
    Returns the paths, the index last.  Raises ``OtusError`` where the folder cannot be written to.
    """
    texts, index = {}, []
    for name, text in _stages(plan):
        if text is None:
            index.append(f"{name}: changed nothing")
        else:
            texts[name] = text
            index.append(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in _earlier(folder) - texts.keys():
            (folder / old).unlink(missing_ok=True)
        paths = [folder / name for name in (*texts, INDEX)]
        for path, text in zip(paths, (*texts.values(), "\n".join(index) + "\n"), strict=True):
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OtusError(
            f"the stages cannot be written to {folder}: {error.strerror or error}; give a folder that can be"
        ) from None
    return paths


def function_folder(folder: Path, name: str) -> Path:
    """A folder of its own in ``folder`` for the stages of the next function that this process compiles."""
    return folder / f"{next(_functions)}-{name}"


def _stages(plan: Plan) -> Iterator[tuple[str, str | None]]:
    """The files in order with their texts, None for a pass that changed nothing."""
    numbers = (f"{number:02d}" for number in itertools.count())
    yield f"{next(numbers)}-parsed.ir", graph_text(plan.report[0].before if plan.report else plan.graph)
    for record in plan.report:
        name = f"{next(numbers)}-{record.name}"
        yield (f"{name}.ir", record.ir_after) if record.changed else (name, None)
    if plan.program is not None:
        yield f"{next(numbers)}-program.txt", program_text(plan.program)
    if plan.emitted is not None:
        yield f"{next(numbers)}-source.py", plan.emitted.source


def _earlier(folder: Path) -> set[str]:
    """The numbered files that the index of an earlier call names."""
    index = folder / INDEX
    lines = index.read_text("utf-8", "replace").splitlines() if index.is_file() else []
    return {line for line in lines if _NUMBERED.match(line)}
