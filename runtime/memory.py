"""Memory limits: reading them, and holding a plan against one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..ir import Node, OtusError, cost, human_bytes, topological
from ..ir.cost import node_bytes
from ..ir.dims import evaluate
from ..ir.operations import Input

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
          "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}  # fmt: skip
_LIMIT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*\Z")


class MemoryLimitError(OtusError):
    """No plan keeps the memory limit."""


def parse_bytes(limit: int | str) -> int:
    """Bytes from a number or text such as ``"2GiB"``; raises ``OtusError`` for anything else.

    >>> parse_bytes("1.5 KiB")
    1536
    """
    if isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0:
        return limit
    match = _LIMIT.match(limit) if isinstance(limit, str) else None
    if match is None or match[2].lower() not in _UNITS:
        raise OtusError(f"memory limit {limit!r} is not a size; write bytes, or text such as '512MiB' or '2GB'")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def check_memory_limit(outputs: Sequence[Node], limit: int | str, sizes: Mapping[str, int]) -> None:
    """Raise ``MemoryLimitError`` unless everything that is live at once, inputs aside, fits ``limit``.

    The error names the largest tensor that is made, its size, and the least limit that would do.
    Raises ``NamingError`` for a dim without a size.
    """
    allowed = parse_bytes(limit)
    made = [node for node in topological(outputs) if not isinstance(node.op, Input)]
    inputs = [node for node in topological(outputs) if isinstance(node.op, Input)]
    given = sum(evaluate(node_bytes(node), sizes) for node in inputs)
    needed = cost(outputs)(sizes).peak_bytes - given
    if needed <= allowed:
        return
    largest = max(made, key=lambda node: 0 if node.op.view else evaluate(node_bytes(node), sizes))
    size = evaluate(node_bytes(largest), sizes)
    raise MemoryLimitError(
        f"a limit of {human_bytes(allowed)} cannot be kept: the largest tensor is {largest.type} from "
        f"{largest.op.name}, of {human_bytes(size)}; a limit of {needed} bytes ({human_bytes(needed)}) would do"
    )
