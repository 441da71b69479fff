"""Pipelines as text, records of what passes did, checks between them, and the rewrite engine."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

import otus
from otus.ir import Graph, Node, ParseError, VerificationError, build
from otus.ir.operations import Map
from otus.passes import DEFAULT_PIPELINE, PASSES, Pass, Pipeline, describe, parse_pipeline
from otus.passes.manager import Application
from otus.passes.manager import parse_pipeline as parse_with
from otus.passes.rewrite import Context, Rewriter, Rule, Status, rule

x = otus.tensor("x", ("n",))


@dataclass(frozen=True)
class Count(Pass):
    """Graph in; the same graph out."""

    name: ClassVar[str] = "count"
    limit: int = 3
    careful: bool = False
    mode: str = "fast"

    def run(self, graph: Graph) -> Graph:
        return graph


@dataclass(frozen=True)
class Break(Pass):
    """Graph in; another value out."""

    name: ClassVar[str] = "break"

    def run(self, graph: Graph) -> Graph:
        return graph.transform(lambda node, operands: build.scale(2, node) if isinstance(node.op, Map) else node)


@dataclass(frozen=True)
class Forge(Pass):
    """Graph in; a graph with a type that its operation denies out."""

    name: ClassVar[str] = "forge"

    def run(self, graph: Graph) -> Graph:
        (old,) = graph.outputs
        forged = object.__new__(Node)
        for name, value in (("op", old.op), ("operands", old.operands), ("type", build.constant(1.0).type)):
            object.__setattr__(forged, name, value)
        return Graph((forged,), graph.names)


KNOWN = {each.name: each for each in (Count, Break, Forge)}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "count",
        "count,count",
        "count{limit=7}",
        "count{limit=-1, careful=True, mode=slow}",
        "break,count{careful=True}",
    ],
)
def test_text_reads_back(text: str) -> None:
    pipeline = parse_with(text, KNOWN)
    assert str(pipeline) == text
    assert parse_with(str(pipeline), KNOWN) == pipeline


def test_spaces_do_not_matter() -> None:
    assert parse_with(" count { limit = 7 } , break ", KNOWN) == Pipeline((Count(limit=7), Break()))


def test_the_default_pipeline_reads_back() -> None:
    assert str(parse_pipeline(DEFAULT_PIPELINE)) == DEFAULT_PIPELINE == otus.pipeline()
    assert {each.name for each in parse_pipeline(DEFAULT_PIPELINE).passes} <= set(PASSES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cuont", "unknown pass 'cuont'; did you mean 'count'?"),
        ("zzz", "unknown pass 'zzz'; passes are count, break, forge"),
        ("count{limt=3}", "pass count has no option 'limt=3'; did you mean 'limit'?; it takes limit, careful, mode"),
        ("count{limit}", "pass count has no option 'limit'"),
        ("count{limit=many}", "count.limit is an integer, not 'many'"),
        ("count{careful=1}", "count.careful is true or false, not '1'"),
        ("count;break", "pipeline 'count;break' cannot be read at 'count;break'; write pass{option=value},…"),
        ("count{limit=3", "pipeline 'count{limit=3' cannot be read at 'count{limit=3'; write pass{option=value},…"),
    ],
)
def test_errors_of_text(text: str, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_with(text, KNOWN)
    assert str(caught.value).startswith(message)


def test_records() -> None:
    graph = Graph.of([otus.grad((x * x).sum(), x).node], ["gradient"])
    after, report = parse_pipeline("expand,simplify").run(graph)
    assert after.outputs == (otus.simplify(otus.Expression.of(graph.outputs[0])).node,) == ((2 * x).node,)
    assert after.names == ("gradient",)
    assert [record.name for record in report] == ["expand", "simplify"]
    assert report[0].before is graph
    assert report[0].after is report[1].before
    assert all(record.changed and record.seconds >= 0 for record in report)
    assert report[1].rules == Counter(report[1].rules)
    assert sum(report[1].rules.values()) > 0
    assert "derivative" in report[0].ir_before
    assert "derivative" not in report[0].ir_after
    assert '"gradient"' in report[1].ir_after
    assert report[1].cost_after(n=10).flops == 10
    assert report[1].cost_before(n=10).flops > 10
    lines = describe(report)
    assert lines[0].startswith("expand")
    assert "nodes" in lines[1]


def test_until() -> None:
    assert str(parse_pipeline("expand,simplify,contract").until("simplify")) == "expand,simplify"
    with pytest.raises(ParseError, match="the pipeline has no pass 'simplfy'; did you mean 'simplify'"):
        parse_pipeline("expand,simplify").until("simplfy")


def test_a_broken_pass_is_stopped() -> None:
    graph = Graph.of([otus.exp(x).node])
    with pytest.raises(VerificationError, match="map is typed"):
        Pipeline((Forge(), Count())).run(graph)


def test_a_check_sees_every_pass_and_may_stop() -> None:
    graph = Graph.of([otus.exp(x).node])
    seen: list[tuple[str, bool]] = []

    def check(application: Application) -> None:
        name = application.step.name
        seen.append((name, application.before.outputs == application.after.outputs))
        if name == "break":
            raise VerificationError("values differ")

    with pytest.raises(VerificationError, match="values differ"):
        Pipeline((Count(), Break(), Count())).run(graph, check=check)
    assert seen == [("count", True), ("break", False)]


def test_the_error_of_a_pass_goes_on_after_its_firings_were_judged() -> None:
    graph = Graph.of([otus.exp(x).node])
    judged: list[str] = []
    with pytest.raises(VerificationError, match="map is typed"):
        Pipeline((Forge(),)).run(graph, check=lambda application: judged.append(application.step.name))
    assert judged == [Forge.name]


def test_values_are_checked_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTUS_CHECK", "1")
    compiled = otus.compile(otus.grad(otus.logsumexp(x), x))
    np.testing.assert_allclose(compiled(x=np.zeros(4)), np.full(4, 0.25))


# --- the rewrite engine ------------------------------------------------------------------------------


@rule(Map)
def to_sine(node: Node, context: Context) -> Node | None:
    """cos(a) -> sin(a)."""
    return build.apply("sin", node.operands[0]) if node_text(node) == "cos(a)" else None


@rule(Map, status=Status.REASSOCIATES)
def to_cosine(node: Node, context: Context) -> Node | None:
    """tan(a) -> cos(a)."""
    return build.apply("cos", node.operands[0]) if node_text(node) == "tan(a)" else None


def node_text(node: Node) -> str:
    from otus.ir.scalar import scalar_text

    assert isinstance(node.op, Map)
    return scalar_text(node.op.expression)


def test_rules_have_names_descriptions_and_statuses() -> None:
    assert isinstance(to_sine, Rule)
    assert (to_sine.name, to_sine.description, to_sine.status) == ("to_sine", "cos(a) -> sin(a).", Status.EXACT)
    assert to_cosine.status is Status.REASSOCIATES


def test_rewriting_reaches_every_node_and_counts() -> None:
    y = otus.cos(otus.cos(x) + otus.exp(otus.cos(x)))
    rewriter = Rewriter([to_sine])
    after = rewriter.run(Graph.of([y.node]))
    assert after.outputs == (otus.sin(otus.sin(x) + otus.exp(otus.sin(x))).node,)
    assert rewriter.fired == {"to_sine": 2}


def test_a_rule_that_never_rests_is_a_bug() -> None:
    @rule(Map)
    def grow(node: Node, context: Context) -> Node | None:
        """exp(a) -> exp(exp(a))."""
        return build.apply("exp", node) if node_text(node) == "exp(a)" else None

    with pytest.raises(VerificationError, match=r"rules do not come to rest; fired so far: {'grow': \d+}"):
        Rewriter([grow]).run(Graph.of([build.apply("exp", x.node)]))


def test_rules_that_undo_each_other_are_a_bug() -> None:
    @rule(Map)
    def there(node: Node, context: Context) -> Node | None:
        """sin(a) -> cos(a)."""
        return build.apply("cos", *node.operands) if node_text(node) == "sin(a)" else None

    @rule(Map)
    def back(node: Node, context: Context) -> Node | None:
        """cos(a) -> sin(a)."""
        return build.apply("sin", *node.operands) if node_text(node) == "cos(a)" else None

    with pytest.raises(VerificationError, match="rules do not come to rest"):
        Rewriter([there, back]).run(Graph.of([build.apply("sin", x.node)]))


def test_shared_nodes_are_known() -> None:
    y = otus.sin(x)
    seen: dict[str, bool] = {}

    @rule(Map)
    def look(node: Node, context: Context) -> Node | None:
        """a -> a."""
        seen[node_text(node)] = context.is_shared(node)
        return None

    Rewriter([look]).run(Graph.of([(y * otus.exp(y)).node, otus.tan(x).node]))
    assert seen == {"sin(a)": True, "exp(a)": False, "tan(a)": False}
