"""Binding symbolic dims to the sizes of the arrays that a caller passes.

Sizes that are one symbol bind it; then sizes in which one unbound symbol is linear (``i+1``,
``2*i``, ``i*j`` with ``j`` known) are solved for it; then every axis is checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ..ir import Dim, NamingError, Node, ShapeError, Size
from ..ir.dims import Symbol, apply_function, evaluate, symbols
from ..ir.traverse import input_label


class HasShape(Protocol):
    """Anything with a shape: a NumPy array, a torch tensor."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes."""


# One axis of one given array: the tensor's node, the axis, the declared size, the given size.
Axis = tuple[Node, int, Size, int]


def bind_sizes(
    inputs: Sequence[Node], arrays: Sequence[HasShape], sizes: Mapping[str, int] | None = None
) -> dict[str, int]:
    """The size of every symbol of the types of ``inputs``, from ``arrays`` in the same order.

    ``sizes`` are known beforehand (``dims=`` of a call); they must agree with the arrays.

    Raises ``ShapeError`` for a wrong rank, for two different sizes of one dim, and for an axis
    whose size is not what its type says; ``NamingError`` where the arrays do not determine a dim.
    """
    axes = [axis for node, array in zip(inputs, arrays, strict=True) for axis in _axes(node, array)]
    bound = {name: int(size) for name, size in (sizes or {}).items()}
    origins = {name: f"{size} was given for it" for name, size in bound.items()}
    for axis in axes:
        _bind_symbol(axis, bound, origins)
    while any(_solve_linear(axis, bound, origins) for axis in axes):
        pass
    for axis in axes:
        _check(axis, bound, origins)
    return bound


def _axes(node: Node, array: HasShape) -> list[Axis]:
    shape, declared = tuple(array.shape), node.type.shape
    if len(shape) != len(declared):
        raise ShapeError(
            f"tensor {input_label(node)!r} was given with shape {shape}, {len(shape)} axes; "
            f"its type {node.type} has {len(declared)}"
        )
    return [(node, k, declared[k], int(shape[k])) for k in range(len(shape))]


def _place(axis: Axis) -> str:
    node, position, _, given = axis
    return f"axis {position} of tensor {input_label(node)!r} ({node.type}) has size {given}"


def _bind_symbol(axis: Axis, bound: dict[str, int], origins: dict[str, str]) -> None:
    _, _, declared, given = axis
    name = declared.symbol_name if isinstance(declared, Dim) else None
    if name is None:
        return
    if bound.setdefault(name, given) != given:
        raise ShapeError(
            f"dim {name} has two sizes, {bound[name]} and {given}: {origins[name]}, "
            f"but {_place(axis)}; give all axes called {name} one size"
        )
    origins.setdefault(name, _place(axis))


def _solve_linear(axis: Axis, bound: dict[str, int], origins: dict[str, str]) -> bool:
    """Bind the one unbound symbol of a compound size if it is linear in it; say whether it was."""
    _, _, declared, given = axis
    if not isinstance(declared, Dim):
        return False
    unbound = sorted(symbols(declared) - bound.keys())
    if len(unbound) != 1:
        return False
    (name,) = unbound
    factors = _linear_factors(declared, name, bound)
    if factors is None or factors[0] == 0:
        return False
    factor, rest = factors
    value, remainder = divmod(given - rest, factor)
    if remainder or value < 0:
        raise ShapeError(
            f"{_place(axis)}, which is {declared} for no {name}; sizes that fit start {_examples(factor, rest)}"
        )
    bound[name], origins[name] = value, _place(axis)
    return True


def _linear_factors(size: Dim, name: str, bound: Mapping[str, int]) -> tuple[int, int] | None:
    """``(a, b)`` with ``size = a·name + b``, or None where it is not linear in ``name``."""
    factor, rest = 0, 0
    for monomial, coefficient in size.terms:
        power, value = 0, coefficient
        for atom, exponent in monomial:
            if atom == Symbol(name):
                power = exponent
            elif isinstance(atom, Symbol):
                value *= bound[atom.name] ** exponent
            elif name in symbols(atom.left) | symbols(atom.right):
                return None
            else:
                inner = apply_function(atom.name, atom.left, atom.right)
                value *= evaluate(inner, bound) ** exponent
        if power > 1:
            return None
        factor, rest = (factor + value, rest) if power else (factor, rest + value)
    return factor, rest


def _check(axis: Axis, bound: Mapping[str, int], origins: Mapping[str, str]) -> None:
    _, _, declared, given = axis
    free = sorted(symbols(declared) - bound.keys())
    if free:
        raise NamingError(
            f"{_place(axis)}, which does not determine {' and '.join(free)}; "
            f"give sizes, for example dims={{{free[0]!r}: 8}}"
        )
    expected = evaluate(declared, bound)
    if expected == given:
        return
    if isinstance(declared, int):
        raise ShapeError(f"{_place(axis)}; its type says {declared}")
    names = sorted(symbols(declared))
    reasons = "; ".join(f"{name} is {bound[name]}: {origins[name]}" for name in names)
    raise ShapeError(f"{_place(axis)}, but {declared} is {expected} ({reasons})")


def _examples(factor: int, rest: int) -> str:
    fitting = [value for value in (factor * k + rest for k in range(abs(rest) + 4)) if value >= 0]
    return ", ".join(map(str, fitting[:3])) + ", …" if fitting else "nowhere"
