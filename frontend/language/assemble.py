"""From indexed terms to nodes: values whose axes are named by indices, aligned by those names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from ...ir import Dim, DType, Node, Size, build, make, promote
from ...ir.operations import Take
from .. import FUNCTIONS
from ..broadcasting import as_nodes, result_dtype
from ..einsum import contract
from ..expression import Expression, as_expression
from .arithmetic import checked_number, combine
from .bounds import is_never_negative
from .calls import call_function, guarded
from .diagnostics import LanguageError, Span
from .ranges import Range, infer_ranges, positions
from .terms import (
    AccessTerm,
    Affine,
    AnyTerm,
    BracketTerm,
    CallTerm,
    DeltaTerm,
    Index,
    PositionTerm,
    ProductTerm,
    ReduceTerm,
    SumTerm,
    ValueTerm,
    parts,
    postorder,
)

Number = int | float
Labels = tuple[Index, ...]
Aligned = tuple[Any, Labels]
Record = Callable[[object, Span], None]


def assemble(root: AnyTerm, left: Sequence[Index], record: Record) -> Expression | Number:
    """The tensor whose axes are ``left``, from a term; an index listed twice embeds a diagonal.

    ``record`` hears of every value and the place it comes from.
    """
    assembly = _Assembly(root, left, record)
    return assembly.lay_out(root, left)


class _Assembly:
    def __init__(self, root: AnyTerm, left: Sequence[Index], record: Record) -> None:
        order = postorder(root)
        self.ranges: dict[Index, Range] = infer_ranges(order, left)
        self.dtype = _surrounding_dtype(order)
        self.values: dict[int, Aligned] = {}
        self.undiagonal: dict[int, Aligned] = {}  # accesses before repeated indices took diagonals
        for term in order:
            value = self._build(term, [self.values[id(x)] for x in parts(term)])
            self.values[id(term)] = value
            record(value[0], term.span)

    def _build(self, term: AnyTerm, inner: list[Aligned]) -> Aligned:
        match term:
            case ValueTerm(value=value):
                return Expression.of(build.extent(value, self.dtype)) if isinstance(value, Dim) else value, ()
            case AccessTerm():
                return guarded(term.label, lambda: self._access(term), term.span)  # type: ignore[no-any-return]
            case DeltaTerm():
                return self._delta(term)
            case PositionTerm(index=index):
                return self._position(index), (index,)
            case BracketTerm():
                (value, labels), = inner  # fmt: skip
                return FUNCTIONS["cast"](value, self.dtype), labels
            case SumTerm():
                return self._sum(term, inner)
            case ProductTerm():
                return self._product(term, inner)
            case CallTerm():
                values, labels = spread(inner)
                return call_function(term.function, values, term.keywords, term.span), labels
            case ReduceTerm():
                return self._reduce(term, inner[0])

    # --- leaves --------------------------------------------------------------------------------

    def _position(self, index: Index) -> Expression:
        span = self.ranges[index]
        return _shifted(Expression.of(build.iota(span.size)), 1, span.start)

    def _affine_value(self, affine: Affine) -> Aligned:
        """The value of a subscript, over its indices."""
        offset = _shifted(None, 1, affine.constant)
        total: Aligned = (offset, ())
        for index, coefficient in affine.coefficients:
            step = self._position(index) * coefficient if coefficient != 1 else self._position(index)
            if not total[1] and affine.constant == 0:
                total = (step, (index,))
                continue
            values, labels = spread([total, (step, (index,))])
            total = (values[0] + values[1], labels)
        return total

    def _access(self, term: AccessTerm) -> Aligned:
        starts: list[Size] = []
        sizes: list[Size] = []
        steps: list[int] = []
        labels: list[Any] = []
        shape: list[Size] = []
        for axis, subscript in enumerate(term.subscripts):
            extent = term.tensor.shape[axis]
            start, size, step = self._strided(subscript, extent, term, axis)
            starts.append(start)
            sizes.append(size)
            steps.append(step)
            if subscript.coefficients:
                shape.append(size)
                single = len(subscript.coefficients) == 1
                labels.append(subscript.coefficients[0][0] if single else subscript)
        node = build.reshape(build.slice_node(term.tensor.node, starts, sizes, steps), shape)
        for axis in reversed(range(len(labels))):
            if isinstance(labels[axis], Affine):
                subscript = labels[axis]
                first = self._first_position(subscript)
                places, over = self._affine_value(replace(subscript, constant=subscript.constant - first))
                node = make(Take(axis), node, places.node)
                labels[axis : axis + 1] = over
        unique = tuple(dict.fromkeys(labels))
        self.undiagonal[id(term)] = (Expression.of(node), tuple(labels))
        return Expression.of(contract([node], [labels], unique)), unique

    def _strided(self, subscript: Affine, extent: Size, term: AccessTerm, axis: int) -> tuple[Size, Size, int]:
        """Start, count and step along one axis; all that is reached where the subscript has several indices."""
        if not subscript.coefficients:
            return _fixed_position(subscript.constant, extent, term, axis), 1, 1
        if len(subscript.coefficients) > 1:
            first = self._first_position(subscript)
            return first, extent - first, 1
        ((index, coefficient),) = subscript.coefficients
        span = self.ranges[index]
        return subscript.constant + coefficient * span.start, span.size, coefficient

    def _first_position(self, subscript: Affine) -> Size:
        """Where the part of an axis that a subscript of several indices reads must start.

        A gather counts negative positions from the end.  A subscript that cannot be shown to stay at 0 or
        above reads a slice instead, which raises when the function is called with sizes that do not fit.
        """
        low, _ = positions(subscript, self.ranges)
        return 0 if is_never_negative(low) else low

    def _delta(self, term: DeltaTerm) -> Aligned:
        first, second = (x.plain for x in term.subscripts)
        if first is not None and second is not None and self.ranges[first] == self.ranges[second]:
            node = build.delta(self.ranges[first].size, self.dtype)
            unique = tuple(dict.fromkeys((first, second)))
            return Expression.of(contract([node], [(first, second)], unique)), unique
        values, labels = spread([self._affine_value(x) for x in term.subscripts])
        return FUNCTIONS["cast"](FUNCTIONS["equal"](*values), self.dtype), labels

    # --- sums, products, reductions ------------------------------------------------------------

    def _sum(self, term: SumTerm, inner: list[Aligned]) -> Aligned:
        if not any(isinstance(value, Expression) for value, _ in inner):
            total = sum(sign * value for sign, (value, _) in zip(term.signs, inner, strict=True))
            return checked_number(total, term.span), ()
        operands = [x.node if isinstance(x, Expression) else x for x, _ in inner]
        dtype = result_dtype(operands)
        if dtype is DType.bool:
            return self._boolean_sum(term, inner)
        labels = tuple(dict.fromkeys(index for _, names in inner for index in names))
        places = [[labels.index(x) for x in names] for _, names in inner]
        node = guarded(
            "+", lambda: build.linear_combination(term.signs, as_nodes(operands, dtype), places, len(labels)), term.span
        )
        return Expression.of(node), labels

    def _boolean_sum(self, term: SumTerm, inner: list[Aligned]) -> Aligned:
        values, labels = spread(inner)
        total = values[0] if term.signs[0] > 0 else guarded("-", lambda: FUNCTIONS["negative"](values[0]), term.span)
        for sign, value in zip(term.signs[1:], values[1:], strict=True):
            total = combine("+" if sign > 0 else "-", total, value, term.span)
        return total, labels

    def _product(self, term: ProductTerm, inner: list[Aligned]) -> Aligned:
        summed = set(term.summed)
        above: list[Aligned] = []
        below: list[Aligned] = []
        factor: Any = 1
        divisor: Any = 1
        for part, (value, labels), inverted in zip(term.factors, inner, term.inverted, strict=True):
            if not isinstance(value, Expression):
                factor, divisor = (
                    (factor, combine("*", divisor, value, term.span))
                    if inverted
                    else (combine("*", factor, value, term.span), divisor)
                )
            elif not inverted:
                above.append(self.undiagonal.get(id(part), (value, labels)))
            elif summed & set(labels):
                above.append((call_function("reciprocal", [value], {}, term.span), labels))
            else:
                below.append((value, labels))
        value, labels = _contracted(above, summed, term.span) if above else (1, ())
        if not isinstance(value, Expression) or factor != 1 or isinstance(factor, float):
            value = combine("*", factor, value, term.span)
        for denominator in [(divisor, ()), *below] if divisor != 1 or isinstance(divisor, float) else below:
            pair, labels = spread([(value, labels), denominator])
            value = combine("/", pair[0], pair[1], term.span)
        return value, labels

    def _reduce(self, term: ReduceTerm, body: Aligned) -> Aligned:
        value, labels = body
        axes = tuple(labels.index(x) for x in term.indices)
        reduced = call_function(term.function, [value], {"axis": axes}, term.span)
        return reduced, labels if term.keeps else tuple(x for x in labels if x not in term.indices)

    # --- the left-hand side --------------------------------------------------------------------

    def lay_out(self, root: AnyTerm, left: Sequence[Index]) -> Expression | Number:
        """The value of the root with the axes ``left``, repeated along those it lacks."""
        value, labels = self.values[id(root)]
        if not left:
            return value  # type: ignore[no-any-return]
        node: Node = as_expression(value).node
        missing = tuple(dict.fromkeys(x for x in left if x not in labels))
        shape = [self.ranges[x].size for x in (*labels, *missing)]
        node = build.broadcast(node, range(len(labels)), shape)
        return Expression.of(guarded("=", lambda: contract([node], [(*labels, *missing)], list(left)), root.span))


def spread(values: Iterable[Aligned]) -> tuple[list[Any], Labels]:
    """Values with their axes in one common order, size 1 where one lacks an index, for broadcasting."""
    listed = list(values)
    labels = tuple(dict.fromkeys(index for _, names in listed for index in names))
    return [_along(value, names, labels) for value, names in listed], labels


def _along(value: Any, names: Labels, labels: Labels) -> Any:
    if not isinstance(value, Expression) or names == labels:
        return value
    node = build.transpose(value.node, [names.index(x) for x in labels if x in names])
    sizes = iter(node.type.shape)
    return Expression.of(build.reshape(node, [next(sizes) if x in names else 1 for x in labels]))


def _contracted(factors: list[Aligned], summed: set[Index], span: Span) -> Aligned:
    """The product of factors, summed over some of their indices."""
    labels = tuple(dict.fromkeys(index for _, names in factors for index in names if index not in summed))
    if len(factors) == 1 and factors[0][1] == labels:
        return factors[0]
    nodes = as_nodes([value.node for value, _ in factors])
    boolean = nodes[0].type.dtype is DType.bool
    if boolean:
        nodes = [build.cast(x, DType.int64) for x in nodes]
    node = guarded("*", lambda: contract(nodes, [names for _, names in factors], labels), span)
    return Expression.of(build.cast(node, DType.bool) if boolean and not summed else node), labels


def _shifted(value: Expression | None, factor: int, offset: Size) -> Expression:
    """``factor · value + offset`` for a value of integers (0 where there is none)."""
    if value is not None and isinstance(offset, int) and offset == 0:
        return value * factor if factor != 1 else value
    constant = as_expression(offset) if isinstance(offset, int) else Expression.of(build.extent(offset, DType.int64))
    return constant if value is None else value * factor + constant


def _fixed_position(position: Size, extent: Size, term: AccessTerm, axis: int) -> Size:
    if isinstance(position, int) and isinstance(extent, int) and not -extent <= position < extent:
        raise LanguageError.at(
            term.places[axis], f"position {position} is outside axis {axis} of {term.label}, which has size {extent}"
        )
    return position + extent if isinstance(position, int) and position < 0 else position


def _surrounding_dtype(order: Iterable[AnyTerm]) -> DType:
    """The dtype of deltas and brackets: that of the floating tensors around them, else float64."""
    tensors = [x.tensor for x in order if isinstance(x, AccessTerm)]
    tensors += [x.value for x in order if isinstance(x, ValueTerm) and isinstance(x.value, Expression)]
    floating = [x.dtype for x in tensors if x.dtype.is_inexact]
    return promote(*floating) if floating else DType.float64
