"""Translation validation: a pass is right where values are the same before and after it.

``OTUS_CHECK=1`` has every application of a pass judged by :func:`validate`: each firing of a rule by
itself, within the status that the rule declares, and then the outputs.  (Pnueli, Siegel and Singerman,
Translation validation, TACAS 1998; here on random data, so a proof of nothing but a hunter of much.)
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from ..ir import Graph, Node, VerificationError, inputs_of, topological
from ..ir.dims import evaluate as evaluate_size
from ..ir.operations import Einsum, Input
from ..passes import Pass
from ..passes.expand import Expand, innermost_requests
from ..passes.manager import Application
from ..passes.rewrite import Firing, Status
from .agreement import EVALUATION_ERRORS, Disagreement, Sample
from .local_text import local_text
from .random_data import STYLES, choose_sizes, random_inputs

_ATTEMPTS = tuple((style, seed) for seed in range(3) for style in STYLES)
_LARGEST_WORK = 4 * 10**9


class CheckWarning(UserWarning):
    """Something that ``OTUS_CHECK=1`` could not check."""


def validate(application: Application) -> None:
    """Raise ``VerificationError`` naming pass, rule and node where a value changed.

    Derivative requests are expanded on both sides first; the pass that expands them is not judged,
    since a request has no value of its own (``otus.check`` compares derivatives with finite differences).
    """
    before, after = application.before, application.after
    if innermost_requests(before) and not innermost_requests(after):
        return
    _check_inputs(application)
    judged = _Judge(_expanded(before))
    for firing in application.firings:
        judged.judge_firing(application.step.name, firing)
    judged.judge_outputs(application.step, before, _expanded(after))


def _expanded(graph: Graph) -> Graph:
    return Expand().run(graph) if innermost_requests(graph) else graph


def _check_inputs(application: Application) -> None:
    known = {node.op.label for node in inputs_of(application.before.outputs) if isinstance(node.op, Input)}
    for node in inputs_of(application.after.outputs):
        if isinstance(node.op, Input) and node.op.label not in known:
            raise VerificationError(
                f"pass {application.step.name} made its outputs read tensor {node.op.label!r}, which they did not "
                f"read before; they read {', '.join(sorted(known)) or 'none'}"
            )


class _Judge:
    """Judges one application on samples of data that give its outputs finite values."""

    def __init__(self, before: Graph) -> None:
        self.before = before
        self.samples, self.unchecked = _draw(before)

    def judge_firing(self, step: str, firing: Firing) -> None:
        """Raise where the node that a rule returned differs from the one that it was given."""
        old, new = (_expanded(Graph.of([x])).outputs[0] for x in (firing.before, firing.after))
        exact = firing.rule.status is Status.EXACT
        found = _worst(self.samples, old, new, exact)
        if found is None:
            return
        rounding = exact and _worst([found.sample], old, new, False) is None
        raise VerificationError(
            f"pass {step}: rule {firing.rule.name} "
            + ("is declared exact but changes rounding" if rounding else "changed a value")
            + f"\n  rule: {firing.rule.description} ({firing.rule.status.value})\n"
            + _explanation(found, firing.before, firing.after)
        )

    def judge_outputs(self, step: Pass, before: Graph, after: Graph) -> None:
        """Raise where an output changed; warn where no data gave one a finite value."""
        for name, old, new in zip(self.before.names, self.before.outputs, after.outputs, strict=True):
            found = _worst(self.samples, old, new)
            if found is not None:
                raise VerificationError(f"pass {step.name} changed output {name}\n" + _located(step, before, found))
        if self.unchecked:
            warnings.warn(
                f"OTUS_CHECK: pass {step.name} is not checked by value: {self.unchecked}", CheckWarning, stacklevel=2
            )


def _draw(graph: Graph) -> tuple[list[Sample], str]:
    """Samples on which the outputs are finite, as few as will do; and what was never finite, and why."""
    nodes = graph.outputs
    inputs = inputs_of(nodes)
    open_outputs = dict(zip(graph.names, nodes, strict=True))
    samples: list[Sample] = []
    reason = "no element is finite on random data"
    for style, seed in _ATTEMPTS:
        sizes = choose_sizes(nodes, seed=seed)
        if (work := _reference_work(nodes, sizes)) > _LARGEST_WORK:
            return samples, f"the reference interpreter would take about {work:.1e} operations; leave sizes symbolic"
        try:
            data = random_inputs(nodes, sizes, seed, style)
            sample = Sample(inputs, data, sizes, f"{style} data of seed {seed}")
            values = {name: sample.value(node) for name, node in open_outputs.items()}
        except EVALUATION_ERRORS as error:
            reason = f"{type(error).__name__}: {error}"
            continue
        samples.append(sample)
        open_outputs = {name: node for name, node in open_outputs.items() if not np.all(np.isfinite(values[name]))}
        if not open_outputs:
            return samples, ""
    never = [
        name for name, node in open_outputs.items() if not any(np.any(np.isfinite(s.value(node))) for s in samples)
    ]
    return samples, f"output {', '.join(never)}: {reason}" if never else ""


def _reference_work(nodes: Sequence[Node], sizes: Mapping[str, int]) -> int:
    """About how many operations the reference interpreter takes: einsums go from the left, two operands at a time."""
    total = 0
    for node in topological(nodes):
        shape = [evaluate_size(size, sizes) for size in node.type.shape]
        total += math.prod(shape)
        if isinstance(node.op, Einsum):
            total += _einsum_work(node, sizes)
    return total


def _einsum_work(node: Node, sizes: Mapping[str, int]) -> int:
    assert isinstance(node.op, Einsum)
    extents: dict[int, int] = {}
    total, held = 0, set[int]()
    for position, (labels, operand) in enumerate(zip(node.op.inputs, node.operands, strict=True)):
        extents.update(zip(labels, (evaluate_size(size, sizes) for size in operand.type.shape), strict=True))
        later = {x for names in node.op.inputs[position + 1 :] for x in names} | set(node.op.output)
        held |= set(labels)
        total += math.prod(extents[x] for x in held)
        held &= later
    return total


def _worst(samples: Sequence[Sample], old: Node, new: Node, exact: bool = False) -> Disagreement | None:
    """The first disagreement on the samples that give ``old`` a value."""
    for sample in samples:
        try:
            sample.value(old)
        except EVALUATION_ERRORS:
            continue
        found = sample.disagreement(old, new, exact)
        if found is not None:
            return found
    return None


def _explanation(found: Disagreement, old: Node, new: Node) -> str:
    before, after = (text.rstrip().replace("\n", "\n    ") for text in local_text(old, new))
    return f"  before:\n    {before}\n  after:\n    {after}\n  {found}\n  {_reproduction(found.sample)}"


def _reproduction(sample: Sample) -> str:
    sizes = ", ".join(f"{name}={size}" for name, size in sorted(sample.sizes.items()))
    return f"on {sample.origin}" + (f" and sizes {sizes}" if sizes else "") + "; OTUS_CHECK=1 makes the same again"


def _located(step: Pass, graph: Graph, found: Disagreement) -> str:
    """The first node whose value the pass changes where it stands alone, operands before users."""
    for node in graph.nodes():
        alone = Graph.of([node])
        result, fired = step.run_counting(alone)
        if result.outputs == alone.outputs or (innermost_requests(alone) and not innermost_requests(result)):
            continue
        old, new = _expanded(alone).outputs[0], _expanded(result).outputs[0]
        local = _worst([found.sample], old, new)
        if local is not None:
            for operand in node.operands:
                fired = fired - step.run_counting(Graph.of([operand]))[1]
            names = ", ".join(fired)
            by = f"  at this node, where {names} fired:\n" if names else "  at this node:\n"
            return by + _explanation(local, node, result.outputs[0])
    return f"  at no node of its own; {found}\n  {_reproduction(found.sample)}"
