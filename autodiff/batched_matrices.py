"""What the rules of matrix operations are written with: batched products, masks, adjoints.

The literature writes ``df = Re tr(Āᴴ dA)``; cotangents follow JAX, ``df = Re Σ g·dA``, and so are the
conjugates of the literature's ``Ā``.  :func:`by_adjoints` turns a rule of the one kind into the other.
"""

from __future__ import annotations

from collections.abc import Callable

from ..ir import Node, Size, build
from ..ir.dims import minimum
from ..ir.operations import LinearCombination, Map, Pad
from ..ir.scalar import Scalar, argument, call

Factor = tuple[Node, str]
MatrixRule = Callable[[Node, int, Node, int], Node | None]


class Batched:
    """Products of matrices that share batch axes, some of which carry the caller's extra axes.

    A factor is ``(node, roles)``: roles is two letters for rows and columns (one for a vector), and
    an upper-case ``E`` in front where the node has the extra axes.
    """

    def __init__(self, extra: int, batch: int) -> None:
        self.extra = [("extra", k) for k in range(extra)]
        self.batch = [("batch", k) for k in range(batch)]

    def product(self, output: str, *factors: Factor) -> Node:
        """The einsum of the factors, with the extra and batch axes in front of ``output``'s letters.

        Real factors become complex where another is.
        """
        names: dict[object, int] = {}
        inputs = [self._number(roles, names) for _, roles in factors]
        nodes = [node for node, _ in factors]
        dtype = next((x.type.dtype for x in nodes if x.type.dtype.kind == "complex"), nodes[0].type.dtype)
        return build.contract([build.cast(x, dtype) for x in nodes], inputs, self._number(output, names))

    def _number(self, roles: str, names: dict[object, int]) -> list[int]:
        lead = [*self.extra, *self.batch] if roles.startswith("E") else list(self.batch)
        return [names.setdefault(label, len(names)) for label in [*lead, *roles.removeprefix("E")]]


def by_adjoints(rule: MatrixRule) -> MatrixRule:
    """A rule for JAX's cotangents from one for the literature's ``Ā``."""

    def conjugated(node: Node, position: int, g: Node, extra: int) -> Node | None:
        found = rule(node, position, build.conjugate(g), extra)
        return None if found is None else build.conjugate(found)

    conjugated.__doc__ = rule.__doc__
    return conjugated


def transposed(node: Node) -> Node:
    """The last two axes exchanged."""
    return build.transpose(node, [*range(node.ndim - 2), node.ndim - 1, node.ndim - 2])


def adjoint(node: Node) -> Node:
    """The conjugate of the last two axes exchanged."""
    return build.conjugate(transposed(node))


def hermitian_part(node: Node) -> Node:
    """``(X + Xᴴ)/2``."""
    return build.linear_combination([0.5, 0.5], [node, adjoint(node)])


def twice_skew_part(node: Node) -> Node:
    """``X − Xᴴ``."""
    return build.linear_combination([1, -1], [node, adjoint(node)])


def masked(node: Node, keep: str, scale: float = 1.0) -> Node:
    """``scale`` times the entries where row and column compare as ``keep`` (``"ge"`` is the lower triangle)."""
    rank = node.ndim
    rows, columns = build.iota(node.type.shape[-2]), build.iota(node.type.shape[-1])
    expression: Scalar = call("where", call(keep, argument(1), argument(2)), argument(0), 0.0)
    kept = build.map_node(expression, [node, rows, columns], [range(rank), [rank - 2], [rank - 1]], rank)
    return build.scale(scale, build.cast(kept, node.type.dtype))


def half_lower(node: Node) -> Node:
    """The lower triangle with its diagonal halved."""
    return build.add(masked(node, "gt"), masked(node, "eq", 0.5))


def part(node: Node, axis: int, start: Size, size: Size) -> Node:
    """A range of one axis, which may count from the end."""
    starts: list[Size] = [0] * node.ndim
    sizes = list(node.type.shape)
    starts[axis], sizes[axis] = start, size
    return build.slice_node(node, starts, sizes, [1] * node.ndim)


def vanishes_beyond(node: Node, axis: int, size: Size) -> bool:
    """Whether ``node`` is known to be 0 from position ``size`` of ``axis`` on, as the cotangent of a slice is."""
    op = node.op
    if isinstance(op, Pad):
        end = op.starts[axis] + node.operands[0].type.shape[axis] * op.steps[axis]
        return op.steps[axis] > 0 and minimum(end, size) == end
    if isinstance(op, LinearCombination) or (isinstance(op, Map) and op.expression is call("conj", argument(0))):
        aligned = all(labels == tuple(range(op.rank)) for labels in op.inputs)
        return aligned and all(vanishes_beyond(x, axis, size) for x in node.operands)
    return False
