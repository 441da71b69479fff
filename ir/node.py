"""Nodes: immutable, interned applications of operations to nodes.

Building the same expression twice gives the same object, so equality is identity and a
common subexpression exists once by construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakValueDictionary

from .dims import Size
from .operations.base import Operation
from .types import TensorType


class Node:
    """One tensor value: an operation applied to operands, with its inferred type.

    Make nodes with :func:`make` or the functions of :mod:`otus.ir.build`, never directly.
    """

    __slots__ = ("__weakref__", "op", "operands", "type")
    op: Operation
    operands: tuple[Node, ...]
    type: TensorType

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"nodes are immutable; {name} cannot be set")

    def __reduce__(self) -> tuple[object, ...]:
        """As text, which reads back to this very node and is as deep as one line."""
        from .parser import parse_ir
        from .printer import dump

        return parse_ir, (dump(self),)

    def __copy__(self) -> Node:
        return self

    def __deepcopy__(self, memo: object) -> Node:
        return self

    def __repr__(self) -> str:
        return f"<{self.type} = {self.op.name}>"

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.type.shape)


_interned: WeakValueDictionary[tuple[Operation, tuple[Node, ...]], Node] = WeakValueDictionary()
_set = object.__setattr__


def make(op: Operation, *operands: Node) -> Node:
    """Return the one node that applies ``op`` to ``operands``.

    Raises ``ShapeError`` or ``DTypeError`` where the operation has no value for these operands.
    """
    key = (op, operands)
    known = _interned.get(key)
    if known is not None:
        return known
    op.check_arity(len(operands))
    inferred = op.infer(tuple(x.type for x in operands))
    node = object.__new__(Node)
    _set(node, "op", op)
    _set(node, "operands", operands)
    _set(node, "type", inferred)
    return _interned.setdefault(key, node)


def label_sizes(operands: Sequence[Node], inputs: Sequence[Sequence[int]]) -> dict[int, Size]:
    """The size of each label of aligned operands, ``inputs[k]`` being the labels of the axes of operand ``k``."""
    return {
        label: size
        for operand, labels in zip(operands, inputs, strict=True)
        for label, size in zip(labels, operand.type.shape, strict=True)
    }
