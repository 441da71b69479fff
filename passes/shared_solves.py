"""The pass that factors a matrix once for everything that is solved with it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..ir import Graph, Node, Size, build, make
from ..ir.operations import Concatenate, Inverse, Solve
from ..ir.traverse import dependents, rebuild
from .algebra.inverse_rules import untransposed
from .manager import Pass
from .planned_sizes import UNKNOWN_SIZE, planned_size

# Right-hand sides are copied side by side: with many more columns than that, a factorisation costs less.
_COLUMNS_PER_ROW = 4
_FEW_COLUMNS = 16


@dataclass(frozen=True)
class SharedSolves(Pass):
    """Graph in; equal graph out, in which solves with one matrix, and its inverse, are one solve.

    Columns of a right-hand side do not know of one another, so that each solution is as accurate as alone;
    the inverse is the solution for the identity, which is how LAPACK's ``gesv`` gives it to NumPy.  A
    solution that another right-hand side depends on stays apart.

    Where the inverse ``v`` of a matrix is there for another reader, solves with the transposed matrix, as
    adjoints have them, are products with ``vᵀ``.  That is no step back in accuracy: each column of ``v`` is
    solved for, so that ``a·v − 1`` is a modest multiple of ``ε·|a||v|`` at most, hence ``vᵀ·aᵀ − 1`` of the
    transposition of that, and ``x − vᵀ·(aᵀ·x)`` of ``ε·|a⁻ᵀ||aᵀ||x|``: the bound of a solve, element by
    element (A. Druinsky and S. Toledo, "How accurate is inv(A)*b?", arXiv:1201.6035; N. J. Higham, "Accuracy and
    Stability of Numerical Algorithms", 2nd edition, section 14.1).  The residual may be larger than a solve's,
    by the condition number.  For ``v·b``, with the matrix itself, that bound does not hold: solves stay solves.
    The number of operations decreases.  ::

        %1: f64[n,n] = inv %K
        %2: f64[n,m] = solve %K, %b

    becomes slices of ``solve %K, %3`` with ``%3 = concatenate {axis=1} %I, %b``, where ``%I`` is the identity.
    """

    name: ClassVar[str] = "solves"
    size: int = UNKNOWN_SIZE
    sizes: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)

    def run(self, graph: Graph) -> Graph:
        """Join what can be joined."""
        return self.run_counting(graph)[0]

    def with_sizes(self, sizes: Mapping[str, int]) -> SharedSolves:
        """The same pass, planning for these sizes."""
        return dataclasses.replace(self, sizes={**self.sizes, **sizes}) if sizes else self

    def run_counting(self, graph: Graph) -> tuple[Graph, Counter[str]]:
        """The graph, and how many solves and inverses were replaced."""
        fired: Counter[str] = Counter()
        adjoint = _by_inverses(graph)
        if adjoint:
            fired["transposed_by_inverse"] = len(adjoint)
            graph = _replaced(graph, adjoint)
        while joined := self._joined(graph):
            fired["joined_solves"] += len(joined)
            graph = _replaced(graph, joined)
        return graph, fired

    def _joined(self, graph: Graph) -> dict[Node, Node]:
        """What replaces the solves of the first matrix that has several which can be one."""
        order = graph.nodes()
        solves: dict[Node, list[Node]] = {}
        for node in order:
            if isinstance(node.op, (Inverse, Solve)):
                solves.setdefault(node.operands[0], []).append(node)
        for matrix, members in solves.items():
            together = self._independent(order, members) if len(members) > 1 else []
            if len(together) > 1:
                return _side_by_side(matrix, together)
        return {}

    def _independent(self, order: Sequence[Node], members: Sequence[Node]) -> list[Node]:
        """The members that need no other one's solution, as many as are worth a copy."""
        found: list[Node] = []
        room = _FEW_COLUMNS + _COLUMNS_PER_ROW * self._planned(members[0].type.shape[-2])
        for node in members:
            columns = self._planned(node.type.shape[-1])
            needed = dependents(order, [x for x in members if x is not node])
            if columns <= room and not any(x in needed for x in node.operands):
                found.append(node)
                room -= columns
        return found

    def _planned(self, size: Size) -> int:
        return planned_size(size, self.sizes, self.size)


def _by_inverses(graph: Graph) -> dict[Node, Node]:
    """Products with a transposed inverse for solves with, and inverses of, the transposed matrix."""
    order = graph.nodes()
    inverses = {node.operands[0]: node for node in order if isinstance(node.op, Inverse)}
    found: dict[Node, Node] = {}
    for node in order:
        matrix = untransposed(node.operands[0]) if isinstance(node.op, (Inverse, Solve)) else None
        if matrix is not None and matrix in inverses:
            found[node] = _product(inverses[matrix], node)
    return found


def _product(inverse: Node, node: Node) -> Node:
    """The transposed inverse times the right-hand side of ``node``; alone for an inverse."""
    batch = tuple(range(node.ndim - 2))
    row, inner, column = range(node.ndim - 2, node.ndim + 1)
    if isinstance(node.op, Inverse):
        return build.einsum([inverse], [(*batch, inner, row)], (*batch, row, inner))
    right = node.operands[1]
    return build.einsum([inverse, right], [(*batch, inner, row), (*batch, inner, column)], (*batch, row, column))


def _side_by_side(matrix: Node, members: Sequence[Node]) -> dict[Node, Node]:
    """Each member as a slice of the one solution for all of their right-hand sides."""
    sides = [_right_hand_side(node) for node in members]
    last = matrix.ndim - 1
    solution = make(Solve(), matrix, make(Concatenate(last), *sides))
    found: dict[Node, Node] = {}
    start: Size = 0
    for node, side in zip(members, sides, strict=True):
        starts = [*[0] * last, start]
        found[node] = build.slice_node(solution, starts, side.type.shape, [1] * (last + 1))
        start = start + side.type.shape[-1]
    return found


def _right_hand_side(node: Node) -> Node:
    """That of a solve; for an inverse the identity."""
    if isinstance(node.op, Solve):
        return node.operands[1]
    identity = build.delta(node.type.shape[-1], node.type.dtype)
    return build.broadcast(identity, (node.ndim - 2, node.ndim - 1), node.type.shape)


def _replaced(graph: Graph, values: Mapping[Node, Node]) -> Graph:
    return graph.transform(lambda node, operands: values.get(node) or rebuild(node, operands))
