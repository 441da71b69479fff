"""What is certain about positions whatever the sizes are: ``max(0, e)`` is at least 0 and at least ``e``."""

from __future__ import annotations

from ...ir import Dim, Size
from ...ir.dims import Atom, Symbol, apply_function, dim


def is_never_negative(position: Size) -> bool:
    """Whether a position is at least 0, as far as the signs of its terms show it."""
    return _has_no_negative_term(position) or _has_no_negative_term(_lower(position))


def without_bound(position: Size) -> Size:
    """``e`` where a position is ``max(0, e)``, else the position itself."""
    if isinstance(position, Dim) and len(position.terms) == 1 and position.terms[0][1] == 1:
        ((atom, power), *rest) = position.terms[0][0]
        if power == 1 and not rest:
            return _argument(atom)
    return position


def _has_no_negative_term(size: Size) -> bool:
    if isinstance(size, int):
        return size >= 0
    return all(
        coefficient >= 0 and all(isinstance(atom, Symbol) or _is_bounded(atom) for atom, _ in monomial)
        for monomial, coefficient in size.terms
    )


def _lower(size: Size) -> Size:
    """A size that is at most ``size``: every ``max(0, e)`` that is added to the rest becomes ``e``."""
    if isinstance(size, int):
        return size
    total: Size = 0
    for monomial, coefficient in size.terms:
        value: Size = coefficient
        replaces = coefficient > 0 and len(monomial) == 1 and monomial[0][1] == 1
        for atom, power in monomial:
            for _ in range(power):
                value = value * (_argument(atom) if replaces else _as_size(atom))
        total = total + value
    return total


def _is_bounded(atom: Atom) -> bool:
    return not isinstance(atom, Symbol) and atom.name == "max" and 0 in (atom.left, atom.right)


def _argument(atom: Atom) -> Size:
    """``e`` of ``max(0, e)``; any other atom as a size."""
    if isinstance(atom, Symbol) or not _is_bounded(atom):
        return _as_size(atom)
    return atom.right if atom.left == 0 else atom.left


def _as_size(atom: Atom) -> Size:
    return dim(atom.name) if isinstance(atom, Symbol) else apply_function(atom.name, atom.left, atom.right)
