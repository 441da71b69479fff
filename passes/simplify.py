"""The pass that puts a graph in normal form: the algebra that is right whatever it costs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from ..ir import Graph
from .algebra.cancel_rules import CANCEL_RULES
from .algebra.deviation_rules import DEVIATION_RULES
from .algebra.einsum_rules import EINSUM_RULES
from .algebra.fact_rules import FACT_RULES
from .algebra.inverse_rules import IDENTITY_RULES, PRODUCT_RULES
from .algebra.linear_rules import LINEAR_RULES
from .algebra.scalar_rules import SCALAR_RULES
from .algebra.shape_rules import SHAPE_RULES
from .manager import Pass
from .rewrite import Rewriter, Rule
from .structure.rules import STRUCTURE_RULES

_RULES: tuple[Rule, ...] = (
    *IDENTITY_RULES,
    *FACT_RULES,
    *EINSUM_RULES,
    *LINEAR_RULES,
    *SHAPE_RULES,
    *SCALAR_RULES,
    *STRUCTURE_RULES,
    *CANCEL_RULES,
    *DEVIATION_RULES,
)
SIMPLIFY_RULES: tuple[Rule, ...] = (*_RULES, *PRODUCT_RULES)


@dataclass(frozen=True)
class Simplify(Pass):
    """Graph in; equal graph out, in which no rule fires.

    Nested einsums are one einsum, deltas with a summed index are gone, numbers are coefficients,
    sums are flat, and linear maps are linear combinations.  No rule makes work: einsums and sums
    merge only where the inner one has a single reader.  Rules about whole products, such as that of an
    inverse, join in when the others have come to rest.  ::

        %1: f64[i,k] = einsum "ij,jk->ik" %A, %d          # %d a delta
        %2: f64[i] = einsum "ik,k->i" %1, %x

    becomes ``einsum "ij,j->i" %A, %x``.
    """

    name: ClassVar[str] = "simplify"

    def run(self, graph: Graph) -> Graph:
        """Apply the rules until they come to rest."""
        return self.run_counting(graph)[0]

    def run_counting(self, graph: Graph) -> tuple[Graph, Counter[str]]:
        """The graph, and how often each rule fired."""
        merging, whole = Rewriter(_RULES), Rewriter(SIMPLIFY_RULES)
        graph = whole.run(merging.run(graph))
        return graph, merging.fired + whole.fired
