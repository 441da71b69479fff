"""Costs as a person reads them: leading terms, counts with a unit prefix, and how much was saved."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..ir import Size
from ..ir.dims import evaluate, symbols, to_sympy
from ..passes.planned_sizes import UNKNOWN_SIZE

if TYPE_CHECKING:
    import sympy

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_PREFIXES = ("", " k", " M", " G", " T", " P", " E")
_PLAIN = 10_000  # counts below this are written out
_KEPT = 3  # leading terms that are shown
_TWOFOLD = 2.0  # from here on a saving is a factor, below it is a percentage


def leading_terms(size: Size, sizes: Mapping[str, int] | None = None) -> str:
    """The terms that no other term exceeds as the dims grow: at most three, the greatest at ``sizes`` first.

    Terms that are left out are ``…``.  Quotients are not rounded.

    >>> from otus.ir.dims import dim
    >>> i, n = dim("i"), dim("n")
    >>> leading_terms(2 * i * n * n + 3 * n * n + 7), leading_terms(12)
    ('2·i·n² + …', '12')
    >>> leading_terms(8 * i + 24 * n, {"i": 10, "n": 2})
    '8·i + 24·n'
    """
    terms, omitted = _leading(_unrounded(size))
    known = dict.fromkeys(symbols(size), UNKNOWN_SIZE) | dict(sizes or {})
    terms.sort(key=lambda term: (-abs(value := _value(term, known)), value < 0, str(term)))
    text = " + ".join(map(_term_text, terms[:_KEPT])).replace("+ -", "- ")
    return text + (" + …" if omitted or len(terms) > _KEPT else "")


def largest(candidates: Sequence[Size], sizes: Mapping[str, int]) -> Size:
    """The greatest of several sizes at ``sizes``.

    >>> from otus.ir.dims import dim
    >>> print(largest([8 * dim("i"), 24 * dim("n")], {"i": 10, "n": 2}))
    8*i
    """
    return max(candidates, key=lambda size: evaluate(size, sizes))


def _unrounded(size: Size) -> sympy.Expr:
    """The size as a polynomial, floors dropped."""
    import sympy

    return sympy.expand(to_sympy(size).replace(sympy.floor, lambda argument: argument))


def _leading(polynomial: sympy.Expr) -> tuple[list[sympy.Expr], bool]:
    """The terms that divide no other, and whether there are more."""
    import sympy

    terms = sympy.Add.make_args(polynomial)
    powers = {term: {x: p for x, p in term.as_powers_dict().items() if not x.is_number} for term in terms}
    kept = [
        term
        for term in terms
        if not any(other is not term and _divides(powers[term], powers[other]) for other in terms)
    ]
    return kept, len(kept) < len(terms)


def _value(term: sympy.Expr, sizes: Mapping[str, int]) -> float:
    return float(term.subs({symbol: sizes[symbol.name] for symbol in term.free_symbols}))


def _divides(smaller: Mapping[Any, Any], larger: Mapping[Any, Any]) -> bool:
    return all(larger.get(base, 0) >= power for base, power in smaller.items())


def _term_text(term: sympy.Expr) -> str:
    coefficient, rest = term.as_coeff_Mul()
    factors = [] if rest == 1 else sorted(rest.as_powers_dict().items(), key=lambda item: str(item[0]))
    words = [f"{base}{str(power).translate(_SUPERSCRIPTS) if power != 1 else ''}" for base, power in factors]
    if not words or coefficient not in (1, -1):
        words.insert(0, str(coefficient))
    return ("-" if coefficient == -1 and factors else "") + "·".join(words)


def human_count(count: int) -> str:
    """A count in three digits with the prefix of its thousands.

    >>> human_count(9_800), human_count(480_000_000), human_count(999_999)
    ('9,800', '480 M', '1 M')
    """
    if count < _PLAIN:
        return f"{count:,}"
    power = next(k for k in itertools.count(1) if float(f"{count / 1000**k:.3g}") < 1000 or k == len(_PREFIXES) - 1)
    return f"{count / 1000**power:.3g}{_PREFIXES[power]}"


def change_text(before: int, after: int) -> str:
    """What became of a cost: a factor where it is at least two, otherwise a percentage.

    >>> change_text(100, 25), change_text(100, 80), change_text(100, 100), change_text(1, 3)
    ('4× less', '20 % less', 'the same', '3× more')
    """
    if before == after:
        return "the same"
    word = "less" if after < before else "more"
    small, large = sorted((before, after))
    if small == 0:
        return "nothing left" if after == 0 else f"{human_count(after)} more"
    if large / small >= _TWOFOLD:
        return f"{_factor(large / small)}× {word}"
    share = 100 * (large - small) / before
    return f"{share:.0f} % {word}" if share >= 1 else f"under 1 % {word}"


def _factor(ratio: float) -> str:
    return f"{ratio:.2g}" if ratio < 100 else human_count(round(ratio))
