"""Names that could be code, keywords, or one another."""

from __future__ import annotations

import ast
import builtins
import keyword

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from programs import emitted, leaf, run_emitted

from otus.codegen.names import Names, comment, docstring_text
from otus.codegen.to_numpy.emitter import emit_numpy
from otus.ir import Graph, build
from otus.passes.lower import lower


@given(st.lists(st.text(max_size=12), max_size=8))
def test_identifiers_are_safe_and_distinct(wanted: list[str]) -> None:
    names = Names(["np", "_erf"])
    given_names = [names.identifier(text) for text in wanted]
    assert len(set(given_names)) == len(given_names)
    for name in given_names:
        assert name.isascii()
        assert name.isidentifier()
        assert not keyword.iskeyword(name)
        assert not keyword.issoftkeyword(name)
        assert name not in dir(builtins)
        assert name not in ("np", "_erf")
        assert not name.startswith("__")


@pytest.mark.parametrize(
    ("wanted", "given_name"),
    [
        ("X", "X"), ("_private", "_private"), ("if", "if_"), ("match", "match_"), ("sum", "sum_"), ("np", "np_"),
        ("μ_1", "mu_1"), ("Σ", "Sigma"), ("ﬁ", "fi"), ("x y", "x_y"), ("2x", "v2x"), ("", "v"), ("日", "v"),
        ("__import__", "v__import__"), ("a.b", "a_b"), ("_", "v_"),
    ],
)  # fmt: skip
def test_readable_identifiers(wanted: str, given_name: str) -> None:
    assert Names(["np"]).identifier(wanted) == given_name


@given(st.text(max_size=30))
def test_comments_and_docstrings_stay_what_they_are(text: str) -> None:
    source = f'{comment(text)}\n"""{docstring_text(text)}"""\n'
    tree = ast.parse(source)
    assert len(tree.body) == 1
    assert isinstance(tree.body[0], ast.Expr)


HOSTILE = st.text(alphabet=st.sampled_from("abА\n\r\\\"'#(){};: =\u2028\u202eｘxø0"), min_size=1, max_size=10)


@given(st.lists(HOSTILE, min_size=2, max_size=4, unique=True), HOSTILE, HOSTILE)
def test_hostile_names_do_not_reach_the_source_as_code(labels: list[str], output: str, description: str) -> None:
    tensors = [leaf(label, "n") for label in labels]
    total = build.add(*(build.scale(k + 1, x) for k, x in enumerate(tensors)))
    graph = Graph((total,), (output,), {total: labels[0]})
    module = emit_numpy(lower(graph, name=output), description=description)
    tree = ast.parse(module.source)
    kinds = [type(part) for part in tree.body]
    assert kinds == [ast.Expr, ast.Import, ast.FunctionDef]
    values = {label: np.array([float(k)]) for k, label in enumerate(labels)}
    (result,) = run_emitted(graph, values)
    assert result[0] == sum((k + 1) * k for k in range(len(labels)))


def test_dims_may_have_the_names_of_tensors() -> None:
    i, n = leaf("i", "i", "n"), leaf("n", "n")
    node = build.reshape(build.apply("exp", i), (i.type.shape[0] * i.type.shape[1],))
    assert "i_2, n_2 = i.shape" in emitted([node, n]).source
    assert run_emitted([node, n], {"i": np.zeros((2, 3)), "n": np.ones(3)})[0].shape == (6,)
