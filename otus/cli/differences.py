"""Derivative requests of a program against finite differences of what they differentiate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checking import Comparison, relative_error
from ..ir import Graph, Node, build, make, substitute, topological
from ..ir.operations import Derivative
from ..passes import DEFAULT_PIPELINE, parse_pipeline
from ..runtime.differences import Estimate, directional_derivative, numerical_gradient, numerical_jacobian
from ..runtime.reference import evaluate

Array = npt.NDArray[Any]
Data = Mapping[str, Array]
_FULL = 200  # elements of a point up to which every one of them is moved
_DIRECTIONS = 3  # random directions for larger points
_POINT = "\0point"


def requests_of(outputs: Sequence[Node]) -> list[Node]:
    """The derivative requests that ``outputs`` need, inner ones first."""
    return [node for node in topological(outputs) if isinstance(node.op, Derivative)]


def compare_request(
    request: Node, name: str, data: Data, sizes: Mapping[str, int], seed: int, tolerance: float
) -> Comparison:
    """The value of one request, optimised, against finite differences of its first operand."""
    value = _evaluate(request, data, sizes, DEFAULT_PIPELINE)
    view = _View(request, data, sizes, np.random.default_rng([seed, 2]))
    estimate, mine = view.estimate(value)
    scale = max(float(np.max(np.abs(estimate.value), initial=0.0)), 1e-30)
    uncertainty = float(np.max(estimate.error, initial=0.0)) / scale
    single = request.type.dtype.value in ("float32", "complex64", "float16")
    return Comparison(
        f"{name}: against finite differences",
        relative_error(mine, estimate.value),
        uncertainty,
        max(tolerance, 1e-3) if single else tolerance,
    )


def _evaluate(node: Node, data: Data, sizes: Mapping[str, int], pipeline: str = "expand") -> Array:
    graph = parse_pipeline(pipeline).run(Graph.of([node]), sizes)[0]
    return evaluate(graph.outputs, data, sizes)[0]


class _View:
    """One request seen as a function of arrays: what is differentiated, at which points, along what."""

    def __init__(self, request: Node, data: Data, sizes: Mapping[str, int], random: np.random.Generator) -> None:
        assert isinstance(request.op, Derivative)
        self.op, self.data, self.sizes, self.random = request.op, data, sizes, random
        count = request.op.points
        self.y, self.points = request.operands[0], request.operands[1 : 1 + count]
        self.target = self.points[request.op.target]
        self.vectors = [_evaluate(x, data, sizes) for x in request.operands[1 + count :]]

    def estimate(self, value: Array) -> tuple[Estimate, Array]:
        """Finite differences, and what of ``value`` they should equal."""
        kind = self.op.kind
        if kind == "jvp":
            return self._along(self._function(self.y, self.points), self.points, self.vectors), value
        if kind == "hvp":
            gradient = make(Derivative("grad", 1, 0), self.y, self.target)
            return self._along(self._function(gradient, self.points), self.points, self.vectors), value
        function = self._function(self.y, [self.target])
        if kind in ("vjp", "jtjvp"):
            weights = self._pushed() if kind == "jtjvp" else self.vectors[0]
            return self._explicit(lambda x: np.asarray(np.sum(function([x]) * weights)), value)
        return self._explicit(lambda x: function([x]), value)

    def _pushed(self) -> Array:
        return self._along(self._function(self.y, self.points), self.points, self.vectors).value

    def _function(self, y: Node, points: Sequence[Node]) -> Callable[[Sequence[Array]], Array]:
        """``y`` as a function of its points, which may be any nodes that it is computed from."""
        slots = {x: build.input_node(f"{_POINT}{k}", x.type.plain()) for k, x in enumerate(points)}
        moved = substitute([y], slots)[0]
        graph = parse_pipeline("expand").run(Graph.of([moved]), self.sizes)[0]

        def value(arrays: Sequence[Array]) -> Array:
            given = {
                f"{_POINT}{k}": np.asarray(array).astype(x.type.dtype.value, copy=False)
                for k, (x, array) in enumerate(zip(points, arrays, strict=True))
            }
            return evaluate(graph.outputs, {**self.data, **given}, self.sizes)[0]

        return value

    def _along(
        self, function: Callable[[Sequence[Array]], Array], points: Sequence[Node], vectors: Sequence[Array]
    ) -> Estimate:
        """The derivative along ``vectors`` at all points at once, which differ in shape: by one number t."""
        start = [_evaluate(x, self.data, self.sizes) for x in points]

        def moved(t: Array) -> Array:
            return function([x + t[0] * v for x, v in zip(start, vectors, strict=True)])

        return directional_derivative(moved, np.zeros(1), np.ones(1), step=_step(start, vectors))

    def _explicit(self, function: Callable[[Array], Array], value: Array) -> tuple[Estimate, Array]:
        """All of a gradient or Jacobian of a small point; its products with random directions for a large one."""
        point = _evaluate(self.target, self.data, self.sizes)
        if point.size <= _FULL:
            scalar = np.ndim(function(point)) == 0
            return (numerical_gradient if scalar else numerical_jacobian)(function, point), value
        estimates, mine = [], []
        for _ in range(_DIRECTIONS):
            direction = self.random.standard_normal(point.shape).astype(point.dtype)
            estimates.append(directional_derivative(function, point, direction))
            mine.append(np.real_if_close(np.tensordot(value, direction, axes=point.ndim)))
        stacked = Estimate(np.stack([e.value for e in estimates]), np.stack([e.error for e in estimates]))
        return stacked, np.stack(mine)


def _step(points: Sequence[Array], vectors: Sequence[Array]) -> float:
    """A first step of t that moves no element of a point by more than a sixteenth of their size."""
    size = max((float(np.max(np.abs(x), initial=0.0)) for x in points), default=1.0) or 1.0
    speed = max((float(np.max(np.abs(v), initial=0.0)) for v in vectors), default=1.0) or 1.0
    return min(size, 1.0) / speed / 16
