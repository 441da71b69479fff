"""Checking by value: passes before and after, and derivatives against finite differences."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import ir
from .frontend import Expression, derivatives
from .ir import Graph, Node, OtusError
from .ir.operations import Input
from .runtime.random_data import choose_sizes, random_inputs
from .runtime.settings import settings

if TYPE_CHECKING:
    from .passes import Checker
    from .passes.manager import Application

Array = npt.NDArray[Any]


def value_checker(enabled: bool | None = None) -> Checker | None:
    """A checker that evaluates a graph before and after a pass; None unless ``OTUS_CHECK=1``."""
    return compare_values if (settings().check if enabled is None else enabled) else None


def compare_values(application: Application) -> None:
    """Raise ``VerificationError`` naming the pass, the rule and the node where a value changed on random data."""
    from .runtime.validation import validate

    validate(application)


def relative_error(value: Array, expected: Array) -> float:
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
    """Check values and derivatives of an expression on random data, each by means it shares nothing with.

    ``expr`` is differentiated with respect to ``wrt`` (all floating inputs by default); a tensor is
    contracted with fixed random weights first.  Compared are

    - the optimised form with the reference interpreter,
    - the gradient with Richardson-extrapolated finite differences, and so the Hessian-vector product
      with differences of the gradient,
    - ``⟨u, Jv⟩`` with ``⟨Jᵀu, v⟩``, and ``⟨w, Hv⟩`` with ``⟨v, Hw⟩``.

    Dims without a size in ``dims`` get a small one.  Facts such as symmetry hold on the data but not along
    the differences.  Returns a report with every error; raises ``OtusError`` where there is nothing to
    check.

    >>> import otus
    >>> x = otus.tensor("x", ("n",))
    >>> otus.check(otus.exp(x).sum(), wrt=x).passed
    True
    """
    points = _points(expr, wrt)
    sizes = choose_sizes([expr.node], dims)
    data = random_inputs([expr.node, *(x.node for x in points)], sizes, seed)
    sized = ir.specialise([expr.node, *(x.node for x in points)], sizes)
    return _Check(
        Expression.of(sized[expr.node]), [Expression.of(sized[x.node]) for x in points], data, seed, tolerance
    ).report(sizes)


class _Check:
    """One check at known sizes."""

    def __init__(
        self, expr: Expression, points: list[Expression], data: Mapping[str, Array], seed: int, tolerance: float
    ) -> None:
        self.expr, self.points, self.data, self.seed = expr, points, data, seed
        single = any(x.dtype.bits <= 32 for x in points)
        self.tolerance = max(tolerance, 1e-2) if single else tolerance
        self.exact = 1e-4 if single else 1e-9
        generator = np.random.default_rng([seed, 1])
        self.weights = self._constant(generator, expr)
        self.first = [self._constant(generator, x) for x in points]
        self.second = [self._constant(generator, x) for x in points]
        self.loss = (expr * self.weights).sum()

    def _constant(self, generator: np.random.Generator, like: Expression) -> Expression:
        values = np.asarray(generator.standard_normal([int(str(size)) for size in like.shape]))
        return Expression.of(ir.build.cast(ir.build.constant(values), like.dtype))

    def report(self, sizes: Mapping[str, int]) -> CheckReport:
        """Everything that is compared."""
        from .passes import DEFAULT_PIPELINE

        gradients = derivatives.grad(self.loss, self.points)
        products = derivatives.hvp(self.loss, self.points, self.first)
        wanted = [self.loss, *gradients, *products]
        values, plain = self._values(wanted, DEFAULT_PIPELINE), self._values(wanted, "expand")
        worst = max(map(relative_error, values, plain))
        found = [Comparison("optimised against reference", worst, 0.0, self.exact)]
        count = len(self.points)
        for x, gradient in zip(self.points, values[1 : 1 + count], strict=True):
            found.append(self._gradient(x, gradient))
        found += [self._hessian_product(gradients, values[1 + count :]), *self._identities()]
        return CheckReport(tuple(found), sizes, self.seed)

    def _values(self, outputs: Sequence[Expression], pipeline: str) -> list[Array]:
        from .passes import parse_pipeline
        from .runtime.reference import evaluate

        graph = parse_pipeline(pipeline).run(Graph.of([x.node for x in outputs]))[0]
        return evaluate(graph.outputs, self.data)

    def _function(self, outputs: Sequence[Expression]) -> Callable[[Mapping[str, Array]], list[Array]]:
        """The outputs, expanded once, as a function of changed inputs."""
        from .passes import parse_pipeline
        from .runtime.reference import evaluate

        graph = parse_pipeline("expand").run(Graph.of([x.node for x in outputs]))[0]
        return lambda changed: evaluate(graph.outputs, {**self.data, **changed})

    def _gradient(self, x: Expression, gradient: Array) -> Comparison:
        from .runtime.differences import numerical_gradient

        label, function = _label(x), self._function([self.loss])
        dtype = self.data[label].dtype
        estimate = numerical_gradient(lambda array: function({label: array.astype(dtype)})[0], self.data[label])
        return self._comparison(f"gradient with respect to {label}", gradient, estimate.value, estimate.error)

    def _hessian_product(self, gradients: Sequence[Expression], products: Sequence[Array]) -> Comparison:
        from .runtime.differences import directional_derivative

        function = self._function(gradients)
        directions = [x.node for x in self.first]
        steps = dict(zip(map(_label, self.points), self._values_of(directions), strict=True))

        def along(t: Array) -> Array:
            moved = {name: (self.data[name] + t[0] * v).astype(v.dtype) for name, v in steps.items()}
            return np.concatenate([np.ravel(value) for value in function(moved)])

        estimate = directional_derivative(along, np.zeros(1), np.ones(1), step=2.0**-6)
        joined = np.concatenate([np.ravel(product) for product in products])
        return self._comparison("Hessian-vector product", joined, estimate.value, estimate.error)

    def _values_of(self, nodes: Sequence[Node]) -> list[Array]:
        from .runtime.reference import evaluate

        return evaluate(nodes, self.data)

    def _identities(self) -> list[Comparison]:
        """The products are adjoint, and the Hessian symmetric."""
        from .passes import DEFAULT_PIPELINE

        pushed = derivatives.jvp(self.expr, self.points, self.first)
        pulled = derivatives.vjp(self.expr, self.points, self.weights)
        first = derivatives.hvp(self.loss, self.points, self.first)
        second = derivatives.hvp(self.loss, self.points, self.second)
        sides = [
            (self.weights * pushed).sum(), _inner(pulled, self.first),
            _inner(self.second, first), _inner(self.first, second),
        ]  # fmt: skip
        a, b, c, d = self._values(sides, DEFAULT_PIPELINE)
        return [
            Comparison("⟨u, Jv⟩ against ⟨Jᵀu, v⟩", relative_error(a, b), 0.0, self.exact),
            Comparison("symmetry of the Hessian", relative_error(c, d), 0.0, self.exact),
        ]

    def _comparison(self, name: str, value: Array, expected: Array, error: Array) -> Comparison:
        scale = max(float(np.max(np.abs(expected), initial=0.0)), 1e-30)
        uncertainty = float(np.max(error, initial=0.0)) / scale
        return Comparison(name, relative_error(value, expected), uncertainty, self.tolerance)


def _inner(first: Sequence[Expression], second: Sequence[Expression]) -> Expression:
    terms = [(x * y).sum() for x, y in zip(first, second, strict=True)]
    return functools.reduce(operator.add, terms)


def _label(x: Expression) -> str:
    assert isinstance(x.node.op, Input)
    return x.node.op.label


def _points(expr: Expression, wrt: Expression | Sequence[Expression] | None) -> list[Expression]:
    if wrt is None:
        inputs = [Expression.of(node) for node in ir.inputs_of([expr.node])]
        points = [x for x in inputs if x.dtype.kind == "float"]
    else:
        points = [wrt] if isinstance(wrt, Expression) else list(wrt)
    for x in points:
        if not isinstance(x, Expression) or not isinstance(x.node.op, Input) or x.dtype.kind != "float":
            raise OtusError(f"{x!r} cannot be perturbed; check takes real floating input tensors")
    if not points:
        raise OtusError(f"{expr!r} depends on no floating input, so there is no derivative to check")
    return points
