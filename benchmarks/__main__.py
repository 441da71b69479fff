"""``python -m benchmarks --suite NAME``: a table of times, Otus beside its peers.

The suites are those of ``SUITES``; ``cpu`` is all that measure time there, ``planned`` prints planned costs, and
``gpu`` measures on a GPU, or where there is none (or with ``--interpret``) runs its rows at tiny sizes.
``--json FILE`` writes every figure with the machine, the versions and the threads.  Exit status 1 where an
answer differs from that of Otus; times are never judged.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
import warnings
from pathlib import Path

from .machine import cores, use_threads

SUITES = ("hessians", "gradients", "products", "elementwise", "decompositions", "overhead", "compile")
MODULES = {"compile": "compiling"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--suite", choices=(*SUITES, "cpu", "planned", "gpu"), default="cpu")
    parser.add_argument("--rows", metavar="TEXT", default="", help="only rows whose name contains this")
    parser.add_argument("--repetitions", type=int, default=7, metavar="NUMBER", help="rounds; 7 unless told")
    parser.add_argument("--threads", type=int, metavar="NUMBER", help="cores to keep to; all unless told")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--interpret", action="store_true", help="suite gpu: tiny sizes, in Triton's interpreter")
    parser.add_argument("--list", action="store_true", help="list the rows and stop")
    arguments = parser.parse_args()
    if arguments.repetitions < 2:
        parser.error(f"--repetitions {arguments.repetitions}: at least 2 are needed for a spread")
    os.environ["OTUS_CACHE"] = "0"  # what is measured is what this version compiles
    if arguments.threads is not None:
        use_threads(arguments.threads)
    if arguments.suite == "planned":
        from .planned import main as planned

        return planned()
    if arguments.suite == "gpu":
        from .gpu.report import measure as measure_gpu

        return measure_gpu(arguments)
    return measure(arguments)


def measure(arguments: argparse.Namespace) -> int:
    """Run the rows one by one, print each when it is done, and write the JSON at the end."""
    from .harness import run_row
    from .machine import describe
    from .report import head, line, record

    warnings.simplefilter("ignore")  # of the peers, about what they are asked to do
    machine, start = describe(), time.perf_counter()
    print(head(machine), flush=True)
    records, wrong = [], []
    for suite in SUITES if arguments.suite == "cpu" else (arguments.suite,):
        rows = importlib.import_module(f"{__package__}.{MODULES.get(suite, suite)}").ROWS
        for row in rows:
            if arguments.rows.lower() not in row.name.lower():
                continue
            if arguments.list:
                print(f"{suite}: {row.name}")
                continue
            outcome = run_row(row, arguments.repetitions)
            wrong += [f"{row.name}: {name}: {outcome.reasons[name]}" for name in outcome.wrong]
            records.append({"suite": suite, **record(outcome)})
            print(line(outcome), flush=True)
            if arguments.json is not None:  # after every row, so that a run that is cut short leaves its figures
                report = {"machine": machine, "threads": cores(), "repetitions": arguments.repetitions}
                report |= {"seconds": time.perf_counter() - start, "load_after": list(os.getloadavg()), "rows": records}
                arguments.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if not arguments.list:
        seconds = time.perf_counter() - start
        print(f"\n{len(records)} rows in {seconds:.0f} s; load average at the end {os.getloadavg()[0]:.1f}")
    for each in wrong:
        print(f"answers differ: {each}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
