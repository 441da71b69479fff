"""Nested results: single values, tuples, lists and dicts of tensors, as flat lists and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Composite(Protocol):
    """A value that stands for several tensors, such as a compressed derivative."""

    def leaves(self) -> list[Any]:
        """The tensors it is made of."""

    def with_values(self, values: Sequence[Any]) -> Any:
        """The same over the values of its leaves."""

    def size_inputs(self) -> list[Any]:
        """Inputs that the leaves may not read, but whose shapes they may need."""


def flatten(value: Any, is_leaf: Callable[[Any], bool]) -> list[Any]:
    """The leaves of nested tuples, lists and dicts, in order."""
    if not is_leaf(value):
        if isinstance(value, dict):
            return [leaf for item in value.values() for leaf in flatten(item, is_leaf)]
        if isinstance(value, (tuple, list)):
            return [leaf for item in value for leaf in flatten(item, is_leaf)]
        if isinstance(value, Composite):
            return value.leaves()
    return [value]


def rebuild(value: Any, leaves: Sequence[Any], is_leaf: Callable[[Any], bool]) -> Any:
    """The structure of ``value`` with its leaves replaced in order."""
    return _rebuild(value, iter(leaves), is_leaf)


def rebuilder(value: Any, is_leaf: Callable[[Any], bool]) -> Callable[[Sequence[Any]], Any]:
    """:func:`rebuild` as a function of the leaves alone, quick for a flat tuple, list or dict.

    >>> rebuilder({"a": 1, "b": 2}, lambda value: isinstance(value, int))([3, 4])
    {'a': 3, 'b': 4}
    """
    if type(value) in (tuple, list) and all(is_leaf(item) for item in value):
        return type(value)
    if type(value) is dict and all(is_leaf(item) for item in value.values()):
        keys = tuple(value)
        return lambda leaves: dict(zip(keys, leaves, strict=True))
    return lambda leaves: rebuild(value, leaves, is_leaf)


def _rebuild(value: Any, leaves: Iterator[Any], is_leaf: Callable[[Any], bool]) -> Any:
    if not is_leaf(value):
        if isinstance(value, dict):
            return {key: _rebuild(item, leaves, is_leaf) for key, item in value.items()}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*(_rebuild(item, leaves, is_leaf) for item in value))
        if isinstance(value, (tuple, list)):
            return type(value)(_rebuild(item, leaves, is_leaf) for item in value)
        if isinstance(value, Composite):
            return value.with_values([next(leaves) for _ in value.leaves()])
    return next(leaves)


def paths(value: Any, is_leaf: Callable[[Any], bool], prefix: str = "") -> list[str]:
    """A name for each leaf: dict keys and positions joined by underscores."""
    if not is_leaf(value):
        if isinstance(value, dict):
            return [p for key, item in value.items() for p in paths(item, is_leaf, _join(prefix, key))]
        if isinstance(value, (tuple, list)):
            return [p for k, item in enumerate(value) for p in paths(item, is_leaf, _join(prefix, k))]
        if isinstance(value, Composite):
            return [_join(prefix, k) for k in range(len(value.leaves()))]
    return [prefix]


def _join(prefix: str, key: object) -> str:
    return f"{prefix}_{key}" if prefix else str(key)


def composites(value: Any, is_leaf: Callable[[Any], bool]) -> list[Composite]:
    """The composites inside nested tuples, lists and dicts."""
    if is_leaf(value):
        return []
    if isinstance(value, dict):
        return [c for item in value.values() for c in composites(item, is_leaf)]
    if isinstance(value, (tuple, list)):
        return [c for item in value for c in composites(item, is_leaf)]
    return [value] if isinstance(value, Composite) else []
