"""Expressions: what users hold.  An immutable tensor value with NumPy's operators.

An :class:`Expression` wraps one node of the graph; the same node gives the same expression, so
``is`` compares structure.  ``==`` compares elements, as in NumPy, and gives an expression.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn, Union
from weakref import WeakValueDictionary

import numpy as np

from ..ir import DType, Node, OtusError, Size, build
from ..ir.operations import Input
from ..ir.scalar import Number

Axes = Union[int, Sequence[int], None]


class Expression:
    """An immutable tensor value: a shape, a dtype, and how to compute it.

    >>> import otus
    >>> A = otus.tensor("A", ("i", "j"))
    >>> (A @ A.T).shape
    (Dim('i'), Dim('i'))
    >>> A + 1 is A + 1
    True
    """

    __slots__ = ("__weakref__", "_node")
    __array_priority__ = 1000
    __array_ufunc__ = None
    _node: Node

    def __init__(self) -> None:
        raise OtusError("make expressions with otus.tensor, otus.constant and the functions of otus")

    @classmethod
    def of(cls, node: Node) -> Expression:
        """The one expression that stands for ``node``."""
        known = _known.get(node)
        if known is None:
            known = object.__new__(cls)
            known._node = node
            known = _known.setdefault(node, known)
        return known

    @property
    def node(self) -> Node:
        """The node of the graph."""
        return self._node

    @property
    def shape(self) -> tuple[Size, ...]:
        """Sizes of the axes: ints, or ``otus.Dim`` where symbolic."""
        return self._node.type.shape

    @property
    def dtype(self) -> DType:
        """The element type; compares equal to its name."""
        return self._node.type.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> Size:
        """The number of elements."""
        from ..ir.dims import product

        return product(self.shape)

    @property
    def T(self) -> Expression:
        """The axes in reverse order."""
        return _shaping.transpose(self)

    @property
    def real(self) -> Expression:
        """The real part."""
        return _elementwise.real(self)

    @property
    def imag(self) -> Expression:
        """The imaginary part."""
        return _elementwise.imag(self)

    def __repr__(self) -> str:
        label = f" {self._node.op.label!r}" if isinstance(self._node.op, Input) else ""
        return f"<{self._node.type} = {self._node.op.name}{label}>"

    def __hash__(self) -> int:
        return object.__hash__(self)

    def __bool__(self) -> NoReturn:
        raise OtusError(
            f"the truth of {self!r} is known only when it runs; use otus.where to choose between "
            "values, or 'is' to compare expressions"
        )

    def __len__(self) -> int:
        if not self.shape or not isinstance(self.shape[0], int):
            raise OtusError(f"{self!r} has no length that is known in advance; use .shape")
        return self.shape[0]

    def __iter__(self) -> Iterator[Expression]:
        return (self[k] for k in range(len(self)))

    def __float__(self) -> NoReturn:
        raise OtusError(f"{self!r} has no value yet; compile it with otus.compile and call the result")

    __int__ = __complex__ = __index__ = __float__

    def __array__(self, *args: object, **kwargs: object) -> NoReturn:
        raise OtusError(f"{self!r} is not an array; use the function of the same name in otus, or compile it first")

    def __copy__(self) -> Expression:
        return self

    def __deepcopy__(self, memo: object) -> Expression:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return Expression.of, (self._node,)

    # --- operators ---------------------------------------------------------------------------

    def __add__(self, other: TensorLike) -> Expression:
        return _elementwise.add(self, other)

    def __radd__(self, other: TensorLike) -> Expression:
        return _elementwise.add(other, self)

    def __sub__(self, other: TensorLike) -> Expression:
        return _elementwise.subtract(self, other)

    def __rsub__(self, other: TensorLike) -> Expression:
        return _elementwise.subtract(other, self)

    def __mul__(self, other: TensorLike) -> Expression:
        return _elementwise.multiply(self, other)

    def __rmul__(self, other: TensorLike) -> Expression:
        return _elementwise.multiply(other, self)

    def __truediv__(self, other: TensorLike) -> Expression:
        return _elementwise.divide(self, other)

    def __rtruediv__(self, other: TensorLike) -> Expression:
        return _elementwise.divide(other, self)

    def __pow__(self, other: TensorLike) -> Expression:
        if self.dtype is DType.bool and type(other) is int and other == 2:
            return _elementwise.square(self)  # NumPy's operator gives int8 here, its power int64
        return _elementwise.power(self, other)

    def __rpow__(self, other: TensorLike) -> Expression:
        return _elementwise.power(other, self)

    def __matmul__(self, other: TensorLike) -> Expression:
        return _contraction.matmul(self, other)

    def __rmatmul__(self, other: TensorLike) -> Expression:
        return _contraction.matmul(other, self)

    def __neg__(self) -> Expression:
        return _elementwise.negative(self)

    def __pos__(self) -> Expression:
        return self

    def __abs__(self) -> Expression:
        return _elementwise.abs(self)

    def __eq__(self, other: TensorLike) -> Expression:  # type: ignore[override]
        return _elementwise.equal(self, other)

    def __ne__(self, other: TensorLike) -> Expression:  # type: ignore[override]
        return _elementwise.not_equal(self, other)

    def __lt__(self, other: TensorLike) -> Expression:
        return _elementwise.less(self, other)

    def __le__(self, other: TensorLike) -> Expression:
        return _elementwise.less_equal(self, other)

    def __gt__(self, other: TensorLike) -> Expression:
        return _elementwise.greater(self, other)

    def __ge__(self, other: TensorLike) -> Expression:
        return _elementwise.greater_equal(self, other)

    def __getitem__(self, key: Any) -> Expression:
        return _indexing.get_item(self, key)

    # --- methods -----------------------------------------------------------------------------

    def sum(self, axis: Axes = None, keepdims: bool = False) -> Expression:
        """The sum over ``axis`` (all axes by default)."""
        return _reductions.sum(self, axis, keepdims)

    def max(self, axis: Axes = None, keepdims: bool = False) -> Expression:
        """The maximum over ``axis``."""
        return _reductions.max(self, axis, keepdims)

    def min(self, axis: Axes = None, keepdims: bool = False) -> Expression:
        """The minimum over ``axis``."""
        return _reductions.min(self, axis, keepdims)

    def prod(self, axis: Axes = None, keepdims: bool = False) -> Expression:
        """The product over ``axis``."""
        return _reductions.prod(self, axis, keepdims)

    def mean(self, axis: Axes = None, keepdims: bool = False) -> Expression:
        """The mean over ``axis``."""
        return _reductions.mean(self, axis, keepdims)

    def var(self, axis: Axes = None, ddof: int = 0, keepdims: bool = False) -> Expression:
        """The variance over ``axis``, divided by the count less ``ddof``."""
        return _reductions.var(self, axis, ddof, keepdims)

    def reshape(self, *shape: Any) -> Expression:
        """The same elements in row-major order; one size may be -1."""
        return _shaping.reshape(self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Expression:
        """Axes in the given order, reversed by default."""
        if len(axes) == 1 and not hasattr(axes[0], "__index__"):
            return _shaping.transpose(self, axes[0])
        return _shaping.transpose(self, axes or None)

    def conj(self) -> Expression:
        """The complex conjugate; the expression itself where it is real."""
        return _elementwise.conj(self)

    def astype(self, dtype: Any) -> Expression:
        """The values in another dtype."""
        return _shaping.cast(self, dtype)


TensorLike = Union[Expression, Number, "np.ndarray[Any, Any]", "np.generic", Sequence[Any]]
_known: WeakValueDictionary[Node, Expression] = WeakValueDictionary()


def as_node(value: object) -> Node:
    """The node of an expression; numbers, arrays and nested lists become constants.

    Raises ``OtusError`` for anything else.
    """
    if isinstance(value, Expression):
        return value.node
    if isinstance(value, (bool, int, float, complex, np.ndarray, np.generic)):
        return build.constant(value)
    if isinstance(value, (list, tuple)):
        return _from_sequence(value)
    if hasattr(value, "__array__"):
        return build.constant(np.asarray(value))
    raise OtusError(f"{value!r} is not a tensor; give an expression, a number or an array")


def _from_sequence(value: Sequence[Any]) -> Node:
    if any(isinstance(item, Expression) for item in value):
        return _shaping.stack(value).node
    try:
        array = np.asarray(value)
    except ValueError:
        raise OtusError(f"{value!r} is not a tensor: its rows differ in length") from None
    if array.dtype.kind not in "biufc":
        raise OtusError(f"{value!r} is not a tensor of numbers")
    return build.constant(array)


def as_expression(value: object) -> Expression:
    """``value`` as an expression; raises ``OtusError`` where it is not a tensor."""
    return value if isinstance(value, Expression) else Expression.of(as_node(value))


# The functions need Expression, and its methods need them, so they come last.
from . import contraction as _contraction  # noqa: E402
from . import elementwise as _elementwise  # noqa: E402
from . import indexing as _indexing  # noqa: E402
from . import reductions as _reductions  # noqa: E402
from . import shaping as _shaping  # noqa: E402
