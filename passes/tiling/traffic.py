"""Whether tiles are worth it: bytes of scores that go through memory against products that are computed again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ...ir import Node
from ...ir import operations as ops
from ...ir.dims import evaluate
from ...ir.loop_steps import MOST_WHOLE
from .scores import Scores
from .spaces import space_of
from .sweeps import Sweep

LEAST = 16  # what matrix units multiply


def is_contraction(node: Node) -> bool:
    """Whether a node multiplies two tensors and sums: a matrix product, were it not in tiles."""
    space = space_of(node)
    return isinstance(node.op, ops.Einsum) and len(node.operands) == 2 and bool(space and space.reduced)


def is_matrix_product(node: Node) -> bool:
    """Whether each operand of a contraction has an index of the result that the other lacks; others run in streams."""
    space = space_of(node)
    if space is None or not is_contraction(node):
        return False
    first, second = (set(labels) & set(space.output) for labels in space.inputs)
    return bool(first - second) and bool(second - first)


def saved_bytes(scores: Scores, sizes: Mapping[str, int]) -> int:
    """Bytes of scores written and read by whole matrix products, between which elementwise work is fused."""
    readers = Counter(operand for x in scores.exits if is_matrix_product(x) for operand in set(x.operands))
    total = 0
    for node in scores.members:
        uses = (2 if is_matrix_product(node) else 0) + (1 + readers[node] if readers[node] else 0)
        total += uses * elements(node, sizes) * node.type.dtype.bits // 8
    return total


def repeated_flops(scores: Scores, sweeps: Sequence[Sweep], sizes: Mapping[str, int]) -> int:
    """Operations of products that make scores, for every sweep that computes them again."""
    total = 0
    for node in scores.members:
        if is_contraction(node):
            times = sum(node in needed_members(sweep, scores) for sweep in sweeps)
            total += (times - 1) * product_flops(node, sizes)
    return total


def needed_members(sweep: Sweep, scores: Scores) -> set[Node]:
    """The scores that a sweep computes."""
    found: set[Node] = set()
    stack = list(sweep.exits)
    while stack:
        for operand in stack.pop().operands:
            if operand in scores.members and operand not in found:
                found.add(operand)
                stack.append(operand)
    return found


def inner_sizes(scores: Scores, sweeps: Sequence[Sweep], sizes: Mapping[str, int]) -> list[int]:
    """The positions of each index that is whole in a tile."""
    cut = {scores.rows, scores.columns, *scores.batch}
    found: dict[int, int] = {}
    nodes = [*scores.members, *scores.exits]
    places = [(x.operands, scores.operands[x]) for x in nodes]
    places += [(x.operands, labels) for sweep in sweeps for x, labels in sweep.operands.items()]
    for operands, labels in places:
        for operand, its in zip(operands, labels, strict=True):
            for label, size in zip(its, operand.type.shape, strict=True):
                if label not in cut:
                    found[label] = evaluate(size, sizes)
    return list(found.values())


def fits_tiles(inner: Sequence[int]) -> bool:
    """Whether what is whole in a tile is short."""
    return all(size <= MOST_WHOLE for size in inner)


def padded(count: int) -> int:
    """The positions that a tile has of an index that is whole in it."""
    return 1 if count == 1 else max(power_of_two(count), LEAST)


def power_of_two(count: int) -> int:
    """The least one that is not below a number."""
    return 1 << max(count - 1, 0).bit_length()


def elements(node: Node, sizes: Mapping[str, int]) -> int:
    """The number of elements."""
    total = 1
    for size in node.type.shape:
        total *= evaluate(size, sizes)
    return total


def product_flops(node: Node, sizes: Mapping[str, int]) -> int:
    """Two operations for each multiply-add."""
    space = space_of(node)
    assert space is not None
    found = {label: evaluate(size, sizes) for operand, labels in zip(node.operands, space.inputs, strict=True)
             for label, size in zip(labels, operand.type.shape, strict=True)}  # fmt: skip
    total = 2
    for size in found.values():
        total *= size
    return total
