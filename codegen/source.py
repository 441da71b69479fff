"""What the rules of the NumPy emitter print with: names, sizes, axes in another order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..ir import DType, Size
from ..ir.dims import SizeFunction, Symbol, product
from ..ir.program import KernelCall, Program
from ..ir.scalar import Number
from ..ir.types import TensorType
from .names import Names
from .to_c.loops import CFunction


@dataclass
class Source:
    """The names of one module, and what its body has used so far.

    ``functions`` are its functions in C, None where it is to have none.
    """

    program: Program
    names: Names
    buffers: Mapping[str, str]
    dims: Mapping[str, str]
    helpers: set[str] = field(default_factory=set)
    used_dims: set[str] = field(default_factory=set)
    functions: list[CFunction] | None = None

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
        sizes = [self.size(size) for size in shape]
        return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"

    def listed(self, shape: Iterable[Size]) -> str:
        """A shape as the arguments of ``reshape``."""
        return ", ".join(self.size(size) for size in shape) or "()"

    def grouped(self, name: str, groups: Sequence[Sequence[Size]]) -> str:
        """``name`` reshaped so that each group of neighbouring axes is one axis."""
        if all(len(group) == 1 for group in groups):
            return name
        return f"{name}.reshape({self.listed(product(group) for group in groups)})"


def permuted(name: str, order: Sequence[int]) -> str:
    """``name`` with its axes in another order, as a view."""
    if list(order) == sorted(order):
        return name
    return f"{name}.T" if len(order) == 2 else f"{name}.transpose({', '.join(map(str, order))})"


def aligned(name: str, labels: Sequence[int], axes: Sequence[int]) -> str:
    """``name`` broadcastable against ``axes``: its axes in their order, and new ones where it has none."""
    name = permuted(name, [labels.index(axis) for axis in axes if axis in labels])
    present = [axis in labels for axis in axes]
    if not labels:
        return name
    return name + new_axes(present)


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


def number_source(value: Number) -> str:
    """A Python number as source, infinities and NaN included; negative ones in parentheses."""
    if isinstance(value, complex):
        return f"complex({_float_source(value.real)}, {_float_source(value.imag)})"
    text = _float_source(value) if isinstance(value, float) else repr(value)
    return f"({text})" if text.startswith("-") else text


def _float_source(value: float) -> str:
    if value != value:
        return "np.nan"
    if value in (float("inf"), float("-inf")):
        return "np.inf" if value > 0 else "-np.inf"
    return repr(value)


def dtype_source(dtype: DType) -> str:
    """A dtype as source, such as ``np.float64``."""
    return "np.bool_" if dtype is DType.bool else f"np.{dtype.value}"


def size_of(type: TensorType, labels: Sequence[int]) -> dict[int, Size]:
    """The size of each label of a tensor."""
    return dict(zip(labels, type.shape, strict=True))
