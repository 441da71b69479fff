"""``otus explain``: what each pass did, what it saved, and the page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import otus as package
from otus.cli.explanation_text import shortened

Otus = Any  # the fixture of conftest.py

NETWORK = """\
dim i, j, k
tensor A[i,j], B[j,k], x[k], unused[i]
y[a] = A[a,b] * B[b,c] * x[c]
"""
SIZES = ("--dim", "i=100", "--dim", "j=200", "--dim", "k=300")


@pytest.fixture
def network(folder: Path) -> Path:
    (folder / "network.otus").write_text(NETWORK, encoding="utf-8")
    return Path("network.otus")


def explained(otus: Otus, *arguments: object) -> dict[str, Any]:
    result = otus("explain", *arguments, "--json")
    assert result.status == 0, result.err
    found: dict[str, Any] = json.loads(result.out)
    return found


# --- what is saved -----------------------------------------------------------------------------


def test_the_saving_of_an_order_is_exact(otus: Otus, network: Path) -> None:
    """As one loop 3 operations at each of i·j·k points; in order two products of a matrix and a vector."""
    found = explained(otus, network, *SIZES)
    assert found["initial"]["flops"] == {"symbolic": "3*i*j*k", "value": 3 * 100 * 200 * 300}
    assert found["final"]["flops"] == {"symbolic": "2*i*j + 2*j*k", "value": 2 * 100 * 200 + 2 * 200 * 300}
    assert (found["sizes"], found["assumed"]) == ({"i": 100, "j": 200, "k": 300}, [])
    assert sum(step["flops"]["value"] for step in found["steps"]) == found["final"]["flops"]["value"]


def test_the_text_says_what_was_saved_and_where_the_cost_is(otus: Otus, network: Path) -> None:
    text = otus("explain", network, *SIZES).out
    assert "at i=100, j=200, k=300\n" in text
    assert "Against the program as written: 160 k flops (112× less)" in " ".join(text.split())
    assert re.search(r"^ 75 % +120 k +2·j·k +\S+: f64\[j\] +contract by matrix +3: A\[a,b\]", text, re.MULTILINE)
    assert re.search(r"^  flops +3·i·j·k -> 2·j·k \+ 2·i·j$", text, re.MULTILINE)
    assert text.endswith("Inputs that no output needs: unused\n")


def test_passes_that_changed_nothing_are_one_line(otus: Otus, network: Path) -> None:
    text = otus("explain", network).out
    idle = [x["name"] for x in explained(otus, network)["passes"] if not x["changed"]]
    assert {"stabilise", "expand"} <= set(idle)
    for name in idle:
        (line,) = [line for line in text.splitlines() if line.startswith(name)]
        assert line.endswith("changed nothing")


def test_requests_have_no_cost_before_they_are_expanded(otus: Otus, folder: Path) -> None:
    found = explained(otus, "form.otus", "--dim", "n=50")
    before = {each["name"]: each["before"] for each in found["passes"]}
    after = {each["name"]: each["after"] for each in found["passes"]}
    assert before["stabilise"] is after["stabilise"] is before["expand"] is None
    assert found["initial"] == after["expand"]
    text = otus("explain", "form.otus", "--dim", "n=50").out
    assert re.search(r"^\(as written\) .* not expanded yet$", text, re.MULTILINE)
    assert "Against the derivatives as first expanded" in text


def test_rules_are_told_with_what_they_do(otus: Otus, folder: Path) -> None:
    found = explained(otus, "form.otus")
    rules = {rule["name"]: rule for each in found["passes"] for rule in each["rules"]}
    assert rules["grad"] == {"name": "grad", "count": 1, "description": "request -> the operations that compute it"}
    text = otus("explain", "form.otus").out
    for name, rule in rules.items():
        assert rule["description"], f"nothing says what the rule {name} does"
        assert re.search(rf"^  {name} +×{rule['count']} ", text, re.MULTILINE)


def test_costs_agree_with_the_library(otus: Otus, folder: Path) -> None:
    found = explained(otus, "form.otus", "--dim", "n=50")
    module = package.load("form.otus")
    cost = package.cost(package.optimize(dict(module.outputs)))
    assert found["final"]["flops"]["symbolic"] == str(cost.flops)
    assert found["final"]["peak_bytes"]["value"] == cost(n=50).peak_bytes


def test_sizes_that_nobody_gave_are_assumed_and_said(otus: Otus, network: Path) -> None:
    found = explained(otus, network, "--dim", "i=100")
    assert (found["sizes"], found["assumed"]) == ({"i": 100, "j": 64, "k": 64}, ["j", "k"])
    assert (
        "at i=100, j=64, k=64 (j, k assumed: --dim j=300 gives another size)\n"
        in otus("explain", network, "--dim", "i=100").out
    )


def test_sizes_of_the_program_leave_no_symbols(otus: Otus, folder: Path) -> None:
    Path("fixed.otus").write_text("dim n = 8\ntensor x[n]\ns = sum(x ^ 2)\n", encoding="utf-8")
    text = otus("explain", "fixed.otus").out
    assert "in the dims" not in text
    assert "·" not in text
    assert explained(otus, "fixed.otus")["sizes"] == {}


def test_another_pipeline(otus: Otus, folder: Path) -> None:
    assert [x["name"] for x in explained(otus, "form.otus", "--pipeline", "expand,simplify")["passes"]] == [
        "expand",
        "simplify",
    ]
    result = otus("explain", "form.otus", "--pipeline", "simplify")
    assert (result.status, result.err) == (
        1,
        "otus: form.otus asks for derivatives (grad), and the pipeline 'simplify' leaves them as requests, "
        "which no kernel computes; add the pass 'expand'\n",
    )


def test_wrong_input(otus: Otus, folder: Path) -> None:
    assert otus("explain", "form.otus", "--dim", "m=3").status == 1
    assert otus("explain", "form.otus", "--dim", "n").status == 2
    assert otus("explain", "forn.otus").err.startswith("otus: forn.otus does not exist; did you mean 'form.otus'?")
    assert otus("explain", "form.otus", "--html", "page.txt").err == (
        "otus: a page cannot be written to 'page.txt'; a name ending in .html is accepted\n"
    )
    assert "nowhere is not a folder" in otus("explain", "form.otus", "--html", "nowhere/page.html").err


# --- the page ----------------------------------------------------------------------------------


class Page(HTMLParser):
    """The text of a page, and every attribute that could load something; tags are balanced."""

    VOID = ("meta",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)


def test_the_page_holds_everything_and_loads_nothing(otus: Otus, folder: Path) -> None:
    result = otus("explain", "form.otus", "--dim", "n=50", "--html", "page.html")
    assert (result.status, result.out) == (0, "wrote page.html\n")
    page = Page(Path("page.html").read_text("utf-8"))
    assert page.tags.isdisjoint({"script", "link", "img", "iframe"})
    assert all(link.startswith("#source-") for link in page.links)
    function = package.compile(package.load("form.otus"))
    for text in (*Path("form.otus").read_text().splitlines(), *function.source.splitlines()[6:]):
        assert text in page.text
    for statement in function.provenance:
        assert statement.ir in page.text


def test_each_line_of_the_program_opens_to_what_it_became(otus: Otus, folder: Path) -> None:
    otus("explain", "form.otus", "--html", "page.html")
    text = Path("page.html").read_text("utf-8")
    details = {
        x[0]: x[1]
        for x in re.findall(r"<details><summary class=\"code\">(.*?)</summary>(.*?)</details>", text, re.DOTALL)
    }
    (became,) = [body for head, body in details.items() if head.endswith("g = grad(f, x)")]
    assert "linear_combination" in became
    assert not any("dim n" in head for head in details)


def test_the_program_is_escaped(otus: Otus, folder: Path) -> None:
    Path("<b>.otus").write_text("tensor x[n] # <script>alert(1)</script>\ns = sum(x < 1)\n", encoding="utf-8")
    assert otus("explain", "<b>.otus", "--html", "page.html").status == 0
    text = Path("page.html").read_text("utf-8")
    assert "<script" not in text
    assert "<b>" not in text
    assert "&lt;script&gt;alert(1)" in text
    Page(text)


def test_the_page_and_json_together(otus: Otus, folder: Path) -> None:
    assert explained(otus, "form.otus", "--html", "page.html")["html"] == "page.html"
    assert Path("page.html").exists()


def test_long_statements_are_cut() -> None:
    assert shortened("x" * 40) == "x" * 31 + "…"
    assert shortened("x" * 32) == "x" * 32
