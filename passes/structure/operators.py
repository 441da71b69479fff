"""Solving with, and the log-determinant of, structured square operators.

Batch positions are solved for each index apart; a Kronecker product factor by factor, since
``(A ⊗ B)⁻¹ = A⁻¹ ⊗ B⁻¹``; a diagonal plus a product of low rank by Woodbury's identity (Woodbury 1950;
Golub and Van Loan, Matrix Computations, section 2.1.4).  Scalars are kept: ``(s·A)⁻¹ = A⁻¹/s``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ...ir import Node, ShapeError, Size, build, make
from ...ir.dims import product
from ...ir.operations import Inverse, SignedLogDeterminant, Solve
from ...ir.scalar import argument, call
from ...ir.types import shape_text
from .terms import Structure, Term, contract_terms


@dataclass(frozen=True)
class Part:
    """A factor of the block: the positions it acts on, and the terms whose sum it is."""

    positions: tuple[int, ...]
    structure: Structure


@dataclass(frozen=True)
class Operator:
    """A structure whose axes are ``x`` then ``x'``."""

    structure: Structure

    def __post_init__(self) -> None:
        """Raise ``ShapeError`` unless the second half of the axes repeats the first."""
        shape = self.structure.shape
        if len(shape) % 2 or shape[: len(shape) // 2] != shape[len(shape) // 2 :]:
            raise ShapeError(f"shape {shape_text(shape)} is not that of a square operator, x's axes twice")

    @property
    def rank(self) -> int:
        """The number of axes of ``x``."""
        return len(self.structure.shape) // 2

    @property
    def shape(self) -> tuple[Size, ...]:
        """The shape of ``x``."""
        return self.structure.shape[: self.rank]

    @cached_property
    def batch(self) -> tuple[int, ...]:
        """The positions in which the operator is block-diagonal."""
        return tuple(k for k in range(self.rank) if (k, self.rank + k) in self.structure.ties)

    @property
    def block(self) -> tuple[int, ...]:
        """The other positions."""
        return tuple(k for k in range(self.rank) if k not in self.batch)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The factors of a Kronecker product, or the block as one part.

        Factors that touch no block position (scalars, and functions of batch indices) are in the first.
        """
        if len(self.structure.terms) != 1 or not self.block:
            return (Part(self.block, self.structure),)
        (term,) = self.structure.terms
        groups = _components(term, self.block, self.rank)
        return tuple(
            Part(positions, replace(self.structure, terms=(_restricted(term, positions, number == 0, groups, self),)))
            for number, (positions, _) in enumerate(groups)
        )

    # --- matrices ------------------------------------------------------------------------------

    def batch_read(self, structure: Structure) -> tuple[int, ...]:
        """The batch positions that the entries of a part depend on."""
        used = {x for term in structure.terms for x in term.labels}
        return tuple(k for k in self.batch if k in used)

    def matrix(self, part: Part) -> tuple[Node, tuple[int, ...]]:
        """A part as ``(batch…, m, m)``, and the batch positions it depends on."""
        batch = self.batch_read(part.structure)
        rows, columns = part.positions, tuple(self.rank + k for k in part.positions)
        local = _without_other_axes(part.structure, {*batch, *rows, *columns}, self)
        entries = contract_terms(local, [*batch, *rows, *columns], [(k, self.rank + k) for k in self.batch])
        size = product(self.shape[k] for k in rows)
        return build.reshape(entries, [*(self.shape[k] for k in batch), size, size]), batch

    # --- operations ----------------------------------------------------------------------------

    def apply(self, vector: Node) -> Node:
        """``H v``, of the shape of ``x``."""
        columns = tuple(range(self.rank, 2 * self.rank))
        return contract_terms(self.structure, range(self.rank), (), [(vector, columns)])

    def diagonal(self) -> Node:
        """The diagonal, of the shape of ``x``."""
        return contract_terms(self.structure, range(self.rank), [(k, self.rank + k) for k in range(self.rank)])

    def trace(self) -> Node:
        """The sum of the diagonal."""
        return contract_terms(self.structure, (), [(k, self.rank + k) for k in range(self.rank)])

    def solve(self, vector: Node) -> Node:
        """``H⁻¹ g``, of the shape of ``x``."""
        low_rank = self.invertible_low_rank()
        if low_rank is not None:
            return low_rank.solve(vector)
        for part in self.parts:
            vector = self._solve_part(part, vector)
        return vector

    def log_determinant(self) -> Node:
        """``log |det H|``."""
        low_rank = self.invertible_low_rank()
        if low_rank is not None:
            return low_rank.log_determinant()
        return build.add(*(self._log_determinant_part(part) for part in self.parts))

    @property
    def is_structured(self) -> bool:
        """Whether solving by structure is less work than solving the whole."""
        return bool(self.batch) or len(self.parts) > 1

    def inverse(self) -> Node:
        """``H⁻¹`` with the axes of ``H``: the inverses of the parts, and the same deltas."""
        factors: list[tuple[Node, tuple[int, ...]]] = []
        for part in self.parts:
            matrix, batch = self.matrix(part)
            if part.positions:
                rows, columns = part.positions, tuple(self.rank + k for k in part.positions)
                sizes = [self.shape[k] for k in (*batch, *rows, *part.positions)]
                factors.append((build.reshape(make(Inverse(), matrix), sizes), (*batch, *rows, *columns)))
            else:
                entries = build.reshape(matrix, matrix.type.shape[:-2])
                factors.append((build.apply("reciprocal", entries), batch))
        ties = tuple((k, self.rank + k) for k in self.batch)
        whole = replace(self.structure, terms=(Term(1, tuple(factors), ties),))
        return contract_terms(whole, range(2 * self.rank))

    def sign(self) -> Node:
        """The sign of ``det H``: for each part, that of its determinant as often as it is repeated."""
        signs = []
        for part in self.parts:
            matrix, batch = self.matrix(part)
            if part.positions:
                each = make(SignedLogDeterminant("sign"), matrix)
            else:
                each = build.apply("sign", build.reshape(matrix, matrix.type.shape[:-2]))
            total = build.reduce_node("prod", each, range(each.ndim))
            repeats = build.extent(self._repeats(part, batch), total.type.dtype)
            signs.append(build.apply("pow", total, repeats))
        return build.multiply(*signs)

    def _repeats(self, part: Part, batch: Sequence[int]) -> Size:
        """How many times the determinant of a part counts: the size of all other positions."""
        return product(self.shape[k] for k in range(self.rank) if k not in batch and k not in part.positions)

    def _solve_part(self, part: Part, vector: Node) -> Node:
        matrix, batch = self.matrix(part)
        if not part.positions:
            labels = range(self.rank)
            entries = build.reshape(matrix, matrix.type.shape[:-2])
            return build.map_node(call("div", argument(0), argument(1)), [vector, entries], [labels, batch], self.rank)
        rest = [k for k in range(self.rank) if k not in batch and k not in part.positions]
        order = [*batch, *part.positions, *rest]
        moved = build.transpose(vector, order)
        lead = matrix.type.shape[:-1]
        columns = build.reshape(moved, [*lead, product(self.shape[k] for k in rest)])
        solved = build.reshape(make(Solve(), matrix, columns), moved.type.shape)
        return build.transpose(solved, [order.index(k) for k in range(self.rank)])

    def _log_determinant_part(self, part: Part) -> Node:
        matrix, batch = self.matrix(part)
        if part.positions:
            logs = make(SignedLogDeterminant("logabsdet"), matrix)
        else:
            logs = build.apply("log", build.apply("abs", build.reshape(matrix, matrix.type.shape[:-2])))
        total = build.sum_axes(logs, range(logs.ndim))
        return build.multiply(total, build.extent(self._repeats(part, batch), total.type.dtype))

    def invertible_low_rank(self) -> LowRank | None:
        """The low-rank form where its diagonal is a number other than 0, so that Woodbury's identity holds.

        A diagonal of data may hold zeros while the whole is invertible; it is solved as a whole.
        """
        found = self.low_rank()
        if found is None or found.diagonal.coefficient == 0:
            return None
        values = [build.constant_value(node) for node, _ in found.diagonal.factors]
        return found if all(value is not None and value != 0 for value in values) else None

    def low_rank(self) -> LowRank | None:
        """The operator as a diagonal plus a product of low rank, where it is one."""
        if len(self.structure.terms) != 2 or not self.block:
            return None
        for diagonal, other in (self.structure.terms, self.structure.terms[::-1]):
            tied = all((k, self.rank + k) in diagonal.ties for k in self.block)
            split = _split_sides(other, self) if tied else None
            if split is not None:
                return LowRank(self, diagonal, other, *split)
        return None


@dataclass(frozen=True)
class LowRank:
    """``D + c·U Wᵀ`` with ``D`` diagonal in the block: Woodbury's identity."""

    operator: Operator
    diagonal: Term
    other: Term
    left: tuple[int, ...]
    right: tuple[int, ...]
    shared: tuple[int, ...]

    def _sized(self) -> dict[int, Size]:
        sizes = dict(enumerate(self.operator.structure.shape))
        for node, labels in self.other.factors:
            sizes.update(zip(labels, node.type.shape, strict=True))
        return sizes

    def _entries(self) -> Node:
        """The diagonal of ``D``, of the shape of ``x``."""
        alone = replace(self.operator.structure, terms=(self.diagonal,))
        return Operator(alone).diagonal()

    def _side(self, chosen: Sequence[int], shift: int) -> Node:
        """``U`` or ``W``: the axes of ``x``, then the shared labels as one."""
        rank, sizes = self.operator.rank, self._sized()
        factors = [self.other.factors[k] for k in chosen]
        inputs = [tuple(x - shift if x >= rank and x < 2 * rank else x for x in labels) for _, labels in factors]
        dtype = self.operator.structure.dtype
        operands = [node for node, _ in factors] or [build.constant(1, dtype)]
        entries = build.contract(operands, inputs or [()], [*range(rank), *self.shared], sizes)
        return build.reshape(entries, [*self.operator.shape, product(sizes[x] for x in self.shared)])

    def _capacitance(self) -> tuple[Node, Node, Node]:
        """``D``, ``D⁻¹U`` and ``I + c·Wᵀ D⁻¹ U``, one small matrix for each batch index."""
        rank, batch = self.operator.rank, self.operator.batch
        entries = self._entries()
        u, w = self._side(self.left, 0), self._side(self.right, rank)
        axes = range(rank)
        quotient = call("div", argument(0), argument(1))
        scaled = build.map_node(quotient, [u, entries], [range(rank + 1), axes], rank + 1)
        inner = build.einsum([w, scaled], [[*axes, rank], [*axes, rank + 1]], [*batch, rank, rank + 1])
        size = u.type.shape[-1]
        places = [len(batch), len(batch) + 1]
        matrix = build.linear_combination(
            [1, self.other.coefficient],
            [build.delta(size, inner.type.dtype), inner],
            [places, range(len(batch) + 2)],
            len(batch) + 2,
        )
        return entries, scaled, matrix

    def solve(self, vector: Node) -> Node:
        """``D⁻¹g − c·D⁻¹U (I + c·Wᵀ D⁻¹U)⁻¹ Wᵀ D⁻¹ g``."""
        rank, batch = self.operator.rank, self.operator.batch
        axes = range(rank)
        entries, scaled, matrix = self._capacitance()
        direct = build.map_node(call("div", argument(0), argument(1)), [vector, entries])
        w = self._side(self.right, rank)
        projected = build.einsum([w, direct], [[*axes, rank], axes], [*batch, rank])
        column = build.reshape(projected, [*projected.type.shape, 1])
        inner = build.reshape(make(Solve(), matrix, column), projected.type.shape)
        correction = build.einsum([scaled, inner], [[*axes, rank], [*batch, rank]], axes)
        return build.linear_combination([1, -self.other.coefficient], [direct, correction])

    def log_determinant(self) -> Node:
        """``Σ log|D| + Σ log|det(I + c·Wᵀ D⁻¹ U)|``."""
        entries, _, matrix = self._capacitance()
        logs = build.apply("log", build.apply("abs", entries))
        small = make(SignedLogDeterminant("logabsdet"), matrix)
        return build.add(build.sum_axes(logs, range(logs.ndim)), build.sum_axes(small, range(small.ndim)))


def _components(term: Term, block: Sequence[int], rank: int) -> list[tuple[tuple[int, ...], set[int]]]:
    """Block positions that factors or ties connect, with the factors of each group, in order."""
    root: dict[object, object] = {}

    def find(x: object) -> object:
        root.setdefault(x, x)
        while root[x] != x:
            x = root[x]
        return x

    def join(first: object, second: object) -> None:
        root[find(first)] = find(second)

    def position(label: int) -> object:
        """Rows and columns of one position are one; batch labels connect nothing."""
        if label >= 2 * rank:
            return ("summed", label)
        return ("position", label % rank) if label % rank in block else None

    for number, (_, labels) in enumerate(term.factors):
        for label in labels:
            if position(label) is not None:
                join(("factor", number), position(label))
    for first, second in term.ties:
        if first % rank in block or second % rank in block:
            join(("position", first % rank), ("position", second % rank))
    groups: dict[object, list[int]] = {}
    for k in block:
        groups.setdefault(find(("position", k)), []).append(k)
    return [
        (tuple(members), {n for n in range(len(term.factors)) if find(("factor", n)) == key})
        for key, members in groups.items()
    ]


def _restricted(
    term: Term,
    positions: Sequence[int],
    first: bool,
    groups: Sequence[tuple[tuple[int, ...], set[int]]],
    operator: Operator,
) -> Term:
    """The term's factors and ties at ``positions``; the first group also has those of no group."""
    mine = next(numbers for members, numbers in groups if members == tuple(positions))
    claimed = {n for _, numbers in groups for n in numbers}
    chosen = [n for n in range(len(term.factors)) if n in mine or (first and n not in claimed)]
    ties = tuple(t for t in term.ties if t[0] % operator.rank in positions)
    batch = tuple((k, operator.rank + k) for k in operator.batch)
    return Term(term.coefficient if first else 1, tuple(term.factors[n] for n in chosen), ties + batch)


def _without_other_axes(structure: Structure, kept: set[int], operator: Operator) -> Structure:
    """The structure with ties outside ``kept`` axes dropped and their axes of size 1."""
    terms = tuple(
        replace(term, ties=tuple(t for t in term.ties if t[0] in kept and t[1] in kept)) for term in structure.terms
    )
    shape = tuple(
        size if axis in kept or (axis % operator.rank in operator.batch and axis % operator.rank in kept) else 1
        for axis, size in enumerate(structure.shape)
    )
    return replace(structure, shape=shape, terms=terms)


def _split_sides(term: Term, operator: Operator) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None:
    """Factors of rows, factors of columns, and the summed labels they share; None where they mix.

    Every block position must be on both sides, and the shared labels must hold fewer values than the
    block, where both are known.
    """
    rank, block = operator.rank, operator.block
    if any(first % rank in block for first, _ in term.ties):
        return None
    left: list[int] = []
    right: list[int] = []
    for number, (_, labels) in enumerate(term.factors):
        rows = any(x in block for x in labels)
        columns = any(rank <= x < 2 * rank and x - rank in block for x in labels)
        if rows and columns:
            return None
        (right if columns else left).append(number)
    present = {x for _, labels in term.factors for x in labels}
    if not all(k in present and rank + k in present for k in block):
        return None
    sides = [{x for n in side for x in term.factors[n][1] if x >= 2 * rank} for side in (left, right)]
    shared = tuple(sorted(sides[0] & sides[1]))
    sizes = {x: s for node, labels in term.factors for x, s in zip(labels, node.type.shape, strict=True)}
    width, height = product(sizes[x] for x in shared), product(operator.shape[k] for k in block)
    if shared and not (isinstance(width, int) and isinstance(height, int) and width < height):
        return None
    return tuple(left), tuple(right), shared


def with_columns(structure: Structure, columns: Size) -> Structure:
    """The operator ``H ⊗ I``: ``x`` and ``x'`` get a last axis of ``columns``, tied together."""
    rank = len(structure.shape) // 2

    def moved(axis: int) -> int:
        return axis if axis < rank else axis + 1 if axis < 2 * rank else axis + 2

    terms = tuple(
        Term(
            term.coefficient,
            tuple((node, tuple(map(moved, labels))) for node, labels in term.factors),
            (*((moved(a), moved(b)) for a, b in term.ties), (rank, 2 * rank + 1)),
        )
        for term in structure.terms
    )
    shape = (*structure.shape[:rank], columns, *structure.shape[rank:], columns)
    return replace(structure, shape=shape, terms=terms)


def stored_form(structure: Structure) -> Structure:
    """The structure with the factors of each term contracted as far as that stores less.

    Factors that share summed labels become one, over output axes only; the two sides of a product of
    low rank stay apart.
    """
    shape = structure.shape
    square = len(shape) % 2 == 0 and shape[: len(shape) // 2] == shape[len(shape) // 2 :]
    low_rank = Operator(structure).low_rank() if square else None
    terms = tuple(
        term if low_rank is not None and term is low_rank.other else _contracted(term, len(shape))
        for term in structure.terms
    )
    return replace(structure, terms=terms)


def _contracted(term: Term, rank: int) -> Term:
    groups: list[tuple[set[int], list[int]]] = []
    for number, (_, labels) in enumerate(term.factors):
        linked = {x for x in labels if x >= rank}
        touching = [group for group in groups if group[0] & linked]
        merged = (linked.union(*(g[0] for g in touching)), sorted([number, *(n for g in touching for n in g[1])]))
        groups = [group for group in groups if group not in touching] + [merged]
    factors = []
    for _, numbers in groups:
        chosen = [term.factors[n] for n in numbers]
        kept = tuple(dict.fromkeys(x for _, labels in chosen for x in labels if x < rank))
        factors.append((build.einsum([node for node, _ in chosen], [labels for _, labels in chosen], kept), kept))
    return replace(term, factors=tuple(factors))
