"""The whole NumPy subscript language, and a diagonal on the right as well.

``einsum("ij,jk->ik", A, B)``, implicit output, ``...``, repeated indices on either side, any
number of operands, and the interleaved form ``einsum(A, [0, 1], B, [1, 2], [0, 2])``, which has no
limit on the number of indices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

from ..ir import DType, Node, ParseError, ShapeError, Size, as_dtype, build
from ..ir.types import shape_text
from .broadcasting import as_nodes, broadcast_shapes
from .expression import Expression, as_node

Index = Hashable
_ELLIPSIS = "..."


def einsum(*operands: Any, dtype: Any = None, optimize: Any = None) -> Expression:
    """The sum of products that the subscripts describe.

    ``einsum("ij,jk->ik", A, B)`` or ``einsum(A, [0, 1], B, [1, 2], [0, 2])``.  Without ``->``, the
    indices that occur once are the output, in alphabetical order.  An index repeated on one
    operand takes its diagonal; repeated on the right, it embeds one.  ``optimize`` is accepted for
    NumPy's sake and ignored: the compiler orders contractions.

    Raises ``ParseError`` for malformed subscripts and ``ShapeError`` naming the index, the sizes
    and the operands where sizes disagree.

    >>> import otus
    >>> x = otus.tensor("x", (3,))
    >>> otus.einsum("i->ii", x).shape
    (3, 3)
    """
    terms, output, values = _read(operands)
    nodes = [as_node(value) for value in values]
    if not nodes:
        raise ParseError("einsum needs at least one operand")
    if len(terms) != len(nodes):
        raise ParseError(f"the subscripts name {len(terms)} operands, but {len(nodes)} were given")
    common = as_nodes(nodes, as_dtype(dtype) if dtype is not None else None)
    labels, result = _resolve_ellipsis(terms, output, common)
    boolean = common[0].type.dtype is DType.bool
    if boolean:
        common = [build.cast(x, DType.int64) for x in common]
    node = contract(common, labels, result)
    return Expression.of(build.cast(node, DType.bool) if boolean else node)


def contract(nodes: Sequence[Node], labels: Sequence[Sequence[Index]], output: Sequence[Index]) -> Node:
    """Einsum over nodes of one dtype with any hashable indices; repeated outputs embed diagonals.

    A size of literally 1 stretches to the size of the same index elsewhere, as in NumPy.
    """
    sizes = _index_sizes(nodes, labels)
    numbers = {index: number for number, index in enumerate(sizes)}
    operands, inputs = [], []
    for node, names in zip(nodes, labels, strict=True):
        kept = [k for k, index in enumerate(names) if node.type.shape[k] == sizes[index]]
        operands.append(build.reshape(node, [node.type.shape[k] for k in kept]))
        inputs.append([numbers[names[k]] for k in kept])
    for index in output:
        if index not in numbers:
            raise ParseError(f"output index {index!r} is on no operand")
    return build.contract(operands, inputs, [numbers[index] for index in output])


def _index_sizes(nodes: Sequence[Node], labels: Sequence[Sequence[Index]]) -> dict[Index, Size]:
    sizes: dict[Index, Size] = {}
    origin: dict[Index, int] = {}
    for position, (node, names) in enumerate(zip(nodes, labels, strict=True)):
        if len(names) != node.ndim:
            raise ShapeError(
                f"operand {position} of shape {shape_text(node.type.shape)} has {node.ndim} axes, but "
                f"{len(names)} indices {tuple(names)}"
            )
        for index, size in zip(names, node.type.shape, strict=True):
            known = sizes.get(index, 1)
            if known not in (1, size) and size != 1:
                raise ShapeError(
                    f"index {index!r} has size {known} in operand {origin[index]} and size {size} in operand {position}"
                )
            if index not in sizes or known == 1:
                sizes[index], origin[index] = size, position
    return sizes


Term = list[Index]


def _read(operands: Sequence[Any]) -> tuple[list[Term], Term | None, list[Any]]:
    """Terms (with ``"..."`` for an ellipsis), the output or None, and the operands."""
    if not operands:
        raise ParseError("einsum needs subscripts and operands")
    if isinstance(operands[0], str):
        terms, output = _read_text(operands[0])
        return terms, output, list(operands[1:])
    return _read_interleaved(operands)


def _read_text(text: str) -> tuple[list[Term], Term | None]:
    compact = "".join(text.split())
    left, arrow, right = compact.partition("->")
    terms = [_read_term(part, text) for part in left.split(",")]
    return terms, _read_term(right, text) if arrow else None


def _read_term(part: str, text: str) -> Term:
    before, dots, after = part.partition(_ELLIPSIS)
    for character in before + after:
        if not (character.isalpha() and character.isascii()):
            raise ParseError(
                f"subscripts {text!r} hold {character!r}; letters, ',', '->' and one '...' per operand are accepted"
            )
    return [*before, *([_ELLIPSIS] if dots else []), *after]


def _read_interleaved(operands: Sequence[Any]) -> tuple[list[Term], Term | None, list[Any]]:
    pairs, rest = divmod(len(operands), 2)
    values = list(operands[: 2 * pairs : 2])
    terms = [_read_labels(labels) for labels in operands[1 : 2 * pairs : 2]]
    return terms, _read_labels(operands[-1]) if rest else None, values


def _read_labels(labels: Any) -> Term:
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        raise ParseError(f"{labels!r} is not a list of indices such as [0, 1]")
    term: Term = []
    for index in labels:
        if index is Ellipsis:
            term.append(_ELLIPSIS)
        elif isinstance(index, str) and index != _ELLIPSIS:
            term.append(index)
        elif hasattr(index, "__index__"):
            term.append(int(index.__index__()))
        else:
            raise ParseError(f"{index!r} is not an index; use integers, names or ...")
    return term


def _resolve_ellipsis(terms: list[Term], output: Term | None, nodes: Sequence[Node]) -> tuple[list[Term], Term]:
    """Replace each ellipsis by indices counted from the right, and work out an implicit output."""
    stretched = [
        node.type.shape[term.index(_ELLIPSIS) : term.index(_ELLIPSIS) + node.ndim - len(term) + 1]
        if _ELLIPSIS in term
        else ()
        for term, node in zip(terms, nodes, strict=True)
    ]
    for term, node in zip(terms, nodes, strict=True):
        if term.count(_ELLIPSIS) > 1 or len(term) - (_ELLIPSIS in term) > node.ndim:
            raise ParseError(
                f"subscripts {_term_text(term)} do not fit an operand of shape {shape_text(node.type.shape)}"
            )
    rank = len(broadcast_shapes(stretched))
    dots = [("...", axis - rank) for axis in range(rank)]
    labels = [_replace(term, dots[rank - len(shape) :]) for term, shape in zip(terms, stretched, strict=True)]
    if output is None:
        counts = Counter(index for term in labels for index in term if not isinstance(index, tuple))
        once = sorted((index for index, count in counts.items() if count == 1), key=_alphabetical)
        return labels, [*dots, *once]
    if dots and _ELLIPSIS not in output:
        raise ParseError(
            f"the operands have {rank} axes under '...', but the output {_term_text(output)!r} has no '...'"
        )
    return labels, _replace(output, dots)


def _replace(term: Term, dots: Sequence[Index]) -> Term:
    if _ELLIPSIS not in term:
        return term
    place = term.index(_ELLIPSIS)
    return [*term[:place], *dots, *term[place + 1 :]]


def _alphabetical(index: Index) -> tuple[int, Any]:
    return (0, index) if isinstance(index, int) else (1, str(index))


def _term_text(term: Term) -> str:
    return "".join(str(index) for index in term)
