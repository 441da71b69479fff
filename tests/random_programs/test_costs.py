"""The optimised program never takes more operations than the same program without algebra.

What it is compared with is honest: derivatives expanded, softmax in its stable form, every product of
several tensors in its cheapest order of two; so what is left is what the algebra does.

``OTUS_RANDOM_PROGRAMS=2000 OTUS_FIRST_SEED=5000 pytest tests/random_programs/test_costs.py`` runs that many
from that seed; 300 programs and 500 networks from seed 0 run by default.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from math import prod

import pytest
from evaluation import assert_close
from random_programs.networks import Network
from random_programs.outputs import otus_outputs
from random_programs.programs import random_program

import otus
from otus.ir import Graph, Node, make, topological
from otus.ir.cost import flops
from otus.ir.operations import LinearCombination, Map
from otus.ir.scalar import Call, Literal, postorder
from otus.passes import DEFAULT_PIPELINE, parse_pipeline
from otus.runtime.reference import evaluate
from otus.structures import flatten

COUNT = int(os.environ.get("OTUS_RANDOM_PROGRAMS", "150"))
NETWORKS = int(os.environ.get("OTUS_RANDOM_PROGRAMS", "250"))
FIRST = int(os.environ.get("OTUS_FIRST_SEED", "0"))
CHUNK = 25
UNOPTIMISED = "stabilise,expand,sharpen,contract"


def work(outputs: Sequence[Node]) -> int:
    """Operations, but for multiplications by numbers: a sum multiplied out may have more of them.

    A cube is two multiplications in either program: as one call of a power it would take many times that.
    """
    return sum(int(str(flops(node))) - _scalings(node) + _cubes(node) for node in topological(outputs))


def _cubes(node: Node) -> int:
    if not isinstance(node.op, Map):
        return 0
    points = prod(int(str(size)) for size in node.type.shape)
    return points * sum(_is_cube(part) for part in postorder(node.op.expression))


def _is_cube(part: object) -> bool:
    if not isinstance(part, Call) or part.function != "pow":
        return False
    exponent = part.arguments[1]
    return isinstance(exponent, Literal) and exponent.value == 3


def _scalings(node: Node) -> int:
    points = prod(int(str(size)) for size in node.type.shape)
    if isinstance(node.op, LinearCombination):
        plain = replace(node.op, coefficients=tuple(type(c)(c / (abs(c) or 1)) for c in node.op.coefficients))
        return int(str(flops(node))) - int(str(flops(make(plain, *node.operands))))
    if isinstance(node.op, Map):
        return points * sum(_is_scaling(part) for part in postorder(node.op.expression))
    return 0


def _is_scaling(part: object) -> bool:
    return isinstance(part, Call) and part.function == "mul" and any(isinstance(x, Literal) for x in part.arguments)


def compare(outputs: object) -> tuple[int, int, str]:
    """Operations with and without algebra, and the optimised IR."""
    leaves = flatten(outputs, lambda x: isinstance(x, otus.Expression))
    graph = Graph.of([x.node for x in leaves])
    after, _ = parse_pipeline(DEFAULT_PIPELINE).run(graph)
    plain, _ = parse_pipeline(UNOPTIMISED).run(graph)
    return work(after.outputs), work(plain.outputs), otus.ir.dump(list(after.outputs))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FIRST, FIRST + COUNT, CHUNK))
def test_programs_cost_no_more(first: int) -> None:
    """Values, gradient, and where small Jacobian, Hessian, hvp and jtjvp, each by itself."""
    for seed in range(first, min(first + CHUNK, FIRST + COUNT)):
        for name, outputs in otus_outputs(random_program(seed, sizes=(2, 3, 3, 5))).items():
            optimised, plain, text = compare(outputs)
            assert optimised <= plain, f"seed {seed} {name}: {optimised} > {plain}\n{text}"


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FIRST, FIRST + NETWORKS, CHUNK))
def test_networks_cost_no_more_and_keep_their_values(first: int) -> None:
    for seed in range(first, min(first + CHUNK, FIRST + NETWORKS)):
        network = Network(seed)
        outputs = [x.expression for x in network.outputs]
        optimised, plain, text = compare(outputs)
        assert optimised <= plain, f"seed {seed}: {optimised} > {plain}\n{text}"
        simplified = [x.node for x in otus.simplify(outputs)]
        compiled = otus.compile(outputs)
        values = compiled(**{name: network.data[name] for name in compiled.inputs})
        for value, algebra, term in zip(values, evaluate(simplified, network.data), network.outputs, strict=True):
            assert_close(value, term.value, 1e-8, 1e-8, f"seed {seed}, compiled")
            assert_close(algebra, term.value, 1e-8, 1e-8, f"seed {seed}, simplified")
