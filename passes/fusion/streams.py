"""Streams: elementwise work and reductions that can run together, block by block of one index.

A stream is a set of nodes of which none needs another whole: each needs, of the others, only the block of the
index that is at work.  No path leaves a stream and comes back, so all of it can run as one loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from ...ir import Node
from ..memory.indices import Index, indices_of

Members = dict[Node, Index]
_MOST_CHOICES = 64  # of one stream: where streams that read one tensor are joined, theirs multiply


@dataclass
class Stream:
    """The nodes so far, for each index that they can be cut along: with the index as each node names it.

    ``below`` are the streams that this one needs, directly.
    """

    choices: list[Members]
    below: set[int] = field(default_factory=set)


def find_streams(
    order: Sequence[Node],
    is_streamed: Callable[[Node], bool],
    starts: Callable[[Node], bool],
    is_apart: Callable[[Node, Sequence[Members]], bool] = lambda node, choices: False,
) -> list[Stream]:
    """Streams of the nodes for which ``is_streamed`` holds, each begun by one for which ``starts`` holds too.

    ``order`` has operands first.  A node joins the streams of all its operands where it can, so that these
    become one, but not those of which ``is_apart`` holds with the choices that would be left; so do streams that read
    the same blocks of a tensor of those that ``starts`` holds for.
    """
    search = _Search(is_apart)
    for node in order:
        search.place(node, is_streamed(node), starts(node))
    for node in order:
        if starts(node):
            search.link(node)
    return [stream for stream in search.streams if stream is not None]


class _Search:
    """Streams by number; ``None`` where one has become part of another."""

    def __init__(self, is_apart: Callable[[Node, Sequence[Members]], bool]) -> None:
        self.is_apart = is_apart
        self.streams: list[Stream | None] = []
        self.of: dict[Node, int] = {}
        self.below: dict[Node, set[int]] = {}
        self.moved: dict[int, int] = {}
        self.readers: dict[Node, list[tuple[int, Node]]] = {}

    def place(self, node: Node, streamed: bool, starts: bool) -> None:
        """Put a node into a stream, where it fits into one or may begin one."""
        below = {number for operand in node.operands for number in self._needs(operand)}
        joined: int | None = None
        if streamed:
            joined = self._joined(node)
            if joined is None and starts:
                choices = [{node: index} for index in indices_of(node)]
                if choices:
                    joined = len(self.streams)
                    self.streams.append(Stream(choices))
        if joined is None:
            self.below[node] = below
            return
        self.of[node] = joined
        self._stream(joined).below |= {self._now(number) for number in below} - {joined}
        for operand in node.operands:
            if self._number(operand) != joined:
                self.readers.setdefault(operand, []).append((joined, node))

    def link(self, source: Node) -> None:
        """Make one stream of those that read ``source`` along the same axis, so that it is read once."""
        readers: dict[int, list[Node]] = {}
        for number, node in self.readers.get(source, []):
            if self._number(source) != self._now(number):
                readers.setdefault(self._now(number), []).append(node)
        first: int | None = None
        for number, nodes in readers.items():
            if first is None:
                first = number
                continue
            pairs = (
                {**mine, **its}
                for mine in self._stream(first).choices
                for its in self._stream(number).choices
                if _read_along(source, mine, readers[first]) == _read_along(source, its, nodes) is not None
            )
            together = list(islice(pairs, _MOST_CHOICES))
            below = {self._now(x) for each in (first, number) for x in self._stream(each).below}
            apart = not below & {first, number} and not any(self._reaches(x, {first, number}) for x in below)
            if together and apart:
                self._merged(first, number, together)
                readers[first] += nodes

    def _joined(self, node: Node) -> int | None:
        """The stream that takes in ``node``: of those of its operands, as many as can be one."""
        taken: int | None = None
        for operand in node.operands:
            number = self._number(operand)
            if number is None or number == taken:
                continue
            if self.is_apart(node, self._choices(node, {number})):
                continue
            choices = self._choices(node, {number} if taken is None else {taken, number})
            if not choices or not self._is_convex(node, {number} if taken is None else {taken, number}):
                continue
            taken = number if taken is None else self._merged(taken, number, choices)
        if taken is None:
            return None
        self._stream(taken).choices = self._choices(node, {taken})
        return taken

    def _choices(self, node: Node, numbers: set[int]) -> list[Members]:
        """The indices along which these streams and ``node`` can all be cut together."""
        found = []
        for index in indices_of(node):
            parts: list[Members] = []
            for number in sorted(numbers):
                fitting = [x for x in self._stream(number).choices if self._fits(node, index, x)]
                parts += fitting[:1]
            if len(parts) == len(numbers):
                found.append({**{key: value for part in parts for key, value in part.items()}, node: index})
        return found

    @staticmethod
    def _fits(node: Node, index: Index, members: Mapping[Node, Index]) -> bool:
        """Whether every operand that is in the stream is needed only along the index that it is cut along."""
        inside = [(k, members[x]) for k, x in enumerate(node.operands) if x in members]
        return bool(inside) and all(
            isinstance(its.result, int) and index.axis(position) == its.result for position, its in inside
        )

    def _is_convex(self, node: Node, numbers: set[int]) -> bool:
        """Whether no path goes from one of these streams through something else to another or to the node."""
        needed = {x for number in numbers for x in self._stream(number).below}
        for operand in node.operands:
            if self._number(operand) not in numbers:
                needed |= self._needs(operand)
        current = {self._now(number) for number in needed}
        return not current & numbers and not any(self._reaches(each, numbers) for each in current)

    def _reaches(self, start: int, goals: set[int]) -> bool:
        """Whether a stream needs one of ``goals``."""
        seen, stack = {start}, [start]
        while stack:
            below = {self._now(number) for number in self._stream(stack.pop()).below}
            if below & goals:
                return True
            stack.extend(below - seen)
            seen |= below
        return False

    def _merged(self, first: int, second: int, choices: list[Members]) -> int:
        """One stream of two, with these choices."""
        keep, gone = self._stream(first), self._stream(second)
        keep.below = {self._now(x) for x in keep.below | gone.below} - {first, second}
        keep.choices = choices
        self.streams[second] = None
        self.moved[second] = first
        return first

    def _now(self, number: int) -> int:
        while number in self.moved:
            number = self.moved[number]
        return number

    def _number(self, node: Node) -> int | None:
        return self._now(self.of[node]) if node in self.of else None

    def _needs(self, node: Node) -> set[int]:
        number = self._number(node)
        return self.below.get(node, set()) if number is None else {number}

    def _stream(self, number: int) -> Stream:
        stream = self.streams[self._now(number)]
        assert stream is not None
        return stream


def _read_along(source: Node, members: Members, readers: Sequence[Node]) -> int | None:
    """The one axis along which the members of a stream read blocks of ``source``; None where it is not one."""
    axes = {
        members[node].axis(position)
        for node in readers
        for position, operand in enumerate(node.operands)
        if operand is source
    }
    return axes.pop() if len(axes) == 1 else None
