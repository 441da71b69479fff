"""A loop over blocks of one axis, whose body is a graph of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..dims import Dim, Size, dim, symbols
from ..errors import ShapeError, VerificationError, nearest
from ..types import TensorType
from .base import Operation, check_axes
from .leaves import Constant, Input

if TYPE_CHECKING:
    from ..node import Node

Window = tuple[str, int | None, int | None]

# How results that lack the cut index are put together from those of the blocks.
COMBINATIONS = ("sum", "prod", "max", "min", "any", "all", "logsumexp")
_RELATIVE = "relative "


def relative_to(position: int) -> str:
    """How a result is joined that is a sum relative to the maximum that is result ``position``.

    The body's value is proportional to ``exp(-m)``, where ``m`` is the maximum of its block, or 0 where that is not
    finite.  The whole is the same relative to the maximum of all blocks: each block's
    value is multiplied by ``exp(m - maximum)`` (M. Milakov and N. Gimelshein, arXiv 1805.02867, algorithm 3).

    >>> relative_to(0), maximum_of(relative_to(0)), maximum_of("sum")
    ('relative 0', 0, None)
    """
    return f"{_RELATIVE}{position}"


def maximum_of(join: int | str) -> int | None:
    """The result that holds the maximum which a result is relative to; None for all other joins."""
    number = join.removeprefix(_RELATIVE) if isinstance(join, str) and join.startswith(_RELATIVE) else ""
    return int(number) if number.isdecimal() else None


@dataclass(frozen=True)
class Blockwise(Operation):
    """The body's values, computed for ``block`` positions of one index at a time and put together.

    ``body`` are nodes over the placeholders ``x0``, ``x1``, …, which stand for the operands.  The index
    that is cut has ``size`` positions; in the body its size is the dim called ``symbol``, since the last
    block may be shorter.  Operand ``k`` is cut along its axis ``cut[k]``, or handed over whole where that
    is None.  Value ``k`` of the body is written to its blocks along axis ``join[k]`` of the result, or
    combined over the blocks where ``join[k]`` names how (``"sum"``, ``"max"``, …; :func:`relative_to`).  This node is
    result ``result``; nodes that differ in nothing else are computed by one loop.  ``concurrent`` says that
    several blocks may be at work at once, each with intermediates of its own.

    ``window`` is ``(symbol, low, high)`` where the loop stands within another one, whose blocks are called ``symbol``,
    and only blocks near the one that this has at work give anything: blocks need not be visited that lie before
    ``first + low`` or beyond ``last + high`` as a whole, ``first`` and ``last`` being the positions at the ends of that
    block.  None is no limit on that side.  It changes no value.

    ``strip`` says that products within a block sum so many positions of a longer index at a time, None that they sum
    all at once.
    """

    name: ClassVar[str] = "blockwise"
    arity: ClassVar[int | None] = None
    body: tuple[Node, ...]
    size: Size
    block: int
    cut: tuple[int | None, ...]
    join: tuple[int | str, ...]
    result: int = 0
    symbol: str = "block"
    concurrent: bool = False
    window: Window | None = None
    strip: int | None = None

    @property
    def is_nest(self) -> bool:
        """Whether a program of a GPU takes a block, and goes through blocks of another index in a loop of its own."""
        return self.concurrent and any(isinstance(node.op, Blockwise) for node in _nodes(self.body))

    def infer(self, operands: tuple[TensorType, ...]) -> TensorType:
        """The type of the body's value, with the whole index where it has a block of it."""
        for name, count in (("blocks", self.block), ("strips", self.strip)):
            if count is not None and count < 1:
                raise ShapeError(f"blockwise: {name} of {count} positions; 1 or more are accepted")
        if len(self.cut) != len(operands) or len(self.join) != len(self.body) or not 0 <= self.result < len(self.body):
            raise VerificationError(
                f"blockwise: {len(self.cut)} cuts for {len(operands)} operands, {len(self.join)} joins for "
                f"{len(self.body)} values, and result {self.result}"
            )
        if self.window is not None and (self.concurrent or self.window[0] == self.symbol):
            raise VerificationError(
                f"blockwise: a window {self.window} for a loop over {self.symbol}"
                f"{' whose blocks may run at once' if self.concurrent else ''}; it is for one within another loop"
            )
        self._check_placeholders(operands)
        return self._whole(self.body[self.result].type, self.join[self.result])

    def placeholder_type(self, position: int, operand: TensorType) -> TensorType:
        """What the body sees of operand ``position``: the block of it, or all."""
        axis = self.cut[position]
        if axis is None:
            return operand.plain()
        check_axes("blockwise", (axis,), operand.ndim)
        if operand.shape[axis] != self.size:
            raise ShapeError(
                f"blockwise: operand {position} has size {operand.shape[axis]} along axis {axis}, "
                f"and the index that is cut has size {self.size}"
            )
        shape = (*operand.shape[:axis], dim(self.symbol), *operand.shape[axis + 1 :])
        return TensorType(shape, operand.dtype)

    def _check_placeholders(self, operands: tuple[TensorType, ...]) -> None:
        expected = {placeholder_label(k): self.placeholder_type(k, x) for k, x in enumerate(operands)}
        if self.symbol in symbols(self.size) or any(self.symbol in _symbols(x.shape) for x in operands):
            raise VerificationError(f"blockwise: the dim {self.symbol} of the blocks is a dim of the operands too")
        for node in body_leaves(self.body):
            if isinstance(node.op, Constant):
                raise VerificationError("blockwise: the body holds a constant; it is to be an operand")
            if isinstance(node.op, Input) and expected.get(node.op.label) != node.type:
                raise ShapeError(
                    f"blockwise: the body reads {node.op.label}: {node.type}, and the operands give "
                    f"{', '.join(f'{name}: {type}' for name, type in expected.items()) or 'nothing'}"
                )

    def _whole(self, value: TensorType, join: int | str) -> TensorType:
        shape = list(value.shape)
        if isinstance(join, str):
            maximum = maximum_of(join)
            if maximum is not None and (maximum >= len(self.join) or self.join[maximum] != "max"):
                raise VerificationError(f"blockwise: a value is joined {join!r}, and result {maximum} is no maximum")
            if maximum is None and join not in COMBINATIONS:
                raise ShapeError(
                    f"blockwise: unknown combination {join!r}{nearest(join, COMBINATIONS)}; "
                    f"known are {', '.join(COMBINATIONS)}"
                )
        else:
            check_axes("blockwise", (join,), value.ndim)
            if shape[join] != dim(self.symbol):
                raise ShapeError(f"blockwise: axis {join} of the body's {value} is not a block")
            shape[join] = self.size
        if self.symbol in _symbols(shape):
            raise ShapeError(f"blockwise: the body's {value} depends on the size of the block elsewhere")
        return TensorType(tuple(shape), value.dtype)


def placeholder_label(position: int) -> str:
    """The name by which a body reads operand ``position``."""
    return f"x{position}"


def body_leaves(body: Sequence[Node]) -> list[Node]:
    """The nodes without operands that a body reads."""
    return [node for node in _nodes(body) if not node.operands]


def _nodes(body: Sequence[Node]) -> list[Node]:
    found: dict[Node, None] = {}
    stack = list(body)
    while stack:
        node = stack.pop()
        if node not in found:
            found[node] = None
            stack.extend(node.operands)
    return list(found)


def _symbols(shape: Sequence[Size]) -> frozenset[str]:
    return frozenset().union(*(symbols(size) for size in shape if isinstance(size, Dim)))
