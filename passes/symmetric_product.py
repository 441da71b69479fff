"""The pass that makes a product with weights symmetric, so that half of it need not be computed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from ..ir import Graph, Node, build
from ..ir.operations import Einsum
from .algebra.value_range import is_nonnegative
from .manager import Pass
from .rewrite import Context, Rewriter, Rule, Status, rule


@dataclass(frozen=True)
class SymmetricProduct(Pass):
    """Graph of pairwise products in; equal graph out, in which ``Xᵀ diag(v) X`` is ``Yᵀ Y`` where v ≥ 0.

    A product of a matrix with itself is a symmetric rank-n update: half the operations (NumPy calls
    BLAS's ``syrk`` for it).  It needs weights that are provably nonnegative, by what is declared of the
    inputs and interval arithmetic on the rest.  The number of operations decreases.  ::

        %1: f64[n,i] = einsum "ni,n->ni" %X, %v
        %2: f64[i,j] = einsum "ni,nj->ij" %X, %1

    becomes ``einsum "ni,nj->ij" %Y, %Y`` with ``%Y = einsum "ni,n->ni" %X, %s`` and ``%s = sqrt(%v)``.
    """

    name: ClassVar[str] = "symmetric"

    def run(self, graph: Graph) -> Graph:
        """Rewrite the weighted products."""
        return self.run_counting(graph)[0]

    def run_counting(self, graph: Graph) -> tuple[Graph, Counter[str]]:
        """The graph, and how often each rule fired."""
        rewriter = Rewriter(SYMMETRIC_RULES)
        return rewriter.run(graph), rewriter.fired


@rule(Einsum, status=Status.REASSOCIATES)
def split_weights(node: Node, context: Context) -> Node | None:
    """einsum("ni,nj->ij", x, v·x) -> einsum("ni,nj->ij", y, y) with y = sqrt(v)·x, where v ≥ 0."""
    assert isinstance(node.op, Einsum)
    if len(node.operands) != 2 or node.type.dtype.kind != "float":
        return None
    for plain, weighted in ((0, 1), (1, 0)):
        x, product = node.operands[plain], node.operands[weighted]
        if not isinstance(product.op, Einsum) or len(product.operands) != 2 or context.is_shared(product):
            continue
        for place in (0, 1):
            if product.operands[place] is x:
                split = _split(node, product, plain, place)
                if split is not None:
                    return split
    return None


def _split(node: Node, product: Node, plain: int, place: int) -> Node | None:
    assert isinstance(node.op, Einsum)
    assert isinstance(product.op, Einsum)
    labels, weight_labels = product.op.inputs[place], product.op.inputs[1 - place]
    weights = product.operands[1 - place]
    if len(set(labels)) != len(labels) or sorted(labels) != sorted(product.op.output):
        return None
    outer = dict(zip(product.op.output, node.op.inputs[1 - plain], strict=True))
    ours = node.op.inputs[plain]
    theirs = tuple(outer[label] for label in labels)
    common = {label for label, a, b in zip(labels, ours, theirs, strict=True) if a == b}
    apart = [(a, b) for a, b in zip(ours, theirs, strict=True) if a != b]
    if not set(weight_labels) <= common or not apart or any(a in theirs or b in ours for a, b in apart):
        return None
    if all(label in node.op.output for label in ours) or not is_nonnegative(weights):
        return None
    root = build.apply("sqrt", weights)
    half = build.einsum([node.operands[plain], root], [labels, weight_labels], labels)
    return build.einsum([half, half], [ours, theirs], node.op.output)


SYMMETRIC_RULES: tuple[Rule, ...] = (split_weights,)
