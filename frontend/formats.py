"""Storage formats: facts on a type about how its values are kept."""

from __future__ import annotations

from ..ir import DENSE, Format, ShapeError


def dense() -> Format:
    """Row-major strided storage."""
    return DENSE


def coo() -> Format:
    """Unstructured sparse: coordinates and values."""
    return Format("coo")


def csr() -> Format:
    """Compressed sparse rows, for matrices."""
    return Format("csr")


def csf() -> Format:
    """Compressed sparse fibres, for any order."""
    return Format("csf")


def bsr(bm: int, bn: int) -> Format:
    """Block sparse with blocks of ``bm`` × ``bn``."""
    if bm < 1 or bn < 1:
        raise ShapeError(f"bsr({bm}, {bn}): block sizes start at 1")
    return Format("bsr", (("bm", bm), ("bn", bn)))


def nm(n: int, m: int, axis: int = -1) -> Format:
    """``n`` values kept of every ``m`` consecutive ones along ``axis``; 2:4 is ``nm(2, 4)``."""
    if not 0 < n <= m:
        raise ShapeError(f"nm({n}, {m}): keep at least 1 and at most {m} of every {m}")
    return Format("nm", (("n", n), ("m", m), ("axis", axis)))


_SCHEMES = ("int", "fp8_e4m3", "fp8_e5m2")


def quant(bits: int, group: int | None = None, axis: int = -1, symmetric: bool = True, scheme: str = "int") -> Format:
    """Integer codes of ``bits`` bits with scales per tensor, channel (``group=-1``) or group."""
    if not 2 <= bits <= 8:
        raise ShapeError(f"quant: bits={bits}; use 2 to 8")
    if scheme not in _SCHEMES:
        raise ShapeError(f"quant: scheme={scheme!r} is unknown; use {', '.join(_SCHEMES)}")
    parameters = (("bits", bits), ("group", group), ("axis", axis), ("symmetric", symmetric), ("scheme", scheme))
    return Format("quant", parameters)
