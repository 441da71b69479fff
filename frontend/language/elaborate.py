"""Statements, one after another: each gives names their meaning or a diagnostic.

A statement that fails poisons the names it would have defined, so that nothing that follows from
one mistake is reported as another.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ...ir import Dim, DType, Facts, Node, OtusError, Size
from ...ir.dtypes import as_dtype
from ...ir.errors import nearest
from ...ir.types import make_facts
from .. import FORMATS, FUNCTIONS
from ..expression import Expression, as_expression
from .arithmetic import describe
from .calls import guarded
from .diagnostics import FACTS_HINT, MAXIMUM_DIAGNOSTICS, Diagnostic, LanguageError, Source, Span
from .evaluate import Evaluator, is_input, parts_hint
from .scope import Frame, Poisoned, Scope, Value
from .statements import Chunk, split
from .syntax import (
    Access,
    Assignment,
    Call,
    ConstStatement,
    Definition,
    DimStatement,
    ImportStatement,
    Item,
    Keyword,
    Name,
    OutputStatement,
    Statement,
    TensorItem,
    TensorStatement,
    Unpacking,
)
from .syntax import (
    Expression as Syntax,
)

_WORD = re.compile(r"[^\W\d]\w*")
_COMMENT = re.compile(r"#[^\n]*")
_SHORT_DTYPES = frozenset(x.short for x in DType)
FACTS = tuple(Facts.__dataclass_fields__)
Importer = Callable[[ImportStatement], Scope]


class Elaborator:
    """Reads the statements of one source into a scope."""

    def __init__(
        self, source: Source, positions: dict[Node, Span], labels: dict[Node, str], importer: Importer
    ) -> None:
        self.source = source
        self.scope = Scope(source=source)
        self.labels = labels
        self.diagnostics: list[Diagnostic] = []
        self.assigned: list[str] = []
        self.outputs: list[Name] = []
        self.tensors: list[str] = []
        self._importer = importer
        self._evaluator = Evaluator(self.scope, positions)

    def run(self) -> None:
        """Read every statement; mistakes are collected in ``diagnostics``, in the order of the text."""
        chunks = list(split(self.source, self.diagnostics))
        for chunk in chunks:
            if len(self.diagnostics) >= MAXIMUM_DIAGNOSTICS:
                break
            if chunk.broken:
                self._poison_text(chunk.span.text)
            else:
                self._read(chunk)
        self._check_outputs()
        self.diagnostics.sort(key=lambda x: (x.span.file, x.span.start))

    def _read(self, chunk: Chunk) -> None:
        from .parser import parse_statement  # here, since Lark takes a while to import

        try:
            statement = parse_statement(chunk)
        except LanguageError as error:
            self.diagnostics.extend(error.diagnostics)
            self._poison_text(chunk.span.text)
            return
        self._execute(statement)

    def _poison_text(self, text: str) -> None:
        """Excuse the names that a statement that cannot be read might have defined."""
        words = _WORD.findall(_COMMENT.sub("", text))
        for word in words:
            self.scope.poison(word)
        self.scope.incomplete |= bool(words) and words[0] == "import"

    def _attempt(self, name: str, action: Callable[[], None]) -> None:
        """Run one step; where it fails, report it and poison ``name``."""
        try:
            action()
        except Poisoned:
            self.scope.poison(name)
        except LanguageError as error:
            self.diagnostics.extend(error.diagnostics)
            self.scope.poison(name)

    def _execute(self, statement: Statement) -> None:
        match statement:
            case DimStatement(items=items):
                for item in items:
                    self._attempt(item.name, lambda item=item: self._dim(item))  # type: ignore[misc]
            case ConstStatement(items=items):
                for item in items:
                    self._attempt(item.name, lambda item=item: self._const(item))  # type: ignore[misc]
            case TensorStatement():
                self._tensors(statement)
            case Assignment(target=target):
                self._attempt(target.name, lambda: self._assign(statement))
            case Unpacking():
                self._unpack(statement)
            case Definition(name=name):
                self._attempt(name.name, lambda: self._define(statement))
            case ImportStatement():
                self._import(statement)
            case OutputStatement(names=names):
                self.outputs.extend(names)

    # --- declarations --------------------------------------------------------------------------

    def _dim(self, item: Item) -> None:
        if item.name in self.scope.values and isinstance(self.scope.values[item.name], int):
            raise LanguageError.at(item.span, f"{item.name!r} is already a constant, so it cannot be a dim")
        size = None if item.value is None else self._size(item.value)
        self.scope.declare_dim(item.name, size, item.span)

    def _size(self, expression: Syntax, implied: bool = False) -> Size:
        """The value of an expression as a size; names that stand for nothing become dims if ``implied``."""
        scope = self.scope
        if implied and isinstance(expression, Name) and expression.name not in scope.values:
            if expression.name in scope.poisoned:
                raise Poisoned(expression.name)
            return scope.implied_dim(expression.name, expression.span)
        value = self._evaluator.whole(expression, Frame(scope))
        if isinstance(value, bool) or not isinstance(value, (int, Dim)):
            raise LanguageError.at(expression.span, f"a size is an integer, not {describe(value)}")
        if isinstance(value, int) and value < 0:
            raise LanguageError.at(expression.span, f"the size is {value}; sizes start at 0")
        return value

    def _const(self, item: Item) -> None:
        if item.value is None:
            raise LanguageError.at(item.span, f"const {item.name!r} has no value", f"const {item.name} = 0.5")
        if item.name in self.scope.dims:
            raise LanguageError.at(item.span, f"{item.name!r} is already a dim, so it cannot be a constant")
        value = self._evaluator.whole(item.value, Frame(self.scope))
        if isinstance(value, (Dim, list, str)) or value is None or value is Ellipsis or isinstance(value, Expression):
            raise LanguageError.at(
                item.value.span, f"a constant is a number, not {describe(value)}", f"assign it: {item.name} = …"
            )
        self.scope.define(item.name, value, item.span)

    def _tensors(self, statement: TensorStatement) -> None:
        facts: dict[str, object] = {}
        for fact in statement.facts:
            try:
                name, value = self._fact(fact)
                if name in facts:
                    raise LanguageError.at(fact.span, f"{name} is given twice")
                facts[name] = value
            except Poisoned:
                continue
            except LanguageError as error:
                self.diagnostics.extend(error.diagnostics)
        for item in statement.items:
            self._attempt(item.name, lambda item=item: self._tensor(item, facts, statement))  # type: ignore[misc]

    def _fact(self, fact: Syntax | Keyword) -> tuple[str, object]:
        """A dtype, a fact or a storage format, by the name of the argument that takes it."""
        match fact:
            case Name(name=name) if name in DType.__members__ or name in _SHORT_DTYPES:
                return "dtype", as_dtype(name)
            case Name(name=name) if name in FACTS:
                return name, True
            case Name(name=name) if name in FORMATS:
                return "format", guarded(name, FORMATS[name], fact.span)
            case Keyword(name=name, value=value) if name in FACTS:
                return name, self._evaluator.whole(value, Frame(self.scope))
            case Call(function=Name(name=name)) if name in FORMATS:
                arguments = [self._evaluator.whole(x, Frame(self.scope)) for x in fact.arguments]
                keywords = {k.name: self._evaluator.whole(k.value, Frame(self.scope)) for k in fact.keywords}
                return "format", guarded(name, lambda: FORMATS[name](*arguments, **keywords), fact.span)
        word = fact.function.name if isinstance(fact, Call) else getattr(fact, "name", fact.span.text)
        known = [*DType.__members__, *FACTS, *FORMATS]
        near = nearest(str(word), known).removeprefix("; ")
        if isinstance(fact, Access):
            near = FACTS_HINT
        hint = near or f"facts are {', '.join(FACTS)}; dtypes are float64, float32, int64, …"
        raise LanguageError.at(fact.span, f"{fact.span.text!r} is neither a dtype nor a fact nor a format", hint)

    def _tensor(self, item: TensorItem, facts: dict[str, object], statement: TensorStatement) -> None:
        self.scope.check_free(item.name, item.span)
        sizes = tuple(self._size(x, implied=True) for x in item.sizes)
        known = {name: value for name, value in facts.items() if name in FACTS}
        try:
            make_facts(sizes, **known)
            tensor = FUNCTIONS["tensor"](item.name, sizes, **facts)
        except (OtusError, TypeError, ValueError) as error:
            message, _, hint = str(error).partition("; ")
            if known and len(statement.items) > 1:
                hint = FACTS_HINT
            raise LanguageError.at(item.span, message, hint or None) from error
        self._evaluator.record(tensor, item.span)
        self.scope.define(item.name, tensor, item.span)
        self.tensors.append(item.name)

    # --- definitions ---------------------------------------------------------------------------

    def _assign(self, statement: Assignment) -> None:
        name = statement.target.name
        self.scope.check_free(name, statement.target.span)
        self._name(statement.target, self._evaluator.assignment(statement))

    def _name(self, target: Name, value: Value) -> None:
        self.scope.define(target.name, value, target.span)
        self.assigned.append(target.name)
        if isinstance(value, Expression) and not is_input(value):
            self.labels.setdefault(value.node, target.name)

    def _unpack(self, statement: Unpacking) -> None:
        values: list[Value] = []
        for target in statement.targets:
            self._attempt(target.name, lambda target=target: self.scope.check_free(target.name, target.span))  # type: ignore[misc]
        self._attempt(statement.targets[0].name, lambda: values.extend(self._evaluator.unpacking(statement)))
        if not values:
            for target in statement.targets:
                self.scope.poison(target.name)
        for target, value in zip(statement.targets, values, strict=False):
            if target.name not in self.scope.values:
                self._name(target, value)

    def _define(self, statement: Definition) -> None:
        name = statement.name.name
        if name in self.scope.functions:
            line = self.scope.functions[name].span.line
            raise LanguageError.at(statement.name.span, f"function {name!r} is already defined in line {line}")
        self.scope.functions[name] = statement

    def _import(self, statement: ImportStatement) -> None:
        try:
            self.scope.absorb(self._importer(statement), statement.span)
        except LanguageError as error:
            self.diagnostics.extend(error.diagnostics)
            self.scope.incomplete = True

    # --- outputs -------------------------------------------------------------------------------

    def _check_outputs(self) -> None:
        seen: set[str] = set()
        for name in self.outputs:
            try:
                if name.name in seen:
                    raise LanguageError.at(name.span, f"output {name.name!r} is listed twice")
                seen.add(name.name)
                value = Frame(self.scope).lookup(name)
                if not isinstance(value, (Expression, Dim, int, float)) or name.name not in self.scope.values:
                    raise LanguageError.at(
                        name.span,
                        f"an output is a tensor; {name.name!r} is {describe(value)}",
                        parts_hint(name.name, value) or "assign it to a name first",
                    )
            except Poisoned:
                continue
            except LanguageError as error:
                self.diagnostics.extend(error.diagnostics)
        if not self.outputs:
            self._check_implied_outputs()

    def _check_implied_outputs(self) -> None:
        """Report a list of tensors that nothing reads: an output is one tensor."""
        for name in self.assigned:
            value = self.scope.values[name]
            if name not in self.scope.used and isinstance(value, (list, tuple)):
                message = f"an output is a tensor; {name!r} is {describe(value)}"
                self.diagnostics.append(Diagnostic(message, self.scope.places[name], parts_hint(name, value)))

    def output_names(self) -> list[str]:
        """The outputs in order: those listed, or every assigned tensor that nothing else uses."""
        if self.outputs:
            return [x.name for x in self.outputs]
        return [x for x in self.assigned if x not in self.scope.used]

    def expression(self, name: str) -> Expression:
        """The value of a name as an expression."""
        value = self.scope.values[name]
        if isinstance(value, Dim):
            return self._evaluator.extent(value)
        return as_expression(value)
