"""What data can make fail while a function runs: singular matrices, indices out of range."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir import Graph, Node, OtusError, ShapeError
from ..ir.printer import line, node_names
from ..ir.specialise import UnfitSizeError

if TYPE_CHECKING:
    from ..codegen import Emitted, Statement

_SHORT_TEXT = 60  # characters of a user's text that a message quotes


class EvaluationError(OtusError):
    """The data have no result: the operation that failed is named."""


class LinearAlgebraError(EvaluationError, np.linalg.LinAlgError):
    """A matrix is singular, or not positive definite, or a factorisation did not converge."""


class IndexRangeError(EvaluationError, IndexError):
    """An index lies outside the axis it is used on."""


class ValueRangeError(EvaluationError, ValueError):
    """NumPy has no value for these elements, such as an integer to a negative power."""


_KINDS: tuple[tuple[type[Exception], type[EvaluationError]], ...] = (
    (np.linalg.LinAlgError, LinearAlgebraError),
    (IndexError, IndexRangeError),
    (ValueError, ValueRangeError),
)


DATA_ERRORS: tuple[type[Exception], ...] = tuple(theirs for theirs, _ in _KINDS)
"""What NumPy raises where data have no result."""

Positions = Callable[[Node], Any]
"""Where the user wrote what a node computes, or None."""


def explained(error: Exception, emitted: Emitted | None, position: Positions = lambda node: None) -> OtusError:
    """One of NumPy's errors about data as an Otus error that names the operation and its place.

    It is NumPy's error too, so that code which catches those goes on working.
    """
    if isinstance(error, OtusError):
        return error
    kind = next(ours for theirs, ours in _KINDS if isinstance(error, theirs))
    failed = _statement(error.__traceback__, emitted)
    place = f", in {failed.ir}{_from(position(failed.node))}" if failed else ""
    return kind(f"{error}{place}")


def unfit(error: UnfitSizeError, graph: Graph, position: Positions) -> ShapeError:
    """The error that names the operation of ``graph`` which the sizes of a call do not fit, and its place."""
    if error.node is None:
        return error
    operation = line(error.node, node_names(graph.nodes(), graph.labels))
    return ShapeError(f"{error}, in {operation}{_from(position(error.node))}")


def _from(position: Any) -> str:
    """Where the user wrote it: the place, and the text itself where it is short."""
    if position is None:
        return ""
    text = " ".join(str(getattr(position, "text", "")).split())
    return f", from {position}" + (f": {text}" if 0 < len(text) <= _SHORT_TEXT else "")


def _statement(trace: TracebackType | None, emitted: Emitted | None) -> Statement | None:
    """The emitted statement that failed."""
    while trace is not None and emitted is not None:
        if trace.tb_frame.f_code.co_filename.startswith("<otus "):
            for statement in emitted.statements:
                if statement.first <= trace.tb_lineno <= statement.last:
                    return statement
        trace = trace.tb_next
    return None
