"""Which inputs an expression came from that it reads no more, but whose shapes say what its sizes are.

A Hessian such as ``2·δ[i,i']·V[j,r]·V[j,s]`` does not read ``U[i,r]``, whose rows are the size of the delta.
Who rewrites an expression remembers its inputs here, and who compiles the result finds them, so that
calls may pass them by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from weakref import WeakKeyDictionary

from ..ir import Node, inputs_of
from ..ir.dims import symbols
from ..ir.specialise import free_symbols, node_symbols
from ..ir.traverse import dependents, input_label, topological

_remembered: WeakKeyDictionary[Node, tuple[Node, ...]] = WeakKeyDictionary()


def remember_inputs(outputs: Sequence[Node], inputs: Sequence[Node]) -> None:
    """Note that ``outputs`` came from expressions of ``inputs``.

    So do the parts that have such sizes, since a sum or product that is built further may take ``outputs``
    apart.  Leaves do not: a delta or a constant belongs to no expression.
    """
    missing = _undetermined(outputs)
    telling = tuple(node for node in inputs if missing & _sizes_of(node))
    if not telling:
        return
    order = topological(outputs)
    for node in dependents(order, [x for x in order if missing & node_symbols(x)]):
        if node.operands or node in outputs:
            _remembered[node] = telling


def remembered_inputs(outputs: Sequence[Node]) -> tuple[Node, ...]:
    """Inputs that ``outputs`` came from and that give sizes which their own inputs do not."""
    missing = _undetermined(outputs)
    if not missing:
        return ()
    taken = {input_label(node) for node in inputs_of(outputs)}
    found = dict.fromkeys(each for node in topological(outputs) for each in _remembered.get(node, ()))
    return tuple(node for node in found if missing & _sizes_of(node) and input_label(node) not in taken)


def _undetermined(outputs: Sequence[Node]) -> frozenset[str]:
    """The dims that the outputs depend on and that their own inputs do not have."""
    known: Iterable[frozenset[str]] = map(_sizes_of, inputs_of(outputs))
    return free_symbols(outputs) - frozenset().union(*known)


def _sizes_of(node: Node) -> frozenset[str]:
    return frozenset().union(*map(symbols, node.type.shape))
