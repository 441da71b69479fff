"""Equality saturation beside Otus's own planning: ``python -m benchmarks.equality_saturation``.

Each program goes, expanded and simplified, through Otus's default pipeline and through an e-graph with rules for
products, sums and numbers (``saturation_engine``).  What is taken out of the e-graph, by the cost of trees, by that of
graphs greedily and by that of graphs exactly (integer programming), is costed like Otus's result, all outputs
together and every shared part once, and its values are compared.  Needs ``pip install egglog``.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import otus
from otus.ir import Graph, Node, topological
from otus.ir.cost import cost
from otus.ir.operations import Input
from otus.passes import DEFAULT_PIPELINE, parse_pipeline
from otus.runtime.reference import evaluate

from .saturation_engine import Saturated, saturate
from .saturation_extraction import Extractor, by_greedy_graph, by_tree, exactly, terms
from .saturation_terms import Names, Term, node_of, terms_of

Outputs = Sequence[otus.Expression]


def matrices(names: str, *shape: int) -> list[otus.Expression]:
    """Inputs of one shape, named by letters."""
    return [otus.tensor(name, shape) for name in names]


def sum_in_two_products() -> Outputs:
    a, b, c, d = matrices("ABCD", 100, 100)
    return a @ (b + c), (b + c) @ d


def sum_and_difference() -> Outputs:
    a, b, c = matrices("ABC", 100, 100)
    return a @ b + a @ c, a @ b - a @ c


def sum_beside_its_terms() -> Outputs:
    a, b, c = matrices("ABC", 100, 100)
    return a @ (b + c), a @ b, a @ c


def products_with_a_vector() -> Outputs:
    a, b, c = matrices("ABC", 100, 100)
    (v,) = matrices("v", 100)
    return a @ (b + c) @ v, b @ v, c @ v


def low_rank_and_vectors() -> Outputs:
    (a, c), (u, w) = matrices("AC", 100, 100), matrices("UW", 100, 5)
    (v,) = matrices("v", 100)
    low = u @ w.T + c
    return a @ (low @ v), low.T @ v, u @ (w.T @ v)


def chains() -> Outputs:
    a, b, c = matrices("ABC", 60, 60)
    d, e = otus.tensor("D", (60, 8)), otus.tensor("E", (60, 60))
    return a @ b @ c, a @ b @ d, e @ a @ b, b @ c @ d


def horner() -> Outputs:
    a, b, c, d, e = matrices("ABCDE", 60, 60)
    return (a @ b @ c + a @ d @ c + a @ b @ e + a @ d @ e,)


def hidden_factor() -> Outputs:
    (a, d), b, c = matrices("AD", 64, 64), otus.tensor("B", (64, 8)), otus.tensor("C", (8, 64))
    return (a @ b @ c + a @ d,)


def two_ways_to_factor() -> Outputs:
    (a, d, e), b, c = matrices("ADE", 64, 64), otus.tensor("B", (64, 16)), otus.tensor("C", (16, 64))
    return (a @ b @ c + a @ d + e @ b @ c,)


def chains_in_a_sum() -> Outputs:
    a, c, f = matrices("ACF", 40, 60)
    b, d, e = otus.tensor("B", (60, 40)), otus.tensor("D", (60, 30)), otus.tensor("E", (40, 30))
    return a @ b @ c @ d + a @ b @ e + f @ d, a @ b


def weighted_squares() -> Outputs:
    (x,), (v, w) = matrices("X", 300, 20), matrices("vw", 300)
    return (otus.einsum("ni,n,nj->ij", x, v, x) + otus.einsum("ni,n,nj->ij", x, w, x),)


def sums_of_products_and_vectors() -> Outputs:
    a, b, c = matrices("ABC", 80, 80)
    x, y = matrices("xy", 80)
    return a @ b @ x + a @ c @ x, a @ b @ y + a @ c @ y, b @ x


def product_inside_and_outside() -> Outputs:
    (a, f), b, c = matrices("AF", 60, 60), otus.tensor("B", (60, 20)), otus.tensor("C", (20, 60))
    d, e = otus.tensor("D", (60, 20)), otus.tensor("E", (20, 60))
    inner = b @ c + d @ e
    return a @ inner @ f, a @ b @ c, inner


def bilinear_forms() -> Outputs:
    (a, b), (u, w) = matrices("AB", 90, 90), matrices("UW", 90, 4)
    x, y = matrices("xy", 90)
    middle = a + u @ w.T
    return x @ middle @ b @ y, middle @ b @ y, x @ middle @ b


def sylvester() -> Outputs:
    (a, b), (u, v) = matrices("AB", 100, 100), matrices("UV", 100, 8)
    x = u @ v.T
    return a @ x + x @ b, u.T @ (a @ x + x @ b), (a @ x + x @ b) @ v


def competing_factors() -> Outputs:
    a, d = matrices("AD", 40, 90)
    b, c, e = matrices("BCE", 90, 40)
    return a @ b + a @ c + d @ b, d @ b + d @ e


def cp_gradients() -> Outputs:
    a, b, c = matrices("ABC", 40, 6)
    target = otus.tensor("X", (40, 40, 40))
    residual = otus.einsum("ir,jr,kr->ijk", a, b, c) - target
    return otus.grad(0.5 * otus.sum(residual**2), [a, b, c])


def cp_gauss_newton() -> Outputs:
    blocks, vectors = matrices("ABC", 40, 6), matrices("UVW", 40, 6)
    return otus.jtjvp(otus.einsum("ir,jr,kr->ijk", *blocks), blocks, vectors)


def tucker_gradients() -> Outputs:
    a, b = matrices("AB", 40, 6)
    core, target = otus.tensor("G", (6, 6)), otus.tensor("X", (40, 40))
    residual = otus.einsum("ab,ia,jb->ij", core, a, b) - target
    return otus.grad(0.5 * otus.sum(residual**2), [core, a, b])


def factorisation_hessian_products() -> Outputs:
    u, v, p, q = matrices("UVPQ", 60, 5)
    loss = 0.5 * otus.sum((otus.tensor("T", (60, 60)) - u @ v.T) ** 2)
    return otus.hvp(loss, [u, v], [p, q])


def state_gradients(sites: int) -> Outputs:
    """The squared norm of a matrix product state of so many tensors, all gradients: products of 2·sites − 1 tensors."""
    tensors = [otus.tensor(f"A{k}", (8,) * (k > 0) + (2,) + (8,) * (k < sites - 1)) for k in range(sites)]
    terms: list[Any] = []
    for k, a in enumerate(tensors):
        for copy in (0, 2):
            left, right = ([3 * k + copy] if k else []), ([3 * k + 3 + copy] if k < sites - 1 else [])
            terms += [a, [*left, 3 * k + 1, *right]]
    return otus.grad(otus.einsum(*terms, []), tensors)


PROGRAMS: Mapping[str, Callable[[], Outputs]] = {
    "A(B+C), (B+C)D": sum_in_two_products,
    "AB+AC, AB-AC": sum_and_difference,
    "A(B+C), AB, AC": sum_beside_its_terms,
    "A(B+C)v, Bv, Cv": products_with_a_vector,
    "A(UWᵀ+C)v, (UWᵀ+C)ᵀv, UWᵀv": low_rank_and_vectors,
    "ABC, ABD, EAB, BCD": chains,
    "ABC+ADC+ABE+ADE": horner,
    "ABC+AD, B and C thin": hidden_factor,
    "ABC+AD+EBC": two_ways_to_factor,
    "ABCD+ABE+FD, AB": chains_in_a_sum,
    "XᵀvX+XᵀwX, v and w diagonal": weighted_squares,
    "ABx+ACx, ABy+ACy, Bx": sums_of_products_and_vectors,
    "A(BC+DE)F, ABC, BC+DE": product_inside_and_outside,
    "xᵀMBy, MBy, xᵀMB, M=A+UWᵀ": bilinear_forms,
    "AX+XB, Uᵀ(…), (…)V, X=UVᵀ": sylvester,
    "AB+AC+DB, DB+DE": competing_factors,
    "gradients of CP": cp_gradients,
    "JᵀJv of CP": cp_gauss_newton,
    "gradients of Tucker, order 2": tucker_gradients,
    "Hessian products, factorisation": factorisation_hessian_products,
    "gradients of a chain of 3 tensors": lambda: state_gradients(3),
    "gradients of a chain of 4 tensors": lambda: state_gradients(4),
    "gradients of a chain of 5 tensors": lambda: state_gradients(5),
}


def data_for(nodes: Sequence[Node]) -> dict[str, np.ndarray]:
    """Random values for the inputs."""
    random = np.random.default_rng(0)
    shapes = {x.op.label: x.type.shape for x in topological(nodes) if isinstance(x.op, Input)}
    return {name: random.standard_normal([int(str(n)) for n in shape]) for name, shape in shapes.items()}


def flops(nodes: Sequence[Node]) -> int:
    """The operations of all nodes together, every shared one once."""
    return cost(nodes)().flops


def worst_error(nodes: Sequence[Node], wanted: Sequence[np.ndarray], data: Mapping[str, np.ndarray]) -> float:
    """The largest difference of values, relative to the largest element."""
    found = evaluate(nodes, data)
    return max(float(np.max(np.abs(x - y)) / np.max(np.abs(y))) for x, y in zip(found, wanted, strict=True))


@dataclasses.dataclass
class Row:
    """What one program takes: Otus, and the e-graph under each extraction (None where there is none)."""

    program: str
    otus: int
    otus_seconds: float
    graph: Saturated
    found: dict[str, tuple[int, float] | None]
    error: float

    def text(self) -> str:
        """A line of the table."""
        results = [f"{x[0] / self.otus:.3f}, {x[1]:.2f} s" if x else "–" for x in self.found.values()]
        size = f"{self.graph.nodes}{'' if self.graph.saturated else '+'}, {self.graph.seconds:.2f} s"
        cells = [self.program, f"{self.otus:.4g}, {self.otus_seconds:.2f} s", size, *results, f"{self.error:.0e}"]
        return f"| {' | '.join(cells)} |"


def measured(program: str, seconds: float, most_nodes: int) -> Row:
    """Plan a program both ways."""
    outputs = Graph.of([x.node for x in PROGRAMS[program]()])
    plain = parse_pipeline("expand,simplify").run(outputs)[0]
    start = time.perf_counter()
    ours = list(parse_pipeline(DEFAULT_PIPELINE).run(outputs)[0].outputs)
    otus_seconds = time.perf_counter() - start
    names = Names()
    known = terms_of(plain.outputs, names)
    graph = saturate([term for term, _ in known], names.sizes, seconds, most_nodes)
    data = data_for(plain.outputs)
    wanted = evaluate(plain.outputs, data)
    error = worst_error(ours, wanted, data)
    found: dict[str, tuple[int, float] | None] = {}
    for name, extractor in extractors(seconds).items():
        start = time.perf_counter()
        chosen = extractor(graph)
        elapsed = time.perf_counter() - start
        found[name] = None
        if chosen is not None:
            built: dict[Term, tuple[Node, tuple[int, ...]]] = {}
            nodes = [node_of(x, axes, names, built) for x, (_, axes) in zip(terms(graph, chosen), known, strict=True)]
            error = max(error, worst_error(nodes, wanted, data))
            found[name] = flops(nodes), elapsed
    return Row(program, flops(ours), otus_seconds, graph, found, error)


def extractors(seconds: float) -> dict[str, Extractor]:
    """Every way to take terms out of an e-graph."""
    return {"tree": by_tree, "greedy graph": by_greedy_graph, "exact graph": lambda graph: exactly(graph, seconds)}


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="for saturation, and for the integer program")
    parser.add_argument("--nodes", type=int, default=5000, help="of an e-graph at which no further round begins")
    parser.add_argument("--only", default="", help="programs whose name contains this")
    options = parser.parse_args()
    if importlib.util.find_spec("egglog") is None:
        print("egglog is not installed: pip install egglog")
        return 0
    print("| program | Otus: flops, time | e-graph: nodes, time | tree | greedy graph | exact graph | error |")
    print("|---|---|---|---|---|---|---|")
    for program in PROGRAMS:
        if options.only in program:
            print(measured(program, options.seconds, options.nodes).text(), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
