"""The page of ``otus explain --html``: one file that needs neither a network nor JavaScript."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..codegen.emitted import Statement
from ..frontend.language import Module
from ..ir import OtusError
from ..ir.program import program_text
from ..runtime.explanation import Explanation, PassExplanation
from ..runtime.graph_difference import EQUAL, DifferenceLine
from ..runtime.planning import Plan
from ..runtime.quantities import human_count, leading_terms
from .explanation_text import (
    COSTS,
    LOOPS,
    closing_lines,
    cost_rows,
    operations_text,
    place,
    share_text,
    sizes_text,
    symbolic_changes,
    verdict,
)
from .failures import version

TEMPLATE = "report.html.jinja"
_CONTEXT = 2  # equal lines that stay around a change


def write_page(path: Path, module: Module, plan: Plan, found: Explanation) -> None:
    """Write the page; raises ``OtusError`` where the file cannot be written."""
    text = page(module, plan, found)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OtusError(f"{path} cannot be written: {error.strerror or error}") from None


def page(module: Module, plan: Plan, found: Explanation) -> str:
    """The page as text; everything that comes from the program is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(_contents(module, plan, found))


def _contents(module: Module, plan: Plan, found: Explanation) -> dict[str, Any]:
    total = sum(found.count(step.flops) for step in found.steps)
    return {
        "file": module.file,
        "outputs": ", ".join(found.outputs),
        "version": version("otus") or "",
        "sizes": sizes_text(found),
        "verdict": verdict(found),
        "loops": LOOPS if found.counts_loops else "",
        "cost_names": COSTS,
        "cost_rows": list(cost_rows(found)),
        "passes": [_pass(found, each) for each in found.passes],
        "total": human_count(total),
        "steps": [
            {
                "share": share_text(found.count(step.flops), total),
                "flops": human_count(found.count(step.flops)),
                "terms": leading_terms(step.flops, found.sizes) if found.has_symbols else "",
                "result": step.result,
                "kernel": step.kernel,
                "place": place(module, plan, step),
            }
            for step in found.steps
        ],
        "closing": closing_lines(found),
        "texts": program_files(module, plan),
        "unplaced": _unplaced(module, plan),
        "program": program_text(found.program),
        "source": list(enumerate(plan.source.splitlines(), 1)),
    }


# --- what each line of the program became ------------------------------------------------------


@dataclass(frozen=True)
class ProgramLine:
    """A line of the program, and the statements that were emitted for it."""

    number: int
    text: str
    statements: tuple[Statement, ...]


def program_files(module: Module, plan: Plan) -> dict[str, list[ProgramLine]]:
    """The lines of the program, and of the files that it imports where something was emitted for them."""
    found: dict[tuple[str, int], list[Statement]] = {}
    texts = {module.file: module.text}
    for statement in _statements(plan):
        span = module.positions.get(plan.graph.origin(statement.node))
        if span is not None:
            found.setdefault((span.file, span.line), []).append(statement)
            texts.setdefault(span.file, span.source.text)
    return {
        file: [
            ProgramLine(number, line, tuple(found.get((file, number), ())))
            for number, line in enumerate(text.splitlines(), 1)
        ]
        for file, text in texts.items()
    }


def _unplaced(module: Module, plan: Plan) -> list[Statement]:
    """The statements that stand for nothing in the text."""
    return [x for x in _statements(plan) if plan.graph.origin(x.node) not in module.positions]


def _statements(plan: Plan) -> Sequence[Statement]:
    return plan.emitted.statements if plan.emitted is not None else ()


# --- what each pass changed --------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """Lines of a difference that stand together; ``folded`` are equal lines far from any change."""

    folded: bool
    lines: tuple[DifferenceLine, ...]


def blocks(lines: Sequence[DifferenceLine]) -> Iterator[Block]:
    """The lines in order, those further than two lines from a change folded.

    >>> lines = [DifferenceLine(mark, mark) for mark in "+      -"]
    >>> [(block.folded, len(block.lines)) for block in blocks(lines)]
    [(False, 3), (True, 2), (False, 3)]
    """
    changed = [number for number, each in enumerate(lines) if each.mark != EQUAL]
    near = {place for number in changed for place in range(number - _CONTEXT, number + _CONTEXT + 1)}
    numbered = enumerate(lines)
    for folded, group in itertools.groupby(numbered, key=lambda item: item[0] not in near):
        yield Block(folded, tuple(line for _, line in group))


def _pass(found: Explanation, each: PassExplanation) -> dict[str, Any]:
    return {
        "name": each.name,
        "changed": each.changed,
        "milliseconds": f"{each.seconds * 1e3:.1f}",
        "operations": operations_text(each),
        "rules": each.rules,
        "costs": list(zip(COSTS, symbolic_changes(found, each), strict=True)),
        "blocks": list(blocks(each.difference.lines)) if each.changed else [],
    }
