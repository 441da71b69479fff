"""What a graph costs: floating-point operations, bytes moved, and peak memory.

Conventions: a pairwise contraction takes two operations per multiply-add; everything else one per
scalar operation, signs being free; every operand is read once and every result written once.  Peak is the most
that is live at once when nodes run in order, inputs and outputs included.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

from .dims import Dim, Size, ceil_divide, evaluate, minimum, product, substitute, symbols, to_sympy
from .errors import NamingError, nearest
from .node import Node, label_sizes
from .operations import (
    SVD,
    Blockwise,
    CumulativeSum,
    Delta,
    Derivative,
    Einsum,
    HermitianEigen,
    Input,
    LeastSquares,
    LinearCombination,
    Map,
    PseudoInverse,
    Reduce,
    ScatterAdd,
    Solve,
)
from .operations.linear_algebra import QR, Cholesky, Determinant, Inverse, SignedLogDeterminant
from .scalar import Call, postorder
from .traverse import topological

if TYPE_CHECKING:
    import sympy


@dataclass(frozen=True)
class SizedCost:
    """A cost at known sizes: operations, bytes moved, and peak bytes."""

    flops: int
    bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class Cost:
    """A cost as exact polynomials in the dims; call it with sizes for integers.

    >>> from otus.ir import build, make_type
    >>> a = build.input_node("A", make_type(("i", "j")))
    >>> b = build.input_node("B", make_type(("j", "k")))
    >>> cost([build.einsum([a, b], [(0, 1), (1, 2)], (0, 2))]).flops
    2*i*j*k
    """

    work: Size
    traffic: Size
    live: tuple[Size, ...]
    others: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def flops(self) -> sympy.Expr:
        """Scalar operations."""
        return to_sympy(self.work)

    @property
    def bytes(self) -> sympy.Expr:
        """Bytes read and written."""
        return to_sympy(self.traffic)

    @property
    def peak_bytes(self) -> sympy.Expr:
        """The most bytes that are live at once."""
        import sympy

        return sympy.Max(*map(to_sympy, self.live)) if len(self.live) > 1 else to_sympy(self.live[0])

    def __call__(self, sizes: Mapping[str, int] | None = None, /, **dims: int) -> SizedCost:
        """The cost at these sizes; raises ``NamingError`` for a dim that has none, and for an unknown one.

        A mapping may hold sizes of dims that the cost does not depend on; those given by name may not,
        but for dims of the program (``others``).
        """
        for name in dims.keys() - self.dims - self.others:
            hint = nearest(name, self.dims) or f"; the dims are {', '.join(sorted(self.dims)) or 'all fixed'}"
            raise NamingError(f"the cost does not depend on a dim {name!r}{hint}")
        known = {**(sizes or {}), **dims}
        peak = max(evaluate(size, known) for size in self.live)
        return SizedCost(evaluate(self.work, known), evaluate(self.traffic, known), peak)

    @property
    def dims(self) -> frozenset[str]:
        """The dims that the cost depends on."""
        return frozenset().union(*map(symbols, (self.traffic, self.work, *self.live)))


def cost(outputs: Sequence[Node], others: Iterable[str] = ()) -> Cost:
    """The cost of computing ``outputs`` together, every shared node once.

    ``others`` are dims of the program that the cost need not depend on.
    """
    order = topological(outputs)
    return Cost(total_flops(outputs), _total_traffic(outputs), _live_sizes(order, outputs), frozenset(others))


def total_flops(outputs: Sequence[Node]) -> Size:
    """The scalar operations of computing ``outputs`` together; the results of one factorisation come at once."""
    total: Size = 0
    for node in {_factorisation_key(node): node for node in _computed(outputs)}.values():
        total = total + flops(node)
    return total


def _factorisation_key(node: Node) -> object:
    """What the results of one factorisation have in common; any other node itself."""
    if not isinstance(node.op, (HermitianEigen, QR, SVD, SignedLogDeterminant)):
        return node
    return type(node.op), replace(node.op, result=""), node.operands


def _total_traffic(outputs: Sequence[Node]) -> Size:
    total: Size = 0
    for node in _computed(outputs):
        total = total + _traffic(node)
    return total


def _computed(outputs: Sequence[Node]) -> list[Node]:
    """The nodes of ``outputs``, one alone for each loop."""
    order = topological(outputs)
    return [node for node in order if not _is_made_before(node, order)]


def node_bytes(node: Node) -> Size:
    """Bytes that the value of ``node`` takes when stored densely (eighths of a byte rounded up)."""
    bits = node.type.dtype.bits
    count = product(node.type.shape)
    return count * (bits // 8) if bits >= 8 else -1 * ((-1 * count * bits) // 8)


def flops(node: Node) -> Size:
    """Scalar operations that ``node`` itself takes."""
    match node.op:
        case Einsum():
            return _einsum_flops(node)
        case Map(expression=expression):
            count = sum(isinstance(part, Call) and part.function != "neg" for part in postorder(expression))
            return product(node.type.shape) * count
        case LinearCombination():
            return _sum_flops(node)
        case Reduce(kind="logsumexp"):  # largest, difference, exponential, sum; then its logarithm and the largest
            return product(node.operands[0].type.shape) * 4 + product(node.type.shape) * 2
        case Reduce() | CumulativeSum():
            return product(node.operands[0].type.shape)
        case ScatterAdd():
            return product(node.operands[2].type.shape)
        case Blockwise():
            return _loop_flops(node.op)
    return _matrix_flops(node)


def _sum_flops(node: Node) -> Size:
    """An addition a term and a multiplication a coefficient; diagonals that a dense tensor takes in, on them alone."""
    assert isinstance(node.op, LinearCombination)
    whole = product(node.type.shape)
    points = [_diagonal_points(x) if x.ndim == node.ndim else None for x in node.operands]
    if points.count(None) != 1 or node.op.coefficients[points.index(None)] != 1:
        points = [None] * len(points)
    total: Size = -1 * whole
    for coefficient, diagonal in zip(node.op.coefficients, points, strict=True):
        total = total + (whole if diagonal is None else diagonal) * (1 + (abs(coefficient) != 1))
    return total


def _diagonal_points(node: Node) -> Size | None:
    """The number of elements that deltas leave of a tensor; None where it is no embedding."""
    if isinstance(node.op, Delta):
        return node.op.size
    if not isinstance(node.op, Einsum):
        return None
    labels = {label for names in node.op.inputs for label in names}
    deltas = [names for x, names in zip(node.operands, node.op.inputs, strict=True) if isinstance(x.op, Delta)]
    if not deltas or labels != set(node.op.output):
        return None
    tied = {names[1] for names in deltas}
    sizes = dict(zip(node.op.output, node.type.shape, strict=True))
    return product(size for label, size in sizes.items() if label not in tied)


def _einsum_flops(node: Node) -> Size:
    assert isinstance(node.op, Einsum)
    sizes = label_sizes(node.operands, node.op.inputs)
    summed = len(set(sizes)) > len(node.op.output)
    if not summed and any(isinstance(x.op, Delta) for x in node.operands):
        return _embedding_flops(node, sizes)
    if summed and _is_square(node):
        # Two per multiply-add, over the entries on one side of the diagonal and on it.
        first, second = node.op.inputs
        rows = product(sizes[label] for label in first if label not in second)
        return product(sizes[label] for label in first if label in second) * rows * (rows + 1)
    points = product(sizes.values())
    return points * (len(node.operands) - 1 + summed)


def _is_square(node: Node) -> bool:
    """Whether a matrix is multiplied with its own transpose: half of the result is the other half."""
    assert isinstance(node.op, Einsum)
    if len(node.operands) != 2 or node.operands[0] is not node.operands[1]:
        return False
    first, second = node.op.inputs
    distinct = len(set(first)) == len(first) and len(set(second)) == len(second)
    apart = [(a, b) for a, b in zip(first, second, strict=True) if a != b]
    return distinct and bool(apart) and all(a not in second and b not in first for a, b in apart)


def _embedding_flops(node: Node, sizes: Mapping[int, Size]) -> Size:
    """Deltas place what the other operands multiply out to on a diagonal; they multiply nothing themselves."""
    assert isinstance(node.op, Einsum)
    pairs = zip(node.op.inputs, node.operands, strict=True)
    tensors = [labels for labels, operand in pairs if not isinstance(operand.op, Delta)]
    points = product(sizes[x] for x in dict.fromkeys(x for labels in tensors for x in labels))
    return points * max(len(tensors) - 1, 0)


# Leading-order operation counts of LAPACK's algorithms for an m × n matrix (Golub and Van Loan,
# Matrix Computations, 4th edition), as coefficient · m·n·min(m, n); fractions are rounded up.  An inverse is
# a solve for the identity, which is what NumPy calls.
_MATRIX_COEFFICIENTS: dict[type, tuple[int, int]] = {
    Inverse: (8, 3), Solve: (2, 3), Cholesky: (1, 3), Determinant: (2, 3),
    SignedLogDeterminant: (2, 3), HermitianEigen: (9, 1), QR: (4, 1), SVD: (14, 1),
    PseudoInverse: (16, 1), LeastSquares: (14, 1),
}  # fmt: skip


def _matrix_flops(node: Node) -> Size:
    if type(node.op) not in _MATRIX_COEFFICIENTS:
        return 0
    numerator, denominator = _MATRIX_COEFFICIENTS[type(node.op)]
    *batch, rows, columns = node.operands[0].type.shape
    cube = product(batch) * rows * columns * minimum(rows, columns)
    total = -1 * ((-1 * numerator * cube) // denominator)
    if isinstance(node.op, (Solve, LeastSquares)):
        total = total + 2 * product(batch) * rows * columns * node.operands[1].type.shape[-1]
    return total


def _traffic(node: Node) -> Size:
    if isinstance(node.op, (Input, Derivative)) or node.op.view:
        return 0
    if isinstance(node.op, Blockwise):
        return _repeated(_total_traffic(node.op.body), node.op)
    total = node_bytes(node)
    for operand in dict.fromkeys(node.operands):
        total = total + node_bytes(operand)
    return total


# --- loops over blocks -------------------------------------------------------------------------


def loop_family(node: Node, order: Sequence[Node]) -> list[Node]:
    """The nodes of ``order`` that one loop computes together with ``node``."""
    key = _loop_key(node)
    return [other for other in order if isinstance(other.op, Blockwise) and _loop_key(other) == key]


def _loop_key(node: Node) -> tuple[object, ...]:
    assert isinstance(node.op, Blockwise)
    op = node.op
    return (*(getattr(op, f.name) for f in fields(op) if f.name != "result"), node.operands)


def _is_made_before(node: Node, order: Sequence[Node]) -> bool:
    """Whether a loop has computed the node together with another that comes first."""
    return isinstance(node.op, Blockwise) and loop_family(node, order)[0] is not node


def _loop_flops(op: Blockwise) -> Size:
    """The body's for every block, and the combining of results that are not written side by side."""
    work = total_flops(op.body)
    for value, join in zip(op.body, op.join, strict=True):
        if isinstance(join, str):
            work = work + product(value.type.shape)
    return _repeated(work, op)


def _repeated(amount: Size, op: Blockwise) -> Size:
    """``amount`` added up over the blocks; an upper bound where the number of blocks is symbolic."""
    if not isinstance(op.size, int):
        return ceil_divide(op.size, op.block) * substitute(amount, {op.symbol: op.block})
    full, rest = divmod(op.size, op.block)
    total = full * substitute(amount, {op.symbol: op.block})
    return total + substitute(amount, {op.symbol: rest}) if rest else total


def _loop_live(op: Blockwise) -> list[Size]:
    """The bytes that the body has live at its steps; what it reads are views of the operands."""
    block = op.block if not isinstance(op.size, int) else min(op.block, op.size)
    return [substitute(size, {op.symbol: block}) for size in _live_sizes(topological(op.body), op.body, False)]


# --- memory ------------------------------------------------------------------------------------


def _live_sizes(order: Sequence[Node], outputs: Sequence[Node], with_inputs: bool = True) -> tuple[Size, ...]:
    """The bytes live at each step, in order, with steps dropped that another plainly exceeds."""
    released = _releases(order, outputs)
    current: Size = 0
    for node in order:
        if isinstance(node.op, Input) and with_inputs:
            current = current + node_bytes(node)
    largest = current if isinstance(current, int) else 0
    symbolic: dict[Dim, None] = {}
    for step, node in enumerate(order):
        made = _made_at(node, order)
        for result in made:
            current = current + node_bytes(result)
        inner = _loop_live(node.op) if made and isinstance(node.op, Blockwise) else [0]
        for size in (current + extra for extra in inner):
            if isinstance(size, int):
                largest = max(largest, size)
            else:
                symbolic[size] = None
        for gone in released.get(step, ()):
            current = current - node_bytes(gone)
    return _undominated(list(symbolic), largest)


def _made_at(node: Node, order: Sequence[Node]) -> list[Node]:
    """The tensors that get memory of their own when ``node`` is computed."""
    if isinstance(node.op, Input) or node.op.view or _is_made_before(node, order):
        return []
    return loop_family(node, order) if isinstance(node.op, Blockwise) else [node]


def _releases(order: Sequence[Node], outputs: Sequence[Node]) -> dict[int, list[Node]]:
    """The nodes whose memory is free after each step; views keep what they look at alive."""
    owner: dict[Node, Node] = {}
    last_use: dict[Node, int] = {}
    for step, node in enumerate(order):
        owner[node] = owner[node.operands[0]] if node.op.view else node
        last_use[owner[node]] = step
        for operand in node.operands:
            last_use[owner[operand]] = step
    kept = {owner[node] for node in outputs} | {node for node in order if isinstance(node.op, Input)}
    released: dict[int, list[Node]] = {}
    for node, step in last_use.items():
        if node not in kept:
            released.setdefault(step, []).append(node)
    return released


def _undominated(sizes: list[Dim], number: int) -> tuple[Size, ...]:
    """Drop sizes that another exceeds coefficient by coefficient (all symbols are ≥ 0)."""
    kept: list[Size] = []
    for size in sizes:
        if any(_exceeds(other, size) for other in kept):
            continue
        kept = [other for other in kept if not _exceeds(size, other)] + [size]
    if not kept or (number > 0 and not any(_exceeds(size, number) for size in kept)):
        kept.append(number)
    return tuple(kept)


def _exceeds(larger: Size, smaller: Size) -> bool:
    difference = larger - smaller
    if isinstance(difference, int):
        return difference >= 0
    return all(coefficient >= 0 for _, coefficient in difference.terms)


def human_bytes(count: int) -> str:
    """A byte count as a person reads it: ``"1.5 MiB"``."""
    if count < 1024:
        return f"{count} B"
    power = min(int(math.log(count, 1024)), 4)
    return f"{count / 1024**power:.4g} {['B', 'KiB', 'MiB', 'GiB', 'TiB'][power]}"
