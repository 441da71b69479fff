"""A case for every rewrite rule, over tensors of any size and dtype; ``tests/passes/test_rules.py`` runs them.

A case builds a node at which the rule fires, for sizes ``n = 3`` and ``m = 2`` in float64 at the least.
Odd cases need not fire: they are where a rule may go wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import otus
from otus.ir import OPERATIONS, Node, build, make
from otus.ir.scalar import parse_scalar


@dataclass(frozen=True)
class Tensors:
    """Tensors of one dtype over two sizes, by name."""

    dtype: str = "float64"
    n: int = 3
    m: int = 2

    def __call__(self, name: str, *shape: int, **facts: object) -> otus.Expression:
        return otus.tensor(name, shape, dtype=self.dtype, **facts)

    @property
    def a(self) -> otus.Expression:
        """A square matrix."""
        return self("A", self.n, self.n)

    @property
    def c(self) -> otus.Expression:
        """A matrix that is not square."""
        return self("C", self.m, self.n)

    @property
    def v(self) -> otus.Expression:
        """A vector."""
        return self("V", self.n)

    @property
    def w(self) -> otus.Expression:
        """Another vector."""
        return self("W", self.n)

    @property
    def h(self) -> otus.Expression:
        """A symmetric matrix."""
        return self("H", self.n, self.n, symmetric=True)

    @property
    def s(self) -> otus.Expression:
        """A positive definite matrix."""
        return self("S", self.n, self.n, positive_definite=True)

    @property
    def q(self) -> otus.Expression:
        """A small positive definite matrix."""
        return self("Q", self.m, self.m, positive_definite=True)

    @property
    def p(self) -> otus.Expression:
        """Rows that sum to one."""
        return self("P", self.m, self.n, sums_to_one=True)

    @property
    def u(self) -> otus.Expression:
        """An orthogonal matrix."""
        return self("U", self.n, self.n, orthonormal=True)

    @property
    def d(self) -> otus.Expression:
        """A diagonal matrix that has an inverse."""
        return self("D", self.n, self.n, diagonal=True, positive_definite=True)

    @property
    def weights(self) -> otus.Expression:
        """Nonnegative numbers."""
        return self("weights", self.m, nonnegative=True)

    def delta(self, size: int | None = None) -> otus.Expression:
        """The identity."""
        return otus.delta(self.n if size is None else size).astype(self.dtype)

    def zeros(self, *shape: int) -> otus.Expression:
        """Zeros of the dtype."""
        return otus.zeros(shape, dtype=self.dtype)

    def number(self, value: float) -> otus.Expression:
        """A scalar constant of the dtype."""
        return otus.constant(value, dtype=self.dtype)

    def wide(self, x: otus.Expression) -> otus.Expression:
        """A vector repeated along a new first axis."""
        return otus.broadcast_to(x, (self.m, self.n))


Build = Callable[[Tensors], Node]


def einsum(subscripts: str, *operands: otus.Expression) -> Node:
    """The node of an einsum."""
    return otus.einsum(subscripts, *operands).node


def mapped(text: str, *operands: otus.Expression) -> Node:
    """A map that the front door would write as something else."""
    return build.map_node(parse_scalar(text), [x.node for x in operands])


def kronecker(x: otus.Expression, y: otus.Expression) -> otus.Expression:
    """x ⊗ y."""
    m, n = x.shape[0], y.shape[0]
    return otus.einsum("ij,kl->ikjl", x, y).reshape(m * n, m * n)


def _reshaped_twice(t: Tensors) -> Node:
    reshape = OPERATIONS["reshape"]
    return make(reshape((t.m * t.n,)), make(reshape((t.n, t.m)), t.c.node))


def _narrow(t: Tensors) -> otus.Expression:
    return otus.tensor("K", (t.n,), dtype="float32")


def _deviation(t: Tensors, factor: float | None = None) -> Node:
    """A matrix less the mean of each row, or less another multiple of its sum."""
    factor = -1 / max(t.n, 1) if factor is None else factor
    return build.linear_combination([1, factor], [t.a.node, otus.sum(t.a, axis=1).node], [(0, 1), (0,)], 2)


def _summed_deviations(t: Tensors, axis: int) -> Node:
    """The sum over rows of a matrix less deviations with weights along an axis."""
    weighted = build.einsum([t.v.node, _deviation(t)], [(axis,), (0, 1)], (0, 1))
    return build.sum_axes(build.linear_combination([1, -0.5], [t.s.node, weighted]), [1])


CASES: dict[str, Build] = {
    "zero_factor": lambda t: einsum("ij,jk->ik", t.a, t.zeros(t.n, 2)),
    "symmetric_axes": lambda t: einsum("ij->ji", t.h),
    "sum_to_one": lambda t: einsum("bn,b->b", t.p, t("w", t.m)),
    "drop_broadcast": lambda t: einsum("ij,ij->i", t.c, t.wide(t.v)),
    "eliminate_delta": lambda t: einsum("ij,jk,k->i", t.a, t.delta(), t.v),
    "fold_number": lambda t: einsum("ij,->ij", t.a, t.number(2.5)),
    "pull_out_scale": lambda t: einsum("ij,j->i", 3 * t.a, t.v),
    "merge_einsum": lambda t: einsum("ij,j->i", otus.einsum("ik,kj->ij", t.a, t.a), t.v),
    "drop_zero_term": lambda t: (t.a + t.zeros(t.n, t.n)).node,
    "scaled_reshape": lambda t: (3 * (t.c - 2 * t.zeros(t.m, t.n)).reshape(t.n, t.m)).node,
    "transpose_sum": lambda t: einsum("ij->ji", t.a + 2 * t.h),
    "scale_number": lambda t: (3 * otus.full((2, 3), 1.25)).node,
    "flatten_sum": lambda t: (2 * (t.v + 3 * t.w) - t.v).node,
    "map_of_broadcast": lambda t: otus.exp(t.wide(t.v)).node,
    "scaled_map": lambda t: mapped("neg(exp(a) * 2.0)", t.v),
    "cheaper_scalars": lambda t: mapped("exp(neg(neg(a))) * (exp(a) + neg(b))", t.v, t.w),
    "truth_of_cast": lambda t: mapped("where(a != 0, b, 0)", otus.cast(t.v < t.w, t.dtype), t.w),
    "cheaper_powers": lambda t: mapped("sqrt(square(a)) + ((b ** 3) * exp((2.0 * a) * 0.25))", t.v, t.w),
    "linear_map": lambda t: mapped("2.0 * a - b", t.v, t.w),
    "product_map": lambda t: mapped("a * b", t.v, t.w),
    "merge_cast": lambda t: _narrow(t).astype("float64").astype("float32").node,
    "merge_reshape": _reshaped_twice,
    "unit_broadcast": lambda t: make(OPERATIONS["broadcast"]((1,), (1, t.n)), t.v.node),
    "einsum_without_units": lambda t: einsum("ijk->jik", t.c.reshape(t.m, t.n, 1)),
    "aligned_without_units": lambda t: (otus.exp(t.v.reshape(t.n, 1)) + 2.0).node,
    "reduce_without_units": lambda t: otus.prod(t.c.reshape(t.m, 1, t.n), axis=(1, 2)).node,
    "solve_by_parts": lambda t: otus.solve(kronecker(t.delta(2), t.s), t("r", 2 * t.n, 2)).node,
    "invert_by_parts": lambda t: otus.inv(kronecker(3 * t.s, t.q)).node,
    "determinant_by_parts": lambda t: otus.slogdet(kronecker(t.s, t.q))[1].node,
    "scale_out_of_solve": lambda t: otus.solve(2 * t.s, 3 * t.a).node,
    "cancel_solve": lambda t: otus.solve(t.s, t.s @ t.a + t.h).node,
    "orthonormal_columns": lambda t: einsum("ia,ib->ab", otus.conj(t.u), t.u),
    "orthogonal_inverse": lambda t: otus.solve(t.u, t.a).node,
    "declared_diagonal": lambda t: einsum("ij,jk->ik", t.d, t.a),
    "diagonal_inverse": lambda t: otus.solve(t.d, t.a).node,
    "definite_determinant": lambda t: otus.slogdet(t.s)[1].node,
    "identity_inverse": lambda t: otus.solve(t.delta(), t.a).node,
    "inverse_product": lambda t: einsum("ij,jk->ik", otus.inv(t.s), t.a),
    "symmetric_transpose": lambda t: otus.solve((t.a @ t.a.T + 9 * t.delta()).T, t.a).node,
    "common_factor": lambda t: build.linear_combination([1, 2], [(t.a @ t.s).node, (t.a @ t.h).node]),
    "merge_broadcast": lambda t: otus.broadcast_to(otus.broadcast_to(t.v, (2, *t.v.shape)), (3, 2, *t.v.shape)).node,
    "cast_inside": lambda t: otus.cast(otus.broadcast_to(t.v, (2, *t.v.shape)), "complex128").node,
    "common_coefficient": lambda t: build.linear_combination([0.5, -0.5], [t.a.node, t.s.node]),
    "scaled_product": lambda t: build.scale(3, einsum("i,j->ij", t.v, t.v * t.v)),
    "diagonal_apart": lambda t: (otus.einsum("i->ii", t.v) - otus.outer(t.w, t.w)).node,
    "add_numbers": lambda t: build.linear_combination(
        [1, 2, -1], [t.a.node, *(build.constant(x, t.a.node.type.dtype) for x in (0.5, 3.25))], [(0, 1), (), ()], 2
    ),
    "reduce_one_element": lambda t: build.reduce_node("prod", t.a[:, :1].node, [1]),
    "split_weights": lambda t: einsum("ni,nj->ij", t.c, otus.einsum("n,nj->nj", t.weights, t.c)),
    "narrow_terms_first": lambda t: build.linear_combination(
        [1, -1, 0.5], [t.a.node, otus.sum(t.a, axis=0).node, otus.vdot(t.v, t.v).node], [(0, 1), (1,), ()], 2
    ),
    "drop_summed_deviation": lambda t: _summed_deviations(t, 0),
}

ODD_CASES: dict[str, Sequence[Build]] = {
    "eliminate_delta": (
        lambda t: einsum("ii->", t.delta()),
        lambda t: einsum("ij,ij->", t.delta(), t.delta()),
        lambda t: einsum("ij,ij,jk->ik", t.delta(), t.a, t.a),
        lambda t: einsum("ij,kl,jk->il", t.delta(), t.delta(), t.a),
        lambda t: einsum("ij->i", t.delta()),
        lambda t: einsum("ij,j->ij", t.delta(), t.v),
        lambda t: einsum("ij,jk,ki->", t.delta(), t.delta(), t.delta()),
        lambda t: einsum("ij,ij->ij", t.delta(), t.delta()),
        lambda t: einsum("ij,k->k", t.delta(), t.v),
    ),
    "drop_broadcast": (
        lambda t: einsum("ij->", t.wide(t.v)),
        lambda t: einsum("ij,jk->ik", t.wide(t.v), otus.broadcast_to(t.w, (t.n, t.n))),
        lambda t: einsum("ii->i", otus.broadcast_to(t.v, (t.n, t.n))),
        lambda t: einsum("ij->j", otus.broadcast_to(t.number(2.0), (t.m, t.n))),
        lambda t: einsum("ij,ij->", t.wide(t.v), t.wide(t.w)),
    ),
    "merge_einsum": (
        lambda t: einsum("ij,jk->", otus.einsum("ii->i", t.a).reshape(1, t.n), otus.einsum("i,j->ij", t.v, t.w)),
        lambda t: einsum("ii->i", otus.einsum("i,j->ij", t.v, t.w)),
        lambda t: einsum("ij,ij->ij", otus.einsum("ij->ji", t.a), otus.einsum("ik,kj->ij", t.a, t.a)),
        lambda t: einsum("ij,kl->ijkl", otus.einsum("i->ii", t.v), otus.einsum("ij->", t.a).reshape(1, 1)),
        lambda t: einsum("ij->", otus.einsum("i->ii", t.v)),
    ),
    "symmetric_axes": (
        lambda t: einsum("ij,i->j", t.h, t.v),
        lambda t: einsum("ij,jk->ki", t.h, t.a),
        lambda t: einsum("ii->i", t.h),
        lambda t: einsum("abcd->dcba", t("G", t.n, t.n, t.m, t.m, symmetric=((0, 1), (2, 3)))),
    ),
    "flatten_sum": (
        lambda t: ((t.v + 1.5) + otus.broadcast_to(t.number(2.0), (t.n,))).node,
        lambda t: (-(t.v - (t.w - t.v))).node,
        lambda t: (t.a + (t.v - 2 * t.w)).node,
        lambda t: (t.v - (t.v - t.w)).node,
        lambda t: (1e30 * (1e-30 * t.v)).node,
    ),
    "drop_zero_term": (lambda t: (0 * t.v).node, lambda t: (t.a + 0 * t.v + t.zeros(t.n)).node),
    "scale_out_of_solve": (
        lambda t: otus.inv(-4 * t.s).node,
        lambda t: otus.solve(t.s, 0.5 * t.a).node,
        lambda t: otus.solve(t.s, 0.5 * t.v).node,
    ),
    "cancel_solve": (
        lambda t: otus.solve(t.s, t.s @ t.v).node,
        lambda t: otus.solve(t.s, 2 * (t.s @ t.a) - t.a @ t.s).node,
        lambda t: otus.solve(2 * t.s, t.s @ t.a).node,
        lambda t: otus.solve(t.s @ t.d, t.s @ t.d @ t.a).node,
        lambda t: otus.solve(t.s, t.s @ t.s).node,
        lambda t: otus.solve(t.s, otus.einsum("ij,jk,j->ik", t.s, t.a, t.v)).node,
        lambda t: otus.solve(t.s, otus.einsum("ij,jk,i->ik", t.s, t.a, t.v)).node,
    ),
    "sum_to_one": (
        lambda t: einsum("bn->", t.p),
        lambda t: einsum("bn->n", t.p),
        lambda t: einsum("bn,bn->b", t.p, t.p),
        lambda t: einsum("bn->b", t.p),
    ),
    "cheaper_scalars": (
        lambda t: mapped("where(a > b, where(a > b, a, b), exp(b)) + ((a * b) + (b * a))", t.v, t.w),
        lambda t: mapped("abs(neg(a)) / (square(neg(b)) + (neg(a) * neg(a)))", t.v, t.w),
    ),
    "cheaper_powers": (
        lambda t: mapped("(a ** 2) + ((a ** (-1)) * (b ** 1))", t.v, t.w),
        lambda t: mapped("exp((a * 1e-3) * 1e-3) + exp((a * nan) * 2.0)", t.v),
    ),
    "linear_map": (lambda t: mapped("a - a", t.v), lambda t: mapped("(2.0 * a) + (a * 3.0)", t.v)),
    "scaled_map": (lambda t: mapped("neg(neg(exp(a)))", t.v), lambda t: mapped("0.0 * exp(a)", t.v)),
    "transpose_sum": (lambda t: einsum("ij->ji", t.c - 2 * t.c),),
    "reduce_without_units": (
        lambda t: otus.prod(t.c.reshape(t.m, 1, t.n), axis=1).node,
        lambda t: otus.prod(t.c.reshape(1, t.m, t.n), axis=2).node,
        lambda t: otus.prod(t.c.reshape(t.m * t.n, 1), axis=0).node,
    ),
    "solve_by_parts": (
        lambda t: otus.solve(kronecker(t.q, t.s), t("r", t.m * t.n, 2)).node,
        lambda t: otus.solve(kronecker(t.s, t.delta(2)) * -2, t("r", 2 * t.n, 2)).node,
        lambda t: otus.solve(t.s + t.delta(), t.a).node,
        lambda t: otus.solve(t.d + otus.outer(t.v, otus.conj(t.v)), t.a).node,
        lambda t: otus.solve(2 * t.delta() + otus.outer(t.v, otus.conj(t.v)), t.a).node,
    ),
    "invert_by_parts": (
        lambda t: otus.inv(kronecker(t.delta(2), t.s)).node,
        lambda t: otus.inv(otus.einsum("i,ij->ij", t.v, t.delta()) * 0.5).node,
        lambda t: otus.inv(kronecker(t.s, t.q) + kronecker(t.s, t.delta(t.m))).node,
    ),
    "determinant_by_parts": (
        lambda t: otus.slogdet(kronecker(t.s, t.q) * -3)[0].node,
        lambda t: otus.slogdet(kronecker(t.delta(2), t.a))[1].node,
        lambda t: otus.slogdet(otus.einsum("i,ij->ij", t.v, t.delta()))[0].node,
    ),
    "orthonormal_columns": (
        lambda t: einsum("ai,bi->ab", t.u, otus.conj(t.u)),
        lambda t: einsum("ia,ib,bc->ac", otus.conj(t.u), t.u, t.a),
        lambda t: einsum("ia,ib->ab", t.u, t.u),
        lambda t: einsum("ia,ia->a", otus.conj(t.u), t.u),
        lambda t: einsum("ia,ib->iab", otus.conj(t.u), t.u),
    ),
    "orthogonal_inverse": (lambda t: otus.inv(t.u).node,),
    "declared_diagonal": (
        lambda t: einsum("ij->i", t.d),
        lambda t: einsum("ij,ij->", t.d, t.a),
        lambda t: einsum("ij,jk->ik", t.d, t.d),
        lambda t: einsum("ij,kl->ikjl", t.d, t.a),
    ),
    "diagonal_inverse": (lambda t: otus.inv(t.d).node,),
    "definite_determinant": (
        lambda t: otus.slogdet(t.s)[0].node,
        lambda t: otus.slogdet(t.d)[1].node,
        lambda t: otus.slogdet(t("B", t.m, t.n, t.n, positive_definite=True))[1].node,
    ),
    "identity_inverse": (lambda t: otus.inv(t.delta()).node, lambda t: otus.solve(t.s, t.s).node),
    "symmetric_transpose": (
        lambda t: otus.inv((9 * t.delta() + otus.exp(-otus.square(t.v[:, None] - t.v))).T).node,
        lambda t: otus.slogdet((t.a + 9 * t.delta()).T)[1].node,
        lambda t: otus.solve((t.a @ otus.conj(t.a).T + 9 * t.delta()).T, t.a).node,
        lambda t: otus.solve((t.h + 9 * t.delta()).T, t.a).node,
    ),
    "inverse_product": (
        lambda t: einsum("ij,ki->kj", otus.inv(t.s), t.c),
        lambda t: einsum("ij,jk,kl->il", t.a, otus.inv(t.s), t.h),
        lambda t: einsum("ij,ji->", otus.inv(t.s), t.a),
        lambda t: einsum("ij,j,i->", otus.inv(t.s), t.v, t.w),
        lambda t: einsum("ij,jk,jl->ikl", otus.inv(t.s), t.a, t.h),
        lambda t: einsum("ij,kl->ijkl", otus.inv(t.s), t.a),
        lambda t: einsum("ij,ij,jk->ik", otus.inv(t.s), t.a, t.h),
        lambda t: einsum("ij,jk,kl->il", otus.inv(t.s), t.s @ t.a + t.h, t.a),
        lambda t: einsum("ij,kj,kl->il", otus.inv(t.s), t.c, t.c),
        lambda t: einsum("ij,ki,kl->lj", otus.inv(t.s), t.c, t.c),
        lambda t: einsum("ij,bj,bk,b->ibk", otus.inv(t.s), t.c, t.c, otus.sum(t.c, axis=1)),
    ),
    "common_factor": (
        lambda t: (t.s @ t.a - t.h @ t.a).node,
        lambda t: (t.a @ t.s + t.s @ t.a).node,
        lambda t: (t.a @ t.s + t.a @ t.h + t.a).node,
        lambda t: (t.a * t.s + t.a.T * t.h).node,
        lambda t: (t.a @ t.v + otus.einsum("ij,i->j", t.a, t.v)).node,
    ),
    "common_coefficient": (
        lambda t: build.linear_combination([0.5, 0.5, 0.5], [t.a.node, t.s.node, t.h.node]),
        lambda t: build.linear_combination([-3, 3], [t.a.node, t.v.node], [(0, 1), (1,)], 2),
    ),
    "scaled_product": (
        lambda t: build.scale(3, einsum("i,ij->ij", t.v, t.a)),
        lambda t: build.scale(-0.5, einsum("i,ij->ij", t.v, t.delta())),
        lambda t: build.scale(3, einsum("i,j->ij", t.v, t.v)),
        lambda t: build.scale(3, einsum("i,j->ij", 2 * t.v, t.v * t.v)),
    ),
    "diagonal_apart": (
        lambda t: (otus.einsum("i->ii", t.v) - 2 * t.a + t.v).node,
        lambda t: (otus.einsum("i->ii", t.v) + 2 * t.delta()).node,
        lambda t: (otus.einsum("i->ii", t.v) + t.v).node,
        lambda t: (t.a - 3 * t.delta() + otus.outer(t.v, t.w) - t.delta().T).node,
        lambda t: (otus.einsum("bi->bii", t.c) - otus.einsum("bi,bj->bij", t.c, t.c)).node,
    ),
    "scale_number": (
        lambda t: build.linear_combination(
            [2, -1],
            [build.full((), 0.1, t.v.node.type.dtype), build.full((t.n,), 0.3, t.v.node.type.dtype)],
            [(), (0,)],
            1,
        ),
    ),
    "reduce_one_element": (
        lambda t: build.reduce_node("prod", t.a[:1, :1].node, [0, 1]),
        lambda t: build.reduce_node("prod", t.a[:, :1].node, [0, 1]),
        lambda t: build.reduce_node("prod", t.a[:1].node, [0]),
    ),
    "narrow_terms_first": (
        lambda t: build.linear_combination(
            [1, 2, -1], [(t.v * t.v).node, otus.sum(t.a, axis=1).node, otus.vdot(t.v, t.v).node], [(0,), (1,), ()], 2
        ),
        lambda t: build.linear_combination([1, 1, 1], [t.a.node, t.v.node, t.v.node], [(0, 1), (0,), (1,)], 2),
    ),
    "drop_summed_deviation": (
        lambda t: _summed_deviations(t, 1),  # weights along the summed index: nothing cancels
        lambda t: build.sum_axes(_deviation(t), [1]),
        lambda t: build.sum_axes(build.linear_combination([1, 2], [t.s.node, _deviation(t)]), [0]),
        lambda t: build.sum_axes(build.linear_combination([1, 2], [t.s.node, _deviation(t)]), [0, 1]),
        lambda t: build.sum_axes(build.linear_combination([1, 2], [t.s.node, _deviation(t, -0.5)]), [1]),
    ),
    "split_weights": (
        lambda t: einsum("ni,nj->ji", t.c, otus.einsum("n,nj->nj", t.weights, t.c)),
        lambda t: einsum("ni,ni->i", t.c, otus.einsum("n,ni->ni", t.weights, t.c)),
        lambda t: einsum("ni,nj->ij", t.c, otus.einsum("n,nj->nj", t("free", t.m), t.c)),
    ),
}
