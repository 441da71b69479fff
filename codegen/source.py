"""What the rules of every emitter in Python print with: names, sizes, ranges, axes in another order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ..ir import Node, Size
from ..ir.dims import SizeFunction, Symbol, product
from ..ir.operations import Constant
from ..ir.program import Buffer, KernelCall, Program, releases
from ..ir.scalar import Number
from ..ir.types import TensorType
from .names import Names, comment

# Constants up to this many elements are listed in a module; larger ones stand there as their bytes.
LISTED_ELEMENTS = 64
_HEX_LINE = 96

S = TypeVar("S", bound="Source")


@dataclass
class Source:
    """The names of one module, and what its body has used so far."""

    program: Program
    names: Names
    buffers: Mapping[str, str]
    dims: Mapping[str, str]
    helpers: set[str] = field(default_factory=set)
    used_dims: set[str] = field(default_factory=set)
    blocks: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # where those of the loops around begin and end

    def __post_init__(self) -> None:
        self._types = {name: buffer.type for name, buffer in self.program.buffer_map().items()}

    def operands(self, call: KernelCall) -> list[str]:
        """The identifiers of a call's inputs."""
        return [self.buffers[name] for name in call.inputs]

    def types(self, call: KernelCall) -> list[TensorType]:
        """The types of a call's inputs."""
        return [self._types[name] for name in call.inputs]

    def target(self, call: KernelCall) -> str:
        """The identifier of a call's only output."""
        return self.buffers[call.outputs[0]]

    def target_type(self, call: KernelCall) -> TensorType:
        """The type of a call's first output."""
        return self._types[call.outputs[0]]

    def temporary(self, hint: str) -> str:
        """A name for a value within one statement."""
        return self.names.identifier(hint)

    def size(self, size: Size) -> str:
        """A size as source."""
        if isinstance(size, int):
            return str(size)
        text = ""
        for monomial, coefficient in size.terms:
            factors = [self._atom(atom) for atom, power in monomial for _ in range(power)]
            if abs(coefficient) != 1 or not factors:
                factors.insert(0, str(abs(coefficient)))
            term = " * ".join(factors)
            if text:
                text += f" {'-' if coefficient < 0 else '+'} {term}"
            else:
                text = f"-{term}" if coefficient < 0 else term
        return text

    def _atom(self, atom: Symbol | SizeFunction) -> str:
        if isinstance(atom, Symbol):
            self.used_dims.add(atom.name)
            return self.dims[atom.name]
        left, right = self.size(atom.left), self.size(atom.right)
        return f"(({left}) // ({right}))" if atom.name == "floordiv" else f"{atom.name}({left}, {right})"

    def factor(self, size: Size) -> str:
        """A size as source that may stand beside any operator."""
        plain = isinstance(size, int) or size.is_symbol
        return self.size(size) if plain and size != 0 else f"({self.size(size)})"

    def shape(self, shape: Iterable[Size]) -> str:
        """A shape as source: a tuple."""
        return tuple_source([self.size(size) for size in shape])

    def shape_of_parts(self, count: str, shape: Iterable[Size]) -> str:
        """The shape of ``count`` tensors of one shape side by side, as source."""
        return tuple_source([count, *map(self.size, shape)])

    def listed(self, shape: Iterable[Size]) -> str:
        """A shape as the arguments of ``reshape``."""
        return ", ".join(self.size(size) for size in shape) or "()"

    def grouped(self, name: str, groups: Sequence[Sequence[Size]]) -> str:
        """``name`` reshaped so that each group of neighbouring axes is one axis."""
        if all(len(group) == 1 for group in groups):
            return name
        return f"{name}.reshape({self.listed(product(group) for group in groups)})"


def tuple_source(items: Sequence[str]) -> str:
    """A tuple of these expressions.

    >>> tuple_source(["n"]), tuple_source(["n", "3"])
    ('(n,)', '(n, 3)')
    """
    return f"({', '.join(items)}{',' if len(items) == 1 else ''})"


def permuted(name: str, order: Sequence[int], method: str = "transpose") -> str:
    """``name`` with its axes in another order, as a view; ``method`` is what that is called."""
    if list(order) == sorted(order):
        return name
    return f"{name}.T" if len(order) == 2 else f"{name}.{method}({', '.join(map(str, order))})"


def aligned(name: str, labels: Sequence[int], axes: Sequence[int], method: str = "transpose") -> str:
    """``name`` broadcastable against ``axes``: its axes in their order, and new ones where it has none."""
    name = permuted(name, [labels.index(axis) for axis in axes if axis in labels], method)
    return name + new_axes([axis in labels for axis in axes]) if labels else name


def new_axes(present: Sequence[bool]) -> str:
    """The index that puts new axes where there are none; leading ones come by broadcasting."""
    places = list(present)
    while places and not places[0]:
        places.pop(0)
    if all(places):
        return ""
    while places and places[-1]:
        places.pop()
    parts = [":" if here else "None" for here in places]
    return f"[{', '.join(parts)}]"


def number_text(value: Number, real: Callable[[float], str]) -> str:
    """A Python number as source, floats as ``real`` writes them; negative ones in parentheses."""
    if isinstance(value, complex):
        return f"complex({real(value.real)}, {real(value.imag)})"
    text = real(value) if isinstance(value, float) else repr(value)
    return f"({text})" if text.startswith("-") else text


def forward_range(start: Size, size: Size, step: int, extent: Size, source: Source) -> str:
    """A strided range with ascending positions: what a backward range covers, from its other end."""
    low = start if step > 0 else start + (size + -1) * step
    high = start + size * step if step > 0 else start + 1
    stride = abs(step)
    if isinstance(size, int) and size == 0:
        low, high = 0, 0
    elif step > 1 and isinstance(size, int):
        high = start + (size - 1) * step + 1
    first = "" if low == 0 else source.size(low)
    last = "" if high == extent else source.size(high)
    return f"{first}:{last}" + (f":{stride}" if stride != 1 else "")


def moved(position: str, by: int) -> str:
    """A position moved by a number of places.

    >>> moved("start", -3), moved("start", 0)
    ('start - 3', 'start')
    """
    return f"{position} {'-' if by < 0 else '+'} {abs(by)}" if by else position


def block_index(axis: int, block: str) -> str:
    """The index of a block ``start:stop`` along one axis."""
    return f"[{', '.join([':'] * axis + [block])}]"


def body_lines(source: S, print_call: Callable[[KernelCall, S], list[str]]) -> list[str]:
    """The statements of a loop's body; what is no longer needed is freed at once, as everywhere."""
    types = source.program.buffer_map()
    lines = []
    for call, gone in zip(source.program.calls, releases(source.program), strict=True):
        lines += [comment(call.text), *print_call(call, source)]
        freed = [source.buffers[name] for name in gone if is_freed(types[name])]
        lines += [f"del {', '.join(freed)}"] if freed else []
    return lines


def is_freed(buffer: Buffer) -> bool:
    """Whether a buffer's name is deleted when nothing reads it any more: no scalar, and memory of its own."""
    place = buffer.place
    return bool(buffer.type.shape) and (place is None or (place.offset is None and place.over is not None))


def hex_rows(node: Node) -> list[str]:
    """The bytes of a constant as string literals, a few dozen on a line."""
    assert isinstance(node.op, Constant)
    digits = node.op.data.hex()
    return [f'"{digits[k : k + _HEX_LINE]}"' for k in range(0, len(digits), _HEX_LINE)]


def size_of(type: TensorType, labels: Sequence[int]) -> dict[int, Size]:
    """The size of each label of a tensor."""
    return dict(zip(labels, type.shape, strict=True))
