"""Memory limits: pipelines that keep one."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir import NamingError, Node
from ..ir.specialise import free_symbols
from ..passes import Block, Pipeline, Slice
from ..passes.memory.limit import MemoryLimitError, parse_bytes

__all__ = ["MemoryLimitError", "keeping", "parse_bytes", "require_sizes"]


def keeping(limit: int | str | None, pipeline: Pipeline) -> Pipeline:
    """The pipeline with a last pass that keeps the limit; the same one without a limit.

    Loops that only save time are left out: they would hold blocks on every core.  Raises ``OtusError`` for a
    limit that is not a size.
    """
    if limit is None:
        return pipeline
    others = [each for each in pipeline.passes if not isinstance(each, Block)]
    return Pipeline((*others, Slice(memory=str(parse_bytes(limit)))))


def require_sizes(outputs: Sequence[Node]) -> None:
    """Raise ``NamingError`` for a dim without a size, since what fits depends on it."""
    unknown = sorted(free_symbols(outputs))
    if unknown:
        raise NamingError(
            f"a memory limit needs every size, and dim {unknown[0]} has none; give it one, "
            f"for example dims={{{unknown[0]!r}: 8}}"
        )
