"""The range of every index: where it starts and how many values it takes.

An index that stands alone on an axis ranges over it, and every such axis must have the same size.
Index arithmetic (``x[i+k]``, ``x[2*i]``) asks less: a range that a ``dim`` statement declares is
checked against the axis, and any other is the largest that stays inside every axis it reaches.
With ``x[i-1]`` alone, ``i`` starts at 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...ir import Size
from ...ir.dims import ceil_divide, floor_divide, maximum, minimum
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
        self._plain_axes(accesses, moving)
        for index in self._uses:
            self._declare(index)
        self._shrink([x for x in self._reaches if len(x.subscript.coefficients) == 1])
        self._solve([x for x in self._reaches if len(x.subscript.coefficients) > 1])
        self._link_deltas()
        for index, span in self._uses.items():
            self._finish(index, span)

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

    def _declare(self, index: Index) -> None:
        known = self.ranges.get(index)
        if index.declared and index.size is not None and (known is None or known.stop == index.size):
            self.ranges[index] = Range(0, index.size)
            self._fixed.add(index)

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
        low: Size = reach.subscript.constant
        high: Size = reach.subscript.constant
        for index, coefficient in reach.subscript.coefficients:
            known = self.ranges[index]
            ends = (coefficient * known.start, coefficient * (known.stop - 1))
            low, high = (low + ends[0], high + ends[1]) if coefficient > 0 else (low + ends[1], high + ends[0])
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


def _reaches(term: AccessTerm) -> list[_Reach]:
    found = []
    for axis, subscript in enumerate(term.subscripts):
        if subscript.coefficients and subscript.plain is None:
            text = " ".join(term.span.text.split())
            found.append(_Reach(subscript, term.tensor.shape[axis], term.places[axis], text))
    return found
