"""The pass that evaluates exponentials stably: softmax, logsumexp, sigmoid, softplus, expm1, log1p.

It runs before derivatives are expanded, so that gradients and Hessians are built from the stable
forms.  Elementwise chains are looked at through their maps and sums, whatever nodes they are cut into.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..ir import Graph, Node, build
from ..ir.operations import Broadcast, Derivative, Einsum, Extent, LinearCombination, Map, Reshape
from ..ir.scalar import (
    Argument,
    Call,
    Literal,
    Number,
    Scalar,
    argument,
    call,
    literal,
    postorder,
    replace_parts,
    substitute_arguments,
)
from ..ir.traverse import rebuild
from .manager import Pass

Leaf = tuple[Node, tuple[int, ...]]
_DEPTH = 6


@dataclass(frozen=True)
class Stabilise(Pass):
    """Graph in; equal graph out, finite where the exact value is.

    ``log(sum(exp(x)))`` becomes a logsumexp reduction, ``exp(x)/sum(exp(x))`` the exponential of a
    difference, ``log(1 + exp(x))`` a softplus, and so on (:data:`SCALAR_PATTERNS`).  Points of derivative
    requests are left as they are.  ::

        %1: f64[n] = map "exp(a)" "n->n" %x
        %2: f64[] = einsum "n->" %1
        %3: f64[] = map "log(a)" "->" %2

    becomes ``reduce {kind="logsumexp", axes=(0,)} %x``.
    """

    name: ClassVar[str] = "stabilise"

    def run(self, graph: Graph) -> Graph:
        """Rewrite every elementwise node in which a pattern occurs."""
        return self.run_counting(graph)[0]

    def run_counting(self, graph: Graph) -> tuple[Graph, Counter[str]]:
        """The graph, and how often each pattern was found."""
        fired: Counter[str] = Counter()
        points = _points(graph)
        kept: dict[Node, Node] = {}

        def change(node: Node, operands: Sequence[Node]) -> Node:
            new = rebuild(node, operands)
            if node in points:
                kept[new] = new
            elementwise = new not in kept and (
                isinstance(new.op, (Map, LinearCombination)) or (isinstance(new.op, Einsum) and _is_elementwise(new.op))
            )
            if elementwise and all(x.type.dtype.kind == "float" for x in (new, *new.operands)):
                return _Chain(new, kept).stabilised(fired)
            return new

        return graph.transform(change), fired


def _is_elementwise(op: Einsum) -> bool:
    """Whether an einsum is a product along the axes of its result, with nothing summed."""
    distinct = all(len(set(labels)) == len(labels) for labels in op.inputs)
    return len(op.inputs) > 1 and distinct and {x for labels in op.inputs for x in labels} == set(op.output)


def _points(graph: Graph) -> set[Node]:
    return {
        point
        for node in graph.nodes()
        if isinstance(node.op, Derivative)
        for point in node.operands[1 : 1 + node.op.points]
    }


@dataclass
class _Chain:
    """An elementwise node as one scalar expression over leaves, with the rank of the node."""

    node: Node
    points: dict[Node, Node]
    leaves: dict[Leaf, int] = field(default_factory=dict)
    exponents: list[Leaf] = field(default_factory=list)

    def stabilised(self, fired: Counter[str]) -> Node:
        """The node with every pattern replaced, or itself where there is none."""
        whole = self._inlined(self.node, tuple(range(self.node.ndim)), 0)
        changed = self._rewrite(whole, fired)
        if changed is whole or not self.node.type.dtype.is_inexact:
            return self.node
        changed = self._with_exponents_whole(changed)
        operands = [leaf for leaf, _ in self.leaves]
        inputs = [labels for _, labels in self.leaves]
        covered = sorted({axis for labels in inputs for axis in labels})
        renamed = [[covered.index(axis) for axis in labels] for labels in inputs]
        smaller = build.map_node(changed, operands, renamed, len(covered))
        new = build.broadcast(smaller, covered, self.node.type.shape)
        return new if new.type == self.node.type else self.node

    def _with_exponents_whole(self, whole: Scalar) -> Scalar:
        """The expression with each exponent of a logsumexp read as the node that the reduction reads.

        What is subtracted from ``logsumexp(e)`` is then that very ``e``, rounding included.
        """
        for exponent, places in self.exponents:
            axes = self._filled(places)
            inlined = None if axes is None else self._inlined(exponent, axes, 1)
            if axes is not None and isinstance(inlined, Call):
                whole = replace_parts(whole, {inlined: self._leaf(exponent, axes)})
        return whole

    def _filled(self, places: tuple[int, ...]) -> tuple[int, ...] | None:
        """Axes with summed places (-1) along axes of the result that are still free; None where too few are."""
        free = [axis for axis in range(self.node.ndim) if axis not in places]
        if len(free) < places.count(-1):
            return None
        chosen = iter(free)
        return tuple(next(chosen) if axis == -1 else axis for axis in places)

    def _inlined(self, node: Node, axes: tuple[int, ...], depth: int) -> Scalar:
        node = self._without_units(node)
        op = node.op
        value = build.constant_value(node)
        if value is not None:
            return literal(value)
        if depth > _DEPTH or node in self.points:
            return self._leaf(node, axes)
        if isinstance(op, Broadcast):
            return self._inlined(node.operands[0], tuple(axes[k] for k in op.axes), depth)
        if isinstance(op, Map):
            parts = [self._operand(x, labels, axes, depth) for x, labels in zip(node.operands, op.inputs, strict=True)]
            return substitute_arguments(op.expression, parts)
        if isinstance(op, Einsum) and _is_elementwise(op):
            place = dict(zip(op.output, axes, strict=True))
            factors = [
                self._operand(x, [place[label] for label in labels], None, depth)
                for x, labels in zip(node.operands, op.inputs, strict=True)
            ]
            return functools.reduce(lambda x, y: call("mul", x, y), factors)
        if isinstance(op, LinearCombination) and node.type.dtype.is_inexact:
            terms = [
                _scaled(c, self._operand(x, labels, axes, depth))
                for c, x, labels in zip(op.coefficients, node.operands, op.inputs, strict=True)
            ]
            total = terms[0]
            for term in terms[1:]:
                total = _added(total, term)
            return total
        return self._leaf(node, axes)

    def _without_units(self, node: Node) -> Node:
        """What a chain of reshapes leads back to in the same shape: axes of size 1 that came and went."""
        inner = node
        while isinstance(inner.op, Reshape) and inner not in self.points:
            inner = inner.operands[0]
            if inner.type.shape == node.type.shape:
                return self._without_units(inner)
        return node

    def _operand(self, node: Node, labels: Sequence[int], axes: tuple[int, ...] | None, depth: int) -> Scalar:
        """An operand along ``labels``, which count ``axes`` of the result (all of them, where None)."""
        placed = tuple(labels) if axes is None else tuple(axes[k] for k in labels)
        if node.type.dtype is not self.node.type.dtype:
            return self._leaf(node, placed)
        return self._inlined(node, placed, depth + 1)

    def _leaf(self, node: Node, axes: tuple[int, ...]) -> Scalar:
        return argument(self.leaves.setdefault((node, axes), len(self.leaves)))

    def _rewrite(self, whole: Scalar, fired: Counter[str]) -> Scalar:
        new: dict[Scalar, Scalar] = {}
        for part in postorder(whole):
            if isinstance(part, Call):
                arguments = [new[x] for x in part.arguments]
                same = all(x is y for x, y in zip(arguments, part.arguments, strict=True))
                replaced = part if same else call(part.function, *arguments)
                new[part] = self._matched(replaced, fired)
            else:
                new[part] = part
        return new[whole]

    def _matched(self, part: Call, fired: Counter[str]) -> Scalar:
        matches = (self._log_of_sum, self._log_of_scaled_sum, self._quotient_by_sum)
        for name, match in zip(("logsumexp", "scaled_logsumexp", "softmax"), matches, strict=True):
            found = match(part)
            if found is not None:
                fired[name] += 1
                return found
        for name, pattern in SCALAR_PATTERNS.items():
            found = pattern(part)
            if found is not None:
                fired[name] += 1
                return found
        return part

    # --- patterns that reach through a sum -----------------------------------------------------

    def _log_of_sum(self, part: Call) -> Scalar | None:
        """``log(Σ exp(e))``."""
        if part.function != "log" or not isinstance(part.arguments[0], Argument):
            return None
        found = self._logsumexp_of(part.arguments[0])
        return None if found is None else self._leaf(*found)

    def _logsumexp_of(self, total: Argument) -> Leaf | None:
        """For a leaf ``Σ exp(e)``: the logsumexp of ``e``, and the axes of the result it runs along."""
        (node, axes) = next(leaf for leaf, position in self.leaves.items() if position == total.position)
        if node in self.points or not isinstance(node.op, Einsum) or len(node.operands) != 1:
            return None
        (inner,), (labels,), output = node.operands, node.op.inputs, node.op.output
        if inner in self.points or len(set(labels)) != len(labels) or not isinstance(inner.op, Map):
            return None
        expression = inner.op.expression
        if not (isinstance(expression, Call) and expression.function == "exp") or inner.type.dtype.kind != "float":
            return None
        exponent = build.map_node(expression.arguments[0], inner.operands, inner.op.inputs, inner.ndim)
        gone = [k for k, x in enumerate(labels) if x not in output]
        if not gone:
            return None
        kept = [x for x in labels if x in output]
        reduced = build.reduce_node("logsumexp", exponent, gone)
        place = dict(zip(output, axes, strict=True))
        self.exponents.append((exponent, tuple(place.get(x, -1) for x in labels)))
        return reduced, tuple(place[x] for x in kept)

    def _quotient_by_sum(self, part: Call) -> Scalar | None:
        """``exp(a) / Σ exp(e)``, also as a product with the reciprocal, is ``exp(a − logsumexp(e))``."""
        above, below = _quotient(part)
        exponent = None if above is None else _inside(above, "exp")
        if exponent is None or not isinstance(below, Argument):
            return None
        found = self._logsumexp_of(below)
        return None if found is None else call("exp", call("sub", exponent, self._leaf(*found)))

    def _log_of_scaled_sum(self, part: Call) -> Scalar | None:
        """``log(c·Σ exp(e))``, ``log(Σ exp(e) / n)`` and ``log(1 + Σ exp(e))``."""
        if part.function != "log" or not isinstance(part.arguments[0], Call):
            return None
        inner = part.arguments[0]
        one_more = _one_plus(inner)
        if isinstance(one_more, Argument):
            found = self._logsumexp_of(one_more)
            return None if found is None else call("softplus", self._leaf(*found))
        if inner.function not in ("mul", "div"):
            return None
        total, factor = inner.arguments
        if isinstance(factor, Argument) and inner.function == "mul" and isinstance(total, Literal):
            total, factor = factor, total
        positive = isinstance(factor, Literal) and not isinstance(factor.value, complex) and factor.value > 0
        counted = isinstance(factor, Argument) and inner.function == "div" and self._is_extent(factor)
        if not isinstance(total, Argument) or not (positive or counted):
            return None
        found = self._logsumexp_of(total)
        sign = "add" if inner.function == "mul" else "sub"
        return None if found is None else call(sign, self._leaf(*found), call("log", factor))

    def _is_extent(self, factor: Argument) -> bool:
        return any(k == factor.position and isinstance(node.op, Extent) for (node, _), k in self.leaves.items())


def _quotient(part: Call) -> tuple[Scalar | None, Scalar | None]:
    """Numerator and denominator, of a division or a product with a reciprocal."""
    if part.function == "div":
        return part.arguments[0], part.arguments[1]
    if part.function == "mul":
        for x, y in (part.arguments, part.arguments[::-1]):
            if isinstance(y, Call) and y.function == "reciprocal":
                return x, y.arguments[0]
            if isinstance(y, Call) and y.function == "div" and _is_one(y.arguments[0]):
                return x, y.arguments[1]
    return None, None


def _scaled(coefficient: Number, x: Scalar) -> Scalar:
    if coefficient == 1:
        return x
    if isinstance(x, Literal):
        return literal(coefficient * x.value)
    return call("neg", x) if coefficient == -1 else call("mul", x, literal(coefficient))


def _added(x: Scalar, y: Scalar) -> Scalar:
    if isinstance(y, Call) and y.function == "neg":
        return call("sub", x, y.arguments[0])
    return call("add", x, y)


# --- patterns within one scalar expression -----------------------------------------------------


def _inside(x: Scalar, function: str) -> Scalar | None:
    """The ``e`` of ``function(e)``, where ``x`` is that."""
    return x.arguments[0] if isinstance(x, Call) and x.function == function else None


def _is_one(x: Scalar) -> bool:
    return isinstance(x, Literal) and x.value == 1


def _one_plus(x: Scalar) -> Scalar | None:
    """The ``e`` of ``1 + e``."""
    if isinstance(x, Call) and x.function == "add":
        first, second = x.arguments
        if _is_one(first):
            return second
        if _is_one(second):
            return first
    return None


def _negated(x: Scalar) -> Scalar:
    return x.arguments[0] if isinstance(x, Call) and x.function == "neg" else call("neg", x)


def _softplus(part: Call) -> Scalar | None:
    """``log(1 + exp(e))`` and ``log1p(exp(e))``."""
    inner = part.arguments[0] if part.function == "log1p" else None
    if part.function == "log":
        inner = _one_plus(part.arguments[0])
    return call("softplus", inner.arguments[0]) if isinstance(inner, Call) and inner.function == "exp" else None


_ONE: Scalar = literal(1.0)


def _sigmoid(part: Call) -> Scalar | None:
    """``1 / (1 + exp(-e))`` and ``exp(e) / (1 + exp(e))``."""
    if part.function == "reciprocal":
        above, below = _ONE, part.arguments[0]
    elif part.function == "div":
        above, below = part.arguments
    else:
        return None
    inner = _one_plus(below)
    if not (isinstance(inner, Call) and inner.function == "exp"):
        return None
    if _is_one(above):
        return call("sigmoid", _negated(inner.arguments[0]))
    return call("sigmoid", inner.arguments[0]) if above is inner else None


def _log_sigmoid(part: Call) -> Scalar | None:
    """``log(sigmoid(e))``."""
    inner = _inside(part.arguments[0], "sigmoid") if part.function == "log" else None
    return None if inner is None else call("neg", call("softplus", _negated(inner)))


def _log_of_rest(part: Call) -> Scalar | None:
    """``log(1 - sigmoid(e))``."""
    inner = part.arguments[0] if part.function == "log" else None
    if isinstance(inner, Call) and inner.function == "sub" and _is_one(inner.arguments[0]):
        exponent = _inside(inner.arguments[1], "sigmoid")
        return None if exponent is None else call("neg", call("softplus", exponent))
    return None


def _logaddexp(part: Call) -> Scalar | None:
    """``log(exp(a) + exp(b))``."""
    inner = part.arguments[0] if part.function == "log" else None
    if isinstance(inner, Call) and inner.function == "add":
        first, second = (_inside(x, "exp") for x in inner.arguments)
        if first is not None and second is not None:
            return call("logaddexp", first, second)
    return None


def _log_of_exp(part: Call) -> Scalar | None:
    """``log(exp(e))``, which is ``e`` for real values."""
    return _inside(part.arguments[0], "exp") if part.function == "log" else None


def _expm1(part: Call) -> Scalar | None:
    """``exp(e) - 1``."""
    if part.function in ("sub", "add") and isinstance(part.arguments[1], Literal):
        offset = part.arguments[1].value if part.function == "add" else -part.arguments[1].value
        inner = _inside(part.arguments[0], "exp")
        if offset == -1 and inner is not None:
            return call("expm1", inner)
    return None


def _log1p(part: Call) -> Scalar | None:
    """``log(1 + e)``."""
    inner = _one_plus(part.arguments[0]) if part.function == "log" else None
    return None if inner is None or isinstance(inner, Literal) else call("log1p", inner)


SCALAR_PATTERNS: dict[str, Callable[[Call], Scalar | None]] = {
    "softplus": _softplus,
    "sigmoid": _sigmoid,
    "log_sigmoid": _log_sigmoid,
    "log_of_rest": _log_of_rest,
    "logaddexp": _logaddexp,
    "log_of_exp": _log_of_exp,
    "expm1": _expm1,
    "log1p": _log1p,
}
