"""What ``OTUS_DEBUG`` prints and ``OTUS_DUMP`` writes while something compiles."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ..passes import PassRecord, describe
from .settings import settings


def show(report: Sequence[PassRecord], source: str) -> None:
    """Print to stderr what the debug level asks for, and dump the passes where a folder is set.

    Level 1 prints time and size of every pass, 2 the rules fired too, 3 the IR after each pass that
    changed something, 4 the emitted source.
    """
    current = settings()
    if current.debug >= 1:
        for record, text in zip(report, describe(report), strict=True):
            print(text if current.debug >= 2 else text.split("nodes")[0] + "nodes", file=sys.stderr)
            if current.debug >= 3 and record.changed:
                print(record.ir_after, file=sys.stderr)
    if current.debug >= 4:
        print(source, file=sys.stderr)
    if current.dump is not None:
        write_dumps(report, source, current.dump)


def write_dumps(report: Sequence[PassRecord], source: str, folder: Path) -> list[Path]:
    """Numbered files: the IR before the first pass and after each that changed it, the source, an index."""
    folder.mkdir(parents=True, exist_ok=True)
    index, written = [], []

    def write(name: str, text: str) -> None:
        path = folder / name
        path.write_text(text, encoding="utf-8")
        written.append(path)
        index.append(name)

    if report:
        write("00_parsed.ir", report[0].ir_before)
    for number, record in enumerate(report, 1):
        if record.changed:
            write(f"{number:02d}_{record.name}.ir", record.ir_after)
        else:
            index.append(f"{number:02d}_{record.name}: no change")
    if source:
        write(f"{len(report) + 1:02d}_source.py", source)
    path = folder / "index.txt"
    path.write_text("\n".join(index) + "\n", encoding="utf-8")
    return [*written, path]
