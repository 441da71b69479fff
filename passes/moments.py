"""The pass that takes sums of squared distances from a mean in two stages, of which the first reads the array once."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..ir import DType, Graph, Node, build
from ..ir.deviation import mean_in_square
from ..ir.dims import evaluate
from ..ir.operations import Einsum
from ..ir.scalar import Call, Literal, Scalar, argument, call, postorder, replace_parts
from ..ir.specialise import free_symbols
from ..ir.traverse import rebuild
from .fusion.scalar_values import scalar_form
from .manager import Pass

# How many rows keep a GPU busy; how many neighbouring columns one program reads, and the most elements of a row for
# which it can; the least elements of a row.
_ENOUGH, _SIDE_BY_SIDE, _LONGEST_ACROSS, _SHORTEST = 264, 32, 256, 64


@dataclass(frozen=True)
class Moments(Pass):
    """Graph in; equal graph in which ``sum((x - mean)²)`` over most of a large array is combined from rows of it.

    Each row gives its sum and the squares of distances from its own mean, which one kernel computes in one pass over
    the array; these are combined by the pairwise formula of Chan, Golub and LeVeque (The American Statistician 37
    (1983) 242-247): the squares within the rows, and those between the rows' means and the whole's.  No term
    is negative, so nothing cancels.  Rows are some of the summed axes, or an axis is cut by a number that divides it.
    For float64 and float32, of arrays of at least ``large`` elements, where all summed sizes are numbers.  How often
    the array is read decreases. ::

        %0: f64[] = einsum "ab->" %x
        %1: f64[a,b] = map "square(a - (1e-06 * b))" "ab,->ab" %x, %0
        %2: f64[] = einsum "ab->" %1

    becomes, with %x as ``[a,b]`` of 1000 by 1000 elements, ::

        %0: f64[a] = einsum "ab->a" %x
        %1: f64[a,b] = map "square(a - (0.001 * b))" "ab,a->ab" %x, %0
        %2: f64[a] = einsum "ab->a" %1

    and ``sum(%2) + 1000·sum((0.001·%0 - 1e-06·sum(%0))²)``, which waits for all rows behind a reshape.
    """

    name: ClassVar[str] = "moments"
    large: int = 8388608
    sizes: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)

    def run(self, graph: Graph) -> Graph:
        """Split the sums, for the sizes at hand."""
        return self.run_counting(graph)[0]

    def run_counting(self, graph: Graph) -> tuple[Graph, Counter[str]]:
        """The graph, and the number of variances that were split."""
        known = not free_symbols(graph.outputs) - self.sizes.keys()
        found = dict(self._found(graph)) if known else {}
        if not found:
            return graph, Counter()
        totals = {each.total: each for each in found.values()}
        new: dict[Node, Node] = {}
        for node in graph.nodes():
            if node in totals:
                new[node] = totals[node].whole_total(new)
            elif node in found:
                new[node] = found[node].whole_squares(new)
            else:
                new[node] = rebuild(node, [new[x] for x in node.operands])
        return graph.replaced(new), Counter(variance=len(found))

    def with_sizes(self, sizes: Mapping[str, int]) -> Moments:
        """The same pass, for these sizes."""
        return dataclasses.replace(self, sizes={**self.sizes, **sizes}) if sizes else self

    def _found(self, graph: Graph) -> Iterator[tuple[Node, _Variance]]:
        """The sums of squares to split, each with what is known of it."""
        totals = {(x.operands[0], axes): x for x in graph.nodes() if (axes := _summed_axes(x)) and len(x.operands) == 1}
        for node in graph.nodes():
            axes = _summed_axes(node)
            for (x, its), total in totals.items() if axes else ():
                if its != axes or total is node or node.type != total.type:
                    continue
                factor = _factor(node, x, total)
                split = self._split(x, axes) if factor is not None else None
                if factor is not None and split is not None:
                    yield node, _Variance(x, total, axes, factor, split)
                    break

    def _split(self, x: Node, axes: Sequence[int]) -> tuple[int, ...] | None:
        """For each summed axis how many of its parts are rows; None where nothing is to be gained."""
        shape = [evaluate(size, self.sizes) for size in x.type.shape]
        if math.prod(shape) < self.large or not all(isinstance(x.type.shape[k], int) for k in axes):
            return None
        summed = [shape[k] for k in axes]
        kept = math.prod(shape) // max(math.prod(summed), 1)
        across = x.ndim - 1 not in axes  # neighbours in memory are then of different sums
        rows = -(-kept // _SIDE_BY_SIDE) if across else kept
        wanted = -(-_ENOUGH // max(rows, 1))
        if wanted <= 1:
            return None
        return _parts(summed, max(wanted, math.prod(summed) // _LONGEST_ACROSS) if across else wanted)


def _parts(sizes: Sequence[int], wanted: int) -> tuple[int, ...] | None:
    """Parts of each axis, the first axes first, with a product of at least ``wanted``; None where rows were short."""
    parts: list[int] = []
    for size in sizes:
        made = math.prod(parts)
        left = -(-wanted // made)
        parts.append(next((d for d in range(left, size) if size % d == 0), size) if left > 1 else 1)
    rows = math.prod(parts)
    return tuple(parts) if rows >= wanted and math.prod(sizes) // rows >= _SHORTEST else None


def _summed_axes(node: Node) -> tuple[int, ...]:
    """The axes of one tensor, or of one tensor times itself, that a node sums, in order; else none."""
    if not isinstance(node.op, Einsum) or len(set(node.operands)) != 1 or len(set(node.op.inputs)) != 1:
        return ()
    labels, output = node.op.inputs[0], node.op.output
    if (
        len(set(labels)) < len(labels)
        or len(node.operands) > 2
        or node.type.dtype not in (DType.float64, DType.float32)
    ):
        return ()
    if tuple(x for x in labels if x in output) != tuple(output):
        return ()
    return tuple(axis for axis, label in enumerate(labels) if label not in output)


def _factor(squares: Node, x: Node, total: Node) -> float | None:
    """The ``c`` of ``sum((x - c·total)²)``, where ``squares`` is that."""
    kept = tuple(k for k in range(x.ndim) if k not in _summed_axes(squares))
    leaves: dict[tuple[Node, tuple[int, ...]], Scalar] = {}
    ends = {(x, tuple(range(x.ndim))): argument(0), (total, kept): argument(1)}
    value = _inlined(squares.operands[0], tuple(range(x.ndim)), {x, total}, ends, leaves)
    if len(squares.operands) == 2:
        value = call("mul", value, value)
    mean = mean_in_square(value, argument(0), argument(1), lambda _: False)
    if mean is None:
        return None
    numbers = [part.value for part in postorder(mean) if isinstance(part, Literal)]
    number = float(numbers[0].real) if numbers else 1.0
    return 1 / number if isinstance(mean, Call) and mean.function == "div" else number


def _inlined(
    node: Node,
    labels: tuple[int, ...],
    stops: set[Node],
    ends: Mapping[tuple[Node, tuple[int, ...]], Scalar],
    leaves: dict[tuple[Node, tuple[int, ...]], Scalar],
) -> Scalar:
    """What an elementwise node computes, as an expression of ``ends``, and of others where it reads any."""
    key = node, labels
    form = scalar_form(node) if node not in stops else None
    if key in ends or form is None or any(x.type.dtype is not node.type.dtype for x, _ in form[1]):
        return ends[key] if key in ends else leaves.setdefault(key, argument(2 + len(leaves)))
    expression, operands = form
    values = [_inlined(x, tuple(labels[k] for k in its), stops, ends, leaves) for x, its in operands]
    return replace_parts(expression, {argument(k): value for k, value in enumerate(values)})


@dataclass(frozen=True)
class _Variance:
    """``sum((x - factor·total)²)`` over ``axes``, of which axis ``axes[k]`` is ``parts[k]`` parts that are rows."""

    x: Node
    total: Node
    axes: tuple[int, ...]
    factor: float
    parts: tuple[int, ...]

    def _rows(self, new: Mapping[Node, Node]) -> tuple[Node, list[int], list[int], int]:
        """The array with rows; its axes within rows, its axes of rows that are summed, the elements of a row."""
        shape, within, between = [], [], []
        parts = dict(zip(self.axes, self.parts, strict=True))
        length = 1
        for axis, size in enumerate(self.x.type.shape):
            if axis not in parts:
                shape.append(size)
                continue
            assert isinstance(size, int)
            if parts[axis] > 1:
                between.append(len(shape))
                shape.append(parts[axis])
            if parts[axis] < size:
                within.append(len(shape))
                shape.append(size // parts[axis])
                length *= size // parts[axis]
        x = new[self.x]
        return (x if tuple(shape) == x.type.shape else build.reshape(x, shape)), within, between, length

    def _row_totals(self, new: Mapping[Node, Node]) -> Node:
        x, within, _, _ = self._rows(new)
        return build.sum_axes(x, within)

    def _between(self, new: Mapping[Node, Node]) -> list[int]:
        """The axes of the rows' results, seen whole, that are summed."""
        x, within, between, _ = self._rows(new)
        kept = [k for k in range(x.ndim) if k not in within]
        return [0, *(1 + kept.index(k) for k in between)]

    def whole_total(self, new: Mapping[Node, Node]) -> Node:
        """The sum, of the rows' sums."""
        return build.sum_axes(_whole(self._row_totals(new)), self._between(new))

    def whole_squares(self, new: Mapping[Node, Node]) -> Node:
        """The squares within rows and between them."""
        x, within, _, length = self._rows(new)
        totals, between = self._row_totals(new), self._between(new)
        distance = call("sub", argument(0), call("mul", 1 / length, argument(1)))
        inside = build.sum_axes(_squared(distance, x, totals, within), within)
        distance = call("sub", call("mul", 1 / length, argument(0)), call("mul", self.factor, argument(1)))
        outside = build.sum_axes(_squared(distance, _whole(totals), new[self.total], between), between)
        every = tuple(range(outside.ndim))
        both = [build.sum_axes(_whole(inside), between), outside]
        return build.linear_combination([1.0, length], both, [every, every], outside.ndim)


def _whole(rows: Node) -> Node:
    """The results of rows, seen so that no loop over rows goes on with them: all are there before any is combined."""
    return build.reshape(rows, (1, *rows.type.shape))


def _squared(distance: Scalar, x: Node, other: Node, axes: Sequence[int]) -> Node:
    """The square of an expression of two tensors, of which the second lacks some axes."""
    every = tuple(range(x.ndim))
    kept = tuple(k for k in every if k not in axes)
    return build.map_node(call("square", distance), [x, other], [every, kept], x.ndim)
