"""The range of every index: where it starts and how many values it takes.

An index that stands alone on an axis ranges over it, and every such axis must have the same size: that
of the declared dim of the same name, where there is one.  Index arithmetic (``x[i+k]``, ``x[2*i]``)
asks less: a range that a ``dim`` statement declares is checked against the axis, and any other is the
largest that stays inside every axis it reaches.  In ``sum[i](x[i-1])``, ``i`` starts at 1; an index of
the left-hand side must start at 0, since it counts the elements of the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...ir import Size
from ...ir.dims import ceil_divide, floor_divide, maximum, minimum
from .bounds import without_bound
from .diagnostics import LanguageError, Span
from .terms import AccessTerm, Affine, AnyTerm, DeltaTerm, Index, PositionTerm, ReduceTerm


@dataclass(frozen=True)
class Range:
    """The values ``start``, … ``stop - 1``."""

    start: Size
    stop: Size

    @property
    def size(self) -> Size:
        """How many values there are."""
        return self.stop - self.start


@dataclass(frozen=True)
class _Reach:
    """A subscript with index arithmetic and the axis it must stay inside."""

    subscript: Affine
    extent: Size
    span: Span
    text: str


def infer_ranges(order: Iterable[AnyTerm], kept: Iterable[Index]) -> dict[Index, Range]:
    """The range of every index of the terms; raises ``LanguageError`` where there is none."""
    return _Inference(list(order), list(kept)).ranges


class _Inference:
    def __init__(self, order: list[AnyTerm], kept: list[Index]) -> None:
        self.ranges: dict[Index, Range] = {}
        self._fixed: set[Index] = set()
        self._uses: dict[Index, Span] = {index: index.span for index in kept}
        self._deltas: list[tuple[Index, Index]] = []
        accesses = [term for term in order if isinstance(term, AccessTerm)]
        self._reaches = [reach for term in accesses for reach in _reaches(term)]
        self._note_uses(order)
        moving = {index for reach in self._reaches for index, _ in reach.subscript.coefficients}
        for index in self._uses:
            self._declare(index)
        self._plain_axes(accesses, moving)
        self._shrink([x for x in self._reaches if len(x.subscript.coefficients) == 1])
        self._solve([x for x in self._reaches if len(x.subscript.coefficients) > 1])
        self._link_deltas()
        for index, span in self._uses.items():
            self._finish(index, span)
        for index in sorted(kept, key=lambda each: each not in moving):
            self._check_start(index)

    def _note_uses(self, order: list[AnyTerm]) -> None:
        for term in order:
            if isinstance(term, (AccessTerm, DeltaTerm)):
                for subscript in term.subscripts:
                    for index, _ in subscript.coefficients:
                        self._uses.setdefault(index, term.span)
            elif isinstance(term, PositionTerm):
                self._uses.setdefault(term.index, term.span)
            elif isinstance(term, ReduceTerm):
                for index in term.indices:
                    self._uses.setdefault(index, index.span)
            if isinstance(term, DeltaTerm):
                first, second = (x.plain for x in term.subscripts)
                if first is not None and second is not None:
                    self._deltas.append((first, second))

    def _declare(self, index: Index) -> None:
        """An index with the name of a declared dim ranges over that dim."""
        if index.declared is not None and index.size is not None:
            self.ranges[index] = Range(0, index.size)
            self._fixed.add(index)

    def _plain_axes(self, accesses: list[AccessTerm], moving: set[Index]) -> None:
        """Indices alone on an axis range over it."""
        origins: dict[Index, tuple[AccessTerm, int]] = {}
        for term in accesses:
            for axis, subscript in enumerate(term.subscripts):
                index, size = subscript.plain, term.tensor.shape[axis]
                if index is None:
                    continue
                known = self.ranges.get(index)
                if known is None:
                    self.ranges[index], origins[index] = Range(0, size), (term, axis)
                elif index in self._fixed:
                    self._check_declared(index, term, axis, index in moving)
                elif index in moving:
                    self.ranges[index] = Range(0, minimum(known.stop, size))
                elif known.stop != size:
                    other, place = origins[index]
                    line = other.span.line
                    raise LanguageError.at(
                        term.places[axis],
                        f"index {index.name!r} has size {known.stop} on axis {place} of {other.label} "
                        f"(line {line}) and size {size} on axis {axis} of {term.label}",
                        "indices of one name in a product range over axes of one size",
                    )

    def _check_declared(self, index: Index, term: AccessTerm, axis: int, moves: bool) -> None:
        """Raise where an axis has not the size of the dim that its index is named after.

        An index that moves along some axis need only stay inside the others.
        """
        size = term.tensor.shape[axis]
        if moves:
            self._check(_reach(term, axis))
        elif index.size != size:
            assert index.declared is not None
            another = "another dim" if index.size == index.name else f"a dim of size {index.size}"
            raise LanguageError.at(
                term.places[axis],
                f"axis {axis} of {term.label} has size {size}, but its index {index.name!r} is {another} "
                f"({_where(index.declared, term.span)})",
                f"use a letter that is no dim here, or declare the axis as {index.name!r}",
            )

    def _shrink(self, reaches: list[_Reach]) -> None:
        """Keep subscripts of one index inside their axes."""
        for reach in reaches:
            ((index, _),) = reach.subscript.coefficients
            if index in self._fixed:
                self._check(reach)
            else:
                self._intersect(index, self._inside(reach, index), reach)

    def _solve(self, reaches: list[_Reach]) -> None:
        """Infer the last unknown index of each subscript of several."""
        pending = list(reaches)
        while pending:
            ready: dict[Index, list[_Reach]] = {}
            for reach in pending:
                unknown = [x for x, _ in reach.subscript.coefficients if x not in self.ranges]
                if len(unknown) == 1:
                    ready.setdefault(unknown[0], []).append(reach)
                elif not unknown:
                    self._check(reach)
            pending = [x for x in pending if any(y not in self.ranges for y, _ in x.subscript.coefficients)]
            if pending and not ready:
                self._give_up(pending[0])
            for index, group in ready.items():
                for reach in group:
                    self._intersect(index, self._inside(reach, index), reach)
            pending = [x for x in pending if not any(x in group for group in ready.values())]

    def _give_up(self, reach: _Reach) -> None:
        """Fall back on the sizes of dims; raise where there are none."""
        unknown = [x for x, _ in reach.subscript.coefficients if x not in self.ranges]
        for index in unknown[1:]:
            if index.size is None:
                names = " and ".join(repr(x.name) for x in unknown)
                raise LanguageError.at(
                    reach.span,
                    f"the ranges of {names} cannot both be inferred from {reach.text}",
                    f"declare one: dim {index.name} = …, or use it alone on an axis of another tensor",
                )
            self.ranges[index] = Range(0, index.size)

    def _inside(self, reach: _Reach, index: Index) -> Range:
        """The values of ``index`` that keep ``reach`` inside its axis, for all values of the others."""
        low: Size = reach.subscript.constant
        high: Size = reach.subscript.constant
        step = 0
        for other, coefficient in reach.subscript.coefficients:
            if other is index:
                step = coefficient
                continue
            ends = [coefficient * self.ranges[other].start, coefficient * (self.ranges[other].stop - 1)]
            low, high = (low + ends[0], high + ends[1]) if coefficient > 0 else (low + ends[1], high + ends[0])
        last = reach.extent - 1
        if step > 0:
            first, final = ceil_divide(-1 * low, step), floor_divide(last - high, step)
        else:
            first, final = ceil_divide(high - last, -step), floor_divide(low, -step)
        return Range(maximum(0, first) if first != 0 else 0, final + 1)

    def _intersect(self, index: Index, allowed: Range, reach: _Reach) -> None:
        known = self.ranges.get(index)
        if known is not None:
            allowed = Range(maximum(known.start, allowed.start), minimum(known.stop, allowed.stop))
        if isinstance(allowed.size, int) and allowed.size <= 0:
            raise LanguageError.at(
                reach.span, f"no value of {index.name!r} keeps {reach.text} inside its axis of size {reach.extent}"
            )
        self.ranges[index] = allowed

    def _check(self, reach: _Reach) -> None:
        """Raise where a subscript certainly leaves its axis."""
        low, high = positions(reach.subscript, self.ranges)
        beyond = high - reach.extent
        outside = low if isinstance(low, int) and low < 0 else high
        if (isinstance(low, int) and low < 0) or (isinstance(beyond, int) and beyond >= 0):
            fixed = [x.name for x, _ in reach.subscript.coefficients if x in self._fixed]
            hint = f"{fixed[0]!r} is a dim; the range of an index that is no dim is inferred" if fixed else None
            raise LanguageError.at(
                reach.span, f"{reach.text} reaches position {outside}, outside its axis of size {reach.extent}", hint
            )

    def _link_deltas(self) -> None:
        """An index that only a delta holds ranges as the other index of the delta."""
        for _ in range(len(self._deltas)):
            for first, second in self._deltas:
                for known, unknown in ((first, second), (second, first)):
                    if known in self.ranges and unknown not in self.ranges:
                        self.ranges[unknown] = self.ranges[known]

    def _finish(self, index: Index, span: Span) -> None:
        if index in self.ranges:
            return
        if index.size is None:
            raise LanguageError.at(
                span, f"the range of index {index.name!r} is not known",
                f"declare it: dim {index.name} = …, or use it on an axis of a tensor",
            )  # fmt: skip
        self.ranges[index] = Range(0, index.size)

    def _check_start(self, index: Index) -> None:
        """Raise where an index of the left-hand side does not start at 0, as the axis of the result does.

        In ``y[i] = x[4-i]`` the index starts at 0 if the axis has five elements: the call checks that.
        """
        start = without_bound(self.ranges[index].start)
        if isinstance(start, int) and start == 0:
            return
        reaches = [x for x in self._reaches if index in dict(x.subscript.coefficients)]
        if not isinstance(start, int) and all(dict(x.subscript.coefficients)[index] < 0 for x in reaches):
            self.ranges[index] = Range(0, self.ranges[index].stop)
            return
        reason = f" to keep {reaches[0].text} inside its axis" if reaches else ""
        raise LanguageError.at(
            reaches[0].span if reaches else self._uses[index],
            f"index {index.name!r} starts at {start}{reason}, but the axis {index.name!r} of the result starts at 0",
            f"write {index.name}+{start} in place of {index.name} everywhere on the right",
        )


def positions(subscript: Affine, ranges: Mapping[Index, Range]) -> tuple[Size, Size]:
    """The least and the greatest position that a subscript reaches."""
    low: Size = subscript.constant
    high: Size = subscript.constant
    for index, coefficient in subscript.coefficients:
        ends = (coefficient * ranges[index].start, coefficient * (ranges[index].stop - 1))
        low, high = (low + ends[0], high + ends[1]) if coefficient > 0 else (low + ends[1], high + ends[0])
    return low, high


def _reaches(term: AccessTerm) -> list[_Reach]:
    found = []
    for axis, subscript in enumerate(term.subscripts):
        if subscript.coefficients and subscript.plain is None:
            found.append(_reach(term, axis))
    return found


def _reach(term: AccessTerm, axis: int) -> _Reach:
    text = " ".join(term.span.text.split())
    return _Reach(term.subscripts[axis], term.tensor.shape[axis], term.places[axis], text)


def _where(place: Span, seen_from: Span) -> str:
    return f"line {place.line}" if place.source is seen_from.source else str(place)
