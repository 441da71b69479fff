"""Index notation that a mathematician reads: ``H[i,r,i',s] = 2 δ[i,i'] B[j,r] B[j,s]``.

An index that is repeated in a product and absent on the left is summed (Einstein's convention); every
other sum is written out.  Values that are read more than once, or that a matrix function takes, get
a line of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from . import operations as ops
from .dims import Dim, Size
from .node import Node, label_sizes
from .operations import Operation
from .scalar import Argument, Call, Literal, Number, Scalar, postorder
from .traverse import count_uses, topological

_INDICES = "ijklmnpqrstuvwxyzabcdefgh"
_SUM, _PRODUCT, _ATOM = 0, 1, 2
_PLAIN_NAME = re.compile(r"[^\W\d][\w.]*'*")
_LATEX = {
    **{character: f"\\{character}" for character in "_{}$&#%"},
    "\\": "\\backslash ",
    "^": "\\hat{}",
    "~": "\\sim ",
    " ": "\\ ",
}

Text = tuple[str, int]
"""Text and how tightly it binds: a sum, a product, or an atom."""


@dataclass(frozen=True)
class Style:
    """How things are written: plain text or LaTeX."""

    latex: bool = False

    def tensor(self, name: str, indices: Sequence[str]) -> str:
        """A tensor of that name with its indices."""
        return self.indexed(self.name(name), indices)

    def indexed(self, text: str, indices: Sequence[str]) -> str:
        """What is written ``text`` with its indices."""
        if not indices:
            return text
        return f"{text}_{{{' '.join(indices)}}}" if self.latex else f"{text}[{','.join(indices)}]"

    def name(self, name: str) -> str:
        """A tensor's name; in quotes, on one line, where it could be taken for something else."""
        if not _PLAIN_NAME.fullmatch(name):
            name = json.dumps(name, ensure_ascii=not name.isprintable())
        if not self.latex or (len(name) == 1 and name.isalpha()):
            return name
        return "\\mathrm{" + "".join(_LATEX.get(character, character) for character in name) + "}"

    @property
    def delta(self) -> str:
        """The Kronecker delta."""
        return "\\delta" if self.latex else "δ"

    def group(self, text: str) -> str:
        """Text in parentheses."""
        return f"\\left({text}\\right)" if self.latex else f"({text})"

    def call(self, function: str, argument: str) -> str:
        """A function applied to text."""
        if not self.latex:
            return f"{function}({argument})"
        known = function in ("exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "max", "min", "det")
        return (f"\\{function}" if known else f"\\operatorname{{{function}}}") + self.group(argument)

    def fraction(self, above: Text, below: Text) -> Text:
        """A quotient."""
        if self.latex:
            return f"\\frac{{{above[0]}}}{{{below[0]}}}", _ATOM
        return f"{self.tight(above, _PRODUCT)} / {self.tight(below, _ATOM)}", _PRODUCT

    def power(self, base: Text, exponent: Text) -> Text:
        """A power."""
        raised = f"{{{exponent[0]}}}" if self.latex else self.tight(exponent, _ATOM)
        return f"{self.tight(base, _ATOM)}^{raised}", _ATOM

    def reduced(self, kind: str, indices: Sequence[str], inner: Text) -> Text:
        """A reduction over indices."""
        if not self.latex:
            return f"{kind}[{','.join(indices)}]({inner[0]})", _ATOM
        sign = {"sum": "\\sum", "prod": "\\prod", "max": "\\max", "min": "\\min"}.get(kind, f"\\operatorname{{{kind}}}")
        return f"{sign}_{{{' '.join(indices)}}} {self.tight(inner, _PRODUCT)}", _PRODUCT

    def tight(self, text: Text, level: int) -> str:
        """The text, in parentheses where it binds less tightly than ``level``."""
        return text[0] if text[1] >= level else self.group(text[0])


def formula(node: Node, name: str = "out", latex: bool = False) -> str:
    """The node as index notation, one line a definition, the node's own last."""
    return _Writer(Style(latex), count_uses([node])).definition_of(node, name)


@dataclass
class _Writer:
    style: Style
    uses: Mapping[Node, int]
    names: dict[Node, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    taken: frozenset[str] = frozenset()

    def definition_of(self, root: Node, name: str) -> str:
        for node in topological([root]):
            if node is not root and self._deserves_a_line(node):
                self._define(node, f"t{len(self.names)}")
        self._define(root, name)
        return "\n".join(self.lines)

    def _deserves_a_line(self, node: Node) -> bool:
        """Shared values that are not leaves; what an operation must take as a whole; deep expressions."""
        if isinstance(node.op, _LEAVES):
            return False
        return self.uses[node] > 1 or isinstance(node.op, _WHOLE)

    def _define(self, node: Node, name: str) -> None:
        with self._scope(frozenset()):
            indices = self._fresh(node.type.shape)
            text, _ = self._body(node, indices)
        self.lines.append(f"{self.style.tensor(name, indices)} = {text}")
        self.names[node] = name

    @contextmanager
    def _scope(self, taken: frozenset[str]) -> Iterator[None]:
        """Indices that new ones must not be confused with, while an operand is written."""
        outer, self.taken = self.taken, taken
        yield
        self.taken = outer

    def _fresh(self, sizes: Sequence[Size], taken: Sequence[str] = ()) -> list[str]:
        """An index for each size, after its name; primes tell repeated names apart."""
        used, fresh = {*self.taken, *taken}, []
        for size in sizes:
            symbol = size.symbol_name if isinstance(size, Dim) else None
            base = symbol or next((x for x in _INDICES if x not in used), "i")
            while base in used:
                base += "'"
            used.add(base)
            fresh.append(base)
        return fresh

    def text(self, node: Node, indices: Sequence[str]) -> Text:
        """The element of ``node`` at ``indices``."""
        if node in self.names:
            return self.style.tensor(self.names[node], indices), _ATOM
        return self._body(node, indices)

    def _body(self, node: Node, indices: Sequence[str]) -> Text:
        op = node.op
        match op:
            case ops.Input(label=label):
                return self.style.tensor(label, indices), _ATOM
            case ops.Constant():
                return self._constant(op, indices)
            case ops.Delta():
                return self.style.indexed(self.style.delta, indices), _ATOM
            case ops.Iota():
                return indices[0], _ATOM
            case ops.Extent(size=size):
                return _size(size), _ATOM
            case ops.Einsum():
                return self._einsum(node, indices)
            case ops.LinearCombination():
                return self._sum(node, indices)
            case ops.Map():
                return self._map(node, indices)
            case ops.Reduce(kind=kind, axes=axes):
                return self._reduce(node, kind, axes, indices)
            case ops.Broadcast(axes=axes):
                return self.text(node.operands[0], [indices[axis] for axis in axes])
            case ops.Cast():
                return self.text(node.operands[0], indices)
            case ops.Slice(starts=starts, steps=steps):
                return self.text(node.operands[0], [_affine(*x) for x in zip(starts, steps, indices, strict=True)])
            case ops.Take(axis=axis):
                return self._take(node, axis, indices)
            case ops.Reshape() if _same_but_ones(node):
                kept = [x for x, size in zip(indices, node.type.shape, strict=True) if size != 1]
                inner = iter(kept)
                return self.text(
                    node.operands[0], ["0" if s == 1 else next(inner) for s in node.operands[0].type.shape]
                )
        return self._whole(node, indices)

    def _constant(self, op: ops.Constant, indices: Sequence[str]) -> Text:
        if op.array.size == 1:
            return _number(op.array.item()), _ATOM
        return self.style.tensor("c", indices), _ATOM

    def _einsum(self, node: Node, indices: Sequence[str]) -> Text:
        assert isinstance(node.op, ops.Einsum)
        names = dict(zip(node.op.output, indices, strict=True))
        sizes = label_sizes(node.operands, node.op.inputs)
        summed = [x for x in sizes if x not in names]
        names.update(zip(summed, self._fresh([sizes[x] for x in summed], indices), strict=True))
        with self._scope(self.taken | set(names.values())):
            factors = [
                self.text(operand, [names[x] for x in labels])
                for operand, labels in zip(node.operands, node.op.inputs, strict=True)
            ]
        joined = " ".join(self.style.tight(factor, _PRODUCT) for factor in factors)
        product = joined, (_PRODUCT if len(factors) > 1 else factors[0][1])
        alone = [names[x] for x in summed if sum(labels.count(x) for labels in node.op.inputs) < 2]
        return self.style.reduced("sum", alone, product) if alone else product

    def _sum(self, node: Node, indices: Sequence[str]) -> Text:
        assert isinstance(node.op, ops.LinearCombination)
        text, first = "", True
        for coefficient, operand, labels in zip(node.op.coefficients, node.operands, node.op.inputs, strict=True):
            with self._scope(self.taken | set(indices)):
                term = self.text(operand, [indices[axis] for axis in labels])
            negative = not isinstance(coefficient, complex) and coefficient < 0
            size = -coefficient if negative else coefficient
            written = self.style.tight(term, _PRODUCT)
            written = written if size == 1 else f"{_number(size)} {written}"
            sign = ("-" if negative else "") if first else (" - " if negative else " + ")
            text, first = text + sign + written, False
        return text, (_PRODUCT if len(node.operands) == 1 and not text.startswith("-") else _SUM)

    def _map(self, node: Node, indices: Sequence[str]) -> Text:
        assert isinstance(node.op, ops.Map)
        with self._scope(self.taken | set(indices)):
            operands = [
                self.text(operand, [indices[axis] for axis in labels])
                for operand, labels in zip(node.operands, node.op.inputs, strict=True)
            ]
        known: dict[Scalar, Text] = {}
        for part in postorder(node.op.expression):
            if isinstance(part, Argument):
                known[part] = operands[part.position]
            elif isinstance(part, Literal):
                known[part] = _number(part.value), _ATOM if not _number(part.value).startswith("-") else _SUM
            elif isinstance(part, Call):
                known[part] = self._call(part.function, [known[x] for x in part.arguments])
        return known[node.op.expression]

    def _call(self, function: str, x: list[Text]) -> Text:
        tight = self.style.tight
        match function:
            case "add":
                return f"{x[0][0]} + {x[1][0]}", _SUM
            case "sub":
                return f"{x[0][0]} - {tight(x[1], _PRODUCT)}", _SUM
            case "neg":
                return f"-{tight(x[0], _PRODUCT)}", _SUM
            case "mul":
                x = x[::-1] if x[1][0].lstrip("-").replace(".", "").isdigit() else x
                return f"{tight(x[0], _PRODUCT)} {tight(x[1], _PRODUCT)}", _PRODUCT
            case "div":
                return self.style.fraction(x[0], x[1])
            case "reciprocal":
                return self.style.fraction(("1", _ATOM), x[0])
            case "square":
                return self.style.power(x[0], ("2", _ATOM))
            case "pow":
                return self.style.power(x[0], x[1])
            case "eq" | "ne" | "lt" | "le" | "gt" | "ge":
                sign = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}[function]
                return f"[{x[0][0]} {sign} {x[1][0]}]", _ATOM
        return self.style.call(function, ", ".join(text for text, _ in x)), _ATOM

    def _reduce(self, node: Node, kind: str, axes: Sequence[int], indices: Sequence[str]) -> Text:
        (x,) = node.operands
        gone = self._fresh([x.type.shape[axis] for axis in axes], indices)
        kept, reduced = iter(indices), iter(gone)
        names = [next(reduced) if axis in axes else next(kept) for axis in range(x.ndim)]
        with self._scope(self.taken | set(names)):
            inner = self.text(x, names)
        return self.style.reduced(kind, gone, inner)

    def _take(self, node: Node, axis: int, indices: Sequence[str]) -> Text:
        x, places = node.operands
        inner, _ = self.text(places, indices[axis : axis + places.ndim])
        return self.text(x, [*indices[:axis], inner, *indices[axis + places.ndim :]])

    def _whole(self, node: Node, indices: Sequence[str]) -> Text:
        """A function of whole tensors, then the element."""
        operands = []
        for operand in node.operands:
            if operand not in self.names and not isinstance(operand.op, ops.Input):
                self._define(operand, f"t{len(self.names)}")
            operands.append(self.text(operand, ())[0] if operand in self.names else operand.op.label)  # type: ignore[attr-defined]
        result = f".{node.op.result}" if hasattr(node.op, "result") else ""
        return self.style.indexed(self.style.call(node.op.name, ", ".join(operands)) + result, indices), _ATOM


_LEAVES: tuple[type[Operation], ...] = (ops.Input, ops.Constant, ops.Delta, ops.Iota, ops.Extent, ops.Broadcast)
_WHOLE: tuple[type[Operation], ...] = (ops.ScatterAdd, ops.Concatenate, ops.Pad, ops.CumulativeSum)


def _same_but_ones(node: Node) -> bool:
    old = [size for size in node.operands[0].type.shape if size != 1]
    return old == [size for size in node.type.shape if size != 1]


def _affine(start: Size, step: int, index: str) -> str:
    """``start + step·index`` as an index."""
    text = index if step == 1 else f"{step}{index}" if step != -1 else f"-{index}"
    if start == 0:
        return text
    begin = _size(start)
    return f"{begin}{text}" if text.startswith("-") else f"{text}+{begin}"


def _size(size: Size) -> str:
    """A size as text; ``|n|`` is the size of the dim whose index is ``n``."""
    return re.sub(r"[^\W\d]\w*(?!\w*\()", lambda name: f"|{name[0]}|", str(size))


def _number(value: Number) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)
