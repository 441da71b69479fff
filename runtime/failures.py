"""What data can make fail while a function runs: singular matrices, indices out of range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from ..codegen import Emitted
from ..ir import OtusError


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


def guarded(run: Callable[..., Sequence[Any]], emitted: Emitted | None) -> Callable[..., Sequence[Any]]:
    """``run``, with NumPy's errors about data raised as Otus errors that name the operation.

    They are NumPy's errors too, so that code which catches those goes on working.
    """

    def call(*arrays: Any) -> Sequence[Any]:
        try:
            return run(*arrays)
        except OtusError:
            raise
        except (np.linalg.LinAlgError, IndexError, ValueError) as error:
            kind = next(ours for theirs, ours in _KINDS if isinstance(error, theirs))
            place = _operation(error.__traceback__, emitted)
            raise kind(f"{error}{f', in {place}' if place else ''}") from error

    return call


def _operation(trace: TracebackType | None, emitted: Emitted | None) -> str:
    """The IR line of the statement that failed."""
    while trace is not None and emitted is not None:
        if trace.tb_frame.f_code.co_filename.startswith("<otus "):
            for statement in emitted.statements:
                if statement.first <= trace.tb_lineno <= statement.last:
                    return statement.ir
        trace = trace.tb_next
    return ""
