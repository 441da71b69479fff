"""From a request for a derivative to the graph that computes it."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir import Node, VerificationError, build, promote, substitute, topological
from ..ir.operations import Derivative
from .reverse import cotangents

_SLOT = "\0cotangent"


def expand_together(requests: Sequence[Node]) -> dict[Node, Node]:
    """The graph of each request; requests for derivatives of one node share one sweep.

    The operands of the requests must hold no further requests.
    """
    expanded: dict[Node, Node] = {}
    sweeps: dict[Node, list[Node]] = {}
    for request in requests:
        assert isinstance(request.op, Derivative)
        if request.op.kind in ("grad", "jacobian"):
            sweeps.setdefault(request.operands[0], []).append(request)
        else:
            expanded[request] = _expand_product(request)
    for y, group in sweeps.items():
        found = explicit_jacobians(y, list(dict.fromkeys(request.operands[1] for request in group)))
        expanded.update((request, found[request.operands[1]]) for request in group)
    return expanded


def explicit_jacobians(y: Node, points: Sequence[Node]) -> dict[Node, Node]:
    """The Jacobian of ``y`` with respect to each point: the axes of ``y``, then the point's.

    The seed is the identity on the axes of ``y``, as deltas; for a scalar that is the number 1, and
    the Jacobian is the gradient.
    """
    split = [x for x in points if y.type.dtype.kind == "complex" != x.type.dtype.kind]
    found = cotangents(y, [x for x in points if x not in split], identity(y), y.ndim)
    whole = {
        x: node if node is not None else build.full(y.type.shape + x.type.shape, 0, x.type.dtype)
        for x, node in found.items()
    }
    return {**whole, **_complex_jacobians(y, split)} if split else whole


def _complex_jacobians(y: Node, points: Sequence[Node]) -> dict[Node, Node]:
    """The Jacobian of a complex ``y`` by real points: that of its real part, and i times that of the other."""
    real, imaginary = (explicit_jacobians(build.apply(part, y), points) for part in ("real", "imag"))
    return {
        x: build.linear_combination(
            [1, 1j], [build.cast(part[x], promote(x.type.dtype, 1j)) for part in (real, imaginary)]
        )
        for x in points
    }


def identity(y: Node) -> Node:
    """The identity on the axes of ``y``: a product of deltas with the axes of ``y`` twice."""
    if y.ndim == 0:
        return build.constant(1, y.type.dtype)
    deltas = [build.delta(size, y.type.dtype) for size in y.type.shape]
    rank = y.ndim
    return build.einsum(deltas, [(k, rank + k) for k in range(rank)], range(2 * rank))


def pulled_back(y: Node, points: Sequence[Node], cotangent: Node) -> dict[Node, Node]:
    """``uᵀJ`` for each point; zeros where ``y`` does not depend on it."""
    found = cotangents(y, points, cotangent)
    return {x: node if node is not None else build.zeros_like(x) for x, node in found.items()}


def pushed_forward(y: Node, points: Sequence[Node], tangents: Sequence[Node]) -> Node:
    """``Jv``, by transposing the transpose: the gradient of ``⟨uᵀJ, v⟩`` with respect to ``u``.

    ``uᵀJ`` is linear in ``u``, so ``u`` itself is not in the result.
    """
    slot = build.input_node(_SLOT, y.type.plain())
    pulled = cotangents(y, points, slot)
    pairs = [(pulled[x], v) for x, v in zip(points, tangents, strict=True)]
    terms = [_inner_product(row, v, y) for row, v in pairs if row is not None]
    if not terms:
        return build.zeros_like(y)
    result = cotangents(build.add(*terms), [slot], build.constant(1, y.type.dtype))[slot]
    if result is None:
        return build.zeros_like(y)
    if slot in topological([result]):
        raise VerificationError("a derivative rule is not linear in its cotangent: a bug in Otus")
    return result


def _inner_product(x: Node, y: Node, like: Node) -> Node:
    labels = range(x.ndim)
    return build.cast(build.einsum([x, y], [labels, labels], ()), like.type.dtype)


def _expand_product(request: Node) -> Node:
    op = request.op
    assert isinstance(op, Derivative)
    y, points = request.operands[0], request.operands[1 : 1 + op.points]
    vectors = request.operands[1 + op.points :]
    if op.kind == "vjp":
        return pulled_back(y, points, vectors[0])[points[op.target]]
    if op.kind == "jvp":
        return pushed_forward(y, points, vectors)
    if op.kind == "hvp":
        return _hessian_product(y, points, vectors, points[op.target])
    pushed = build.conjugate(pushed_forward(y, points, vectors))
    return build.conjugate(pulled_back(y, points, pushed)[points[op.target]])


def _hessian_product(y: Node, points: Sequence[Node], vectors: Sequence[Node], target: Node) -> Node:
    """The gradient of ``⟨∇f, v⟩`` with ``v`` held, whatever it depends on; the Hessian is never formed."""
    gradients = explicit_jacobians(y, points)
    slots = [build.input_node(f"{_SLOT}{k}", v.type.plain()) for k, v in enumerate(vectors)]
    terms = [_inner_product(gradients[x], v, y) for x, v in zip(points, slots, strict=True)]
    product = explicit_jacobians(build.add(*terms), [target])[target]
    return substitute([product], dict(zip(slots, vectors, strict=True)))[0]
