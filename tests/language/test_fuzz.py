"""Mutated and generated programs: each is read, or refused with places in the text, in bounded time.

``OTUS_FUZZ=10000`` sets how many of each are made (1,000 by default).
"""

from __future__ import annotations

import os
import random
import re
import time
from pathlib import Path

import pytest

from otus.frontend.language import LanguageError, parse
from otus.frontend.language.calls import FUNCTION_NAMES

PROGRAMS = sorted(Path(__file__).with_name("programs").glob("*.otus"))
COUNT = int(os.environ.get("OTUS_FUZZ", "1000"))
PARTS = 20
SECONDS = 5.0
PIECES = [
    "\n", "\t", "\r", "\\", "\0", '"', "'", "#", *"()[],=+-*/^@<:.ijknxX01",
    "==", "**", "...", ".T", ".sum(", "axis=0", "1:2", "-1", "2.5", "1e308", "99999999999999999999", "10^10^10",
    "A", "loss", "sum[i](", "softmax[k](", "max(", "delta[i,j]", "[i == j]", "x[i+k]", "x[2*i]", "x[-1]", "A[i,i]",
    "dim ", "tensor ", "const ", "def ", "import ", "output ", "symmetric", "float32",
    "grad(", "hessian(", "inv(", "svd(", "einsum(", 'einsum("ij,jk",', "tensordot(", "reshape(", "concatenate([",
    "None", "True", "nan", "pi", "zeros((10**9, 10**9))", "arange(0, 1, 1e-12)", "derivative(loss, x, order=10**9)",
    "\N{GREEK SMALL LETTER ALPHA}", "\N{ZERO WIDTH SPACE}", "\N{COMBINING ACUTE ACCENT}",
    "\N{SUPERSCRIPT TWO}", "\N{ARABIC-INDIC DIGIT THREE}", "----", "((((((((",
]  # fmt: skip


def mutate(text: str, source: random.Random, others: list[str]) -> str:
    """A text with a few characters, tokens or lines changed."""
    for _ in range(source.choice([1, 1, 1, 2, 3, 6])):
        kind = source.randrange(12)
        place = source.randrange(len(text) + 1)
        length = source.choice([1, 1, 2, 5, 20])
        lines = text.split("\n")
        if kind == 0:
            text = text[:place] + text[place + length :]
        elif kind in (1, 2, 3):
            text = text[:place] + source.choice(PIECES) + text[place:]
        elif kind == 4:
            text = text[:place] + source.choice(PIECES) + text[place + length :]
        elif kind == 5:
            first, second = source.randrange(len(lines)), source.randrange(len(lines))
            lines[first], lines[second] = lines[second], lines[first]
            text = "\n".join(lines)
        elif kind == 6:
            lines.insert(source.randrange(len(lines) + 1), source.choice(source.choice(others).split("\n")))
            text = "\n".join(lines)
        elif kind == 7:
            text = replaced(text.split(" "), " ", source)
        else:
            text = replaced(re.findall(r"\w+|\s+|[^\w\s]", text) or [""], "", source)
    return text


def replaced(words: list[str], glue: str, source: random.Random) -> str:
    """The words with one put in the place of another of its kind, mostly."""
    first = source.randrange(len(words))
    alike = [x for x in words if x[:1].isalnum() == words[first][:1].isalnum() and not x.isspace()]
    words[first] = source.choice(alike if alike and source.random() < 0.8 else PIECES)
    return glue.join(words)


def attempt(text: str, what: str) -> bool:
    """Whether a text is read; it must be read or refused properly, in bounded time."""
    started = time.perf_counter()
    try:
        module = parse(text, str(PROGRAMS[0].with_name("mutant.otus")))
    except LanguageError as error:
        check(error, text)
        return False
    except BaseException as error:
        error.add_note(f"{what}:\n{text}")
        raise
    finally:
        elapsed = time.perf_counter() - started
        assert elapsed < SECONDS, f"{what} took {elapsed:.1f} s\n{text}"
    assert set(module.outputs) <= set(module.values)
    return True


@pytest.mark.parametrize("part", range(PARTS))
def test_mutated_programs_are_read_or_refused(part: int) -> None:
    texts = [path.read_text("utf-8") for path in PROGRAMS]
    source = random.Random(20_000 + part)
    for number in range(-(-COUNT // PARTS)):
        attempt(mutate(source.choice(texts), source, texts), f"mutant {number} of part {part}")


# --- programs that are grammatical, with arguments of every kind ---------------------------------

GENERATED = """\
dim n = 3, m
const two = 2, half = 0.5
tensor x[n], A[n,n], B[n,m], T[n,n,m], s
tensor q[n] : int64
tensor mask[n] : bool
tensor c[n] : complex128
def f(v) = v * v + half
"""
TENSORS = ["x", "A", "B", "T", "s", "q", "mask", "c"]
PLAIN = ["n", "m", "two", "half", "1", "0", "2", "-1", "0.5", "pi", "None", "True", "...", "'abc'", "'float32'"]
LISTS = ["float32", "()", "(0,)", "(0,1)", "[0,1]", "[]", "(n, 3)"]
TERMS = [
    "x[i]", "x[j]", "A[i,j]", "A[j,k]", "A[i,i]", "B[i,m]", "B[j,k]", "T[i,j,k]", "T[i,i,k]", "s", "q[i]",
    "mask[i]", "c[i]", "x[i+1]", "x[2*i]", "x[i+j]", "x[0]", "x[n-1-i]", "A[0,i]", "A[i,j+1]", "delta[i,j]",
    "[i == j]", "[i < n]", "[x[i] > 0]", "2", "half", "n", "m", "x",
]  # fmt: skip
NAMES = sorted(FUNCTION_NAMES)


def whole(source: random.Random, depth: int) -> str:
    """A random expression of whole tensors."""
    if depth == 0 or source.random() < 0.1:
        return source.choice(TENSORS if source.random() < 0.6 else TENSORS + PLAIN + LISTS)
    kind = source.randrange(8)
    inner = [whole(source, depth - 1) for _ in range(3)]
    if kind == 0:
        return f"({inner[0]} {source.choice(['+', '-', '*', '/', '//', '@', '^', '==', '<'])} {inner[1]})"
    if kind == 1:
        keys = source.choice(
            ["0", "-1", "1:", ":2", "::2", "::-1", "None", "...", "0, 1", ":, None", "n", "i", inner[1], "1:m"]
        )
        return f"{inner[0]}[{keys}]"
    if kind == 2:
        return f"{inner[0]}.{source.choice(['T', 'real', 'sum()', 'max(axis=0)', 'reshape(-1)', f'var({inner[1]})'])}"
    if kind == 3:
        return f"{source.choice(['sum[i]', 'sum[i,j]', 'max[i]', 'f'])}({term(source, depth - 1)})"
    keyword = source.choice([*[""] * 12, ", axis=0", ", axis=(0, 1)", ", dtype=float32", f", axis={inner[2]}"])
    return f"{source.choice(NAMES)}({', '.join(inner[: source.choice([1, 1, 2, 2, 3])])}{keyword})"


def term(source: random.Random, depth: int) -> str:
    """A random indexed term."""
    if depth == 0:
        return source.choice(TERMS)
    left, right = term(source, depth - 1), term(source, depth - 1)
    return source.choice(
        [f"{left} * {right}", f"({left} + {right})", f"{left} / {right}", f"-{left}", f"({left}) ^ 2", f"exp({left})",
         f"f({left})", f"max[i]({left})", f"softmax[j]({left})", f"sum[{source.choice('ijk')}]({left})",
         f"maximum({left}, {right})", f"({left}) * ({right})", f"where({left}, {right}, 0)", f"({left} - {right})"]
    )  # fmt: skip


@pytest.mark.parametrize("part", range(PARTS))
def test_generated_programs_are_read_or_refused(part: int) -> None:
    source = random.Random(30_000 + part)
    read = 0
    for number in range(-(-COUNT // PARTS)):
        left = source.choice([*["y"] * 6, "y[i]", "y[i,j]", "y[i,i]", "y[k,i]"])
        depth = source.randint(1, 3)
        right = whole(source, depth) if left == "y" and source.random() < 0.7 else term(source, depth)
        read += attempt(f"{GENERATED}{left} = {right}\n", f"program {number} of part {part}")
    assert read > 0


def check(error: LanguageError, text: str) -> None:
    """Every diagnostic has a place inside its text, a sentence, and renders."""
    assert error.diagnostics
    for diagnostic in error.diagnostics:
        span = diagnostic.span
        assert 0 <= span.start <= span.end <= len(span.source.text), (diagnostic, text)
        assert span.line >= 1, text
        assert span.column >= 1, text
        assert diagnostic.message, text
        assert "^" in str(diagnostic), text
    places = [(x.span.file, x.span.start) for x in error.diagnostics if x.span.file == error.file]
    assert places == sorted(places), text
