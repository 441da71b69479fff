"""The implied-sum rule: which product sums which index.

An index that is not *kept* (on the left-hand side, or listed by a reduction around the place) is
summed over the innermost product in which it occurs in two or more factors, or twice on one tensor.

What counts as a product:

- A chain of ``*`` and ``/`` is one product, denominators included: in ``A[i,j] * x[j] / y[i]`` the
  index ``j`` is in two of three factors.  ``2 * x[i]`` is a product in which ``i`` occurs once.
- Parentheses around a product make it a product of its own, so it is the inner one that sums:
  ``(x[i] * y[i]) * (z[i] * w[i])`` multiplies two sums.
- A sign belongs to its factor: ``-x[i] * y[i]`` is a product of ``-x[i]`` and ``y[i]``.
- Every additive term, the base and the exponent of a power, each argument of a function, each side
  of a comparison and the body of a reduction is a place of its own.  A lone tensor there is a product
  of one factor, so ``A[i,i]`` is a trace, and ``exp(A[i,i])`` the exponential of one.
- A factor that is a sum, a power or a function offers the indices that are still free in it:
  ``(X[i] - Y[i]) * (X[i] - Y[i])`` sums ``i`` over the outer product, ``x[i]^2 * y[i]`` too.
- The arguments of functions of whole tensors (``inv``, ``norm``, ``sum(…)``) are expressions of
  their own, and so is the body of a user's function, in which the arguments' indices are kept.

An index that is left over is an error: it is not guessed at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from ..expression import Expression as Tensor
from .calls import ELEMENTWISE, INDEX_REDUCTIONS, KEEPING
from .diagnostics import LanguageError, Span
from .indices import IndexNames, listed_indices
from .scope import Frame
from .syntax import (
    Access,
    Call,
    Compare,
    Expression,
    Name,
    Power,
    Product,
    Reduction,
    Sequence,
    Sum,
    Unary,
    walk,
)
from .terms import Term

Occurrences = dict[str, Span]


class Summation:
    """The analysis of one expression: ``free`` indices of the whole, and ``summed`` by each product.

    ``loose`` lists the free indices that nothing around the expression keeps: the leftovers.
    ``summed`` is keyed by the identity of a :class:`Product`, or of a lone :class:`Access`.
    """

    def __init__(self, root: Expression, frame: Frame, kept: Iterable[str] = ()) -> None:
        self.names = IndexNames(root, frame, kept)
        self.frame = frame
        self.summed: dict[int, tuple[str, ...]] = {}
        self._free_of: dict[int, Occurrences] = {}
        self._brackets = 0
        self.kept = frozenset(kept) | {
            _opaque(name) for name, value in frame.parameters.items() if isinstance(value, Term)
        }
        self.free = self._place(root, self.kept)
        self.loose = [name for name in self.free if name not in self.kept]

    def free_of(self, expression: Expression) -> Mapping[str, Span]:
        """The indices free in a part of the expression, with where each one first stands."""
        return self._free_of.get(id(expression), {})

    def is_elementwise(self, call: Call) -> bool:
        """Whether a call takes indexed terms: elementwise functions and the user's own."""
        return call.function.name in self.frame.scope.functions or call.function.name in ELEMENTWISE

    def _place(self, expression: Expression, kept: frozenset[str]) -> Occurrences:
        """The free indices of an additive term, an argument, a base: a product of its own."""
        inner = expression
        while isinstance(inner, Unary):
            inner = inner.operand
        free = self._occurrences(expression, kept)
        if isinstance(inner, Access):
            twice = [name for name, count in self._counts(inner).items() if count > 1 and name not in kept]
            self.summed[id(inner)] = tuple(twice)
            free = {name: span for name, span in free.items() if name not in twice}
            while expression is not inner and isinstance(expression, Unary):
                self._free_of[id(expression)] = free
                expression = expression.operand
            self._free_of[id(inner)] = free
        return free

    def _occurrences(self, expression: Expression, kept: frozenset[str]) -> Occurrences:
        free = self._read(expression, kept)
        self._free_of[id(expression)] = free
        return free

    def _read(self, expression: Expression, kept: frozenset[str]) -> Occurrences:
        match expression:
            case Access():
                found: Occurrences = {}
                for subscript in expression.subscripts:
                    self._refuse_lookup(expression, subscript)
                    for name in self.names.in_subscript(subscript):
                        found.setdefault(name.name, subscript.span)
                return found
            case Unary(operand=operand):
                return self._occurrences(operand, kept)
            case Power(base=left, exponent=right) | Compare(left=left, right=right):
                return _union(self._place(left, kept), self._place(right, kept))
            case Sum(terms=terms):
                return _union(*(self._place(term, kept) for term in terms))
            case Product():
                return self._product(expression, kept)
            case Sequence() if expression.is_bracket:
                return self._bracket(expression.items[0], kept)
            case Reduction():
                return self._reduction(expression, kept)
            case Call() if self.is_elementwise(expression):
                values = [*expression.arguments, *(k.value for k in expression.keywords)]
                return _union(*(self._place(x, kept) for x in values))
            case Name(name=name) if isinstance(self.frame.parameters.get(name), Term):
                return {_opaque(name): expression.span}
            case Name(name=name) if name in kept and not self._brackets and not self.frame.knows(name):
                raise self._bare_index(expression)
        return {}

    def _bare_index(self, name: Name) -> LanguageError:
        """The error for an index that stands alone: ``t[i]^k`` could mean the position, or the size of an axis."""
        if name.name in self.frame.scope.dims:
            return LanguageError.at(
                name.span,
                f"{name.name!r} is an index here; on its own it could mean its position or its size",
                f"for its position, write arange({name.name})[{name.name}]; "
                "for its size, give the index another letter",
            )
        return LanguageError.at(
            name.span,
            f"{name.name!r} is an index here, and has no value on its own",
            f"for its position, write arange(n)[{name.name}], where n is the size of its axis",
        )

    def _refuse_lookup(self, access: Access, subscript: Expression) -> None:
        """Raise where an index is looked up in a tensor, as in ``x[t[i]]``."""
        for part in walk(subscript):
            if isinstance(part, Access) and self.names.is_indexed(part):
                tensor = " ".join(access.base.span.text.split())
                raise LanguageError.at(
                    part.span,
                    f"the subscript {part.span.text} is an element of a tensor; "
                    "subscripts are sums of indices and integers",
                    f"gather from whole tensors with take({tensor}, indices, axis), or pick by "
                    f"sum[k]([k == {part.span.text}] * …)",
                )

    def _counts(self, access: Access) -> Counter[str]:
        return Counter(name.name for x in access.subscripts for name in self.names.in_subscript(x))

    def _product(self, product: Product, kept: frozenset[str]) -> Occurrences:
        counts: Counter[str] = Counter()
        free: Occurrences = {}
        for factor in product.factors:
            inner = factor
            while isinstance(inner, Unary):
                inner = inner.operand
            occurrences = self._occurrences(factor, kept)
            twice = self._counts(inner) if isinstance(inner, Access) else Counter[str]()
            for name, span in occurrences.items():
                counts[name] += 2 if twice[name] > 1 else 1
                free.setdefault(name, span)
        summed = tuple(name for name in free if counts[name] > 1 and name not in kept)
        self.summed[id(product)] = summed
        return {name: span for name, span in free.items() if name not in summed}

    def _bracket(self, comparison: Expression, kept: frozenset[str]) -> Occurrences:
        assert isinstance(comparison, Compare)
        self._brackets += 1
        found = self._occurrences(comparison, kept)
        self._brackets -= 1
        for side in (comparison.left, comparison.right):
            for name in index_values(side):
                if self.names.in_bracket(name.name):
                    found.setdefault(name.name, name.span)
        return found

    def _reduction(self, reduction: Reduction, kept: frozenset[str]) -> Occurrences:
        function = reduction.function.name
        names = listed_indices(reduction.indices, self.frame, f"{function}[…]")
        listed = [x.name for x in names]
        free: Occurrences = {}
        for argument in reduction.arguments:
            free.update(self._place(argument, kept | frozenset(listed)))
        for name in names:
            if name.name not in free and function in (*INDEX_REDUCTIONS, *KEEPING):
                raise LanguageError.at(
                    name.span, f"index {name.name!r} does not occur inside {function}[{', '.join(listed)}](…)"
                )
        return free if function in KEEPING else {x: span for x, span in free.items() if x not in listed}


def index_values(side: Expression) -> list[Name]:
    """The bare names of one side of a bracket's comparison, outside accesses and calls."""
    found, stack = [], [side]
    while stack:
        part = stack.pop()
        if isinstance(part, Name):
            found.append(part)
        elif isinstance(part, Sum):
            stack.extend(reversed(part.terms))
        elif isinstance(part, Product):
            stack.extend(reversed(part.factors))
        elif isinstance(part, Unary):
            stack.append(part.operand)
    return found


def _opaque(parameter: str) -> str:
    """What stands for the indices of an argument inside the body of a user's function."""
    return f"<{parameter}>"


def _union(*parts: Occurrences) -> Occurrences:
    result: Occurrences = {}
    for part in parts:
        for name, span in part.items():
            result.setdefault(name, span)
    return result


def check_closed(analysis: Summation, root: Expression, keep: str) -> None:
    """Raise where an index is left over; ``keep`` says how to keep it (``{}``: it or them, the names)."""
    loose = analysis.loose
    if not loose:
        return
    places = root.terms if isinstance(root, Sum) else (root,)
    place = next((x for x in places if set(loose) & set(analysis.free_of(x))), root)
    names = ",".join(loose)
    are = "is" if len(loose) == 1 else "are"
    hint = f"to sum, write sum[{names}](...){keep.format('it' if len(loose) == 1 else 'them', names)}"
    raise LanguageError.at(
        place.span,
        f"{index_list(loose)} not on the left, and {are} not repeated in a product to be summed over",
        _hint_at_whole_tensor(analysis, place) or hint,
    )


def _hint_at_whole_tensor(analysis: Summation, place: Expression) -> str | None:
    """How to write a whole tensor that stands beside a part with a left-over index, as in ``x[i] * w``."""
    loose = analysis.loose
    for part in walk(place):
        beside = part.factors if isinstance(part, Product) else part.terms if isinstance(part, Sum) else ()
        if not any(name in analysis.free_of(x) for x in beside for name in loose):
            continue
        for name in beside:
            value = analysis.frame.peek(name.name) if isinstance(name, Name) else None
            if isinstance(name, Name) and isinstance(value, Tensor) and value.ndim:
                more = [x for x in "ijklmnpqrst" if x not in analysis.free]
                indices = ",".join([*loose, *more][: value.ndim])
                return f"{name.name} stands without its indices; write {name.name}[{indices}]"
    return None


def index_list(names: Iterable[str]) -> str:
    """Index names as the subject of a sentence, with its verb."""
    quoted = [repr(x) for x in names]
    if len(quoted) == 1:
        return f"index {quoted[0]} is"
    return f"indices {', '.join(quoted[:-1])} and {quoted[-1]} are"
