"""Which elementwise work and reductions may be done within the loop of a contraction.

Nothing changes in the graph.  Lowering marks the program's steps with it (:class:`KernelCall`), for emitters
whose kernels have loops of their own: they may put such a step into the loop, before the result is written or
while an operand is read.  The NumPy emitter has no use for it: its products are calls of BLAS.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...ir import Graph, Node
from ...ir.kernels import Contraction, Copy
from ...ir.operations import Einsum, LinearCombination, Map, Reduce
from ...ir.program import KernelCall
from .scalar_values import scalar_form

Readers = Mapping[Node, tuple[Node | None, ...]]


@dataclass(frozen=True)
class ContractionLoop:
    """A contraction and what only it feeds or only feeds it.

    ``prologues[k]`` is the map or sum that makes operand ``k``, or None.  ``epilogue`` is what is done to each
    element of the result: at most one elementwise node, then at most one reduction.
    """

    contraction: Node
    prologues: tuple[Node | None, ...]
    epilogue: tuple[Node, ...]


def contraction_loops(graph: Graph) -> list[ContractionLoop]:
    """Every contraction of the graph with its prologues and epilogue.

    A node may be a prologue and an epilogue, of two contractions; emitters choose.

    >>> from otus.ir import build, make_type
    >>> a = build.input_node("A", make_type(("i", "j")))
    >>> b = build.input_node("b", make_type(("j",)))
    >>> product = build.einsum([build.apply("exp", a), b], [(0, 1), (1,)], (0,))
    >>> (loop,) = contraction_loops(Graph.of([build.apply("tanh", product)]))
    >>> [node.op.name for node in loop.prologues if node], [node.op.name for node in loop.epilogue]
    (['map'], ['map'])
    """
    readers = readers_of(graph)
    return [
        ContractionLoop(node, prologues_of(node, readers), epilogue_of(node, readers))
        for node in graph.nodes()
        if is_contraction(node)
    ]


def marked_calls(calls: Sequence[KernelCall], graph: Graph) -> tuple[KernelCall, ...]:
    """The calls that compute ``graph``, those within a contraction's reach marked with its result.

    Views are not marked, nor is what comes after one: they are no work, and no loop.
    """
    computed = {call.node: call for call in calls if not isinstance(call.kernel, Copy) and not call.kernel.view}
    prologues: dict[Node, str] = {}
    epilogues: dict[Node, str] = {}
    for loop in contraction_loops(graph):
        contraction = computed.get(loop.contraction)
        if contraction is None or not isinstance(contraction.kernel, Contraction):
            continue
        (name,) = contraction.outputs
        prologues.update((node, name) for node in loop.prologues if node in computed)
        epilogues.update((node, name) for node in itertools.takewhile(computed.__contains__, loop.epilogue))
    return tuple(
        dataclasses.replace(call, prologue_of=prologues.get(call.node), epilogue_of=epilogues.get(call.node))
        if computed.get(call.node) is call and (call.node in prologues or call.node in epilogues)
        else call
        for call in calls
    )


def readers_of(graph: Graph) -> Readers:
    """What reads each node, once for each place; None for the caller, who reads outputs."""
    found: dict[Node, list[Node | None]] = {node: [] for node in graph.nodes()}
    for node in found:
        for operand in node.operands:
            found[operand].append(node)
    for output in graph.outputs:
        found[output].append(None)
    return {node: tuple(readers) for node, readers in found.items()}


def is_contraction(node: Node) -> bool:
    """Whether a node multiplies two tensors and sums an index."""
    if not isinstance(node.op, Einsum) or len(node.operands) != 2:
        return False
    return any(label not in node.op.output for labels in node.op.inputs for label in labels)


def prologues_of(contraction: Node, readers: Readers) -> tuple[Node | None, ...]:
    """For each operand, the map or linear combination that makes it for this contraction alone, or None."""
    return tuple(
        x if isinstance(x.op, (Map, LinearCombination)) and readers[x] == (contraction,) else None
        for x in contraction.operands
    )


def epilogue_of(contraction: Node, readers: Readers) -> tuple[Node, ...]:
    """The elementwise node, and the reduction, that alone read the result of a contraction.

    The elementwise node has the contraction's index space: neither more elements, nor the result under two
    orders of its axes.  Its other operands cannot depend on the contraction.
    """
    chain: list[Node] = []
    last = contraction
    reader = _only_reader(last, readers)
    if reader is not None and _keeps_space(last, reader):
        chain.append(reader)
        last, reader = reader, _only_reader(reader, readers)
    if reader is not None and _is_reduction(reader):
        chain.append(reader)
    return tuple(chain)


def _only_reader(node: Node, readers: Readers) -> Node | None:
    return readers[node][0] if len(readers[node]) == 1 else None


def _keeps_space(node: Node, reader: Node) -> bool:
    form = scalar_form(reader)
    if form is None:
        return False
    places = [labels for x, labels in form[1] if x is node]
    missing = set(range(reader.ndim)) - set(places[0])
    return all(reader.type.shape[axis] == 1 for axis in missing)


def _is_reduction(node: Node) -> bool:
    """A sum, maximum, product or the like of one tensor over some of its axes."""
    if isinstance(node.op, Reduce):
        return True
    if not isinstance(node.op, Einsum) or len(node.operands) != 1:
        return False
    (labels,) = node.op.inputs
    return len(set(labels)) == len(labels) > len(node.op.output)
