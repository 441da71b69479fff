"""From syntax to indexed terms: every index name becomes the index it is bound to.

The analysis of :mod:`.summation` has said which product sums what; here each binder makes its
indices, subscripts become affine, and everything without indices is evaluated as a whole tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...ir import Dim
from ...ir.errors import nearest
from ...ir.types import shape_text
from ..expression import Expression
from .arithmetic import OPERATORS, combine, describe
from .calls import CALLABLE, INDEX_REDUCTIONS, KEEPING, unknown_function
from .diagnostics import LanguageError, Span
from .indices import listed_indices
from .scope import Frame
from .summation import Summation
from .syntax import (
    Access,
    Call,
    Compare,
    Dots,
    Name,
    Number,
    Power,
    Product,
    Reduction,
    Sequence,
    Slice,
    Sum,
    Unary,
)
from .syntax import Expression as Syntax
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
    Term,
    ValueTerm,
)

if TYPE_CHECKING:
    from .evaluate import Evaluator

Environment = Mapping[str, Index]
_MAXIMUM_COEFFICIENT = 2**31


class Resolver:
    """Turns the parts of one analysed expression into terms."""

    def __init__(self, evaluator: Evaluator, frame: Frame, analysis: Summation) -> None:
        self.evaluator = evaluator
        self.frame = frame
        self.analysis = analysis

    def index(self, name: str, span: Span) -> Index:
        """A new index of that name, with the size of the dim of that name."""
        scope = self.frame.scope
        entry = scope.dims.get(name)
        if entry is None:
            return Index(name, span)
        return Index(name, span, entry.size, scope.dim_places[name] if entry.declared else None)

    def term(self, expression: Syntax, environment: Environment, bracket: bool = False) -> AnyTerm:
        """The term of an expression; names bound around it are in ``environment``."""
        with self.evaluator.deeper(expression.span):
            return self._term(expression, environment, bracket)

    def _term(self, expression: Syntax, environment: Environment, bracket: bool) -> AnyTerm:
        match expression:
            case Access() if self.analysis.names.is_indexed(expression) or self._is_delta(expression):
                return self._access(expression, environment)
            case Name(name=name) if bracket and name in environment and self.analysis.names.in_bracket(name):
                return PositionTerm(expression.span, environment[name])
            case Name(name=name) if isinstance(self.frame.parameters.get(name), Term):
                return self.frame.parameters[name]  # type: ignore[no-any-return]
            case Unary(operator=operator, operand=operand):
                inner = self.term(operand, environment, bracket)
                return inner if operator == "+" else _negative(inner, expression.span)
            case Sum(terms=terms, operators=operators):
                signs = tuple(1 if x == "+" else -1 for x in ("+", *operators))
                return SumTerm(expression.span, signs, tuple(self.term(x, environment, bracket) for x in terms))
            case Product():
                return self._product(expression, environment, bracket)
            case Power(base=base, exponent=exponent):
                pair = (self.term(base, environment, bracket), self.term(exponent, environment, bracket))
                return CallTerm(expression.span, "power", pair)
            case Compare(left=left, operator=operator, right=right):
                pair = (self.term(left, environment, bracket), self.term(right, environment, bracket))
                return CallTerm(expression.span, OPERATORS[operator], pair)
            case Sequence() if expression.is_bracket:
                return BracketTerm(expression.span, self.term(expression.items[0], environment, True))
            case Reduction():
                return self._reduction(expression, environment)
            case Call() if self.analysis.is_elementwise(expression) and self.analysis.free_of(expression):
                return self._call(expression, environment)
        return self._scalar(expression, bracket)

    # --- accesses ------------------------------------------------------------------------------

    def _is_delta(self, access: Access) -> bool:
        return isinstance(access.base, Name) and access.base.name == "delta" and not self.frame.knows("delta")

    def _access(self, access: Access, environment: Environment) -> AnyTerm:
        names = self.analysis.summed.get(id(access), ())
        inner = {**environment, **{name: self.index(name, access.span) for name in names}}
        subscripts = tuple(self._affine(x, inner) for x in access.subscripts)
        if not self._is_delta(access):
            term = self._tensor_access(access, subscripts)
        elif len(subscripts) == 2:
            term = DeltaTerm(access.span, (subscripts[0], subscripts[1]))
        else:
            raise LanguageError.at(access.span, f"delta takes two indices, not {len(subscripts)}", "delta[i,j]")
        bound = tuple(inner[name] for name in names)
        return ProductTerm(access.span, (term,), (False,), bound) if bound else term

    def _tensor_access(self, access: Access, subscripts: tuple[Affine, ...]) -> AnyTerm:
        tensor = self.evaluator.whole(access.base, self.frame)
        label = " ".join(access.base.span.text.split())
        if not isinstance(tensor, Expression):
            raise LanguageError.at(access.base.span, f"{label} is {describe(tensor)}, not a tensor, and has no axes")
        if tensor.ndim != len(subscripts):
            raise LanguageError.at(
                access.span,
                f"{label} has {_axes(tensor)}, but {len(subscripts)} {'index' if len(subscripts) == 1 else 'indices'}",
            )
        places = tuple(x.span for x in access.subscripts)
        return AccessTerm(access.span, tensor, subscripts, places, label)

    def _affine(self, subscript: Syntax, environment: Environment) -> Affine:
        match subscript:
            case Slice() | Dots() | Name(name="None"):
                raise LanguageError.at(
                    subscript.span, f"{subscript.span.text!r} cannot stand beside indices",
                    "name every axis, or slice the tensor first: (x[1:3, :])[i,j]",
                )  # fmt: skip
            case Number(value=int() as value):
                return Affine(value)
            case Name(name=name):
                return self._affine_name(subscript, name, environment)
            case Unary(operator=operator, operand=operand):
                inner = self._affine(operand, environment)
                return inner if operator == "+" else _scaled(inner, -1, subscript.span)
            case Sum(terms=terms, operators=operators):
                total = Affine(0)
                for symbol, item in zip(("+", *operators), terms, strict=True):
                    inner = self._affine(item, environment)
                    total = _added(total, _scaled(inner, 1 if symbol == "+" else -1, item.span), subscript.span)
                return total
            case Product(factors=factors, operators=operators) if set(operators) == {"*"}:
                result = Affine(1)
                for item in factors:
                    result = _multiplied(result, self._affine(item, environment), subscript.span)
                return result
        raise LanguageError.at(
            subscript.span, f"{subscript.span.text!r} is not a subscript",
            "subscripts are sums of indices times integers, such as i, i+k, 2*i-1 or 0",
        )  # fmt: skip

    def _affine_name(self, name: Name, word: str, environment: Environment) -> Affine:
        if word in environment and not self.frame.is_position(word):
            return Affine(0, ((environment[word], 1),))
        value = self.frame.lookup(name)
        if isinstance(value, bool) or not isinstance(value, (int, Dim)):
            raise LanguageError.at(
                name.span, f"{word} is {describe(value)}, which cannot stand beside indices",
                "gather with take(x, indices, axis)",
            )  # fmt: skip
        return Affine(value)

    # --- products, reductions, calls -----------------------------------------------------------

    def _product(self, product: Product, environment: Environment, bracket: bool) -> AnyTerm:
        names = self.analysis.summed.get(id(product), ())
        inner = {**environment, **{name: self.index(name, product.span) for name in names}}
        for symbol in product.operators:
            if symbol in ("@", "//"):
                raise LanguageError.at(
                    product.span, f"{symbol} does not take indexed terms", "use * and repeat the summed index"
                    if symbol == "@" else "use floor(x / y)",
                )  # fmt: skip
        factors = tuple(self.term(x, inner, bracket) for x in product.factors)
        inverted = (False, *(x == "/" for x in product.operators))
        return ProductTerm(product.span, factors, inverted, tuple(inner[name] for name in names))

    def _reduction(self, reduction: Reduction, environment: Environment) -> AnyTerm:
        function = reduction.function.name
        if function not in (*INDEX_REDUCTIONS, *KEEPING):
            known = (*INDEX_REDUCTIONS, *KEEPING)
            near = nearest(function, known).removeprefix("; ")
            raise LanguageError.at(
                reduction.function.span, f"{function!r} does not reduce over indices", near or f"use {', '.join(known)}"
            )
        if len(reduction.arguments) != 1:
            raise LanguageError.at(reduction.span, f"{function}[…](…) takes one term, not {len(reduction.arguments)}")
        names = listed_indices(reduction.indices, self.frame, f"{function}[…]")
        keeps = function in KEEPING
        bound = {x.name: environment[x.name] if keeps else self.index(x.name, x.span) for x in names}
        body = self.term(reduction.arguments[0], {**environment, **bound})
        indices = tuple(bound.values())
        if function == "sum":
            if isinstance(body, ProductTerm):
                return ProductTerm(reduction.span, body.factors, body.inverted, (*body.summed, *indices))
            return ProductTerm(reduction.span, (body,), (False,), indices)
        return ReduceTerm(reduction.span, function, indices, body, keeps)

    def _call(self, call: Call, environment: Environment) -> AnyTerm:
        function = call.function.name
        arguments: list[Any] = [self._argument(x, environment) for x in call.arguments]
        keywords = {k.name: self._argument(k.value, environment) for k in call.keywords}
        if function in self.frame.scope.functions:
            return self.evaluator.expand_term(call, arguments, keywords, self.frame)
        if function not in CALLABLE:
            raise unknown_function(function, call.function.span, list(self.frame.scope.functions))
        values = {key: value for key, value in keywords.items() if not isinstance(value, Term)}
        if len(values) != len(keywords):
            raise LanguageError.at(call.span, f"{function}: indexed terms are positional arguments, not keywords")
        terms = tuple(
            x if isinstance(x, Term) else ValueTerm(y.span, x) for x, y in zip(arguments, call.arguments, strict=True)
        )
        return CallTerm(call.span, function, terms, values)  # type: ignore[arg-type]

    def _argument(self, expression: Syntax, environment: Environment) -> Any:
        """An argument: a term where it holds indices, else a value of any kind."""
        if self.analysis.free_of(expression):
            return self.term(expression, environment)
        return self.evaluator.whole_part(expression, self.frame, self.analysis)

    def _scalar(self, expression: Syntax, bracket: bool) -> AnyTerm:
        """A part without indices: it must be a number or a scalar."""
        value = self.evaluator.whole_part(expression, self.frame, self.analysis)
        if isinstance(value, Term):
            return value  # type: ignore[return-value]
        if isinstance(value, Dim) and bracket:
            value = self.evaluator.extent(value)
        if isinstance(value, bool) or not isinstance(value, (Expression, Dim, int, float)):
            raise LanguageError.at(expression.span, f"an indexed term cannot hold {describe(value)}")
        if isinstance(value, Expression) and value.ndim:
            text = " ".join(expression.span.text.split())
            letters = ",".join("ijklmnpqrst"[k % 11] for k in range(value.ndim))
            shown = text if isinstance(expression, (Name, Call, Access)) else f"({text})"
            raise LanguageError.at(
                expression.span,
                f"{text} has {_axes(value)} and stands without indices in an indexed term",
                f"name its axes: {shown}[{letters}]",
            )
        return ValueTerm(expression.span, value)


def _axes(tensor: Expression) -> str:
    return f"{tensor.ndim} {'axis' if tensor.ndim == 1 else 'axes'} (shape {shape_text(tensor.shape)})"


def _negative(term: AnyTerm, span: Span) -> AnyTerm:
    if isinstance(term, ValueTerm) and isinstance(term.value, (int, float)):
        return ValueTerm(span, -term.value)
    return SumTerm(span, (-1,), (term,))


def _added(left: Affine, right: Affine, span: Span) -> Affine:
    coefficients = dict(left.coefficients)
    for index, coefficient in right.coefficients:
        coefficients[index] = coefficients.get(index, 0) + coefficient
    constant: Any = combine("+", left.constant, right.constant, span)
    return Affine(constant, tuple((x, c) for x, c in coefficients.items() if c))


def _scaled(affine: Affine, factor: int, span: Span) -> Affine:
    coefficients = tuple((x, c * factor) for x, c in affine.coefficients if c * factor)
    if any(abs(c) >= _MAXIMUM_COEFFICIENT for _, c in coefficients):
        raise LanguageError.at(span, f"the index has a coefficient of {_MAXIMUM_COEFFICIENT} or more")
    constant: Any = combine("*", affine.constant, factor, span)
    return Affine(constant, coefficients)


def _multiplied(left: Affine, right: Affine, span: Span) -> Affine:
    for number, other in ((left, right), (right, left)):
        if not number.coefficients and isinstance(number.constant, int):
            return _scaled(other, number.constant, span)
    if not left.coefficients and not right.coefficients:
        constant: Any = combine("*", left.constant, right.constant, span)
        return Affine(constant)
    raise LanguageError.at(span, f"{span.text!r} multiplies indices", "a subscript is a sum of indices times integers")
