"""An explanation on a terminal: a verdict, the costs after each pass, what each did, the final plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from ..frontend.language import Module
from ..ir import Cost, SizedCost, human_bytes
from ..runtime.explanation import Explanation, PassExplanation
from ..runtime.plan_steps import Step
from ..runtime.planning import Plan
from ..runtime.quantities import change_text, human_count, leading_terms

_SHOWN_STEPS = 12
_TEXT_WIDTH = 32
_SMALL = 0.01  # steps below this share of the operations are summed up
NOT_EXPANDED = "not expanded yet"


def explanation_text(module: Module, plan: Plan, found: Explanation) -> Iterator[RenderableType]:
    """The parts of the text, in order."""
    yield f"[bold]{escape(module.file)}[/]: {escape(', '.join(found.outputs))}"
    if found.sizes:
        yield escape(sizes_text(found))
    yield f"[bold]{escape(verdict(found))}[/]"
    yield ""
    yield _cost_table(found)
    if found.counts_loops:
        yield f"\n[dim]{LOOPS}[/]"
    for each in found.passes:
        if each.changed:
            yield from _pass_text(found, each)
    yield from _plan_text(module, plan, found)


LOOPS = (
    "A product of several tensors counts as one loop over all its indices, without intermediates, until "
    "contract puts it in order."
)


def sizes_text(found: Explanation) -> str:
    """At which sizes the numbers are, and which of them nobody gave."""
    if not found.sizes:
        return ""
    listed = ", ".join(f"{name}={size}" for name, size in found.sizes.items())
    if not found.assumed:
        return f"at {listed}"
    which = "all assumed" if len(found.assumed) == len(found.sizes) else f"{', '.join(found.assumed)} assumed"
    return f"at {listed} ({which}: --dim {found.assumed[0]}=300 gives another size)"


def verdict(found: Explanation) -> str:
    """What a call costs now, each number with what the passes saved of it."""
    costs = found.at_sizes(found.initial), found.at_sizes(found.final)
    flops, moved, live = (change_text(old, new) for old, new in zip(*map(numbers, costs), strict=True))
    start = "the program as written" if found.starts_expanded else "the derivatives as first expanded"
    now = costs[1]
    return (
        f"Against {start}: {human_count(now.flops)} flops ({flops}), {human_bytes(now.bytes)} moved ({moved}), "
        f"{human_bytes(now.peak_bytes)} live at the peak ({live})."
    )


# --- costs -------------------------------------------------------------------------------------

COSTS = ("flops", "bytes moved", "peak bytes")


def _cost_table(found: Explanation) -> Table:
    """One row a pass: what the program costs after it."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("after")
    for heading in ("operations", "ms"):
        table.add_column(heading, justify="right")
    for heading in COSTS:
        table.add_column(heading, justify="right")
        table.add_column()
    for row in cost_rows(found):
        cells = [f"[green]{cell}[/]" if cell.endswith(" less") else cell for cell in row.cells]
        table.add_row(row.name, row.operations, row.milliseconds, *cells, style=None if row.changed else "dim")
    return table


@dataclass(frozen=True)
class CostRow:
    """The costs after a pass: each number beside what became of it; one cell says why there are none."""

    name: str
    operations: str
    milliseconds: str
    cells: tuple[str, ...]
    changed: bool = True


def cost_rows(found: Explanation) -> Iterator[CostRow]:
    """The costs as written and after every pass."""
    if found.passes:
        first = found.passes[0]
        yield CostRow("(as written)", str(first.nodes_before), "", _cost_cells(found, None, first.cost_before))
    for each in found.passes:
        time = f"{each.seconds * 1e3:.1f}"
        if each.changed:
            cells = _cost_cells(found, each.cost_before, each.cost_after)
            yield CostRow(each.name, str(each.nodes_after), time, cells)
        else:
            yield CostRow(each.name, "", time, ("", "changed nothing"), False)


def _cost_cells(found: Explanation, before: Cost | None, after: Cost | None) -> tuple[str, ...]:
    if after is None:
        return "", NOT_EXPANDED
    sized = found.at_sizes(after)
    texts = human_count(sized.flops), human_bytes(sized.bytes), human_bytes(sized.peak_bytes)
    if before is None:
        return tuple(cell for text in texts for cell in (text, ""))
    pairs = zip(numbers(found.at_sizes(before)), numbers(sized), strict=True)
    return tuple(cell for text, pair in zip(texts, pairs, strict=True) for cell in (text, change_text(*pair)))


def numbers(sized: SizedCost) -> tuple[int, int, int]:
    """The three numbers of a cost."""
    return sized.flops, sized.bytes, sized.peak_bytes


# --- one pass ----------------------------------------------------------------------------------


def _pass_text(found: Explanation, each: PassExplanation) -> Iterator[RenderableType]:
    yield f"\n[bold]{each.name}[/]: {operations_text(each)}"
    if each.rules:
        rules = Table.grid(padding=(0, 2, 0, 0))
        for rule in each.rules:
            rules.add_row(f"  {rule.name}", f"×{rule.count}", escape(rule.description))
        yield rules
    if found.has_symbols and (each.cost_before is not None or each.cost_after is not None):
        yield _symbolic_costs(found, each)


def operations_text(each: PassExplanation) -> str:
    """How many operations a pass took away and added."""
    change = each.difference
    return (
        f"{each.nodes_before} -> {each.nodes_after} operations "
        f"({change.equal} kept, {change.removed} gone, {change.added} new)"
    )


def _symbolic_costs(found: Explanation, each: PassExplanation) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for heading, text in zip(COSTS, symbolic_changes(found, each), strict=True):
        table.add_row(f"  {heading}", escape(text))
    return table


def symbolic_changes(found: Explanation, each: PassExplanation) -> list[str]:
    """The leading terms of the three costs, before and after where they differ."""
    before, after = found.terms(each.cost_before), found.terms(each.cost_after)
    if after is None:
        return [NOT_EXPANDED] * 3
    if before is None:
        return list(after)
    return [old if old == new else f"{old} -> {new}" for old, new in zip(before, after, strict=True)]


# --- the final plan ----------------------------------------------------------------------------


def _plan_text(module: Module, plan: Plan, found: Explanation) -> Iterator[RenderableType]:
    total = sum(found.count(step.flops) for step in found.steps)
    yield f"\n[bold]Where the cost is now[/]: {human_count(total)} flops in {len(found.steps)} kernel calls"
    yield _steps_table(module, plan, found, total)
    for text in closing_lines(found):
        yield escape(text)


def _steps_table(module: Module, plan: Plan, found: Explanation, total: int) -> Table:
    shown, rest = dearest(found, total)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("share", "flops"):
        table.add_column(heading, justify="right")
    if found.has_symbols:
        table.add_column("in the dims")
    for heading in ("result", "kernel", "from line"):
        table.add_column(heading, no_wrap=True)
    for step in shown:
        count = found.count(step.flops)
        terms = [escape(leading_terms(step.flops, found.sizes))] if found.has_symbols else []
        table.add_row(
            share_text(count, total), human_count(count), *terms,
            escape(shortened(step.result)), escape(step.kernel), escape(place(module, plan, step)),
        )  # fmt: skip
    if rest:
        count = sum(found.count(step.flops) for step in rest)
        terms = [""] if found.has_symbols else []
        table.add_row(share_text(count, total), human_count(count), *terms, f"[dim]{len(rest)} other calls[/]")
    return table


def dearest(found: Explanation, total: int) -> tuple[list[Step], list[Step]]:
    """The steps that matter, the dearest first, and the others."""
    ordered = sorted(found.steps, key=lambda step: -found.count(step.flops))
    shown = [step for step in ordered if found.count(step.flops) > _SMALL * total][:_SHOWN_STEPS]
    return shown, ordered[len(shown) :]


def share_text(count: int, total: int) -> str:
    """A share in percent."""
    share = 100 * count / total if total else 0.0
    return f"{share:.0f} %" if share >= 1 or count == 0 else "<1 %"


def place(module: Module, plan: Plan, step: Step) -> str:
    """The line of the program that a step comes from, with what stands there."""
    span = module.positions.get(plan.graph.origin(step.node))
    if span is None:
        return ""
    line = str(span.line) if span.file == module.file else f"{Path(span.file).name}:{span.line}"
    return f"{line}: {shortened(' '.join(span.text.split()))}"


def shortened(text: str) -> str:
    """At most so many characters of a text."""
    return text if len(text) <= _TEXT_WIDTH else text[: _TEXT_WIDTH - 1] + "…"


def closing_lines(found: Explanation) -> list[str]:
    """The largest intermediate, the peak, and the inputs that nothing reads."""
    peak = human_bytes(found.planned_peak)
    if found.largest is None:
        lines = [f"No intermediates; {peak} live at the peak, inputs and outputs included"]
    else:
        size = human_bytes(found.count(found.largest.elements_bytes))
        lines = [
            f"Largest intermediate: {found.largest.name}: {found.largest.type}, {size}; "
            f"{peak} live at the peak, inputs and outputs included"
        ]
    return [*lines, f"Inputs that no output needs: {', '.join(found.unread) or 'none'}"]
