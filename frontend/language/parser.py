"""From the text of one statement to its syntax tree, by the grammar in ``grammar.lark``.

Nothing here recurses over the text: Lark's LALR parser keeps its own stack, and its tree is
converted from the leaves up.  Trees deeper than :data:`MAXIMUM_DEPTH` are a diagnostic, so what
walks a tree later may recurse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import Any

import lark

from ...ir.errors import nearest
from . import syntax
from .diagnostics import FACTS_HINT, LanguageError, Span
from .statements import Chunk

KEYWORDS = ("dim", "tensor", "const", "def", "import", "output")
MAXIMUM_DEPTH = 60
_MAXIMUM_DIGITS = 400


@cache
def grammar() -> lark.Lark:
    """The parser of one statement."""
    text = resources.files(__package__).joinpath("grammar.lark").read_text("utf-8")
    return lark.Lark(text, parser="lalr", lexer="contextual", propagate_positions=True, maybe_placeholders=False)


def parse_statement(chunk: Chunk) -> syntax.Statement:
    """The syntax tree of one statement; raises ``LanguageError`` where it is not one."""
    try:
        tree = grammar().parse(chunk.span.text)
    except lark.UnexpectedInput as error:
        raise _syntax_error(error, chunk.span) from None
    return _convert(tree, chunk.span)


def _convert(tree: lark.Tree[lark.Token], base: Span) -> syntax.Statement:
    results: dict[int, Any] = {}
    depths: dict[int, int] = {}
    for part in tree.iter_subtrees():
        depth = 1 + max((depths[id(x)] for x in part.children if isinstance(x, lark.Tree)), default=0)
        depths[id(part)] = depth
        start, end = getattr(part.meta, "start_pos", 0), getattr(part.meta, "end_pos", 0)
        span = Span(base.source, base.start + start, base.start + end)
        if depth > MAXIMUM_DEPTH:
            raise LanguageError.at(
                span, f"the expression is nested more than {MAXIMUM_DEPTH} deep", "assign inner parts to names"
            )
        inner = [results[id(x)] if isinstance(x, lark.Tree) else _token(x, base) for x in part.children]
        results[id(part)] = _BUILDERS[str(part.data)](span, inner)
    statement: syntax.Statement = results[id(tree)]
    return statement


def _token(token: lark.Token, base: Span) -> syntax.Name:
    """A token as a name with a place; builders read its text."""
    start = base.start + (token.start_pos or 0)
    return syntax.Name(Span(base.source, start, start + len(token)), str(token))


# --- one builder for each rule of the grammar --------------------------------------------------

Builder = Callable[[Span, list[Any]], Any]


def _number(span: Span, inner: list[Any]) -> syntax.Number:
    text = inner[0].name.replace("_", "")
    if len(text) > _MAXIMUM_DIGITS:
        raise LanguageError.at(span, f"a number has {len(text)} characters; at most {_MAXIMUM_DIGITS} are read")
    if text.isdigit():
        value = int(text)
        if value >= 2**63:
            raise LanguageError.at(span, f"the integer {text} does not fit in 64 bits", f"write {text}.0")
        return syntax.Number(span, value)
    return syntax.Number(span, float(text))


def _text(span: Span, inner: list[Any]) -> syntax.Text:
    return syntax.Text(span, inner[0].name[1:-1])


def _chain(kind: type[syntax.Sum] | type[syntax.Product]) -> Builder:
    return lambda span, inner: kind(span, tuple(inner[::2]), tuple(x.name for x in inner[1::2]))


def _call(span: Span, inner: list[Any]) -> syntax.Expression:
    callee = inner[0]
    arguments, keywords = inner[1] if len(inner) > 1 else ((), ())
    match callee:
        case syntax.Name():
            return syntax.Call(span, callee, arguments, keywords)
        case syntax.Attribute(base=base, name=name):
            return syntax.Method(span, base, name, arguments, keywords)
        case syntax.Access(base=syntax.Name() as function, subscripts=subscripts):
            if keywords:
                raise LanguageError.at(keywords[0].span, f"{function.name}[…](…) takes no keyword arguments")
            return syntax.Reduction(span, function, subscripts, arguments)
    raise LanguageError.at(callee.span, f"{callee.span.text!r} is not a function", "call a function by its name")


def _arguments(span: Span, inner: list[Any]) -> tuple[tuple[Any, ...], tuple[syntax.Keyword, ...]]:
    keywords = tuple(x for x in inner if isinstance(x, syntax.Keyword))
    for before, after in pairwise(inner):
        if isinstance(before, syntax.Keyword) and not isinstance(after, syntax.Keyword):
            raise LanguageError.at(after.span, f"{after.span.text!r} follows a keyword argument; put it before")
    names = [x.name for x in keywords]
    for position, keyword in enumerate(keywords):
        if keyword.name in names[:position]:
            raise LanguageError.at(keyword.span, f"{keyword.name!r} is given twice")
    return tuple(x for x in inner if not isinstance(x, syntax.Keyword)), keywords


def _slice(span: Span, inner: list[Any]) -> syntax.Slice:
    parts: dict[str, syntax.Expression] = dict(x for x in inner if isinstance(x, tuple))
    return syntax.Slice(span, parts.get("start"), parts.get("stop"), parts.get("step"))


def _assignment(span: Span, inner: list[Any]) -> syntax.Assignment:
    indices = inner[1] if len(inner) == 3 else None
    return syntax.Assignment(span, inner[0], indices, inner[-1])


def _definition(span: Span, inner: list[Any]) -> syntax.Definition:
    parameters = tuple(inner[1:-1])
    names = [x.name for x in parameters]
    for position, parameter in enumerate(parameters):
        if parameter.name in names[:position]:
            raise LanguageError.at(parameter.span, f"parameter {parameter.name!r} is given twice")
    return syntax.Definition(span, inner[0], parameters, inner[-1])


def _each(kind: Callable[..., Any]) -> Builder:
    """A node whose one field is the tuple of its parts."""
    return lambda span, inner: kind(span, tuple(inner))


def _fixed(kind: Callable[..., Any]) -> Builder:
    """A node whose fields are its parts."""
    return lambda span, inner: kind(span, *inner)


_BUILDERS: dict[str, Builder] = {
    "start": lambda span, inner: inner[0],
    "dim_statement": _each(syntax.DimStatement),
    "const_statement": _each(syntax.ConstStatement),
    "item": lambda span, inner: syntax.Item(span, inner[0].name, inner[1] if len(inner) > 1 else None),
    "tensor_statement": lambda span, inner: syntax.TensorStatement(
        span,
        tuple(x for x in inner if isinstance(x, syntax.TensorItem)),
        tuple(x for facts in inner if isinstance(facts, tuple) for x in facts),
    ),
    "tensor_item": lambda span, inner: syntax.TensorItem(span, inner[0].name, tuple(inner[1:])),
    "facts": lambda span, inner: tuple(inner),
    "assignment": _assignment,
    "unpacking": lambda span, inner: syntax.Unpacking(span, tuple(inner[:-1]), inner[-1]),
    "left_indices": lambda span, inner: tuple(inner),
    "definition": _definition,
    "parameter": lambda span, inner: inner[0],
    "import_statement": lambda span, inner: syntax.ImportStatement(span, _text(inner[0].span, inner)),
    "output_statement": _each(syntax.OutputStatement),
    "compare": lambda span, inner: syntax.Compare(span, inner[0], inner[1].name, inner[2]),
    "add": _chain(syntax.Sum),
    "multiply": _chain(syntax.Product),
    "negate": lambda span, inner: syntax.Unary(span, inner[0].name, inner[1]),
    "raise_power": lambda span, inner: syntax.Power(span, inner[0], inner[2]),
    "access": lambda span, inner: syntax.Access(span, inner[0], inner[1]),
    "call": _call,
    "attribute": lambda span, inner: syntax.Attribute(span, inner[0], inner[1].name),
    "number": _number,
    "text": _text,
    "name": lambda span, inner: inner[0],
    "dots": lambda span, inner: syntax.Dots(span),
    "empty_tuple": lambda span, inner: syntax.Sequence(span, (), False),
    "tuple": lambda span, inner: syntax.Sequence(span, tuple(inner), False),
    "list": lambda span, inner: syntax.Sequence(span, tuple(inner), True),
    "subscripts": lambda span, inner: tuple(inner),
    "slice": _slice,
    "slice_start": lambda span, inner: ("start", inner[0]),
    "slice_stop": lambda span, inner: ("stop", inner[0]),
    "slice_step": lambda span, inner: ("step", inner[0]),
    "arguments": _arguments,
    "keyword": lambda span, inner: syntax.Keyword(span, inner[0].name, inner[1]),
}


# --- what Lark objects to, in our words --------------------------------------------------------

_TERMINALS = {
    "NAME": "a name", "NUMBER": "a number", "STRING": "a text in quotes", "EQUAL": "'='", "COMMA": "','",
    "COLON": "':'", "LPAR": "'('", "RPAR": "')'", "LSQB": "'['", "RSQB": "']'", "$END": "the end of the line",
}  # fmt: skip
_OPERATORS = {"ADDITION", "MULTIPLICATION", "POWER", "COMPARISON"}


def _syntax_error(error: lark.UnexpectedInput, span: Span) -> LanguageError:
    text = span.text
    if isinstance(error, lark.UnexpectedCharacters):
        place = int(getattr(error, "pos_in_stream", 0))
        where = Span(span.source, span.start + place, span.start + place + 1)
        return LanguageError.at(where, f"the character {text[place]!r} means nothing here", _stray_hint(text[place]))
    token = error.token if isinstance(error, lark.UnexpectedToken) else None
    if token is None or token.type == "$END" or token.start_pos is None:
        where = Span(span.source, max(span.start, span.end - 1), span.end)
        found = "the statement ends too early"
    else:
        where = Span(span.source, span.start + token.start_pos, span.start + token.start_pos + max(1, len(token)))
        found = f"{str(token)!r} is out of place"
    return LanguageError.at(where, f"{found}; expected {_expected(error)}", _syntax_hint(token, text))


def _expected(error: lark.UnexpectedInput) -> str:
    accepted: set[str] = set()
    if isinstance(error, lark.UnexpectedToken):
        accepted = set(error.accepts or error.expected)
    if "DIM" in accepted:
        return "a name or one of " + ", ".join(KEYWORDS)
    if "NUMBER" in accepted:
        return "an expression"
    words = [_TERMINALS[x] for x in sorted(accepted) if x in _TERMINALS]
    if accepted & _OPERATORS:
        words.append("an operator")
    return _listed(words) or "something else"


def _listed(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


# Words of other languages, and what says the same here.
_FOREIGN = {
    "if": "choose with where(condition, x, y)", "else": "choose with where(condition, x, y)",
    "for": "a sum over an index is sum[i](…), and values of an index are y[i] = …",
    "let": "an assignment needs no word: y = x", "var": "an assignment needs no word: y = x",
    "return": "what a program computes is said by: output y", "lambda": "define a function: def f(x) = …",
    "and": "multiply 0/1 brackets for 'and'", "or": "use maximum of 0/1 brackets for 'or'",
    "not": "write 1 - [condition] for 'not'",
}  # fmt: skip


def _stray_hint(character: str) -> str | None:
    known = {"&": "multiply 0/1 brackets for 'and'", "|": "use maximum of 0/1 brackets for 'or'",
             ";": "write one statement a line", "{": "use ( or [", "}": "use ) or ]", "%": "use x - y * floor(x / y)",
             "\N{MULTIPLICATION SIGN}": "use *", "\N{MIDDLE DOT}": "use *", "\N{MINUS SIGN}": "use -",
             "\\": "a line continues inside brackets"}  # fmt: skip
    return known.get(character)


def _syntax_hint(token: lark.Token | None, text: str) -> str | None:
    words = text.split(None, 1)
    first = words[0] if words else ""
    if first in KEYWORDS and token is not None and (str(token) == "=" and token.start_pos == len(first) + 1):
        return f"{first!r} is a keyword; choose another name"
    if first in ("from", "import"):
        return 'import takes the path of another program: import "other.otus"'
    known = _FOREIGN.get(first) or _FOREIGN.get(str(token))
    if known is not None and first not in KEYWORDS:
        return known
    if token is not None and token.start_pos and text[token.start_pos :].startswith(("+=", "-=", "*=", "/=")):
        return "a name has one value; give the new value a name of its own"
    if token is not None and token.type in ("NAME", "NUMBER", "STRING") and token.start_pos:
        near = nearest(first, KEYWORDS) if first not in KEYWORDS else ""
        if near and token.start_pos <= len(first) + 1:
            return near.removeprefix("; ")
        return "write * between factors, and one statement a line"
    if token is None or token.type == "$END":
        return None
    if first == "tensor" and str(token) == ":":
        return FACTS_HINT
    if first == "tensor" and str(token) == "(":
        return "a tensor's axes stand in square brackets: tensor x[n]"
    if str(token) in ("==", "<", ">", "<=", ">=", "!="):
        return "comparisons do not chain; write one comparison, and multiply brackets for 'and'"
    return None
