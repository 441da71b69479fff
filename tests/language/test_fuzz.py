"""Mutated programs: each is read, or refused with places in the text, in bounded time.

``OTUS_FUZZ=10000`` sets how many mutants are made (1,000 by default).
"""

from __future__ import annotations

import os
import random
import re
import time
from pathlib import Path

import pytest

from otus.frontend.language import LanguageError, parse

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


@pytest.mark.parametrize("part", range(PARTS))
def test_mutated_programs_are_read_or_refused(part: int) -> None:
    texts = [path.read_text("utf-8") for path in PROGRAMS]
    source = random.Random(20_000 + part)
    for number in range(-(-COUNT // PARTS)):
        text = mutate(source.choice(texts), source, texts)
        started = time.perf_counter()
        try:
            module = parse(text, str(PROGRAMS[0].with_name("mutant.otus")))
        except LanguageError as error:
            check(error, text)
        except BaseException as error:
            error.add_note(f"mutant {number} of part {part}:\n{text}")
            raise
        else:
            assert set(module.outputs) <= set(module.values)
        elapsed = time.perf_counter() - started
        assert elapsed < SECONDS, f"mutant {number} of part {part} took {elapsed:.1f} s\n{text}"


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
