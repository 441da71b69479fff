"""Memory limits as users write them, and the error where one cannot be kept."""

from __future__ import annotations

import re

from ...ir import OtusError
from ...ir.errors import MemoryLimitError

__all__ = ["MemoryLimitError", "parse_bytes"]

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
          "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}  # fmt: skip
_LIMIT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*\Z")


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
