"""Expressions of whole tensors, with NumPy's meaning; indexed parts go through terms.

A part whose indices are all bound inside it (a product that sums, a reduction) is an island of
indices in a whole-tensor expression: it is assembled, and stands there as a scalar.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from ...ir import Dim, Node, build
from ...ir.dtypes import DType
from ...ir.operations import Input
from .. import FUNCTIONS
from ..expression import Expression
from . import syntax
from .arithmetic import combine, describe, negate
from .assemble import assemble
from .calls import (
    ATTRIBUTES,
    CALLABLE,
    INDEX_REDUCTIONS,
    call_function,
    call_method,
    guarded,
    unknown_function,
)
from .diagnostics import LanguageError, Span
from .indices import listed_indices
from .resolve import Resolver
from .scope import Frame, Scope, Value
from .summation import Summation, check_closed, index_list
from .syntax import Access, Attribute, Call, Compare, Method, Name, Power, Product, Reduction, Slice, Sum, Unary
from .syntax import Sequence as Listed
from .terms import AnyTerm, Index, Term

MAXIMUM_NESTING = 100
MAXIMUM_EXPANSION = 50_000


class Evaluator:
    """Evaluates the expressions of one program; remembers where every node came from."""

    def __init__(self, scope: Scope, positions: dict[Node, Span]) -> None:
        self.scope = scope
        self.positions = positions
        self._active: list[str] = []
        self._nesting = 0
        self._expanded = 0

    # --- statements' entry points --------------------------------------------------------------

    def assignment(self, statement: syntax.Assignment) -> Value:
        """The value of ``name = value`` or ``name[i, j] = value``."""
        frame = Frame(self.scope)
        target = statement.target.name
        if statement.indices is None:
            return self._checked(
                self._whole_value(statement.value, frame, f"; to keep {{}}, write {target}[{{}}] = …"), statement
            )
        names = listed_indices(statement.indices, frame, f"the left of {target}[…]", repeats=True)
        analysis = Summation(statement.value, frame, [x.name for x in names])
        check_closed(analysis, statement.value, "")
        resolver = Resolver(self, frame, analysis)
        environment: dict[str, Index] = {}
        for name in names:
            environment.setdefault(name.name, resolver.index(name.name, name.span))
        term = resolver.term(statement.value, environment)
        value = assemble(term, [environment[x.name] for x in names], self.record)
        self.record(value, statement.span)
        return value

    def unpacking(self, statement: syntax.Unpacking) -> Sequence[Value]:
        """The values of ``a, b = value``, one for each name."""
        value = self._whole_value(statement.value, Frame(self.scope), "")
        names = [x.name for x in statement.targets]
        for position, name in enumerate(statement.targets):
            if name.name in names[:position]:
                raise LanguageError.at(name.span, f"{name.name!r} is named twice", "a name has one value")
        if not isinstance(value, (list, tuple)) or len(value) != len(names):
            raise LanguageError.at(
                statement.value.span,
                f"{len(names)} names stand for the parts of {describe(value)}",
                parts_hint("", value) or f"write {names[0]} = …",
            )
        return value

    def _whole_value(self, value: syntax.Expression, frame: Frame, keep: str) -> Any:
        analysis = Summation(value, frame)
        check_closed(analysis, value, keep)
        return self.whole_part(value, frame, analysis)

    def _checked(self, value: Value, statement: syntax.Assignment) -> Value:
        if isinstance(value, str) or value is None or value is Ellipsis:
            raise LanguageError.at(statement.value.span, f"{statement.target.name} cannot be {describe(value)}")
        return value

    def whole(self, expression: syntax.Expression, frame: Frame, taker: str = "") -> Any:
        """The value of an expression on its own, in which every index must be bound."""
        analysis = Summation(expression, frame)
        if analysis.loose and taker:
            names = ",".join(analysis.loose)
            hint = (
                f"write {taker}[{names}](...)"
                if taker in INDEX_REDUCTIONS
                else f"give the argument a name first: t[{names}] = …"
            )
            raise LanguageError.at(
                expression.span,
                f"{taker} takes whole tensors, but {index_list(analysis.loose)} free in its argument",
                hint,
            )
        check_closed(analysis, expression, "")
        return self.whole_part(expression, frame, analysis)

    def whole_part(self, expression: syntax.Expression, frame: Frame, analysis: Summation) -> Any:
        """The value of a part of an analysed expression that has no free indices."""
        with self.deeper(expression.span):
            if self._is_island(expression, analysis):
                term = Resolver(self, frame, analysis).term(expression, {})
                value: Any = assemble(term, [], self.record)
            else:
                value = self._whole(expression, frame, analysis)
            self.record(value, expression.span)
            return value

    # --- bounds --------------------------------------------------------------------------------

    def deeper(self, span: Span) -> _Nesting:
        """A context one level deeper; raises ``LanguageError`` past the bounds on programs."""
        if self._nesting >= MAXIMUM_NESTING:
            raise LanguageError.at(
                span,
                f"expressions and functions are nested more than {MAXIMUM_NESTING} deep",
                "assign inner parts to names",
            )
        if self._active:
            self._expanded += 1
            if self._expanded > MAXIMUM_EXPANSION:
                raise LanguageError.at(
                    span, f"the calls of functions expand to more than {MAXIMUM_EXPANSION} operations",
                    "assign the values of inner calls to names",
                )  # fmt: skip
        return _Nesting(self)

    def enter(self) -> None:
        """One level deeper."""
        self._nesting += 1

    def leave(self) -> None:
        """One level back."""
        self._nesting -= 1

    # --- positions -----------------------------------------------------------------------------

    def record(self, value: object, span: Span) -> None:
        """Note that the nodes of ``value`` that are new come from ``span``."""
        values = value if isinstance(value, (list, tuple)) else [value]
        stack = [x.node for x in values if isinstance(x, Expression)]
        while stack:
            node = stack.pop()
            if node not in self.positions:
                self.positions[node] = span
                stack.extend(node.operands)

    def extent(self, size: Dim) -> Expression:
        """A size as a scalar tensor of integers."""
        return Expression.of(build.extent(size, DType.int64))

    # --- whole tensors -------------------------------------------------------------------------

    def _is_island(self, expression: syntax.Expression, analysis: Summation) -> bool:
        if isinstance(expression, Reduction):
            return True
        return isinstance(expression, (Product, Access)) and bool(analysis.summed.get(id(expression)))

    def _whole(self, expression: syntax.Expression, frame: Frame, analysis: Summation) -> Any:
        part: Callable[[syntax.Expression], Any] = lambda x: self.whole_part(x, frame, analysis)  # noqa: E731
        match expression:
            case syntax.Number(value=value) | syntax.Text(value=value):
                return value
            case syntax.Dots():
                return Ellipsis
            case Name():
                return self._name(expression, frame)
            case Unary(operator=operator, operand=operand):
                value = part(operand)
                return value if operator == "+" else negate(value, expression.span)
            case Power(base=base, exponent=exponent):
                return combine("^", part(base), part(exponent), expression.span)
            case Compare(left=left, operator=operator, right=right):
                return combine(operator, part(left), part(right), expression.span)
            case Sum(terms=items, operators=operators) | Product(factors=items, operators=operators):
                total = part(items[0])
                for symbol, item in zip(operators, items[1:], strict=True):
                    total = combine(symbol, total, part(item), items[0].span.to(item.span))
                return total
            case Listed() if expression.is_bracket:
                return self._bracket(part(expression.items[0]))
            case Listed(items=items, square=square):
                values = [self.whole(x, frame) for x in items]
                return values if square else tuple(values)
            case Call():
                return self._call(expression, frame, analysis)
            case Attribute(base=base, name=name):
                return self._attribute(self.whole(base, frame), name, expression.span)
            case Method():
                return self._method(expression, frame)
            case Access():
                return self._access(expression, frame)
        raise LanguageError.at(expression.span, f"{expression.span.text!r} is not a value here")

    def _name(self, name: Name, frame: Frame) -> Any:
        value = frame.lookup(name)
        if isinstance(value, Term):
            raise LanguageError.at(
                name.span, f"{name.name!r} is an indexed term here, where a whole tensor is needed",
                "pass the whole tensor, without subscripts",
            )  # fmt: skip
        return value

    def _bracket(self, condition: Any) -> Value:
        if isinstance(condition, bool):
            return int(condition)
        return FUNCTIONS["cast"](condition, "float64")  # type: ignore[no-any-return]

    def _call(self, call: Call, frame: Frame, analysis: Summation) -> Any:
        name = call.function.name
        if name in frame.scope.functions:
            arguments: list[Any] = [self.whole_part(x, frame, analysis) for x in call.arguments]
            keywords = {k.name: self.whole_part(k.value, frame, analysis) for k in call.keywords}
            body, inner = self._expansion(call, arguments, keywords, frame)
            try:
                return self.whole(body, inner)
            finally:
                self._active.pop()
        if name not in CALLABLE:
            if name in frame.scope.poisoned or frame.scope.incomplete:
                frame.lookup(call.function)
            raise unknown_function(name, call.function.span, list(frame.scope.functions))
        if analysis.is_elementwise(call):
            arguments = [self.whole_part(x, frame, analysis) for x in call.arguments]
            keywords = {k.name: self.whole_part(k.value, frame, analysis) for k in call.keywords}
        else:
            arguments = [self.whole(x, frame, name) for x in call.arguments]
            keywords = {k.name: self.whole(k.value, frame, name) for k in call.keywords}
        return call_function(name, arguments, keywords, call.span)

    def _attribute(self, base: Any, name: str, span: Span) -> Any:
        if not isinstance(base, Expression):
            raise LanguageError.at(span, f"{describe(base)} has no .{name}")
        if name not in ATTRIBUTES:
            raise LanguageError.at(span, f"a tensor has no .{name}", f"attributes are {', '.join(ATTRIBUTES)}")
        return guarded(name, lambda: getattr(base, name), span)

    def _method(self, method: Method, frame: Frame) -> Any:
        base = self.whole(method.base, frame, f".{method.name}()")
        if not isinstance(base, Expression):
            raise LanguageError.at(method.span, f"{describe(base)} has no method {method.name!r}")
        arguments = [self.whole(x, frame) for x in method.arguments]
        keywords = {k.name: self.whole(k.value, frame) for k in method.keywords}
        return call_method(base, method.name, arguments, keywords, method.span)

    def _access(self, access: Access, frame: Frame) -> Any:
        base = self.whole(access.base, frame)
        if isinstance(base, (list, tuple)):
            return self._item(base, access, frame)
        if not isinstance(base, Expression):
            raise LanguageError.at(access.base.span, f"{access.base.span.text} is {describe(base)} and has no axes")
        keys = tuple(self._key(x, frame) for x in access.subscripts)
        return guarded("[…]", lambda: base[keys], access.span)

    def _item(self, values: Sequence[Any], access: Access, frame: Frame) -> Any:
        keys = [self._key(x, frame) for x in access.subscripts]
        if len(keys) != 1 or not isinstance(keys[0], int) or not -len(values) <= keys[0] < len(values):
            raise LanguageError.at(
                access.span,
                f"{access.base.span.text} is a list of {len(values)}",
                f"pick one by a number up to {len(values) - 1}",
            )
        return values[keys[0]]

    def _key(self, subscript: syntax.Expression, frame: Frame) -> Any:
        if isinstance(subscript, Slice):
            ends = (subscript.start, subscript.stop, subscript.step)
            values = [None if x is None else self._key(x, frame) for x in ends]
            if isinstance(values[2], Dim):
                raise LanguageError.at(subscript.span, f"the step {values[2]} is not a known integer")
            return slice(*values)
        value = self.whole(subscript, frame)
        if value is None or value is Ellipsis or isinstance(value, (Dim, Expression)):
            return value
        if isinstance(value, bool) or not isinstance(value, int):
            raise LanguageError.at(
                subscript.span, f"{describe(value)} is not a subscript", "use integers, slices, None or ..."
            )
        return value

    # --- user functions ------------------------------------------------------------------------

    def expand_term(self, call: Call, arguments: Sequence[Any], keywords: Mapping[str, Any], frame: Frame) -> AnyTerm:
        """The body of a user's function as a term, with its arguments in place."""
        body, inner = self._expansion(call, arguments, keywords, frame)
        try:
            analysis = Summation(body, inner)
            check_closed(analysis, body, "")
            return Resolver(self, inner, analysis).term(body, {})
        finally:
            self._active.pop()

    def _expansion(
        self, call: Call, arguments: Sequence[Any], keywords: Mapping[str, Any], frame: Frame
    ) -> tuple[syntax.Expression, Frame]:
        """The body of a function and the frame of its parameters; the function is then active."""
        name = call.function.name
        definition = frame.scope.functions[name]
        names = [x.name for x in definition.parameters]
        signature = f"{name}({', '.join(names)})"
        given = dict(zip(names, arguments, strict=False))
        for key, value in keywords.items():
            if key not in names or key in given:
                problem = "is given twice" if key in given else "is not a parameter"
                raise LanguageError.at(call.span, f"{key!r} {problem} of {signature}")
            given[key] = value
        if len(arguments) > len(names) or len(given) < len(names):
            count = len(arguments) + len(keywords)
            raise LanguageError.at(
                call.span, f"{name} takes {len(names)} argument{'s' * (len(names) != 1)}, not {count}", signature
            )
        if name in self._active:
            chain = " → ".join([*self._active[self._active.index(name) :], name])
            raise LanguageError.at(call.span, f"function {name!r} calls itself ({chain}); recursion has no end here")
        self._active.append(name)
        return definition.body, Frame(frame.scope, given)


class _Nesting:
    """Counts one level of nesting while it is entered."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator

    def __enter__(self) -> None:
        self.evaluator.enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.evaluator.leave()


def parts_hint(name: str, value: object) -> str | None:
    """How to name the parts of a value, or to pick one; None where it has none."""
    if not isinstance(value, (list, tuple)):
        return None
    fields: Sequence[str] = getattr(value, "_fields", [f"part{k}" for k in range(len(value))])
    naming = f"name its parts: {', '.join(fields)} = …" if len(fields) > 1 else ""
    picking = f"pick one: {name}[0]" if name and fields else ""
    return ", or ".join(x for x in (naming, picking) if x) or None


def is_input(value: object) -> bool:
    """Whether a value is a declared tensor itself."""
    return isinstance(value, Expression) and isinstance(value.node.op, Input)
