"""Checking by value: passes before and after, and derivatives against finite differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import ir
from .frontend import Expression, derivatives
from .ir import Graph, Node, OtusError, ShapeError, VerificationError
from .ir.operations import Input, ScatterAdd, Take
from .ir.specialise import free_symbols
from .passes import DEFAULT_PIPELINE, Checker, innermost_requests, parse_pipeline
from .runtime.settings import settings

_DEFAULT_SIZES = (3, 4, 5, 2)


def choose_sizes(nodes: Sequence[Node], dims: Mapping[str, int] | None = None) -> dict[str, int]:
    """A small size for every dim, those of ``dims`` first; different dims mostly differ."""
    names = sorted(free_symbols(nodes))
    chosen = {name: _DEFAULT_SIZES[k % len(_DEFAULT_SIZES)] for k, name in enumerate(names)}
    return {**chosen, **(dims or {})}


def random_inputs(nodes: Sequence[Node], sizes: Mapping[str, int], seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """Random data for every input, with the facts that its type states."""
    from .runtime.random_data import random_array

    generator = np.random.default_rng(seed)
    found = {}
    for node in ir.inputs_of(nodes):
        assert isinstance(node.op, Input)
        found[node.op.label] = random_array(node.type, sizes, generator)
    for label, extent in _index_extents(nodes, sizes).items():
        found[label] = found[label] % max(extent, 1)
    return found


def _index_extents(nodes: Sequence[Node], sizes: Mapping[str, int]) -> dict[str, int]:
    """For each input that indexes an axis, the smallest size of such an axis."""
    extents: dict[str, int] = {}
    for node in ir.topological(nodes):
        if isinstance(node.op, (Take, ScatterAdd)) and isinstance(node.operands[1].op, Input):
            label = node.operands[1].op.label
            extent = ir.dims.evaluate(node.operands[0].type.shape[node.op.axis], sizes)
            extents[label] = min(extent, extents.get(label, extent))
    return extents


def value_checker(enabled: bool | None = None) -> Checker | None:
    """A checker that evaluates a graph before and after a pass; None unless ``OTUS_CHECK=1``."""
    return compare_values if (settings().check if enabled is None else enabled) else None


def compare_values(name: str, before: Graph, after: Graph) -> None:
    """Raise ``VerificationError`` naming the pass where a value changed on random data.

    Graphs that still hold derivative requests have no value, and are not compared.
    """
    from .runtime.reference import evaluate

    if innermost_requests(before):
        return
    sizes = choose_sizes([*before.outputs, *after.outputs])
    data = random_inputs(before.outputs, sizes)
    old = evaluate(before.outputs, data, sizes)
    new = evaluate(after.outputs, data, sizes)
    for label, x, y in zip(before.names, old, new, strict=True):
        error = relative_error(y, x)
        tolerance = 1e-8 if x.dtype.itemsize >= 8 or x.dtype.kind not in "fc" else 1e-3
        if not error <= tolerance:
            raise VerificationError(f"pass {name} changed output {label}: relative error {error:.3g} on random data")


def relative_error(value: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    """The largest difference over the largest magnitude; NaN agrees with NaN, infinities with themselves."""
    if value.shape != expected.shape:
        return float("inf")
    with np.errstate(all="ignore"):
        same = (value == expected) | ((value != value) & (expected != expected))
        difference = np.where(same, 0.0, np.abs(np.asarray(value, complex) - np.asarray(expected, complex)))
    finite = np.abs(expected[np.isfinite(expected)]) if expected.dtype.kind in "fc" else np.abs(expected)
    scale = float(max(finite.max(initial=0.0), 1e-30))
    return float(np.max(difference, initial=0.0)) / max(scale, 1e-300)


@dataclass(frozen=True)
class Comparison:
    """One derivative against its finite difference."""

    name: str
    error: float
    uncertainty: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance, allowing for that of the difference itself."""
        return bool(self.error <= self.tolerance + self.uncertainty)


@dataclass(frozen=True)
class CheckReport:
    """What :func:`check` found."""

    comparisons: tuple[Comparison, ...]
    sizes: Mapping[str, int]
    seed: int

    @property
    def passed(self) -> bool:
        """Whether every comparison passed."""
        return all(each.passed for each in self.comparisons)

    @property
    def worst(self) -> Comparison:
        """The comparison with the largest error."""
        return max(self.comparisons, key=lambda each: each.error)

    def __str__(self) -> str:
        lines = [
            f"{'ok  ' if each.passed else 'FAIL'} {each.name}: relative error {each.error:.2e} "
            f"(tolerance {each.tolerance:.0e}, difference good to {each.uncertainty:.0e})"
            for each in self.comparisons
        ]
        return "\n".join([*lines, f"worst error {self.worst.error:.2e}"])


def check(
    expr: Expression,
    wrt: Expression | Sequence[Expression] | None = None,
    dims: Mapping[str, int] | None = None,
    seed: int = 0,
    tolerance: float = 1e-6,
) -> CheckReport:
    """Compare derivatives with finite differences on random data, and optimised with reference values.

    ``expr`` is differentiated with respect to ``wrt`` (all floating inputs by default); a tensor is
    contracted with fixed random weights first.  Facts such as symmetry hold on the data but not
    along the differences.  Returns a report with every error; raises ``OtusError`` where there is
    nothing to check.

    >>> import otus
    >>> x = otus.tensor("x", (3,))
    >>> otus.check(otus.exp(x).sum(), wrt=x).passed
    True
    """
    from .runtime.reference import evaluate

    points = _points(expr, wrt)
    sizes = choose_sizes([expr.node], dims)
    data = random_inputs([expr.node, *(x.node for x in points)], sizes, seed)
    loss = _scalar(expr, seed, sizes)
    gradients = derivatives.grad(loss, points)
    graph = Graph.of([loss.node, *(g.node for g in gradients)])
    optimised = parse_pipeline(DEFAULT_PIPELINE).run(graph, sizes)[0]
    expanded = parse_pipeline("expand").run(graph, sizes)[0]
    values = evaluate(optimised.outputs, data, sizes)
    plain = evaluate(expanded.outputs, data, sizes)
    comparisons = [Comparison("optimised against reference", max(map(relative_error, values, plain)), 0.0, 1e-10)]
    for x, gradient in zip(points, values[1:], strict=True):
        comparisons.append(_compare(expanded.outputs[0], x, gradient, data, sizes, tolerance))
    return CheckReport(tuple(comparisons), sizes, seed)


def _points(expr: Expression, wrt: Expression | Sequence[Expression] | None) -> list[Expression]:
    if wrt is None:
        inputs = [Expression.of(node) for node in ir.inputs_of([expr.node])]
        points = [x for x in inputs if x.dtype.kind == "float"]
    else:
        points = [wrt] if isinstance(wrt, Expression) else list(wrt)
    for x in points:
        if not isinstance(x.node.op, Input) or x.dtype.kind != "float":
            raise OtusError(f"{x!r} cannot be perturbed; check takes real floating input tensors")
    if not points:
        raise OtusError(f"{expr!r} depends on no floating input, so there is no derivative to check")
    return points


def _scalar(expr: Expression, seed: int, sizes: Mapping[str, int]) -> Expression:
    if not expr.shape:
        return expr
    shape = tuple(ir.dims.evaluate(size, sizes) for size in expr.shape)
    new = ir.specialise([expr.node], sizes)[expr.node]
    if new.type.shape != shape:
        raise ShapeError(f"{expr!r} does not take sizes {dict(sizes)}")
    weights = np.random.default_rng([seed, 1]).standard_normal(shape)
    return (Expression.of(expr.node) * Expression.of(ir.build.constant(weights))).sum()


def _compare(
    loss: Node,
    x: Expression,
    gradient: npt.NDArray[Any],
    data: Mapping[str, npt.NDArray[Any]],
    sizes: Mapping[str, int],
    tolerance: float,
) -> Comparison:
    from .runtime.differences import numerical_gradient
    from .runtime.reference import evaluate

    assert isinstance(x.node.op, Input)
    label = x.node.op.label

    def value(array: npt.NDArray[Any]) -> Any:
        return evaluate([loss], {**data, label: array.astype(data[label].dtype)}, sizes)[0]

    estimate = numerical_gradient(value, data[label])
    scale = max(float(np.max(np.abs(estimate.value), initial=0.0)), 1e-30)
    uncertainty = float(np.max(estimate.error, initial=0.0)) / scale
    return Comparison(
        f"gradient with respect to {label}", relative_error(gradient, estimate.value), uncertainty, tolerance
    )
