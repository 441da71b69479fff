"""From the optimised graph to a program: kernels chosen, buffers named, dims bound."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from ..ir import Graph, Node, Size, VerificationError, make
from ..ir import operations as ops
from ..ir.cost import loop_family
from ..ir.kernels import (
    BlockLoop,
    Copy,
    DiagonalEmbedding,
    DiagonalUpdate,
    Direct,
    Factorisation,
    Kernel,
    Rearrangement,
)
from ..ir.printer import line, node_names
from ..ir.program import Buffer, DimBinding, KernelCall, Program, verify_program
from ..ir.scalar import Argument
from ..ir.traverse import input_label
from .algebra.diagonal_rules import diagonal_terms
from .contract import ContractionOrder
from .contraction.einsum_parts import is_embedding, is_pairwise, tied_labels
from .contraction.layout import layouts, plan_contraction
from .contraction.memory_order import Operand, elementwise_memory
from .dim_bindings import bind_dims
from .fusion.epilogues import marked_calls
from .kernel_operands import added_diagonals, kernel_operands, needed_nodes
from .planned_sizes import planned_size

_FACTORISATIONS = (ops.HermitianEigen, ops.QR, ops.SVD, ops.SignedLogDeterminant)
_RESULTS = {"eigenvalues": 0, "eigenvectors": 1, "q": 0, "r": 1, "u": 0, "s": 1, "vh": 2, "sign": 0, "logabsdet": 1}


def lower(
    graph: Graph,
    known_inputs: Sequence[Node] = (),
    sizes: Mapping[str, int] | None = None,
    name: str = "kernel",
) -> Program:
    """The program that computes ``graph``.

    ``known_inputs`` are inputs that callers have beside those the graph reads, in the order of
    parameters; one is read for its shape where a dim needs it.  ``sizes`` are sizes to plan for.

    Raises ``NamingError`` where no input determines a dim, ``VerificationError`` for a derivative
    that is not expanded.
    """
    planned = dict(sizes or {})
    graph = pairwise(graph, planned)
    program = _Lowering(graph, planned).program(name, known_inputs)
    verify_program(program)
    return program


def lower_unbound(
    graph: Graph, sizes: Mapping[str, int], layouts: Mapping[str, tuple[int, ...]] | None = None
) -> Program:
    """The program for ``graph`` where its dims are known from outside, such as the body of a loop.

    ``layouts`` gives the order of the axes in memory of inputs that are not row-major.
    """
    program = _Lowering(pairwise(graph, sizes), sizes).unbound(layouts or {})
    verify_program(program)
    return program


def pairwise(graph: Graph, sizes: Mapping[str, int]) -> Graph:
    """The graph with products of two at most; one that was ordered before stays as it is."""
    if all(is_pairwise(x.op, x.operands) for x in graph.nodes() if isinstance(x.op, ops.Einsum)):
        return graph
    return ContractionOrder(sizes=sizes).run(graph)


def lower_body(
    op: ops.Blockwise, results: Sequence[int], layouts: Mapping[str, tuple[int, ...]], sizes: Mapping[str, int]
) -> Program:
    """The program for the values ``results`` of a loop's body."""
    graph = Graph.of([op.body[k] for k in results], [f"part{k}" for k in range(len(results))])
    return lower_unbound(graph, {**sizes, op.symbol: op.block}, layouts)


class _Lowering:
    """One lowering: the calls made so far, and the buffer of each node."""

    def __init__(self, graph: Graph, sizes: Mapping[str, int]) -> None:
        self.graph, self.sizes = graph, sizes
        self.buffers: dict[str, Buffer] = {}
        self.calls: list[KernelCall] = []
        self.constants: list[tuple[str, Node]] = []
        self.of: dict[Node, str] = {}
        self.results: dict[Node, str] = {}
        self.taken: set[str] = set()
        self.numbered = 0
        order = graph.nodes()
        needed = needed_nodes(graph)
        self.order = [node for node in order if node in needed]
        self.lines = node_names(order, graph.labels)
        self.output_names = dict(zip(reversed(graph.outputs), reversed(graph.names), strict=True))
        self.claimed: set[str] = set()
        self.spread: set[str] = set()
        self.families = _families(self.order)
        read = [x for node in self.order for x in kernel_operands(node)]
        self.reads = Counter([*read, *graph.outputs])
        self.readers = _readers(self.order)

    def program(self, name: str, known_inputs: Sequence[Node]) -> Program:
        """Lower every node, then the outputs."""
        inputs = [node for node in self.order if isinstance(node.op, ops.Input)]
        parameters = list(dict.fromkeys([*known_inputs, *inputs]))
        self.taken.update(input_label(node) for node in parameters)
        dims = bind_dims(self.order, [x for x in parameters if x in inputs], parameters)
        shapes = {binding.input for binding in dims}
        for node in parameters:
            if node in inputs or input_label(node) in shapes:
                self._input(node, "input" if node in inputs else "shape")
        return self._finished(name, dims)

    def _finished(self, name: str, dims: tuple[DimBinding, ...]) -> Program:
        used = tuple(self.buffers)
        for node in self.order:
            if node not in self.of:
                self._lower(node)
        named = zip(self.graph.outputs, self.graph.names, strict=True)
        outputs = tuple(self._output(node, label) for node, label in named)
        calls = marked_calls(self.calls, self.graph)
        return Program(
            name, used, outputs, tuple(self.buffers.values()), tuple(self.constants), calls, dims,
            self.graph.names,
        )  # fmt: skip

    def unbound(self, layouts: Mapping[str, tuple[int, ...]]) -> Program:
        """The program whose dims are known from outside, with inputs laid out in memory as given."""
        inputs = [node for node in self.order if isinstance(node.op, ops.Input)]
        self.taken.update(map(input_label, inputs))
        for node in inputs:
            self._input(node, "input", layouts.get(input_label(node)))
        return self._finished("body", ())

    # --- buffers -------------------------------------------------------------------------------

    def _input(self, node: Node, role: str, layout: tuple[int, ...] | None = None) -> None:
        label = input_label(node)
        self.buffers[label] = Buffer(label, node.type, role, layout or tuple(range(node.ndim)))
        self.of[node] = label

    def _fresh(self, wanted: str | None) -> str:
        name = wanted
        while name is None or name in self.taken:
            if wanted is None:
                name = f"t{self.numbered}"
                self.numbered += 1
            else:
                suffix = 2
                while f"{wanted}_{suffix}" in self.taken:
                    suffix += 1
                name = f"{wanted}_{suffix}"
        self.taken.add(name)
        return name

    def _wanted(self, node: Node) -> str | None:
        """The name that a caller gave to the value; none for an inner one that is called like an output."""
        label = self.graph.labels.get(node)
        return self.output_names.get(node) or (None if label in self.graph.names else label)

    def _define(self, node: Node, kernel: Kernel, inputs: Sequence[str], layout: Sequence[int] | None = None) -> None:
        """Add the call that makes ``node``; a result that may not share memory is copied."""
        base = inputs[0] if kernel.view else None
        shares = base is not None and self._shares(base, kernel)
        claims = node in self.output_names and not shares
        name = self._fresh(None if shares and node in self.output_names else self._wanted(node))
        self._buffer(name, node, "output" if claims else "temporary", layout, base)
        self.calls.append(KernelCall(kernel, tuple(inputs), (name,), node, line(node, self.lines)))
        self.of[node] = name
        if kernel.view and isinstance(node.op, ops.Broadcast):
            self.spread.add(name)
        if claims:
            self.results[node] = name
            self.claimed.add(self._owner(name))

    def _buffer(self, name: str, node: Node, role: str, layout: Sequence[int] | None, base: str | None = None) -> None:
        order = tuple(range(node.ndim)) if layout is None else tuple(layout)
        self.buffers[name] = Buffer(name, node.type, role, order, base)

    def _owner(self, name: str) -> str:
        while (base := self.buffers[name].base) is not None:
            name = base
        return name

    def _shares(self, base: str, kernel: Kernel) -> bool:
        """Whether a view of ``base`` may not be handed out: the memory is not the output's own."""
        owner = self._owner(base)
        chain = [base]
        while (below := self.buffers[chain[-1]].base) is not None:
            chain.append(below)
        spread = any(name in self.spread for name in chain)
        broadcast = isinstance(kernel, Direct) and isinstance(kernel.operation, ops.Broadcast)
        return self.buffers[owner].role != "temporary" or owner in self.claimed or spread or broadcast

    def _output(self, node: Node, label: str) -> str:
        """The buffer of one output; a copy where its node has no buffer of its own left."""
        if node in self.results:
            return self.results.pop(node)
        name = self._fresh(label)
        source = self.of[node]
        self._buffer(name, node, "output", self.buffers[source].layout)
        self.calls.append(KernelCall(Copy(), (source,), (name,), node, line(node, self.lines)))
        return name

    # --- operations ----------------------------------------------------------------------------

    def _lower(self, node: Node) -> None:
        match node.op:
            case ops.Derivative(kind=kind):
                raise VerificationError(f"a {kind} is still in the graph; run the pass 'expand' before lowering")
            case ops.Constant():
                name = self._fresh(self.graph.labels.get(node) or "constant")
                self._buffer(name, node, "constant", None)
                self.constants.append((name, node))
                self.of[node] = name
            case ops.Einsum():
                self._einsum(node)
            case ops.LinearCombination() if diagonal_terms(node) is not None:
                self._diagonal_sum(node)
            case ops.LinearCombination() | ops.Map():
                self._elementwise(node)
            case ops.Blockwise():
                self._loop(node, node.op)
            case _ if isinstance(node.op, _FACTORISATIONS):
                self._factorisation(node)
            case _:
                self._define(node, Direct(node.op), [self.of[x] for x in node.operands], self._moved_layout(node))

    def _einsum(self, node: Node) -> None:
        assert isinstance(node.op, ops.Einsum)
        if is_embedding(node.op, node.operands):
            labels, output = tied_labels(node.op, node.operands)
            sources = [self.of[x] for x in kernel_operands(node)]
            self._define(node, DiagonalEmbedding(labels, output), sources)
        elif len(node.operands) == 1:
            self._rearrange(node, node.op.inputs[0], node.op.output)
        else:
            self._contract(node)

    def _rearrange(self, node: Node, labels: Sequence[int], output: Sequence[int]) -> None:
        source = self.of[node.operands[0]]
        kernel = Rearrangement(tuple(labels), tuple(output))
        memory = dict.fromkeys(labels[axis] for axis in self.buffers[source].layout)
        layout = [kernel.output.index(label) for label in memory if label in kernel.output]
        self._define(node, kernel, [source], layout)

    def _contract(self, node: Node) -> None:
        assert isinstance(node.op, ops.Einsum)
        sources = [self.of[x] for x in node.operands]
        (left, right), sizes = self._operands(node, node.op.inputs)

        def after(memory: tuple[int, ...]) -> float:
            return self._readers_seconds(node, [labels.index(x) for x in memory])

        labels = node.op.output
        plan = plan_contraction(left, right, labels, sizes, after)
        if plan.exchanged:
            sources.reverse()
        layout = [node.op.output.index(label) for label in plan.memory]
        self._define(node, plan.kernel, sources, layout)

    def _operands(
        self, node: Node, inputs: Sequence[tuple[int, ...]], planned: Mapping[Node, Sequence[int]] | None = None
    ) -> tuple[list[Operand], dict[int, int]]:
        """The operands as contraction planning sees them, and the size to plan for of each label.

        An operand that has no buffer yet lies as ``planned`` says, or else in the order of its axes.
        """
        operands, found = [], dict[int, Size]()
        for labels, operand in zip(inputs, node.operands, strict=True):
            layout: Sequence[int] = range(operand.ndim)
            if operand in self.of:
                layout = self.buffers[self.of[operand]].layout
            elif planned and operand in planned:
                layout = planned[operand]
            operands.append(Operand(labels, tuple(labels[axis] for axis in layout)))
            found.update(zip(labels, operand.type.shape, strict=True))
        return operands, {label: planned_size(size, self.sizes) for label, size in found.items()}

    def _readers_seconds(self, node: Node, layout: Sequence[int]) -> float:
        """What the contractions that read ``node`` would take if its axes lay in this order."""
        total = 0.0
        for reader in self.readers.get(node, ()):
            if isinstance(reader.op, ops.Einsum) and len(kernel_operands(reader)) == 2:
                (left, right), sizes = self._operands(reader, reader.op.inputs, {node: layout})
                total += min(each.seconds for each in layouts(left, right, reader.op.output, sizes))
        return total

    def _elementwise(self, node: Node) -> None:
        assert isinstance(node.op, (ops.LinearCombination, ops.Map))
        op = node.op
        if op.coefficients == (1,) if isinstance(op, ops.LinearCombination) else isinstance(op.expression, Argument):
            self._rearrange(node, op.inputs[0], range(op.rank))
            return
        operands, sizes = self._operands(node, op.inputs)
        layout = elementwise_memory(operands, tuple(range(op.rank)), sizes)
        self._define(node, Direct(op), [self.of[x] for x in node.operands], layout)

    def _diagonal_sum(self, node: Node) -> None:
        """Diagonals are added within the dense operand's memory, or a copy where that is not this node's to change."""
        base, *tensors = kernel_operands(node)
        kernel = DiagonalUpdate(added_diagonals(node), in_place=self._is_own(base))
        sources = [self.of[x] for x in (base, *tensors)]
        self._define(node, kernel, sources, self.buffers[sources[0]].layout)

    def _is_own(self, node: Node) -> bool:
        """Whether the memory of a tensor has one reader and was made for it: no view, input or output of the caller."""
        buffer = self.buffers[self.of[node]]
        return self.reads[node] == 1 and buffer.role == "temporary" and buffer.base is None

    def _loop(self, node: Node, op: ops.Blockwise) -> None:
        """One loop for all the results of it that the graph reads."""
        family = _with_maxima(loop_family(node, self.order))
        results = [member.op.result for member in family if isinstance(member.op, ops.Blockwise)]
        maxima = [ops.maximum_of(op.join[k]) for k in results]
        joins = tuple(
            op.join[k] if maximum is None else ops.relative_to(results.index(maximum))
            for k, maximum in zip(results, maxima, strict=True)
        )
        given = {ops.placeholder_label(k): self.buffers[self.of[x]].layout for k, x in enumerate(node.operands)}
        body = lower_body(op, results, given, self.sizes)
        places = [int(name.removeprefix("x")) for name in body.inputs]
        kernel = BlockLoop(
            body,
            op.size,
            op.block,
            tuple(op.cut[k] for k in places),
            tuple(
                join if k is None else ops.relative_to(results.index(k)) for join, k in zip(joins, maxima, strict=True)
            ),
            op.symbol,
            op.concurrent,
            window=op.window,
            strip=op.strip,
        )
        parts = body.buffer_map()
        layouts = [
            parts[name].layout if isinstance(join, int) else None
            for name, join in zip(body.outputs, kernel.join, strict=True)
        ]
        self._several(kernel, family, [self.of[node.operands[k]] for k in places], layouts)

    def _factorisation(self, node: Node) -> None:
        family = self.families[_family(node)]
        results = tuple(_result(member) for member in family)
        self._several(
            Factorisation(node.op, results), family, [self.of[x] for x in node.operands], [None] * len(family)
        )

    def _several(
        self,
        kernel: Kernel,
        family: Sequence[Node],
        sources: Sequence[str],
        layouts: Sequence[Sequence[int] | None],
    ) -> None:
        """Add the call that makes every node of ``family`` at once."""
        names = []
        for member, layout in zip(family, layouts, strict=True):
            wanted = self._wanted(member)
            name = self._fresh(wanted)
            self._buffer(name, member, "output" if member in self.output_names else "temporary", layout)
            self.of[member] = name
            names.append(name)
            if member in self.output_names:
                self.results[member] = name
                self.claimed.add(name)
        text = "; ".join(line(member, self.lines) for member in family if member in self.lines)
        self.calls.append(KernelCall(kernel, tuple(sources), tuple(names), family[0], text))

    def _moved_layout(self, node: Node) -> Sequence[int] | None:
        """Slices, casts and broadcasts keep the order of the axes in memory; other results are row-major."""
        if not node.operands:
            return None
        layout = self.buffers[self.of[node.operands[0]]].layout
        if isinstance(node.op, (ops.Slice, ops.Cast)):
            return layout
        if isinstance(node.op, ops.Broadcast):
            axes = [node.op.axes[axis] for axis in layout]
            return [*(axis for axis in range(node.ndim) if axis not in axes), *axes]
        return None


def _with_maxima(family: Sequence[Node]) -> list[Node]:
    """Results of a loop, and the maxima that they are relative to, whether read or not."""
    found = list(family)
    for node in family:
        assert isinstance(node.op, ops.Blockwise)
        maximum = ops.maximum_of(node.op.join[node.op.result])
        other = node if maximum is None else make(dataclasses.replace(node.op, result=maximum), *node.operands)
        if other not in found:
            found.append(other)
    return found


def _readers(order: Sequence[Node]) -> dict[Node, list[Node]]:
    """The nodes that read each node."""
    readers: dict[Node, list[Node]] = {}
    for node in order:
        for operand in dict.fromkeys(kernel_operands(node)):
            readers.setdefault(operand, []).append(node)
    return readers


def _result(node: Node) -> str:
    assert isinstance(node.op, _FACTORISATIONS)
    return node.op.result


def _family(node: Node) -> tuple[object, ...]:
    """What the results of one factorisation have in common."""
    op = node.op
    options = tuple(value for name, value in vars(op).items() if name != "result")
    return (type(op), options, node.operands)


def _families(order: Sequence[Node]) -> dict[tuple[object, ...], list[Node]]:
    families: dict[tuple[object, ...], list[Node]] = {}
    for node in order:
        if isinstance(node.op, _FACTORISATIONS):
            families.setdefault(_family(node), []).append(node)
    for members in families.values():
        members.sort(key=lambda member: _RESULTS[_result(member)])
    return families
