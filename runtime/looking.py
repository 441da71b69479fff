"""What ``OTUS_DEBUG`` prints and ``OTUS_DUMP`` writes while something compiles."""

from __future__ import annotations

import sys

from ..passes import describe
from .planning import Plan
from .settings import settings
from .stages import function_folder, write_stages


def show(plan: Plan, name: str) -> None:
    """Print to stderr what the debug level asks for, and write the stages where a folder is set.

    ``name`` is that of the function, which has a folder of its own there: ``1-kernel``, ``2-kernel``, ….

    Level 1 prints time and size of every pass, 2 the rules fired too, 3 the IR after each pass that
    changed something, 4 the emitted source.
    """
    current = settings()
    if current.debug >= 1:
        for record, text in zip(plan.report, describe(plan.report), strict=True):
            print(text if current.debug >= 2 else text.split("nodes")[0] + "nodes", file=sys.stderr)
            if current.debug >= 3 and record.changed:
                print(record.ir_after, file=sys.stderr)
    if current.debug >= 4 and plan.emitted is not None:
        print(plan.emitted.source, file=sys.stderr)
    if current.dump is not None:
        write_stages(plan, function_folder(current.dump, name))
