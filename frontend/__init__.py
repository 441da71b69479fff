"""Expressions from Python and from text: everything that builds a graph."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from .expression import Expression, as_expression  # first: the modules below need it

# isort: split

from . import (
    contraction,
    creation,
    derivatives,
    elementwise,
    formats,
    indexing,
    linear_algebra,
    reductions,
    shaping,
)
from .einsum import einsum

_INTERNAL = {"get_item", "slice_range", "as_shape"}


def _public(*modules: ModuleType) -> dict[str, Callable[..., Any]]:
    """The functions that the modules define, by name."""
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if callable(value)
        and not isinstance(value, type)
        and getattr(value, "__module__", None) == module.__name__
        and not name.startswith("_")
        and name not in _INTERNAL
    }


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **_public(elementwise, contraction, reductions, shaping, indexing, creation, linear_algebra, derivatives),
    "einsum": einsum,
}
FORMATS: dict[str, Callable[..., Any]] = _public(formats)

__all__ = ["FORMATS", "FUNCTIONS", "Expression", "as_expression"]
