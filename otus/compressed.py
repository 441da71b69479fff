"""Derivatives that are mostly zeros, kept as their entries and the axes that are tied together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .frontend import Expression
from .frontend.creation import tensor
from .frontend.expression import TensorLike, as_node
from .frontend.origins import remember_inputs, remembered_inputs
from .ir import DType, Node, OtusError, ShapeError, Size, build, dim, inputs_of, specialise
from .ir.dims import substitute, symbols
from .ir.types import shape_text
from .optimisation import simplify

if TYPE_CHECKING:
    from .passes.structure.operators import Operator
    from .passes.structure.terms import Structure


class Compressed:
    """A tensor as a sum of products of stored entries and Kronecker deltas.

    ``core`` holds the entries that are stored and ``deltas`` the pairs of axes that are tied, so that an
    element is the core's where every pair agrees and 0 elsewhere; ``core_axes`` are the axes that the core
    runs along.  The methods are expressions that use the structure; vectors and diagonals have the shape
    of ``x`` for an operator with axes ``x`` then ``x'``.

    >>> import otus
    >>> x = otus.tensor("x", ("n",))
    >>> H = otus.compress(otus.hessian((x ** 3).sum(), x))
    >>> H.deltas, H.core.shape
    (((0, 1),), (Dim('n'),))
    """

    def __init__(self, structure: Structure, inputs: Sequence[Node] = ()) -> None:
        from .passes.structure.operators import stored_form

        self._structure = stored_form(structure)
        self._inputs = tuple(inputs)

    @property
    def shape(self) -> tuple[Size, ...]:
        """The shape of the dense tensor."""
        return self._structure.shape

    @property
    def deltas(self) -> tuple[tuple[int, int], ...]:
        """The pairs of axes outside of whose diagonals every element is 0."""
        return self._structure.ties

    @property
    def core(self) -> Expression:
        """The stored entries, over :attr:`core_axes`."""
        from .passes.structure.terms import core_of

        return simplify(Expression.of(core_of(self._structure)[0]))

    @property
    def core_axes(self) -> tuple[int, ...]:
        """The axes of the dense tensor that the core runs along, in order."""
        from .passes.structure.terms import core_of

        return core_of(self._structure)[1]

    @property
    def parts(self) -> list[Expression]:
        """Everything that is stored: the factors of every term."""
        return [simplify(Expression.of(node)) for node in self._nodes()]

    @cached_property
    def _operator(self) -> Operator:
        from .passes.structure.operators import Operator

        return Operator(self._structure)

    def to_dense(self) -> Expression:
        """The whole tensor."""
        from .passes.structure.terms import contract_terms

        return self._simplified(contract_terms(self._structure, range(len(self.shape))))

    def matvec(self, v: TensorLike) -> Expression:
        """The product with a vector of the shape of ``x``; raises ``ShapeError`` for another."""
        return self._simplified(self._operator.apply(self._vector(v)))

    def solve(self, g: TensorLike) -> Expression:
        """The ``v`` with ``matvec(v) = g``: a solve for each batch index and each factor."""
        return self._simplified(self._operator.solve(self._vector(g)))

    def diagonal(self) -> Expression:
        """The diagonal, of the shape of ``x``."""
        return self._simplified(self._operator.diagonal())

    def trace(self) -> Expression:
        """The sum of the diagonal."""
        return self._simplified(self._operator.trace())

    def logdet(self) -> Expression:
        """The logarithm of the absolute value of the determinant."""
        return self._simplified(self._operator.log_determinant())

    def __repr__(self) -> str:
        stored = ", ".join(f"{x.dtype.short}{shape_text(x.shape)}" for x in self.parts)
        return f"<compressed {shape_text(self.shape)}: deltas {self.deltas}, stored {stored}>"

    def _simplified(self, node: Node) -> Expression:
        """The expression of a node, which remembers the inputs that give sizes."""
        result = simplify(Expression.of(node))
        remember_inputs([result.node], self._inputs)
        return result

    def _vector(self, value: TensorLike) -> Node:
        node = as_node(value)
        if node.type.shape != self._operator.shape:
            raise ShapeError(
                f"a vector of shape {shape_text(node.type.shape)} was given; the operator takes "
                f"{shape_text(self._operator.shape)}"
            )
        return build.cast(node, self._structure.dtype)

    # --- values --------------------------------------------------------------------------------

    def _nodes(self) -> list[Node]:
        return list(dict.fromkeys(node for term in self._structure.terms for node, _ in term.factors))

    def _symbols(self) -> list[str]:
        return sorted({name for size in self.shape for name in symbols(size)})

    def leaves(self) -> list[Expression]:
        """What a compiled function computes to return this: :attr:`parts`, and the symbolic sizes."""
        extents = [Expression.of(build.extent(dim(name), DType.int64)) for name in self._symbols()]
        return [*map(Expression.of, self._nodes()), *extents]

    def size_inputs(self) -> list[Node]:
        """Inputs of the original expression, whose shapes say what the symbolic sizes are."""
        return list(self._inputs)

    def with_values(self, values: Sequence[Any]) -> CompressedValue:
        """The same structure over arrays, one for each of :meth:`leaves`."""
        nodes = self._nodes()
        sizes = {name: int(value) for name, value in zip(self._symbols(), values[len(nodes) :], strict=True)}
        names = [f"part{k}" for k in range(len(nodes))]
        new = specialise(nodes, sizes) if nodes else {}
        slots = {
            node: tensor(name, new[node].type.shape, node.type.dtype).node
            for name, node in zip(names, nodes, strict=True)
        }
        terms = tuple(
            replace(term, factors=tuple((slots[node], labels) for node, labels in term.factors))
            for term in self._structure.terms
        )
        shape = tuple(substitute(size, sizes) for size in self.shape)
        symbolic = Compressed(replace(self._structure, terms=terms, shape=shape))
        return CompressedValue(symbolic, dict(zip(names, values, strict=False)))


class CompressedValue:
    """A :class:`Compressed` whose entries are arrays; the same names give arrays."""

    def __init__(self, symbolic: Compressed, arrays: dict[str, Any]) -> None:
        self._symbolic = symbolic
        self._arrays = arrays

    @property
    def deltas(self) -> tuple[tuple[int, int], ...]:
        """The pairs of axes outside of whose diagonals every element is 0."""
        return self._symbolic.deltas

    @property
    def core(self) -> Any:
        """The stored entries."""
        return self._evaluate(self._symbolic.core)

    @property
    def nbytes(self) -> int:
        """Bytes that are stored."""
        return sum(int(array.nbytes) for array in self._arrays.values())

    def to_dense(self) -> Any:
        """The whole tensor."""
        return self._evaluate(self._symbolic.to_dense())

    def matvec(self, v: Any) -> Any:
        """The product with a vector of the shape of ``x``."""
        return self._with_vector(self._symbolic.matvec, v)

    def solve(self, g: Any) -> Any:
        """The ``v`` with ``matvec(v) = g``."""
        return self._with_vector(self._symbolic.solve, g)

    def diagonal(self) -> Any:
        """The diagonal, of the shape of ``x``."""
        return self._evaluate(self._symbolic.diagonal())

    def trace(self) -> Any:
        """The sum of the diagonal."""
        return self._evaluate(self._symbolic.trace())

    def logdet(self) -> Any:
        """The logarithm of the absolute value of the determinant."""
        return self._evaluate(self._symbolic.logdet())

    def __repr__(self) -> str:
        return f"<value of {self._symbolic!r}, {self.nbytes} bytes>"

    def _with_vector(self, method: Callable[[TensorLike], Expression], vector: Any) -> Any:
        slot = tensor("vector", self._symbolic._operator.shape, self._symbolic._structure.dtype)
        return self._evaluate(method(slot), vector=vector)

    def _evaluate(self, expression: Expression, **more: Any) -> Any:
        from .compilation import compile

        return compile(expression)(**self._arrays, **more)


def compress(expr: Expression) -> Compressed:
    """Find the structure of a derivative that is mostly zeros: diagonals, blocks, Kronecker products.

    Returns the stored entries and the axes tied together; nothing dense is formed.  Simplifies first,
    so the result is that of the algebra, not of the data.  See Laue, Mitterreiter and Giesen (arXiv
    2010.03313).

    >>> import otus
    >>> T, U, V = (otus.tensor(n, s) for n, s in (("T", (128, 64)), ("U", (128, 5)), ("V", (64, 5))))
    >>> loss = ((T - U @ V.T) ** 2).sum()
    >>> otus.compress(otus.hessian(loss, U))
    <compressed (128, 5, 128, 5): deltas ((0, 2),), stored f64(5, 5)>
    """
    from .passes.structure.terms import structure_of

    if not isinstance(expr, Expression):
        raise OtusError(f"compress takes one expression, not {expr!r}; compress the blocks one by one")
    inputs = [*inputs_of([expr.node]), *remembered_inputs([expr.node])]
    point = expr.shape[expr.ndim // 2 :]
    # The tensor that an operator acts on is what a caller is sure to have, so it says the sizes first.
    inputs.sort(key=lambda node: node.type.shape != point)
    return Compressed(structure_of(simplify(expr).node), inputs)
