"""Random programs: drawn once as plain data, run over Otus, NumPy and JAX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from function_cases import NUMPY
from random_programs.operations import GROUPS, TABLE, Drawing, Shape

Statement = tuple[str, tuple[int, ...], dict[str, Any]]

_LARGEST = 200  # elements of a value
_BOUND = 50.0  # magnitude of an element


@dataclass(frozen=True)
class Program:
    """Inputs' shapes, statements over values numbered from the inputs on, and the seed of the data.

    The printed form is Python that makes the same program.
    """

    inputs: tuple[Shape, ...]
    statements: tuple[Statement, ...]
    seed: int

    @property
    def data(self) -> dict[str, np.ndarray]:
        """Normal inputs, away from the coincidences of round numbers."""
        rng = np.random.default_rng(self.seed)
        return {f"x{k}": rng.standard_normal(shape) for k, shape in enumerate(self.inputs)}

    def run(self, xp: Any, inputs: list[Any]) -> list[Any]:
        """Every value, over a namespace."""
        values = list(inputs)
        for name, operands, parameters in self.statements:
            values.append(TABLE[name].apply(xp, *(values[k] for k in operands), **parameters))
        return values

    def results(self, xp: Any, inputs: list[Any]) -> list[Any]:
        """The values that nothing reads."""
        values = self.run(xp, inputs)
        read = {k for _, operands, _ in self.statements for k in operands}
        return [x for k, x in enumerate(values) if k not in read and k >= len(inputs)]

    def loss(self, xp: Any, inputs: list[Any]) -> Any:
        """A scalar that depends on every element of every result, each in its own way."""
        total = 0.0
        for x in self.results(xp, inputs):
            count = int(np.prod(x.shape))
            weights = np.cos(np.arange(1.0, count + 1)).reshape(x.shape)
            total = total + (x * weights).sum()
        return total


def _input_shape(rng: np.random.Generator, sizes: tuple[int, ...]) -> Shape:
    """Of rank 0 to 3; a square matrix, perhaps batched, one time in three."""
    if rng.random() < 1 / 3:
        size = int(rng.choice(sizes))
        return (2, size, size) if rng.random() < 0.2 else (size, size)
    return tuple(int(size) for size in rng.choice(sizes, int(rng.integers(0, 4))))


def random_program(seed: int, length: int | None = None, sizes: tuple[int, ...] = (1, 2, 3, 3, 5)) -> Program:
    """The program of this seed.  Statements whose value is large, empty of elements or not finite are redrawn."""
    rng = np.random.default_rng([seed, 2005])
    inputs = tuple(_input_shape(rng, sizes) for _ in range(int(rng.integers(1, 4))))
    program = Program(inputs, (), seed)
    values = list(program.data.values())
    wanted = length or int(rng.integers(2, 9))
    while len(program.statements) < wanted:
        draw = Drawing(rng, [x.shape for x in values])
        name = draw.one(GROUPS[draw.one(list(GROUPS))])
        choice = TABLE[name].choose(draw)
        if choice is None:
            continue
        with np.errstate(all="ignore"):
            value = np.asarray(TABLE[name].apply(NUMPY, *(values[k] for k in choice[0]), **choice[1]))
        if 0 < value.size <= _LARGEST and value.ndim <= 5 and np.all(np.abs(value) < _BOUND):
            values.append(value)
            program = Program(inputs, (*program.statements, (name, *choice)), seed)
    return program
