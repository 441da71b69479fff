"""Passes: graph to graph, and at last graph to program.

The default pipeline is :data:`DEFAULT_PIPELINE`; ``parse_pipeline`` reads another from text.
"""

from __future__ import annotations

from .block import Block
from .contract import ContractionOrder
from .distribute import Distribute
from .expand import Expand, innermost_requests
from .factor import FACTOR_RULES, Factor
from .fuse import Fuse
from .grouped import Grouped
from .late_scales import LateScales
from .manager import Checker, Pass, PassRecord, Pipeline, Report, describe, graph_text
from .manager import parse_pipeline as _parse_pipeline
from .moments import Moments
from .outside import Outside
from .shared_solves import SharedSolves
from .sharpen import Sharpen
from .simplify import SIMPLIFY_RULES, Simplify
from .slice import Slice
from .stabilise import Stabilise
from .symmetric_product import SYMMETRIC_RULES, SymmetricProduct
from .tile import Tile
from .widen import Widen

_ALL = (
    Stabilise,
    Expand,
    Simplify,
    Sharpen,
    Distribute,
    SharedSolves,
    Widen,
    ContractionOrder,
    Factor,
    SymmetricProduct,
    Fuse,
    Tile,
    LateScales,
    Grouped,
    Outside,
    Moments,
    Block,
    Slice,
)
PASSES: dict[str, type[Pass]] = {cls.name: cls for cls in _ALL}
DEFAULT_PIPELINE = "stabilise,expand,simplify,sharpen,distribute,solves,widen,contract,factor,symmetric,fuse,block"
SIMPLIFY_PIPELINE = "stabilise,expand,simplify"
# What differs from the default: compiled loops are worth it sooner, and keep what is between in registers.
_PIPELINES = {
    "reference": "expand",
    # A kernel saves a pass over memory wherever there are two, and its tiles are its own affair.
    # Its numbers are float32 within kernels, and products of halves are what the matrix units are for.
    "triton": DEFAULT_PIPELINE.replace("widen,", "").replace(
        "block",
        "tile,late_scales,grouped,outside,moments,block{large=1,elements=1048576,row=2097152,alone=0,products=2,positions=16384,columns=32768}",
    ),
    "c": DEFAULT_PIPELINE.replace("block", "block{large=8192,elements=32768,row=8192}"),
}


def default_pipeline(backend: str) -> str:
    """The pipeline for a backend, where none is given."""
    return _PIPELINES.get(backend, DEFAULT_PIPELINE)


def parse_pipeline(text: str) -> Pipeline:
    """Read pipeline text such as ``"expand,simplify,contract"``.

    Raises ``ParseError`` for an unknown pass or option, suggesting the nearest.

    >>> str(parse_pipeline("expand, simplify"))
    'expand,simplify'
    """
    return _parse_pipeline(text, PASSES)


__all__ = [
    "DEFAULT_PIPELINE",
    "FACTOR_RULES",
    "PASSES",
    "SIMPLIFY_PIPELINE",
    "SIMPLIFY_RULES",
    "SYMMETRIC_RULES",
    "Block",
    "Checker",
    "Pass",
    "PassRecord",
    "Pipeline",
    "Report",
    "Slice",
    "Tile",
    "default_pipeline",
    "describe",
    "graph_text",
    "innermost_requests",
    "parse_pipeline",
]
