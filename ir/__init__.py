"""The intermediate representation: one immutable tensor graph, and the program it becomes.

Text form
---------
``dump`` writes one operation a line and ``parse_ir`` reads it back to the very same objects::

    %A: f64[i,r] = input "A"
    %B: f64[j,r] = input "B"
    %0: f64[i,j] = einsum "ir,jr->ij" %A, %B
    return %0

::

    text       = line* "return" result
    line       = "%" name ":" type "=" operation STRING* fields? operands?
    type       = dtype "[" (size ("," size)*)? "]"          f64[i,r]; sizes are ints or i+1, 2*i, min(i, 3)
    fields     = "{" name "=" value ("," name "=" value)* "}"
    operands   = "%" name ("," "%" name)*
    result     = "%" name | "[" operands "]" | "{" STRING ":" "%" name, … "}"

The strings are an input's name, an einsum's subscripts, and a map's scalar expression followed by
its subscripts.  Lines that start with ``#`` are comments.
"""

from __future__ import annotations

from . import build, dims, formula, scalar
from .cost import Cost, SizedCost, cost, human_bytes
from .dims import Dim, Size, dim
from .drawing import to_networkx
from .dtypes import DType, as_dtype, promote
from .errors import (
    DTypeError,
    NamingError,
    OtusError,
    ParseError,
    ShapeError,
    UnsupportedError,
    VerificationError,
)
from .graph import Graph, check_input_names, verify
from .node import Node, make
from .operations import OPERATIONS, Operation
from .parser import parse_ir
from .printer import dump
from .specialise import specialise
from .traverse import inputs_of, substitute, topological
from .types import DENSE, Facts, Format, TensorType, make_type

__all__ = [
    "DENSE",
    "OPERATIONS",
    "Cost",
    "DType",
    "DTypeError",
    "Dim",
    "Facts",
    "Format",
    "Graph",
    "NamingError",
    "Node",
    "Operation",
    "OtusError",
    "ParseError",
    "ShapeError",
    "Size",
    "SizedCost",
    "TensorType",
    "UnsupportedError",
    "VerificationError",
    "as_dtype",
    "build",
    "check_input_names",
    "cost",
    "dim",
    "dims",
    "dump",
    "formula",
    "human_bytes",
    "inputs_of",
    "make",
    "make_type",
    "parse_ir",
    "promote",
    "scalar",
    "specialise",
    "substitute",
    "to_networkx",
    "topological",
    "verify",
]
