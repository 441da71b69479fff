"""Derivatives as requests: nodes that a pass expands.  Shapes are known at once.

Axes: a gradient has those of ``x``; a Jacobian those of ``y``, then of ``x``; a Hessian those of
``x``, then of ``x`` again.  ``x`` may be a list, and then a list comes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from ..ir import DTypeError, Node, OtusError, ShapeError, build, make
from ..ir.operations import Derivative
from .expression import Expression, TensorLike, as_node

Points = Expression | Sequence[Expression]
Block = list[list[Expression]]


def _points(x: Points) -> list[Node]:
    return [point.node for point in _expressions(x)]


def _expressions(x: object) -> list[Expression]:
    listed: list[Expression] = []
    for point in x if isinstance(x, (list, tuple)) else [x]:
        if not isinstance(point, Expression):
            raise OtusError(f"{point!r} is not an expression, so there is no derivative with respect to it")
        listed.append(point)
    return listed


def _vectors(kind: str, values: TensorLike | Sequence[TensorLike], like: Sequence[Node]) -> list[Node]:
    listed = [values] if isinstance(values, Expression) else list(values)  # type: ignore[arg-type]
    if len(listed) != len(like):
        raise ShapeError(f"{kind}: {len(listed)} vectors were given for {len(like)} tensors")
    return [_vector(value, node) for value, node in zip(listed, like, strict=True)]


def _vector(value: TensorLike, like: Node) -> Node:
    node = as_node(value)
    if node.type.dtype.kind == "complex" and like.type.dtype.kind != "complex":
        raise DTypeError(f"a complex vector cannot multiply the derivative of a {like.type.dtype} tensor")
    return build.cast(node, like.type.dtype)


def _one(kind: str, y: Node, x: Node) -> Expression:
    return Expression.of(make(Derivative(kind), y, x))


@overload
def grad(loss: Expression, x: Expression) -> Expression: ...
@overload
def grad(loss: Expression, x: Sequence[Expression]) -> list[Expression]: ...
def grad(loss: Expression, x: Points) -> Expression | list[Expression]:
    """The gradient of a scalar, with the shape of ``x``.

    Complex gradients follow JAX: ``∂f/∂Re(x) − i·∂f/∂Im(x)``.  Raises ``ShapeError`` where ``loss``
    is not a scalar and ``DTypeError`` where either is not floating.

    >>> import otus
    >>> x = otus.tensor("x", (3,))
    >>> otus.grad((x * x).sum(), x).shape
    (3,)
    """
    result = [_one("grad", as_node(loss), point) for point in _points(x)]
    return result[0] if isinstance(x, Expression) else result


@overload
def jacobian(y: Expression, x: Expression) -> Expression: ...
@overload
def jacobian(y: Expression, x: Sequence[Expression]) -> list[Expression]: ...
def jacobian(y: Expression, x: Points) -> Expression | list[Expression]:
    """The explicit Jacobian: the axes of ``y``, then those of ``x``."""
    result = [_one("jacobian", as_node(y), point) for point in _points(x)]
    return result[0] if isinstance(x, Expression) else result


@overload
def hessian(loss: Expression, x: Expression) -> Expression: ...
@overload
def hessian(loss: Expression, x: Sequence[Expression]) -> Block: ...
def hessian(loss: Expression, x: Points) -> Expression | Block:
    """The explicit Hessian of a scalar; for a list, the block matrix as a list of lists."""
    points = _points(x)
    gradients = [_one("grad", as_node(loss), point).node for point in points]
    blocks = [[_one("jacobian", gradient, point) for point in points] for gradient in gradients]
    return blocks[0][0] if isinstance(x, Expression) else blocks


def vjp(y: Expression, x: Sequence[Expression], u: TensorLike | Sequence[TensorLike]) -> list[Expression]:
    """Products ``uᵀJ`` with the Jacobian, one for each ``x``; ``u`` has the shape of ``y``."""
    node, points = as_node(y), _points(x)
    vectors = _vectors("vjp", u, [node])
    op_count = len(points)
    return [
        Expression.of(make(Derivative("vjp", op_count, target), node, *points, *vectors)) for target in range(op_count)
    ]


def jvp(y: Expression, x: Sequence[Expression], v: TensorLike | Sequence[TensorLike]) -> Expression:
    """The product ``Jv`` with the Jacobian, of the shape of ``y``; one ``v`` for each ``x``."""
    points = _points(x)
    return Expression.of(make(Derivative("jvp", len(points)), as_node(y), *points, *_vectors("jvp", v, points)))


def hvp(loss: Expression, x: Sequence[Expression], v: TensorLike | Sequence[TensorLike]) -> list[Expression]:
    """Hessian-vector products, one for each ``x``; the Hessian is never formed."""
    return _products("hvp", loss, x, v)


def jtjvp(y: Expression, x: Sequence[Expression], v: TensorLike | Sequence[TensorLike]) -> list[Expression]:
    """Gauss-Newton products ``JᵀJv``, one for each ``x`` (``JᴴJv`` for complex values)."""
    return _products("jtjvp", y, x, v)


def _products(kind: str, y: Expression, x: Points, v: TensorLike | Sequence[TensorLike]) -> list[Expression]:
    points = _points(x)
    operands = [as_node(y), *points, *_vectors(kind, v, points)]
    return [Expression.of(make(Derivative(kind, len(points), target), *operands)) for target in range(len(points))]


@overload
def derivative(y: Expression, x: Expression, order: int = 1) -> Expression: ...
@overload
def derivative(y: Expression, x: Sequence[Expression], order: int = 1) -> list[Expression]: ...
def derivative(y: Expression, x: Points, order: int = 1) -> Expression | list[Expression]:
    """The ``order``-th derivative: the axes of ``y``, then ``order`` times those of ``x``; a list for a list."""
    if not isinstance(x, Expression):
        return [derivative(y, each, order) for each in _expressions(x)]
    if not isinstance(order, int) or order < 0:
        raise ShapeError(f"order={order!r} is not a count of derivatives; use 0, 1, 2, …")
    node = as_node(y)
    (point,) = _points(x)
    for _ in range(order):
        node = make(Derivative("jacobian"), node, point)
    return Expression.of(node)
