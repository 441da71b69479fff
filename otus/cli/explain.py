"""``otus explain``: what each pass did with a program, what it saved, and where the cost is now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ..frontend.language import Module
from ..ir import Cost, OtusError, Size
from ..runtime.explanation import Explanation, PassExplanation, explain
from ..runtime.graph_difference import EQUAL
from ..runtime.planning import Plan
from .compile import compile_module
from .console import progress, show, write, write_json
from .explanation_text import explanation_text
from .options import AsJson, Pipeline, ProgramFile, Sizes, read_sizes
from .program import check_sizes, load_program, sized_outputs

EXAMPLE = """\b
Example:
  otus explain cpd.otus --dim i=300 --dim j=200 --dim k=100 --dim r=10
  otus explain cpd.otus --html report.html
"""


def explain_command(
    file: ProgramFile,
    dim: Sizes = None,
    pipeline: Pipeline = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="PATH", help="Write a page with everything to this file, instead.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what each pass did and saved, and where the cost is now.

    Costs are polynomials in the dims, and numbers at the sizes of --dim and of the program; a dim of
    which nobody says the size is taken as the planner takes it. The page holds the program, the operations
    and source that each of its lines became, what each pass changed, and the costs; it needs no
    network.
    """
    sizes = read_sizes(dim)
    module = load_program(file)
    check_sizes(module, sizes)
    if html is not None:
        check_page(html)
    with progress(f"compiling {file}"):
        plan = planned(module, sizes, pipeline)
        found = explain_plan(module, plan, sizes)
    if html is not None:
        from .report_page import write_page

        write_page(html, module, plan, found)
    if as_json:
        write_json(record(module, found, html))
    elif html is not None:
        write(f"wrote {html}")
    else:
        for part in explanation_text(module, plan, found):
            show(part)


def planned(module: Module, sizes: dict[str, int], pipeline: str | None) -> Plan:
    """What runs at these sizes: contractions are planned for them."""
    return compile_module(module, "numpy", {}, pipeline).plan_for(sized_outputs(module, sizes))


def explain_plan(module: Module, plan: Plan, sizes: dict[str, int]) -> Explanation:
    """The explanation of a plan of this program."""
    assert plan.program is not None, "the NumPy backend always makes a program"
    return explain(plan.report, plan.graph, plan.program, sizes, tuple(module.tensors))


def check_page(path: Path) -> None:
    """Raise ``OtusError`` where the page cannot be written, before anything is computed."""
    if path.is_dir():
        raise OtusError(f"{path} is a folder; give a file, such as {path / 'report.html'}")
    if path.suffix.lower() not in (".html", ".htm"):
        raise OtusError(f"a page cannot be written to {str(path)!r}; a name ending in .html is accepted")
    if not path.parent.is_dir():
        raise OtusError(f"{path} cannot be written: {path.parent} is not a folder")


# --- for a machine -----------------------------------------------------------------------------


def record(module: Module, found: Explanation, html: Path | None) -> dict[str, Any]:
    """The explanation for JSON; symbolic costs are text that SymPy reads."""
    return {
        "file": module.file,
        "outputs": list(found.outputs),
        "sizes": dict(found.sizes),
        "assumed": list(found.assumed),
        "html": None if html is None else str(html),
        "initial": cost_record(found.initial, found.sizes),
        "final": cost_record(found.final, found.sizes),
        "passes": [_pass_record(found, each) for each in found.passes],
        "steps": [
            {
                "made": {name: str(type) for name, type in step.made.items()},
                "kernel": step.kernel,
                "ir": step.ir,
                "flops": _size_record(found, step.flops),
                "bytes": _size_record(found, step.bytes),
            }
            for step in found.steps
        ],
        "largest_intermediate": _largest_record(found),
        "planned_peak_bytes": found.planned_peak,
        "unread": list(found.unread),
    }


def _largest_record(found: Explanation) -> dict[str, Any] | None:
    if found.largest is None:
        return None
    size = _size_record(found, found.largest.elements_bytes)
    return {"name": found.largest.name, "type": str(found.largest.type), "bytes": size}


def _size_record(found: Explanation, size: Size) -> dict[str, Any]:
    return {"symbolic": str(size), "value": found.count(size)}


def cost_record(value: Cost | None, sizes: Mapping[str, int]) -> dict[str, Any] | None:
    """A cost for JSON: symbolic, and a number where ``sizes`` settle it; None before derivatives are expanded."""
    if value is None:
        return None
    sized = value(sizes) if value.dims <= sizes.keys() else None
    return {
        "flops": {"symbolic": str(value.flops), "value": None if sized is None else sized.flops},
        "bytes": {"symbolic": str(value.bytes), "value": None if sized is None else sized.bytes},
        "peak_bytes": {"symbolic": str(value.peak_bytes), "value": None if sized is None else sized.peak_bytes},
    }


def _pass_record(found: Explanation, each: PassExplanation) -> dict[str, Any]:
    return {
        "name": each.name,
        "changed": each.changed,
        "seconds": each.seconds,
        "nodes_before": each.nodes_before,
        "nodes_after": each.nodes_after,
        "rules": [{"name": x.name, "count": x.count, "description": x.description} for x in each.rules],
        "before": cost_record(each.cost_before, found.sizes),
        "after": cost_record(each.cost_after, found.sizes),
        "difference": [f"{x.mark} {x.text}" for x in each.difference.lines if x.mark != EQUAL],
    }
