"""Rules that cancel a matrix against a solve with it: ``solve(M, M·Z)`` is ``Z``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...ir import Node, build, make
from ...ir.operations import Delta, Einsum, Inverse, LinearCombination, Reshape, Solve
from ...ir.scalar import Number
from ..contraction.products import extended_renaming
from ..rewrite import Context, Rule, Status, rule

Labels = tuple[int, ...]


@dataclass(frozen=True)
class Product:
    """``coefficient`` times an einsum of ``operands`` with ``inputs``, onto ``output``."""

    coefficient: Number
    operands: tuple[Node, ...]
    inputs: tuple[Labels, ...]
    output: Labels


@rule(Solve, status=Status.REASSOCIATES)
def cancel_solve(node: Node, context: Context) -> Node | None:
    """solve(M, M·Z + R) -> Z + solve(M, R), also where the sum stands inside a product, or M is one.

    Where M is singular, ``solve`` raises or returns noise, and this is Z.
    """
    matrix, right = node.operands
    if matrix.ndim != 2:
        return None
    coefficient, whole = _scaled(matrix)
    forms = [Product(coefficient, (whole,), ((0, 1),), (0, 1)), _product(matrix)]
    terms = list(_distributed(right))
    cancelled = [_cancelled_in_a_form(forms, term) for term in terms]
    parts = [x for x in cancelled if x is not None]
    left = [term for term, found in zip(terms, cancelled, strict=True) if found is None]
    if isinstance(matrix.op, LinearCombination) and len(matrix.operands) > 1:
        found, left = _cancelled_sums(matrix, left)
        parts += found
    if not parts:
        return None
    kept = [_rebuilt(term) for term in left]
    if kept:
        parts.append(make(Solve(), matrix, build.add(*kept)))
    return build.add(*parts)


@rule(Solve, Inverse, status=Status.REASSOCIATES)
def scale_out_of_solve(node: Node, context: Context) -> Node | None:
    """solve(2·M, 3·R) -> 3/2·solve(M, R), and inv(2·M) -> 1/2·inv(M)."""
    factors, operands = zip(*map(_scaled_view, node.operands), strict=True)
    if all(x is y for x, y in zip(operands, node.operands, strict=True)) or factors[0] == 0:
        return None
    numerator = factors[1] if isinstance(node.op, Solve) else 1
    return build.scale(numerator / factors[0], make(node.op, *operands))


def _cancelled_sums(matrix: Node, terms: list[Product]) -> tuple[list[Node], list[Product]]:
    """Each ``Z`` for which every term of a matrix ``G + λI`` times ``Z`` is among the terms, and the terms left."""
    assert isinstance(matrix.op, LinearCombination)
    found: list[Node] = []
    whole = (0, 1)
    parts = list(zip(matrix.op.coefficients, matrix.operands, matrix.op.inputs, strict=True))
    if any(labels != whole for _, _, labels in parts):
        return [], terms
    # The identity last: any term is the identity times something.
    parts.sort(key=lambda part: _scalars_of_identity(part[1]) is not None)
    for first in list(terms):
        factor = _other_factor(parts[0], first) if first in terms else None
        group = None if factor is None else _group_of(parts[1:], factor, [x for x in terms if x is not first])
        if factor is not None and group is not None:
            found.append(build.scale(*factor))
            terms = [x for x in terms if x is not first and not any(x is y for y in group)]
    return found, terms


MatrixTerm = tuple[Number, Node, Labels]


def _group_of(
    parts: Sequence[MatrixTerm], factor: tuple[Number, Node], terms: Sequence[Product]
) -> list[Product] | None:
    """The terms that are the matrix's ``parts`` times the same ``factor``; None where one is missing."""
    group: list[Product] = []
    for part in parts:
        for term in terms:
            other = None if any(term is x for x in group) else _other_factor(part, term)
            if other is not None and other[1] is factor[1] and _equal(other[0], factor[0]):
                group.append(term)
                break
        else:
            return None
    return group


def _other_factor(part: MatrixTerm, term: Product) -> tuple[Number, Node] | None:
    """``Z``, as a number times a node, where the term is a matrix's ``part`` times ``Z``."""
    coefficient, matrix, _ = part
    scalars = _scalars_of_identity(matrix)
    if scalars is not None:
        rest = _without(term, scalars)
        if rest is None:
            return None
        scale, plain = _scaled(rest)
        return term.coefficient * scale / coefficient, plain
    inner, plain = _scaled(matrix)
    forms = [Product(coefficient * inner, (plain,), ((0, 1),), (0, 1)), _product(build.scale(coefficient, matrix))]
    found = _cancelled_in_a_form(forms, term)
    return None if found is None else _scaled(found)


def _scalars_of_identity(matrix: Node) -> list[Node] | None:
    """The scalars that multiply the identity, where a matrix is nothing else."""
    if isinstance(matrix.op, Delta):
        return []
    if not isinstance(matrix.op, Einsum):
        return None
    scalars = [x for x in matrix.operands if x.ndim == 0]
    deltas = [x for x in matrix.operands if isinstance(x.op, Delta)]
    return scalars if len(deltas) == 1 and len(scalars) == len(matrix.operands) - 1 else None


def _without(term: Product, scalars: Sequence[Node]) -> Node | None:
    """The product of a term's other factors; None where it has not all of the scalars, or nothing else."""
    kept = list(range(len(term.operands)))
    for scalar in scalars:
        position = next((k for k in kept if term.operands[k] is scalar), None)
        if position is None:
            return None
        kept.remove(position)
    if not kept:
        return None
    return build.einsum([term.operands[k] for k in kept], [term.inputs[k] for k in kept], term.output)


def _equal(x: Number, y: Number) -> bool:
    """Whether two coefficients are the same number but for rounding."""
    return abs(x - y) <= 1e-14 * max(abs(x), abs(y))


def _scaled(node: Node) -> tuple[Number, Node]:
    """A node as a number times another."""
    if isinstance(node.op, LinearCombination) and node.op.inputs == (tuple(range(node.ndim)),):
        return node.op.coefficients[0], node.operands[0]
    return 1, node


def _scaled_view(node: Node) -> tuple[Number, Node]:
    """As :func:`_scaled`, also where the number stands within reshapes."""
    if isinstance(node.op, Reshape):
        factor, inner = _scaled_view(node.operands[0])
        return (1, node) if inner is node.operands[0] else (factor, build.reshape(inner, node.type.shape))
    return _scaled(node)


def _product(node: Node) -> Product | None:
    """A node as a scaled einsum, where it is one without deltas."""
    coefficient, node = _scaled(node)
    if not isinstance(node.op, Einsum) or any(isinstance(x.op, Delta) for x in node.operands):
        return None
    return Product(coefficient, node.operands, node.op.inputs, node.op.output)


def _distributed(node: Node) -> Iterator[Product]:
    """The terms of a sum, with a sum that is one factor of a product multiplied out."""
    if isinstance(node.op, LinearCombination) and all(x == tuple(range(node.ndim)) for x in node.op.inputs):
        for coefficient, operand in zip(node.op.coefficients, node.operands, strict=True):
            for term in _distributed(operand):
                yield Product(coefficient * term.coefficient, term.operands, term.inputs, term.output)
        return
    labels = tuple(range(node.ndim))
    term = _product(node) or Product(1, (node,), (labels,), labels)
    for position, operand in enumerate(term.operands):
        if isinstance(operand.op, LinearCombination):
            for coefficient, inner, names in zip(
                operand.op.coefficients, operand.operands, operand.op.inputs, strict=True
            ):
                placed = tuple(term.inputs[position][axis] for axis in names)
                if set(placed) != set(term.inputs[position]):
                    break
                yield _spliced(term, position, coefficient, inner, placed)
            else:
                return
    yield term


def _spliced(term: Product, position: int, coefficient: Number, inner: Node, labels: Labels) -> Product:
    """The product with one operand replaced, merged where the new one is an einsum itself."""
    operands, inputs = [inner], [labels]
    if isinstance(inner.op, Einsum):
        names = dict(zip(inner.op.output, labels, strict=True))
        fresh = 1 + max((x for group in term.inputs for x in group), default=0)
        for group in inner.op.inputs:
            for label in group:
                names.setdefault(label, fresh + label)
        operands = list(inner.operands)
        inputs = [tuple(names[x] for x in group) for group in inner.op.inputs]
    return Product(
        term.coefficient * coefficient,
        (*term.operands[:position], *operands, *term.operands[position + 1 :]),
        (*term.inputs[:position], *inputs, *term.inputs[position + 1 :]),
        term.output,
    )


def _rebuilt(term: Product) -> Node:
    return build.scale(term.coefficient, build.einsum(term.operands, term.inputs, term.output))


def _cancelled_in_a_form(forms: Sequence[Product | None], term: Product) -> Node | None:
    """As :func:`_cancelled`, for the matrix as one factor of the term or as several."""
    for form in forms:
        found = _cancelled(form, term) if form is not None and form.coefficient != 0 else None
        if found is not None:
            return found
    return None


def _cancelled(matrix: Product, term: Product) -> Node | None:
    """``Z`` with ``matrix · Z`` equal to the term, whose first output axis is the matrix's rows."""
    row, column = matrix.output
    if len(term.operands) <= len(matrix.operands) or not term.output:
        return None
    for chosen, names in _matches(matrix, term, 0, (), {row: term.output[0]}):
        rest = [k for k in range(len(term.operands)) if k not in chosen]
        outside = {x for k in rest for x in term.inputs[k]} | set(term.output)
        inner = [names[x] for group in matrix.inputs for x in group if x not in (row, column)]
        joint = names.get(column)
        others = {x for k in rest for x in term.inputs[k]} | set(term.output[1:])
        if joint is None or joint in term.output or joint not in outside or set(inner) & outside:
            continue
        if term.output[0] in others:
            continue
        left = build.einsum([term.operands[k] for k in rest], [term.inputs[k] for k in rest], (joint, *term.output[1:]))
        return build.scale(term.coefficient / matrix.coefficient, left)
    return None


def _matches(
    matrix: Product, term: Product, position: int, chosen: tuple[int, ...], names: Mapping[int, int]
) -> Iterator[tuple[tuple[int, ...], Mapping[int, int]]]:
    """Ways to find the matrix's operands among the term's, with a one-to-one renaming of its indices."""
    if position == len(matrix.operands):
        yield chosen, names
        return
    for k, operand in enumerate(term.operands):
        if k in chosen or operand is not matrix.operands[position]:
            continue
        new = extended_renaming(names, matrix.inputs[position], term.inputs[k])
        if new is not None:
            yield from _matches(matrix, term, position + 1, (*chosen, k), new)


CANCEL_RULES: tuple[Rule, ...] = (scale_out_of_solve, cancel_solve)
