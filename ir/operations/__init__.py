"""The closed set of operations.  One class is one row: parameters, arity, type rule, facts.

A new operation is a class in one of these modules and a name in :data:`OPERATIONS`; its other
meanings are tables in ``autodiff``, ``runtime``, ``passes`` and ``codegen``, and
``tests/test_completeness.py`` says which are missing.
"""

from __future__ import annotations

from .algebra import Cast, CumulativeSum, Einsum, LinearCombination, Map, Reduce
from .base import Operation
from .blockwise import COMBINATIONS, Blockwise, Window, maximum_of, placeholder_label, relative_to
from .derivative import Derivative
from .leaves import Constant, Delta, Extent, Input, Iota
from .linear_algebra import (
    QR,
    SVD,
    Cholesky,
    Determinant,
    HermitianEigen,
    Inverse,
    LeastSquares,
    PseudoInverse,
    SignedLogDeterminant,
    Solve,
)
from .movement import Broadcast, Concatenate, Pad, Reshape, ScatterAdd, Slice, Take

OPERATIONS: dict[str, type[Operation]] = {
    cls.name: cls
    for cls in (
        Input, Constant, Delta, Iota, Extent,
        Einsum, Map, LinearCombination, Reduce, CumulativeSum, Cast,
        Broadcast, Reshape, Slice, Pad, Concatenate, Take, ScatterAdd,
        Inverse, Solve, Cholesky, Determinant, SignedLogDeterminant, HermitianEigen, QR, SVD,
        PseudoInverse, LeastSquares,
        Derivative, Blockwise,
    )
}  # fmt: skip

__all__ = [
    "COMBINATIONS",
    "OPERATIONS",
    "QR",
    "SVD",
    "Blockwise",
    "Broadcast",
    "Cast",
    "Cholesky",
    "Concatenate",
    "Constant",
    "CumulativeSum",
    "Delta",
    "Derivative",
    "Determinant",
    "Einsum",
    "Extent",
    "HermitianEigen",
    "Input",
    "Inverse",
    "Iota",
    "LeastSquares",
    "LinearCombination",
    "Map",
    "Operation",
    "Pad",
    "PseudoInverse",
    "Reduce",
    "Reshape",
    "ScatterAdd",
    "SignedLogDeterminant",
    "Slice",
    "Solve",
    "Take",
    "Window",
    "maximum_of",
    "placeholder_label",
    "relative_to",
]
