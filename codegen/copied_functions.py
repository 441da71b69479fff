"""Functions that emitted modules take along, read as text from the files that they stand in."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path


@cache
def functions_in(file: str) -> dict[str, str]:
    """The source of each function of a file under this folder, with its decorators, in order."""
    text = (Path(__file__).parent / file).read_text(encoding="utf-8")
    lines = text.split("\n")
    found = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(x.lineno for x in node.decorator_list)])
            found[node.name] = "\n".join(lines[first - 1 : node.end_lineno])
    return found


def copied(file: str, used: Iterable[str]) -> list[str]:
    """The source of the functions of a file that are used, and of those that they call."""
    functions = functions_in(file)
    wanted: set[str] = set()
    stack = [name for name in used if name in functions]
    while stack:
        name = stack.pop()
        if name not in wanted:
            wanted.add(name)
            stack += [x for x in re.findall(r"\b_\w+", functions[name]) if x in functions]
    return [text for name, text in functions.items() if name in wanted]
