"""Which sums of scores one pass over them computes.

A sum has the level of what it reads of other sums: it can run once these are done.  What no other sum waits for runs
as late as another sum over the same index, so that scores are computed once for both.  A sum that reads the maximum of
its rows only through ``exp(score - maximum)``, as a factor, runs in the same pass as the maximum: what was summed
relative to an earlier maximum is scaled when a larger one comes (M. Milakov and N. Gimelshein, arXiv 1805.02867).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...ir import Graph, Node
from ...ir import operations as ops
from ...ir.scalar import Argument, Call, Literal, Scalar
from .scores import Scores
from .spaces import space_of


@dataclass(frozen=True)
class Levels:
    """``of`` is the level of each exit, ``ready`` the number of levels that must be done before each node outside of
    the region has a value, and ``relative`` the maximum that an exit of the same level is relative to."""

    of: Mapping[Node, int]
    ready: Mapping[Node, int]
    relative: Mapping[Node, Node]


def levels_of(graph: Graph, scores: Scores) -> Levels:
    """The levels of a region's exits."""
    return _Levels(graph, scores).found()


class _Levels:
    def __init__(self, graph: Graph, scores: Scores) -> None:
        self.order, self.scores = graph.nodes(), scores
        self.of: dict[Node, int] = {}
        self.ready: dict[Node, int] = {}
        self.relative: dict[Node, Node] = {}

    def found(self) -> Levels:
        """Operands first."""
        needed: dict[Node, int] = {}
        for node in self.order:
            level = max((needed[x] if x in needed else self.ready[x] for x in node.operands), default=0)
            if node in self.scores.members:
                needed[node] = level
            elif node in self.scores.exits:
                self.of[node] = self._with_maximum(node, level)
                self.ready[node] = self.of[node] + 1
            else:
                self.ready[node] = level
        self._delay()
        return Levels(self.of, self._ready_at_last(), self.relative)

    def _delay(self) -> None:
        """Put off sums to the last level at which another one keeps the same index, as far as none waits for them."""
        reads = self._reads()
        maxima = set(self.relative.values())
        for node in sorted(self.of, key=lambda x: -self.of[x]):
            if node in self.relative or node in maxima:
                continue
            waiting = [self.of[x] for x in self.of if node in reads[x]]
            same = [self.of[x] for x in self.of if self._kept(x) == self._kept(node)]
            self.of[node] = max(x for x in same if x < min(waiting, default=x + 1))

    def _kept(self, node: Node) -> frozenset[int]:
        """The long index that an exit keeps."""
        return frozenset(self.scores.exits[node]) & {self.scores.rows, self.scores.columns}

    def _reads(self) -> dict[Node, frozenset[Node]]:
        """The exits that each exit needs."""
        found: dict[Node, frozenset[Node]] = {}
        for node in self.order:
            below = [found[x] | ({x} if x in self.of else frozenset()) for x in node.operands]
            found[node] = frozenset().union(*below)
        return {node: found[node] for node in self.of}

    def _ready_at_last(self) -> dict[Node, int]:
        ready: dict[Node, int] = {}
        for node in self.order:
            if node in self.of:
                ready[node] = self.of[node] + 1
            elif node not in self.scores.members:
                ready[node] = max((ready[x] for x in node.operands), default=0)
        return ready

    def _with_maximum(self, node: Node, level: int) -> int:
        """The level of an exit, which is that of a maximum where it can be summed relative to it."""
        for maximum in self.of:
            if self.of[maximum] + 1 == level and self._fits(node, maximum):
                weight = _Weight(maximum, self.scores, self._is_before(self.of[maximum]))
                if weight.of_node(node) == _Power(-1):
                    self.relative[node] = maximum
                    return self.of[maximum]
        return level

    def _fits(self, node: Node, maximum: Node) -> bool:
        """Whether both reduce one long index, the same, and the first is a sum."""
        if not (isinstance(maximum.op, ops.Reduce) and maximum.op.kind == "shift" and isinstance(node.op, ops.Einsum)):
            return False
        long = {self.scores.rows, self.scores.columns}
        return long & set(self.scores.exits[node]) == long & set(self.scores.exits[maximum])

    def _is_before(self, level: int) -> frozenset[Node]:
        return frozenset(node for node, count in self.ready.items() if count <= level)


@dataclass(frozen=True)
class _Power:
    """A value ``exp(exponent · m) · f``, where ``f`` does not depend on the maximum ``m``."""

    exponent: int


@dataclass(frozen=True)
class _Shifted:
    """A value ``f + multiple · m``."""

    multiple: int


_FREE = _Power(0)
_Form = _Power | _Shifted | None


class _Weight:
    """How values depend on a maximum; None where it is in none of the two ways above."""

    def __init__(self, maximum: Node, scores: Scores, before: frozenset[Node]) -> None:
        self.maximum, self.scores, self.before = maximum, scores, before
        self.known: dict[Node, _Form] = {}

    def of_node(self, wanted: Node) -> _Form:
        """The form of an exit or a score."""
        stack = [wanted]
        while stack:
            node = stack[-1]
            pending = [x for x in node.operands if x in self.scores.members and x not in self.known]
            if pending:
                stack += pending
                continue
            stack.pop()
            self.known[node] = self._computed(node, [self._operand(x) for x in node.operands])
        return self.known[wanted]

    def _operand(self, node: Node) -> _Form:
        if node in self.scores.members:
            return self.known[node]
        if node is self.maximum:
            return _Shifted(1)
        return _FREE if node in self.before else None

    def _computed(self, node: Node, operands: Sequence[_Form]) -> _Form:
        match node.op:
            case ops.Map(expression=expression):
                return _of_scalar(expression, operands)
            case ops.LinearCombination(coefficients=coefficients):
                terms = [_scaled(c, x) for c, x in zip(coefficients, operands, strict=True)]
                return _sum(terms)
            case ops.Einsum():
                return _product(operands)
            case ops.Broadcast():
                return operands[0]
        space = space_of(node)
        assert space is not None
        return _FREE if all(x == _FREE for x in operands) else None


def _of_scalar(expression: Scalar, operands: Sequence[_Form]) -> _Form:
    match expression:
        case Argument(position=position):
            return operands[position]
        case Literal():
            return _FREE
        case Call(function="where", arguments=(condition, left, right)):
            if _of_scalar(condition, operands) != _FREE:
                return None
            return _sum([_of_scalar(x, operands) for x in (left, right) if not _is_zero(x)] or [_FREE])
    assert isinstance(expression, Call)
    parts = [_of_scalar(x, operands) for x in expression.arguments]
    if all(x == _FREE for x in parts):
        return _FREE
    match expression.function:
        case "add":
            return _sum(parts)
        case "sub":
            return _sum([parts[0], _scaled(-1, parts[1])])
        case "neg":
            return _scaled(-1, parts[0])
        case "mul":
            return _product(parts)
        case "div" if all(isinstance(x, _Power) for x in parts):
            return _Power(parts[0].exponent - parts[1].exponent)  # type: ignore[union-attr]  # checked just above
        case "exp" if isinstance(parts[0], _Shifted):
            return _Power(parts[0].multiple)
    return None


def _is_zero(expression: Scalar) -> bool:
    return isinstance(expression, Literal) and expression.value == 0


def _scaled(factor: complex, form: _Form) -> _Form:
    if not isinstance(form, _Shifted):
        return form
    return _Shifted(int(factor.real) * form.multiple) if factor in (1, -1) else None


def _product(forms: Sequence[_Form]) -> _Form:
    powers = [x.exponent for x in forms if isinstance(x, _Power)]
    return _Power(sum(powers)) if len(powers) == len(forms) else None


def _sum(forms: Sequence[_Form]) -> _Form:
    """Terms in one power of the maximum, or a shifted one beside those that are free of it."""
    if all(x == forms[0] and isinstance(x, _Power) for x in forms):
        return forms[0]
    if any(x is None or (isinstance(x, _Power) and x != _FREE) for x in forms):
        return None
    return _Shifted(sum(x.multiple for x in forms if isinstance(x, _Shifted)))
