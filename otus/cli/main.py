"""The command line as a whole: its commands, and what becomes of errors.

Exit status: 0 done; 1 the input is wrong, with a diagnostic on stderr; 2 usage; 3 a bug in Otus,
with a file on disk that reproduces it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import typer
from typer.main import get_command

from ..frontend.language import LanguageError
from ..ir import OtusError, VerificationError
from . import bench, check, compile, demo, diff, doctor, dump, explain, run_program
from .console import ReaderGone, complain, note, write, write_json
from .failures import save_reproduction, version

DONE, WRONG_INPUT, USAGE, BUG = 0, 1, 2, 3

EPILOG = """\b
A program is a file such as quadratic.otus:
  dim n
  tensor x[n], H[n,n]
  f = x[a] * H[a,b] * x[b]
  g = grad(f, x)

\b
Example:
  otus run quadratic.otus --dim n=3 --in x=ones --in H=random:0

Exit status: 0 done, 1 the input is wrong, 2 usage, 3 a bug in Otus.
"""

app = typer.Typer(
    name="otus",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run", epilog=run_program.EXAMPLE)(run_program.run)
app.command("compile", epilog=compile.EXAMPLE)(compile.compile)
app.command("dump", epilog=dump.EXAMPLE)(dump.dump)
app.command("explain", epilog=explain.EXAMPLE)(explain.explain_command)
app.command("diff", epilog=diff.EXAMPLE)(diff.diff)
app.command("check", epilog=check.EXAMPLE)(check.check)
app.command("bench", epilog=bench.EXAMPLE)(bench.bench)
app.command("demo", epilog=demo.EXAMPLE)(demo.demo)
app.command("doctor", epilog=doctor.EXAMPLE)(doctor.doctor)


def _show_version(wanted: bool) -> None:
    if wanted:
        write(f"otus {version('otus')}")
        raise typer.Exit


@app.callback()
def otus(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Compile tensor expressions and their derivatives to NumPy."""


def main(arguments: Sequence[str]) -> int:
    """Run the command with ``arguments`` and return its exit status.

    >>> main(["--version"])  # doctest: +ELLIPSIS
    otus ...
    0
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # terminals without UTF-8 still see every message
    try:
        status = _status(arguments)
        sys.stdout.flush()
    except (ReaderGone, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return DONE
    return status


def _status(arguments: Sequence[str]) -> int:
    try:
        get_command(app)(list(arguments), prog_name="otus")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else DONE
    except (ReaderGone, BrokenPipeError):
        raise
    except VerificationError as error:
        return _report_bug(error, arguments)
    except (OtusError, OSError) as error:
        return _refuse(error, arguments)
    except np.linalg.LinAlgError as error:
        return _refuse(f"linear algebra failed on these data: {error}", arguments)
    except MemoryError as error:
        return _refuse(f"out of memory: {error or 'smaller sizes are accepted'}", arguments)
    except Exception as error:  # noqa: BLE001  the one place where bugs end
        return _report_bug(error, arguments)
    return DONE


def _refuse(error: Exception | str, arguments: Sequence[str]) -> int:
    """Say what is wrong with the input: on stderr, and on stdout for a machine that asked for JSON."""
    complain(error)
    if "--json" in arguments:
        diagnostics = error.diagnostics if isinstance(error, LanguageError) else ()
        write_json(
            {
                "error": str(error),
                "diagnostics": [
                    {
                        "message": each.message,
                        "hint": each.hint,
                        "file": each.span.file,
                        "line": each.span.line,
                        "column": each.span.column,
                        "end_line": each.span.end_line,
                        "end_column": each.span.end_column,
                    }
                    for each in diagnostics
                ],
            }
        )
    return WRONG_INPUT


def _report_bug(error: Exception, arguments: Sequence[str]) -> int:
    path = save_reproduction(error, arguments)
    complain(f"this is a bug in Otus: {type(error).__name__}: {error}")
    note(f"Please report it, with the file that reproduces it: {path}")
    return BUG


def run() -> None:
    """The entry point: run the command with the arguments of this process, and exit."""
    sys.exit(main(sys.argv[1:]))
