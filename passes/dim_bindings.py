"""How a program finds its symbolic sizes from the shapes of its inputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..ir import Dim, NamingError, Node, Size
from ..ir.dims import dim, substitute, symbols
from ..ir.operations import Input
from ..ir.program import DimBinding
from ..ir.specialise import node_symbols


def bind_dims(nodes: Sequence[Node], read: Sequence[Node], available: Sequence[Node]) -> tuple[DimBinding, ...]:
    """One binding for each symbol that ``nodes`` depend on, in an order in which each can be computed.

    Inputs of ``read`` come first; one of ``available`` serves for its shape where those do not
    determine a dim.  Raises ``NamingError`` where no input does.
    """
    wanted = sorted(set().union(*(node_symbols(node) for node in nodes), ()))
    found: dict[str, DimBinding] = {}
    _bind(read, found)
    if any(name not in found for name in wanted):
        _bind([*read, *available], found)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise NamingError(
            f"no input determines the size of dim {missing[0]}; give it one, for example dims={{{missing[0]!r}: 8}}"
        )
    return tuple(_closure(found, wanted))


def _axes(inputs: Iterable[Node]) -> list[tuple[str, int, Dim]]:
    return [
        (node.op.label, axis, size)
        for node in inputs
        if isinstance(node.op, Input)
        for axis, size in enumerate(node.type.shape)
        if isinstance(size, Dim)
    ]


def _bind(inputs: Iterable[Node], found: dict[str, DimBinding]) -> None:
    """Bind bare symbols, then symbols that compound sizes are linear in, until nothing changes."""
    axes = _axes(inputs)
    for label, axis, size in axes:
        if size.symbol_name is not None:
            found.setdefault(size.symbol_name, DimBinding(size.symbol_name, label, axis))
    changed = True
    while changed:
        changed = False
        for label, axis, size in axes:
            unbound = symbols(size) - found.keys()
            if len(unbound) != 1:
                continue
            (name,) = unbound
            factors = _linear_factors(size, name)
            if factors is not None:
                found[name] = DimBinding(name, label, axis, *factors)
                changed = True


def _linear_factors(size: Dim, name: str) -> tuple[Size, Size] | None:
    """``(scale, offset)`` with ``size = scale·name + offset``, or None where it is not of that form."""
    offset = substitute(size, {name: 0})
    scale = substitute(size, {name: 1}) - offset
    if name in symbols(scale) or scale == 0 or scale * dim(name) + offset != size:
        return None
    return scale, offset


def _closure(found: dict[str, DimBinding], wanted: Sequence[str]) -> list[DimBinding]:
    """The bindings of ``wanted`` and of what they are computed from, in the order they were found."""
    needed, stack = set(), list(wanted)
    while stack:
        name = stack.pop()
        if name not in needed:
            needed.add(name)
            stack.extend(symbols(found[name].scale) | symbols(found[name].offset))
    return [binding for name, binding in found.items() if name in needed]
